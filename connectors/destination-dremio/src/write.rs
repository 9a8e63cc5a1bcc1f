//! Writes one stream.
//!
//! | mode | rows go to | at a flush | when complete | when not |
//! |---|---|---|---|---|
//! | overwrite | a table aside | | it is published | it is dropped |
//! | append | the table | | older generations go, if they are to | stays |
//! | append_dedup | a table to gather them | they are merged | the same | stays |

use std::sync::Arc;

use tokio::sync::Mutex;

use connector_kit::protocol::DestinationSyncMode;
use connector_kit::{GENERATION_ID, Outcome, RecordBatch, Result, SelectedStream, StreamWriter, tracing};

use crate::destination::Shared;
use crate::insert::Arrival;
use crate::load::Loader;
use crate::merge::Merge;
use crate::names::{Place, StreamNames};
use crate::publish::{publish, show};
use crate::rows::RowReader;
use crate::session::{Session, Work};
use crate::table::{Layout, Standing, create, create_anew, drop_table, evolve};
use crate::together::Together;

/// Where a stream's rows go.
#[derive(Debug)]
enum Way {
    /// To the table of a turn.
    Aside(usize),
    /// To the table that readers see.
    Straight(Place),
    /// To be merged.
    Merged(Box<Merge>),
}

/// Writes one stream.
#[derive(Debug)]
pub(crate) struct DremioWriter(Arc<Mutex<Member>>);

/// What there is to do for a stream.
#[derive(Debug)]
pub(crate) struct Member {
    shared: Arc<Shared>,
    together: Option<Arc<Together>>,
    /// Its number there, if rows are added to the table that readers see.
    pub(crate) track: Option<usize>,
    /// An earlier attempt has written all of it: what comes is counted only.
    counted: bool,
    names: StreamNames,
    layout: Layout,
    way: Way,
    loader: Loader,
    /// Rows of generations below it go when the stream is complete; 0 for none.
    minimum: i64,
}

impl DremioWriter {
    /// Prepares the tables. What readers see gets new columns at most.
    pub(crate) async fn open(
        shared: &Arc<Shared>,
        together: Option<Arc<Together>>,
        stream: &SelectedStream,
        (names, standing): (StreamNames, Standing),
        held: bool,
    ) -> Result<Self> {
        let member = Member::open(shared, together.clone(), stream, (names, standing), held).await?;
        let member = Arc::new(Mutex::new(member));
        if let Some(together) = together {
            together.join(&member);
        }
        Ok(Self(member))
    }
}

impl Member {
    async fn open(
        shared: &Arc<Shared>,
        together: Option<Arc<Together>>,
        stream: &SelectedStream,
        (names, standing): (StreamNames, Standing),
        held: bool,
    ) -> Result<Self> {
        let session = &shared.session;
        let layout = Layout::new(stream, &names);
        let mode = stream.destination_sync_mode;
        let way = if mode == DestinationSyncMode::Overwrite {
            let turn = if standing == Standing::ViewOf(0) { 1 } else { 0 };
            create_anew(session, &names.turns[turn], &layout).await?;
            Way::Aside(turn)
        } else {
            let table = prepare(session, &names, &standing, &layout).await?;
            if mode == DestinationSyncMode::AppendDedup {
                create_anew(session, &names.stage, &layout).await?;
                Way::Merged(Box::new(Merge::new(stream, &names, &layout, table, shared.deletes)))
            } else {
                Way::Straight(table)
            }
        };
        let target = match &way {
            Way::Aside(turn) => names.turns[*turn].clone(),
            Way::Straight(table) => table.clone(),
            Way::Merged(merge) => merge.stage.clone(),
        };
        let mut rows = RowReader::new(stream, &layout.types);
        let (mut track, mut counted) = (None, false);
        if let (Some(together), Way::Straight(table)) = (&together, &way) {
            track = Some(together.track(table, rows.prefix(), held));
            // The source starts over, and nothing tells its rows from those that are there.
            let added_whole = held && !stream.replaces();
            counted = added_whole && together.commits().lock().await.done().contains(&stream.descriptor);
        }
        if counted {
            tracing::info!(
                "Stream {}: an earlier attempt of this job has written all of it; what comes now is counted only.",
                stream.descriptor
            );
        }
        let loader =
            Loader::new(target, &layout, rows, shared.insert_bytes, shared.stage.as_ref(), &shared.room);
        let minimum = stream.generation.filter(|_| stream.replaces()).map_or(0, |g| g.minimum);
        let shared = Arc::clone(shared);
        Ok(Self { shared, together, track, counted, names, layout, way, loader, minimum })
    }

    /// Sends what waits; the last id that is in the table.
    pub(crate) async fn sent(&mut self) -> Result<Option<String>> {
        self.loader.send(&self.shared.session).await?;
        self.loader.take_new();
        Ok(self.loader.sent().map(|range| range.last.clone()))
    }

    /// Drops what waits.
    pub(crate) async fn forget(&mut self) {
        self.loader.forget().await;
    }

    async fn complete(&mut self) -> Result<()> {
        let session = &self.shared.session;
        let table = match &self.way {
            Way::Aside(turn) => {
                return publish(session, &self.names, &self.layout, *turn, self.loader.sent()).await;
            }
            Way::Straight(table) => table,
            Way::Merged(merge) => {
                drop_table(session, &merge.stage).await?;
                &merge.table
            }
        };
        if let (Some(together), Some(at)) = (&self.together, self.track) {
            if together.is_held(at) {
                together.ready(at, self.loader.sent().map(|range| range.last.clone()));
            }
            if self.minimum > 0 {
                // The new rows stay, whatever comes, before the old ones go.
                together.commit(session, &[]).await?;
            }
        }
        if self.minimum > 0 {
            let sql = format!("DELETE FROM {} WHERE \"{GENERATION_ID}\" < {}", table.sql(), self.minimum);
            session.settle(&format!("delete the old rows of the table {table}"), &sql).await?;
        }
        Ok(())
    }

    /// Leaves what was flushed, and nothing else.
    async fn abandon(&mut self) -> Result<()> {
        let session = &self.shared.session;
        self.loader.clean_up().await;
        if let (Some(together), Some(at)) = (&self.together, self.track) {
            self.loader.forget().await;
            return together.take_back(session, at).await;
        }
        match &self.way {
            Way::Aside(turn) => drop_table(session, &self.names.turns[*turn]).await,
            Way::Merged(merge) => drop_table(session, &merge.stage).await,
            Way::Straight(table) => match self.loader.take_new() {
                // No state vouches for them, so they come again.
                Some(new) => Arrival { table, range: &new.range, verb: "INSERT INTO" }.undo(session).await,
                None => Ok(()),
            },
        }
    }
}

/// The table that rows are to be added to, with all columns.
async fn prepare(
    session: &Session,
    names: &StreamNames,
    standing: &Standing,
    layout: &Layout,
) -> Result<Place> {
    match standing {
        Standing::Nothing => {
            create(session, &names.public, layout).await?;
            Ok(names.public.clone())
        }
        Standing::Table => {
            evolve(session, &names.public, layout).await?;
            Ok(names.public.clone())
        }
        Standing::ViewOf(turn) => {
            let table = names.turns[*turn].clone();
            // A view has the columns that its table had when it was made.
            if evolve(session, &table, layout).await?
                && let Err(error) = show(session, &names.public, &table).await
            {
                let doing = format!("replace the view {}", names.public);
                return Err(crate::session::explained(&doing, error));
            }
            Ok(table)
        }
    }
}

impl StreamWriter for DremioWriter {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.0.lock().await.write(batch).await
    }

    async fn flush(&mut self) -> Result<()> {
        self.0.lock().await.flush().await
    }

    async fn finish(self, outcome: Outcome) -> Result<()> {
        self.0.lock().await.finish(outcome).await
    }
}

impl Member {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.counted {
            return Ok(());
        }
        if let (Some(together), Some(at)) = (&self.together, self.track) {
            together.takes(&self.shared.session, at).await?;
        }
        self.loader.write(&self.shared.session, batch).await
    }

    async fn flush(&mut self) -> Result<()> {
        let session = &self.shared.session;
        self.loader.send(session).await?;
        if let (Way::Merged(merge), Some(new)) = (&self.way, self.loader.new_rows()) {
            merge.run(session, &new.range, new.deletions).await?;
        }
        self.loader.take_new();
        if let (Some(together), Some(at)) = (&self.together, self.track)
            && !together.is_held(at)
        {
            together.ready(at, self.loader.sent().map(|range| range.last.clone()));
        }
        Ok(())
    }

    async fn finish(&mut self, outcome: Outcome) -> Result<()> {
        match outcome {
            Outcome::Complete => self.complete().await,
            Outcome::Incomplete => {
                let table = self.names.public.clone();
                if let Err(error) = self.abandon().await {
                    tracing::warn!(
                        "What is left of the failed sync of {table} could not be removed: {error}"
                    );
                }
                Ok(())
            }
        }
    }
}
