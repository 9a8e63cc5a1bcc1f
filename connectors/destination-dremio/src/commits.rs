//! What is committed of a connection: a log in a table beside the streams' tables, of which the last entry counts.
//!
//! Dremio has no transactions, but a statement is whole. So an entry, which is one INSERT, commits the states of all streams at once, and
//! says up to which id the rows of each table belong to them. Before rows are sent an entry says which ids they will have; those beyond
//! what is committed are removed by the next process. Who wants to write claims the next turn first, and only then looks what is
//! committed; who has committed looks afterwards whether somebody has claimed a turn, and if so ends, and says nothing. So at least
//! one of the two sees the other, whatever comes late: entries of earlier turns do not count once a later turn has one.

use std::collections::{BTreeMap, HashSet};

use connector_kit::protocol::{StateStats, StreamDescriptor};
use connector_kit::{Checkpoint, Committed, Error, RAW_ID, Result, RunIdentity, Stamp};
use flight_kit::Fault;
use serde::{Deserialize, Serialize};

use crate::names::{COMMITS, Place, quote};
use crate::session::{Session, explained};
use crate::table::create_with;

const COLUMNS: [&str; 6] = ["connection", "turn", "number", "run", "part", "entry"];
/// Dremio reads texts of 32,000 bytes; a longer entry is several rows.
const PART_BYTES: usize = 16_000;
/// By so many later runs rows are looked for that came after their process had ended.
const MOST_SWEEPS: u32 = 3;

/// Rows that a run has put, or may have put, into a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rows {
    folder: Vec<String>,
    table: String,
    /// What the ids of the run's rows begin with.
    prefix: String,
    /// Those up to this one are committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upto: Option<String>,
    #[serde(default)]
    sweeps: u32,
}

impl Rows {
    pub(crate) fn new(table: &Place, prefix: &str, upto: Option<&str>) -> Self {
        Self {
            folder: table.folder.clone(),
            table: table.name.clone(),
            prefix: prefix.to_owned(),
            upto: upto.map(str::to_owned),
            sweeps: 0,
        }
    }

    /// Removes those that are not committed.
    pub(crate) async fn take_back(&self, session: &Session) -> Result<()> {
        let table = Place { folder: self.folder.clone(), name: self.table.clone() };
        let doing = format!("take back rows of the table {table} that no state covers");
        let id = quote(RAW_ID);
        // Ids go on in hexadecimal digits, all of which come before a g.
        let sql = format!(
            "DELETE FROM {} WHERE {id} > '{}' AND {id} < '{}g'",
            table.sql(),
            self.upto.as_ref().unwrap_or(&self.prefix),
            self.prefix
        );
        match session.attempt(&doing, &sql).await {
            // A table that was dropped has no rows.
            Err(error) if error.fault() == Fault::Missing => Ok(()),
            done => done.map_err(|error| explained(&doing, error)),
        }
    }
}

/// A state that is committed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// Absent for the one that all share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream: Option<StreamDescriptor>,
    /// The STATE line as it came.
    line: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    records: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    job: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt: Option<i64>,
    complete: bool,
}

/// An entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Entry {
    /// Raised by incompatible changes only.
    version: u32,
    /// The last state of each stream, or the one that all share.
    states: Vec<Kept>,
    /// Of the run that wrote it: there may be rows beyond those that are committed.
    open: Vec<Rows>,
    /// Of earlier runs: rows beyond those that are committed are nobody's.
    dead: Vec<Rows>,
}

/// The log, by the one whose turn it is.
#[derive(Debug)]
pub(crate) struct Commits {
    table: Place,
    connection: String,
    identity: RunIdentity,
    /// Who we are.
    run: String,
    turn: u64,
    number: u64,
    entry: Entry,
    /// Whether an entry could not be written, or came too late: what became of it, the next run finds out.
    broken: bool,
}

/// Where an entry stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct At {
    turn: u64,
    number: u64,
    run: String,
}

impl Commits {
    /// Claims the next turn, so that no earlier process of the connection can commit any more. `None` where nobody says which
    /// connection it is, so nobody could ask again.
    pub(crate) async fn take_turn(
        session: &Session,
        folder: &[String],
        identity: &RunIdentity,
    ) -> Result<Option<Self>> {
        let Some(connection) = identity.connection.clone() else { return Ok(None) };
        let table = Place { folder: folder.to_vec(), name: COMMITS.to_owned() };
        let columns: Vec<String> = COLUMNS.iter().map(|name| format!("{} VARCHAR", quote(name))).collect();
        create_with(session, &format!("create the table {table}"), &table, &columns.join(", ")).await?;
        let run = String::from_utf8_lossy(Stamp::new(None, None).next_id()).into_owned();
        let identity = identity.clone();
        let entry = Entry::default();
        let mut commits = Self { table, connection, identity, run, turn: 0, number: 0, entry, broken: false };
        commits.turn = commits.log(session).await?.last().map_or(0, |last| last.turn) + 1;
        commits.write(session, 0, "").await?;
        let log = commits.log(session).await?;
        if commits.is_late(&log) {
            return Err(commits.overtaken());
        }
        // Entry 0 of a turn is its claim.
        if let Some(last) = log.iter().rfind(|at| at.number > 0) {
            commits.entry = commits.read(session, last).await?;
        }
        let open = std::mem::take(&mut commits.entry.open);
        commits.entry.dead.extend(open);
        // From now on entries of earlier turns do not count, even if they come.
        commits.save(session, Vec::new()).await?;
        let sql = format!(
            "DELETE FROM {} WHERE {} AND \"turn\" < '{}'",
            commits.table.sql(),
            commits.ours(),
            digits(commits.turn)
        );
        session.settle(&format!("tidy the table {}", commits.table), &sql).await?;
        Ok(Some(commits))
    }

    /// Removes what earlier runs left uncommitted.
    pub(crate) async fn sweep(&mut self, session: &Session) -> Result<()> {
        let mut dead = std::mem::take(&mut self.entry.dead);
        if dead.iter().any(|rows| rows.sweeps == 0) {
            let new = dead.iter().filter(|rows| rows.sweeps == 0);
            session.wait_until_idle(new.map(|rows| rows.prefix.as_str())).await;
        }
        for rows in &mut dead {
            rows.take_back(session).await?;
            rows.sweeps += 1;
        }
        dead.retain(|rows| rows.sweeps < MOST_SWEEPS);
        self.entry.dead = dead;
        Ok(())
    }

    /// The streams of which this job has committed everything.
    pub(crate) fn done(&self) -> HashSet<StreamDescriptor> {
        let job = self.identity.job;
        let done = self.entry.states.iter().filter(|kept| job.is_some() && kept.job == job && kept.complete);
        done.filter_map(|kept| kept.stream.clone()).collect()
    }

    /// Whether nothing may be done any more, since what is committed is not known.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Commits states; `open` are the rows that they do not cover, or that are to come.
    pub(crate) async fn commit(
        &mut self,
        session: &Session,
        checkpoints: &[Checkpoint<'_>],
        open: Vec<Rows>,
    ) -> Result<()> {
        if self.broken {
            return Err(Error::system("Nothing more can be committed by this run."));
        }
        for checkpoint in checkpoints {
            let line = std::str::from_utf8(checkpoint.line).map_err(|e| {
                Error::system("A state is not UTF-8; mend the source that sent it.").with_source(e)
            })?;
            let stream = checkpoint.stream.cloned();
            // A source has either states of streams or one of all; those of the other kind are history.
            self.entry
                .states
                .retain(|kept| kept.stream.is_some() == stream.is_some() && kept.stream != stream);
            self.entry.states.push(Kept {
                stream,
                line: line.to_owned(),
                records: checkpoint.stats.records,
                digest: checkpoint.stats.digest.clone(),
                job: self.identity.job,
                attempt: self.identity.attempt,
                complete: checkpoint.complete,
            });
        }
        self.save(session, open).await
    }

    /// The last states of these streams, or the one that all share.
    pub(crate) fn committed(&self, streams: &[StreamDescriptor]) -> Vec<Committed> {
        let asked = |kept: &&Kept| kept.stream.as_ref().is_none_or(|s| streams.contains(s));
        let committed = |kept: &Kept| Committed {
            line: kept.line.clone().into_bytes(),
            stats: StateStats { records: kept.records, rejected: None, digest: kept.digest.clone() },
            job: kept.job,
            attempt: kept.attempt,
        };
        self.entry.states.iter().filter(asked).map(committed).collect()
    }

    async fn save(&mut self, session: &Session, open: Vec<Rows>) -> Result<()> {
        self.entry.open = open;
        self.entry.version = 1;
        let text = serde_json::to_string(&self.entry)
            .map_err(|e| Error::system("States cannot be written; please report it.").with_source(e))?;
        self.broken = true;
        self.number += 1;
        self.write(session, self.number, &text).await?;
        if self.is_late(&self.log(session).await?) {
            return Err(self.overtaken());
        }
        self.broken = false;
        Ok(())
    }

    /// Written twice it is the same entry.
    async fn write(&self, session: &Session, number: u64, text: &str) -> Result<()> {
        let mut rows = Vec::new();
        let mut rest = text;
        while rows.is_empty() || !rest.is_empty() {
            let (part, more) = rest.split_at(rest.floor_char_boundary(PART_BYTES));
            rest = more;
            let part_number = digits(rows.len() as u64);
            rows.push(format!(
                "('{}', '{}', '{}', '{}', '{part_number}', '{}')",
                self.connection,
                digits(self.turn),
                digits(number),
                self.run,
                part.replace('\'', "''")
            ));
        }
        let columns = COLUMNS.map(quote).join(", ");
        let sql = format!("INSERT INTO {} ({columns}) VALUES {}", self.table.sql(), rows.join(", "));
        session.settle(&format!("write to the table {}", self.table), &sql).await
    }

    fn ours(&self) -> String {
        format!("\"connection\" = '{}'", self.connection)
    }

    /// Where the entries are, in their order.
    async fn log(&self, session: &Session) -> Result<Vec<At>> {
        let sql = format!(
            "SELECT DISTINCT \"turn\", \"number\", \"run\" FROM {} WHERE {}",
            self.table.sql(),
            self.ours()
        );
        let table = session.ask(&format!("read the table {}", self.table), &sql).await?;
        let number = |text: String| text.parse::<u64>().map_err(|e| self.unreadable().with_source(e));
        let mut log = Vec::new();
        for ((turn, at), run) in table.texts(0).into_iter().zip(table.texts(1)).zip(table.texts(2)) {
            log.push(At { turn: number(turn)?, number: number(at)?, run });
        }
        log.sort();
        Ok(log)
    }

    async fn read(&self, session: &Session, at: &At) -> Result<Entry> {
        let sql = format!(
            "SELECT \"part\", \"entry\" FROM {} WHERE {} AND \"turn\" = '{}' AND \"number\" = '{}' AND \"run\" = '{}'",
            self.table.sql(),
            self.ours(),
            digits(at.turn),
            digits(at.number),
            at.run
        );
        let table = session.ask(&format!("read the table {}", self.table), &sql).await?;
        let parts: BTreeMap<String, String> = table.texts(0).into_iter().zip(table.texts(1)).collect();
        let text: String = parts.into_values().collect();
        let entry: Entry = serde_json::from_str(&text).map_err(|e| self.unreadable().with_source(e))?;
        if entry.version > 1 {
            return Err(Error::config(format!(
                "The table {} was written by a newer version of this destination; use that version.",
                self.table
            )));
        }
        Ok(entry)
    }

    fn is_late(&self, log: &[At]) -> bool {
        log.iter().any(|at| at.turn > self.turn || at.turn == self.turn && at.run != self.run)
    }

    fn overtaken(&self) -> Error {
        Error::transient(format!(
            "Another process of this sync is at work, as the table {} says; this one ends, and nothing that it had not yet committed is kept. Let there be one, and try again.",
            self.table
        ))
    }

    fn unreadable(&self) -> Error {
        Error::config(format!(
            "The table {} holds what this destination did not write. Drop it, and run \"ferry state reset\" for the streams of this sync, so that all of them are read again.",
            self.table
        ))
    }
}

/// Numbers as texts in the same order.
fn digits(number: u64) -> String {
    format!("{number:012}")
}
