//! From the log to records: transactions in the order of their commits, states between them.

use std::collections::HashMap;
use std::time::Duration;

use connector_kit::{Backoff, ChangeEmitter, Error, ErrorKind, Result, tracing, write_timestamp};
use postgres_kit::{Endpoint, Lsn};
use tokio::time::Instant;

use super::cells::Cells;
use super::followed::Followed;
use super::pgoutput::{Message, Old, Relation};
use super::position::Position;
use super::relation::{After, Known, Stamp, moves, write_after, write_deleted};
use super::reread::{Deferred, Values, key_of};
use super::side::Side;
use super::wal::{Entry, Subscription, Wal, next_entry, write_entry, write_keep_alive};
use crate::meter::Meter;
use crate::state::Named;

/// Where the rows go.
pub(crate) type Out = ChangeEmitter<Position, Named>;

/// With nothing to read, the server is asked how far it is this often.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// What is to be read, and how.
#[derive(Debug)]
pub(crate) struct Follow<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) meter: &'a Meter,
    pub(crate) subscription: Subscription,
    /// Read to here: every transaction that ends before it.
    pub(crate) target: u64,
    /// Whether the slot moves with the states of this run, or only to the one it began with.
    pub(crate) confirm_while_reading: bool,
    pub(crate) heartbeat: Option<&'a str>,
    /// How long the server may be silent.
    pub(crate) patience: Duration,
}

/// Reads the changes of these tables from `position` on.
pub(crate) async fn follow(
    follow: &Follow<'_>,
    tables: Vec<Followed>,
    position: Position,
    out: &mut Out,
) -> Result<()> {
    let began_at = position.lsn;
    let mut reader = Reader::new(follow, tables, position);
    let backoff = Backoff::default();
    let (mut failures, mut wait, mut progress) = (0, backoff.first, reader.progress());
    loop {
        let confirmed = if follow.confirm_while_reading {
            out.said_position().map_or(began_at, |p| p.lsn)
        } else {
            began_at
        };
        let _open = follow.meter.opened();
        // The server decodes as long as it is read.
        let _running = follow.meter.query();
        let mut wal = Wal::open(follow.endpoint, &follow.subscription, reader.position.lsn, confirmed)?;
        let outcome = reader.run(&mut wal, out).await;
        let error = match outcome {
            Ok(()) => {
                let said = reader.checkpoint(out, true);
                if follow.confirm_while_reading && said.is_ok() {
                    wal.confirm(reader.position.lsn);
                }
                wal.close().await;
                return said;
            }
            Err(error) => error,
        };
        wal.close().await;
        if reader.progress() != progress {
            (failures, wait, progress) = (0, backoff.first, reader.progress());
        }
        failures += 1;
        if error.kind() != ErrorKind::Transient || failures >= backoff.tries || out.stop_requested() {
            return Err(error);
        }
        tracing::warn!("{error} Going on at {} in {wait:?}.", Lsn(reader.position.lsn));
        out.flush()?;
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(backoff.most);
        reader.begin_again();
    }
}

/// The transaction being read.
#[derive(Debug)]
struct Transaction {
    /// Counted from 1.
    number: u64,
    commit: u64,
    micros: i64,
    xid: u32,
    /// The commit's time as an instant.
    at: Vec<u8>,
    /// Changes of it that were dealt with.
    applied: u64,
    /// So many of them were sent before the connection was lost.
    skip: u64,
}

/// What is to be done after a message.
enum Step {
    On,
    /// Tables look different from here on.
    Learn(Relation),
    /// Values have to be read before anything more can be sent.
    Fetch,
    /// The target is reached.
    Reached,
}

#[derive(Debug)]
pub(super) struct Reader<'a> {
    follow: &'a Follow<'a>,
    pub(super) side: Side<'a>,
    pub(super) tables: Vec<Followed>,
    pub(super) relations: HashMap<u32, Known>,
    /// Whether some relation has columns that its messages have not.
    pub(super) absent_columns: bool,
    old: Cells,
    new: Cells,
    transaction: Option<Transaction>,
    transactions: u64,
    /// The transaction of the messages that wait.
    deferred_xid: u32,
    deferred: Deferred,
    position: Position,
    /// A transaction that was cut off by a lost connection: its commit, and the changes sent of it.
    cut_off: Option<(u64, u64)>,
    pub(super) warned: super::learn::Warned,
}

impl<'a> Reader<'a> {
    fn new(follow: &'a Follow<'a>, tables: Vec<Followed>, position: Position) -> Self {
        Self {
            follow,
            side: Side::new(follow.endpoint, follow.meter, follow.heartbeat),
            tables,
            relations: HashMap::new(),
            absent_columns: false,
            old: Cells::default(),
            new: Cells::default(),
            transaction: None,
            transactions: 0,
            deferred_xid: 0,
            deferred: Deferred::default(),
            position,
            cut_off: None,
            warned: super::learn::Warned::default(),
        }
    }

    fn progress(&self) -> (u64, u64) {
        (self.position.lsn, self.transaction.as_ref().map_or(0, |t| t.applied))
    }

    /// The connection was lost: what is not committed comes again, from its first change on.
    fn begin_again(&mut self) {
        self.side.reset();
        self.relations.clear();
        self.deferred.clear();
        if let Some(transaction) = self.transaction.take() {
            self.cut_off = Some((transaction.commit, transaction.applied));
        }
    }

    async fn run(&mut self, wal: &mut Wal, out: &mut Out) -> Result<()> {
        let mut heard = Instant::now();
        self.side.beat().await;
        loop {
            let buffer = match wal.next_now()? {
                Some(buffer) => buffer,
                None => {
                    // Nothing is waiting: this is the time for what would only delay the stream.
                    if !self.deferred.is_empty() && self.fetch_and_replay(out).await? {
                        return Ok(());
                    }
                    match self.wait(wal, &mut heard, out).await? {
                        Some(buffer) => buffer,
                        None => continue,
                    }
                }
            };
            if self.read_buffer(&buffer, out).await? {
                return Ok(());
            }
            wal.give_back(buffer);
            if self.follow.confirm_while_reading
                && let Some(said) = out.said_position()
            {
                wal.confirm(said.lsn);
            }
        }
    }

    /// Waits for more. `None`: ask again, nothing came yet.
    async fn wait(&mut self, wal: &mut Wal, heard: &mut Instant, out: &mut Out) -> Result<Option<Vec<u8>>> {
        if let Some(buffer) = wal.next(ASK_EVERY / 10).await? {
            *heard = Instant::now();
            return Ok(Some(buffer));
        }
        out.flush()?;
        if out.stop_requested() && self.transaction.is_none() {
            self.checkpoint(out, true)?;
        }
        self.side.beat().await;
        if let Some(buffer) = wal.next(ASK_EVERY).await? {
            *heard = Instant::now();
            return Ok(Some(buffer));
        }
        wal.ask();
        if heard.elapsed() > self.follow.patience {
            return Err(Error::transient(format!(
                "The server has sent nothing for {} s, not even an answer to how far it is. Look at the server's load, or raise \
                 initial_waiting_seconds.",
                self.follow.patience.as_secs()
            )));
        }
        Ok(None)
    }

    /// Says whether the target was reached.
    async fn read_buffer(&mut self, buffer: &[u8], out: &mut Out) -> Result<bool> {
        let mut rest = buffer;
        while let Some(entry) = next_entry(&mut rest) {
            let step =
                if self.deferred.is_empty() { self.step(entry, None, out)? } else { self.defer(entry)? };
            match step {
                Step::On => {}
                Step::Reached => return Ok(true),
                Step::Learn(relation) => {
                    if !self.deferred.is_empty() && self.fetch_and_replay(out).await? {
                        return Ok(true);
                    }
                    self.learn(relation, out).await?;
                }
                Step::Fetch => {
                    if self.fetch_and_replay(out).await? {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Reads what waiting messages lack, and deals with them. Says whether the target was reached.
    async fn fetch_and_replay(&mut self, out: &mut Out) -> Result<bool> {
        let connection = self.side.connection().await?;
        let found = self.deferred.fetch(connection, &self.relations).await?;
        let entries = std::mem::take(&mut self.deferred.entries);
        let mut rest = entries.as_slice();
        let mut reached = false;
        while let Some(entry) = next_entry(&mut rest) {
            match self.step(entry, Some(&found), out)? {
                Step::Reached => {
                    reached = true;
                    break;
                }
                Step::On | Step::Fetch => {}
                // Relations never wait.
                Step::Learn(_) => return Err(Error::system("A relation was put off; please report it.")),
            }
        }
        self.deferred.clear();
        Ok(reached)
    }

    /// Puts an entry behind those that wait.
    fn defer(&mut self, entry: Entry<'_>) -> Result<Step> {
        let (start, payload) = match entry {
            Entry::KeepAlive { end } => {
                write_keep_alive(&mut self.deferred.entries, end);
                return Ok(if end >= self.follow.target { Step::Fetch } else { Step::On });
            }
            Entry::Message { start, payload } => (start, payload),
        };
        let message = Message::parse(payload, &mut self.old, &mut self.new)?;
        let step = match message {
            Message::Relation(relation) => return Ok(Step::Learn(relation)),
            Message::Begin { xid, .. } => {
                self.deferred_xid = xid;
                Step::On
            }
            Message::Commit { end, .. } if end >= self.follow.target => Step::Fetch,
            Message::Insert { relation } => {
                self.note(payload, relation, None);
                Step::On
            }
            Message::Update { relation, old } => {
                self.note(payload, relation, old);
                Step::On
            }
            _ => Step::On,
        };
        write_entry(&mut self.deferred.entries, start, payload);
        Ok(if self.deferred.is_full() { Step::Fetch } else { step })
    }

    /// Deals with one entry. With `found`, the values that were lacking have been read.
    #[inline]
    fn step(
        &mut self,
        entry: Entry<'_>,
        found: Option<&HashMap<(u32, Vec<u8>), Values>>,
        out: &mut Out,
    ) -> Result<Step> {
        let (start, payload) = match entry {
            Entry::KeepAlive { end } => return self.keep_alive(end, out),
            Entry::Message { start, payload } => (start, payload),
        };
        match Message::parse(payload, &mut self.old, &mut self.new)? {
            Message::Insert { relation } => return self.write(start, payload, relation, None, found, out),
            Message::Update { relation, old } => {
                return self.write(start, payload, relation, old, found, out);
            }
            Message::Delete { relation, old } => self.delete(start, payload, relation, old, out)?,
            Message::Begin { commit, micros, xid } => self.begin(commit, micros, xid)?,
            Message::Commit { end, micros, .. } => return self.commit(end, micros, out),
            Message::Relation(relation) => return Ok(Step::Learn(relation)),
            Message::Truncate { relations } => self.truncate(relations)?,
            Message::Origin | Message::Type | Message::Logical { .. } => {}
        }
        Ok(Step::On)
    }

    fn keep_alive(&mut self, end: u64, out: &mut Out) -> Result<Step> {
        // Inside a transaction it says nothing about what we have of it.
        if self.transaction.is_some() {
            return Ok(Step::On);
        }
        if end > self.position.lsn {
            self.position.lsn = end;
            self.checkpoint(out, false)?;
        }
        Ok(if end >= self.follow.target { Step::Reached } else { Step::On })
    }

    fn begin(&mut self, commit: u64, micros: i64, xid: u32) -> Result<()> {
        if self.transaction.is_some() {
            return Err(out_of_turn("Begin"));
        }
        self.transactions += 1;
        let skip = self.cut_off.take().filter(|(c, _)| *c == commit).map_or(0, |(_, applied)| applied);
        let mut at = Vec::with_capacity(32);
        write_timestamp(&mut at, micros, true);
        self.transaction =
            Some(Transaction { number: self.transactions, commit, micros, xid, at, applied: 0, skip });
        Ok(())
    }

    fn commit(&mut self, end: u64, micros: i64, out: &mut Out) -> Result<Step> {
        let Some(transaction) = self.transaction.take() else { return Err(out_of_turn("Commit")) };
        debug_assert_eq!(transaction.micros, micros);
        self.position.lsn = end;
        self.position.xid = Some(transaction.xid);
        self.position.micros = Some(micros);
        self.checkpoint(out, false)?;
        Ok(if end >= self.follow.target { Step::Reached } else { Step::On })
    }

    /// Between transactions a later run can go on. Called at every commit, so it does nothing
    /// unless a state is due.
    fn checkpoint(&mut self, out: &mut Out, now: bool) -> Result<()> {
        if !(now || out.state_is_due() || out.stop_requested()) {
            return Ok(());
        }
        let lsn = self.position.lsn;
        for table in self.tables.iter_mut().filter(|t| !t.failed && t.has_news(lsn)) {
            let state = table.state(lsn);
            let named = crate::read::named(&table.table, crate::state::Cursor::Streaming(state));
            out.set_cursor(table.stream, Some(named));
        }
        out.checkpoint_now(&self.position)
    }

    /// An insert or an update: sent, unless values have to be read first.
    #[inline]
    fn write(
        &mut self,
        start: u64,
        payload: &[u8],
        relation: u32,
        old: Option<Old>,
        found: Option<&HashMap<(u32, Vec<u8>), Values>>,
        out: &mut Out,
    ) -> Result<Step> {
        let lacks = self.new.has_unchanged() || self.absent_columns;
        let mut fetched = None;
        if lacks && let Some(found) = found {
            fetched = self.found(payload, relation, old, found);
        } else if lacks {
            self.deferred_xid = self.transaction.as_ref().map_or(0, |t| t.xid);
            if self.note(payload, relation, old) {
                write_entry(&mut self.deferred.entries, start, payload);
                return Ok(if self.deferred.is_full() { Step::Fetch } else { Step::On });
            }
        }
        self.upsert(start, payload, relation, old, fetched, out)?;
        Ok(Step::On)
    }

    /// Notes what a change lacks; says whether it lacks something that can be read.
    fn note(&mut self, payload: &[u8], relation: u32, old: Option<Old>) -> bool {
        let Some(known) = self.relations.get(&relation) else { return false };
        let after = after(payload, &self.new, old, &self.old, None);
        self.deferred.note(known, &after, self.deferred_xid)
    }

    fn found<'f>(
        &self,
        payload: &[u8],
        relation: u32,
        old: Option<Old>,
        found: &'f HashMap<(u32, Vec<u8>), Values>,
    ) -> Option<&'f Values> {
        let known = self.relations.get(&relation)?;
        let key = key_of(known, &after(payload, &self.new, old, &self.old, None))?;
        found.get(&(relation, key))
    }

    /// Counts a change; `None` when it was sent before.
    #[inline]
    fn next_change(&mut self) -> Result<Option<&mut Transaction>> {
        let Some(transaction) = &mut self.transaction else { return Err(out_of_turn("change")) };
        transaction.applied += 1;
        Ok((transaction.applied > transaction.skip).then_some(transaction))
    }

    #[inline]
    fn upsert(
        &mut self,
        start: u64,
        payload: &[u8],
        relation: u32,
        old: Option<Old>,
        fetched: Option<&Values>,
        out: &mut Out,
    ) -> Result<()> {
        if self.next_change()?.is_none() {
            return Ok(());
        }
        let known = self.relations.get(&relation).ok_or_else(|| unannounced(relation))?;
        let Some(transaction) = &self.transaction else { return Ok(()) };
        let after = after(payload, &self.new, old, &self.old, fetched);
        if after.new.len() != known.relation.columns.len() {
            return Err(wrong_width(known));
        }
        for target in &known.targets {
            let table = &mut self.tables[target.followed];
            if table.failed || table.has_seen(transaction.number, transaction.xid, transaction.commit) {
                continue;
            }
            if let Some(old) = after.old
                && moves(target, known, &after)
            {
                let stamp = Stamp { lsn: table.lsn(start), at: &transaction.at };
                write_deleted(target, payload, old, stamp, out.row(table.stream))?;
            }
            let stamp = Stamp { lsn: table.lsn(start), at: &transaction.at };
            write_after(target, &after, stamp, out.row(table.stream))?;
        }
        Ok(())
    }

    fn delete(&mut self, start: u64, payload: &[u8], relation: u32, old: Old, out: &mut Out) -> Result<()> {
        if self.next_change()?.is_none() {
            return Ok(());
        }
        let known = self.relations.get(&relation).ok_or_else(|| unannounced(relation))?;
        let Some(transaction) = &self.transaction else { return Ok(()) };
        if self.old.len() != known.relation.columns.len() {
            return Err(wrong_width(known));
        }
        for target in &known.targets {
            let table = &mut self.tables[target.followed];
            if table.failed || table.has_seen(transaction.number, transaction.xid, transaction.commit) {
                continue;
            }
            let stamp = Stamp { lsn: table.lsn(start), at: &transaction.at };
            write_deleted(target, payload, (old, &self.old), stamp, out.row(table.stream))?;
        }
        Ok(())
    }

    /// Nothing in the records can say that a table was emptied, so the user is told.
    fn truncate(&mut self, relations: &[u8]) -> Result<()> {
        if self.next_change()?.is_none() {
            return Ok(());
        }
        let Some(transaction) = &self.transaction else { return Ok(()) };
        let mut names = Vec::new();
        for oid in relations.chunks_exact(4) {
            let oid = u32::from_be_bytes([oid[0], oid[1], oid[2], oid[3]]);
            let Some(known) = self.relations.get(&oid) else { continue };
            for target in &known.targets {
                let table = &mut self.tables[target.followed];
                if !table.failed && !table.has_seen(transaction.number, transaction.xid, transaction.commit) {
                    names.push(table.table.quoted());
                }
            }
        }
        if !names.is_empty() {
            tracing::warn!(
                "TRUNCATE emptied {} in the transaction of {}. Its rows stay in the destination, because no record can say that all rows \
                 are gone: refresh these streams to be rid of them.",
                names.join(", "),
                String::from_utf8_lossy(&transaction.at)
            );
        }
        Ok(())
    }
}

fn after<'c>(
    message: &'c [u8],
    new: &'c Cells,
    which: Option<Old>,
    old: &'c Cells,
    fetched: Option<&'c Values>,
) -> After<'c> {
    After { message, new, old: which.map(|which| (which, old)), fetched: fetched.map(Vec::as_slice) }
}

#[cold]
fn out_of_turn(what: &str) -> Error {
    Error::system(format!(
        "The server sent a {what} message of the replication stream out of turn. Try again; if it comes back, look for a proxy between \
         this machine and the server, and report the server's version."
    ))
}

#[cold]
fn unannounced(relation: u32) -> Error {
    Error::system(format!(
        "The server sent a change of a table (OID {relation}) that it has not described. Try again; if it comes back, report the server's \
         version."
    ))
}

#[cold]
fn wrong_width(known: &Known) -> Error {
    Error::system(format!(
        "The server sent a row of {}.{} with another number of columns than it has announced. Try again; if it comes back, look for a \
         proxy between this machine and the server, and report the server's version.",
        known.relation.schema, known.relation.name
    ))
}
