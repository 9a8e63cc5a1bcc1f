//! The only code that touches stdin. One thread reads, splits, classifies and digests;
//! records leave it as batches per stream, in the order of the input.

use std::io::Read;
use std::sync::mpsc::{Receiver, Sender};

use protocol::{
    LineError, LineReader, Lines, Message, RecordDigest, RecordScanner, Scanned, StreamDescriptor,
    StreamStatusKind, parse_message,
};
use tokio::sync::mpsc;

use crate::context::Stop;
use crate::error::{Error, Result};

/// A batch is handed on once it holds this many bytes …
const BATCH_BYTES: usize = 1 << 20;
/// … or when all open batches together hold this many: then the largest goes.
const PENDING_BYTES: usize = 4 << 20;
/// Batches on their way to the writer.
pub(crate) const QUEUED_BATCHES: usize = 4;

/// Records of one stream, in order, as the bytes they came in.
#[derive(Debug, Default)]
pub struct RecordBatch {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    digest: RecordDigest,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    data_end: usize,
    meta_end: usize,
    emitted_at: i64,
    line: u64,
}

/// One record of a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchRow<'a> {
    /// The `data` object; its brackets balance, the rest is checked by decoding.
    pub data: &'a [u8],
    /// The record's `emitted_at`, in milliseconds since 1970.
    pub emitted_at: i64,
    /// The record's `meta` object.
    pub meta: Option<&'a [u8]>,
    /// The line of stdin it stood on, counted from 1.
    pub line: u64,
}

impl RecordBatch {
    /// Adds a record; the kit does this, and benches.
    #[inline]
    pub fn push(&mut self, data: &[u8], meta: Option<&[u8]>, emitted_at: i64, line: u64) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(data);
        let data_end = self.bytes.len();
        self.bytes.extend_from_slice(meta.unwrap_or_default());
        self.digest.add(data);
        self.spans.push(Span { start, data_end, meta_end: self.bytes.len(), emitted_at, line });
    }

    /// How many records it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// How many bytes of JSON it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How much memory it has, used or not: what was used once stays in use until it is given back.
    fn held(&self) -> usize {
        self.bytes.capacity() + self.spans.capacity() * size_of::<Span>()
    }

    /// Count and digest of its records.
    #[must_use]
    pub fn digest(&self) -> RecordDigest {
        self.digest
    }

    /// Its records, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = BatchRow<'_>> {
        self.spans.iter().map(|span| BatchRow {
            data: &self.bytes[span.start..span.data_end],
            emitted_at: span.emitted_at,
            meta: (span.meta_end > span.data_end).then(|| &self.bytes[span.data_end..span.meta_end]),
            line: span.line,
        })
    }

    /// The line of its first record that is not UTF-8. Strings cut from records that are need no check of
    /// their own, and one check of a whole batch is far cheaper.
    #[must_use]
    pub fn line_not_utf8(&self) -> Option<u64> {
        // No character reaches from one record into the next: each ends in a brace.
        if std::str::from_utf8(&self.bytes).is_ok() {
            return None;
        }
        let bad = |span: &&Span| std::str::from_utf8(&self.bytes[span.start..span.meta_end]).is_err();
        self.spans.iter().find(bad).map(|span| span.line)
    }

    /// Empties it, keeping its memory unless one large record blew it up.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(BATCH_BYTES * 2);
        self.spans.clear();
        self.digest = RecordDigest::default();
    }
}

/// What the intake hands to the writer, in the order of the input.
#[derive(Debug)]
pub(crate) enum Event {
    Batch(usize, RecordBatch),
    /// A STATE line, without its newline; the stream's index, or `None` when it covers all.
    State(Vec<u8>, Option<usize>),
    Status(usize, StreamStatusKind),
    /// Stdin ended, or we were asked to stop; nothing follows.
    End(Result<End>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Eof,
    Stopped,
}

/// Reads `input` to its end. `streams` are the catalog's, by index.
pub(crate) struct Intake<R> {
    reader: LineReader<R>,
    parser: Parser,
}

struct Parser {
    scanner: RecordScanner,
    known: usize,
    pending: Vec<RecordBatch>,
    pending_bytes: usize,
    events: mpsc::Sender<Event>,
    spare: Receiver<RecordBatch>,
    warned_unknown: bool,
    line: u64,
}

impl<R: Read> Intake<R> {
    pub(crate) fn new<'a>(
        input: R,
        streams: impl Iterator<Item = &'a StreamDescriptor>,
        events: mpsc::Sender<Event>,
        spare: Receiver<RecordBatch>,
    ) -> Self {
        let mut scanner = RecordScanner::new();
        let mut known = 0;
        for stream in streams {
            scanner.intern(stream.namespace.as_deref(), &stream.name);
            known += 1;
        }
        let pending = (0..known).map(|_| RecordBatch::default()).collect();
        let parser = Parser {
            scanner,
            known,
            pending,
            pending_bytes: 0,
            events,
            spare,
            warned_unknown: false,
            line: 0,
        };
        Self { reader: LineReader::new(input), parser }
    }

    /// Runs until the end of the input, a stop, or a fault; the last event says which.
    pub(crate) fn run(mut self, stop: &Stop) {
        let end = self.read_all(stop);
        // Without a receiver the run is over already.
        let _ = self.parser.events.blocking_send(Event::End(end));
    }

    fn read_all(&mut self, stop: &Stop) -> Result<End> {
        loop {
            if stop.requested() {
                self.parser.hand_on_all()?;
                return Ok(End::Stopped);
            }
            let Some(block) = self.reader.next_block().map_err(line_error)? else {
                self.parser.hand_on_all()?;
                return Ok(End::Eof);
            };
            // The last line may lack its newline because the writer died in mid-line; if it
            // parses it was whole, if not the error names it.
            for line in Lines::of(block) {
                self.parser.line += 1;
                self.parser.take(line)?;
            }
        }
    }
}

fn line_error(error: LineError) -> Error {
    match &error {
        LineError::TooLong { line, cap } => Error::config(format!(
            "Line {line} of stdin is longer than {cap} bytes. Leave out the field that is that large."
        )),
        LineError::Io { line, .. } => Error::transient(format!("Reading stdin failed after line {line}.")),
    }
    .with_source(error)
}

impl Parser {
    #[inline]
    fn take(&mut self, line: &[u8]) -> Result<()> {
        match self.scanner.scan(line) {
            Ok(Scanned::Record(record)) => {
                let index = record.stream.index();
                if index >= self.known {
                    self.unknown_stream(record.stream);
                    return Ok(());
                }
                let batch = &mut self.pending[index];
                let before = batch.held();
                batch.push(&line[record.data], record.meta.map(|m| &line[m]), record.emitted_at, self.line);
                self.pending_bytes += batch.held() - before;
                if batch.bytes() >= BATCH_BYTES {
                    self.hand_on(index)?;
                } else if self.pending_bytes >= PENDING_BYTES && !self.is_few() {
                    let largest = (0..self.known).max_by_key(|i| self.pending[*i].held()).unwrap_or(0);
                    self.hand_on(largest)?;
                }
                Ok(())
            }
            Ok(Scanned::Other(kind)) => self.other(&kind, line),
            Err(error) => self.not_a_message(line, error),
        }
    }

    /// Foreign platforms forward everything their source prints. What may have been a row
    /// must not be lost; anything else is somebody's print.
    fn not_a_message(&self, line: &[u8], error: protocol::json::JsonError) -> Result<()> {
        let number = self.line;
        if memchr_record(line) {
            let text = format!(
                "Line {number} of stdin looks like a record but is not whole; the source may have died in the middle of it."
            );
            return Err(Error::system(text).with_source(error));
        }
        tracing::warn!("Line {number} of stdin is not a protocol message ({error}) and was left out.");
        Ok(())
    }

    #[cold]
    fn unknown_stream(&mut self, stream: protocol::StreamId) {
        if !std::mem::replace(&mut self.warned_unknown, true) {
            let (namespace, name) = self.scanner.descriptor(stream);
            let stream = StreamDescriptor::new(namespace, name);
            tracing::warn!("Stream {stream} is not in the catalog; its records are left out (said once).");
        }
    }

    fn other(&mut self, kind: &str, line: &[u8]) -> Result<()> {
        if kind != "STATE" && kind != "TRACE" {
            return Ok(());
        }
        let number = self.line;
        let message = match parse_message(line) {
            Ok(message) => message,
            // A trace says nothing about rows; one of a kind we do not know is not ours to judge.
            Err(_) if kind == "TRACE" => return Ok(()),
            Err(e) => {
                return Err(Error::system(format!("Line {number} of stdin is not a valid {kind} message."))
                    .with_source(e));
            }
        };
        match message {
            Message::State(state) => {
                let stream = match state.descriptor() {
                    Some(descriptor) => match self.index(descriptor) {
                        Some(index) => Some(index),
                        None => {
                            tracing::warn!(
                                "A state names stream {descriptor}, which is not in the catalog; it waits for all streams."
                            );
                            None
                        }
                    },
                    None => None,
                };
                match stream {
                    Some(index) => self.hand_on(index)?,
                    None => self.hand_on_all()?,
                }
                self.send(Event::State(line.to_vec(), stream))
            }
            Message::Trace(trace) => match trace.stream_status {
                Some(status) => match self.index(&status.stream_descriptor) {
                    Some(index) => {
                        self.hand_on(index)?;
                        self.send(Event::Status(index, status.status))
                    }
                    None => Ok(()),
                },
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn index(&mut self, stream: &StreamDescriptor) -> Option<usize> {
        let index = self.scanner.intern(stream.namespace.as_deref(), &stream.name).index();
        (index < self.known).then_some(index)
    }

    /// Whether each stream may keep the memory of a full batch. In a crowd, a stream that waits for its next rows, or is done, would
    /// hold as much empty as it did full, and all of them together many times what they may.
    fn is_few(&self) -> bool {
        self.known <= PENDING_BYTES / BATCH_BYTES
    }

    fn hand_on(&mut self, index: usize) -> Result<()> {
        if self.pending[index].is_empty() {
            if !self.is_few() {
                self.replace(index, RecordBatch::default());
            }
            return Ok(());
        }
        // Taken in any case: those that come back must not pile up.
        let spare = self.spare.try_recv().unwrap_or_default();
        let is_busy = self.pending[index].bytes() >= BATCH_BYTES;
        let fresh = if is_busy || self.is_few() { spare } else { RecordBatch::default() };
        let batch = self.replace(index, fresh);
        self.send(Event::Batch(index, batch))
    }

    fn replace(&mut self, index: usize, fresh: RecordBatch) -> RecordBatch {
        self.pending_bytes += fresh.held();
        let batch = std::mem::replace(&mut self.pending[index], fresh);
        self.pending_bytes -= batch.held();
        batch
    }

    fn hand_on_all(&mut self) -> Result<()> {
        (0..self.known).try_for_each(|index| self.hand_on(index))
    }

    fn send(&self, event: Event) -> Result<()> {
        self.events.blocking_send(event).map_err(|_| Error::stopped())
    }
}

fn memchr_record(line: &[u8]) -> bool {
    let head = &line[..line.len().min(4096)];
    head.windows(8).any(|w| w == b"\"RECORD\"") || head.windows(8).any(|w| w == b"\"record\"")
}

/// Gives a used batch back for its memory.
pub(crate) fn recycle(spare: &Sender<RecordBatch>, mut batch: RecordBatch) {
    batch.clear();
    let _ = spare.send(batch);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use protocol::StreamDescriptor;
    use tokio::sync::mpsc;

    use super::{BATCH_BYTES, Event, Intake, PENDING_BYTES, recycle};

    const STREAMS: usize = 20;

    /// The most memory, in bytes, that the open batches took while these streams had a row each, and how many bytes were handed on.
    fn most_held(streams: impl Iterator<Item = usize>) -> (usize, usize) {
        let names: Vec<_> = (0..STREAMS).map(|n| StreamDescriptor::new(None, &format!("s{n}"))).collect();
        let (events, mut inbox) = mpsc::channel(4);
        let (give_back, spare) = channel();
        let mut parser = Intake::new(std::io::empty(), names.iter(), events, spare).parser;
        let value = "v".repeat(4_000);
        let (mut most, mut handed_on) = (0, 0);
        for n in streams {
            let line = format!(
                "{{\"type\":\"RECORD\",\"record\":{{\"stream\":\"s{n}\",\"emitted_at\":1,\"data\":{{\"v\":\"{value}\"}}}}}}"
            );
            parser.take(line.as_bytes()).unwrap();
            while let Ok(event) = inbox.try_recv() {
                let Event::Batch(_, batch) = event else { panic!("{event:?}") };
                handed_on += batch.bytes();
                recycle(&give_back, batch);
            }
            let held = parser.pending.iter().map(|batch| batch.held());
            most = most.max(held.sum());
        }
        (most, handed_on)
    }

    #[test]
    fn many_streams_hold_no_more_together_however_they_are_mixed() {
        const ROWS: usize = 6_000;
        for mix in [|row| row % STREAMS, |row| row / (ROWS / STREAMS), |row| row * row % STREAMS] {
            let (most, handed_on) = most_held((0..ROWS).map(mix));
            assert!(
                handed_on > 4 * PENDING_BYTES && most <= PENDING_BYTES + 2 * BATCH_BYTES,
                "{most} of {handed_on}"
            );
        }
    }
}
