//! Streams that are deduplicated: every version of a row in `<table>_scd`, the current ones in the stream's
//! own table.
//!
//! New raw rows are merged with the versions that are there of the same keys, and the outcome replaces those:
//! which row is the current one depends on all rows ever seen, not on the order in which they came. Keys are
//! compared by value; the hash of a key only finds candidates, for two keys can have one hash.

use connector_kit::{Error, Result};
use postgres_kit::quote_identifier;

use super::expression::{Casting, md5, table};
use super::statements::{Made, MadeColumn, Plan, Scope, Stages, collect, field_column, fields, temporary};
use super::tree::{
    AB_ID, ACTIVE_ROW, EMITTED_AT, END_AT, NORMALIZED_AT, Node, START_AT, UNIQUE_KEY, UNIQUE_KEY_SCD,
};
use crate::config::NestedObjects;

const DELETED_AT: &str = "_ab_cdc_deleted_at";
const UPDATED_AT: &str = "_ab_cdc_updated_at";
const LOG_POSITION: &str = "_ab_cdc_log_pos";

const OLD: &str = "pg_temp._ferrybyte_old";
const VERSIONS: &str = "pg_temp._ferrybyte_versions";
const GONE: &str = "pg_temp._ferrybyte_gone";
const GONE_HASHES: &str = "pg_temp._ferrybyte_gone_hashes";

/// Which fields say what a row's key is, and which of its versions counts. Indexes of the root's fields.
#[derive(Clone, Debug)]
pub(crate) struct History {
    table: String,
    keys: Vec<usize>,
    /// Without one it is the time at which the row was emitted.
    cursor: Option<usize>,
    deleted_at: Option<usize>,
    updated_at: Option<usize>,
    log_position: Option<usize>,
    /// A row that its source has deleted stays the current one.
    keeps_deleted: bool,
    start_type: &'static str,
}

impl History {
    /// For a stream whose own table is `root`.
    pub(crate) fn new(
        root: &Node,
        table: String,
        primary_key: &[Vec<String>],
        cursor: &[String],
        keeps_deleted: bool,
    ) -> Result<Self> {
        let find = |path: &[String]| root.fields.iter().position(|field| field.path == path);
        let named = |name: &str| find(&[name.to_owned()]);
        let keys = primary_key.iter().filter(|path| !path.is_empty()).map(|path| {
            find(path).ok_or_else(|| {
                Error::config(format!(
                    "The key {} is not a plain field of the stream's schema, so its rows cannot be deduplicated; choose another primary key, or append.",
                    path.join(".")
                ))
            })
        });
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let cursor = if cursor.is_empty() {
            named(UPDATED_AT).or_else(|| named(LOG_POSITION))
        } else {
            Some(find(cursor).ok_or_else(|| {
                Error::config(format!(
                    "The cursor {} is not a plain field of the stream's schema; choose another one.",
                    cursor.join(".")
                ))
            })?)
        };
        Ok(Self {
            table,
            keys,
            cursor,
            deleted_at: named(DELETED_AT),
            updated_at: named(UPDATED_AT),
            log_position: named(LOG_POSITION),
            keeps_deleted,
            start_type: cursor
                .and_then(|at| root.fields.get(at))
                .map_or("timestamp with time zone", |field| field.cast.sql()),
        })
    }

    /// The table of all versions.
    pub(crate) fn made(&self, plan: &Plan) -> Made {
        let time = "timestamp with time zone";
        let mut columns =
            vec![MadeColumn::new(UNIQUE_KEY, "text", "k"), MadeColumn::new(UNIQUE_KEY_SCD, "text", "ks")];
        columns.extend(fields(&plan.root));
        columns.push(MadeColumn::new(START_AT, self.start_type, "s"));
        columns.push(MadeColumn::new(END_AT, self.start_type, "e"));
        columns.push(MadeColumn::new(ACTIVE_ROW, "integer", "r"));
        columns.push(MadeColumn::new(AB_ID, "character varying", "a"));
        columns.push(MadeColumn::new(EMITTED_AT, time, "t"));
        columns.push(MadeColumn::new(NORMALIZED_AT, time, "n"));
        columns.extend(plan.root.own_hash.as_ref().map(|hash| MadeColumn::new(hash, "text", "h")));
        let indexes = vec![
            vec![UNIQUE_KEY.to_owned()],
            vec![ACTIVE_ROW.to_owned(), UNIQUE_KEY_SCD.to_owned(), EMITTED_AT.to_owned()],
        ];
        Made { name: self.table.clone(), columns, indexes }
    }

    fn key_columns(&self) -> Vec<String> {
        self.keys.iter().map(|at| field_column(*at)).collect()
    }

    fn start(&self) -> String {
        self.cursor.map_or("t".to_owned(), field_column)
    }

    /// What a stage of the root has besides: `k` the hash of the key, `s` the cursor, `n` the time.
    pub(crate) fn staged(&self) -> String {
        let keys = self.key_columns();
        format!(", {} AS k, {} AS s, now() AS n", md5(keys.iter().map(String::as_str)), self.start())
    }

    /// The versions out of `rows`: one of each that are told apart by nothing, with its end and whether it counts.
    fn versions(&self, rows: &str) -> String {
        let keys = self.key_columns();
        let cdc: Vec<String> = [self.deleted_at, self.updated_at, self.log_position]
            .into_iter()
            .flatten()
            .map(field_column)
            .collect();
        let same: Vec<&str> =
            keys.iter().map(String::as_str).chain(["s", "t"]).chain(cdc.iter().map(String::as_str)).collect();
        let scd = md5(["k", "s", "t"].into_iter().chain(cdc.iter().map(String::as_str)));
        let mut order = vec!["s DESC NULLS LAST".to_owned()];
        for at in [self.updated_at, self.log_position].into_iter().flatten() {
            order.push(format!("{} DESC NULLS LAST", field_column(at)));
        }
        order.extend(["t DESC".to_owned(), "a COLLATE \"C\" DESC".to_owned()]);
        let counts = match self.deleted_at.filter(|_| !self.keeps_deleted) {
            Some(at) => format!("row_number() OVER w = 1 AND {} IS NULL", field_column(at)),
            None => "row_number() OVER w = 1".to_owned(),
        };
        format!(
            "SELECT u.*, {scd} AS ks, lag(s) OVER w AS e, CASE WHEN {counts} THEN 1 ELSE 0 END AS r FROM \
             (SELECT v.*, row_number() OVER (PARTITION BY {} ORDER BY a COLLATE \"C\" DESC) AS same FROM ({rows}) v) u \
             WHERE same = 1 WINDOW w AS (PARTITION BY {} ORDER BY {})",
            same.join(", "),
            keys.join(", "),
            order.join(", ")
        )
    }

    pub(crate) fn statements(&self, plan: &Plan, scope: &Scope, casting: Casting, sql: &mut Vec<String>) {
        let mut stages = Stages::default();
        let stage = stages.next();
        sql.push(temporary(&stage, &plan.raw_rows(scope, casting)));
        let columns: Vec<String> = (0..plan.root.fields.len())
            .map(field_column)
            .chain(["a", "t", "n", "h", "k", "s"].map(str::to_owned))
            .collect();
        let columns = columns.join(", ");
        let new = format!("SELECT {columns}, true AS new FROM {stage}");
        let rows = match scope {
            Scope::Rebuild { .. } => new,
            Scope::After(_) => {
                sql.push(temporary(OLD, &self.old(plan, &stage)));
                format!("SELECT {columns}, false AS new FROM {OLD} UNION ALL {new}")
            }
        };
        sql.push(temporary(VERSIONS, &self.versions(&rows)));
        if matches!(scope, Scope::After(_)) {
            self.remove(plan, sql);
        }
        let history = self.made(plan);
        sql.push(history.fill(&plan.place(scope, &history.name), VERSIONS));
        let current = plan.made(&plan.root);
        let counting = format!("{VERSIONS} WHERE new AND r = 1");
        sql.push(current.fill(&plan.place(scope, &current.name), &counting));
        // The original makes nested rows of every version; a table that holds no version's id can only hold
        // those of the current one.
        let counting = match plan.form {
            NestedObjects::Tables => "new",
            NestedObjects::Columns => "new AND r = 1",
        };
        let around =
            format!("(SELECT * FROM {stage} WHERE a IN (SELECT a FROM {VERSIONS} WHERE {counting}))");
        plan.put_nested(&plan.root, scope, casting, &around, &mut stages, sql);
    }

    /// The versions that are there of the keys in `stage`, in a stage's columns.
    fn old(&self, plan: &Plan, stage: &str) -> String {
        let keys = self.key_columns();
        let made = self.made(plan);
        let taken: Vec<String> = made
            .columns
            .iter()
            .filter(|column| !matches!(column.from.as_str(), "ks" | "e"))
            .map(|column| format!("v.{} AS {}", quote_identifier(&column.name), column.from))
            .collect();
        let same: Vec<String> = self
            .keys
            .iter()
            .map(|at| format!("v.{} IS NOT DISTINCT FROM q.{}", self.name(plan, *at), field_column(*at)))
            .collect();
        format!(
            "SELECT {} FROM {} v JOIN (SELECT DISTINCT k, {} FROM {stage}) q ON v.{UNIQUE_KEY} = q.k AND {}",
            taken.join(", "),
            table(&plan.schema, &self.table),
            keys.join(", "),
            same.join(" AND ")
        )
    }

    fn name(&self, plan: &Plan, field: usize) -> String {
        plan.root.fields.get(field).map_or_else(String::new, |f| quote_identifier(&f.column))
    }

    /// Takes out of the tables what the new versions replace.
    fn remove(&self, plan: &Plan, sql: &mut Vec<String>) {
        let history = table(&plan.schema, &self.table);
        let current = table(&plan.schema, &plan.root.table);
        sql.push(format!(
            "DELETE FROM {history} v USING {OLD} o WHERE v.{UNIQUE_KEY} = o.k AND v.{AB_ID} = o.a"
        ));
        sql.push(temporary(
            GONE,
            &format!(
                "SELECT o.* FROM {OLD} o LEFT JOIN {VERSIONS} v USING (a) WHERE o.r = 1 AND v.r IS DISTINCT FROM 1"
            ),
        ));
        match plan.form {
            NestedObjects::Tables => {
                sql.push(format!(
                    "DELETE FROM {current} f USING {GONE} o WHERE f.{UNIQUE_KEY} = o.k AND f.{AB_ID} = o.a"
                ));
                // Versions that another one equals in all that tells versions apart; there is hardly ever one, and
                // without one the tables are not read.
                let lost = format!("SELECT o.a FROM {OLD} o WHERE o.a NOT IN (SELECT a FROM {VERSIONS})");
                collect(&plan.root, &mut |node| {
                    let nested = table(&plan.schema, &node.table);
                    sql.push(format!("DELETE FROM {nested} WHERE EXISTS ({lost}) AND {AB_ID} IN ({lost})"));
                });
            }
            NestedObjects::Columns => {
                let Some(hash) = plan.root.own_hash.as_deref().map(quote_identifier) else { return };
                let same: Vec<String> = self
                    .keys
                    .iter()
                    .map(|at| {
                        format!(
                            " AND f.{} IS NOT DISTINCT FROM o.{}",
                            self.name(plan, *at),
                            field_column(*at)
                        )
                    })
                    .collect();
                sql.push(format!(
                    "DELETE FROM {current} f USING {GONE} o WHERE f.{hash} = o.h{}",
                    same.concat()
                ));
                let hashes = format!("{GONE_HASHES}_0");
                sql.push(temporary(
                    &hashes,
                    &format!(
                        "SELECT DISTINCT h FROM {GONE} o WHERE NOT EXISTS (SELECT FROM {current} f WHERE f.{hash} = o.h)"
                    ),
                ));
                remove_nested(plan, &plan.root, &hashes, &mut 0, sql);
            }
        }
    }
}

/// Removes what is nested in rows whose hashes `gone` holds.
fn remove_nested(plan: &Plan, node: &Node, gone: &str, count: &mut usize, sql: &mut Vec<String>) {
    for child in &node.children {
        let place = table(&plan.schema, &child.node.table);
        let Some(parent) = child.node.parent_hash.as_deref().map(quote_identifier) else { continue };
        if let Some(own) = child.node.own_hash.as_deref().map(quote_identifier) {
            *count += 1;
            let inner = format!("{GONE_HASHES}_{count}");
            sql.push(temporary(
                &inner,
                &format!("SELECT DISTINCT n.{own} AS h FROM {place} n JOIN {gone} g ON n.{parent} = g.h"),
            ));
            remove_nested(plan, &child.node, &inner, count, sql);
        }
        sql.push(format!("DELETE FROM {place} n USING {gone} g WHERE n.{parent} = g.h"));
    }
}
