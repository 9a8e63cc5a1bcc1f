//! Incremental reads by transaction: every row that a transaction wrote which the read before
//! could not see whole. Needs no cursor column and misses no commit; sees no deletes.

use connector_kit::tracing::warn;
use connector_kit::{Error, Result, StreamOutput};
use postgres_kit::Connection;

use crate::blocks::{TableRead, Then};
use crate::cursor::{copy_rows, select};
use crate::row::CopyDecoder;
use crate::snapshot::{View, open, take};
use crate::state::{Cursor, Named, TableSnapshot, XminCursor};

/// Ages of transactions are compared within half of the 32-bit circle; beyond this a table
/// is read whole again.
const MOST_AGE: u64 = 2_000_000_000;

/// After a first read, transactions open at its view are the first to look at.
#[derive(Debug)]
pub(crate) struct ThenXmin;

fn horizon(view: &View) -> Result<u64> {
    let bounds = view.snapshot.bounds();
    bounds.map(|(xmin, _)| xmin).ok_or_else(|| Error::system("The server's snapshot cannot be read."))
}

impl Then for ThenXmin {
    async fn then(&self, _: &mut Connection, view: &View) -> Result<(TableSnapshot, Option<Cursor>)> {
        Ok((view.snapshot.clone(), Some(Cursor::Xmin(XminCursor { xmin: horizon(view)? }))))
    }
}

/// What an incremental read came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Read,
    /// So long ago that ids may have been used again: the table has to be read whole.
    TooOld,
}

/// Sends the rows of transactions since `from`.
///
/// A 32-bit id says nothing by its size once the counter has wrapped around, so ids are compared by age,
/// and the state holds the 64-bit id. A row that was frozen long ago keeps its old id: should that id come
/// round again, the row is sent again, never left out.
pub(crate) async fn read_transactions<O: StreamOutput<Named>>(
    read: &TableRead<'_>,
    from: &XminCursor,
    out: &mut O,
) -> Result<Outcome> {
    let mut connection = open(read.endpoint).await?;
    let _open = read.meter.opened();
    let view = take(&mut connection, read.table, false).await?;
    let horizon = horizon(&view)?;
    let table = read.table.descriptor();
    if horizon < from.xmin {
        return Err(Error::config(format!(
            "The state of table {table} is ahead of this server's transactions: it comes from another server, or this \
             one was restored. Clear the stream's state to read the table again."
        )));
    }
    if horizon - from.xmin > MOST_AGE {
        warn!("Table {table} was last read too many transactions ago (xid wraparound); it is read whole.");
        return Ok(Outcome::TooOld);
    }
    let condition = format!("age(xmin) <= age('{}'::xid)", from.xmin & 0xFFFF_FFFF);
    let before = out.records();
    let decoder = CopyDecoder::new(table.to_string(), 0, read.selection.decoded());
    {
        let _running = read.meter.query();
        copy_rows(&mut connection, &select(read, "", &condition, ""), decoder, read.selection, out).await?;
    }
    connection.execute("COMMIT").await?;
    if out.records() > before || horizon - from.xmin > MOST_AGE / 4 {
        out.checkpoint(&Named {
            stream: read.table.name.clone(),
            namespace: read.table.schema.clone(),
            cursor: Cursor::Xmin(XminCursor { xmin: horizon }),
        })?;
    }
    Ok(Outcome::Read)
}
