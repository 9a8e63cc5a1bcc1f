//! A file that comes over a network, as a stream of bytes: one thread fetches, and the reader's
//! pace holds it back.

use std::future::Future;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use connector_kit::tracing;
use files_kit::error;

/// Parts on their way to the reader.
const QUEUED_PARTS: usize = 8;

pub(crate) type Parts = SyncSender<io::Result<Vec<u8>>>;

/// The file's bytes, without gaps.
pub(crate) struct Body {
    parts: Receiver<io::Result<Vec<u8>>>,
    part: io::Cursor<Vec<u8>>,
    ended: bool,
}

impl Body {
    /// Begins to fetch, on a thread and runtime of its own. Faults show when the body is read.
    pub(crate) fn fetch<F>(work: impl FnOnce(Parts) -> F + Send + 'static) -> io::Result<Self>
    where
        F: Future<Output = io::Result<()>>,
    {
        let (sender, parts) = sync_channel(QUEUED_PARTS);
        let log = tracing::dispatcher::get_default(Clone::clone);
        std::thread::Builder::new().name("download".into()).spawn(move || {
            tracing::dispatcher::with_default(&log, || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let result = runtime.and_then(|runtime| runtime.block_on(work(sender.clone())));
                // An empty part is the end. Nobody listening any more is no fault.
                let _ = sender.send(result.map(|()| Vec::new()));
            });
        })?;
        Ok(Self { parts, part: io::Cursor::default(), ended: false })
    }
}

impl Read for Body {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.part.read(buf)?;
            if n > 0 || self.ended || buf.is_empty() {
                return Ok(n);
            }
            match self.parts.recv() {
                Ok(Ok(part)) if part.is_empty() => self.ended = true,
                Ok(Ok(part)) => self.part = io::Cursor::new(part),
                Ok(Err(e)) => return Err(e),
                // The thread says when it is done; without that it died.
                Err(_) => return Err(error::interrupted("the download ended without a reason; try again")),
            }
        }
    }
}
