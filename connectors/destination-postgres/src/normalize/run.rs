//! Runs a stream's normalization inside the transaction that is open.

use std::collections::{BTreeMap, HashMap};

use connector_kit::{Error, Result, tracing};
use postgres_kit::{quote_identifier, quote_literal, server_error};

use sha2::{Digest, Sha256};

use super::expression::{Casting, FUNCTIONS, table};
use super::marker::{Decision, Marker, Standing, count};
use super::statements::{Made, Plan, Scope, building, collect};
use super::tree::NORMALIZED_AT;
use crate::lane::Lane;

/// Makes a stream's tables from its raw table.
#[derive(Debug)]
pub(crate) struct Normalizer {
    pub(crate) plan: Plan,
    /// The schema for tables of ours.
    pub(crate) internal: String,
    /// What depends on a table that has to go goes with it.
    pub(crate) drop_cascade: bool,
}

impl Normalizer {
    /// Makes the schema and the table in which normalization is noted. Outside of a transaction.
    pub(crate) async fn prepare(&self, lane: &mut Lane) -> Result<()> {
        let known = format!(
            "SELECT to_regclass({}) IS NOT NULL",
            quote_literal(&table(&self.internal, "_ferrybyte_normalized"))
        );
        let rows = lane.query(&known).await?;
        if rows.first().is_some_and(|row| row.flag(0).unwrap_or(false)) {
            return Ok(());
        }
        let schema = quote_identifier(&self.internal);
        lane.execute(&format!("CREATE SCHEMA IF NOT EXISTS {schema}")).await?;
        lane.execute(&Marker::create(&self.internal)).await
    }

    /// Brings the stream's tables up to what the raw table holds. `replaced`: the raw rows are not those of before, by
    /// the will of this sync. Runs in the open transaction, all or nothing.
    pub(crate) async fn run(&self, lane: &mut Lane, replaced: bool) -> Result<()> {
        let plan = &self.plan;
        let noted = Marker::load(lane, &self.internal, &plan.schema, &plan.raw).await?;
        let last = noted.as_ref().and_then(|marker| marker.done.last.as_deref());
        let (before, all) = count(lane, &plan.schema, &plan.raw, last).await?;
        let owned = noted.as_ref().map(|marker| marker.tables.clone()).unwrap_or_default();
        let there = self.there(lane, &owned).await?;
        let made = plan.tables();
        let fingerprint = fingerprint(plan);
        let server = lane.query("SHOW server_version_num").await?;
        let server = server.first().map_or(Ok(0), |row| row.int(0))? / 10_000;
        let unchanged = noted.as_ref().is_some_and(|marker| marker.plan == fingerprint)
            && made.iter().all(|made| there.get(&made.name).is_some_and(|there| there.holds(made)));
        let standing = Standing { replaced, unchanged, server, before };
        let raw = table(&plan.schema, &plan.raw);
        match Marker::decide(noted.as_ref(), &standing, &raw)? {
            Decision::Rebuild => {
                self.refuse_foreign(&made, &owned, &there)?;
                let number = lane.query("SELECT txid_current()").await?;
                let tag = number.first().map_or(Ok(0), |row| row.int(0))?;
                self.fill(lane, &Scope::Rebuild { tag }).await?;
                for (at, made) in made.iter().enumerate() {
                    self.put_in_place(lane, made, &building(tag, at), there.get(&made.name)).await?;
                }
                for name in owned.iter().filter(|name| !made.iter().any(|made| made.name == **name)) {
                    if there.contains_key(name) {
                        tracing::info!("{} is not made any more and is dropped.", table(&plan.schema, name));
                        self.drop_table(lane, name).await?;
                    }
                }
            }
            Decision::After(last) if standing.before.rows == all.rows => {
                // Nothing new.
                if noted.as_ref().is_some_and(|marker| marker.done.rows == all.rows) {
                    return Ok(());
                }
                drop(last);
            }
            Decision::After(last) => self.fill(lane, &Scope::After(last)).await?,
        }
        let tables = made.into_iter().map(|made| made.name).collect();
        Marker { plan: fingerprint, done: all, server, tables }
            .store(lane, &self.internal, &plan.schema, &plan.raw)
            .await
    }

    /// Fills the tables; where a value does not fit its column, once more without it.
    async fn fill(&self, lane: &mut Lane, scope: &Scope) -> Result<()> {
        lane.execute("SAVEPOINT ferrybyte_normalize").await?;
        let Err(error) = self.try_fill(lane, scope, Casting::Strict).await else {
            return lane.execute("RELEASE SAVEPOINT ferrybyte_normalize").await;
        };
        if !server_error(&error).is_some_and(|e| e.code.starts_with("22")) {
            return Err(error);
        }
        lane.execute("ROLLBACK TO SAVEPOINT ferrybyte_normalize").await?;
        lane.execute(FUNCTIONS).await?;
        self.try_fill(lane, scope, Casting::Lenient).await?;
        for misfits in self.plan.misfits(scope) {
            let rows = lane.query(&misfits.sql).await?;
            let Some(row) = rows.first() else { continue };
            for (at, (name, field)) in misfits.names.iter().enumerate() {
                let count = row.int(at)?;
                if count > 0 {
                    tracing::warn!(
                        "{count} values did not fit {field} in {}; they are null there, and as they came in {}.",
                        table(&self.plan.schema, name),
                        table(&self.plan.schema, &self.plan.raw)
                    );
                }
            }
        }
        Ok(())
    }

    async fn try_fill(&self, lane: &mut Lane, scope: &Scope, casting: Casting) -> Result<()> {
        for sql in self.plan.statements(scope, casting) {
            lane.execute(&sql).await?;
        }
        Ok(())
    }

    /// A table that we did not make is not ours to replace.
    fn refuse_foreign(&self, made: &[Made], owned: &[String], there: &HashMap<String, There>) -> Result<()> {
        for made in made.iter().filter(|made| !owned.contains(&made.name)) {
            let Some(there) = there.get(&made.name) else { continue };
            let ours = made
                .columns
                .iter()
                .filter(|c| c.name == NORMALIZED_AT || matches!(c.from.as_str(), "p" | "h"));
            if there.kind != "r" || !ours.clone().any(|c| there.columns.contains_key(&c.name)) {
                return Err(Error::config(format!(
                    "{} exists and was not made by normalization; rename it, or have the stream written to another schema.",
                    table(&self.plan.schema, &made.name)
                )));
            }
        }
        Ok(())
    }

    async fn put_in_place(
        &self,
        lane: &mut Lane,
        made: &Made,
        building: &str,
        there: Option<&There>,
    ) -> Result<()> {
        let place = table(&self.plan.schema, &made.name);
        let from = table(&self.plan.schema, building);
        if let Some(there) = there {
            if !there.dependents.is_empty() && there.holds(made) && !self.drop_cascade {
                let columns = made.columns.iter().map(|c| c.name.as_str());
                let columns = super::expression::list(columns);
                let refill = format!(
                    "DELETE FROM {place}; INSERT INTO {place} ({columns}) SELECT {columns} FROM {from}; DROP TABLE {from}"
                );
                return lane.execute(&refill).await;
            }
            if !there.dependents.is_empty() && !self.drop_cascade {
                return Err(Error::config(format!(
                    "The columns of {place} change, but {} depends on it; drop that first, or set drop_cascade.",
                    there.dependents.join(", ")
                )));
            }
            self.drop_table(lane, &made.name).await?;
        }
        lane.execute(&format!("ALTER TABLE {from} RENAME TO {}", quote_identifier(&made.name))).await?;
        for ((from, _), (to, _)) in made.index_names(building).zip(made.index_names(&made.name)) {
            let taken =
                format!("SELECT to_regclass({}) IS NOT NULL", quote_literal(&table(&self.plan.schema, &to)));
            if lane.query(&taken).await?.first().map(|row| row.flag(0)).transpose()? == Some(true) {
                tracing::warn!(
                    "The name {to} is taken in this schema, so an index of {place} is called {from}."
                );
                continue;
            }
            let from = table(&self.plan.schema, &from);
            lane.execute(&format!("ALTER INDEX {from} RENAME TO {}", quote_identifier(&to))).await?;
        }
        Ok(())
    }

    async fn drop_table(&self, lane: &mut Lane, name: &str) -> Result<()> {
        let cascade = if self.drop_cascade { " CASCADE" } else { "" };
        lane.execute(&format!("DROP TABLE {}{cascade}", table(&self.plan.schema, name))).await
    }

    /// The tables that are there of those that the plan makes or made.
    async fn there(&self, lane: &mut Lane, owned: &[String]) -> Result<HashMap<String, There>> {
        let mut names: Vec<String> = self.plan.tables().into_iter().map(|made| made.name).collect();
        names.extend(owned.iter().cloned());
        let names: Vec<String> = names.iter().map(|name| quote_literal(name)).collect();
        let rows = lane
            .query(&format!(
                "SELECT c.relname, c.relkind, a.attname, format_type(a.atttypid, NULL), \
                 (SELECT json_agg(DISTINCT o.oid::regclass::text) FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass \
                  AND d.objid = r.oid JOIN pg_class o ON o.oid = r.ev_class \
                  WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND o.oid <> c.oid) \
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                 WHERE n.nspname = {} AND c.relname IN ({})",
                quote_literal(&self.plan.schema),
                names.join(", ")
            ))
            .await?;
        let mut there: HashMap<String, There> = HashMap::new();
        for row in &rows {
            let entry = there.entry(row.text(0)?.to_owned()).or_default();
            entry.kind = row.text(1)?.to_owned();
            if let (Some(column), Some(sql_type)) = (row.get(2), row.get(3)) {
                entry.columns.insert(column.to_owned(), sql_type.to_owned());
            }
            if let Some(dependents) = row.get(4) {
                entry.dependents = serde_json::from_str(dependents).unwrap_or_default();
            }
        }
        Ok(there)
    }
}

/// A table as the server has it.
#[derive(Debug, Default)]
struct There {
    kind: String,
    columns: BTreeMap<String, String>,
    /// Views of it.
    dependents: Vec<String>,
}

impl There {
    /// Whether it has the columns; it may have more.
    fn holds(&self, made: &Made) -> bool {
        made.columns.iter().all(|c| self.columns.get(&c.name).is_some_and(|t| t == c.sql_type))
    }
}

/// What the tables hold and where it comes from: tables made by another plan have to be made anew.
fn fingerprint(plan: &Plan) -> String {
    let mut text = format!("{:?};{:?};", plan.form, plan.history);
    for made in plan.tables() {
        for column in &made.columns {
            text += &format!("{:?}.{:?} {};", made.name, column.name, column.sql_type);
        }
    }
    let mut paths = |node: &super::tree::Node| {
        for field in &node.fields {
            text += &format!("{:?};", field.path);
        }
        for child in &node.children {
            text += &format!("{:?};", child.path);
        }
    };
    paths(&plan.root);
    collect(&plan.root, &mut paths);
    Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}
