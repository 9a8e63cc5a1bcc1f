//! What is committed of a connection: one object, whose change commits the rows of all streams together
//! with the states that cover them.
//!
//! First the list of every stream says which uploads are to become objects with commit *n* of the connection; then this
//! record says *n*, and with it the states; then the uploads are completed. A crash before the record changed leaves
//! lists whose *n* was never reached: taken back. One after it leaves lists whose *n* was: ended by the next run.

use std::collections::HashSet;

use connector_kit::protocol::{StateStats, StreamDescriptor};
use connector_kit::{Checkpoint, Committed, Error, Result, RunIdentity};
use s3_kit::Store;
use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::keys::{hidden, token};
use crate::manifest::CommitOf;

/// Times that another process may be quicker when its commits are to be ended.
const MOST_TRIES: u32 = 20;

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Raised by incompatible changes only.
    pub(crate) version: u32,
    /// The process that may change it.
    pub(crate) writer: String,
    /// The last commit.
    pub(crate) number: u64,
    /// Those whose lists may name a commit that was never reached.
    pub(crate) streams: Vec<StreamDescriptor>,
    /// The last state of each stream, or the one that all share.
    pub(crate) states: Vec<Kept>,
}

/// A state that is committed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
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

impl Record {
    /// Whether a state covers rows of this stream.
    pub(crate) fn covers(&self, stream: &StreamDescriptor) -> bool {
        self.states.iter().any(|kept| match &kept.stream {
            Some(own) => own == stream,
            // The one that all share says of which it is.
            None => {
                let state: serde_json::Value = serde_json::from_str(&kept.line).unwrap_or_default();
                let streams = state.pointer("/state/global/stream_states").and_then(|s| s.as_array());
                streams.is_none_or(|streams| {
                    streams.iter().any(|s| {
                        let descriptor = &s["stream_descriptor"];
                        descriptor["name"] == stream.name.as_str()
                            && descriptor["namespace"].as_str() == stream.namespace.as_deref()
                    })
                })
            }
        })
    }

    /// The streams of which this job has committed everything.
    fn done_by(&self, job: Option<i64>) -> HashSet<StreamDescriptor> {
        let done = self.states.iter().filter(|kept| job.is_some() && kept.job == job && kept.complete);
        done.filter_map(|kept| kept.stream.clone()).collect()
    }

    fn keep(&mut self, run: &RunIdentity, checkpoints: &[Checkpoint<'_>]) -> Result<()> {
        for checkpoint in checkpoints {
            let line = std::str::from_utf8(checkpoint.line).map_err(|e| {
                Error::system("A state is not UTF-8; mend the source that sent it.").with_source(e)
            })?;
            let stream = checkpoint.stream.cloned();
            // A source has either states of streams or one of all; those of the other kind are history.
            self.states.retain(|kept| kept.stream.is_some() == stream.is_some() && kept.stream != stream);
            self.states.push(Kept {
                stream,
                line: line.to_owned(),
                records: checkpoint.stats.records,
                digest: checkpoint.stats.digest.clone(),
                job: run.job,
                attempt: run.attempt,
                complete: checkpoint.complete,
            });
        }
        Ok(())
    }
}

/// The record of our own connection.
#[derive(Debug)]
pub(crate) struct Commits {
    document: Document<Record>,
    connection: String,
    run: RunIdentity,
    /// What an earlier attempt of this job has written to the end.
    pub(crate) done: HashSet<StreamDescriptor>,
    /// Whether a commit has failed: what became of it, the next run finds out.
    broken: bool,
}

async fn read(store: &Store, root: &str, connection: &str, conditional: bool) -> Result<Document<Record>> {
    // No stream's list begins with a dot.
    let key = hidden(root, &format!(".commits/{connection}.json"));
    let document = Document::<Record>::read(store, key, "The record of commits", conditional).await?;
    if document.value.version > 1 {
        return Err(Error::config(format!(
            "The record of commits {} was written by a newer version; use that version.",
            document.url()
        )));
    }
    Ok(document)
}

/// Makes us the one who may change it.
async fn take_over(document: &mut Document<Record>, streams: &[StreamDescriptor]) -> Result<()> {
    for _ in 0..MOST_TRIES {
        document.value.version = 1;
        document.value.writer = token();
        for stream in streams {
            if !document.value.streams.contains(stream) {
                document.value.streams.push(stream.clone());
            }
        }
        if document.save().await? {
            return Ok(());
        }
        // An earlier process has just committed: what it says now counts.
        document.read_again().await?;
    }
    Err(Error::transient(format!(
        "Another process of this sync is at work and changes {} all the time; wait until it has ended.",
        document.url()
    )))
}

impl Commits {
    /// Reads the record and keeps every earlier process of the connection from committing any more. None where
    /// nobody says which connection it is, so nobody could ask again.
    pub(crate) async fn take_turn(
        store: &Store,
        root: &str,
        conditional: bool,
        run: &RunIdentity,
        streams: &[StreamDescriptor],
    ) -> Result<Option<Self>> {
        let Some(connection) = run.connection.clone() else { return Ok(None) };
        let mut document = read(store, root, &connection, conditional).await?;
        take_over(&mut document, streams).await?;
        let done = document.value.done_by(run.job);
        Ok(Some(Self { document, connection, run: run.clone(), done, broken: false }))
    }

    pub(crate) fn record(&self) -> &Record {
        &self.document.value
    }

    /// Those that earlier processes wrote and this one does not.
    pub(crate) fn left(&self, streams: &[StreamDescriptor]) -> Vec<StreamDescriptor> {
        self.record().streams.iter().filter(|s| !streams.contains(s)).cloned().collect()
    }

    /// No list of another stream than these names a commit that was not reached; the next commit says so.
    pub(crate) fn settled(&mut self, streams: &[StreamDescriptor]) {
        self.document.value.streams = streams.to_vec();
    }

    /// The next commit.
    pub(crate) fn next(&self) -> Result<CommitOf> {
        if self.broken {
            return Err(Error::system("Nothing more can be committed by this run."));
        }
        Ok(CommitOf { connection: self.connection.clone(), number: self.record().number + 1 })
    }

    /// Something failed between the lists' saying what is to come and its having come.
    pub(crate) fn fail(&mut self) {
        self.broken = true;
    }

    /// Whether this commit, announced by an earlier process, was reached.
    pub(crate) fn reached(&self, commit: &CommitOf) -> Option<bool> {
        (commit.connection == self.connection).then(|| commit.number <= self.record().number)
    }

    /// Commits: all rows that lists have announced with the next commit, and these states.
    pub(crate) async fn commit(&mut self, checkpoints: &[Checkpoint<'_>]) -> Result<()> {
        let record = &mut self.document.value;
        record.number += 1;
        record.keep(&self.run, checkpoints)?;
        // Only one commit differs from the one before by its number.
        if self.document.save().await? {
            return Ok(());
        }
        Err(Error::config(format!(
            "A later process of this sync has taken over {}; this one ends, and nothing that it had not yet committed is kept.",
            self.document.url()
        )))
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
        self.record().states.iter().filter(asked).map(committed).collect()
    }
}

/// Whether a commit of another connection was reached. Its process cannot reach it any more afterwards.
pub(crate) async fn was_reached(
    store: &Store,
    root: &str,
    conditional: bool,
    commit: &CommitOf,
) -> Result<bool> {
    let mut document = read(store, root, &commit.connection, conditional).await?;
    if !document.exists() {
        // Without it nobody can commit either: a change names the version it replaces.
        return Ok(false);
    }
    take_over(&mut document, &[]).await?;
    Ok(commit.number <= document.value.number)
}
