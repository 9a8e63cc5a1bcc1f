//! SIGINT, SIGTERM and SIGHUP (a closed terminal): counted, told to whoever waits, and passed on to one-shot commands.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::Group;

/// How often ferry was asked to stop. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    count: u32,
    groups: Vec<Group>,
}

/// Ends the watch of [`Interrupt::watch`].
#[derive(Debug)]
pub struct Watched<'a> {
    interrupt: &'a Interrupt,
    group: Group,
}

impl Interrupt {
    /// Counts the process's SIGINT, SIGTERM and SIGHUP from now on.
    ///
    /// # Errors
    /// When the handlers cannot be set.
    pub fn from_signals() -> std::io::Result<Self> {
        let interrupt = Self::default();
        let mut signals = signal_hook::iterator::Signals::new([
            signal_hook::consts::SIGINT,
            signal_hook::consts::SIGTERM,
            signal_hook::consts::SIGHUP,
        ])?;
        let told = interrupt.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            signals.forever().for_each(|_| told.raise());
        })?;
        Ok(interrupt)
    }

    /// Asks to stop once more.
    pub fn raise(&self) {
        let mut inner = self.lock();
        inner.count += 1;
        inner.groups.iter().for_each(|group| group.signal(Signal::TERM));
        self.shared.changed.notify_all();
    }

    /// How often it was asked.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.lock().count
    }

    /// Stops a one-shot command when ferry is asked to stop.
    pub fn watch(&self, group: Group) -> Watched<'_> {
        self.lock().groups.push(group.clone());
        Watched { interrupt: self, group }
    }

    /// Sleeps, unless and until it is asked to stop. Says whether the time passed in full.
    #[must_use]
    pub fn sleep(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut inner = self.lock();
        while inner.count == 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            inner = self.shared.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.shared.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.interrupt.lock().groups.retain(|group| *group != self.group);
    }
}
