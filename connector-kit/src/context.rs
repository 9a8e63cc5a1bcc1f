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

    /// Asks the run to end; the first signal to ask wins.
    pub(crate) fn request(&self, signal: i32) {
        let _ = self.0.compare_exchange(0, signal, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The signal that asked.
    pub(crate) fn signal(&self) -> Option<i32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
    }
}

/// Handed to [`crate::Connector::connect`].
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Ask it in long loops that emit nothing.
    pub stop: Stop,
}
