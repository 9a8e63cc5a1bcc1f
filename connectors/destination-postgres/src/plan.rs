//! Which table a stream's rows go to, and what becomes of that table when the stream ends. Everything that readers see
//! changes at the end only, or with the commits of a stream whose rows may be seen as they come.
//!
//! | stream | rows go to | when complete | when not |
//! |---|---|---|---|
//! | overwrite; read whole without a way to resume, unless it is deduplicated | a table beside, made anew | takes the place, or is added | dropped |
//! | truncating refresh over older rows | a table beside, gone on with if it is of this generation | takes the place | kept for the next attempt |
//! | all others | the table itself | stays | stays |
//!
//! Streams that are deduplicated gather their rows in a table of the session, and merge them from there at every flush.

use connector_kit::protocol::{DestinationSyncMode, SyncMode};
use connector_kit::{Error, Result, SelectedStream, tracing};
use postgres_kit::quote_identifier;

use crate::lane::{CopyTarget, Lane};
use crate::merge::{DELETED_AT, Merge};
use crate::names::{StreamNames, TableName};
use crate::table::{
    self, Evolution, Found, Index, Kind, Layout, RowsOf, add_to, attached, create, drop_leftover, evolve,
    find, indexes, is_unique, list, make_indexes, our_names, refuse_to_reach_out, replace, rows_of,
    try_unique, users_of_columns,
};

/// What the config says about tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// What hangs on a table that is replaced goes with it.
    pub(crate) drop_cascade: bool,
    /// Rows that the source deleted are removed.
    pub(crate) deletes: bool,
}

/// Whether the rows of a stream are seen only once it is complete, and are dropped when it is not: it is replaced, or it
/// sends everything again after a failure.
pub(crate) fn holds(stream: &SelectedStream) -> bool {
    let mode = stream.destination_sync_mode;
    mode == DestinationSyncMode::Overwrite
        || !resumes(stream) && (mode == DestinationSyncMode::Append || stream.replaces())
}

/// Whether the source goes on where a failed attempt has got to.
fn resumes(stream: &SelectedStream) -> bool {
    stream.sync_mode == SyncMode::Incremental || stream.configured.stream.is_resumable.unwrap_or(false)
}

/// Where rows go in relation to the table that readers see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Live,
    Kept,
    Held,
}

/// The two forms of rows that a table takes.
#[derive(Clone, Debug)]
struct Targets {
    plain: Option<CopyTarget>,
    full: CopyTarget,
}

/// The plan for one stream.
#[derive(Debug)]
pub(crate) struct Plan {
    table: TableName,
    load: TableName,
    way: Way,
    replaces: bool,
    drop_cascade: bool,
    layout: Layout,
    indexes: Vec<Index>,
    merge: Option<Merge>,
    /// Where rows go now.
    targets: Targets,
    /// Where they will go after the first flush: an empty table is loaded straight.
    later: Option<Targets>,
    /// The load has this sync's constants as defaults.
    has_defaults: bool,
}

impl Plan {
    /// Looks at what is there and prepares it: schema, tables, columns. What readers see is altered at most by new columns and
    /// changed types. `number` tells the stream's targets from those of others.
    pub(crate) async fn open(
        lane: &mut Lane,
        stream: &SelectedStream,
        names: &StreamNames,
        number: usize,
        options: Options,
    ) -> Result<Self> {
        let layout = Layout::new(stream, names)?;
        let mut merge = merge(stream, names, &layout, options)?;
        let table = names.table.clone();
        table::lock(lane, &table).await?;
        table::make_schema(lane, &table.schema).await?;
        let live = find(lane, &table).await?;
        let evolution = match &live {
            Some(found) => look_over(lane, &table, found, &layout, merge.is_some()).await?,
            None => Evolution::default(),
        };
        drop_leftover(lane, &names.held).await?;
        let way = way(lane, stream, names, live.as_ref()).await?;
        let load = match way {
            Way::Live => table.clone(),
            Way::Kept => names.kept.clone(),
            Way::Held => names.held.clone(),
        };
        if let Some(found) = &live {
            let is_filled_in_place = way == Way::Live || !stream.replaces() || !options.drop_cascade;
            if is_filled_in_place {
                refuse_changes_of_views(lane, &table, found, &evolution).await?;
            }
            // Known now rather than once everything is loaded.
            if way != Way::Live && stream.replaces() && !options.drop_cascade {
                let attached = attached(lane, found, &our_names(&table)).await?;
                refuse_to_reach_out(&table, &attached)?;
            }
            // A table that is replaced is left as it is until then.
            if way == Way::Live || !stream.replaces() {
                evolution.apply(lane, &table, found).await?;
            }
        }
        let reused = match way {
            Way::Live => live.is_some(),
            Way::Kept => reuse(lane, &load, &layout, stream).await?,
            Way::Held => false,
        };
        if !reused {
            create(lane, &load, &layout.create(&load)).await?;
        }
        let (key, cursor) = merge.as_ref().map_or((&[][..], None), |m| (&m.key[..], m.cursor.as_ref()));
        let indexes = indexes(key, cursor);
        if let Some(merge) = &mut merge {
            merge.table = load.clone();
            lane.session(&layout.create_temporary(&merge.staging)).await?;
        }
        if way == Way::Live && !stream.replaces() {
            take_in_leftover(lane, &names.kept, &load, &layout, merge.as_mut()).await?;
        }
        let target = |id: usize, sql: String| CopyTarget { id, stream: stream.descriptor.clone(), sql };
        let straight = load.quoted();
        let to_load = Targets {
            plain: (!reused).then(|| target(4 * number, layout.copy_plain(&straight))),
            full: target(4 * number + 1, layout.copy_full(&straight)),
        };
        let to_staging = merge.as_ref().map(|m| Targets {
            plain: Some(target(4 * number + 2, layout.copy_plain(&m.staging))),
            full: target(4 * number + 3, layout.copy_full(&m.staging)),
        });
        let (targets, later) = match to_staging {
            // What is there already may have a unique index, which takes no key twice.
            Some(staging) if !reused => (to_load, Some(staging)),
            Some(staging) => (staging, None),
            None => (to_load, None),
        };
        let mut plan = Self {
            table,
            load,
            way,
            replaces: stream.replaces(),
            drop_cascade: options.drop_cascade,
            layout,
            indexes,
            merge,
            targets,
            later,
            has_defaults: !reused,
        };
        if reused && plan.merge.is_some() {
            lane.begin().await?;
            plan.make_key_index(lane).await?;
            lane.commit().await?;
        }
        Ok(plan)
    }

    /// Where rows with all columns go. Changes with a flush.
    pub(crate) fn full(&self) -> &CopyTarget {
        &self.targets.full
    }

    /// Where rows go that leave this sync's constants out; none if the table has other defaults. Changes with a flush.
    pub(crate) fn plain(&self) -> Option<&CopyTarget> {
        self.targets.plain.as_ref()
    }

    /// Before a commit, if rows came: what is in the tables then is what readers are to find.
    pub(crate) async fn flush(&mut self, lane: &mut Lane) -> Result<()> {
        let Some(merge) = &mut self.merge else { return Ok(()) };
        lane.begin().await?;
        let Some(later) = self.later.clone() else { return merge.run(lane).await };
        // The index that merges to come need tells, too, whether there is a key twice. Changes of rows often have one.
        let key = self.indexes.iter().find(|index| index.is_key());
        let is_settled = match key {
            Some(key) if merge.deleted_at.is_none() => try_unique(lane, &self.load, key).await?,
            _ => false,
        };
        if !is_settled {
            merge.settle(lane).await?;
        }
        self.make_key_index(lane).await?;
        (self.targets, self.later) = (later, None);
        Ok(())
    }

    /// After a flush that failed and was undone: what would have been merged is not to be committed with
    /// what other streams have sent. Rows in the table of the session never are.
    pub(crate) async fn forget(&mut self, lane: &mut Lane) -> Result<()> {
        match &self.later {
            Some(_) => lane.execute(&format!("DELETE FROM {}", self.load)).await,
            None => Ok(()),
        }
    }

    /// The stream is complete: publishes it in the lane's transaction, which the caller commits.
    pub(crate) async fn publish(&mut self, lane: &mut Lane) -> Result<()> {
        lane.begin().await?;
        if self.way != Way::Live {
            let live = find(lane, &self.table).await?;
            return match live {
                Some(found) if !self.replaces => {
                    evolve(&self.table, &found, &self.layout)?.apply(lane, &self.table, &found).await?;
                    add_to(lane, &self.load, &self.table, &self.layout).await?;
                    make_indexes(lane, &self.table, &found, &self.indexes.iter().collect::<Vec<_>>()).await
                }
                _ => {
                    let (layout, indexes) = (&self.layout, &self.indexes);
                    replace(lane, &self.load, &self.table, layout, indexes, self.drop_cascade).await
                }
            };
        }
        let Some(found) = find(lane, &self.load).await? else { return Err(gone(&self.load)) };
        self.drop_defaults(lane).await?;
        make_indexes(lane, &self.load, &found, &self.indexes.iter().collect::<Vec<_>>()).await
    }

    /// The stream is not complete, and the lane's transaction is over: leaves what the next attempt goes on with.
    pub(crate) async fn abandon(&mut self, lane: &mut Lane) -> Result<()> {
        match self.way {
            Way::Held => lane.execute_patiently(&format!("DROP TABLE IF EXISTS {}", self.load)).await,
            Way::Live | Way::Kept => self.drop_defaults(lane).await,
        }
    }

    async fn drop_defaults(&mut self, lane: &mut Lane) -> Result<()> {
        // Once more does no harm, and the first time may have been undone.
        if self.has_defaults {
            lane.execute_patiently(&Layout::drop_defaults(&self.load)).await?;
        }
        Ok(())
    }

    /// What merges look rows up by. A transaction is open.
    async fn make_key_index(&mut self, lane: &mut Lane) -> Result<()> {
        let Some(merge) = &mut self.merge else { return Ok(()) };
        let Some(index) = self.indexes.iter().find(|index| index.is_key()) else { return Ok(()) };
        let Some(found) = find(lane, &self.load).await? else { return Err(gone(&self.load)) };
        make_indexes(lane, &self.load, &found, &[index]).await?;
        merge.is_unique = is_unique(lane, &found, index).await?;
        Ok(())
    }
}

fn gone(table: &TableName) -> Error {
    Error::transient(format!(
        "The table {table} was dropped while this sync was writing it; start the sync again, and refresh the stream for its earlier rows."
    ))
}

async fn way(
    lane: &mut Lane,
    stream: &SelectedStream,
    names: &StreamNames,
    live: Option<&Found>,
) -> Result<Way> {
    if holds(stream) {
        drop_leftover(lane, &names.kept).await?;
        return Ok(Way::Held);
    }
    let Some(minimum) = stream.generation.map(|g| g.minimum).filter(|_| stream.replaces()) else {
        return Ok(Way::Live);
    };
    if find(lane, &names.kept).await?.is_some()
        && matches!(rows_of(lane, &names.kept).await?, RowsOf::Generation(g) if g >= minimum)
    {
        return Ok(Way::Kept);
    }
    if live.is_none() {
        return Ok(Way::Live);
    }
    match rows_of(lane, &names.table).await? {
        RowsOf::Generation(g) if g < minimum => Ok(Way::Kept),
        _ => {
            drop_leftover(lane, &names.kept).await?;
            Ok(Way::Live)
        }
    }
}

/// Whether the kept load of an earlier attempt can be gone on with; if not, it is dropped.
async fn reuse(lane: &mut Lane, kept: &TableName, layout: &Layout, stream: &SelectedStream) -> Result<bool> {
    let minimum = stream.generation.map_or(0, |g| g.minimum);
    let Some(found) = find(lane, kept).await? else { return Ok(false) };
    if matches!(rows_of(lane, kept).await?, RowsOf::Generation(g) if g >= minimum) {
        tracing::info!(
            "Stream {}: going on with {kept}, which an earlier attempt has loaded.",
            stream.descriptor
        );
        evolve(kept, &found, layout)?.apply(lane, kept, &found).await?;
        return Ok(true);
    }
    drop_leftover(lane, kept).await?;
    Ok(false)
}

/// A refresh that was given up has left rows beside; the state that the source goes on from counts on them.
async fn take_in_leftover(
    lane: &mut Lane,
    kept: &TableName,
    table: &TableName,
    layout: &Layout,
    merge: Option<&mut Merge>,
) -> Result<()> {
    let Some(found) = find(lane, kept).await? else { return Ok(()) };
    tracing::info!("Taking in the rows of {kept}, which a refresh that was not finished has left.");
    lane.begin().await?;
    evolve(kept, &found, layout)?.apply(lane, kept, &found).await?;
    match merge {
        None => add_to(lane, kept, table, layout).await?,
        Some(merge) => {
            let columns = layout.quoted_names();
            let staging = &merge.staging;
            lane.execute(&format!("INSERT INTO {staging} ({columns}) SELECT {columns} FROM {kept}")).await?;
            lane.execute(&format!("DROP TABLE {kept}")).await?;
            merge.run(lane).await?;
        }
    }
    lane.commit().await
}

/// Whether the table that is there can be written by this stream at all.
async fn look_over(
    lane: &mut Lane,
    table: &TableName,
    found: &Found,
    layout: &Layout,
    merges: bool,
) -> Result<Evolution> {
    let evolution = evolve(table, found, layout)?;
    let needed: &[&str] =
        if merges { &["SELECT", "INSERT", "UPDATE", "DELETE"] } else { &["SELECT", "INSERT"] };
    let lacks: Vec<&str> = needed.iter().copied().filter(|p| found.lacks.contains(p)).collect();
    if !lacks.is_empty() {
        let user = table::current_user(lane).await?;
        let lacks = lacks.join(", ");
        return Err(Error::config(format!(
            "The user {user} lacks privileges on the table {table}. Run GRANT {lacks} ON TABLE {table} TO {user};"
        )));
    }
    if found.kind == Kind::Partitioned {
        tracing::info!("The table {table} is partitioned; its partitions have to take every row.");
    }
    Ok(evolution)
}

/// The server changes no type of a column that a view shows.
async fn refuse_changes_of_views(
    lane: &mut Lane,
    table: &TableName,
    found: &Found,
    evolution: &Evolution,
) -> Result<()> {
    let numbers: Vec<i64> = evolution.changed.iter().map(|(number, _)| *number).collect();
    let views = users_of_columns(lane, found, &numbers).await?;
    if views.is_empty() {
        return Ok(());
    }
    let columns: Vec<String> = evolution.changed.iter().map(|(_, name)| quote_identifier(name)).collect();
    Err(Error::config(format!(
        "The stream's fields have other types now, so the type of {} in the table {table} has to change, but this is made from it: {}. Drop that and make it again after the sync; nothing was changed.",
        list(&columns),
        list(&views)
    )))
}

fn merge(
    stream: &SelectedStream,
    names: &StreamNames,
    layout: &Layout,
    options: Options,
) -> Result<Option<Merge>> {
    if stream.destination_sync_mode != DestinationSyncMode::AppendDedup {
        return Ok(None);
    }
    let column = |field: &String| stream.column(field).map(|i| names.columns[i].clone());
    let mut key = Vec::new();
    for field in stream.primary_key.iter().filter_map(|path| path.first()) {
        key.push(column(field).ok_or_else(|| {
            Error::config(format!(
                "Stream {}: the field {field:?} of its primary key is not among its selected fields. Select it, or choose another key.",
                stream.descriptor
            ))
        })?);
    }
    let cursor = stream.cursor_field.first().and_then(|field| {
        let found = column(field);
        if found.is_none() {
            tracing::warn!(
                "Stream {}: its cursor {field:?} is not among its fields; of two rows with one key, the one extracted later stays.",
                stream.descriptor
            );
        }
        found
    });
    Ok(Some(Merge {
        table: names.table.clone(),
        // Its name is not taken by another stream's, in whatever schema that is.
        staging: format!("pg_temp.{}", quote_identifier(&names.held.table)),
        columns: layout.names().map(str::to_owned).collect(),
        key,
        cursor,
        deleted_at: options.deletes.then(|| column(&DELETED_AT.to_owned())).flatten(),
        is_unique: false,
        has_doubles: false,
    }))
}

#[cfg(test)]
mod tests;
