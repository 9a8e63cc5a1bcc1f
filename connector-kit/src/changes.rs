//! Streams that share one position: the emitter for them, and the run that uses it.

use std::sync::Arc;
use std::time::Instant;

use protocol::{
    Message, RecordDigest, State, StateFile, StateScope, StateStats, StreamState, StreamStatusKind, Trace,
};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::emitter::{Emitter, STATE_AGE, STATE_BYTES};
use crate::error::{Error, ErrorKind, Result};
use crate::read::{Job, refuse, report};
use crate::row::{Chunk, Row, StreamRows, now_ms};
use crate::stream::SelectedStream;
use crate::traits::{ChangeSource, StreamOutput};

/// One stream of a run whose streams share a position.
#[derive(Debug)]
pub struct ChangeStream<C> {
    /// As selected. Streams in full refresh are among them: their states travel in the same messages.
    pub selected: Arc<SelectedStream>,
    /// The stream's part of the state that the run goes on from.
    pub resume: Option<C>,
}

/// Where a source writes the rows of all streams and the position they share. Streams are
/// named by their index in the run.
#[derive(Debug)]
pub struct ChangeEmitter<P, C> {
    chunk: Chunk,
    streams: Vec<Outlet<C>>,
    /// The newest checkpoint.
    position: Option<P>,
    /// What the newest checkpoint stands for was not said yet.
    pending: bool,
    said: RecordDigest,
    said_bytes: u64,
    said_at: Instant,
    said_position: Option<P>,
}

#[derive(Debug)]
struct Outlet<C> {
    selected: Arc<SelectedStream>,
    rows: StreamRows,
    running: bool,
    cursor: Option<C>,
    failed: Option<Error>,
}

fn as_json<T: Serialize>(value: &T) -> Result<Box<RawValue>> {
    to_raw_value(value).map_err(|e| Error::system("A cursor cannot be written as JSON.").with_source(e))
}

impl<P: Serialize + Clone, C: Serialize + Clone> ChangeEmitter<P, C> {
    fn new(streams: &[ChangeStream<C>], out: Emitter) -> Self {
        let outlet = |s: &ChangeStream<C>| Outlet {
            selected: Arc::clone(&s.selected),
            rows: StreamRows::new(&s.selected),
            running: false,
            cursor: s.resume.clone(),
            failed: None,
        };
        Self {
            chunk: Chunk::new(out),
            streams: streams.iter().map(outlet).collect(),
            position: None,
            pending: false,
            said: RecordDigest::default(),
            said_bytes: 0,
            said_at: Instant::now(),
            said_position: None,
        }
    }

    /// Begins a record of a stream; see [`Row`].
    #[inline]
    pub fn row(&mut self, stream: usize) -> Row<'_> {
        if !self.streams[stream].running {
            self.say_running(stream);
        }
        Row::open(&mut self.chunk, &mut self.streams[stream].rows)
    }

    #[cold]
    fn say_running(&mut self, stream: usize) {
        self.streams[stream].running = true;
        // A closed stdout shows at the next send.
        let _ = self.status(stream, StreamStatusKind::Running);
    }

    fn status(&mut self, stream: usize, status: StreamStatusKind) -> Result<()> {
        self.chunk.flush()?;
        let descriptor = self.streams[stream].selected.descriptor.clone();
        self.chunk.out.message(&Message::Trace(Trace::status(now_ms(), descriptor, status)))
    }

    /// A view on one stream, for code that reads streams of either kind of source. Its
    /// checkpoints set the stream's cursor and repeat the present position.
    pub fn stream(&mut self, stream: usize) -> ChangeOutput<'_, P, C> {
        ChangeOutput { emitter: self, stream }
    }

    /// Sets a stream's part of the states to come; `None` makes a later run read it anew.
    pub fn set_cursor(&mut self, stream: usize, cursor: Option<C>) {
        self.pending = true;
        self.streams[stream].cursor = cursor;
    }

    /// The stream's part of the next state.
    #[must_use]
    pub fn cursor(&self, stream: usize) -> Option<&C> {
        self.streams[stream].cursor.as_ref()
    }

    /// Says that a later run can go on from `position` and the streams' cursors: every row
    /// before was ended. Cheap; it becomes a state when enough rows or time have passed, and at the end.
    ///
    /// # Errors
    /// When the run was asked to stop; the state has then been said. Pass it on.
    pub fn checkpoint(&mut self, position: &P) -> Result<()> {
        self.position = Some(position.clone());
        self.checkpoint_due()
    }

    /// As [`checkpoint`](Self::checkpoint), and said at once.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub fn checkpoint_now(&mut self, position: &P) -> Result<()> {
        self.checkpoint(position)?;
        self.say_pending()
    }

    fn checkpoint_due(&mut self) -> Result<()> {
        self.chunk.resumable = true;
        self.pending = true;
        let stop = self.stop_requested();
        if stop || self.state_is_due() {
            self.say_pending()?;
        }
        if stop || self.chunk.out.is_closed() { Err(Error::stopped()) } else { Ok(()) }
    }

    /// Whether the next checkpoint will be said: for sources to whom making one costs something.
    #[must_use]
    pub fn state_is_due(&self) -> bool {
        self.chunk.data_bytes - self.said_bytes >= STATE_BYTES || self.said_at.elapsed() >= STATE_AGE
    }

    /// The position of the newest state that was said.
    #[must_use]
    pub fn said_position(&self) -> Option<&P> {
        self.said_position.as_ref()
    }

    /// Whether the run was asked to stop; the next checkpoint then says the state and ends it.
    #[must_use]
    pub fn stop_requested(&self) -> bool {
        self.chunk.out.stop_requested()
    }

    /// Sends what is buffered. Call it before waiting for more rows.
    ///
    /// # Errors
    /// When stdout is closed.
    pub fn flush(&mut self) -> Result<()> {
        self.chunk.flush()
    }

    /// Records of a stream sent so far.
    #[must_use]
    pub fn records(&self, stream: usize) -> u64 {
        self.streams[stream].rows.digest.records()
    }

    /// Gives a stream up: it ends INCOMPLETE, its error ends the run as failed once the other
    /// streams are through, and its part of the state is dropped, so that a later run reads it anew.
    pub fn fail(&mut self, stream: usize, error: Error) {
        self.set_cursor(stream, None);
        self.streams[stream].failed.get_or_insert(error);
    }

    /// Whether the stream was given up.
    #[must_use]
    pub fn has_failed(&self, stream: usize) -> bool {
        self.streams[stream].failed.is_some()
    }

    fn total(&self) -> RecordDigest {
        let mut total = RecordDigest::default();
        self.streams.iter().for_each(|s| total.merge(s.rows.digest));
        total
    }

    fn say_pending(&mut self) -> Result<()> {
        if !self.pending || self.position.is_none() {
            return Ok(());
        }
        self.chunk.flush()?;
        let shared = self.position.as_ref().map(as_json).transpose()?;
        let state_of = |s: &Outlet<C>| {
            let state = s.cursor.as_ref().map(as_json).transpose()?;
            Ok(StreamState { descriptor: s.selected.descriptor.clone(), state })
        };
        let streams = self.streams.iter().map(state_of).collect::<Result<Vec<_>>>()?;
        let total = self.total();
        let message = Message::State(State {
            scope: StateScope::Global { shared, streams },
            source_stats: Some(StateStats::of(total.since(self.said))),
            destination_stats: None,
            id: None,
        });
        self.chunk.out.message(&message)?;
        self.said_position.clone_from(&self.position);
        (self.said, self.said_bytes, self.said_at) = (total, self.chunk.data_bytes, Instant::now());
        self.pending = false;
        Ok(())
    }

    /// The last state, then every stream's end. Returns the errors of the streams given up.
    fn complete(&mut self) -> Result<Vec<Error>> {
        self.pending |= self.total() != self.said || self.said_position.is_none();
        self.say_pending()?;
        let mut errors = Vec::new();
        for stream in 0..self.streams.len() {
            match self.streams[stream].failed.take() {
                None => {
                    if !self.streams[stream].running {
                        self.say_running(stream);
                    }
                    self.status(stream, StreamStatusKind::Complete)?;
                    let descriptor = &self.streams[stream].selected.descriptor;
                    tracing::info!("Stream {descriptor}: {} records read.", self.records(stream));
                }
                Some(error) => {
                    self.status(stream, StreamStatusKind::Incomplete)?;
                    errors.push(error.for_stream(&self.streams[stream].selected.descriptor));
                }
            }
        }
        Ok(errors)
    }
}

/// One stream of a [`ChangeEmitter`].
#[derive(Debug)]
pub struct ChangeOutput<'a, P, C> {
    emitter: &'a mut ChangeEmitter<P, C>,
    stream: usize,
}

impl<P: Serialize + Clone + Send, C: Serialize + Clone + Send> StreamOutput<C> for ChangeOutput<'_, P, C> {
    #[inline]
    fn row(&mut self) -> Row<'_> {
        self.emitter.row(self.stream)
    }
    fn checkpoint(&mut self, cursor: &C) -> Result<()> {
        // The first one says what the stream's read is going to see: rows sent under it would be
        // of no use to a later run that does not know it.
        let first = self.emitter.cursor(self.stream).is_none();
        self.emitter.set_cursor(self.stream, Some(cursor.clone()));
        self.emitter.checkpoint_due()?;
        if first { self.emitter.say_pending() } else { Ok(()) }
    }
    fn flush(&mut self) -> Result<()> {
        self.emitter.flush()
    }
    fn stop_requested(&self) -> bool {
        self.emitter.stop_requested()
    }
    fn records(&self) -> u64 {
        self.emitter.records(self.stream)
    }
}

/// Reads all streams at once.
pub(crate) async fn read<S: ChangeSource>(
    source: &S,
    jobs: Vec<Job<S::Cursor>>,
    states: &StateFile,
    out: &Emitter,
) -> Result<()> {
    let position = match states.shared_state() {
        None => None,
        Some(text) => Some(serde_json::from_str(text.get()).map_err(|e| {
            let text = format!(
                "The state was not written by {} reading changes. Pass the right state, or none to start over.",
                S::NAME
            );
            Error::config(text).with_source(e)
        })?),
    };
    let mut errors = Vec::new();
    let mut streams = Vec::new();
    for job in jobs {
        match job {
            Ok((selected, resume)) => streams.push(ChangeStream { selected, resume }),
            Err(error) => {
                refuse(&error, out)?;
                errors.push(error);
            }
        }
    }
    let mut emitter = ChangeEmitter::new(&streams, out.clone());
    for stream in 0..streams.len() {
        emitter.status(stream, StreamStatusKind::Started)?;
    }
    let count = streams.len();
    match source.read_changes(streams, position, &mut emitter).await {
        Ok(()) => errors.extend(emitter.complete()?),
        Err(error) => {
            for stream in 0..count {
                // With stdout closed there is nobody to tell; the first error is the one that counts.
                let _ = emitter.status(stream, StreamStatusKind::Incomplete);
            }
            if error.kind() == ErrorKind::Stopped {
                return Err(error);
            }
            errors.push(error);
        }
    }
    source.finish().await;
    report(errors, out)
}
