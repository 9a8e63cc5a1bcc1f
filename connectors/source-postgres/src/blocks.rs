//! Reading a table whole: in ranges of blocks, under one view, over several connections;
//! resumable range by range.

use std::sync::{Mutex, MutexGuard, PoisonError};

use connector_kit::protocol::DestinationSyncMode;
use connector_kit::{Backoff, Error, ErrorKind, Result, StreamOutput};
use postgres_kit::{Connection, Endpoint};

use crate::meter::Meter;
use crate::ranges::{Range, Ranges};
use crate::row::CopyDecoder;
use crate::selection::Selection;
use crate::snapshot::{View, join, open, take};
use crate::state::{Blocks, Cursor, Named, TableSnapshot};
use crate::tables::Table;
use crate::together::{Task, together};

/// TID range scans came with this version; before, every range would scan the whole table.
const TID_RANGES_SINCE: u32 = 140_000;
/// How often a table is started over because its file changed, before giving up.
const MOST_RESTARTS: u32 = 5;
/// Beyond this, ages of transactions may have wrapped around.
const MOST_AGE: u64 = 2_000_000_000;

/// How to read one table.
#[derive(Debug)]
pub(crate) struct TableRead<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) meter: &'a Meter,
    pub(crate) table: &'a Table,
    pub(crate) selection: &'a Selection,
    /// At most this many.
    pub(crate) connections: u32,
    /// Leave out the rows of tables that inherit from this one.
    pub(crate) only: bool,
    pub(crate) destination: DestinationSyncMode,
}

/// Decides, once the view is taken and before a row is read, what follows the last block.
pub(crate) trait Then: Sync {
    /// `connection` has the view.
    fn then(
        &self,
        connection: &mut Connection,
        view: &View,
    ) -> impl Future<Output = Result<(TableSnapshot, Option<Cursor>)>> + Send;
}

/// A full refresh: nothing follows.
#[derive(Debug)]
pub(crate) struct Nothing;

impl Then for Nothing {
    async fn then(&self, _: &mut Connection, view: &View) -> Result<(TableSnapshot, Option<Cursor>)> {
        Ok((view.snapshot.clone(), None))
    }
}

/// What the tasks share.
struct Shared<'o, O> {
    out: &'o mut O,
    ranges: Ranges,
    progress: &'o mut Option<Blocks>,
    /// Ranges can be found again by a later run.
    resumable: bool,
}

fn lock<'m, T>(shared: &'m Mutex<T>) -> MutexGuard<'m, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TableRead<'_> {
    /// Reads every row. `resume` is where an earlier run stopped. Returns what follows: `None`
    /// after a full refresh.
    pub(crate) async fn run<O: StreamOutput<Named>>(
        &self,
        resume: Option<Blocks>,
        then: &impl Then,
        out: &mut O,
    ) -> Result<Option<Cursor>> {
        let mut progress = resume;
        let mut restarts = 0;
        let backoff = Backoff::default();
        let (mut failures, mut wait) = (0, backoff.first);
        loop {
            let began_at = out.records();
            let error = match self.attempt(&mut progress, then, &mut restarts, out).await {
                Ok(then) => return Ok(then),
                Err(error) => error,
            };
            // Under a new view the rows of a range begun would come again; an overwrite would keep both.
            let repeatable = self.destination != DestinationSyncMode::Overwrite || out.records() == began_at;
            if out.records() > began_at {
                (failures, wait) = (0, backoff.first);
            }
            failures += 1;
            if error.kind() != ErrorKind::Transient || !repeatable || failures >= backoff.tries {
                return Err(error);
            }
            connector_kit::tracing::warn!(
                "Table {}: {error} Going on from the last finished range of blocks.",
                self.table.descriptor()
            );
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(backoff.most);
        }
    }

    async fn attempt<O: StreamOutput<Named>>(
        &self,
        progress: &mut Option<Blocks>,
        then: &impl Then,
        restarts: &mut u32,
        out: &mut O,
    ) -> Result<Option<Cursor>> {
        let mut first = open(self.endpoint).await?;
        let _open = self.meter.opened();
        let export = self.connections > 1;
        let view = take(&mut first, self.table, export).await?;
        let tid_ranges = view.filenode.is_some() && first.server_version() >= TID_RANGES_SINCE;
        self.forget_if_moved(progress, &view, restarts)?;
        if progress.is_none() {
            let (snapshot, then) = then.then(&mut first, &view).await?;
            let then = then.map(Box::new);
            *progress = Some(Blocks { tid: (0, 0), filenode: view.filenode, snapshot: Some(snapshot), then });
        }
        let from = progress.as_ref().filter(|_| tid_ranges).map(|p| p.tid).filter(|tid| *tid != (0, 0));
        let ranges = match tid_ranges {
            true => Ranges::new(from, view.blocks, self.connections),
            false => Ranges::whole(),
        };
        let readers = self.connections.min(u32::try_from(ranges.len()).unwrap_or(u32::MAX));
        let again = from.and_then(|_| self.moved_rows(progress.as_ref()));
        let result = progress.as_ref().and_then(|p| p.then.as_deref().cloned());
        if tid_ranges {
            out.checkpoint(&self.named(progress))?;
        }
        let shared = Mutex::new(Shared { out, ranges, progress, resumable: tid_ranges });
        if let Some(condition) = again {
            self.copy(&mut first, Some(&condition), &shared).await?;
        }
        let mut others = Vec::new();
        for _ in 1..readers {
            others.push((join(self.endpoint, &view).await?, self.meter.opened()));
        }
        let mut tasks: Vec<Task<'_>> = vec![Box::pin(self.work(&mut first, &shared))];
        for (connection, _) in &mut others {
            tasks.push(Box::pin(self.work(connection, &shared)));
        }
        together(tasks).await?;
        first.execute("COMMIT").await?;
        Ok(result)
    }

    /// A state of another file, or one too old, says nothing about this file's blocks.
    fn forget_if_moved(&self, progress: &mut Option<Blocks>, view: &View, restarts: &mut u32) -> Result<()> {
        let Some(blocks) = progress else { return Ok(()) };
        let table = self.table.descriptor();
        let oldest = blocks.snapshot.as_ref().and_then(TableSnapshot::bounds).map(|(xmin, _)| xmin);
        let now = view.snapshot.bounds().map(|(_, xmax)| xmax);
        let too_old = matches!((oldest, now), (Some(then), Some(now)) if now.saturating_sub(then) > MOST_AGE);
        let started = blocks.tid != (0, 0);
        // Without knowing what the earlier run saw, rows that moved since cannot be found.
        let unknown = started && blocks.snapshot.is_none();
        if blocks.filenode == view.filenode && !too_old && !unknown {
            return Ok(());
        }
        *restarts += 1;
        if *restarts > MOST_RESTARTS {
            return Err(Error::transient(format!(
                "Table {table} was rewritten {MOST_RESTARTS} times while it was read (VACUUM FULL, CLUSTER or TRUNCATE); \
                 sync again when that is over."
            )));
        }
        if started {
            connector_kit::tracing::warn!(
                "Table {table} is read from its beginning: {}.",
                if unknown {
                    "the state does not say what the earlier read could see"
                } else if too_old {
                    "the earlier read is too many transactions ago"
                } else {
                    "it was rewritten (VACUUM FULL, CLUSTER or TRUNCATE) since the earlier read"
                }
            );
        }
        *progress = None;
        Ok(())
    }

    /// Rows in blocks already read that were put there since: by an insert, or by an update that
    /// moved a row out of blocks still to read. Transactions are compared by age, which is right
    /// across a wraparound; some rows that were seen are read again.
    fn moved_rows(&self, progress: Option<&Blocks>) -> Option<String> {
        let blocks = progress?;
        let (xmin, _) = blocks.snapshot.as_ref()?.bounds()?;
        let (block, item) = blocks.tid;
        let xid = xmin & 0xFFFF_FFFF;
        Some(format!("ctid <= '({block},{item})'::tid AND age(xmin) <= age('{xid}'::xid)"))
    }

    async fn work<O: StreamOutput<Named>>(
        &self,
        connection: &mut Connection,
        shared: &Mutex<Shared<'_, O>>,
    ) -> Result<()> {
        loop {
            let Some(range) = lock(shared).ranges.take() else { return Ok(()) };
            self.copy(connection, range.condition().as_deref(), shared).await?;
            self.finished(&range, shared)?;
        }
    }

    fn finished<O: StreamOutput<Named>>(&self, range: &Range, shared: &Mutex<Shared<'_, O>>) -> Result<()> {
        let mut guard = lock(shared);
        let shared = &mut *guard;
        let Some(tid) = shared.ranges.finish(range) else { return Ok(()) };
        if !shared.resumable {
            return Ok(());
        }
        if let Some(progress) = shared.progress.as_mut() {
            progress.tid = tid;
        }
        let state = self.named(shared.progress);
        shared.out.checkpoint(&state)
    }

    fn named(&self, progress: &Option<Blocks>) -> Named {
        let cursor = progress.clone().map_or(Cursor::Done, Cursor::Blocks);
        Named { stream: self.table.name.clone(), namespace: self.table.schema.clone(), cursor }
    }

    /// Reads what satisfies a condition, to its end.
    async fn copy<O: StreamOutput<Named>>(
        &self,
        connection: &mut Connection,
        condition: Option<&str>,
        shared: &Mutex<Shared<'_, O>>,
    ) -> Result<()> {
        let _running = self.meter.query();
        let filter = self.table.published.as_ref().and_then(|p| p.row_filter.as_deref());
        let filter = filter.map(|f| format!("({f})"));
        let conditions: Vec<&str> = condition.into_iter().chain(filter.as_deref()).collect();
        let only = if self.only { "ONLY " } else { "" };
        let mut sql = format!("SELECT {} FROM {only}{}", self.selection.list(), self.table.quoted());
        if !conditions.is_empty() {
            sql = format!("{sql} WHERE {}", conditions.join(" AND "));
        }
        connection.copy_out(&format!("COPY ({sql}) TO STDOUT (FORMAT binary)")).await?;
        let mut decoder = CopyDecoder::new(self.table.descriptor().to_string(), 0, self.selection.decoded());
        loop {
            {
                let mut guard = lock(shared);
                let out = &mut *guard.out;
                while let Some(mut data) = connection.next_copy_data()? {
                    while let Some(tuple) = decoder.tuple(&mut data)? {
                        let mut row = out.row();
                        tuple.write(&mut row)?;
                        self.selection.write_constants(&mut row);
                        row.end()?;
                    }
                }
                if connection.copy_finished() {
                    return decoder.finish();
                }
            }
            connection.fill().await?;
        }
    }
}
