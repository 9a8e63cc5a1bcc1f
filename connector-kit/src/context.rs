//! What a connector may know about its run.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

/// Whether, and by what, the run was asked to end. Cheap to clone and to ask.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicI32>);

impl Stop {
    /// Whether the run should end at the next safe point.
    #[must_use]
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Asks the run to end; `signal` becomes part of the exit code. The first asker wins.
    pub(crate) fn request(&self, signal: i32) {
        let _ = self.0.compare_exchange(0, signal, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The signal that asked, as a shell would report it: 128 + its number.
    pub(crate) fn exit_code(&self) -> u8 {
        u8::try_from(128 + self.0.load(Ordering::Relaxed)).unwrap_or(u8::MAX)
    }
}

/// Handed to [`crate::Connector::connect`].
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Ask it in long loops that emit nothing.
    pub stop: Stop,
}
