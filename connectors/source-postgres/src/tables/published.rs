//! Publications, and what they hold of tables.

use std::collections::HashMap;

use connector_kit::Result;
use postgres_kit::{Connection, quote_literal};

use super::{Table, unexpected};

/// What a publication holds of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    /// The columns that it sends; `None` means all.
    pub(crate) columns: Option<Vec<String>>,
    /// The condition that rows have to meet, as SQL.
    pub(crate) row_filter: Option<String>,
}

/// A publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publication {
    pub(crate) name: String,
    pub(crate) all_tables: bool,
    pub(crate) inserts: bool,
    pub(crate) updates: bool,
    pub(crate) deletes: bool,
    pub(crate) truncates: bool,
    /// Changes of partitions are sent as changes of the table that they are parts of.
    pub(crate) via_root: bool,
}

/// The publication of that name, if there is one.
pub(crate) async fn publication(connection: &mut Connection, name: &str) -> Result<Option<Publication>> {
    let via_root = if connection.server_version() >= 130_000 { "pubviaroot" } else { "false" };
    let rows = connection
        .query(&format!(
            "SELECT puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, {via_root} \
             FROM pg_catalog.pg_publication WHERE pubname::text = {}",
            quote_literal(name)
        ))
        .await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Publication {
        name: name.to_owned(),
        all_tables: row.flag(0)?,
        inserts: row.flag(1)?,
        updates: row.flag(2)?,
        deletes: row.flag(3)?,
        truncates: row.flag(4)?,
        via_root: row.flag(5)?,
    }))
}

/// Fills in what the publication holds of these tables: nothing, if it does not exist.
pub(super) async fn add(connection: &mut Connection, publication: &str, tables: &mut [Table]) -> Result<()> {
    let version = connection.server_version();
    let more =
        if version >= 150_000 { "pg_catalog.array_to_json(attnames), rowfilter" } else { "NULL, NULL" };
    let rows = connection
        .query(&format!(
            "SELECT schemaname, tablename, {more} FROM pg_catalog.pg_publication_tables \
             WHERE pubname::text = {}",
            quote_literal(publication)
        ))
        .await?;
    let mut places: HashMap<(&str, &str), usize> = HashMap::with_capacity(rows.len());
    for (n, row) in rows.iter().enumerate() {
        places.insert((row.text(0)?, row.text(1)?), n);
    }
    for table in tables {
        let Some(row) = places.get(&(table.schema.as_str(), table.name.as_str())).map(|n| &rows[*n]) else {
            continue;
        };
        let listed: Option<Vec<String>> = match row.get(2) {
            Some(list) => {
                Some(serde_json::from_str(list).map_err(|e| unexpected("a list of columns").with_source(e))?)
            }
            None => None,
        };
        // Before 16 the list is of all columns, and generated ones were never sent.
        let sent = |name: &String, generated: bool| {
            listed.as_ref().is_none_or(|l| l.contains(name)) && (version >= 160_000 || !generated)
        };
        let columns: Vec<String> =
            table.columns.iter().filter(|c| sent(&c.name, c.generated)).map(|c| c.name.clone()).collect();
        table.published = Some(Published {
            columns: (columns.len() < table.columns.len()).then_some(columns),
            row_filter: row.get(3).map(str::to_owned),
        });
    }
    Ok(())
}
