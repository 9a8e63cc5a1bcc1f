//! Writes one stream: rows into parts, parts into uploads, uploads into objects that appear when they are published.

use std::sync::Arc;

use columnar::Layout;
use connector_kit::protocol::{DestinationSyncMode, RecordDigest};
use connector_kit::{Error, RecordBatch, Result, RowDecoder, SelectedStream, Stamp, tracing};
use s3_kit::{Completion, Upload};

use crate::book::Book;
use crate::destination::Shared;
use crate::encode::{FileWriter, columnar_error};
use crate::keys::{Names, Values, random, token};
use crate::manifest::{Begun, Object};
use crate::part_sink::PartSink;
use crate::time::{Moment, now_micros};

/// Names that are taken, tried one after the other, before we give up.
const MOST_NAMES: u32 = 10_000;

/// The work on one stream.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) shared: Arc<Shared>,
    pub(crate) book: Book,
    names: Names,
    layout: Arc<Layout>,
    decoder: RowDecoder,
    stamp: Option<Stamp>,
    sync_id: Option<i64>,
    generation: i64,
    /// Rows of smaller generations go once the stream has succeeded.
    pub(crate) minimum: i64,
    /// Nothing is seen before the stream is complete.
    pub(crate) held: bool,
    /// What the stream brings replaces all there was.
    pub(crate) overwrite: bool,
    open: Option<OpenObject>,
    /// Whole, but not to be seen yet.
    pub(crate) finished: Vec<Finished>,
    /// So many of them stay when what came after the last mark is dropped.
    pub(crate) marked: usize,
}

#[derive(Debug)]
struct OpenObject {
    key: String,
    sink: PartSink,
    writer: FileWriter,
    digest: RecordDigest,
    journaled: bool,
}

/// An object of which every part was sent.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) object: Object,
    pub(crate) upload: Upload,
    /// Once every part has arrived.
    pub(crate) done: Option<Completion>,
}

impl Work {
    pub(crate) fn new(shared: &Arc<Shared>, stream: &SelectedStream, book: Book, held: bool) -> Result<Self> {
        let nests = shared.style.nests();
        let layout = if nests { Layout::nested(&stream.columns) } else { Layout::new(&stream.columns) };
        let layout = layout.map_err(|e| Error::config(format!("Stream {}: {e}.", stream.descriptor)))?;
        let names = Names::new(
            &shared.root,
            &shared.path,
            &shared.file,
            shared.style.extension(),
            &stream.descriptor,
        );
        let mut work = Self {
            shared: Arc::clone(shared),
            book,
            names,
            decoder: RowDecoder::new(layout.names()),
            layout: Arc::new(layout),
            stamp: None,
            sync_id: stream.sync_id,
            generation: stream.generation.map_or(0, |g| g.id),
            minimum: stream.generation.map_or(0, |g| g.minimum),
            held,
            overwrite: stream.destination_sync_mode == DestinationSyncMode::Overwrite,
            open: None,
            finished: Vec::new(),
            marked: 0,
        };
        work.stamp = Some(work.new_stamp());
        Ok(work)
    }

    fn new_stamp(&self) -> Stamp {
        Stamp::new(self.sync_id, Some(self.generation))
    }

    /// The next object's key: one that is neither ours nor anybody's.
    async fn next_key(&mut self) -> Result<String> {
        let mut nth = 0;
        for _ in 0..MOST_NAMES {
            let manifest = self.book.manifest_mut();
            let values = Values {
                began: Moment::at(manifest.writer.began),
                now: now_micros(),
                part: manifest.next_part,
                sync_id: self.sync_id,
                random: random(),
            };
            let key = self.names.key(&values, nth)?;
            if self.names.tells_parts_apart() {
                manifest.next_part += 1;
            } else {
                nth += 1;
            }
            if !manifest.knows(&key)
                && self.shared.take(&key)
                && self.shared.store.head(&key).await?.is_none()
            {
                return Ok(key);
            }
        }
        Err(Error::config(format!(
            "{MOST_NAMES} names for the next object are taken already; put {{part_number}} into file_name_pattern, or choose another s3_path_format."
        )))
    }

    pub(crate) async fn open_object(&mut self) -> Result<()> {
        if self.open.is_some() {
            return Ok(());
        }
        let key = self.next_key().await?;
        let token = token();
        let Shared { store, style, gathered, room, budget, .. } = &*self.shared;
        let metadata = vec![("ab-generation-id".to_owned(), self.generation.to_string())];
        let upload = store.upload(&key, &token, style.content_type(), metadata, room);
        let sink = PartSink::new(upload, gathered);
        let stamp = self.stamp.take().ok_or_else(|| Error::system("An object was begun after an error."))?;
        let writer = FileWriter::new(style, sink.clone(), &self.layout, stamp, budget, self.book.stream())
            .map_err(|e| columnar_error(&store.url(&key), e))?;
        self.open = Some(OpenObject { key, sink, writer, digest: RecordDigest::default(), journaled: false });
        Ok(())
    }

    /// Ends the open object; its last part is on its way when this returns.
    pub(crate) async fn close_object(&mut self) -> Result<()> {
        let Some(OpenObject { key, sink, writer, digest, .. }) = self.open.take() else { return Ok(()) };
        let closed = writer.close();
        let (sent, bytes, upload) = {
            let mut sending = sink.lock();
            let sent = if closed.is_ok() { sending.end() } else { Ok(false) };
            (sent, sending.bytes(), sending.upload.take())
        };
        let Some(upload) = upload else { return Err(Error::system("An object was ended twice.")) };
        match (closed, sent) {
            (Ok((rows, stamp)), Ok(any)) => {
                self.stamp = Some(stamp);
                if any {
                    let (generation, sync_id) = (self.generation, self.sync_id);
                    let object = Object { key, rows, bytes, generation, sync_id, digest: digest.hex() };
                    self.finished.push(Finished { object, upload, done: None });
                }
                Ok(())
            }
            (Err(error), _) => {
                Err(self.failed(upload, columnar_error(&self.shared.store.url(&key), error)).await)
            }
            (_, Err(error)) => Err(self.failed(upload, error.into()).await),
        }
    }

    /// The store's own words where a part failed, and the upload dropped.
    async fn failed(&self, mut upload: Upload, otherwise: Error) -> Error {
        let error = upload.finish().await.err().map_or(otherwise, Error::from);
        drop_upload(upload).await;
        error
    }

    /// Notes uploads that have parts, so that the next run can drop them if this one cannot.
    async fn journal(&mut self) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let begun = match &open.sink.lock().upload {
            Some(upload) if !open.journaled => upload.id().map(str::to_owned),
            _ => None,
        };
        let Some(upload_id) = begun else { return Ok(()) };
        open.journaled = true;
        self.book.manifest_mut().uploads.push(Begun { key: open.key.clone(), upload_id });
        self.book.save().await
    }

    /// Takes rows; parts go out as they fill.
    pub(crate) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.open_object().await?;
        let Some(open) = &mut self.open else { return Ok(()) };
        if let Err(error) = open.writer.write(batch, &mut self.decoder) {
            let error = columnar_error(&self.shared.store.url(&open.key), error);
            let upload = open.sink.lock().upload.take();
            self.open = None;
            return Err(match upload {
                Some(upload) => self.failed(upload, error).await,
                None => error,
            });
        }
        open.digest.merge(batch.digest());
        let gathered = open.sink.lock().gathered();
        let size = open.writer.size().max(open.sink.lock().bytes());
        if size >= self.shared.max_bytes || self.shared.gathered.is_crowded_by(gathered) {
            self.journal().await?;
            return self.close_object().await;
        }
        self.journal().await
    }

    /// Ends the open object and waits until all parts of all objects have arrived.
    pub(crate) async fn arrive(&mut self) -> Result<()> {
        self.close_object().await?;
        for finished in &mut self.finished {
            if finished.done.is_none() {
                finished.done = Some(finished.upload.finish().await?);
            }
        }
        Ok(())
    }

    /// The stream is complete: an object without rows where there is no other, so that an empty stream can be read.
    pub(crate) async fn end_rows(&mut self) -> Result<()> {
        self.close_object().await?;
        if self.finished.is_empty() && (self.overwrite || self.book.manifest().objects.is_empty()) {
            self.open_object().await?;
        }
        self.arrive().await
    }

    /// What came so far stays when what comes is dropped.
    pub(crate) async fn mark(&mut self) -> Result<()> {
        self.close_object().await?;
        self.marked = self.finished.len();
        Ok(())
    }

    /// Drops what came since the last mark.
    pub(crate) async fn back_to_mark(&mut self) {
        self.drop_from(self.marked).await;
        // An object that was open had it.
        self.stamp = Some(self.new_stamp());
    }

    async fn drop_from(&mut self, first: usize) {
        if let Some(open) = self.open.take() {
            let upload = open.sink.lock().upload.take();
            drop(open);
            if let Some(upload) = upload {
                drop_upload(upload).await;
            }
        }
        for finished in self.finished.split_off(first.min(self.finished.len())) {
            drop_upload(finished.upload).await;
        }
    }

    /// Drops what was not published.
    pub(crate) async fn give_up(&mut self) {
        self.drop_from(0).await;
        self.marked = 0;
        let manifest = self.book.manifest_mut();
        if !manifest.uploads.is_empty() && manifest.intent.is_none() {
            manifest.uploads.clear();
            if let Err(error) = self.book.save().await {
                tracing::debug!("{error}");
            }
        }
    }
}

async fn drop_upload(upload: Upload) {
    // The error that ended the run is the one to tell.
    if let Err(error) = upload.abort().await {
        tracing::debug!("{error}");
    }
}
