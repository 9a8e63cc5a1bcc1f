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

use connector_kit::{Result, SelectedStream};

use crate::config::NestedObjects;
pub(crate) use identifiers::Tables;
use identifiers::Limits;
pub(crate) use run::{Normalizer, Session};

/// How one stream is normalized.
#[derive(Clone, Debug)]
pub(crate) struct Settings<'a> {
    pub(crate) form: NestedObjects,
    /// The schema of the stream's tables, and of its raw table.
    pub(crate) schema: &'a str,
    /// The raw table.
    pub(crate) raw: &'a str,
    /// The schema for tables of ours.
    pub(crate) internal: &'a str,
    /// Rows that the source has deleted stay.
    pub(crate) keeps_deleted: bool,
    pub(crate) drop_cascade: bool,
}
