//! The contract of destinations whose writers share one transaction.

use std::future::Future;
use std::time::Duration;

use protocol::{StateStats, StreamDescriptor};

use crate::error::Result;
use crate::traits::Destination;

/// A state that becomes durable together with the rows that it covers.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoint<'a> {
    /// The stream, as the destination's catalog names it; `None` for a state that all streams share.
    pub stream: Option<&'a StreamDescriptor>,
    /// The STATE line as it was received, without its newline.
    pub line: &'a [u8],
    /// Count and digest of the rows since the state before.
    pub stats: &'a StateStats,
    /// Nothing more comes of the stream in this run, and the source has said that it sent all of it.
    pub complete: bool,
}

/// A checkpoint as it is found again.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The STATE line as it was received.
    pub line: Vec<u8>,
    /// Count and digest of the rows since the state before.
    pub stats: StateStats,
    /// The job that committed it.
    pub job: Option<i64>,
    /// That job's attempt.
    pub attempt: Option<i64>,
}

/// How often an open transaction is marked; see [`TransactionalDestination::mark`]. A mark is only ever made
/// where every stream stands at a state.
#[derive(Clone, Copy, Debug)]
pub struct MarkPolicy {
    /// So many are made at once, so that a short run loses nothing …
    pub early: u32,
    /// … the others after this many bytes …
    pub bytes: u64,
    /// … or this long.
    pub age: Duration,
    /// So many one transaction may have.
    pub most: u32,
    /// Whether one is made whenever a stream is complete, whatever the rest says: its rows never come again.
    pub completions: bool,
}

impl Default for MarkPolicy {
    fn default() -> Self {
        // Servers keep a list of 64.
        Self { early: 16, bytes: 16 << 20, age: Duration::from_secs(2), most: 48, completions: false }
    }
}

/// A destination that can commit rows and the state they belong to in one step. Its main is
/// [`crate::transactional_destination_main`].
///
/// All its writers write into one transaction, which begins by itself with the first row. What a
/// writer took is in it when `write` returns, and nothing of it is seen, or survives a crash, before
/// [`commit`](Self::commit). The driver commits at state boundaries only: never a row that a source
/// which resumes from the last state would send again. (Unless streams are interleaved so that there
/// is no such moment for four times the [flush policy](Destination::flush_policy); it then says so.)
///
/// `flush` and `finish` of a writer prepare for the commit that follows them: they merge or publish
/// inside the transaction. One that fails undoes itself, and no row that its writer took since its last
/// flush is ever seen; the transaction goes on for the other streams.
pub trait TransactionalDestination: Destination {
    /// Whether this run is one of transactions. If not, each writer's `flush` makes its rows durable by itself,
    /// as that of any [`Destination`].
    fn transacts(&self) -> bool {
        true
    }

    /// How often to mark.
    fn mark_policy(&self) -> MarkPolicy {
        MarkPolicy::default()
    }

    /// What the writers have taken so far is to survive a [`rollback`](Self::rollback).
    ///
    /// # Errors
    /// Ends the run.
    fn mark(&self) -> impl Future<Output = Result<()>> + Send;

    /// Drops what the writers have taken since the last mark or commit, and heals a transaction in which
    /// a statement failed.
    ///
    /// # Errors
    /// Ends the run; nothing since the last commit is kept then.
    fn rollback(&self) -> impl Future<Output = Result<()>> + Send;

    /// Commits the transaction, if there is one, and the checkpoints: all of it or, after a crash at any
    /// moment, nothing. Without either it does nothing.
    ///
    /// # Errors
    /// Ends the run; the states are not echoed. An error that leaves open whether the server has
    /// committed is cleared up by the next run, which asks [`committed`](Self::committed).
    fn commit(&self, checkpoints: &[Checkpoint<'_>]) -> impl Future<Output = Result<()>> + Send;

    /// The last checkpoint of each of these streams, or the one that all streams share, of this
    /// connection (see [`crate::RunIdentity`]). Returns only once no earlier process of the connection can
    /// commit any more.
    ///
    /// # Errors
    /// When the system cannot be asked, or an earlier process is still at work.
    fn committed(&self, streams: &[StreamDescriptor]) -> impl Future<Output = Result<Vec<Committed>>> + Send;
}
