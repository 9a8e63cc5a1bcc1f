//! What a run asked of the server: reported at its end, so that nobody has to guess what
//! the sync costs the database.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts connections and the time that queries of ours ran.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    opened: AtomicU32,
    open: AtomicU32,
    most: AtomicU32,
    busy_micros: AtomicU64,
}

/// A connection that is open until this is dropped.
#[derive(Debug)]
pub(crate) struct Opened<'a>(&'a Meter);

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Meter {
    /// A connection was opened.
    pub(crate) fn opened(&self) -> Opened<'_> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(open, Ordering::Relaxed);
        Opened(self)
    }

    /// A query began.
    pub(crate) fn query(&self) -> Running<'_> {
        Running { meter: self, began: Instant::now() }
    }

    /// Connections opened in all, the most at once, and the time queries ran, added up.
    pub(crate) fn read(&self) -> (u32, u32, Duration) {
        let load = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        let busy = Duration::from_micros(self.busy_micros.load(Ordering::Relaxed));
        (load(&self.opened), load(&self.most), busy)
    }
}

/// A query that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    meter: &'a Meter,
    began: Instant,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.meter.busy_micros.fetch_add(micros, Ordering::Relaxed);
    }
}
