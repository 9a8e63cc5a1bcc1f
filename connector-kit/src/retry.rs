//! Tries again what may succeed by itself, and nothing else.

use std::future::Future;
use std::time::Duration;

use crate::context::Stop;
use crate::error::{Error, ErrorKind, Result};

/// How long to wait between tries: doubling from `first` up to `most`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait.
    pub most: Duration,
    /// How often to try in all.
    pub tries: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(200), most: Duration::from_secs(20), tries: 6 }
    }
}

/// Runs `attempt` until it succeeds, fails with anything but a transient error, or the
/// tries are used up; then the last error is returned. Repeats nothing once a stop was
/// requested. `attempt` must be safe to repeat after any failure.
///
/// # Errors
/// The last attempt's.
pub async fn retry<T, F>(backoff: Backoff, stop: &Stop, mut attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut wait = backoff.first;
    let mut tried = 1;
    loop {
        match attempt().await {
            Err(error)
                if error.kind() == ErrorKind::Transient && tried < backoff.tries && !stop.requested() =>
            {
                tracing::warn!("{error} Trying again in {wait:?} (try {tried} of {}).", backoff.tries);
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(backoff.most);
                tried += 1;
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, retry};
    use crate::context::Stop;
    use crate::error::{Error, Result};
    use std::cell::Cell;
    use std::time::Duration;

    fn run(fails: u32, error: fn() -> Error) -> (Result<u32>, u32) {
        let tries = Cell::new(0);
        let backoff = Backoff { first: Duration::from_millis(1), most: Duration::from_millis(2), tries: 4 };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let result = runtime.block_on(retry(backoff, &Stop::default(), || {
            tries.set(tries.get() + 1);
            let ok = tries.get() > fails;
            async move { if ok { Ok(7) } else { Err(error()) } }
        }));
        (result, tries.get())
    }

    #[test]
    fn repeats_transient_errors_only_and_not_for_ever() {
        assert!(matches!(run(2, || Error::transient("x")), (Ok(7), 3)));
        assert!(matches!(run(9, || Error::transient("x")), (Err(_), 4)));
        assert!(matches!(run(9, || Error::config("x")), (Err(_), 1)));
    }
}
