//! An object from front to back, in ranges of which several are on their way at once and
//! which are handed on in their order.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use s3_kit::{Body, Store};

use crate::block_on::Asked;
use crate::listing::Entry;

/// The store buffers as much of each range ahead of its reader; the rest comes while it is read.
const RANGE: u64 = 2 << 20;
const IN_FLIGHT: usize = 4;

/// Why an object could not be read, kept aside: decoders between here and there make text of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<s3_kit::Error>>>);

impl Trouble {
    pub(crate) fn take(&self) -> Option<s3_kit::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Keeps the error, and gives one that says no more than that there is one.
    pub(crate) fn keep(&self, error: s3_kit::Error) -> io::Error {
        let shown = io::Error::other(error.to_string());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        shown
    }

    /// The same for an error that a body gave.
    pub(crate) fn keep_io(&self, error: io::Error) -> io::Error {
        match error.downcast::<s3_kit::Error>() {
            Ok(ours) => self.keep(ours),
            Err(other) => other,
        }
    }

    /// Whether there was any.
    pub(crate) fn is_kept(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// An object, one version of it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) store: Store,
    pub(crate) entry: Entry,
}

pub(crate) type AskedBody = Asked<s3_kit::Result<Body>>;

impl Place {
    /// Asks for the bytes from `start` to before `end`.
    pub(crate) fn ask(&self, start: u64, end: u64) -> AskedBody {
        let Self { store, entry } = self.clone();
        Asked::send(async move {
            let etag = Some(entry.etag.as_str()).filter(|e| !e.is_empty());
            store.read(&entry.key, etag, start, Some(end)).await
        })
    }
}

/// What is asked for first of an object of this size.
pub(crate) fn first_range(size: u64) -> (u64, u64) {
    (0, range_end(0, size))
}

/// Nobody wants a last range of a few bytes.
fn range_end(start: u64, size: u64) -> u64 {
    if size - start <= RANGE + RANGE / 4 { size } else { start + RANGE }
}

/// See above.
#[derive(Debug)]
pub(crate) struct Ranges {
    place: Place,
    trouble: Trouble,
    asked: VecDeque<AskedBody>,
    next: u64,
    end: u64,
    body: Option<Body>,
}

impl Ranges {
    /// `first` is what [`first_range`] says, where that was asked for before.
    pub(crate) fn new(place: Place, trouble: Trouble, first: Option<AskedBody>) -> Self {
        let end = place.entry.size;
        let next = if first.is_some() { first_range(end).1 } else { 0 };
        Self { place, trouble, asked: first.into_iter().collect(), next, end, body: None }
    }

    /// Only the bytes from `start` to before `end`.
    pub(crate) fn part(place: Place, trouble: Trouble, start: u64, end: u64) -> Self {
        let end = end.min(place.entry.size);
        Self { place, trouble, asked: VecDeque::new(), next: start.min(end), end, body: None }
    }

    fn fill(&mut self) {
        while self.asked.len() < IN_FLIGHT && self.next < self.end {
            let end = range_end(self.next, self.end);
            self.asked.push_back(self.place.ask(self.next, end));
            self.next = end;
        }
    }
}

impl Read for Ranges {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(body) = &mut self.body {
                let n = body.read(buf).map_err(|e| self.trouble.keep_io(e))?;
                if n > 0 {
                    return Ok(n);
                }
                self.body = None;
            }
            self.fill();
            let Some(asked) = self.asked.pop_front() else { return Ok(0) };
            self.body = Some(asked.wait().map_err(|e| self.trouble.keep(e))?);
            self.fill();
        }
    }
}
