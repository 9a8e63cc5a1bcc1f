//! One view of a table for any number of connections.

use connector_kit::{Error, Result};
use postgres_kit::{Connection, Endpoint, Purpose, quote_literal, server_error};

use crate::state::TableSnapshot;
use crate::tables::{RelationKind, Table};

/// What was learnt when the view was taken.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// What it sees.
    pub(crate) snapshot: TableSnapshot,
    /// The table's file; `None` for what has none (views, foreign and partitioned tables), and where
    /// the user may not ask for TIDs.
    pub(crate) filenode: Option<u32>,
    /// Blocks of the table.
    pub(crate) blocks: u32,
    /// For [`join`].
    exported: Option<String>,
}

/// Opens a transaction that sees the table as it is now, and goes on seeing it so.
///
/// The table is locked against DDL first (ACCESS SHARE, as every SELECT does): no VACUUM FULL, CLUSTER or
/// TRUNCATE can come between the view and the reading, so TIDs keep their meaning.
pub(crate) async fn take(connection: &mut Connection, table: &Table, export: bool) -> Result<View> {
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    // A grant of some columns allows to read them, but no LOCK TABLE.
    let lockable = matches!(table.kind, RelationKind::Table | RelationKind::Partitioned);
    if lockable && table.wholly_selectable {
        let locked = connection.execute(&format!("LOCK TABLE {} IN ACCESS SHARE MODE", table.quoted())).await;
        locked.map_err(|e| e.for_stream(&table.descriptor()))?;
    }
    // Functions run after the statement has taken its snapshot, so every transaction it sees was committed
    // before this place in the log. A standby's place is what it has replayed.
    let exported = if export { "pg_export_snapshot()" } else { "NULL" };
    let rows = connection
        .query(&format!(
            "SELECT txid_current_snapshot()::text, \
             (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END \
              - '0/0'::pg_lsn)::text, \
             pg_relation_filenode({oid}::oid), \
             pg_relation_size({oid}::oid) / current_setting('block_size')::bigint, {exported}",
            oid = table.oid
        ))
        .await?;
    let row = rows.first().ok_or_else(|| Error::system("The server did not answer what its snapshot is."))?;
    let number = |i| row.get(i).and_then(|text| text.parse::<u64>().ok());
    Ok(View {
        snapshot: TableSnapshot {
            visible: row.text(0)?.to_owned(),
            row_lsn: 0,
            until_lsn: number(1).unwrap_or(0),
        },
        filenode: number(2).and_then(|n| u32::try_from(n).ok()).filter(|_| table.wholly_selectable),
        // A relation has at most 2^32 - 1 blocks.
        blocks: number(3).and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
        exported: row.get(4).map(str::to_owned),
    })
}

/// Another connection with the same view. Works while a transaction that has the view is open.
pub(crate) async fn join(endpoint: &Endpoint, view: &View) -> Result<Connection> {
    let exported = view.exported.as_deref().unwrap_or_default();
    let mut connection = open(endpoint).await?;
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let joined = connection.execute(&format!("SET TRANSACTION SNAPSHOT {}", quote_literal(exported))).await;
    // The server's word for a view that is gone is that its name is not valid.
    joined.map_err(|error| match server_error(&error).map(|e| e.code.as_str()) {
        Some("22023" | "55000" | "42704") => {
            Error::transient("The connection that held the view of the table was lost.").with_source(error)
        }
        _ => error,
    })?;
    Ok(connection)
}

/// A connection for reading. Scans begin at the first block, even where another scan of the
/// table is under way: a scan that is repeated under the same view gives the same rows in the same order.
pub(crate) async fn open(endpoint: &Endpoint) -> Result<Connection> {
    let mut connection = endpoint.connect(Purpose::Ordinary).await?;
    connection.execute("SET synchronize_seqscans = off").await?;
    Ok(connection)
}
