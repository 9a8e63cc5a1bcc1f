//! The tables of a database as its catalogs have them: columns, keys, privileges, and what a
//! publication holds of them. The number of queries does not grow with the number of tables,
//! except that columns come for some thousands of tables at a time.

mod access;
mod columns;
mod indexes;
mod published;

use std::collections::HashMap;

use connector_kit::{Error, Result};
use postgres_kit::{Connection, Row, quote_identifier, quote_literal};

use crate::types::ColumnType;

pub(crate) use access::absent;
pub(crate) use columns::column_types;
pub(crate) use published::{Publication, Published, publication};

/// What can be read like a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RelationKind {
    Table,
    Partitioned,
    View,
    Materialized,
    Foreign,
}

/// What the server writes to its log to say which row an update or delete was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaIdentity {
    /// The primary key, if there is one that is not deferrable.
    Default,
    /// The whole old row.
    Full,
    /// Nothing: updates and deletes of a published table fail.
    Nothing,
    /// The columns of a unique index. None, when that index was dropped: then it is nothing.
    Index { columns: Vec<String> },
}

/// A column.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// `attnum`, which stays when the column gets another name.
    pub(crate) number: i16,
    pub(crate) name: String,
    pub(crate) type_: ColumnType,
    pub(crate) type_oid: u32,
    pub(crate) modifier: i32,
    pub(crate) generated: bool,
    /// Whether the user may read it.
    pub(crate) selectable: bool,
}

/// A table, or what can be read like one.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) kind: RelationKind,
    /// Of what is stored itself; views, partitioned and foreign tables have none, and neither has a table
    /// of which the user may read some columns only: the places of rows are not among them.
    pub(crate) filenode: Option<u32>,
    /// In the key's own order.
    pub(crate) primary_key: Vec<String>,
    /// A deferrable key does not serve as replica identity.
    pub(crate) key_is_deferrable: bool,
    pub(crate) columns: Vec<Column>,
    pub(crate) replica_identity: ReplicaIdentity,
    /// As of the last VACUUM or ANALYZE.
    pub(crate) pages: u64,
    /// Likewise; negative when unknown.
    pub(crate) rows: f64,
    /// Columns that an index has first, in their own order: they can be read sorted.
    pub(crate) leading_index_columns: Vec<String>,
    /// What the publication holds of it.
    pub(crate) published: Option<Published>,
    /// Whether the user may read anything of it.
    pub(crate) selectable: bool,
    /// Whether the user may read all of it.
    pub(crate) wholly_selectable: bool,
    /// Whether the user may use its schema.
    pub(crate) schema_usable: bool,
    pub(crate) is_partition: bool,
    /// Whether policies hide rows from the user.
    pub(crate) row_security: bool,
}

/// Which tables are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted<'a> {
    /// All of these schemas; of every schema that is not the server's own, if none is named.
    Schemas(&'a [String]),
    /// Exactly these: schema and name.
    Named(&'a [(String, String)]),
}

/// Columns are asked for in portions, so that the answers stay small.
const TABLES_A_QUERY: usize = 2_500;

/// The tables of these schemas; see [`Wanted::Schemas`].
pub(crate) async fn tables(
    connection: &mut Connection,
    schemas: &[String],
    publication: Option<&str>,
) -> Result<Vec<Table>> {
    wanted_tables(connection, Wanted::Schemas(schemas), publication).await
}

/// The tables asked for, by schema and name, readable or not. Those that do not exist are not
/// there.
pub(crate) async fn wanted_tables(
    connection: &mut Connection,
    wanted: Wanted<'_>,
    publication: Option<&str>,
) -> Result<Vec<Table>> {
    let rows = connection.query(&relations_query(wanted)).await?;
    let mut tables = rows.iter().map(table).collect::<Result<Vec<_>>>()?;
    drop(rows);
    let mut types = columns::Types::default();
    for portion in tables.chunks_mut(TABLES_A_QUERY) {
        let oids = oids(portion);
        let mut places: HashMap<u32, &mut Table> = portion.iter_mut().map(|t| (t.oid, t)).collect();
        let numbers = columns::add(connection, &oids, &mut places, &mut types).await?;
        indexes::add(connection, &oids, &mut places, &numbers).await?;
    }
    if let Some(name) = publication {
        published::add(connection, name, &mut tables).await?;
    }
    Ok(tables)
}

/// One of [`wanted_tables`], which asks for columns and keys afterwards.
fn relations_query(wanted: Wanted<'_>) -> String {
    let texts = |names: &mut dyn Iterator<Item = &String>| {
        let names: Vec<String> = names.map(|name| quote_literal(name)).collect();
        format!("ARRAY[{}]::text[]", names.join(", "))
    };
    let which = match wanted {
        Wanted::Schemas([]) => String::new(),
        // As text: a name that is too long would be cut off, and match another.
        Wanted::Schemas(schemas) => format!("AND n.nspname::text = ANY ({})", texts(&mut schemas.iter())),
        Wanted::Named(names) => format!(
            "AND (n.nspname::text, c.relname::text) IN (SELECT * FROM ROWS FROM (unnest({}), unnest({})) AS w (s, t))",
            texts(&mut names.iter().map(|(schema, _)| schema)),
            texts(&mut names.iter().map(|(_, name)| name))
        ),
    };
    format!(
        "SELECT c.oid, n.nspname, c.relname, c.relkind, c.relreplident, pg_catalog.pg_relation_filenode(c.oid), \
           c.relpages, c.reltuples, c.relispartition, \
           COALESCE(pg_catalog.has_schema_privilege(n.oid, 'USAGE'), false), \
           COALESCE(pg_catalog.has_any_column_privilege(c.oid, 'SELECT'), false), \
           COALESCE(pg_catalog.has_table_privilege(c.oid, 'SELECT'), false), \
           c.relrowsecurity AND pg_catalog.row_security_active(c.oid) \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' \
           AND n.nspname NOT IN ('information_schema', 'pg_internal', 'catalog_history') \
           AND n.nspname !~ '^pg_(catalog$|toast|temp_)' \
           AND NOT (c.relkind = 'v' AND c.relname IN \
             ('pg_stat_statements', 'pg_stat_statements_info', 'pg_buffercache')) \
           {which} \
         ORDER BY n.nspname, c.relname"
    )
}

fn table(row: &Row) -> Result<Table> {
    let kind = match row.text(3)? {
        "r" => RelationKind::Table,
        "p" => RelationKind::Partitioned,
        "v" => RelationKind::View,
        "m" => RelationKind::Materialized,
        "f" => RelationKind::Foreign,
        _ => return Err(unexpected("a kind of relation")),
    };
    let schema_usable = row.flag(9)?;
    let wholly_selectable = schema_usable && row.flag(11)?;
    Ok(Table {
        oid: oid(row, 0)?,
        schema: row.text(1)?.to_owned(),
        name: row.text(2)?.to_owned(),
        kind,
        filenode: row.get(5).map(|_| oid(row, 5)).transpose()?.filter(|n| *n != 0 && wholly_selectable),
        primary_key: Vec::new(),
        key_is_deferrable: false,
        columns: Vec::new(),
        replica_identity: match row.text(4)? {
            "d" => ReplicaIdentity::Default,
            "f" => ReplicaIdentity::Full,
            "n" => ReplicaIdentity::Nothing,
            "i" => ReplicaIdentity::Index { columns: Vec::new() },
            _ => return Err(unexpected("a replica identity")),
        },
        pages: u64::try_from(row.int(6)?).unwrap_or(0),
        rows: row.text(7)?.parse().map_err(|e| unexpected("a number of rows").with_source(e))?,
        leading_index_columns: Vec::new(),
        published: None,
        selectable: schema_usable && row.flag(10)?,
        schema_usable,
        is_partition: row.flag(8)?,
        row_security: row.flag(12)?,
        wholly_selectable,
    })
}

impl Table {
    /// The name for people and for SQL, quoted where it has to be.
    pub(crate) fn quoted(&self) -> String {
        quoted(&self.schema, &self.name)
    }

    /// Whether the user may ask for the places and transactions of its rows: a grant of columns does
    /// not include those.
    pub(crate) fn has_system_columns(&self) -> bool {
        use RelationKind::{Materialized, Partitioned, Table};
        self.wholly_selectable && matches!(self.kind, Table | Partitioned | Materialized)
    }

    /// Whether it is a table of its own, so that changes of it can be published.
    pub(crate) fn can_be_published(&self) -> bool {
        matches!(self.kind, RelationKind::Table | RelationKind::Partitioned)
    }

    /// What tells rows apart in a stream of changes: the primary key, if the log has it for
    /// deleted rows, else the columns of the index that is the replica identity. Empty when
    /// there is nothing.
    pub(crate) fn change_key(&self) -> &[String] {
        match &self.replica_identity {
            ReplicaIdentity::Index { columns }
                if self.primary_key.is_empty() || !self.primary_key.iter().all(|c| columns.contains(c)) =>
            {
                columns
            }
            _ => &self.primary_key,
        }
    }

    /// Whether its rows are in partitions of it.
    pub(crate) fn is_partitioned(&self) -> bool {
        self.kind == RelationKind::Partitioned
    }

    /// Whether the publication sends this column.
    pub(crate) fn is_streamed(&self, column: &str) -> bool {
        let listed = |published: &Published| {
            published.columns.as_ref().is_none_or(|columns| columns.iter().any(|c| c == column))
        };
        self.published.as_ref().is_some_and(listed)
    }
}

/// A table's name for people and for SQL: `public.orders`, `"Sales"."Order lines"`.
pub(crate) fn quoted(schema: &str, name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    // After the dot any key word is a name; before it only some are.
    let schema = if schema == "public" { schema.to_owned() } else { quote_identifier(schema) };
    if plain { format!("{schema}.{name}") } else { format!("{schema}.{}", quote_identifier(name)) }
}

/// `'{1,2}'::oid[]`
fn oids(tables: &[Table]) -> String {
    let oids: Vec<String> = tables.iter().map(|t| t.oid.to_string()).collect();
    format!("'{{{}}}'::pg_catalog.oid[]", oids.join(","))
}

fn oid(row: &Row, column: usize) -> Result<u32> {
    u32::try_from(row.int(column)?).map_err(|e| unexpected("an object id").with_source(e))
}

fn unexpected(what: &str) -> Error {
    Error::system(format!(
        "The server's catalog holds {what} that this version does not know; check that it is PostgreSQL, and report it."
    ))
}
