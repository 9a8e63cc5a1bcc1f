//! `check`: whether a sync can work, and if not, the one thing to mend first, as a sentence
//! with the statement to run. What works but will surprise is a warning in the log.

mod changes;

use connector_kit::{Error, Result, tracing};
use postgres_kit::{Connection, Endpoint, Purpose, quote_identifier};

use crate::config::Config;
use crate::tables::{self, Table};

/// Older servers lack catalog columns that we ask for.
const OLDEST: u32 = 120_000;
/// A warning that lists more than this is not read.
const NAMED: usize = 5;

/// The whole check.
pub(crate) async fn check(endpoint: &Endpoint, config: &Config) -> Result<()> {
    let mut connection = endpoint.connect(Purpose::Ordinary).await?;
    version(connection.server_version(), OLDEST, "source-postgres needs")?;
    let publication = config.cdc().map(|cdc| cdc.publication.as_str());
    let schemas = config.schemas();
    schemas_exist(&mut connection, &schemas).await?;
    if let Some(cdc) = config.cdc() {
        changes::server(&mut connection, endpoint, cdc).await?;
    }
    let tables = tables::tables(&mut connection, &schemas, publication).await?;
    if config.check_privileges {
        privileges(&tables, &schemas, config)?;
    }
    row_security(&tables, config);
    if let Some(cdc) = config.cdc() {
        changes::tables(&mut connection, cdc, &tables).await?;
    }
    Ok(())
}

fn version(version: u32, oldest: u32, who: &str) -> Result<()> {
    if version >= oldest {
        return Ok(());
    }
    Err(Error::config(format!(
        "The server is PostgreSQL {}; {who} {} or later. Upgrade the server.",
        version / 10_000,
        oldest / 10_000
    )))
}

async fn schemas_exist(connection: &mut Connection, schemas: &[String]) -> Result<()> {
    let there: Vec<String> = connection
        .query("SELECT nspname FROM pg_catalog.pg_namespace")
        .await?
        .iter()
        .map(|row| row.text(0).map(str::to_owned))
        .collect::<Result<_>>()?;
    let missing: Vec<&String> = schemas.iter().filter(|name| !there.contains(name)).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    // The likeliest mistake: what was written without quotes was created in lower case.
    let close = there.iter().find(|name| name.eq_ignore_ascii_case(first));
    let hint = close.map_or_else(
        || "Check `schemas`, upper and lower case included, and `database`.".to_owned(),
        |name| format!("Did you mean {name:?}? Correct `schemas`."),
    );
    Err(Error::config(format!(
        "There is no schema {}. {hint}",
        names(missing.iter().map(|n| format!("{n:?}")))
    )))
}

/// At least one table of each schema has to be readable; others are named in a warning.
fn privileges(tables: &[Table], schemas: &[String], config: &Config) -> Result<()> {
    let user = quote_identifier(&config.username);
    let mut all: Vec<&str> = tables.iter().map(|t| t.schema.as_str()).collect();
    all.dedup();
    for schema in &all {
        let inside: Vec<&Table> = tables.iter().filter(|t| t.schema == *schema).collect();
        // With no schema named, those that are not the user's are no mistake.
        if schemas.is_empty() || inside.iter().any(|t| t.selectable) {
            continue;
        }
        let quoted = quote_identifier(schema);
        if !inside[0].schema_usable {
            return Err(Error::config(format!(
                "The user {user} may not use the schema {quoted}. Run GRANT USAGE ON SCHEMA {quoted} TO {user}; and, for its tables, GRANT SELECT ON ALL TABLES IN SCHEMA {quoted} TO {user};"
            )));
        }
        return Err(Error::config(format!(
            "The user {user} lacks the privilege to SELECT from any of the tables in schema {quoted}: {}. Run GRANT SELECT ON {} TO {user}; or, for all of them, GRANT SELECT ON ALL TABLES IN SCHEMA {quoted} TO {user};",
            names(inside.iter().map(|t| t.quoted())),
            inside[0].quoted()
        )));
    }
    if tables.iter().all(|t| !t.selectable) {
        return Err(nothing(schemas, &user));
    }
    let refused: Vec<&Table> = tables.iter().filter(|t| !t.selectable).collect();
    if let (Some(first), false) = (refused.first(), schemas.is_empty()) {
        tracing::warn!(
            "The user {user} may not read {}; they are left out of the catalog. Run GRANT SELECT ON {} TO {user}; for each that is wanted.",
            names(refused.iter().map(|t| t.quoted())),
            first.quoted()
        );
    }
    let partly: Vec<String> = tables
        .iter()
        .filter(|t| t.selectable && t.columns.iter().any(|c| !c.selectable))
        .map(Table::quoted)
        .collect();
    if !partly.is_empty() {
        tracing::warn!(
            "The user {user} may read only some columns of {}; the others are left out of the catalog.",
            names(partly.into_iter())
        );
    }
    Ok(())
}

fn nothing(schemas: &[String], user: &str) -> Error {
    match schemas {
        [] => Error::config(format!(
            "The user {user} may read no table of this database. For each schema that is wanted, run GRANT USAGE ON SCHEMA NAME TO {user}; GRANT SELECT ON ALL TABLES IN SCHEMA NAME TO {user};"
        )),
        some => Error::config(format!(
            "There is no table in {}; check `schemas` and `database`.",
            names(some.iter().map(|name| format!("schema {name:?}")))
        )),
    }
}

fn row_security(tables: &[Table], config: &Config) {
    let hidden: Vec<String> =
        tables.iter().filter(|t| t.selectable && t.row_security).map(Table::quoted).collect();
    if !hidden.is_empty() {
        tracing::warn!(
            "Row-level security applies to {}: rows that the policies hide from {:?} are not read. To read all, let a superuser run ALTER ROLE {} BYPASSRLS;",
            names(hidden.into_iter()),
            config.username,
            quote_identifier(&config.username)
        );
    }
}

/// The first few of these, and how many more there are.
fn names(all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(NAMED);
    let mut named: Vec<String> = all.take(NAMED).collect();
    if more > 0 {
        named.push(format!("{more} more"));
    }
    match named.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{OLDEST, names, version};

    #[test]
    fn a_server_that_is_too_old_is_told_with_both_versions() {
        let error = version(110_022, OLDEST, "source-postgres needs").unwrap_err();
        assert!(error.message().contains("PostgreSQL 11; source-postgres needs 12 or later"), "{error}");
        version(120_000, OLDEST, "").unwrap();
    }

    #[test]
    fn lists_read_like_sentences() {
        let list = |n: usize| names((0..n).map(|i| i.to_string()));
        assert_eq!([list(0), list(1), list(2), list(3)], ["", "0", "0 and 1", "0, 1 and 2"]);
        assert_eq!(list(7), "0, 1, 2, 3, 4 and 2 more");
    }
}
