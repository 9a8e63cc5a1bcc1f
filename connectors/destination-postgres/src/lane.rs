//! One connection with at most one open transaction, through which the rows of all streams go.
//!
//! Nothing of a transaction is seen or durable before [`Lane::commit`], so a commit covers what every
//! stream has sent, and a state that all streams share is as exact as that of one. Rows go in by COPY;
//! it stays open while the same target goes on, and is ended by whatever else is asked of the lane.

mod outcome;
#[cfg(test)]
mod tests;

use std::time::Duration;

use connector_kit::protocol::StreamDescriptor;
use connector_kit::{Backoff, Error, Result, Stop, retry, tracing};
use postgres_kit::{Connection, Endpoint, Purpose, Row, server_error};

/// How a binary COPY begins: the signature, no flags, no extension.
const COPY_HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// How it ends: where a row would say how many fields it has.
const COPY_TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// One message to the server holds at most this much.
const PIECE: usize = 256 << 10;

/// How statements that meet the locks of others are tried again.
const PATIENCE: Backoff =
    Backoff { first: Duration::from_millis(100), most: Duration::from_secs(10), tries: 10 };

/// Where the rows of a stream go.
#[derive(Clone, Debug)]
pub(crate) struct CopyTarget {
    /// Tells it from the others of the lane.
    pub(crate) id: usize,
    /// Whose rows they are, for errors: some come only when the COPY ends.
    pub(crate) stream: StreamDescriptor,
    /// `COPY "s"."t" ("c1", …) FROM STDIN (FORMAT binary)`.
    pub(crate) sql: String,
}

/// A connection, its transaction and its COPY.
#[derive(Debug)]
pub(crate) struct Lane {
    endpoint: Endpoint,
    stop: Stop,
    connection: Connection,
    open: bool,
    marked: bool,
    copying: Option<CopyTarget>,
    /// What every session of this lane begins with: temporary tables, for example.
    session: Vec<String>,
    /// The advisory locks that the session holds, by name.
    locks: Vec<String>,
    /// Why nothing more can be done with it.
    unusable: Option<String>,
}

impl Lane {
    pub(crate) async fn connect(endpoint: &Endpoint, stop: &Stop) -> Result<Self> {
        let connection = retry(Backoff::default(), stop, || endpoint.connect(Purpose::Ordinary)).await?;
        let mut lane = Self {
            endpoint: endpoint.clone(),
            stop: stop.clone(),
            connection,
            open: false,
            marked: false,
            copying: None,
            session: Vec::new(),
            locks: Vec::new(),
            unusable: None,
        };
        lane.set_up().await?;
        Ok(lane)
    }

    /// The server's version as a number, 150018 for 15.18.
    pub(crate) fn server_version(&self) -> u32 {
        self.connection.server_version()
    }

    /// What the database's texts are written in.
    pub(crate) fn server_encoding(&self) -> Option<&str> {
        self.connection.parameter("server_encoding")
    }

    /// The server process at the other end.
    #[cfg(test)]
    pub(crate) fn backend_pid(&self) -> i32 {
        self.connection.backend_pid()
    }

    /// Runs statements; outside of a transaction if none is open, which makes them one by themselves.
    pub(crate) async fn execute(&mut self, sql: &str) -> Result<()> {
        self.end_copy().await?;
        self.connection.execute(sql).await
    }

    /// As [`execute`](Self::execute), and returns the rows.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.end_copy().await?;
        self.connection.query(sql).await
    }

    /// As [`execute`](Self::execute), for statements that may meet the locks of others: a deadlock, a
    /// lock or a statement that lasted too long is tried again. In a transaction only these statements
    /// are undone in between; one that fails for good leaves the transaction as it was before it.
    pub(crate) async fn execute_patiently(&mut self, sql: &str) -> Result<()> {
        self.end_copy().await?;
        if !self.open {
            let mut wait = Wait::default();
            loop {
                match self.connection.execute(sql).await {
                    Err(error) if is_contention(&error) => wait.after(error, &self.stop).await?,
                    done => return done,
                }
            }
        }
        let mut wait = Wait::default();
        loop {
            self.connection.execute("SAVEPOINT ferrybyte_try").await?;
            let done = self.connection.execute(sql).await;
            let Err(error) = done else {
                return self.connection.execute("RELEASE SAVEPOINT ferrybyte_try").await;
            };
            if !self.connection.is_lost() {
                let undo = "ROLLBACK TO SAVEPOINT ferrybyte_try; RELEASE SAVEPOINT ferrybyte_try";
                self.connection.execute(undo).await?;
            }
            match is_contention(&error) {
                true => wait.after(error, &self.stop).await?,
                false => return Err(error),
            }
        }
    }

    /// Begins statements that are undone together if one of them fails; there is one such group at a time.
    pub(crate) async fn guard(&mut self) -> Result<()> {
        self.end_copy().await?;
        self.begin().await?;
        self.connection.execute("SAVEPOINT ferrybyte_guard").await
    }

    /// They succeeded.
    pub(crate) async fn release(&mut self) -> Result<()> {
        self.end_copy().await?;
        self.connection.execute("RELEASE SAVEPOINT ferrybyte_guard").await
    }

    /// One failed: undoes them all. Returns the error, unless it is one after which to try again, for
    /// which it has then waited.
    pub(crate) async fn undo(&mut self, error: Error, wait: &mut Wait) -> Result<()> {
        if !self.is_open() {
            return Err(error);
        }
        self.abandon_copy().await?;
        let undo = "ROLLBACK TO SAVEPOINT ferrybyte_guard; RELEASE SAVEPOINT ferrybyte_guard";
        self.connection.execute(undo).await?;
        if is_contention(&error) { wait.after(error, &self.stop).await } else { Err(error) }
    }

    /// Runs what the session needs, now and again whenever the lane has to connect anew. It must commit
    /// by itself: no transaction is open.
    pub(crate) async fn session(&mut self, sql: &str) -> Result<()> {
        self.execute_patiently(sql).await?;
        self.session.push(sql.to_owned());
        Ok(())
    }

    /// Takes the advisory lock that `name` stands for until the lane ends. Returns the server process that
    /// holds it if another does and does not let go within `wait`.
    pub(crate) async fn lock(&mut self, name: &str, wait: Duration) -> Result<Option<i32>> {
        self.end_copy().await?;
        if self.locks.iter().any(|held| held == name) {
            return Ok(None);
        }
        let key = lock_key(name);
        let began = std::time::Instant::now();
        loop {
            let row = self.connection.query(&format!("SELECT pg_try_advisory_lock({key})")).await?;
            if row.first().map(|r| r.flag(0)).transpose()? == Some(true) {
                self.locks.push(name.to_owned());
                return Ok(None);
            }
            if began.elapsed() >= wait || self.stop.requested() {
                return self.holder(key).await.map(Some);
            }
            tokio::time::sleep(Duration::from_millis(100).min(wait)).await;
        }
    }

    /// The server process that holds an advisory lock; 0 when it has just let go.
    async fn holder(&mut self, key: i64) -> Result<i32> {
        // The two halves of the key are unsigned in the catalog.
        let (high, low) = ((key >> 32) as u32, key as u32);
        let sql = format!(
            "SELECT pid FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 \
             AND classid = {high} AND objid = {low} \
             AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
        );
        let rows = self.connection.query(&sql).await?;
        let pid = rows.first().map(|r| r.int(0)).transpose()?.unwrap_or(0);
        Ok(i32::try_from(pid).unwrap_or(0))
    }

    /// Begins the transaction, if none is open.
    pub(crate) async fn begin(&mut self) -> Result<()> {
        if !self.open {
            // The user may have another default, and a merge may have to wait for others.
            self.connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
            (self.open, self.marked) = (true, false);
        }
        Ok(())
    }

    /// Whether a transaction is open that more can be done in.
    pub(crate) fn is_open(&self) -> bool {
        self.open && !self.connection.is_lost()
    }

    /// Adds rows in the form of a binary COPY, without header and trailer.
    pub(crate) async fn copy(&mut self, target: &CopyTarget, tuples: &[u8]) -> Result<()> {
        if tuples.is_empty() {
            return Ok(());
        }
        if self.copying.as_ref().is_none_or(|open| open.id != target.id) {
            self.end_copy().await?;
            self.start_copy(target).await.map_err(|e| e.for_stream(&target.stream))?;
        }
        for piece in tuples.chunks(PIECE) {
            if let Err(error) = self.connection.send_copy_data(piece).await {
                self.copying = None;
                return Err(error.for_stream(&target.stream));
            }
        }
        Ok(())
    }

    async fn start_copy(&mut self, target: &CopyTarget) -> Result<()> {
        let fresh = !self.open;
        let mut wait = Wait::default();
        loop {
            self.begin().await?;
            match self.connection.copy_in(&target.sql).await {
                Ok(()) => break,
                // With nothing before it, the transaction itself can be begun again.
                Err(error) if fresh && is_contention(&error) => {
                    self.rollback().await?;
                    wait.after(error, &self.stop).await?;
                }
                Err(error) => return Err(error),
            }
        }
        self.copying = Some(target.clone());
        self.connection.send_copy_data(COPY_HEADER).await
    }

    /// Ends the COPY that is open, if one is: its rows are then in the transaction.
    pub(crate) async fn end_copy(&mut self) -> Result<()> {
        if let Some(why) = &self.unusable {
            return Err(Error::transient(why.clone()));
        }
        let Some(target) = self.copying.take() else { return Ok(()) };
        let ended = async {
            self.connection.send_copy_data(&COPY_TRAILER).await?;
            self.connection.finish_copy_in().await
        };
        ended.await.map(drop).map_err(|e| e.for_stream(&target.stream))
    }

    /// What is in the transaction now is to survive [`rollback_to_mark`](Self::rollback_to_mark).
    pub(crate) async fn mark(&mut self) -> Result<()> {
        self.end_copy().await?;
        if self.open {
            // One at a time: the server keeps a list of those that are open.
            let release = if self.marked { "RELEASE SAVEPOINT ferrybyte_mark; " } else { "" };
            self.connection.execute(&format!("{release}SAVEPOINT ferrybyte_mark")).await?;
            self.marked = true;
        }
        Ok(())
    }

    /// Drops what came since the last mark; without one, since the transaction began.
    pub(crate) async fn rollback_to_mark(&mut self) -> Result<()> {
        if !self.marked {
            return self.rollback().await;
        }
        self.abandon_copy().await?;
        self.connection.execute("ROLLBACK TO SAVEPOINT ferrybyte_mark").await
    }

    /// Ends the transaction without a trace of it.
    pub(crate) async fn rollback(&mut self) -> Result<()> {
        self.abandon_copy().await?;
        if std::mem::take(&mut self.open) {
            self.marked = false;
            self.connection.execute("ROLLBACK").await?;
        }
        Ok(())
    }

    async fn abandon_copy(&mut self) -> Result<()> {
        match self.copying.take() {
            Some(_) => self.connection.abandon_copy_in("the rows are not wanted").await,
            None => Ok(()),
        }
    }

    /// Makes the transaction durable and seen, if one is open.
    pub(crate) async fn commit(&mut self) -> Result<()> {
        self.commit_proven(None).await
    }

    /// As [`commit`](Self::commit). Should the connection be lost before the server has answered,
    /// `proof`, a query, returns a row if and only if the transaction was committed.
    pub(crate) async fn commit_proven(&mut self, proof: Option<&str>) -> Result<()> {
        self.end_copy().await?;
        if !self.open {
            return Ok(());
        }
        // Also refuses a transaction in which a statement failed: COMMIT would roll it back and report success.
        let rows = self.connection.query("SELECT txid_current()").await?;
        let number = rows.first().map(|r| r.int(0)).transpose()?;
        (self.open, self.marked) = (false, false);
        match self.connection.execute("COMMIT").await {
            Err(error) if self.connection.is_lost() => self.clear_up(number, proof, error).await,
            done => done,
        }
    }

    /// Connects anew and sets the session up as it was.
    async fn reconnect(&mut self) -> Result<()> {
        self.connection = self.endpoint.connect(Purpose::Ordinary).await?;
        (self.open, self.marked, self.copying) = (false, false, None);
        self.set_up().await
    }

    async fn set_up(&mut self) -> Result<()> {
        self.connection.execute(&settings(&self.endpoint, self.server_version())).await?;
        if self.server_version() >= 140_000 {
            // Should we be killed, a long statement of ours ends soon after. Some systems cannot look.
            if let Err(error) = self.connection.execute("SET client_connection_check_interval = '2s'").await {
                tracing::debug!("{error}");
            }
        }
        Ok(())
    }

    /// The locks and the objects of the session before.
    async fn restore_session(&mut self) -> Result<()> {
        for name in std::mem::take(&mut self.locks) {
            if self.lock(&name, PATIENCE.most).await?.is_some() {
                return Err(Error::transient(
                    "Another sync has taken over a table of this one while the connection was lost; the sync tries again.",
                ));
            }
        }
        for sql in self.session.clone() {
            self.connection.execute(&sql).await?;
        }
        Ok(())
    }
}

/// Growing pauses between tries.
#[derive(Debug)]
pub(crate) struct Wait {
    next: Duration,
    left: u32,
}

impl Default for Wait {
    fn default() -> Self {
        Self { next: PATIENCE.first, left: PATIENCE.tries - 1 }
    }
}

impl Wait {
    /// Waits after a failure, or gives its error back when the tries are used up.
    async fn after(&mut self, error: Error, stop: &Stop) -> Result<()> {
        if self.left == 0 || stop.requested() {
            return Err(error);
        }
        tracing::warn!("{error} Trying again in {:?}.", self.next);
        tokio::time::sleep(self.next).await;
        (self.next, self.left) = ((self.next * 2).min(PATIENCE.most), self.left - 1);
        Ok(())
    }
}

/// Whether the statement fails only because of what others do at the same time.
fn is_contention(error: &Error) -> bool {
    server_error(error).is_some_and(|e| match e.code.as_str() {
        // Deadlock, serialization failure, lock_timeout.
        "40P01" | "40001" | "55P03" => true,
        // Also how a person ends a statement, which then is to stay ended.
        "57014" => e.message.contains("timeout"),
        _ => false,
    })
}

/// The number that an advisory lock of this name has: FNV-1a, the same in every version of ours.
fn lock_key(name: &str) -> i64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    i64::from_ne_bytes(hash.to_ne_bytes())
}

/// A load lasts as long as it lasts, and its states promise durable rows. What the user sets by `options` stays.
fn settings(endpoint: &Endpoint, version: u32) -> String {
    let own = endpoint.params.options.as_deref().unwrap_or_default();
    let mut sql = String::new();
    for (name, since) in [
        ("statement_timeout", 0),
        ("idle_in_transaction_session_timeout", 90_600),
        ("idle_session_timeout", 140_000),
        ("transaction_timeout", 170_000),
    ] {
        if version >= since && !own.contains(name) {
            sql.push_str(&format!("SET {name} = 0; "));
        }
    }
    sql.push_str(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
    );
    sql
}
