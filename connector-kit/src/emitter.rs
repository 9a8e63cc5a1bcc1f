//! The only code that touches stdout. One thread owns it; everybody else sends whole lines.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use protocol::{Estimate, EstimateKind, Message, RecordDigest, State, StreamStatusKind, Trace};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::context::Stop;
use crate::error::{Error, Result};
use crate::row::{CHUNK_BYTES, Chunk, Row, StreamRows, now_ms, write_whole};
use crate::stream::SelectedStream;

/// Chunks on their way to stdout; with the one being filled this bounds the memory.
const QUEUED_CHUNKS: usize = 4;
/// A chunk of more than this is one giant record.
const LARGE: usize = 8 << 20;

/// A due checkpoint becomes a state after this many bytes of records …
pub(crate) const STATE_BYTES: u64 = 64 << 20;
/// … or this long after the state before.
pub(crate) const STATE_AGE: Duration = Duration::from_secs(5);

/// A handle on stdout. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Emitter {
    lines: Lines,
    shared: Arc<Shared>,
}

#[derive(Clone, Debug)]
enum Lines {
    Stdout(SyncSender<Item>),
    #[cfg(feature = "bench")]
    Memory(Option<Arc<std::sync::Mutex<Vec<u8>>>>, Sender<Vec<u8>>),
}

/// What goes to the stdout thread.
#[derive(Debug)]
enum Item {
    Lines(Vec<u8>),
    /// Nothing that is sent after it is written.
    End,
}

#[derive(Debug)]
struct Shared {
    spare: std::sync::Mutex<Receiver<Vec<u8>>>,
    closed: AtomicBool,
    stop: Stop,
}

/// Ends the stdout thread and says whether everything was written.
#[derive(Debug)]
pub(crate) struct StdoutThread {
    thread: JoinHandle<std::io::Result<()>>,
    lines: SyncSender<Item>,
}

impl Emitter {
    /// Starts the thread that owns `out`.
    pub(crate) fn start(out: File, stop: Stop) -> Result<(Self, StdoutThread)> {
        let (lines, inbox) = sync_channel(QUEUED_CHUNKS);
        let (give_back, spare) = channel();
        let shared =
            Arc::new(Shared { spare: std::sync::Mutex::new(spare), closed: AtomicBool::new(false), stop });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("stdout".into())
            .spawn(move || {
                let result = write_all(out, &inbox, &give_back);
                theirs.closed.store(true, Ordering::Relaxed);
                result
            })
            .map_err(|e| Error::system("Cannot start a thread.").with_source(e))?;
        let end = StdoutThread { thread, lines: lines.clone() };
        Ok((Self { lines: Lines::Stdout(lines), shared }, end))
    }

    #[cfg(feature = "bench")]
    pub(crate) fn to_memory(kept: Option<Arc<std::sync::Mutex<Vec<u8>>>>) -> Self {
        let (give_back, spare) = channel();
        let shared = Shared {
            spare: std::sync::Mutex::new(spare),
            closed: AtomicBool::new(false),
            stop: Stop::default(),
        };
        Self { lines: Lines::Memory(kept, give_back), shared: Arc::new(shared) }
    }

    /// Sends whole lines. Blocks while the reader of the pipe is slow: that is the back-pressure.
    pub(crate) fn send(&self, lines: Vec<u8>) -> Result<()> {
        match &self.lines {
            Lines::Stdout(stdout) => {
                let large = lines.len() > LARGE;
                let send = |lines| stdout.send(Item::Lines(lines)).map_err(|_| Error::stopped());
                send(lines)?;
                if large {
                    // Once so many more were taken, it is written: two such lines are never held at once.
                    (0..=QUEUED_CHUNKS).try_for_each(|_| send(Vec::new()))?;
                }
                Ok(())
            }
            #[cfg(feature = "bench")]
            Lines::Memory(kept, give_back) => {
                let mut lines = lines;
                if let Some(mut kept) = kept.as_ref().and_then(|k| k.lock().ok()) {
                    kept.extend_from_slice(&lines);
                }
                lines.clear();
                let _ = give_back.send(lines);
                Ok(())
            }
        }
    }

    pub(crate) fn message(&self, message: &Message) -> Result<()> {
        self.send(message.to_line())
    }

    pub(crate) fn send_rows(&self, chunk: Vec<u8>) -> Result<()> {
        self.send(chunk)
    }

    pub(crate) fn spare_chunk(&self) -> Vec<u8> {
        let spare = self.shared.spare.lock().ok().and_then(|s| s.try_recv().ok());
        spare.unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4))
    }

    pub(crate) fn stop_requested(&self) -> bool {
        self.shared.stop.requested()
    }

    /// Whether nobody reads stdout any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed)
    }
}

fn write_all(mut out: File, inbox: &Receiver<Item>, give_back: &Sender<Vec<u8>>) -> std::io::Result<()> {
    while let Ok(Item::Lines(mut chunk)) = inbox.recv() {
        out.write_all(&chunk)?;
        // A chunk that one large row blew up is not kept.
        if (CHUNK_BYTES..CHUNK_BYTES * 2).contains(&chunk.capacity()) {
            chunk.clear();
            let _ = give_back.send(chunk);
        }
    }
    Ok(())
}

impl StdoutThread {
    /// Waits until everything sent so far was written.
    ///
    /// It does not wait for the last [`Emitter`] to go: a thread that reads stdin holds one for its logs, and
    /// nobody can end it while stdin stays open.
    pub(crate) fn join(self) -> std::io::Result<()> {
        let _ = self.lines.send(Item::End);
        self.thread.join().unwrap_or_else(|_| Err(std::io::Error::other("the stdout thread panicked")))
    }
}

/// Where a source writes one stream's rows and checkpoints.
#[derive(Debug)]
pub struct StreamEmitter<C> {
    chunk: Chunk,
    rows: StreamRows,
    stream: Arc<SelectedStream>,
    /// The total when the last state was said.
    said: RecordDigest,
    said_bytes: u64,
    said_at: Instant,
    last_said: Option<Box<RawValue>>,
    /// The newest checkpoint, not yet said.
    pending: Option<C>,
    running: bool,
}

impl<C: Serialize + Clone> StreamEmitter<C> {
    pub(crate) fn new(stream: Arc<SelectedStream>, out: Emitter) -> Self {
        Self {
            chunk: Chunk::new(out),
            rows: StreamRows::new(&stream),
            stream,
            said: RecordDigest::default(),
            said_bytes: 0,
            said_at: Instant::now(),
            last_said: None,
            pending: None,
            running: false,
        }
    }

    /// Begins a record; see [`Row`].
    #[inline]
    pub fn row(&mut self) -> Row<'_> {
        if !self.running {
            self.say_running();
        }
        Row::open(&mut self.chunk, &mut self.rows)
    }

    /// Sends a record whose `data` is already one JSON object.
    ///
    /// # Errors
    /// When it is not an object, stdout is closed, or the run was asked to stop.
    pub fn raw(&mut self, data: &[u8]) -> Result<()> {
        if !self.running {
            self.say_running();
        }
        write_whole(&mut self.chunk, &mut self.rows, data)
    }

    /// Says that a later run can go on from `cursor`: every row before it has been ended,
    /// and no row after it is needed to understand it. Cheap; call it as often as it is true.
    /// It becomes a state when enough rows or time have passed, and at the stream's end.
    ///
    /// # Errors
    /// When the run was asked to stop; the state has then been said. Pass it on.
    pub fn checkpoint(&mut self, cursor: &C) -> Result<()> {
        self.chunk.resumable = true;
        let stop = self.stop_requested();
        self.pending = Some(cursor.clone());
        if stop
            || self.chunk.data_bytes - self.said_bytes >= STATE_BYTES
            || self.said_at.elapsed() >= STATE_AGE
        {
            self.say_pending()?;
        }
        if stop || self.chunk.out.is_closed() { Err(Error::stopped()) } else { Ok(()) }
    }

    /// As [`checkpoint`](Self::checkpoint), and always said at once: for a source whose config sets the cadence.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub fn checkpoint_now(&mut self, cursor: &C) -> Result<()> {
        self.checkpoint(cursor)?;
        self.say_pending()
    }

    /// Whether the run was asked to stop; [`checkpoint`](Self::checkpoint) then says the state and ends it.
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

    /// Says how much this stream holds, as far as is known.
    ///
    /// # Errors
    /// When stdout is closed.
    pub fn estimate(&mut self, rows: Option<i64>, bytes: Option<i64>) -> Result<()> {
        self.chunk.flush()?;
        let estimate = Estimate {
            name: self.stream.descriptor.name.clone(),
            kind: EstimateKind::Stream,
            namespace: self.stream.descriptor.namespace.clone(),
            row_estimate: rows,
            byte_estimate: bytes,
            extra: serde_json::Map::new(),
        };
        self.chunk.out.message(&Message::Trace(Trace::estimate(now_ms(), estimate)))
    }

    /// Records sent so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.rows.digest.records()
    }

    #[cold]
    fn say_running(&mut self) {
        self.running = true;
        // A closed stdout shows at the next send.
        let _ = self.status(StreamStatusKind::Running);
    }

    fn status(&mut self, status: StreamStatusKind) -> Result<()> {
        self.chunk.flush()?;
        self.chunk.out.message(&Message::Trace(Trace::status(
            now_ms(),
            self.stream.descriptor.clone(),
            status,
        )))
    }

    fn say_pending(&mut self) -> Result<()> {
        let Some(cursor) = self.pending.take() else { return Ok(()) };
        let content = to_raw_value(&cursor)
            .map_err(|e| Error::system("A cursor cannot be written as JSON.").with_source(e))?;
        let unchanged = self.last_said.as_ref().is_some_and(|last| last.get() == content.get());
        if unchanged && self.rows.digest == self.said { Ok(()) } else { self.say(content) }
    }

    /// Says a state that covers every row sent so far. Rows after the checkpoint it
    /// stands for are counted in it too and would be read again by a resuming run.
    fn say(&mut self, content: Box<RawValue>) -> Result<()> {
        self.chunk.flush()?;
        let stats = self.rows.digest.since(self.said);
        let state = State::stream(self.stream.descriptor.clone(), Some(content.clone()), stats);
        self.chunk.out.message(&Message::State(state))?;
        (self.said, self.said_bytes, self.said_at) =
            (self.rows.digest, self.chunk.data_bytes, Instant::now());
        self.last_said = Some(content);
        Ok(())
    }

    /// The cursor of the state this run goes on from; said again at the end if none follows it.
    pub(crate) fn begin_at(&mut self, resume: Option<C>) {
        self.pending = resume;
    }

    pub(crate) fn started(&mut self) -> Result<()> {
        self.status(StreamStatusKind::Started)
    }

    /// The last state and COMPLETE.
    pub(crate) fn complete(mut self) -> Result<u64> {
        if !self.running {
            self.say_running();
        }
        self.say_pending()?;
        match self.last_said.take() {
            Some(_) if self.rows.digest == self.said => {}
            Some(last) => self.say(last)?,
            None => {
                // The key by which the field marks the end of a full refresh.
                let done = RawValue::from_string(format!("{{{FULL_REFRESH_DONE}:true}}"));
                self.say(
                    done.map_err(|e| Error::system("A cursor cannot be written as JSON.").with_source(e))?,
                )?;
            }
        }
        self.status(StreamStatusKind::Complete)?;
        Ok(self.records())
    }

    pub(crate) fn incomplete(mut self) -> Result<()> {
        self.status(StreamStatusKind::Incomplete)
    }
}

/// A state holding this key is of no use for going on.
pub(crate) const FULL_REFRESH_DONE: &str = r#""__ab_full_refresh_sync_complete""#;
