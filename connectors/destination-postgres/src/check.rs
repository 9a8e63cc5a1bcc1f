//! `check`: whether a sync can work, and if not, the one thing to mend first, as a sentence with the statement to run. It does
//! once what every sync does, in a transaction that is rolled back.

use connector_kit::{Error, ErrorKind, Result};
use postgres_kit::{Connection, Endpoint, Purpose, quote_identifier, quote_literal};

use crate::config::Config;
use crate::names::clean;

/// Older servers lack catalog columns that we ask for.
const OLDEST: u32 = 120_000;

/// The whole check.
pub(crate) async fn check(endpoint: &Endpoint, config: &Config) -> Result<()> {
    let mut connection = endpoint.connect(Purpose::Ordinary).await?;
    version(connection.server_version())?;
    let who = who(&mut connection).await?;
    writable(&mut connection, &who).await?;
    may_make_temporary_tables(&who)?;
    for schema in [&config.schema, &config.raw_data_schema] {
        rehearse(&mut connection, &clean(schema), &who).await?;
    }
    Ok(())
}

fn version(version: u32) -> Result<()> {
    if version >= OLDEST {
        return Ok(());
    }
    Err(Error::config(format!(
        "The server is PostgreSQL {}; destination-postgres needs {} or later. Upgrade the server.",
        version / 10_000,
        OLDEST / 10_000
    )))
}

/// Who we are there, and what we may do with the database.
struct Who {
    /// For SQL.
    user: String,
    database: String,
    temporary: bool,
}

async fn who(connection: &mut Connection) -> Result<Who> {
    let sql = "SELECT quote_ident(current_user), quote_ident(current_database()),
        has_database_privilege(current_database(), 'TEMPORARY')";
    let rows = connection.query(sql).await?;
    let Some(row) = rows.first() else {
        return Err(Error::system("The server does not say who we are; check that it is PostgreSQL."));
    };
    Ok(Who { user: row.text(0)?.to_owned(), database: row.text(1)?.to_owned(), temporary: row.flag(2)? })
}

async fn writable(connection: &mut Connection, who: &Who) -> Result<()> {
    let sql = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'";
    let rows = connection.query(sql).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    if row.flag(0)? {
        return Err(Error::config(
            "The server is a standby, which takes no writes. Set `host` and `port` to those of the primary server.",
        ));
    }
    if row.flag(1)? {
        let user = &who.user;
        return Err(Error::config(format!(
            "The user {user} may only read: default_transaction_read_only is on. Run ALTER ROLE {user} SET default_transaction_read_only = off; or, where it is set for the whole database or server, set it off there."
        )));
    }
    Ok(())
}

fn may_make_temporary_tables(who: &Who) -> Result<()> {
    if who.temporary {
        return Ok(());
    }
    let Who { user, database, .. } = who;
    Err(Error::config(format!(
        "The user {user} may not make temporary tables, in which rows are deduplicated. Run GRANT TEMPORARY ON DATABASE {database} TO {user};"
    )))
}

/// Makes a table in the schema, and the schema if it is missing; nothing of it stays.
async fn rehearse(connection: &mut Connection, schema: &str, who: &Who) -> Result<()> {
    let Who { user, database, .. } = who;
    let name = quote_identifier(schema);
    let sql = format!(
        "SELECT has_schema_privilege(oid, 'USAGE'), has_schema_privilege(oid, 'CREATE')
         FROM pg_catalog.pg_namespace WHERE nspname = {}",
        quote_literal(schema)
    );
    let rows = connection.query(&sql).await?;
    let there = rows.first();
    if let Some(row) = there {
        let mut lacks = Vec::new();
        for (i, privilege) in ["USAGE", "CREATE"].into_iter().enumerate() {
            if !row.flag(i)? {
                lacks.push(privilege);
            }
        }
        if !lacks.is_empty() {
            return Err(Error::config(format!(
                "The user {user} may not make tables in the schema {name}. Run GRANT {} ON SCHEMA {name} TO {user};",
                lacks.join(", ")
            )));
        }
    } else {
        let sql = "SELECT has_database_privilege(current_database(), 'CREATE')";
        let may = connection.query(sql).await?;
        if !may.first().map(|row| row.flag(0)).transpose()?.unwrap_or(false) {
            return Err(Error::config(format!(
                "There is no schema {name}, and the user {user} may not make it. Run GRANT CREATE ON DATABASE {database} TO {user};"
            )));
        }
    }
    let make_schema = if there.is_some() { String::new() } else { format!("CREATE SCHEMA {name};") };
    let table =
        format!("{name}.{}", quote_identifier(&format!("_ferrybyte_check_{}", connection.backend_pid())));
    let rehearsal = format!(
        "BEGIN; {make_schema} CREATE TABLE {table} (n bigint, j jsonb); INSERT INTO {table} VALUES (1, '{{}}');
         CREATE INDEX ON {table} (n); ALTER TABLE {table} ADD COLUMN t timestamptz; DROP TABLE {table}"
    );
    let done = connection.execute(&rehearsal).await;
    let undone = connection.execute("ROLLBACK").await;
    match done {
        // The server refuses something to this user that no privilege of ours tells of.
        Err(error) if error.kind() == ErrorKind::System => Err(Error::config(format!(
            "A table cannot be made in the schema {name}; see the cause, and let the server's administrator mend it."
        ))
        .with_source(error)),
        Err(error) => Err(error),
        Ok(()) => undone,
    }
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn a_server_that_is_too_old_is_told_with_both_versions() {
        let error = version(110_022).unwrap_err();
        assert!(error.message().contains("PostgreSQL 11; destination-postgres needs 12 or later"), "{error}");
        version(120_000).unwrap();
    }
}
