//! What in the database hangs on a table and would go with it: views, foreign keys, policies, triggers, publications,
//! indexes of users, settings. A table without any can be replaced by another; one with some is filled anew in its place.

use connector_kit::{Error, Result};
use postgres_kit::{quote_identifier, quote_literal};

use crate::lane::Lane;
use crate::names::TableName;

use super::{Found, list};

/// Something that hangs on a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    /// For people: `view "public"."active"`.
    pub(crate) what: String,
    /// Rows of another table point to rows of this one: it cannot be emptied by TRUNCATE.
    pub(crate) is_foreign_key: bool,
    /// Emptying this table would delete or change rows of another one.
    pub(crate) reaches_out: bool,
}

/// Refuses to empty a table if that would take rows of other tables along.
pub(crate) fn refuse_to_reach_out(table: &TableName, attached: &[Attached]) -> Result<()> {
    let reaching: Vec<String> = attached.iter().filter(|a| a.reaches_out).map(|a| a.what.clone()).collect();
    if reaching.is_empty() {
        return Ok(());
    }
    Err(Error::config(format!(
        "The rows of the table {table} cannot be replaced: with the old ones, rows of other tables would be deleted or changed, by {}. Drop that or give it ON DELETE NO ACTION, or set drop_cascade.",
        list(&reaching)
    )))
}

/// Views, those made from views too. `WHERE` follows.
const VIEWS: &str = "WITH RECURSIVE used(view, from_oid, from_column) AS (
    SELECT r.ev_class, d.refobjid, d.refobjsubid FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid
    WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass AND r.ev_class <> d.refobjid
), found(view) AS (
    SELECT view FROM used WHERE ";
const VIEWS_END: &str = " UNION SELECT used.view FROM used JOIN found ON used.from_oid = found.view
) SELECT c.relkind, n.nspname, c.relname FROM found JOIN pg_catalog.pg_class c ON c.oid = found.view
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ORDER BY 2, 3";

/// Everything that hangs on the table, apart from indexes of these names, which are ours.
pub(crate) async fn attached(
    lane: &mut Lane,
    found: &Found,
    our_indexes: &[String],
) -> Result<Vec<Attached>> {
    let mut all: Vec<Attached> = views(lane, &format!("from_oid = {}", found.oid))
        .await?
        .into_iter()
        .map(|what| Attached { what, is_foreign_key: false, reaches_out: false })
        .collect();
    let ours = our_indexes.iter().map(|name| quote_literal(name)).collect::<Vec<_>>().join(", ");
    let ours = if ours.is_empty() { "''".to_owned() } else { ours };
    // By the server's own book of what depends on what: views are above, defaults and the row's own type go without a word,
    // as do an index's or a policy's entries for single columns.
    let sql = format!(
        "SELECT DISTINCT pg_catalog.pg_describe_object(d.classid, d.objid, 0), coalesce(k.contype = 'f' AND k.confrelid = c.oid, false),
           coalesce(k.contype = 'f' AND k.confrelid = c.oid AND k.confdeltype NOT IN ('a', 'r'), false)
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_depend d
           ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = c.oid
           OR d.refclassid = 'pg_catalog.pg_type'::regclass AND d.refobjid = c.reltype
         LEFT JOIN pg_catalog.pg_constraint k ON d.classid = 'pg_catalog.pg_constraint'::regclass AND k.oid = d.objid
         LEFT JOIN pg_catalog.pg_class i ON d.classid = 'pg_catalog.pg_class'::regclass AND i.oid = d.objid
         LEFT JOIN pg_catalog.pg_rewrite w ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND w.oid = d.objid
         LEFT JOIN pg_catalog.pg_trigger t ON d.classid = 'pg_catalog.pg_trigger'::regclass AND t.oid = d.objid
         WHERE c.oid = {oid}
           AND d.classid NOT IN ('pg_catalog.pg_type'::regclass, 'pg_catalog.pg_attrdef'::regclass)
           AND (w.oid IS NULL OR w.ev_class = c.oid)
           AND (t.oid IS NULL OR NOT t.tgisinternal)
           AND (k.oid IS NULL OR k.contype <> 'n')
           AND (i.oid IS NULL OR i.relkind <> 't' AND i.relname NOT IN ({ours}))
         UNION ALL
         SELECT pg_catalog.pg_describe_object('pg_catalog.pg_class'::regclass, inhparent, 0), false, false
         FROM pg_catalog.pg_inherits WHERE inhrelid = {oid}
         UNION ALL
         SELECT what, false, false FROM pg_catalog.pg_class c CROSS JOIN LATERAL (VALUES
           ('row-level security', c.relrowsecurity), ('a tablespace of its own', c.reltablespace <> 0),
           ('storage that is not logged', c.relpersistence = 'u'), ('settings of its own', c.reloptions IS NOT NULL),
           ('a replica identity of its own', c.relreplident <> 'd'),
           ('grants of single columns', EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL)),
           ('defaults of columns', EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.atthasdef
              AND NOT a.attisdropped AND a.attname NOT IN ('_airbyte_meta', '_airbyte_generation_id')))
         ) AS s(what, has) WHERE c.oid = {oid} AND s.has
         ORDER BY 1",
        oid = found.oid
    );
    for row in lane.query(&sql).await? {
        let what = row.get(0).unwrap_or("something that was just dropped").to_owned();
        all.push(Attached { what, is_foreign_key: row.flag(1)?, reaches_out: row.flag(2)? });
    }
    Ok(all)
}

/// The views that are made from these columns, and so keep their types from changing.
pub(crate) async fn users_of_columns(lane: &mut Lane, found: &Found, numbers: &[i64]) -> Result<Vec<String>> {
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let numbers = numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    views(lane, &format!("from_oid = {} AND from_column IN ({numbers})", found.oid)).await
}

async fn views(lane: &mut Lane, from: &str) -> Result<Vec<String>> {
    let mut views = Vec::new();
    for row in lane.query(&format!("{VIEWS}{from}{VIEWS_END}")).await? {
        let kind = if row.text(0)? == "m" { "materialized view" } else { "view" };
        views.push(format!("{kind} {}.{}", quote_identifier(row.text(1)?), quote_identifier(row.text(2)?)));
    }
    Ok(views)
}
