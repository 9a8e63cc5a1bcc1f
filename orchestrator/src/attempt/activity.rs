//! What the pump is waiting for, and since when. The supervisor's clock reads it.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the pump waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Nothing: it works, or has ended.
    Nothing,
    /// Output of the source.
    Source,
    /// Room in the destination's input.
    Destination,
}

/// Shared between the pump, the destination's reader and the supervisor.
#[derive(Debug)]
pub(super) struct Activity {
    start: Instant,
    /// Milliseconds since `start`, times four, plus what is waited for.
    waiting: AtomicU64,
    /// Milliseconds since `start` of the destination's last line.
    echo: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), waiting: AtomicU64::new(0), echo: AtomicU64::new(0) }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX >> 2)
    }

    pub(super) fn set(&self, waiting: Waiting) {
        let code = match waiting {
            Waiting::Nothing => 0,
            Waiting::Source => 1,
            Waiting::Destination => 2,
        };
        self.waiting.store(self.now() << 2 | code, Ordering::Relaxed);
    }

    /// What is waited for, and for how long already.
    pub(super) fn waiting(&self) -> (Waiting, Duration) {
        let packed = self.waiting.load(Ordering::Relaxed);
        let what = match packed & 3 {
            1 => Waiting::Source,
            2 => Waiting::Destination,
            _ => Waiting::Nothing,
        };
        (what, Duration::from_millis(self.now().saturating_sub(packed >> 2)))
    }

    pub(super) fn destination_spoke(&self) {
        self.echo.store(self.now(), Ordering::Relaxed);
    }

    /// Since the destination's last line.
    pub(super) fn destination_silence(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.echo.load(Ordering::Relaxed)))
    }
}

/// Notes when it waits for the source.
#[derive(Debug)]
pub(super) struct FromSource<R>(pub(super) R, pub(super) Arc<Activity>);

impl<R: Read> Read for FromSource<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.1.set(Waiting::Source);
        let result = self.0.read(buf);
        self.1.set(Waiting::Nothing);
        result
    }
}

/// Notes when it waits for the destination.
#[derive(Debug)]
pub(super) struct ToDestination<W>(pub(super) W, pub(super) Arc<Activity>);

impl<W: Write> Write for ToDestination<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.1.set(Waiting::Destination);
        let result = self.0.write(buf);
        self.1.set(Waiting::Nothing);
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
