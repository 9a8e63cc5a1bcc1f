//! Reading objects: a stream of bytes that goes on where a connection was lost, from the same
//! version of the object or not at all. A body that ends early is never taken for the end.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use bytes::{Buf, Bytes};
use connector_kit::Error as KitError;
use tokio::sync::Notify;

use crate::connect::Store;
use crate::error::{self, Error, Fault, Result};
use crate::list::micros;
use crate::upload::TOKEN;

/// Failures in a row, without a byte between them, that end a read.
const MAX_TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// Bytes received ahead of the reader.
const AHEAD: usize = 1 << 20;

/// What a store knows of an object.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its bytes.
    pub size: u64,
    /// What tells this version from another, quotes included.
    pub etag: String,
    /// When it was written: microseconds since 1970.
    pub modified: i64,
    /// The metadata its writer gave it.
    pub metadata: HashMap<String, String>,
    /// `GLACIER` and the like, where the store says so.
    pub storage_class: Option<String>,
}

impl Head {
    /// Whether the object was made by the upload that we called so.
    #[must_use]
    pub fn is_from(&self, token: &str) -> bool {
        self.metadata.get(TOKEN).is_some_and(|t| t == token)
    }
}

impl Store {
    /// What the store knows of an object; `None` when there is none.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn head(&self, key: &str) -> Result<Option<Head>> {
        let (store, key) = (self.clone(), key.to_owned());
        let answer = self.run(async move {
            let request = store.client().await.head_object().bucket(store.bucket()).key(&key);
            let doing = format!("look at {}", store.url(&key));
            request.send().await.map_err(|e| error::of(store.settings(), &doing, e))
        });
        match answer.await {
            Ok(head) => Ok(Some(Head {
                size: head.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
                etag: head.e_tag().unwrap_or_default().to_owned(),
                modified: head.last_modified().map_or(0, micros),
                metadata: head.metadata().cloned().unwrap_or_default(),
                storage_class: head.storage_class().map(|c| c.as_str().to_owned()),
            })),
            Err(error) if error.fault() == Fault::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The bytes of an object from `start` to before `end`, or to its last. With an `etag`, of that version
    /// only; without, of the version found now. The request is made before this returns; the
    /// bytes then come as they are read.
    ///
    /// # Errors
    /// [`Fault::Missing`] when there is no object, [`Fault::Changed`] when it is another version,
    /// [`Fault::Archived`] when it would have to be restored.
    pub async fn read(&self, key: &str, etag: Option<&str>, start: u64, end: Option<u64>) -> Result<Body> {
        if end.is_some_and(|end| end <= start) {
            let pipe = Arc::new(Pipe::default());
            pipe.lock().ended = true;
            return Ok(Body { pipe, etag: etag.unwrap_or_default().to_owned(), size: 0, part: Bytes::new() });
        }
        let mut fetch = Fetch {
            store: self.clone(),
            key: key.to_owned(),
            etag: etag.map(str::to_owned),
            offset: start,
            end,
            pipe: Arc::new(Pipe::default()),
        };
        let pipe = Arc::clone(&fetch.pipe);
        let (fetch, first) = self
            .run(async move {
                let first = fetch.ask().await?;
                Ok((fetch, first))
            })
            .await?;
        let size = fetch.end.unwrap_or(start).saturating_sub(start);
        let etag = fetch.etag.clone().unwrap_or_default();
        self.handle().spawn(fetch.run(first));
        Ok(Body { pipe, etag, size, part: Bytes::new() })
    }

    /// A small object whole; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read, or has more than `most` bytes.
    pub async fn get(&self, key: &str, most: u64) -> Result<Option<(Bytes, String)>> {
        let (store, key) = (self.clone(), key.to_owned());
        let answer = self.run(async move {
            let doing = format!("read {}", store.url(&key));
            let request = store.client().await.get_object().bucket(store.bucket()).key(&key);
            let answer = request.send().await.map_err(|e| error::of(store.settings(), &doing, e))?;
            let size = answer.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or(u64::MAX);
            if size > most {
                return Err(error::plain(KitError::config(format!(
                    "{} has {size} bytes, which is more than it ever should; is it ours?",
                    store.url(&key)
                ))));
            }
            let etag = answer.e_tag().unwrap_or_default().to_owned();
            let bytes = answer.body.collect().await.map_err(|e| lost(&store, &key, &e))?;
            Ok((bytes.into_bytes(), etag))
        });
        match answer.await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.fault() == Fault::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// An object's bytes as they arrive. Errors that it gives hold an [`Error`], to be found with
/// [`io::Error::get_ref`]. Reading blocks; it may be done within async code, since the network has its
/// own thread.
#[derive(Debug)]
pub struct Body {
    pipe: Arc<Pipe>,
    etag: String,
    size: u64,
    part: Bytes,
}

impl Body {
    /// The version that is read.
    #[must_use]
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// How many bytes there are in all.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next bytes as they came, without a copy; empty at the end.
    ///
    /// # Errors
    /// When the object cannot be read on.
    pub fn next_bytes(&mut self) -> io::Result<Bytes> {
        if self.part.has_remaining() {
            return Ok(std::mem::take(&mut self.part));
        }
        self.pipe.receive().map_err(|e| io::Error::other(*e))
    }
}

impl Read for Body {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !self.part.has_remaining() && !buf.is_empty() {
            self.part = self.next_bytes()?;
        }
        let n = self.part.len().min(buf.len());
        self.part.copy_to_slice(&mut buf[..n]);
        Ok(n)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.pipe.lock().unread = true;
        self.pipe.room.notify_one();
    }
}

/// From the network's thread to the reader's, bounded in bytes.
#[derive(Debug, Default)]
struct Pipe {
    queue: Mutex<Queue>,
    filled: Condvar,
    room: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    parts: VecDeque<Bytes>,
    bytes: usize,
    ended: bool,
    error: Option<Box<Error>>,
    /// Nobody reads any more.
    unread: bool,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands bytes on once there is room; false when nobody wants them.
    async fn send(&self, part: Bytes) -> bool {
        loop {
            {
                let mut queue = self.lock();
                if queue.unread {
                    return false;
                }
                if queue.bytes < AHEAD {
                    queue.bytes += part.len();
                    queue.parts.push_back(part);
                    self.filled.notify_one();
                    return true;
                }
            }
            self.room.notified().await;
        }
    }

    fn end(&self, result: Result<()>) {
        let mut queue = self.lock();
        queue.error = result.err().map(Box::new);
        queue.ended = true;
        self.filled.notify_one();
    }

    fn receive(&self) -> Result<Bytes, Box<Error>> {
        let mut queue = self.lock();
        loop {
            if let Some(part) = queue.parts.pop_front() {
                queue.bytes -= part.len();
                self.room.notify_one();
                return Ok(part);
            }
            if let Some(error) = queue.error.take() {
                return Err(error);
            }
            if queue.ended {
                return Ok(Bytes::new());
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct Fetch {
    store: Store,
    key: String,
    etag: Option<String>,
    offset: u64,
    end: Option<u64>,
    pipe: Arc<Pipe>,
}

/// However the task ends, the reader does not wait for ever.
impl Drop for Fetch {
    fn drop(&mut self) {
        if !self.pipe.lock().ended {
            let error =
                KitError::transient("The network's thread ended while an object was read; try again.");
            self.pipe.end(Err(error::plain(error)));
        }
    }
}

impl Fetch {
    /// Asks for what is missing, and learns the object's version and size from the first answer.
    async fn ask(&mut self) -> Result<GetObjectOutput> {
        let whole = self.offset == 0 && self.end.is_none();
        let range = (!whole).then(|| match self.end {
            Some(end) => format!("bytes={}-{}", self.offset, end.saturating_sub(1)),
            None => format!("bytes={}-", self.offset),
        });
        let doing = format!("read {}", self.store.url(&self.key));
        let request = self.store.client().await.get_object().bucket(self.store.bucket()).key(&self.key);
        let answer = request.set_range(range).set_if_match(self.etag.clone()).send().await;
        let answer = answer.map_err(|e| error::of(self.store.settings(), &doing, e))?;
        let length = answer.content_length().and_then(|n| u64::try_from(n).ok());
        let Some(length) = length else {
            return Err(error::plain(KitError::system(format!(
                "Cannot {doing}: the store does not say how long it is."
            ))));
        };
        // A store that ignores ranges would give us the object's start once more.
        let begins =
            answer.content_range().and_then(|r| r.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
        if !whole && begins != Some(self.offset) {
            return Err(error::fault(
                Fault::Unsupported,
                KitError::config(format!(
                    "Cannot {doing}: the store answers with another range than was asked for."
                )),
            ));
        }
        // Not every store keeps to If-Match. A range beyond the end is cut to what there is.
        self.end = Some(self.end.map_or(u64::MAX, |end| end).min(self.offset + length));
        match (&self.etag, answer.e_tag()) {
            (Some(wanted), Some(found)) if wanted != found => Err(error::fault(
                Fault::Changed,
                KitError::transient(format!(
                    "Cannot {doing}: it was changed by somebody else meanwhile; try again."
                )),
            )),
            (Some(_), _) => Ok(answer),
            (None, found) => {
                self.etag = found.map(str::to_owned);
                Ok(answer)
            }
        }
    }

    fn cut(&self) -> Error {
        error::plain(KitError::transient(format!(
            "The store ended {} before its announced length; try again.",
            self.store.url(&self.key)
        )))
    }

    async fn run(mut self, first: GetObjectOutput) {
        let result = self.go_on(first).await;
        self.pipe.end(result);
    }

    async fn go_on(&mut self, first: GetObjectOutput) -> Result<()> {
        let mut answer = Some(first);
        let (mut tries, mut wait) = (1, FIRST_WAIT);
        loop {
            let before = self.offset;
            let body = match answer.take() {
                Some(answer) => Ok(answer),
                None => self.ask().await,
            };
            let error = match body {
                Ok(answer) => match self.drain(answer).await {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                },
                // Requests are repeated by the client itself; what it gives up is final.
                Err(error) => return Err(error),
            };
            if self.offset > before {
                (tries, wait) = (1, FIRST_WAIT);
            }
            if tries >= MAX_TRIES || self.etag.is_none() || self.end == Some(self.offset) {
                return Err(error);
            }
            tracing::warn!(
                "Reading {} was interrupted at byte {}. Going on in {wait:?} (try {} of {MAX_TRIES}).",
                self.store.url(&self.key),
                self.offset,
                tries + 1
            );
            tokio::time::sleep(wait).await;
            wait *= 2;
            tries += 1;
        }
    }

    async fn drain(&mut self, answer: GetObjectOutput) -> Result<()> {
        let mut body = answer.body;
        loop {
            match body.next().await {
                Some(Ok(part)) if part.is_empty() => {}
                Some(Ok(part)) => {
                    self.offset += part.len() as u64;
                    if !self.pipe.send(part).await {
                        return Ok(());
                    }
                }
                Some(Err(e)) => return Err(lost(&self.store, &self.key, &e)),
                None if self.end.is_some_and(|end| end != self.offset) => return Err(self.cut()),
                None => return Ok(()),
            }
        }
    }
}

fn lost(store: &Store, key: &str, cause: &dyn std::error::Error) -> Error {
    let mut chain = cause.to_string();
    let mut next = cause.source();
    while let Some(cause) = next {
        chain = format!("{chain}: {cause}");
        next = cause.source();
    }
    let what = if chain.to_ascii_lowercase().contains("checksum") {
        "the bytes that came are not those that were written"
    } else {
        "the connection was lost"
    };
    error::plain(
        KitError::transient(format!("Cannot read {} to its end: {what}; try again.", store.url(key)))
            .with_source(chain),
    )
}
