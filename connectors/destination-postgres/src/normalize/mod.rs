//! Basic normalization: a stream's raw table made into typed tables, by SQL that the server runs.
//!
//! `tree` plans the tables from the stream's JSON Schema, `identifiers` names them, `expression`, `statements`
//! and `history` are the SQL, `marker` knows which raw rows are in the tables already, `run` does it.

mod expression;
mod history;
mod identifiers;
mod marker;
mod run;
mod statements;
#[cfg(test)]
mod tests;
mod tree;

use connector_kit::protocol::DestinationSyncMode;
use connector_kit::{Result, SelectedStream};

use crate::config::NestedObjects;
use history::History;
use identifiers::{Limits, Tables, table_name};
pub(crate) use run::Normalizer;
use statements::Plan;
use tree::Planner;

/// How streams are normalized.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) form: NestedObjects,
    /// The schema for tables of ours.
    pub(crate) internal: String,
    /// Rows that the source has deleted stay.
    pub(crate) keeps_deleted: bool,
    /// What depends on a table that has to go goes with it.
    pub(crate) drop_cascade: bool,
}

/// Plans the tables of all streams, in the same order; `schemas` are where each stream's go. Which of two that want one
/// name gets it does not depend on the order.
pub(crate) fn plan(
    streams: &[SelectedStream],
    schemas: &[String],
    settings: &Settings,
) -> Result<Vec<Normalizer>> {
    let limits = Limits::of(settings.form);
    let mut names = Tables::default();
    names.take(&settings.internal, marker::TABLE);
    names.take(&settings.internal, crate::names::CHECKPOINTS);
    let mut order: Vec<(&SelectedStream, &str, usize)> = streams
        .iter()
        .zip(schemas)
        .enumerate()
        .map(|(i, (stream, schema))| (stream, schema.as_str(), i))
        .collect();
    order.sort_by_key(|(stream, schema, i)| {
        let name = stream.descriptor.name.as_str();
        (table_name(name, limits.table) != name, *schema, name, *i)
    });
    // Tables of streams come before those of what is nested in some stream.
    let mut outer = Vec::with_capacity(order.len());
    for (stream, schema, _) in &order {
        let raw = names.raw(schema, &stream.descriptor.name);
        outer.push((raw, names.stream(schema, &stream.descriptor.name, limits)));
    }
    let mut plans = Vec::with_capacity(order.len());
    for ((stream, schema, i), (raw, table)) in order.into_iter().zip(outer) {
        let dedup = stream.destination_sync_mode == DestinationSyncMode::AppendDedup;
        let versions = dedup.then(|| names.history(schema, &table));
        let mut planner = Planner { schema, form: settings.form, tables: &mut names };
        let root = planner.stream(&stream.descriptor.name, &table, &stream.columns);
        let history = versions.map(|versions| {
            History::new(&root, versions, &stream.primary_key, &stream.cursor_field, settings.keeps_deleted)
        });
        let history = history.transpose().map_err(|e| e.for_stream(&stream.descriptor))?;
        let plan = Plan { schema: schema.to_owned(), raw, form: settings.form, root, history };
        plan.check_size().map_err(|e| e.for_stream(&stream.descriptor))?;
        plans.push((
            i,
            Normalizer { plan, internal: settings.internal.clone(), drop_cascade: settings.drop_cascade },
        ));
    }
    plans.sort_by_key(|(i, _)| *i);
    Ok(plans.into_iter().map(|(_, plan)| plan).collect())
}
