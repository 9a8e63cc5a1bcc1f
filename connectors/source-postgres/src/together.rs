//! Several connections, one thread: the server does the work, we take turns.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use connector_kit::Result;

/// One of several tasks.
pub(crate) type Task<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// Runs all to their end. The first error ends it and drops the others.
pub(crate) async fn together(mut tasks: Vec<Task<'_>>) -> Result<()> {
    poll_fn(move |context| {
        let mut index = 0;
        while index < tasks.len() {
            match tasks[index].as_mut().poll(context) {
                Poll::Ready(Ok(())) => drop(tasks.swap_remove(index)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => index += 1,
            }
        }
        if tasks.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}
