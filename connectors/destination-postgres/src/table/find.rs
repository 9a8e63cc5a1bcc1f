//! What the catalogs say of one table.

use connector_kit::Result;
use postgres_kit::quote_literal;

use crate::lane::Lane;
use crate::names::TableName;

/// What bears the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Table,
    Partitioned,
    /// A view, a foreign table, a sequence: nothing to load rows into.
    Other(&'static str),
}

/// A column as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundColumn {
    pub(crate) number: i64,
    pub(crate) name: String,
    /// As `format_type` writes it.
    pub(crate) type_: String,
    pub(crate) not_null: bool,
    pub(crate) has_default: bool,
    /// Generated, or an identity column that takes no values.
    pub(crate) takes_no_values: bool,
}

/// A table as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) oid: i64,
    pub(crate) kind: Kind,
    /// The owner, quoted for SQL.
    pub(crate) owner: String,
    /// Whether our user has the owner's rights.
    pub(crate) is_ours: bool,
    /// Privileges that loading needs and our user lacks.
    pub(crate) lacks: Vec<&'static str>,
    pub(crate) columns: Vec<FoundColumn>,
}

impl Found {
    pub(crate) fn column(&self, name: &str) -> Option<&FoundColumn> {
        self.columns.iter().find(|column| column.name == name)
    }
}

const PRIVILEGES: [&str; 5] = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"];

/// The table of that name; none when nothing bears it.
pub(crate) async fn find(lane: &mut Lane, table: &TableName) -> Result<Option<Found>> {
    let privileges = PRIVILEGES.map(|p| format!("pg_catalog.has_table_privilege(c.oid, '{p}')")).join(", ");
    let sql = format!(
        "SELECT c.oid, c.relkind, quote_ident(pg_catalog.pg_get_userbyid(c.relowner)),
         pg_catalog.pg_has_role(c.relowner, 'USAGE'), {privileges}
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = {} AND c.relname = {}",
        quote_literal(&table.schema),
        quote_literal(&table.table)
    );
    let rows = lane.query(&sql).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let kind = match row.text(1)? {
        "r" => Kind::Table,
        "p" => Kind::Partitioned,
        "v" => Kind::Other("a view"),
        "m" => Kind::Other("a materialized view"),
        "f" => Kind::Other("a foreign table"),
        "i" | "I" => Kind::Other("an index"),
        "S" => Kind::Other("a sequence"),
        _ => Kind::Other("no table"),
    };
    let mut lacks = Vec::new();
    for (i, privilege) in PRIVILEGES.into_iter().enumerate() {
        if !row.flag(4 + i)? {
            lacks.push(privilege);
        }
    }
    let oid = row.int(0)?;
    let sql = format!(
        "SELECT attnum, attname, pg_catalog.format_type(atttypid, atttypmod), attnotnull, atthasdef,
         attgenerated <> '' OR attidentity = 'a'
         FROM pg_catalog.pg_attribute WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    );
    let mut columns = Vec::new();
    for row in lane.query(&sql).await? {
        columns.push(FoundColumn {
            number: row.int(0)?,
            name: row.text(1)?.to_owned(),
            type_: row.text(2)?.to_owned(),
            not_null: row.flag(3)?,
            has_default: row.flag(4)?,
            takes_no_values: row.flag(5)?,
        });
    }
    Ok(Some(Found { oid, kind, owner: row.text(2)?.to_owned(), is_ours: row.flag(3)?, lacks, columns }))
}
