//! Uploads in parts: sent as they come, seen by nobody until they are completed, and completed
//! once however often that is asked for.

use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use connector_kit::{Error as KitError, ErrorKind};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

use crate::connect::Store;
use crate::error::{self, Fault, Result};
use crate::write::Written;

/// How many parts an object may have, at every store.
pub const MAX_PARTS: usize = 10_000;
/// No part but the last may be smaller.
const SMALLEST: usize = 5 << 20;
/// The metadata by which an object is known to come from a certain upload.
pub(crate) const TOKEN: &str = "ferry-upload";

/// How large part `number` (from 1) should be: small at first, so that little memory waits, and twice as
/// large after each 900 parts, so that 10,000 of them hold the largest object a store takes (5 TiB).
#[must_use]
pub fn part_bytes(number: usize) -> usize {
    SMALLEST << (number.saturating_sub(1) / 900).min(10)
}

/// Bounds the bytes that are on their way to the store, for all uploads that share it.
#[derive(Debug)]
pub struct Room {
    limit: usize,
    used: Mutex<usize>,
    freed: Condvar,
}

impl Room {
    /// Room for so many bytes; a part that is larger has it for itself.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: Mutex::new(0), freed: Condvar::new() })
    }

    /// Waits until there is room. Uploads go on meanwhile: they run on another thread.
    fn take(self: &Arc<Self>, bytes: usize) -> Taken {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while *used > 0 && *used + bytes > self.limit {
            used = self.freed.wait(used).unwrap_or_else(PoisonError::into_inner);
        }
        *used += bytes;
        Taken { room: Arc::clone(self), bytes }
    }
}

/// Given back when dropped.
#[derive(Debug)]
struct Taken {
    room: Arc<Room>,
    bytes: usize,
}

impl Drop for Taken {
    fn drop(&mut self) {
        *self.room.used.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.room.freed.notify_all();
    }
}

/// A part that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What the store calls it.
    pub etag: String,
    /// Its checksum, where the store says it.
    pub crc32: Option<String>,
}

/// What it takes to complete an upload; it may be written down and used by another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The object's key.
    pub key: String,
    /// The store's name for the upload.
    pub upload_id: String,
    /// Our name for it, by which the object is known.
    pub token: String,
    /// The parts, in order.
    pub parts: Vec<Part>,
}

/// An upload on its way.
#[derive(Debug)]
pub struct Upload {
    store: Store,
    shared: Arc<Shared>,
    room: Arc<Room>,
    parts: Vec<JoinHandle<Result<Part>>>,
    bytes: u64,
}

#[derive(Debug)]
struct Shared {
    key: String,
    token: String,
    content_type: String,
    metadata: Vec<(String, String)>,
    id: OnceCell<String>,
    /// The first part's fate that did not arrive.
    failed: OnceLock<(ErrorKind, String)>,
}

impl Store {
    /// An upload for `key`, begun with its first part. `token` tells its object from every other.
    #[must_use]
    pub fn upload(
        &self,
        key: &str,
        token: &str,
        content_type: &str,
        metadata: Vec<(String, String)>,
        room: &Arc<Room>,
    ) -> Upload {
        let shared = Shared {
            key: key.to_owned(),
            token: token.to_owned(),
            content_type: content_type.to_owned(),
            metadata,
            id: OnceCell::new(),
            failed: OnceLock::new(),
        };
        Upload {
            store: self.clone(),
            shared: Arc::new(shared),
            room: Arc::clone(room),
            parts: Vec::new(),
            bytes: 0,
        }
    }

    /// Makes the parts one object. Asking again after a lost answer is no error, even if by another process.
    ///
    /// # Errors
    /// [`Fault::Missing`] when the upload is gone and its object was never made.
    pub async fn complete(&self, upload: &Completion) -> Result<Written> {
        let (store, asked) = (self.clone(), upload.clone());
        let answer = self.run(async move {
            let parts = asked.parts.iter().zip(1..).map(|(part, number)| {
                let part_of = CompletedPart::builder().part_number(number).e_tag(&part.etag);
                part_of.set_checksum_crc32(part.crc32.clone()).build()
            });
            let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
            let request = store.client().await.complete_multipart_upload().bucket(store.bucket());
            let request = request.key(&asked.key).upload_id(&asked.upload_id).multipart_upload(parts);
            let doing = format!("complete {}", store.url(&asked.key));
            let answer = request.send().await.map_err(|e| error::of(store.settings(), &doing, e))?;
            Ok(Written { etag: answer.e_tag().unwrap_or_default().to_owned() })
        });
        match answer.await {
            Ok(written) => Ok(written),
            // Also when the store says that it failed: it may have succeeded all the same.
            Err(error) => match self.head(&upload.key).await {
                Ok(Some(head)) if head.is_from(&upload.token) => Ok(Written { etag: head.etag }),
                _ => Err(error),
            },
        }
    }

    /// Drops an upload and its parts; one that is gone already is no error.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn abort(&self, key: &str, upload_id: &str) -> Result<()> {
        let (store, key, id) = (self.clone(), key.to_owned(), upload_id.to_owned());
        let answer = self.run(async move {
            let request = store.client().await.abort_multipart_upload().bucket(store.bucket());
            let doing = format!("abort the upload of {}", store.url(&key));
            let answer = request.key(&key).upload_id(id).send().await;
            answer.map(drop).map_err(|e| error::of(store.settings(), &doing, e))
        });
        match answer.await {
            Err(error) if error.fault() != Fault::Missing => Err(error),
            _ => Ok(()),
        }
    }
}

impl Upload {
    /// Sends the next part once there is room for it; its fate shows in [`Upload::finish`]. Every part
    /// but the last has [`part_bytes`] bytes.
    ///
    /// # Errors
    /// When an earlier part failed, or there are too many.
    pub fn send(&mut self, bytes: Bytes) -> Result<()> {
        let number = self.parts.len() + 1;
        if number > MAX_PARTS {
            return Err(error::plain(KitError::config(format!(
                "{} would need more than {MAX_PARTS} parts, which no store takes; choose smaller objects.",
                self.store.url(&self.shared.key)
            ))));
        }
        if let Some((kind, said)) = self.shared.failed.get() {
            return Err(error::plain(match kind {
                ErrorKind::Config => KitError::config(said),
                ErrorKind::Transient => KitError::transient(said),
                ErrorKind::System | ErrorKind::Stopped => KitError::system(said),
            }));
        }
        self.bytes += bytes.len() as u64;
        let taken = self.room.take(bytes.len());
        let (store, shared) = (self.store.clone(), Arc::clone(&self.shared));
        let part = async move {
            let result = send(&store, &shared, number, bytes).await;
            drop(taken);
            result.inspect_err(|error| {
                // Only the first counts.
                let _ = shared.failed.set((error.kind(), error.to_string()));
            })
        };
        self.parts.push(self.store.handle().spawn(part));
        Ok(())
    }

    /// The object's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.shared.key
    }

    /// The bytes sent so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many parts were sent.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// The store's name for it, once it has one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.shared.id.get().map(String::as_str)
    }

    /// Waits until every part has arrived. The object is not there before it is completed.
    ///
    /// # Errors
    /// The first part's that failed; [`Upload::abort`] it then.
    pub async fn finish(&mut self) -> Result<Completion> {
        let mut parts = Vec::with_capacity(self.parts.len());
        let mut failed = None;
        for part in self.parts.drain(..) {
            match part.await {
                Ok(Ok(part)) => parts.push(part),
                Ok(Err(error)) => failed = failed.or(Some(error)),
                Err(ended) => {
                    let error = KitError::system("The thread of the network ended early.").with_source(ended);
                    failed = failed.or(Some(error::plain(error)));
                }
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let Some(upload_id) = self.shared.id.get().cloned() else {
            return Err(error::plain(KitError::system("An upload without parts cannot be completed.")));
        };
        let (key, token) = (self.shared.key.clone(), self.shared.token.clone());
        Ok(Completion { key, upload_id, token, parts })
    }

    /// Drops it, and waits until the store knows.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn abort(mut self) -> Result<()> {
        // A part that arrives after the upload was dropped would be kept, and paid for.
        for part in std::mem::take(&mut self.parts) {
            let _ = part.await;
        }
        match self.shared.id.get() {
            Some(id) => self.store.abort(&self.shared.key, id).await,
            None => Ok(()),
        }
    }
}

async fn begin(store: &Store, shared: &Shared) -> Result<String> {
    let request = store.client().await.create_multipart_upload().bucket(store.bucket()).key(&shared.key);
    let mut request = request.content_type(&shared.content_type).checksum_algorithm(ChecksumAlgorithm::Crc32);
    request = request.metadata(TOKEN, &shared.token);
    for (name, value) in &shared.metadata {
        request = request.metadata(name, value);
    }
    let doing = format!("begin the upload of {}", store.url(&shared.key));
    let answer = request.send().await.map_err(|e| error::of(store.settings(), &doing, e))?;
    match answer.upload_id() {
        Some(id) => Ok(id.to_owned()),
        None => Err(error::plain(KitError::system(format!("Cannot {doing}: the store gives it no number.")))),
    }
}

async fn send(store: &Store, shared: &Shared, number: usize, bytes: Bytes) -> Result<Part> {
    let id = shared.id.get_or_try_init(|| begin(store, shared)).await?;
    let doing = format!("send part {number} of {}", store.url(&shared.key));
    let number = i32::try_from(number).unwrap_or(i32::MAX);
    let request = store.client().await.upload_part().bucket(store.bucket()).key(&shared.key).upload_id(id);
    let request = request.part_number(number).checksum_algorithm(ChecksumAlgorithm::Crc32);
    let request = request.body(bytes.into()).customize();
    // TLS and the part's checksum guard the bytes already.
    let request = if store.is_encrypted() { request.disable_payload_signing() } else { request };
    let answer = request.send().await.map_err(|e| error::of(store.settings(), &doing, e))?;
    Ok(Part {
        etag: answer.e_tag().unwrap_or_default().to_owned(),
        crc32: answer.checksum_crc32().map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::{MAX_PARTS, Room, part_bytes};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn df_07_ten_thousand_parts_hold_the_largest_object() {
        let all: u64 = (1..=MAX_PARTS).map(|n| part_bytes(n) as u64).sum();
        assert!(all > 5 << 40, "{all}");
        assert!((1..=MAX_PARTS).all(|n| (5 << 20..=5_usize << 30).contains(&part_bytes(n))));
        assert!((1..=900).all(|n| part_bytes(n) == 5 << 20), "objects of the usual size have small parts");
    }

    #[test]
    fn bytes_on_their_way_stay_within_the_room() {
        let room = Room::new(10);
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let taken = room.take(4);
                        most.fetch_max(now.fetch_add(4, Ordering::SeqCst) + 4, Ordering::SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(4, Ordering::SeqCst);
                        drop(taken);
                    }
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 8);
        drop(room.take(100));
    }
}
