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

/// Which run this is, as far as who started it says so; nothing is known of one started by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunIdentity {
    /// The source and destination that belong together, over all their runs: as long as it is the same, states
    /// that this destination has committed are states of the source at the other end. Only `ferry` says it.
    pub connection: Option<String>,
    /// The job.
    pub job: Option<i64>,
    /// The attempt of the job, counted from 0.
    pub attempt: Option<i64>,
}

impl RunIdentity {
    pub(crate) fn of_environment() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(get: impl Fn(&str) -> Option<String>) -> Self {
        let number = |name| get(name)?.trim().parse().ok();
        // It becomes a key in a table: what is not a plain word is nobody's id.
        let word = |id: &String| {
            (1..=200).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        Self {
            connection: get("FERRY_CONNECTION").filter(word),
            job: number("WORKER_JOB_ID"),
            attempt: number("WORKER_JOB_ATTEMPT"),
        }
    }
}

/// Handed to [`crate::Connector::connect`].
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Ask it in long loops that emit nothing.
    pub stop: Stop,
    /// Which run this is.
    pub run: RunIdentity,
}

#[cfg(test)]
mod tests {
    use super::RunIdentity;

    #[test]
    fn an_id_that_is_not_a_plain_word_is_none() {
        let of = |id: &str| {
            let id = id.to_owned();
            let get = |name: &str| match name {
                "FERRY_CONNECTION" => Some(id.clone()),
                "WORKER_JOB_ID" => Some("12".into()),
                "WORKER_JOB_ATTEMPT" => Some("x".into()),
                _ => None,
            };
            RunIdentity::from_variables(get)
        };
        let known = of("0b5e-4_a.B");
        assert_eq!(
            (known.connection.as_deref(), known.job, known.attempt),
            (Some("0b5e-4_a.B"), Some(12), None)
        );
        for odd in ["", "a b", "a'b", "\u{e9}", &"x".repeat(201)] {
            assert_eq!(of(odd).connection, None, "{odd}");
        }
    }
}
