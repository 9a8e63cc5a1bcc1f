//! Wiring: the config, the names of all streams, a writer for each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use connector_kit::protocol::SyncMode;
use connector_kit::protocol::{DestinationSyncMode, StreamDescriptor};
use connector_kit::{
    Checkpoint, Committed, Connector, Context, Destination, Error, FlushPolicy, MarkPolicy, Result,
    RunIdentity, SelectedStream, TransactionalDestination,
};
use tokio::sync::OnceCell;

use crate::check::check;
use crate::commits::Commits;
use crate::config::Config;
use crate::names::{self, StreamNames};
use crate::room::Room;
use crate::session::Session;
use crate::staging::Stage;
use crate::table::{Standing, look};
use crate::together::Together;
use crate::write::DremioWriter;

/// A merge rewrites every file that it touches, so there are few.
const FLUSH_AGE: Duration = Duration::from_secs(120);

/// See `README.md`.
#[derive(Debug)]
pub(crate) struct DestinationDremio {
    folder: Vec<String>,
    shared: Arc<Shared>,
    /// What `prepare` has found of each stream.
    found: Mutex<HashMap<StreamDescriptor, (StreamNames, Standing)>>,
    commit_bytes: u64,
    run: RunIdentity,
    together: OnceCell<Arc<Together>>,
}

/// What the writers of a run have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) session: Session,
    pub(crate) insert_bytes: usize,
    pub(crate) stage: Option<Stage>,
    pub(crate) deletes: bool,
    pub(crate) room: Arc<Room>,
}

impl Connector for DestinationDremio {
    type Config = Config;
    const NAME: &'static str = "destination-dremio";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    async fn connect(config: Config, context: &Context) -> Result<Self> {
        let secs = |n: u32| Duration::from_secs(n.into());
        let session = Session::new(
            config.settings()?,
            secs(config.busy_wait_secs),
            secs(config.lost_answer_wait_secs),
            context.stop.clone(),
        );
        let shared = Shared {
            session,
            insert_bytes: config.insert_size_kb as usize * 1024,
            stage: config.staging.as_ref().map(Stage::new).transpose()?,
            deletes: config.deletes(),
            room: Arc::default(),
        };
        Ok(Self {
            folder: config.folder()?,
            shared: Arc::new(shared),
            found: Mutex::default(),
            commit_bytes: u64::from(config.commit_size_mb) << 20,
            run: context.run.clone(),
            together: OnceCell::new(),
        })
    }

    async fn check(&self) -> Result<()> {
        check(&self.shared, &self.folder).await
    }
}

impl Destination for DestinationDremio {
    type Writer = DremioWriter;
    const SYNC_MODES: &'static [DestinationSyncMode] =
        &[DestinationSyncMode::Overwrite, DestinationSyncMode::Append, DestinationSyncMode::AppendDedup];

    /// Looks what is there of all streams before anything is made.
    async fn prepare(&self, streams: &[SelectedStream]) -> Result<()> {
        let session = &self.shared.session;
        if let Some(mut commits) = Commits::take_turn(session, &self.folder, &self.run).await? {
            commits.sweep(session).await?;
            // A destination is prepared once.
            let _ = self.together.set(Arc::new(Together::new(commits)));
        }
        let mut found = HashMap::new();
        for (stream, names) in streams.iter().zip(names::assign(streams, &self.folder)) {
            let standing = look(session, &names).await.map_err(|e| e.for_stream(&stream.descriptor))?;
            found.insert(stream.descriptor.clone(), (names, standing));
        }
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }

    fn holds(&self, stream: &SelectedStream) -> bool {
        // A source that cannot go on sends everything again after a failure.
        let resumes = stream.configured.stream.is_resumable.unwrap_or(false);
        let again = self.transacts() && stream.sync_mode == SyncMode::FullRefresh && !resumes;
        match stream.destination_sync_mode {
            DestinationSyncMode::Overwrite => true,
            DestinationSyncMode::Append => again,
            _ => false,
        }
    }

    async fn open(&self, stream: &SelectedStream) -> Result<DremioWriter> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).remove(&stream.descriptor);
        let Some(found) = found else {
            return Err(Error::system(format!(
                "Stream {} was not prepared; please report it.",
                stream.descriptor
            )));
        };
        let together = self.together.get().cloned();
        DremioWriter::open(&self.shared, together, stream, found, self.holds(stream)).await
    }

    fn flush_policy(&self) -> FlushPolicy {
        FlushPolicy { bytes: self.commit_bytes, age: FLUSH_AGE }
    }
}

impl DestinationDremio {
    fn transaction(&self) -> Result<&Together> {
        let together = self.together.get().map(Arc::as_ref);
        together.ok_or_else(|| Error::system("A commit was asked for before the streams were prepared."))
    }
}

impl TransactionalDestination for DestinationDremio {
    fn transacts(&self) -> bool {
        self.run.connection.is_some()
    }

    /// A mark sends what waits, so there are few: it would make small files.
    fn mark_policy(&self) -> MarkPolicy {
        let FlushPolicy { bytes, age } = self.flush_policy();
        MarkPolicy { early: 0, bytes: bytes / 4, age, most: u32::MAX, completions: true }
    }

    async fn mark(&self) -> Result<()> {
        self.transaction()?.mark().await
    }

    async fn rollback(&self) -> Result<()> {
        self.transaction()?.rollback(&self.shared.session).await
    }

    async fn commit(&self, checkpoints: &[Checkpoint<'_>]) -> Result<()> {
        self.transaction()?.commit(&self.shared.session, checkpoints).await
    }

    async fn committed(&self, streams: &[StreamDescriptor]) -> Result<Vec<Committed>> {
        let commits = Commits::take_turn(&self.shared.session, &self.folder, &self.run).await?;
        Ok(commits.map_or_else(Vec::new, |commits| commits.committed(streams)))
    }
}
