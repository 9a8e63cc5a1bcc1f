//! Wiring: the config, the check, a writer per stream.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use columnar::Budget;
use connector_kit::protocol::{DestinationSyncMode, StreamDescriptor, SyncMode};
use connector_kit::{
    Checkpoint, Committed, Connector, Context, Destination, Error, FlushPolicy, MarkPolicy, Result,
    RunIdentity, SelectedStream, TransactionalDestination, tracing,
};
use s3_kit::{Bytes, Condition, Fault, Room, Store};
use tokio::sync::OnceCell;

use crate::book::Book;
use crate::commits::Commits;
use crate::config::Config;
use crate::formats::Style;
use crate::keys::{hidden, manifest_key, token};
use crate::manifest::Writer;
use crate::part_sink::Gathered;
use crate::recover::{recover, settle};
use crate::time::now_micros;
use crate::together::Together;
use crate::write::Work;
use crate::writer::{Member, S3Writer};

/// Rows become objects, and states are echoed, at least this often. Shorter would make many small objects.
const FLUSH_AGE: Duration = Duration::from_secs(300);
/// Parts on their way to the store, of all streams together.
const ROOM: usize = 15 << 20;

/// The destination.
#[derive(Debug)]
pub(crate) struct S3 {
    pub(crate) shared: Arc<Shared>,
    run: RunIdentity,
    /// What all streams commit together, where somebody can ask for it again.
    together: OnceCell<Together>,
}

/// What the writers of a run have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) root: String,
    pub(crate) path: String,
    pub(crate) file: String,
    pub(crate) style: Style,
    pub(crate) max_bytes: u64,
    pub(crate) budget: Arc<Budget>,
    pub(crate) room: Arc<Room>,
    pub(crate) gathered: Arc<Gathered>,
    /// When the run began, in milliseconds.
    pub(crate) began: i64,
    /// Keys that a stream of this run has taken.
    taken: Mutex<HashSet<String>>,
    conditional: OnceCell<bool>,
}

impl Shared {
    /// Whether the key was free until now, among the streams of this run.
    pub(crate) fn take(&self, key: &str) -> bool {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned())
    }

    /// Whether the store keeps to conditions: it must refuse to replace a version that never was.
    pub(crate) async fn conditional(&self) -> Result<bool> {
        self.conditional
            .get_or_try_init(|| async {
                // No stream's list begins with a dot.
                let key = hidden(&self.root, ".conditions.json");
                let condition = Condition::Version("\"00000000000000000000000000000000\"".to_owned());
                match self.store.put(&key, "application/json", Bytes::from_static(b"{}"), condition, &[]).await {
                    Err(error) if error.fault() == Fault::Changed => Ok(true),
                    Err(error) if error.fault() != Fault::Unsupported => Err(error.into()),
                    unheeded => {
                        tracing::warn!(
                            "This store does not keep to conditions, so that two syncs that write the same stream at once may not notice each other; let there be one at a time."
                        );
                        if unheeded.is_ok() {
                            self.store.delete(&[key]).await?;
                        }
                        Ok(false)
                    }
                }
            })
            .await
            .copied()
    }
}

impl Connector for S3 {
    type Config = Config;
    const NAME: &'static str = "destination-s3";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    async fn connect(config: Config, context: &Context) -> Result<Self> {
        let style = Style::new(&config.format)?;
        let block = if let Style::Parquet { block, .. } = &style { *block } else { usize::MAX };
        let shared = Shared {
            root: config.root()?,
            path: config.path_format()?,
            file: config.file_pattern()?,
            store: Store::new(config.settings()?)?,
            style,
            max_bytes: u64::from(config.object_size_mb) << 20,
            budget: Budget::new(block),
            room: Room::new(ROOM),
            gathered: Arc::default(),
            began: now_micros() / 1_000,
            taken: Mutex::default(),
            conditional: OnceCell::new(),
        };
        Ok(Self { shared: Arc::new(shared), run: context.run.clone(), together: OnceCell::new() })
    }

    /// Does once what a sync does all the time: begin an upload, complete it, look at it, remove it.
    async fn check(&self) -> Result<()> {
        let Shared { store, root, room, .. } = &*self.shared;
        self.shared.conditional().await?;
        let token = token();
        let key = hidden(root, &format!("check-{token}"));
        let mut upload = store.upload(&key, &token, "text/plain", Vec::new(), room);
        let sent = upload.send(Bytes::from_static(b"check"));
        let done = upload.finish().await;
        sent?;
        let written = store.complete(&done?).await;
        let found = store.head(&key).await;
        let removed = store.delete(std::slice::from_ref(&key)).await;
        written?;
        let found = found?;
        removed?;
        match found {
            Some(_) => Ok(()),
            None => Err(Error::transient(format!(
                "{} was written and is not there; the store does not show what it took. Try again.",
                store.url(&key)
            ))),
        }
    }
}

impl Destination for S3 {
    type Writer = S3Writer;
    const SYNC_MODES: &'static [DestinationSyncMode] =
        &[DestinationSyncMode::Overwrite, DestinationSyncMode::Append];

    async fn prepare(&self, streams: &[SelectedStream]) -> Result<()> {
        let streams: Vec<_> = streams.iter().map(|s| s.descriptor.clone()).collect();
        if let Some(mut commits) = self.take_turn(&streams).await? {
            settle(&self.shared, &mut commits, &streams).await?;
            // A destination is prepared once.
            let _ = self.together.set(Together::new(commits));
        }
        Ok(())
    }

    fn holds(&self, stream: &SelectedStream) -> bool {
        let mode = stream.destination_sync_mode;
        // A source that cannot go on sends everything again after a failure.
        let again = self.transacts() && stream.sync_mode == SyncMode::FullRefresh && !resumes(stream);
        mode == DestinationSyncMode::Overwrite || again && mode == DestinationSyncMode::Append
    }

    async fn open(&self, stream: &SelectedStream) -> Result<S3Writer> {
        let (shared, descriptor) = (&self.shared, &stream.descriptor);
        let commits = match self.together.get() {
            Some(together) => Some(together.commits().lock().await),
            None => None,
        };
        let held = self.holds(stream);
        // Its rows would come a second time: the source starts over, and nothing tells them apart.
        let added_whole = held && !stream.replaces();
        if added_whole && commits.as_ref().is_some_and(|c| c.done.contains(descriptor)) {
            tracing::info!(
                "Stream {descriptor}: an earlier attempt of this job has written all of it; what comes now is counted only."
            );
            return Ok(S3Writer::Counting);
        }
        let key = manifest_key(&shared.root, descriptor);
        let conditional = shared.conditional().await?;
        let mut book = Book::look(&shared.store, key, descriptor, conditional).await?;
        let goes_on = stream.sync_mode == SyncMode::Incremental && !stream.replaces();
        if book.is_new && goes_on && commits.as_ref().is_some_and(|c| c.record().covers(descriptor)) {
            return Err(Error::config(format!(
                "The list of the objects of stream {descriptor} is gone, but the source goes on from where earlier syncs ended, so the rows that they wrote would be missing. Restore {}, or run \"ferry state reset\" for this stream so that all of it is read again.",
                shared.store.url(&manifest_key(&shared.root, descriptor))
            )));
        }
        let writer = Writer { token: token(), sync_id: stream.sync_id, began: shared.began };
        book.take_over(writer).await?;
        recover(shared, descriptor, &mut book, commits.as_deref()).await?;
        let work = Work::new(shared, stream, book, held)?;
        drop(commits);
        Ok(match self.together.get() {
            None => S3Writer::Alone(Box::new(work)),
            Some(together) => {
                S3Writer::Together(together.join(Member { work, complete: false, joins: false }).await)
            }
        })
    }

    /// One object per flush, so the bytes follow the size of objects.
    fn flush_policy(&self) -> FlushPolicy {
        FlushPolicy { bytes: self.shared.max_bytes * self.shared.style.factor(), age: FLUSH_AGE }
    }
}

/// Whether the source goes on where a failed attempt has got to.
fn resumes(stream: &SelectedStream) -> bool {
    stream.configured.stream.is_resumable.unwrap_or(false)
}

impl S3 {
    /// Keeps earlier processes of the connection from committing; nothing where there is no connection.
    async fn take_turn(&self, streams: &[StreamDescriptor]) -> Result<Option<Commits>> {
        if self.run.connection.is_none() {
            return Ok(None);
        }
        let shared = &self.shared;
        let conditional = shared.conditional().await?;
        Commits::take_turn(&shared.store, &shared.root, conditional, &self.run, streams).await
    }

    fn transaction(&self) -> Result<&Together> {
        self.together
            .get()
            .ok_or_else(|| Error::system("A commit was asked for before the streams were prepared."))
    }
}

impl TransactionalDestination for S3 {
    fn transacts(&self) -> bool {
        self.run.connection.is_some()
    }

    /// A mark ends open objects, so there are few: it would make small ones.
    fn mark_policy(&self) -> MarkPolicy {
        let FlushPolicy { bytes, age } = self.flush_policy();
        MarkPolicy { early: 0, bytes: bytes / 4, age, most: u32::MAX, completions: true }
    }

    async fn mark(&self) -> Result<()> {
        self.transaction()?.mark().await
    }

    async fn rollback(&self) -> Result<()> {
        self.transaction()?.rollback().await
    }

    async fn commit(&self, checkpoints: &[Checkpoint<'_>]) -> Result<()> {
        self.transaction()?.commit(checkpoints).await
    }

    async fn committed(&self, streams: &[StreamDescriptor]) -> Result<Vec<Committed>> {
        Ok(self.take_turn(&[]).await?.map_or_else(Vec::new, |commits| commits.committed(streams)))
    }
}
