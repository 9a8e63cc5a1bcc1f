//! An object read by columns: of each column to be read, a piece is held and the next is on
//! its way. Memory depends on how many columns there are, not on how large row groups are.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use files_kit::Watch;
use parquet::arrow::ProjectionMask;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, Length};

use crate::ranges::{AskedBody, Place, Trouble};

/// What pieces of all columns may take together, about: of each there are two.
const BUDGET: u64 = 16 << 20;
const LEAST_PIECE: u64 = 128 << 10;
/// As much as the store buffers ahead of a reader.
const MOST_PIECE: u64 = 1 << 20;
/// An object of up to so many bytes is fetched whole.
const SMALL: u64 = 4 << 20;
/// Of larger ones this much of the end, which as a rule has the footer in it.
const TAIL: u64 = 128 << 10;

/// See above. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Windows(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: Place,
    trouble: Trouble,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    head: Option<AskedBody>,
    head_bytes: Bytes,
    tail: Option<AskedBody>,
    tail_start: u64,
    tail_bytes: Bytes,
    /// The column chunks to be read, in the order of their bytes.
    chunks: Vec<(u64, u64)>,
    /// How many of those each row group has.
    columns: usize,
    piece: u64,
    open: HashMap<usize, Window>,
}

/// Where a column's reader is.
#[derive(Debug)]
struct Window {
    start: u64,
    bytes: Bytes,
    /// The piece that follows, and where it ends.
    next: Option<(AskedBody, u64)>,
}

impl Window {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// What is asked for first of an object of this size.
pub(crate) fn first_range(size: u64) -> (u64, u64) {
    if size <= SMALL { (0, size) } else { (size - TAIL, size) }
}

impl Windows {
    /// `first` is what [`first_range`] says, where that was asked for before.
    pub(crate) fn new(place: Place, trouble: Trouble, first: Option<AskedBody>) -> Self {
        let (tail_start, size) = first_range(place.entry.size);
        let state = State {
            head: (tail_start > 0).then(|| place.ask(0, 4)),
            tail: Some(first.unwrap_or_else(|| place.ask(tail_start, size))),
            tail_start,
            ..State::default()
        };
        Self(Arc::new(Inner { place, trouble, state: Mutex::new(state) }))
    }

    /// The same as what is told of the reading.
    pub(crate) fn watch(&self) -> Arc<dyn Watch> {
        Arc::clone(&self.0) as Arc<dyn Watch>
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receive(&self, asked: AskedBody) -> io::Result<Bytes> {
        let mut body = asked.wait().map_err(|e| self.trouble.keep(e))?;
        let mut whole = BytesMut::new();
        loop {
            let part = body.next_bytes().map_err(|e| self.trouble.keep_io(e))?;
            if part.is_empty() {
                return Ok(whole.freeze());
            }
            if whole.is_empty() {
                whole.reserve(usize::try_from(body.size()).unwrap_or(0));
            }
            whole.extend_from_slice(&part);
        }
    }

    /// At least one byte from `at` on, and `length` bytes where they are wanted in one piece.
    fn bytes(&self, at: u64, length: usize) -> io::Result<Bytes> {
        let mut state = self.lock();
        let end = at.saturating_add(length as u64);
        if end > self.place.entry.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if end <= 4 && state.tail_start > 0 {
            if let Some(asked) = state.head.take() {
                state.head_bytes = self.receive(asked)?;
            }
            return part(&state.head_bytes, 0, at, length);
        }
        if let Some(asked) = state.tail.take() {
            state.tail_bytes = self.receive(asked)?;
        }
        if at >= state.tail_start {
            return part(&state.tail_bytes, state.tail_start, at, length);
        }
        match state.chunks.binary_search_by(|(start, end)| {
            if at < *start {
                std::cmp::Ordering::Greater
            } else if at >= *end {
                std::cmp::Ordering::Less
            } else {
                std::cmp::Ordering::Equal
            }
        }) {
            Ok(chunk) => self.of_chunk(&mut state, chunk, at, length),
            Err(_) => self.receive(self.place.ask(at, end)).and_then(|b| part(&b, at, at, length)),
        }
    }

    fn of_chunk(&self, state: &mut State, chunk: usize, at: u64, length: usize) -> io::Result<Bytes> {
        let end = at + length as u64;
        let columns = state.columns;
        if let Some(before) = chunk.checked_sub(columns) {
            state.open.remove(&before);
        }
        let fits = state.open.get(&chunk).is_some_and(|w| (w.start..=w.end()).contains(&at));
        let mut window = match state.open.remove(&chunk).filter(|_| fits) {
            Some(window) => window,
            None => Window { start: at, bytes: Bytes::new(), next: None },
        };
        // What is behind the reader is not needed again.
        let passed = usize::try_from(at - window.start).unwrap_or(0);
        window.bytes.advance(passed);
        window.start = at;
        let chunk_end = state.chunks[chunk].1.max(end).min(self.place.entry.size);
        while window.end() < end {
            let (asked, next_end) = match window.next.take() {
                Some(next) => next,
                None => {
                    let next_end = (window.end() + state.piece).max(end).min(chunk_end);
                    (self.place.ask(window.end(), next_end), next_end)
                }
            };
            let piece = self.receive(asked)?;
            let expected = next_end - window.end();
            if piece.len() as u64 != expected {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            window.bytes = if window.bytes.is_empty() {
                piece
            } else {
                let mut both = BytesMut::with_capacity(window.bytes.len() + piece.len());
                both.extend_from_slice(&window.bytes);
                both.extend_from_slice(&piece);
                both.freeze()
            };
        }
        if window.next.is_none() && window.end() < chunk_end {
            let next_end = (window.end() + state.piece).min(chunk_end);
            window.next = Some((self.place.ask(window.end(), next_end), next_end));
        }
        let found = part(&window.bytes, at, at, length);
        let whole = window.end() >= chunk_end;
        state.open.insert(chunk, window);
        if whole {
            self.begin(state, chunk + columns);
        }
        found
    }

    /// Asks for the beginning of a column of the next row group.
    fn begin(&self, state: &mut State, chunk: usize) {
        let Some((start, end)) = state.chunks.get(chunk).copied() else { return };
        if start >= state.tail_start {
            return;
        }
        let piece = state.piece;
        state.open.entry(chunk).or_insert_with(|| {
            let next_end = (start + piece).min(end);
            Window { start, bytes: Bytes::new(), next: Some((self.place.ask(start, next_end), next_end)) }
        });
    }
}

/// `length` bytes from `at` on of `bytes`, which begin at `start`.
fn part(bytes: &Bytes, start: u64, at: u64, length: usize) -> io::Result<Bytes> {
    let from = usize::try_from(at - start).map_err(|_| io::ErrorKind::UnexpectedEof)?;
    match from.checked_add(length) {
        Some(to) if to <= bytes.len() => Ok(bytes.slice(from..to)),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl Watch for Inner {
    fn plan(&self, metadata: &ParquetMetaData, leaves: &ProjectionMask) {
        let mut chunks = Vec::new();
        let mut columns = 0;
        for group in metadata.row_groups() {
            let selected = group.columns().iter().enumerate().filter(|(leaf, _)| leaves.leaf_included(*leaf));
            let before = chunks.len();
            chunks.extend(selected.map(|(_, chunk)| {
                let (start, length) = chunk.byte_range();
                (start, start.saturating_add(length))
            }));
            columns = columns.max(chunks.len() - before);
        }
        chunks.sort_unstable();
        let mut state = self.lock();
        state.piece = (BUDGET / 2 / (columns.max(1) as u64)).clamp(LEAST_PIECE, MOST_PIECE);
        state.columns = columns.max(1);
        state.chunks = chunks;
        for chunk in 0..state.columns {
            self.begin(&mut state, chunk);
        }
    }

    fn fault(&self) -> Option<io::Error> {
        self.trouble.is_kept().then(|| io::Error::other("the store failed"))
    }
}

impl Length for Windows {
    fn len(&self) -> u64 {
        self.0.place.entry.size
    }
}

impl ChunkReader for Windows {
    type T = PieceReader;

    fn get_read(&self, start: u64) -> Result<PieceReader, ParquetError> {
        Ok(PieceReader { windows: self.clone(), at: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.0.bytes(start, length).map_err(|e| ParquetError::External(Box::new(e)))
    }
}

/// Reads on from some byte: page headers, whose length is not known before.
#[derive(Debug)]
pub(crate) struct PieceReader {
    windows: Windows,
    at: u64,
}

impl Read for PieceReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.windows.len().saturating_sub(self.at);
        let wanted = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let bytes = self.windows.0.bytes(self.at, wanted)?;
        buf[..wanted].copy_from_slice(&bytes);
        self.at += wanted as u64;
        Ok(wanted)
    }
}
