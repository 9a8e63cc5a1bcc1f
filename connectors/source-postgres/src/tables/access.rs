//! Why a stream of the catalog cannot be read: it is gone, or a privilege is.

use connector_kit::protocol::StreamDescriptor;
use connector_kit::{Error, Result};
use postgres_kit::{Connection, quote_identifier, quote_literal};

use super::{Table, quoted};

/// The error for a stream for which there is no table in `schemas` (none means all).
pub(crate) async fn absent(
    connection: &mut Connection,
    stream: &StreamDescriptor,
    schemas: &[String],
) -> Result<Error> {
    let schema = stream.namespace.as_deref().unwrap_or("");
    let table = quoted(schema, &stream.name);
    if !schemas.is_empty() && !schemas.iter().any(|s| s == schema) {
        return Ok(Error::config(format!(
            "The stream {table} is of the schema {schema:?}, which is not among `schemas`; add it there, or take the stream out of the connection."
        )));
    }
    let there = connection
        .query(&format!(
            "SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname::text = {}",
            quote_literal(schema)
        ))
        .await?;
    let what = if there.is_empty() { format!("the schema {schema:?}") } else { format!("a table {table}") };
    Ok(Error::config(format!(
        "There is no longer {what} in the database. Refresh the connection's schema, or bring it back under that name."
    )))
}

impl Table {
    /// The error for a table of which `user` may not read all of `columns`.
    pub(crate) fn refusal<'a>(&self, columns: impl Iterator<Item = &'a str>, user: &str) -> Option<Error> {
        let (table, user) = (self.quoted(), quote_identifier(user));
        if !self.schema_usable {
            let schema = quote_identifier(&self.schema);
            return Some(Error::config(format!(
                "The user {user} may not use the schema {schema}, so {table} cannot be read. Run GRANT USAGE ON SCHEMA {schema} TO {user};"
            )));
        }
        if !self.selectable {
            return Some(Error::config(format!(
                "The user {user} may not read the table {table}. Run GRANT SELECT ON {table} TO {user};"
            )));
        }
        let refused: Vec<String> = columns
            .filter(|name| self.columns.iter().any(|c| c.name == *name && !c.selectable))
            .map(quote_identifier)
            .collect();
        if refused.is_empty() {
            return None;
        }
        let list = refused.join(", ");
        Some(Error::config(format!(
            "The user {user} may not read the columns {list} of {table}. Run GRANT SELECT ({list}) ON {table} TO {user}; or take them out of the connection."
        )))
    }

    /// The error for a stream that is to be read incrementally by CDC, and that the publication
    /// does not have.
    pub(crate) fn not_published(&self, publication: &str) -> Error {
        let (table, publication) = (self.quoted(), quote_identifier(publication));
        Error::config(format!(
            "{table} is not in the publication {publication}, so its changes are not captured. Run ALTER PUBLICATION {publication} ADD TABLE {table}; and re-sync the stream, or read it by full refresh."
        ))
    }
}
