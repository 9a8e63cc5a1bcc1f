//! Wiring: the config, the names of all streams, a writer for each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use connector_kit::protocol::{DestinationSyncMode, StreamDescriptor};
use connector_kit::{Connector, Context, Destination, Error, FlushPolicy, Result, SelectedStream};

use crate::check::check;
use crate::config::Config;
use crate::names::{self, StreamNames};
use crate::room::Room;
use crate::session::Session;
use crate::staging::Stage;
use crate::table::{Standing, look};
use crate::write::DremioWriter;

/// A merge rewrites every file that it touches, so there are few.
const FLUSH_BYTES: u64 = 256 << 20;
const FLUSH_AGE: Duration = Duration::from_secs(120);

/// See `README.md`.
#[derive(Debug)]
pub(crate) struct DestinationDremio {
    folder: Vec<String>,
    shared: Arc<Shared>,
    /// What `prepare` has found of each stream.
    found: Mutex<HashMap<StreamDescriptor, (StreamNames, Standing)>>,
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
        Ok(Self { folder: config.folder()?, shared: Arc::new(shared), found: Mutex::default() })
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
        let mut found = HashMap::new();
        for (stream, names) in streams.iter().zip(names::assign(streams, &self.folder)) {
            let standing =
                look(&self.shared.session, &names).await.map_err(|e| e.for_stream(&stream.descriptor))?;
            found.insert(stream.descriptor.clone(), (names, standing));
        }
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }

    async fn open(&self, stream: &SelectedStream) -> Result<DremioWriter> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).remove(&stream.descriptor);
        let Some((names, standing)) = found else {
            return Err(Error::system(format!(
                "Stream {} was not prepared; please report it.",
                stream.descriptor
            )));
        };
        DremioWriter::open(&self.shared, stream, names, &standing).await
    }

    fn flush_policy(&self) -> FlushPolicy {
        FlushPolicy { bytes: FLUSH_BYTES, age: FLUSH_AGE }
    }
}
