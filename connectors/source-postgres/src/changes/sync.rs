//! One run of change data capture: tables that were not read yet are read whole, then the log
//! is read up to where it ended at that moment.

use std::time::Instant;

use connector_kit::protocol::SyncMode;
use connector_kit::{ChangeStream, Error, Result, SelectedStream, tracing};
use postgres_kit::Connection;

use super::followed::Followed;
use super::learn::{fail, renamed_since};
use super::position::Position;
use super::read::{Follow, Out, follow};
use super::start::{end_of_log, start};
use super::wal::Subscription;
use crate::config::{Cdc, LsnCommitBehaviour};
use crate::discover::LSN;
use crate::first_read::{first_read, last_column, seen_columns};
use crate::read::Run;
use crate::snapshot;
use crate::state::{Blocks, Cursor, Named, Streaming};
use crate::tables::{Column, Table};

/// Reads all streams. `tables` are those of the catalog.
pub(crate) async fn read_changes(
    run: &Run<'_>,
    cdc: &Cdc,
    tables: &[Table],
    streams: Vec<ChangeStream<Named>>,
    position: Option<Position>,
    out: &mut Out,
) -> Result<()> {
    let mut connection = snapshot::open(run.endpoint).await?;
    let asking = run.meter.opened();
    let has_position = position.is_some();
    let start = start(&mut connection, cdc, &run.endpoint.database, position).await?;
    for stream in 0..streams.len() {
        if !start.goes_on {
            out.set_cursor(stream, None);
        }
    }
    // A stop during the first reads then has a position to say.
    out.checkpoint(&start.position)?;
    let began = Instant::now();
    let mut followed = Vec::new();
    for (index, stream) in streams.into_iter().enumerate() {
        let selected = stream.selected;
        let Some(table) = tables.iter().find(|t| t.descriptor() == selected.descriptor) else {
            let text = format!("Table {} is gone; refresh the catalog.", selected.descriptor);
            out.fail(index, Error::config(text));
            continue;
        };
        let columns = selected.columns.iter().map(|c| c.name.as_str());
        let refusal = table.refusal(columns, &run.endpoint.user);
        if let Some(error) = refusal.or_else(|| withdrawn(table, &selected, cdc)) {
            out.fail(index, error);
            continue;
        }
        let resume = stream.resume.filter(|_| start.goes_on).map(|named| named.cursor);
        let plan = match Plan::of(table, &selected, resume) {
            Ok(plan) => plan,
            Err(error) => {
                out.fail(index, error);
                continue;
            }
        };
        let state = match plan {
            Plan::Follow(state) => Some(state),
            Plan::Read { blocks, before } => {
                let before = before || has_position && !start.goes_on;
                let left = cdc.initial_load_timeout().checked_sub(began.elapsed()).unwrap_or_default();
                let row_lsn = insert_lsn(&mut connection).await?;
                let mut output = out.stream(index);
                let read = first_read(run, table, &selected, blocks, before, row_lsn, &mut output);
                let Ok(read) = tokio::time::timeout(left, read).await else {
                    return Err(took_too_long(table, cdc));
                };
                match read? {
                    Cursor::Streaming(state) => Some(state),
                    _ => None,
                }
            }
        };
        if let Some(mut state) = state {
            if state.columns.is_empty() {
                state.columns = seen_columns(table, &selected);
                state.last_column = last_column(table);
            }
            followed.push(Followed::new(index, selected, table.clone(), state)?);
        }
    }
    for (index, error) in renamed_since(&mut connection, &followed).await?.into_iter().rev() {
        fail(&followed.remove(index), error, out);
    }
    let target = end_of_log(&mut connection).await?;
    drop(connection);
    drop(asking);
    let plan = Follow {
        endpoint: run.endpoint,
        meter: run.meter,
        subscription: Subscription {
            slot: cdc.replication_slot.clone(),
            publication: cdc.publication.clone(),
        },
        target: target.0,
        confirm_while_reading: cdc.lsn_commit_behaviour == LsnCommitBehaviour::WhileReading,
        heartbeat: cdc.heartbeat(),
        patience: cdc.initial_wait(),
    };
    tracing::info!(
        "Changes are read from LSN {} to {target}, of {} tables.",
        postgres_kit::Lsn(start.position.lsn),
        followed.len()
    );
    follow(&plan, followed, start.position, out).await
}

/// What a stream needs.
enum Plan {
    /// To be read whole, from the first block or from where an earlier run stopped. `before`: rows
    /// of it were sent before.
    Read { blocks: Option<Blocks>, before: bool },
    /// Only its changes.
    Follow(Streaming),
}

impl Plan {
    fn of(table: &Table, selected: &SelectedStream, resume: Option<Cursor>) -> Result<Self> {
        if selected.sync_mode == SyncMode::FullRefresh {
            let blocks = match resume {
                Some(Cursor::Blocks(blocks)) if blocks.then.is_none() => Some(blocks),
                _ => None,
            };
            return Ok(Self::Read { blocks, before: false });
        }
        let anew = Self::Read { blocks: None, before: true };
        match resume {
            None | Some(Cursor::Done | Cursor::Blocks(Blocks { then: None, .. })) => {
                Ok(Self::Read { blocks: None, before: false })
            }
            Some(Cursor::Blocks(blocks)) => match blocks.then.as_deref() {
                Some(Cursor::Streaming(state)) if lacks_column(table, selected, state) => Ok(anew),
                Some(Cursor::Streaming(_)) => Ok(Self::Read { blocks: Some(blocks), before: true }),
                _ => Err(foreign(table)),
            },
            Some(Cursor::Streaming(state)) if state.again || lacks_column(table, selected, &state) => {
                Ok(anew)
            }
            Some(Cursor::Streaming(state)) => Ok(Self::Follow(state)),
            Some(Cursor::Value(_) | Cursor::Xmin(_)) => Err(foreign(table)),
        }
    }
}

fn foreign(table: &Table) -> Error {
    Error::config(format!(
        "The state of table {} was not written by change data capture. Clear the stream's state to read the table anew, or go back \
         to the replication method that wrote it.",
        table.quoted()
    ))
}

/// Whether a column was selected that the state's reads did not have. Rows in the destination
/// lack its values, and the log brings only those that change. States of other programs do not say.
fn lacks_column(table: &Table, selected: &SelectedStream, state: &Streaming) -> bool {
    if state.columns.is_empty() {
        return false;
    }
    let mut chosen = table.columns.iter().filter(|c| selected.column(&c.name).is_some());
    // By both: one of the same name may be another one.
    let seen = |c: &Column| state.columns.iter().any(|s| s.number == c.number && s.name == c.name);
    let Some(new) = chosen.find(|c| !seen(c)) else {
        return false;
    };
    tracing::info!(
        "Table {}: the column {:?} was chosen since its state was made, so the table is read anew.",
        table.quoted(),
        new.name
    );
    true
}

/// Where the log is written at this moment: rows read from now on sort behind the changes before.
async fn insert_lsn(connection: &mut Connection) -> Result<u64> {
    let rows = connection
        .query(
            "SELECT ((CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
             ELSE pg_catalog.pg_current_wal_insert_lsn() END) - '0/0'::pg_catalog.pg_lsn)::text",
        )
        .await?;
    let lsn = rows.first().and_then(|r| r.get(0)).and_then(|text| text.parse().ok());
    lsn.ok_or_else(|| Error::system("The server did not say where its log ends."))
}

/// The error for a stream whose changes were captured when the catalog was made, and are no more.
/// Reading it whole instead would double the rows of a destination that appends.
fn withdrawn(table: &Table, stream: &SelectedStream, cdc: &Cdc) -> Option<Error> {
    let was_captured = stream.configured.sync_mode == SyncMode::Incremental
        && stream.configured.stream.default_cursor_field == [LSN];
    let is_captured = table.published.is_some() || !table.can_be_published();
    (was_captured && !is_captured).then(|| table.not_published(&cdc.publication))
}

fn took_too_long(table: &Table, cdc: &Cdc) -> Error {
    Error::transient(format!(
        "The first read of table {} was stopped because first reads took longer than {} hours (initial_load_timeout_hours) and the server has \
         to keep its log meanwhile. The next sync goes on where it stopped; raise the setting or max_db_connections if it happens again.",
        table.quoted(),
        cdc.initial_load_timeout_hours
    ))
}
