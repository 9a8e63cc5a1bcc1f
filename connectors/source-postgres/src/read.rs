//! One stream, without the change log: whole, by cursor or by transaction.

use connector_kit::protocol::{DestinationSyncMode, SyncMode};
use connector_kit::tracing::warn;
use connector_kit::{Backoff, Error, ErrorKind, Result, Row, SelectedStream, StreamOutput};
use postgres_kit::Endpoint;

use crate::blocks::{Nothing, TableRead};
use crate::cursor::{CursorColumn, ThenValue, read_values};
use crate::meter::Meter;
use crate::selection::Selection;
use crate::state::{Blocks, Cursor, Named};
use crate::tables::Table;
use crate::xmin::{Outcome, ThenXmin, read_transactions};

/// How incremental streams find what is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// By a column chosen in the catalog.
    Standard,
    /// By transaction.
    Xmin,
}

/// What all streams of a run have in common.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) meter: &'a Meter,
    pub(crate) connections: u32,
    pub(crate) method: Method,
}

/// Reads a stream to its end and says its states.
pub(crate) async fn read_stream<O: StreamOutput<Named>>(
    run: &Run<'_>,
    table: &Table,
    stream: &SelectedStream,
    resume: Option<Named>,
    out: &mut O,
) -> Result<()> {
    let selection = Selection::of(table, stream);
    let read = TableRead {
        endpoint: run.endpoint,
        meter: run.meter,
        table,
        selection: &selection,
        connections: run.connections,
        only: false,
        destination: stream.destination_sync_mode,
    };
    let resume = resume.map(|named| named.cursor);
    if stream.sync_mode == SyncMode::FullRefresh {
        let blocks = match resume {
            Some(Cursor::Blocks(blocks)) if blocks.then.is_none() => Some(blocks),
            _ => None,
        };
        return whole(&read, blocks, out).await;
    }
    match run.method {
        Method::Standard => by_cursor(&read, stream, resume, out).await,
        Method::Xmin => by_transaction(&read, resume, out).await,
    }
}

pub(crate) fn named(table: &Table, cursor: Cursor) -> Named {
    Named { stream: table.name.clone(), namespace: table.schema.clone(), cursor }
}

async fn whole<O: StreamOutput<Named>>(
    read: &TableRead<'_>,
    resume: Option<Blocks>,
    out: &mut O,
) -> Result<()> {
    read.run(resume, &Nothing, out).await?;
    out.checkpoint(&named(read.table, Cursor::Done))
}

fn other_mode(table: &Table, mode: &str) -> Error {
    Error::config(format!(
        "The state of table {} was not written by an incremental read by {mode}. Clear the stream's state to read the \
         table anew, or go back to the replication method that wrote it.",
        table.descriptor()
    ))
}

fn cursor_column(table: &Table, stream: &SelectedStream) -> Result<CursorColumn> {
    let chosen = match stream.cursor_field.as_slice() {
        [name] => name,
        _ => {
            return Err(Error::config(format!(
                "Table {} is to be read by cursor, but the catalog names no cursor_field; choose a column that grows, \
                 such as an updated_at or a serial id.",
                table.descriptor()
            )));
        }
    };
    let Some(column) = table.columns.iter().find(|c| c.name == *chosen) else {
        return Err(Error::config(format!(
            "Table {} has no column {chosen:?}, which the catalog names as cursor_field.",
            table.descriptor()
        )));
    };
    if !column.type_.can_be_cursor() {
        return Err(Error::config(format!(
            "Column {chosen:?} of table {} cannot be a cursor: values of its type have no order that grows. Choose a \
             number, date, timestamp or text.",
            table.descriptor()
        )));
    }
    Ok(CursorColumn {
        name: column.name.clone(),
        type_: column.type_.clone(),
        indexed: table.leading_index_columns.contains(&column.name),
    })
}

async fn by_cursor<O: StreamOutput<Named>>(
    read: &TableRead<'_>,
    stream: &SelectedStream,
    resume: Option<Cursor>,
    out: &mut O,
) -> Result<()> {
    if stream.cursor_field.is_empty() && stream.destination_sync_mode != DestinationSyncMode::Append {
        // Some clients ask for incremental everywhere and choose no cursor. Read whole, nothing is lost; and
        // nothing is doubled, unless the destination appends.
        warn!(
            "Table {} has no cursor_field in the catalog; it is read whole. Choose a column that grows to read only what \
             is new.",
            read.table.descriptor()
        );
        return whole(read, None, out).await;
    }
    let column = cursor_column(read.table, stream)?;
    let value = match resume {
        None => return first_by_cursor(read, &column, None, out).await,
        Some(Cursor::Blocks(Blocks { then: None, .. }) | Cursor::Done) => {
            // Of a full refresh: it says nothing about a cursor.
            return first_by_cursor(read, &column, None, out).await;
        }
        Some(Cursor::Blocks(blocks)) => {
            let by_value = matches!(blocks.then.as_deref(), Some(Cursor::Value(v)) if v.field == column.name);
            if !by_value {
                return Err(other_mode(read.table, "this cursor"));
            }
            return first_by_cursor(read, &column, Some(blocks), out).await;
        }
        Some(Cursor::Value(value)) => value,
        Some(Cursor::Xmin(_) | Cursor::Streaming(_)) => return Err(other_mode(read.table, "cursor")),
    };
    let mut from = value;
    let backoff = Backoff::default();
    let (mut failures, mut wait) = (0, backoff.first);
    loop {
        let mut noted = Noted { out, last: None };
        let Err(error) = read_values(read, &column, from.clone(), &mut noted).await else { return Ok(()) };
        if noted.last.is_some() {
            (failures, wait) = (0, backoff.first);
        }
        failures += 1;
        if error.kind() != ErrorKind::Transient || failures >= backoff.tries {
            return Err(error);
        }
        if let Some(Named { cursor: Cursor::Value(value), .. }) = noted.last {
            from = value;
        }
        warn!("Table {}: {error} Going on from the last state.", read.table.descriptor());
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(backoff.most);
    }
}

async fn first_by_cursor<O: StreamOutput<Named>>(
    read: &TableRead<'_>,
    column: &CursorColumn,
    blocks: Option<Blocks>,
    out: &mut O,
) -> Result<()> {
    let then = read.run(blocks, &ThenValue { read, column }, out).await?;
    out.checkpoint(&named(read.table, then.unwrap_or(Cursor::Done)))
}

async fn by_transaction<O: StreamOutput<Named>>(
    read: &TableRead<'_>,
    resume: Option<Cursor>,
    out: &mut O,
) -> Result<()> {
    let blocks = match resume {
        None | Some(Cursor::Done | Cursor::Blocks(Blocks { then: None, .. })) => None,
        Some(Cursor::Blocks(blocks)) => match blocks.then.as_deref() {
            Some(Cursor::Xmin(_)) => Some(blocks),
            _ => return Err(other_mode(read.table, "xmin")),
        },
        Some(Cursor::Xmin(from)) => match read_transactions(read, &from, out).await? {
            Outcome::Read => return Ok(()),
            Outcome::TooOld => None,
        },
        Some(Cursor::Value(_) | Cursor::Streaming(_)) => return Err(other_mode(read.table, "xmin")),
    };
    let then = read.run(blocks, &ThenXmin, out).await?;
    out.checkpoint(&named(read.table, then.unwrap_or(Cursor::Done)))
}

/// Remembers the last checkpoint that went through it.
struct Noted<'o, O> {
    out: &'o mut O,
    last: Option<Named>,
}

impl<O: StreamOutput<Named>> StreamOutput<Named> for Noted<'_, O> {
    #[inline]
    fn row(&mut self) -> Row<'_> {
        self.out.row()
    }
    fn checkpoint(&mut self, cursor: &Named) -> Result<()> {
        self.last = Some(cursor.clone());
        self.out.checkpoint(cursor)
    }
    fn flush(&mut self) -> Result<()> {
        self.out.flush()
    }
    fn stop_requested(&self) -> bool {
        self.out.stop_requested()
    }
    fn records(&self) -> u64 {
        self.out.records()
    }
}
