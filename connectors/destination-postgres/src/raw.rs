//! Raw tables: each record whole in one column, for basic normalization or for a platform that types them later.

mod rows;
#[cfg(test)]
mod tests;

use connector_kit::protocol::StreamDescriptor;
use connector_kit::{Error, Result, SelectedStream, tracing};

use crate::lane::{CopyTarget, Lane};
use crate::names::{self, TableName, Wanted};
use crate::normalize::Normalizer;
use crate::swap::swap;
use crate::table::{self, Found, Kind, drop_leftover, find};
pub(crate) use rows::{RawForm, RawRows};

/// Whether a stream's records are seen only once it is complete. A raw table of either form holds rows of one generation or
/// of all: what replaces them starts over after a failure.
pub(crate) fn holds(stream: &SelectedStream) -> bool {
    crate::plan::holds(stream) || stream.replaces()
}

/// The raw tables of all streams for a platform that types them later, in the same order.
pub(crate) fn legacy_tables(streams: &[SelectedStream], schema: &str, raw_schema: &str) -> Vec<TableName> {
    let raw_schema = names::clean(raw_schema).to_lowercase();
    let wanted: Vec<Wanted<'_>> = streams
        .iter()
        .map(|stream| {
            let descriptor = &stream.descriptor;
            let namespace = descriptor.namespace.as_deref().unwrap_or(schema);
            let table = names::clean(&names::raw_table(namespace, &descriptor.name).to_lowercase());
            Wanted { descriptor, namespace, table: TableName::new(raw_schema.clone(), table) }
        })
        .collect();
    names::tell_apart(&wanted, [TableName::new(raw_schema.clone(), names::CHECKPOINTS)])
}

/// Where the records of one stream go, and what becomes of that table when the stream ends.
#[derive(Debug)]
pub(crate) struct RawPlan {
    stream: StreamDescriptor,
    table: TableName,
    /// The table itself, or one beside it.
    load: TableName,
    held: bool,
    replaces: bool,
    form: RawForm,
    drop_cascade: bool,
    target: CopyTarget,
    normalizer: Option<Normalizer>,
}

impl RawPlan {
    /// Prepares the tables. `number` tells the stream's target from those of others.
    pub(crate) async fn open(
        lane: &mut Lane,
        stream: &SelectedStream,
        table: TableName,
        number: usize,
        drop_cascade: bool,
        normalizer: Option<Normalizer>,
    ) -> Result<Self> {
        let form = if normalizer.is_some() { RawForm::Normalized } else { RawForm::Legacy };
        table::lock(lane, &table).await?;
        table::make_schema(lane, &table.schema).await?;
        if let Some(normalizer) = &normalizer {
            normalizer.prepare(lane).await?;
        }
        let held = holds(stream);
        let beside = table.beside(names::beside(&table, "_ferrybyte_new"));
        drop_leftover(lane, &beside).await?;
        let there = find(lane, &table).await?;
        if let Some(found) = &there {
            may_be_loaded(lane, &table, found, form).await?;
        }
        let load = if held { beside } else { table.clone() };
        if held || there.is_none() {
            table::create(lane, &load, &form.create(&load.quoted())).await?;
        }
        let target = CopyTarget {
            id: 4 * number,
            stream: stream.descriptor.clone(),
            sql: format!("COPY {load} ({}) FROM STDIN (FORMAT binary)", form.sent()),
        };
        Ok(Self {
            stream: stream.descriptor.clone(),
            table,
            load,
            held,
            replaces: stream.replaces(),
            form,
            drop_cascade,
            target,
            normalizer,
        })
    }

    /// Where rows go.
    pub(crate) fn target(&self) -> &CopyTarget {
        &self.target
    }

    pub(crate) fn form(&self) -> RawForm {
        self.form
    }

    /// The stream is complete: publishes it in the lane's transaction, which the caller commits.
    pub(crate) async fn publish(&mut self, lane: &mut Lane) -> Result<()> {
        lane.begin().await?;
        if self.held {
            if self.replaces {
                swap(lane, &self.load, &self.table, &[], self.drop_cascade).await?;
            } else if find(lane, &self.table).await?.is_some() {
                let (table, load, columns) = (&self.table, &self.load, self.form.sent());
                lane.execute(&format!("INSERT INTO {table} ({columns}) SELECT {columns} FROM {load}"))
                    .await?;
                lane.execute(&format!("DROP TABLE {load}")).await?;
            } else {
                swap(lane, &self.load, &self.table, &[], false).await?;
            }
        }
        if let Some(normalizer) = &self.normalizer {
            let replaced = self.held && self.replaces;
            normalizer.run(lane, replaced).await.map_err(|e| e.for_stream(&self.stream))?;
        }
        Ok(())
    }

    /// The stream is not complete, and the lane's transaction is over: what was committed stays, and is normalized by the
    /// sync that completes it.
    pub(crate) async fn abandon(&mut self, lane: &mut Lane) -> Result<()> {
        if self.held {
            lane.execute_patiently(&format!("DROP TABLE IF EXISTS {}", self.load)).await?;
        }
        Ok(())
    }

    /// Says that records could not be stored as they came, if there were any.
    pub(crate) fn report(&self, rows: &mut RawRows) {
        let changed = rows.take_changed();
        if changed > 0 {
            tracing::warn!(
                "{changed} records of stream {} hold what PostgreSQL cannot store as JSON: NUL or half a surrogate pair, \
                 now U+FFFD, or a number too large, now null.",
                self.stream
            );
        }
    }
}

/// Whether records can be added to the table that is there.
async fn may_be_loaded(lane: &mut Lane, table: &TableName, found: &Found, form: RawForm) -> Result<()> {
    let other = form.columns().iter().find(|(name, sql_type)| {
        found
            .column(name)
            .is_none_or(|there| there.type_ != *sql_type && !there.type_.starts_with(&format!("{sql_type}(")))
    });
    if let (Kind::Other(_), _) | (_, Some(_)) = (found.kind, other) {
        let what = match (found.kind, other) {
            (Kind::Other(what), _) => format!("is {what}"),
            (_, Some((name, sql_type))) => format!("has no column {name} of type {sql_type}"),
            _ => String::new(),
        };
        return Err(Error::config(format!(
            "{table} cannot hold raw records: it {what}. Rename or drop it, or have the stream written elsewhere."
        )));
    }
    let lacks: Vec<&str> =
        ["SELECT", "INSERT"].into_iter().filter(|privilege| found.lacks.contains(privilege)).collect();
    if !lacks.is_empty() {
        let user = table::current_user(lane).await?;
        let lacks = lacks.join(", ");
        return Err(Error::config(format!(
            "The user {user} lacks privileges on the table {table}. Run GRANT {lacks} ON TABLE {table} TO {user};"
        )));
    }
    Ok(())
}
