//! A table that was made beside another one, with columns of ours alone, takes its place; within the transaction that is
//! open. Typed tables, which keep columns that the stream has lost, have a way of their own in `table`.

use connector_kit::{Error, Result, tracing};
use postgres_kit::{quote_identifier, quote_literal};

use crate::lane::Lane;
use crate::names::{self, TableName};
use crate::table::{Found, Kind, attached, find, list, refuse_to_reach_out, take_over};

/// Puts `load` in the place of `table`, whose grants, owner and comments stay. Where something hangs on the old table, it is
/// emptied and filled again instead, unless `cascade` says that such things go. `indexes` are the names of indexes on the
/// load, and what they are to be called.
pub(crate) async fn swap(
    lane: &mut Lane,
    load: &TableName,
    table: &TableName,
    indexes: &[(String, String)],
    cascade: bool,
) -> Result<()> {
    let Some(new) = find(lane, load).await? else {
        return Err(Error::transient(format!(
            "The table {load}, into which this sync was loading, is gone: somebody dropped it. The sync has to start over."
        )));
    };
    if let Some(old) = find(lane, table).await? {
        // Also those that we made for columns of before.
        let before = old.columns.iter().map(|column| names::index(&column.name, &table.table));
        let ours: Vec<String> = indexes.iter().map(|(_, name)| name.clone()).chain(before).collect();
        let attached = attached(lane, &old, &ours).await?;
        let hanging: Vec<String> = attached.iter().map(|attached| attached.what.clone()).collect();
        if old.kind == Kind::Partitioned || old.owner != new.owner || (!hanging.is_empty() && !cascade) {
            refuse_to_reach_out(table, &attached)?;
            return refill(lane, load, &new, table, &old, &hanging).await;
        }
        if !hanging.is_empty() {
            tracing::warn!(
                "Table {table} is replaced, and with drop_cascade this goes with the old one: {}.",
                hanging.join(", ")
            );
        }
        take_over(lane, &old, &new, load).await?;
        let cascade = if cascade { " CASCADE" } else { "" };
        lane.execute_patiently(&format!("DROP TABLE {table}{cascade}")).await?;
    }
    lane.execute(&format!("ALTER TABLE {load} RENAME TO {}", quote_identifier(&table.table))).await?;
    for (from, to) in indexes {
        let name = quote_literal(&table.beside(to).quoted());
        let rows = lane.query(&format!("SELECT to_regclass({name}) IS NOT NULL")).await?;
        if rows.first().map(|row| row.flag(0)).transpose()? == Some(true) {
            tracing::warn!("The name {to} is taken in this schema, so an index of {table} is called {from}.");
            continue;
        }
        lane.execute(&format!("ALTER INDEX {} RENAME TO {}", table.beside(from), quote_identifier(to)))
            .await?;
    }
    Ok(())
}

async fn refill(
    lane: &mut Lane,
    load: &TableName,
    new: &Found,
    table: &TableName,
    old: &Found,
    hanging: &[String],
) -> Result<()> {
    let why = if hanging.is_empty() { "its owner".to_owned() } else { list(hanging) };
    if let Some(column) = new
        .columns
        .iter()
        .find(|column| old.column(&column.name).is_none_or(|there| there.type_ != column.type_))
    {
        return Err(Error::config(format!(
            "The table {table} needs a column {} of type {}, but cannot be made anew because of {why}; \
             drop that first, or set drop_cascade.",
            quote_identifier(&column.name),
            column.type_
        )));
    }
    tracing::info!("Table {table} is filled anew in its place, because of {why}.");
    let columns = new.columns.iter().map(|c| quote_identifier(&c.name)).collect::<Vec<_>>().join(", ");
    // Rows of other tables may point to its rows, which TRUNCATE does not look at.
    lane.execute_patiently(&format!("DELETE FROM {table}")).await?;
    lane.execute(&format!("INSERT INTO {table} ({columns}) SELECT {columns} FROM {load}")).await?;
    lane.execute(&format!("DROP TABLE {load}")).await
}
