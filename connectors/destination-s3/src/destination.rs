//! Wiring: the config, the check, a writer per stream.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use columnar::Budget;
use connector_kit::protocol::DestinationSyncMode;
use connector_kit::{Connector, Context, Destination, Error, FlushPolicy, Result, SelectedStream};
use s3_kit::{Bytes, Condition, Fault, Room, Store};
use tokio::sync::OnceCell;

use crate::config::Config;
use crate::formats::Style;
use crate::keys::{hidden, random};
use crate::part_sink::Gathered;
use crate::time::now_micros;
use crate::write::S3Writer;

/// Rows become objects, and states are echoed, at least this often. Shorter would make many small objects.
const FLUSH_AGE: Duration = Duration::from_secs(300);
/// Parts on their way to the store, of all streams together.
const ROOM: usize = 15 << 20;

/// The destination.
#[derive(Debug)]
pub(crate) struct S3 {
    pub(crate) shared: Arc<Shared>,
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
                let key = hidden(&self.root, "conditions.json");
                let condition = Condition::Version("\"00000000000000000000000000000000\"".to_owned());
                match self.store.put(&key, "application/json", Bytes::from_static(b"{}"), condition, &[]).await {
                    Err(error) if error.fault() == Fault::Changed => Ok(true),
                    Err(error) if error.fault() != Fault::Unsupported => Err(error.into()),
                    unheeded => {
                        connector_kit::tracing::warn!(
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

    async fn connect(config: Config, _: &Context) -> Result<Self> {
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
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Does once what a sync does all the time: begin an upload, complete it, look at it, remove it.
    async fn check(&self) -> Result<()> {
        let Shared { store, root, room, .. } = &*self.shared;
        self.shared.conditional().await?;
        let token: String = random().iter().map(|b| format!("{b:02x}")).collect();
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

    async fn open(&self, stream: &SelectedStream) -> Result<S3Writer> {
        S3Writer::open(&self.shared, stream).await
    }

    /// One object per flush, so the bytes follow the size of objects; JSON is about four times
    /// as large as Parquet.
    fn flush_policy(&self) -> FlushPolicy {
        let factor = if matches!(self.shared.style, Style::Parquet { .. }) { 4 } else { 1 };
        FlushPolicy { bytes: self.shared.max_bytes * factor, age: FLUSH_AGE }
    }
}
