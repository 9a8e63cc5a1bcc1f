//! The indexes that a typed table gets: on the key and the cursor of a stream that is deduplicated, and on the time of extraction.

use connector_kit::{EXTRACTED_AT, Result, tracing};
use postgres_kit::{quote_identifier, quote_literal};

use crate::lane::Lane;
use crate::names::{self, TableName};

use super::{Found, code};

/// An index that a table should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    /// `pk`, `cursor` or `extracted_at`: part of its name.
    kind: &'static str,
    columns: Vec<String>,
}

impl Index {
    pub(crate) fn name(&self, table: &TableName) -> String {
        names::index(self.kind, &table.table)
    }

    pub(crate) fn is_key(&self) -> bool {
        self.kind == "pk"
    }
}

/// Those of a stream: by key and cursor where it is deduplicated.
pub(crate) fn indexes(key: &[String], cursor: Option<&String>) -> Vec<Index> {
    let mut all = Vec::new();
    if !key.is_empty() {
        all.push(Index { kind: "pk", columns: key.to_vec() });
        if let Some(cursor) = cursor {
            all.push(Index { kind: "cursor", columns: vec![cursor.clone()] });
        }
    }
    all.push(Index { kind: "extracted_at", columns: vec![EXTRACTED_AT.to_owned()] });
    all
}

/// Makes the indexes that are missing, and those anew that are on other columns now.
pub(crate) async fn make_indexes(
    lane: &mut Lane,
    table: &TableName,
    found: &Found,
    wanted: &[&Index],
) -> Result<()> {
    let there = present(lane, found.oid).await?;
    for index in wanted {
        let name = index.name(table);
        let same = there.iter().find(|(n, _)| *n == name);
        if same.is_some_and(|(_, columns)| *columns == index.columns) {
            continue;
        }
        if !found.is_ours {
            tracing::warn!(
                "The table {table} belongs to {}, so the index {name} is not made; loading and reading may be slower.",
                found.owner
            );
            continue;
        }
        let quoted = table.beside(&name).quoted();
        if same.is_some() {
            lane.execute(&format!("DROP INDEX {quoted}")).await?;
        } else if is_taken(lane, &table.schema, &name).await? {
            tracing::warn!("The name {name} is taken in this schema, so that index of {table} is not made.");
            continue;
        }
        let columns: Vec<String> = index.columns.iter().map(|c| quote_identifier(c)).collect();
        let made = lane
            .execute(&format!("CREATE INDEX {} ON {table} ({})", quote_identifier(&name), columns.join(", ")))
            .await;
        made.map_err(|error| match code(&error) {
            "54000" => connector_kit::Error::config(format!(
                "The index {name} cannot be made: {} of the table {table} holds a value too long for an index. Choose another primary key or cursor.",
                columns.join(", ")
            ))
            .with_source(error),
            _ => error,
        })?;
    }
    Ok(())
}

/// The names and columns of a table's indexes; an expression is an empty name.
async fn present(lane: &mut Lane, oid: i64) -> Result<Vec<(String, Vec<String>)>> {
    let sql = format!(
        "SELECT c.relname, coalesce(a.attname, '') FROM pg_catalog.pg_index i
         JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
         CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place)
         LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number AND k.number > 0
         WHERE i.indrelid = {oid} AND i.indisvalid AND i.indpred IS NULL ORDER BY c.relname, k.place"
    );
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    for row in lane.query(&sql).await? {
        let (name, column) = (row.text(0)?, row.text(1)?.to_owned());
        match all.last_mut().filter(|(last, _)| last == name) {
            Some((_, columns)) => columns.push(column),
            None => all.push((name.to_owned(), vec![column])),
        }
    }
    Ok(all)
}

/// Names of tables and indexes are one space.
async fn is_taken(lane: &mut Lane, schema: &str, name: &str) -> Result<bool> {
    let sql = format!(
        "SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = {} AND c.relname = {}",
        quote_literal(schema),
        quote_literal(name)
    );
    Ok(!lane.query(&sql).await?.is_empty())
}
