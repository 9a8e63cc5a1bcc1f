//! One attempt: both processes started, watched and ended.
//!
//! Threads: the pump (source's stdout to destination's stdin), a reader of the
//! destination's stdout, one per stderr, one waiting for each process. This thread
//! supervises: it keeps confirmed states, watches the clock, and decides. Back-pressure
//! is the pipes' alone; nothing here queues records.

mod activity;
mod ears;
mod supervise;
mod verdict;

use std::time::Duration;

use protocol::RecordDigest;

use crate::catalog::Selected;
use crate::error::Failure;
use crate::interrupt::Interrupt;
use crate::job_log::JobLog;
use crate::launch::Launch;
use crate::progress::Style;
use crate::receipts::{Committed, Saved};
use crate::sync_file::Timeouts;

/// How long ferry waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the sync file.
    pub timeouts: Timeouts,
    /// For a process's end once its output has ended.
    pub exit_grace: Duration,
    /// Between SIGTERM and SIGKILL.
    pub stop_grace: Duration,
    /// For the whole way to a durable state after the first SIGINT.
    pub drain: Duration,
    /// The longest line accepted.
    pub line_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            exit_grace: Duration::from_secs(10),
            stop_grace: Duration::from_secs(20),
            drain: Duration::from_secs(10),
            line_bytes: protocol::MAX_LINE_BYTES,
        }
    }
}

/// What an attempt needs.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// The streams of both catalogs.
    pub streams: &'a [&'a Selected],
    /// `source read …`
    pub source: Launch,
    /// `destination write …`
    pub destination: Launch,
    /// The job's log.
    pub log: &'a JobLog,
    /// Whether to stop.
    pub interrupt: &'a Interrupt,
    /// How long to wait.
    pub limits: Limits,
    /// How to show progress.
    pub progress: Style,
}

/// How one stream went.
#[derive(Clone, Debug)]
pub struct StreamOutcome {
    /// The source said COMPLETE and ended well, and the destination confirmed everything.
    pub complete: bool,
    /// Records that the source sent, and their digest.
    pub read: RecordDigest,
    /// Bytes of their data.
    pub bytes: u64,
    /// What the destination confirmed.
    pub committed: Committed,
    /// The source's estimate of records and bytes.
    pub estimate: (Option<i64>, Option<i64>),
    /// From the first byte to the end of the stream, or of the attempt.
    pub seconds: f64,
}

/// How an attempt went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// In the order of the streams given.
    pub streams: Vec<StreamOutcome>,
    /// What went wrong, most telling first. Empty when every stream is complete.
    pub failures: Vec<Failure>,
    /// A signal ended it.
    pub cancelled: bool,
    /// The source kept one state for all streams.
    pub global_state: bool,
}

impl Attempt<'_> {
    /// Runs it to its end. Confirmed states go to `save` while it runs.
    pub fn run(self, save: &mut dyn FnMut(Vec<Saved>) -> Result<(), Failure>) -> Outcome {
        supervise::run(self, save)
    }
}
