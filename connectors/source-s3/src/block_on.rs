//! Waits for the network from code that is not async. What is waited for runs on the network's
//! own thread, so that nothing stands still meanwhile but the reader that waits.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A request that was sent, and its answer once that was waited for.
pub(crate) enum Asked<T> {
    Waiting(Work<T>),
    Answered(T),
}

impl<T> std::fmt::Debug for Asked<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asked")
    }
}

impl<T: 'static> Asked<T> {
    /// Sends it. A future does nothing before it is asked for the first time.
    pub(crate) fn send(work: impl Future<Output = T> + Send + 'static) -> Self {
        // The budget of the runtime's task is not ours to spend: it would run out, as this never yields.
        let mut work: Work<T> = Box::pin(tokio::task::unconstrained(work));
        match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Self::Answered(answer),
            Poll::Pending => Self::Waiting(work),
        }
    }

    /// Waits for the answer.
    pub(crate) fn wait(self) -> T {
        let mut work = match self {
            Self::Answered(answer) => return answer,
            Self::Waiting(work) => work,
        };
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            match work.as_mut().poll(&mut context) {
                Poll::Ready(answer) => return answer,
                // Looked at now and then even if nobody wakes us.
                Poll::Pending => std::thread::park_timeout(Duration::from_secs(1)),
            }
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::Asked;
    use std::time::Duration;

    #[test]
    fn waits_within_a_runtime_as_often_as_one_likes() {
        let network = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = network.handle().clone();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || network.block_on(ended).unwrap());
        let ours = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let sum = ours.block_on(async {
            let mut sum = 0;
            for n in 0..1_000_u64 {
                let task = handle.spawn(async move {
                    if n % 100 == 0 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    n
                });
                sum += Asked::send(task).wait().unwrap();
            }
            sum
        });
        assert_eq!(sum, 499_500);
        end.send(()).unwrap();
        thread.join().unwrap();
    }
}
