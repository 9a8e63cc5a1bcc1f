//! Runs a stream's normalization inside the transaction that is open.

use std::collections::HashMap;

use connector_kit::{Error, Result, tracing};
use postgres_kit::server_error;

use sha2::{Digest, Sha256};

use super::expression::{Casting, FUNCTIONS, table};
use super::marker::{self, Decision, Marker, Standing, count};
use super::statements::{Made, Plan, Scope, building, collect};
use super::tree::NORMALIZED_AT;
use crate::lane::Lane;
use crate::names::TableName;
use crate::swap::swap;
use crate::table::{Found, Kind, create, find, make_schema};

/// Makes a stream's tables from its raw table.
#[derive(Clone, Debug)]
pub(crate) struct Normalizer {
    pub(crate) plan: Plan,
    /// The schema for tables of ours.
    pub(crate) internal: String,
    /// What depends on a table that has to go goes with it.
    pub(crate) drop_cascade: bool,
}

impl Normalizer {
    /// Makes the schema and the table in which normalization is noted, and looks whether the stream's tables can be made.
    /// Outside of a transaction.
    pub(crate) async fn prepare(&self, lane: &mut Lane) -> Result<()> {
        let place = TableName::new(&self.internal, marker::TABLE);
        if find(lane, &place).await?.is_none() {
            make_schema(lane, &self.internal).await?;
            create(lane, &place, &Marker::create(&self.internal)).await?;
        }
        let noted = Marker::load(lane, &self.internal, &self.plan.schema, &self.plan.raw).await?;
        let owned = noted.map(|marker| marker.tables).unwrap_or_default();
        let there = self.there(lane, &owned).await?;
        let others = self.of_others(lane).await?;
        self.refuse_foreign(&self.plan.tables(), &owned, &others, &there)
    }

    /// Brings the stream's tables up to what the raw table holds. `replaced`: the raw rows are not those of before, by
    /// the will of this sync. Runs in the open transaction, all or nothing.
    pub(crate) async fn run(&self, lane: &mut Lane, replaced: bool) -> Result<()> {
        let plan = &self.plan;
        let noted = Marker::load(lane, &self.internal, &plan.schema, &plan.raw).await?;
        let last = noted.as_ref().and_then(|marker| marker.done.last.as_deref());
        let (before, mut all) = count(lane, &plan.schema, &plan.raw, last).await?;
        let owned = noted.as_ref().map(|marker| marker.tables.clone()).unwrap_or_default();
        let there = self.there(lane, &owned).await?;
        let made = plan.tables();
        let fingerprint = fingerprint(plan);
        let server = lane.query("SHOW server_version_num").await?;
        let server = server.first().map_or(Ok(0), |row| row.int(0))? / 10_000;
        let unchanged = noted.as_ref().is_some_and(|marker| marker.plan == fingerprint)
            && made.iter().all(|made| there.get(&made.name).is_some_and(|there| holds(there, made)));
        let standing = Standing { replaced, unchanged, server, before };
        let raw = table(&plan.schema, &plan.raw);
        let decision = Marker::decide(noted.as_ref(), &standing, &raw)?;
        let lost = Marker::lost(noted.as_ref(), &standing.before, &decision);
        if let Decision::After(last) = &decision {
            all.last = all.last.max(last.clone());
        }
        match decision {
            Decision::Rebuild => {
                let others = self.of_others(lane).await?;
                self.refuse_foreign(&made, &owned, &others, &there)?;
                let number = lane.query("SELECT txid_current()").await?;
                let number = number.first().map_or(Ok(0), |row| row.int(0))?;
                // Several streams may be normalized in one transaction.
                let tag = format!("{number}_{}", &hex(plan.raw.as_bytes())[..8]);
                self.fill(lane, &Scope::Rebuild { tag: tag.clone() }).await?;
                for (at, made) in made.iter().enumerate() {
                    let building = TableName::new(&plan.schema, building(&tag, at));
                    let names = made.index_names(&building.table).zip(made.index_names(&made.name));
                    let names: Vec<_> = names.map(|((from, _), (to, _))| (from, to)).collect();
                    swap(lane, &building, &self.place(&made.name), &names, self.drop_cascade).await?;
                }
                for name in owned.iter().filter(|name| !made.iter().any(|made| made.name == **name)) {
                    // Another stream may have the name by now.
                    if there.contains_key(name) && !others.contains(name) {
                        tracing::info!("{} is not made any more and is dropped.", table(&plan.schema, name));
                        self.drop_table(lane, name).await?;
                    }
                }
            }
            Decision::After(last) if standing.before.rows != all.rows => {
                self.fill(lane, &Scope::After(last)).await?;
            }
            Decision::After(_) if noted.is_some_and(|marker| marker.done.rows == all.rows) => return Ok(()),
            Decision::After(_) => {}
        }
        let tables = made.into_iter().map(|made| made.name).collect();
        Marker { plan: fingerprint, done: all, lost, server, tables }
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
    fn refuse_foreign(
        &self,
        made: &[Made],
        owned: &[String],
        others: &[String],
        there: &HashMap<String, Found>,
    ) -> Result<()> {
        for made in made.iter().filter(|made| !owned.contains(&made.name)) {
            let Some(there) = there.get(&made.name) else { continue };
            if others.contains(&made.name) {
                return Err(Error::config(format!(
                    "{} was made from the raw table of another stream; drop it if that stream makes it no more, \
                     or have one of the two written to another schema.",
                    table(&self.plan.schema, &made.name)
                )));
            }
            let mut ours = made
                .columns
                .iter()
                .filter(|c| c.name == NORMALIZED_AT || matches!(c.from.as_str(), "p" | "h"));
            if !matches!(there.kind, Kind::Table | Kind::Partitioned)
                || !ours.any(|c| there.column(&c.name).is_some())
            {
                return Err(Error::config(format!(
                    "{} exists and was not made by normalization; rename it, or have the stream written to another schema.",
                    table(&self.plan.schema, &made.name)
                )));
            }
        }
        Ok(())
    }

    async fn of_others(&self, lane: &mut Lane) -> Result<Vec<String>> {
        Marker::of_others(lane, &self.internal, &self.plan.schema, &self.plan.raw).await
    }

    async fn drop_table(&self, lane: &mut Lane, name: &str) -> Result<()> {
        let cascade = if self.drop_cascade { " CASCADE" } else { "" };
        lane.execute(&format!("DROP TABLE {}{cascade}", table(&self.plan.schema, name))).await
    }

    /// The tables that are there of those that the plan makes or made.
    async fn there(&self, lane: &mut Lane, owned: &[String]) -> Result<HashMap<String, Found>> {
        let made = self.plan.tables();
        let mut there = HashMap::new();
        for name in made.iter().map(|made| &made.name).chain(owned) {
            if !there.contains_key(name)
                && let Some(found) = find(lane, &self.place(name)).await?
            {
                there.insert(name.clone(), found);
            }
        }
        Ok(there)
    }

    /// The table that is read.
    pub(crate) fn raw_table(&self) -> TableName {
        self.place(&self.plan.raw)
    }

    fn place(&self, name: &str) -> TableName {
        TableName::new(&self.plan.schema, name)
    }
}

/// Whether the table has the columns; it may have more.
fn holds(there: &Found, made: &Made) -> bool {
    made.columns.iter().all(|c| there.column(&c.name).is_some_and(|t| t.type_ == c.sql_type))
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
    hex(text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
