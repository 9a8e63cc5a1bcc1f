//! A load that was made beside a table becomes what readers see, inside the lane's transaction: by taking the table's place,
//! by filling it anew where something hangs on it, or by being added to it.

use connector_kit::{Error, Result, tracing};

use postgres_kit::quote_identifier;

use crate::lane::Lane;
use crate::names::TableName;

use super::indexes::{our_names, rename_index};
use super::{
    Attached, Found, Index, Kind, Layout, attached, code, evolve, find, grants, list, make_indexes,
    refuse_to_reach_out,
};

/// Puts the rows of `load` in the place of those of `table`. The tables have the indexes of `indexes`.
pub(crate) async fn replace(
    lane: &mut Lane,
    load: &TableName,
    table: &TableName,
    layout: &Layout,
    indexes: &[Index],
    cascade: bool,
) -> Result<()> {
    let loaded = loaded(lane, load).await?;
    let Some(old) = find(lane, table).await? else {
        index_and_rename(lane, load, &loaded, table, indexes, None).await?;
        return Ok(());
    };
    let attached = attached(lane, &old, &our_names(table)).await?;
    let in_place =
        old.kind == Kind::Partitioned || old.owner != loaded.owner || !attached.is_empty() && !cascade;
    if !in_place {
        if !attached.is_empty() {
            tracing::warn!(
                "Table {table} is replaced, and with drop_cascade this goes with the old one: {}.",
                attached.iter().map(|a| a.what.as_str()).collect::<Vec<_>>().join(", ")
            );
        }
        return index_and_rename(lane, load, &loaded, table, indexes, Some((&old, cascade))).await;
    }
    tracing::info!(
        "Table {table} is filled anew in its place, because of {}.",
        if attached.is_empty() { "its owner".to_owned() } else { list(&names(&attached)) }
    );
    refuse_to_reach_out(table, &attached)?;
    let evolution = evolve(table, &old, layout)?;
    evolution.apply(lane, table, &old).await?;
    let pointed_to = attached.iter().any(|a| a.is_foreign_key);
    let empty = if pointed_to || old.lacks.contains(&"TRUNCATE") { "DELETE FROM" } else { "TRUNCATE TABLE" };
    lane.execute_patiently(&format!("{empty} {table}")).await?;
    add_to(lane, load, table, layout).await?;
    make_indexes(lane, table, &old, &indexes.iter().collect::<Vec<_>>()).await
}

/// Adds the rows of `load` to `table` and drops `load`.
pub(crate) async fn add_to(
    lane: &mut Lane,
    load: &TableName,
    table: &TableName,
    layout: &Layout,
) -> Result<()> {
    let columns = layout.quoted_names();
    lane.execute(&format!("INSERT INTO {table} ({columns}) SELECT {columns} FROM {load}")).await?;
    lane.execute(&format!("DROP TABLE {load}")).await
}

async fn index_and_rename(
    lane: &mut Lane,
    load: &TableName,
    loaded: &Found,
    table: &TableName,
    indexes: &[Index],
    old: Option<(&Found, bool)>,
) -> Result<()> {
    lane.execute(&Layout::drop_defaults(load)).await?;
    // Once all rows are there an index is made in one go, several times as fast as row by row.
    make_indexes(lane, load, loaded, &indexes.iter().collect::<Vec<_>>()).await?;
    if let Some((old, cascade)) = old {
        grants::take_over(lane, old, loaded, load).await?;
        let cascade = if cascade { " CASCADE" } else { "" };
        // Waits for those who read it now.
        lane.execute_patiently(&format!("DROP TABLE {table}{cascade}")).await.map_err(|error| {
            if code(&error) != "2BP01" {
                return error;
            }
            let text = "Something was made from the table {} while it was being replaced, such as a view; the sync tries again.";
            Error::transient(text.replace("{}", &table.quoted())).with_source(error)
        })?;
    }
    lane.execute(&format!("ALTER TABLE {load} RENAME TO {}", quote_identifier(&table.table))).await?;
    for index in indexes {
        rename_index(lane, index, load, table).await?;
    }
    Ok(())
}

async fn loaded(lane: &mut Lane, load: &TableName) -> Result<Found> {
    find(lane, load).await?.ok_or_else(|| {
        Error::transient(format!(
            "The table {load}, into which this sync was loading, is gone: somebody dropped it. The sync has to start over."
        ))
    })
}

pub(crate) fn names(attached: &[Attached]) -> Vec<String> {
    attached.iter().map(|a| a.what.clone()).collect()
}
