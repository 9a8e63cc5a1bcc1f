//! The indexes that a typed table gets: on the key and the cursor of a stream that is deduplicated, and on the time of
//! extraction. That on the key is unique wherever the rows are: merges then cost half.

use connector_kit::{EXTRACTED_AT, Error, Result, tracing};
use postgres_kit::{quote_identifier, quote_literal};

use crate::lane::Lane;
use crate::names::{self, TableName};

use super::{Found, code, list};

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

/// The names that indexes of ours have on a table, whatever the stream's key and cursor are now or were before.
pub(crate) fn our_names(table: &TableName) -> Vec<String> {
    ["pk", "cursor", "extracted_at"].map(|kind| names::index(kind, &table.table)).to_vec()
}

/// An index as it is.
#[derive(Debug)]
struct Present {
    name: String,
    /// An expression is an empty name.
    columns: Vec<String>,
    /// No two rows have the same values in its columns, at any time.
    is_unique: bool,
    comment: String,
}

/// What an index on a key says that could not be unique, so that it is not tried again.
const NOT_UNIQUE: &str = "Rows with equal keys were there when this index was made.";

/// Makes the indexes that are missing, and those anew that are on other columns now. A transaction is open.
pub(crate) async fn make_indexes(
    lane: &mut Lane,
    table: &TableName,
    found: &Found,
    wanted: &[&Index],
) -> Result<()> {
    let there = present(lane, found.oid).await?;
    for index in wanted {
        let name = index.name(table);
        let ours = there.iter().find(|i| i.name == name);
        let serves = |i: &Present| i.columns == index.columns && (i.is_unique || i.comment == NOT_UNIQUE);
        if ours.is_some_and(|i| if index.is_key() { serves(i) } else { i.columns == index.columns })
            || index.is_key() && there.iter().any(|i| i.is_unique && same_columns(i, index))
        {
            continue;
        }
        if !found.is_ours {
            tracing::warn!(
                "The table {table} belongs to {}, so the index {name} is not made; loading and reading may be slower.",
                found.owner
            );
            continue;
        }
        if ours.is_none() && is_taken(lane, &table.schema, &name).await? {
            tracing::warn!("The name {name} is taken in this schema, so that index of {table} is not made.");
            continue;
        }
        make(lane, table, index, ours.is_some()).await.map_err(|error| match code(&error) {
            "54000" => Error::config(format!(
                "The index {name} of the table {table} cannot be made: {} holds a value too long for an index. Choose another primary key or cursor.",
                list(&index.columns)
            ))
            .with_source(error),
            _ => error,
        })?;
    }
    Ok(())
}

/// Makes one index, in the place of an older one of its name if there is one.
async fn make(lane: &mut Lane, table: &TableName, index: &Index, replaces: bool) -> Result<()> {
    let name = index.name(table);
    let columns: Vec<String> = index.columns.iter().map(|c| quote_identifier(c)).collect();
    let new = if replaces { names::index("new", &name) } else { name.clone() };
    let on = format!("INDEX {} ON {table} ({})", quote_identifier(&new), columns.join(", "));
    let is_unique = index.is_key() && make_unique(lane, &on).await?;
    if !is_unique {
        lane.execute(&format!("CREATE {on}")).await?;
    }
    let (old, new) = (table.beside(&name), table.beside(new));
    if replaces {
        lane.execute(&format!("DROP INDEX {old}; ALTER INDEX {new} RENAME TO {}", quote_identifier(&name)))
            .await?;
    }
    if index.is_key() && !is_unique {
        tracing::warn!(
            "The table {table} has several rows of one key from before it was deduplicated; they stay, and merging is slower. Refresh the stream to be rid of them."
        );
        lane.execute(&format!("COMMENT ON INDEX {old} IS {}", quote_literal(NOT_UNIQUE))).await?;
    }
    Ok(())
}

/// Makes the index on the key of a table that has none yet, if no key is there twice.
pub(crate) async fn try_unique(lane: &mut Lane, table: &TableName, index: &Index) -> Result<bool> {
    let columns: Vec<String> = index.columns.iter().map(|c| quote_identifier(c)).collect();
    let name = quote_identifier(&index.name(table));
    make_unique(lane, &format!("INDEX {name} ON {table} ({})", columns.join(", "))).await
}

/// False if there are rows with equal keys, the partitions do not allow it, or something else has the name.
async fn make_unique(lane: &mut Lane, on: &str) -> Result<bool> {
    lane.execute("SAVEPOINT ferrybyte_unique").await?;
    match lane.execute(&format!("CREATE UNIQUE {on}")).await {
        Ok(()) => lane.execute("RELEASE SAVEPOINT ferrybyte_unique").await.map(|()| true),
        Err(error) if matches!(code(&error), "23505" | "0A000" | "42P07") => {
            let undo = "ROLLBACK TO SAVEPOINT ferrybyte_unique; RELEASE SAVEPOINT ferrybyte_unique";
            lane.execute(undo).await.map(|()| false)
        }
        Err(error) => Err(error),
    }
}

/// Whether the server knows that the key's columns are unique, so that INSERT … ON CONFLICT can be used.
pub(crate) async fn is_unique(lane: &mut Lane, found: &Found, index: &Index) -> Result<bool> {
    Ok(present(lane, found.oid).await?.iter().any(|i| i.is_unique && same_columns(i, index)))
}

fn same_columns(there: &Present, wanted: &Index) -> bool {
    there.columns.len() == wanted.columns.len() && there.columns.iter().all(|c| wanted.columns.contains(c))
}

/// The indexes that a table has.
async fn present(lane: &mut Lane, oid: i64) -> Result<Vec<Present>> {
    let sql = format!(
        "SELECT c.relname, coalesce(a.attname, ''), i.indisunique AND i.indimmediate,
         coalesce(pg_catalog.obj_description(c.oid, 'pg_class'), '') FROM pg_catalog.pg_index i
         JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
         CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place)
         LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number AND k.number > 0
         WHERE i.indrelid = {oid} AND i.indisvalid AND i.indpred IS NULL AND k.place <= i.indnkeyatts ORDER BY c.relname, k.place"
    );
    let mut all: Vec<Present> = Vec::new();
    for row in lane.query(&sql).await? {
        let (name, column) = (row.text(0)?, row.text(1)?.to_owned());
        match all.last_mut().filter(|last| last.name == name) {
            Some(last) => last.columns.push(column),
            None => all.push(Present {
                name: name.to_owned(),
                columns: vec![column],
                is_unique: row.flag(2)?,
                comment: row.text(3)?.to_owned(),
            }),
        }
    }
    Ok(all)
}

/// Gives an index of a load the name that it has on the table whose place the load has taken.
pub(crate) async fn rename_index(
    lane: &mut Lane,
    index: &Index,
    load: &TableName,
    table: &TableName,
) -> Result<()> {
    let to = index.name(table);
    if is_taken(lane, &table.schema, &to).await? {
        tracing::warn!("The name {to} is taken in this schema, so an index of {table} has another.");
        return Ok(());
    }
    let from = load.beside(index.name(load));
    lane.execute(&format!("ALTER INDEX IF EXISTS {from} RENAME TO {}", quote_identifier(&to))).await
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
