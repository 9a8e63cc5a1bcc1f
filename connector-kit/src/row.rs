//! One record, written straight into the output buffer: no tree, no copy.

use std::time::{SystemTime, UNIX_EPOCH};

use protocol::{ChangeReason, MAX_LINE_BYTES, RecordDigest, json};

use crate::emitter::Emitter;
use crate::error::{Error, Result};
use crate::oversize::shed;
use crate::stream::SelectedStream;
use crate::text;

/// A chunk goes to stdout once it holds this much.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;

/// `data` of more than this does not fit into a line: what stands around it needs some room too.
const MAX_DATA_BYTES: usize = MAX_LINE_BYTES - (1 << 20);

/// The chunk that rows are written into: one for a run whose streams share a position,
/// else one for each stream in its turn.
#[derive(Debug)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    /// When its first row was written. One time stamp a chunk: readers then compare
    /// prefixes instead of parsing them.
    now: i64,
    /// Bytes of `data` so far.
    pub(crate) data_bytes: u64,
    /// A checkpoint was made: a stop waits for the next one.
    pub(crate) resumable: bool,
    pub(crate) out: Emitter,
}

impl Chunk {
    pub(crate) fn new(out: Emitter) -> Self {
        let bytes = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4);
        Self { bytes, now: -1, data_bytes: 0, resumable: false, out }
    }

    /// Hands what is there to stdout. May block while the pipe is full.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let next = self.out.spare_chunk();
        self.out.send_rows(std::mem::replace(&mut self.bytes, next))
    }
}

/// Everything that is the same in each row of a stream, rendered once; and their sum.
#[derive(Debug)]
pub(crate) struct StreamRows {
    /// Up to and including `"emitted_at":`; the time and `,"data":` follow.
    head: Vec<u8>,
    /// The whole of it, for the time it was last stamped with.
    prefix: Vec<u8>,
    stamped: i64,
    keys: Vec<Key>,
    names: Vec<String>,
    changes: Vec<(usize, ChangeReason)>,
    /// All rows of this stream so far.
    pub(crate) digest: RecordDigest,
}

impl StreamRows {
    pub(crate) fn new(stream: &SelectedStream) -> Self {
        let mut head = br#"{"type":"RECORD","record":{"#.to_vec();
        if let Some(namespace) = &stream.descriptor.namespace {
            head.extend_from_slice(br#""namespace":"#);
            json::write_str(&mut head, namespace);
            head.push(b',');
        }
        head.extend_from_slice(br#""stream":"#);
        json::write_str(&mut head, &stream.descriptor.name);
        head.extend_from_slice(br#","emitted_at":"#);
        Self {
            head,
            prefix: Vec::new(),
            stamped: -1,
            keys: stream.columns.iter().map(|c| Key::new(&c.name)).collect(),
            names: stream.columns.iter().map(|c| c.name.clone()).collect(),
            changes: Vec::new(),
            digest: RecordDigest::default(),
        }
    }

    #[inline]
    fn open(&mut self, chunk: &mut Chunk) -> usize {
        if chunk.bytes.is_empty() {
            chunk.now = now_ms();
        }
        if self.stamped != chunk.now {
            self.stamp(chunk.now);
        }
        chunk.bytes.extend_from_slice(&self.prefix);
        chunk.bytes.len()
    }

    fn stamp(&mut self, now: i64) {
        self.stamped = now;
        self.prefix.clear();
        self.prefix.extend_from_slice(&self.head);
        self.prefix.extend_from_slice(itoa::Buffer::new().format(now).as_bytes());
        self.prefix.extend_from_slice(br#","data":"#);
    }

    #[inline]
    fn close(&mut self, chunk: &mut Chunk, data_start: usize) -> Result<()> {
        if chunk.bytes.len() - data_start > MAX_DATA_BYTES {
            self.shed(chunk, data_start)?;
        }
        let data = &chunk.bytes[data_start..];
        self.digest.add(data);
        chunk.data_bytes += data.len() as u64;
        if !self.changes.is_empty() {
            self.write_meta(chunk);
        }
        chunk.bytes.extend_from_slice(b"}}\n");
        if chunk.bytes.len() < CHUNK_BYTES {
            return Ok(());
        }
        chunk.flush()?;
        // Nothing of a stream without checkpoints is worth finishing.
        if !chunk.resumable && chunk.out.stop_requested() { Err(Error::stopped()) } else { Ok(()) }
    }

    /// The row goes on without its largest values rather than not at all.
    #[cold]
    fn shed(&mut self, chunk: &mut Chunk, data_start: usize) -> Result<()> {
        let gone = shed(&mut chunk.bytes, data_start, MAX_DATA_BYTES).ok_or_else(|| {
            Error::config(format!(
                "A record is larger than {} MiB, which no line of the protocol may be, and has too many values to leave some out. Deselect fields of the stream.",
                MAX_LINE_BYTES >> 20
            ))
        })?;
        for name in &gone {
            tracing::warn!(
                "A value of field {name:?} was replaced by null: its record would be larger than {} MiB.",
                MAX_LINE_BYTES >> 20
            );
        }
        let columns = gone.iter().filter_map(|name| self.names.iter().position(|n| n == name));
        self.changes.extend(columns.map(|column| (column, ChangeReason::SourceRecordSizeLimitation)));
        Ok(())
    }

    #[cold]
    fn write_meta(&mut self, chunk: &mut Chunk) {
        let out = &mut chunk.bytes;
        out.extend_from_slice(br#","meta":{"changes":["#);
        for (i, (column, reason)) in self.changes.drain(..).enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(br#"{"field":"#);
            json::write_str(out, &self.names[column]);
            out.extend_from_slice(br#","change":"NULLED","reason":"#);
            out.extend_from_slice(serde_json::to_string(&reason).unwrap_or_default().as_bytes());
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    }
}

/// `,"name":` of a column.
#[derive(Debug)]
struct Key {
    text: Vec<u8>,
    /// The same in a block of fixed size, which is copied without a loop or a call.
    block: [u8; Key::BLOCK],
}

impl Key {
    const BLOCK: usize = 32;

    fn new(name: &str) -> Self {
        let mut text = vec![b','];
        json::write_str(&mut text, name);
        text.push(b':');
        let mut block = [b' '; Self::BLOCK];
        let short = text.len().min(Self::BLOCK);
        block[..short].copy_from_slice(&text[..short]);
        Self { text, block }
    }

    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        if self.text.len() <= Self::BLOCK {
            let end = out.len() + self.text.len();
            out.extend_from_slice(&self.block);
            out.truncate(end);
        } else {
            out.extend_from_slice(&self.text);
        }
    }
}

pub(crate) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// One record being written. Columns are named by their index in
/// [`SelectedStream::columns`]; write each at most once, in any order, and preferably all in
/// schema order, which destinations read fastest. Nothing is sent before [`end`](Self::end);
/// a row dropped without it never happened.
#[derive(Debug)]
pub struct Row<'a> {
    chunk: &'a mut Chunk,
    rows: &'a mut StreamRows,
    start: usize,
    data_start: usize,
    ended: bool,
}

impl<'a> Row<'a> {
    #[inline]
    pub(crate) fn open(chunk: &'a mut Chunk, rows: &'a mut StreamRows) -> Self {
        let before = chunk.bytes.len();
        let data_start = rows.open(chunk);
        chunk.bytes.push(b'{');
        Row { chunk, rows, start: before, data_start, ended: false }
    }

    #[inline]
    fn key(&mut self, column: usize) -> &mut Vec<u8> {
        let out = &mut self.chunk.bytes;
        let key = &self.rows.keys[column];
        // The opening brace gives way to the key's own byte in front, which is a comma, and
        // comes back.
        let first = out.len() == self.data_start + 1;
        if first {
            out.pop();
        }
        key.write(out);
        if first {
            out[self.data_start] = b'{';
        }
        out
    }

    /// Writes an explicit null.
    #[inline]
    pub fn null(&mut self, column: usize) {
        self.key(column).extend_from_slice(b"null");
    }

    /// Writes null, and notes in the record's `meta.changes` that a value was there.
    pub fn reject(&mut self, column: usize, reason: ChangeReason) {
        self.null(column);
        self.rows.changes.push((column, reason));
    }

    /// Writes a boolean.
    #[inline]
    pub fn boolean(&mut self, column: usize, value: bool) {
        self.key(column).extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// Writes an integer.
    #[inline]
    pub fn integer(&mut self, column: usize, value: i64) {
        let mut digits = itoa::Buffer::new();
        self.key(column).extend_from_slice(digits.format(value).as_bytes());
    }

    /// Writes the shortest text that reads back as the same double. NaN and the
    /// infinities, which JSON numbers cannot say, are rejected.
    #[inline]
    pub fn double(&mut self, column: usize, value: f64) {
        if value.is_finite() {
            let mut digits = zmij::Buffer::new();
            self.key(column).extend_from_slice(digits.format_finite(value).as_bytes());
        } else {
            self.reject(column, ChangeReason::SourceSerializationError);
        }
    }

    /// Writes a number by its digits, which must be a JSON number: exact at any size.
    #[inline]
    pub fn number(&mut self, column: usize, digits: &[u8]) {
        debug_assert!(json::skip_value(digits, 0) == Ok(digits.len()), "not a JSON number");
        self.key(column).extend_from_slice(digits);
    }

    /// Writes a string.
    #[inline]
    pub fn string(&mut self, column: usize, value: &str) {
        json::write_str(self.key(column), value);
    }

    /// Writes text that needs no escaping (digits, a uuid, base64), without looking.
    #[inline]
    pub fn plain(&mut self, column: usize, value: &[u8]) {
        let chunk = self.key(column);
        chunk.push(b'"');
        chunk.extend_from_slice(value);
        chunk.push(b'"');
    }

    /// Writes JSON that is known to be one whole value.
    #[inline]
    pub fn json(&mut self, column: usize, value: &[u8]) {
        debug_assert!(json::skip_value(value, json::skip_space(value, 0)).is_ok(), "not JSON");
        self.key(column).extend_from_slice(value);
    }

    /// Writes a date, in days since 1970-01-01.
    #[inline]
    pub fn date(&mut self, column: usize, days: i32) {
        self.quoted(column, |out| text::write_date(out, days));
    }

    /// Writes a timestamp, in microseconds since 1970-01-01T00:00:00; `utc` adds the `Z`.
    #[inline]
    pub fn timestamp(&mut self, column: usize, micros: i64, utc: bool) {
        self.quoted(column, |out| text::write_timestamp(out, micros, utc));
    }

    /// Writes a UTC timestamp with `+00:00` instead of `Z`.
    #[inline]
    pub fn timestamp_offset(&mut self, column: usize, micros: i64) {
        self.quoted(column, |out| {
            text::write_timestamp(out, micros, false);
            out.extend_from_slice(b"+00:00");
        });
    }

    /// Writes an object through `f`, which appends its members without the braces.
    #[inline]
    pub fn object(&mut self, column: usize, f: impl FnOnce(&mut Vec<u8>)) {
        let chunk = self.key(column);
        chunk.push(b'{');
        f(chunk);
        chunk.push(b'}');
    }

    /// Writes a time of day, in microseconds since midnight.
    #[inline]
    pub fn time(&mut self, column: usize, micros: i64) {
        self.quoted(column, |out| text::write_time(out, micros));
    }

    /// Writes one JSON value through `f`, which must append exactly one.
    #[inline]
    pub fn value<R>(&mut self, column: usize, f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        f(self.key(column))
    }

    /// Notes in the record's `meta.changes` that the column, or a part of it, was written
    /// as null although a value was there.
    #[cold]
    pub fn note(&mut self, column: usize, reason: ChangeReason) {
        self.rows.changes.push((column, reason));
    }

    /// The column's name, for messages.
    #[must_use]
    pub fn name(&self, column: usize) -> &str {
        self.rows.names.get(column).map_or("", String::as_str)
    }

    /// Writes a string through `f`, which must append only bytes that need no escaping.
    #[inline]
    pub fn quoted(&mut self, column: usize, f: impl FnOnce(&mut Vec<u8>)) {
        let chunk = self.key(column);
        chunk.push(b'"');
        f(chunk);
        chunk.push(b'"');
    }

    /// Ends the record: counts it, digests it, and sends the chunk when it is full.
    ///
    /// # Errors
    /// When stdout is closed or the run was asked to stop. Pass it on.
    #[inline]
    pub fn end(mut self) -> Result<()> {
        self.chunk.bytes.push(b'}');
        self.ended = true;
        self.rows.close(self.chunk, self.data_start)
    }
}

impl Drop for Row<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.chunk.bytes.truncate(self.start);
            self.rows.changes.clear();
        }
    }
}

/// Writes a record whose `data` is already JSON: one whole object, checked here.
pub(crate) fn write_whole(chunk: &mut Chunk, rows: &mut StreamRows, data: &[u8]) -> Result<()> {
    if json::object_end(data) != Some(data.len()) {
        return Err(Error::system(
            "A record was not one JSON object. This is a bug in the connector; please report it.",
        ));
    }
    let data_start = rows.open(chunk);
    chunk.bytes.extend_from_slice(data);
    rows.close(chunk, data_start)
}
