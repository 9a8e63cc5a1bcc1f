//! Statements to Dremio, and what becomes of them when the answer is an error or is lost.
//!
//! There are no transactions, but a statement is whole: what it changes is one commit. So there are three ways to send one:
//! [`Session::ask`] for what only reads, [`Session::settle`] for what does no harm when it is done twice, and
//! [`Session::once`] for what must be done once. The last never sends a statement again before it has looked
//! whether it was done, nor while it may still be.

use std::time::{Duration, Instant};

use connector_kit::{Error, Result, Stop, tracing};
use flight_kit::{Client, Fault, Settings, Statement, Table};
use tokio::sync::OnceCell;

/// The first and the longest pause between tries.
const PAUSE: Duration = Duration::from_millis(250);
/// How long to try to connect for the first time.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// A connection, and how patient to be with it.
#[derive(Debug)]
pub(crate) struct Session {
    settings: Settings,
    client: OnceCell<Client>,
    patience: Duration,
    /// How long a statement whose answer was lost may take to begin.
    lost_wait: Duration,
    stop: Stop,
}

/// What was found of a statement's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// All of it.
    Done,
    /// Nothing.
    Nothing,
    /// More or less than all.
    Otherwise,
}

/// Looks for a statement's work, and takes it back.
pub(crate) trait Work: Sync {
    /// A pattern of LIKE that this statement fits, and no other one.
    fn pattern(&self) -> String;
    /// Looks.
    fn find(&self, session: &Session) -> impl Future<Output = Result<Found>> + Send;
    /// Takes back what is there, so that it can be done anew.
    fn undo(&self, session: &Session) -> impl Future<Output = Result<()>> + Send;
}

impl Session {
    /// Opens nothing yet.
    pub(crate) fn new(settings: Settings, patience: Duration, lost_wait: Duration, stop: Stop) -> Self {
        Self { settings, client: OnceCell::new(), patience, lost_wait, stop }
    }

    async fn client(&self) -> Result<&Client, flight_kit::Error> {
        self.client.get_or_try_init(|| Client::connect(self.settings.clone())).await
    }

    async fn run(&self, sql: impl Into<Statement>) -> Result<Table, flight_kit::Error> {
        self.client().await?.run(sql).await
    }

    /// What a query answers. `doing` ends a sentence such as "Cannot …".
    pub(crate) async fn ask(&self, doing: &str, sql: &str) -> Result<Table> {
        let mut patience = Patience::new(self);
        loop {
            match self.run(sql).await {
                Ok(table) => return Ok(table),
                Err(error) if error.fault().may_pass() => patience.pass(doing, error).await?,
                Err(error) => return Err(explained(doing, error)),
            }
        }
    }

    /// The columns that a query would answer with.
    pub(crate) async fn columns(&self, doing: &str, sql: &str) -> Result<arrow_schema::Schema> {
        let mut patience = Patience::new(self);
        loop {
            let answer = match self.client().await {
                Ok(client) => client.columns(sql).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(schema) => return Ok(schema),
                Err(error) if error.fault().may_pass() => patience.pass(doing, error).await?,
                Err(error) => return Err(explained(doing, error)),
            }
        }
    }

    /// Runs a statement that may be done twice.
    pub(crate) async fn settle(&self, doing: &str, sql: &str) -> Result<()> {
        self.attempt(doing, sql).await.map_err(|error| explained(doing, error))
    }

    /// The same, for those who know better what an error means.
    pub(crate) async fn attempt(&self, doing: &str, sql: &str) -> Result<(), flight_kit::Error> {
        let mut patience = Patience::new(self);
        loop {
            match self.run(sql).await {
                Ok(_) => return Ok(()),
                Err(error) if error.fault().may_pass() => {
                    if patience.is_over() {
                        return Err(error);
                    }
                    patience.pause(doing, &error).await;
                    // Done again it does no harm, but done late it might: to what has come after it.
                    let (began, mut pause) = (Instant::now(), PAUSE);
                    while error.fault() == Fault::Lost
                        && !self.is_over(&beginning(sql), &error, None, began).await
                    {
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(LONGEST_PAUSE / 4);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs a statement that must be done once. What it answers is given back, unless the answer was lost.
    pub(crate) async fn once<W: Work>(
        &self,
        doing: &str,
        sql: Statement,
        work: &W,
    ) -> Result<Option<Table>, Failure> {
        let mut patience = Patience::new(self);
        // How often it was sent and may have arrived.
        let mut sent = 0_u32;
        loop {
            let error = match self.run(&sql).await {
                Ok(answer) if sent == 0 => return Ok(Some(answer)),
                // An earlier one may have been done after all.
                Ok(_) => match work.find(self).await? {
                    Found::Done | Found::Nothing => return Ok(None),
                    Found::Otherwise => {
                        tracing::warn!(
                            "Cannot be sure how often Dremio did this: {doing}. It is taken back and done anew."
                        );
                        work.undo(self).await?;
                        if patience.is_over() {
                            return Err(Failure::Other(unsure(doing)));
                        }
                        patience.pause_quietly().await;
                        continue;
                    }
                },
                Err(error) => error,
            };
            if error.fault() == Fault::NotSent {
                patience.pass(doing, error).await?;
                continue;
            }
            if !error.fault().may_have_run() {
                return Err(Failure::Refused(error));
            }
            sent += 1;
            match self.look(&error, sent, work).await? {
                Found::Done => return Ok(None),
                Found::Nothing => {}
                Found::Otherwise => work.undo(self).await?,
            }
            if error.fault() == Fault::Failed {
                return Err(Failure::Refused(error));
            }
            patience.pass(doing, error).await?;
        }
    }

    /// Waits until the statement cannot run any more, and looks what it has done.
    async fn look<W: Work>(&self, error: &flight_kit::Error, sent: u32, work: &W) -> Result<Found> {
        let began = Instant::now();
        let mut pause = PAUSE;
        loop {
            match work.find(self).await? {
                Found::Nothing => {}
                found => return Ok(found),
            }
            if self.is_over(&work.pattern(), error, Some(sent), began).await {
                // It may have ended between the two looks.
                return work.find(self).await;
            }
            let left = self.lost_wait.saturating_sub(began.elapsed());
            tokio::time::sleep(pause.min(left).max(PAUSE / 5)).await;
            pause = (pause * 2).min(LONGEST_PAUSE / 4);
        }
    }

    /// Whether a statement whose answer was lost then cannot run any more. `sent` says how often one of this pattern was sent, if
    /// there are no others.
    async fn is_over(
        &self,
        pattern: &str,
        error: &flight_kit::Error,
        sent: Option<u32>,
        began: Instant,
    ) -> bool {
        let waited = began.elapsed();
        match (self.jobs(pattern).await, sent) {
            (Some(jobs), _) if jobs.running > 0 => waited > self.settings.statement_timeout,
            (Some(jobs), Some(sent)) if jobs.ended >= sent => true,
            // Dremio has said how it ended, or does not know it (yet).
            _ => error.fault() != Fault::Lost || waited >= self.lost_wait,
        }
    }

    /// Waits until no statement that names ids of these prefixes can change a table any more, though whoever sent it is gone.
    pub(crate) async fn wait_until_idle(&self, prefixes: impl Iterator<Item = &str>) {
        let began = Instant::now();
        // One that has arrived may be in nobody's list yet.
        while began.elapsed() < self.lost_wait && !self.stop.requested() {
            tokio::time::sleep(PAUSE.min(self.lost_wait - began.elapsed().min(self.lost_wait))).await;
        }
        for prefix in prefixes {
            for verb in ["INSERT", "COPY"] {
                let pattern = format!("{verb} INTO %{prefix}%");
                let mut pause = PAUSE;
                while self.jobs(&pattern).await.is_some_and(|jobs| jobs.running > 0)
                    && began.elapsed() < self.settings.statement_timeout
                    && !self.stop.requested()
                {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE / 4);
                }
            }
        }
    }

    /// Statements of this pattern, by Dremio's own list; `None` when there is none for us.
    async fn jobs(&self, pattern: &str) -> Option<Jobs> {
        let pattern = pattern.replace('\'', "''");
        let sql = format!("SELECT status FROM sys.jobs_recent WHERE query LIKE '{pattern}' LIMIT 1000");
        let table = self.run(&sql).await.ok()?;
        let states = table.texts(0);
        let ended =
            states.iter().filter(|s| matches!(s.as_str(), "COMPLETED" | "FAILED" | "CANCELED" | "CANCELLED"));
        let ended = u32::try_from(ended.count()).unwrap_or(u32::MAX);
        Some(Jobs { running: u32::try_from(states.len()).unwrap_or(u32::MAX) - ended, ended })
    }
}

/// A pattern that a statement fits, and few others.
fn beginning(sql: &str) -> String {
    sql.chars().take(200).chain(['%']).collect()
}

struct Jobs {
    running: u32,
    ended: u32,
}

/// Why a statement was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Dremio refused it, and nothing of it was done.
    Refused(flight_kit::Error),
    Other(Error),
}

impl Failure {
    pub(crate) fn explained(self, doing: &str) -> Error {
        match self {
            Self::Refused(error) => explained(doing, error),
            Self::Other(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// Tries again after growing pauses, until the time is over.
struct Patience<'a> {
    session: &'a Session,
    began: Instant,
    pause: Duration,
}

impl<'a> Patience<'a> {
    fn new(session: &'a Session) -> Self {
        Self { session, began: Instant::now(), pause: PAUSE }
    }

    fn is_over(&self) -> bool {
        // Who was never reached is more likely to be elsewhere than busy.
        let never = self.session.client.get().is_none();
        let patience = if never { self.session.patience.min(FIRST_PATIENCE) } else { self.session.patience };
        self.session.stop.requested() || self.began.elapsed() >= patience
    }

    async fn pass(&mut self, doing: &str, error: flight_kit::Error) -> Result<()> {
        if self.is_over() {
            return Err(explained(doing, error));
        }
        self.pause(doing, &error).await;
        Ok(())
    }

    async fn pause(&mut self, doing: &str, error: &flight_kit::Error) {
        tracing::warn!("Cannot {doing} yet, trying again in {:?}: {error}", self.pause);
        self.pause_quietly().await;
    }

    async fn pause_quietly(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

/// A sentence that says what could not be done, why, and what to do.
pub(crate) fn explained(doing: &str, error: flight_kit::Error) -> Error {
    let said = match error.said() {
        "" => String::new(),
        said => format!(" Dremio says: {}", said.trim_end_matches('.')) + ".",
    };
    match error.fault() {
        Fault::Denied => Error::config(format!(
            "The user may not {doing}.{said} Grant the missing privilege on the path in `dataset`, or choose another path or user."
        )),
        Fault::Missing => Error::config(format!(
            "Cannot {doing}: something on the way is not there.{said} Check that the source and folders in `dataset` exist and that the user sees them."
        )),
        Fault::Refused | Fault::Unsupported => Error::config(format!(
            "Cannot {doing}: Dremio refused the statement.{said} Check that the path in `dataset` is one where Iceberg tables can be made and changed."
        )),
        Fault::TooLarge => Error::config(format!(
            "Cannot {doing}: Dremio does not take statements or values this large.{said} Lower `insert_size_kb`."
        )),
        Fault::Failed => Error::system(format!("Cannot {doing}: it failed in Dremio.{said} Its job list has the details.")),
        Fault::Busy => Error::transient(format!(
            "Cannot {doing}: Dremio was not ready in all of `busy_wait_secs`.{said} Try again later, or see to its engine and queues."
        )),
        Fault::Lost => Error::transient(format!("Cannot {doing}: the connection to Dremio was lost again and again. Try again later.")),
        Fault::Login | Fault::NotSent => return error.into(),
    }
    .with_source(error)
}

fn unsure(doing: &str) -> Error {
    Error::transient(format!(
        "Cannot {doing} in a way that one can be sure of: Dremio's answers were lost again and again. Try again later."
    ))
}
