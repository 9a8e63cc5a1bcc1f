//! Whether, and after how long, a failed attempt is followed by another.
//!
//! Two counters: attempts in which nothing was confirmed, and attempts that made
//! progress. The first wait longer and longer between them; the second do not wait, and
//! reset the first.

use std::time::Duration;

/// The bounds of a job's retries.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Attempts without progress, in a row.
    pub complete_successive: u32,
    /// Attempts without progress, in all.
    pub complete_total: u32,
    /// Attempts with progress, in a row.
    pub partial_successive: u32,
    /// Attempts with progress, in all.
    pub partial_total: u32,
    /// The first wait; each further one is three times as long.
    pub backoff: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
    /// All attempts together.
    pub attempts: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            complete_successive: 5,
            complete_total: 10,
            partial_successive: 1000,
            partial_total: 20,
            backoff: Duration::from_secs(10),
            backoff_max: Duration::from_secs(1800),
            attempts: u32::MAX,
        }
    }
}

/// A job's failed attempts so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retries {
    /// Without progress: in a row, and in all.
    pub complete: (u32, u32),
    /// With progress: in a row, and in all.
    pub partial: (u32, u32),
}

impl Retries {
    /// Counts a failed attempt. Gives the wait before the next one, or `None` for no more.
    pub fn after_failure(&mut self, policy: &RetryPolicy, made_progress: bool) -> Option<Duration> {
        let wait = if made_progress {
            self.partial = (self.partial.0 + 1, self.partial.1 + 1);
            self.complete.0 = 0;
            Duration::ZERO
        } else {
            self.complete = (self.complete.0 + 1, self.complete.1 + 1);
            self.partial.0 = 0;
            let factor = 3_u32.saturating_pow(self.complete.0 - 1);
            policy.backoff.saturating_mul(factor).min(policy.backoff_max)
        };
        let within = self.complete.0 < policy.complete_successive
            && self.complete.1 < policy.complete_total
            && self.partial.0 < policy.partial_successive
            && self.partial.1 < policy.partial_total
            && self.complete.1 + self.partial.1 < policy.attempts;
        within.then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::{Retries, RetryPolicy};

    #[test]
    fn waits_longer_and_longer_and_gives_up_after_five_in_a_row() {
        let (policy, mut retries) = (RetryPolicy::default(), Retries::default());
        let waits: Vec<_> =
            std::iter::from_fn(|| retries.after_failure(&policy, false)).map(|w| w.as_secs()).collect();
        assert_eq!(waits, [10, 30, 90, 270]);
    }

    #[test]
    fn progress_resets_the_row_but_not_the_total() {
        let (policy, mut retries) = (RetryPolicy::default(), Retries::default());
        let mut attempts = 0;
        loop {
            attempts += 1;
            let Some(wait) = retries.after_failure(&policy, attempts % 2 == 0) else { break };
            assert!(wait.as_secs() <= 10);
        }
        assert_eq!((attempts, retries.complete.1), (19, 10));
    }

    #[test]
    fn a_limit_on_attempts_holds() {
        let policy = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
        assert!(Retries::default().after_failure(&policy, true).is_none());
    }
}
