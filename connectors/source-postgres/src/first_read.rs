//! The first read of a table whose changes come from the log afterwards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use connector_kit::protocol::SyncMode;
use connector_kit::{Result, SelectedStream, StreamOutput, write_timestamp};
use postgres_kit::Connection;

use crate::blocks::{Nothing, TableRead, Then};
use crate::read::{Run, named};
use crate::selection::Selection;
use crate::snapshot::View;
use crate::state::{Blocks, Cursor, Named, SeenColumn, Streaming, TableSnapshot};
use crate::tables::{RelationKind, Table};

/// What the log has to know about the rows read here.
struct ThenStreaming {
    row_lsn: u64,
    columns: Vec<SeenColumn>,
    last_column: i16,
    /// No row of the table was sent before: asked once, for the next view comes after rows of this one.
    first: AtomicBool,
}

impl Then for ThenStreaming {
    async fn then(&self, _: &mut Connection, view: &View) -> Result<(TableSnapshot, Option<Cursor>)> {
        let snapshot = TableSnapshot { row_lsn: self.row_lsn, ..view.snapshot.clone() };
        // Rows sent before this view may have been deleted since. Only the log says so, in transactions
        // that the view has seen; so then all of them are read, though most repeat what the view has.
        let filter = self.first.swap(false, Ordering::Relaxed);
        let visible = if filter { snapshot.visible.clone() } else { String::new() };
        let streaming = Streaming {
            snapshot: Some(TableSnapshot { visible, ..snapshot.clone() }),
            columns: self.columns.clone(),
            last_column: self.last_column,
            again: false,
        };
        Ok((snapshot, Some(Cursor::Streaming(streaming))))
    }
}

/// Reads a table whole and says the state that its changes go on from: [`Cursor::Streaming`] with
/// the first view of the table, in which `row_lsn` is the `_ab_cdc_lsn` of its rows; [`Cursor::Done`] for a
/// stream in full refresh. Changes of before `row_lsn` that the log brings afterwards are numbered on from it.
/// `before` says that rows of the table were sent before, by an earlier state's reads.
///
/// With `resume` it goes on where an earlier run stopped, with that run's view and `row_lsn`: changes that
/// only the later rows have seen then come from the log once more, in order, and end at the same values.
pub(crate) async fn first_read<O: StreamOutput<Named>>(
    run: &Run<'_>,
    table: &Table,
    stream: &SelectedStream,
    resume: Option<Blocks>,
    before: bool,
    row_lsn: u64,
    out: &mut O,
) -> Result<Cursor> {
    let row_lsn = resume.as_ref().and_then(|b| b.snapshot.as_ref()).map_or(row_lsn, |s| s.row_lsn);
    let selection = Selection::of(table, stream).with_changes(stream, row_lsn, &now());
    let read = TableRead {
        endpoint: run.endpoint,
        meter: run.meter,
        table,
        selection: &selection,
        connections: run.connections,
        // The log brings rows of inheriting tables under their own names.
        only: table.kind == RelationKind::Table,
        destination: stream.destination_sync_mode,
    };
    let end = if stream.sync_mode == SyncMode::FullRefresh {
        read.run(resume.filter(|b| b.then.is_none()), &Nothing, out).await?;
        Cursor::Done
    } else {
        let columns = seen_columns(table, stream);
        let resume = resume.filter(|b| matches!(b.then.as_deref(), Some(Cursor::Streaming(_))));
        let first = AtomicBool::new(!before && resume.is_none());
        let then = ThenStreaming { row_lsn, columns, last_column: last_column(table), first };
        let then = read.run(resume, &then, out).await?;
        then.unwrap_or(Cursor::Done)
    };
    out.checkpoint(&named(table, end.clone()))?;
    Ok(end)
}

/// The columns of a table that a stream reads, for its state.
pub(crate) fn seen_columns(table: &Table, stream: &SelectedStream) -> Vec<SeenColumn> {
    let read = table.columns.iter().filter(|c| stream.column(&c.name).is_some());
    read.map(|c| SeenColumn { name: c.name.clone(), number: c.number, type_oid: c.type_oid }).collect()
}

/// The number up to which columns were there.
pub(crate) fn last_column(table: &Table) -> i16 {
    table.columns.iter().map(|c| c.number).max().unwrap_or(0)
}

/// The present, as an ISO 8601 instant.
fn now() -> String {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros());
    let mut text = Vec::new();
    write_timestamp(&mut text, i64::try_from(micros).unwrap_or(i64::MAX), true);
    String::from_utf8(text).unwrap_or_default()
}
