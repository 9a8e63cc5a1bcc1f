//! Wiring: the config, one lane for all streams, a writer for each, commits with their checkpoints.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use connector_kit::protocol::{DestinationSyncMode, StreamDescriptor, SyncMode};
use connector_kit::{
    Checkpoint, Committed, Connector, Context, Destination, Error, FlushPolicy, Result, RunIdentity,
    SelectedStream, Stop, TransactionalDestination, tracing,
};
use postgres_kit::Endpoint;
use tokio::sync::{Mutex, OnceCell};

use crate::check;
use crate::checkpoints::Checkpoints;
use crate::config::{self, Config, Normalization};
use crate::lane::Lane;
use crate::names::{self, StreamNames, TableName};
use crate::normalize::{self, Normalizer, Settings};
use crate::plan::{self, Options, Plan};
use crate::raw::{self, RawPlan};
use crate::table::find;
use crate::writer::{PostgresWriter, Shared};

/// A commit costs little, but a merge before it goes through the whole table's index: few of them.
const COMMIT_BYTES: u64 = 1 << 30;
const COMMIT_AGE: Duration = Duration::from_secs(60);

/// See `README.md`.
#[derive(Debug)]
pub(crate) struct DestinationPostgres {
    config: Config,
    endpoint: Endpoint,
    stop: Stop,
    run: RunIdentity,
    session: OnceCell<Session>,
}

/// What a run has once its streams are known.
#[derive(Debug)]
struct Session {
    shared: Arc<Mutex<Shared>>,
    checkpoints: Option<Checkpoints>,
    /// The tables of each stream, and its place in the catalog.
    tables: HashMap<StreamDescriptor, (usize, Tables)>,
    /// What an earlier attempt of this job has written to the end.
    done: HashSet<StreamDescriptor>,
}

/// Where a stream's records go.
#[derive(Clone, Debug)]
enum Tables {
    Typed(StreamNames),
    /// Into the normalizer's raw table, and on from there.
    Normalized(Box<Normalizer>),
    Raw(TableName),
}

impl DestinationPostgres {
    /// The tables of all streams, in the same order.
    fn tables(&self, streams: &[SelectedStream]) -> Result<Vec<Tables>> {
        let config = &self.config;
        if config.disable_type_dedupe {
            let tables = raw::legacy_tables(streams, &config.schema, &config.raw_data_schema);
            return Ok(tables.into_iter().map(Tables::Raw).collect());
        }
        let names = names::assign(streams, &config.schema, &config.raw_data_schema)?;
        let Normalization::Basic { nested_objects } = config.normalization else {
            return Ok(names.into_iter().map(Tables::Typed).collect());
        };
        let settings = Settings {
            form: nested_objects,
            internal: config.raw_data_schema.clone(),
            keeps_deleted: !config.deletes(),
            drop_cascade: config.drop_cascade,
        };
        let schemas: Vec<String> = names.into_iter().map(|names| names.table.schema).collect();
        let plans = normalize::plan(streams, &schemas, &settings)?;
        Ok(plans.into_iter().map(|plan| Tables::Normalized(Box::new(plan))).collect())
    }

    fn session(&self) -> Result<&Session> {
        self.session
            .get()
            .ok_or_else(|| Error::system("Streams were opened before they were prepared; please report it."))
    }

    fn checkpoints(&self) -> Option<Checkpoints> {
        Checkpoints::new(&self.config.raw_data_schema, &self.run)
    }
}

impl Connector for DestinationPostgres {
    type Config = Config;
    const NAME: &'static str = "destination-postgres";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn adapt(config: &mut serde_json::Value) {
        config::adapt(config);
    }

    async fn connect(mut config: Config, context: &Context) -> Result<Self> {
        config.validate()?;
        // As Airbyte's connector does.
        config.raw_data_schema = names::clean(&config.raw_data_schema.to_lowercase());
        let endpoint = config.endpoint()?;
        let (stop, run) = (context.stop.clone(), context.run.clone());
        Ok(Self { config, endpoint, stop, run, session: OnceCell::new() })
    }

    async fn check(&self) -> Result<()> {
        check::check(&self.endpoint, &self.config).await
    }
}

impl Destination for DestinationPostgres {
    type Writer = PostgresWriter;
    const SYNC_MODES: &'static [DestinationSyncMode] =
        &[DestinationSyncMode::Overwrite, DestinationSyncMode::Append, DestinationSyncMode::AppendDedup];

    async fn prepare(&self, streams: &[SelectedStream]) -> Result<()> {
        let tables = self.tables(streams)?;
        let mut lane = Lane::connect(&self.endpoint, &self.stop).await?;
        let checkpoints = self.checkpoints();
        let mut done = HashSet::new();
        if let Some(checkpoints) = &checkpoints {
            checkpoints.take_turn(&mut lane).await?;
            checkpoints.make_table(&mut lane).await?;
            done = checkpoints.done_by_this_job(&mut lane).await?;
        }
        let descriptors = streams.iter().map(|s| s.descriptor.clone());
        let tables = descriptors.zip(tables.into_iter().enumerate()).collect();
        let shared = Arc::new(Mutex::new(Shared::new(lane)));
        let session = Session { shared, checkpoints, tables, done };
        self.session.set(session).map_err(|_| Error::system("Streams were prepared twice; please report it."))
    }

    fn holds(&self, stream: &SelectedStream) -> bool {
        match self.config.normalization {
            Normalization::None if !self.config.disable_type_dedupe => plan::holds(stream),
            _ => raw::holds(stream),
        }
    }

    async fn open(&self, stream: &SelectedStream) -> Result<PostgresWriter> {
        let session = self.session()?;
        let shared = Arc::clone(&session.shared);
        // Its rows would come a second time: the source starts over, and nothing tells them apart.
        let plain_append = stream.sync_mode == SyncMode::FullRefresh
            && stream.destination_sync_mode == DestinationSyncMode::Append
            && !stream.replaces();
        if plain_append && session.done.contains(&stream.descriptor) {
            tracing::info!(
                "Stream {}: an earlier attempt of this job has written all of it; what comes now is counted only.",
                stream.descriptor
            );
            return Ok(PostgresWriter::counting(shared));
        }
        let Some((number, tables)) = session.tables.get(&stream.descriptor) else {
            return Err(Error::system("A stream has no tables; please report it."));
        };
        let lane = &mut shared.lock().await.lane;
        let cascade = self.config.drop_cascade;
        let (table, normalizer) = match tables {
            Tables::Typed(names) => {
                let options = Options { drop_cascade: cascade, deletes: self.config.deletes() };
                if let Some(checkpoints) = &session.checkpoints {
                    refuse_if_gone(lane, stream, names, checkpoints).await?;
                }
                let plan = Plan::open(lane, stream, names, *number, options).await?;
                return PostgresWriter::typed(Arc::clone(&session.shared), stream, plan);
            }
            Tables::Normalized(normalizer) => (normalizer.raw_table(), Some(normalizer.as_ref().clone())),
            Tables::Raw(table) => (table.clone(), None),
        };
        let plan = RawPlan::open(lane, stream, table, *number, cascade, normalizer).await?;
        Ok(PostgresWriter::raw(Arc::clone(&session.shared), stream, plan))
    }

    fn flush_policy(&self) -> FlushPolicy {
        FlushPolicy { bytes: COMMIT_BYTES, age: COMMIT_AGE }
    }
}

/// A table that was dropped, of a stream that goes on from its last state, would be made anew without what it held.
async fn refuse_if_gone(
    lane: &mut Lane,
    stream: &SelectedStream,
    names: &StreamNames,
    checkpoints: &Checkpoints,
) -> Result<()> {
    if stream.sync_mode != SyncMode::Incremental
        || find(lane, &names.table).await?.is_some()
        || find(lane, &names.kept).await?.is_some()
        || !checkpoints.covers(lane, &stream.descriptor).await?
    {
        return Ok(());
    }
    Err(Error::config(format!(
        "The table {} is gone, but the source goes on from where earlier syncs ended, so the rows that it held would be missing. Restore the table, or run \"ferry state reset\" for this stream so that all of it is read again.",
        names.table
    )))
}

impl TransactionalDestination for DestinationPostgres {
    async fn mark(&self) -> Result<()> {
        self.session()?.shared.lock().await.lane.mark().await
    }

    async fn rollback(&self) -> Result<()> {
        self.session()?.shared.lock().await.lane.rollback_to_mark().await
    }

    async fn commit(&self, checkpoints: &[Checkpoint<'_>]) -> Result<()> {
        let session = self.session()?;
        let lane = &mut session.shared.lock().await.lane;
        let proof = match &session.checkpoints {
            Some(ours) => ours.write(lane, checkpoints).await?,
            None => None,
        };
        lane.commit_proven(proof.as_deref()).await
    }

    async fn committed(&self, streams: &[StreamDescriptor]) -> Result<Vec<Committed>> {
        let Some(checkpoints) = self.checkpoints() else { return Ok(Vec::new()) };
        let mut lane = Lane::connect(&self.endpoint, &self.stop).await?;
        checkpoints.take_turn(&mut lane).await?;
        checkpoints.read(&mut lane, streams).await
    }
}
