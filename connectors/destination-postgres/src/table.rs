//! Tables in the database: whether they are there and what hangs on them, how they are made and changed, and how a loaded one
//! takes the place of another. What is done when is decided in `plan.rs`.

mod attached;
mod evolve;
mod find;
mod grants;
mod indexes;
mod layout;
mod publish;

use std::time::Duration;

use connector_kit::{Error, Result, tracing};
use postgres_kit::{quote_identifier, quote_literal, server_error};

use crate::lane::Lane;
use crate::names::TableName;

pub(crate) use attached::{Attached, attached, refuse_to_reach_out, users_of_columns};
pub(crate) use evolve::{Evolution, evolve};
pub(crate) use find::{Found, Kind, find};
pub(crate) use grants::take_over;
pub(crate) use indexes::{Index, indexes, is_unique, make_indexes, our_names, try_unique};
pub(crate) use layout::Layout;
pub(crate) use publish::{add_to, replace};

/// A holder of a lock that was killed is gone in a moment; another sync is not.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Which generation a table's rows are of. One row stands for all: no table has rows both below and from a minimum on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowsOf {
    Nothing,
    Generation(i64),
}

pub(crate) async fn rows_of(lane: &mut Lane, table: &TableName) -> Result<RowsOf> {
    let sql = format!("SELECT coalesce(\"_airbyte_generation_id\", 0) FROM {table} LIMIT 1");
    match lane.query(&sql).await?.first() {
        Some(row) => Ok(RowsOf::Generation(row.int(0)?)),
        None => Ok(RowsOf::Nothing),
    }
}

/// Makes the schema unless it is there.
pub(crate) async fn make_schema(lane: &mut Lane, schema: &str) -> Result<()> {
    // IF NOT EXISTS asks for the privilege to create before it looks.
    let sql = format!("SELECT FROM pg_catalog.pg_namespace WHERE nspname = {}", quote_literal(schema));
    if !lane.query(&sql).await?.is_empty() {
        return Ok(());
    }
    let name = quote_identifier(schema);
    match lane.execute(&format!("CREATE SCHEMA IF NOT EXISTS {name}")).await {
        Err(error) if is_denied(&error) => {
            let row = lane.query("SELECT quote_ident(current_database()), quote_ident(current_user)").await?;
            let (database, user) = match row.first() {
                Some(row) => (row.text(0)?.to_owned(), row.text(1)?.to_owned()),
                None => return Err(error),
            };
            Err(Error::config(format!(
                "The schema {name} is not there, and the user {user} may not make it. Run GRANT CREATE ON DATABASE {database} TO {user}; or make the schema and run GRANT USAGE, CREATE ON SCHEMA {name} TO {user};"
            ))
            .with_source(error))
        }
        // Somebody else was faster.
        Err(error) if code(&error) == "23505" || code(&error) == "42P06" => Ok(()),
        other => other,
    }
}

/// Makes a table.
pub(crate) async fn create(lane: &mut Lane, table: &TableName, sql: &str) -> Result<()> {
    match lane.execute(sql).await {
        Err(error) if is_denied(&error) => {
            let user = current_user(lane).await?;
            let schema = quote_identifier(&table.schema);
            Err(Error::config(format!(
                "The user {user} may not make tables in the schema {schema}. Run GRANT USAGE, CREATE ON SCHEMA {schema} TO {user};"
            ))
            .with_source(error))
        }
        Err(error) if code(&error) == "54011" => Err(Error::config(format!(
            "The table {table} would have more columns than the 1,600 that PostgreSQL allows; select fewer fields of the stream."
        ))
        .with_source(error)),
        other => other,
    }
}

/// Takes the table for this session: nobody else of us writes it meanwhile.
pub(crate) async fn lock(lane: &mut Lane, table: &TableName) -> Result<()> {
    let Some(holder) = lane.lock(&format!("table {table}"), LOCK_WAIT).await? else { return Ok(()) };
    let sql = format!("SELECT application_name FROM pg_catalog.pg_stat_activity WHERE pid = {holder}");
    let rows = lane.query(&sql).await?;
    let application = rows.first().and_then(|row| row.get(0)).filter(|name| !name.is_empty());
    let application = application.map(|name| format!(", application {name:?}")).unwrap_or_default();
    Err(Error::transient(format!(
        "Another sync is writing the table {table} (PID {holder} on the server{application}). Wait until it has ended, or give one of the two another schema or prefix."
    )))
}

/// Drops a table of ours that nobody else uses.
pub(crate) async fn drop_leftover(lane: &mut Lane, table: &TableName) -> Result<()> {
    if find(lane, table).await?.is_some() {
        tracing::info!("Dropping {table}, which an earlier attempt left behind.");
        lane.execute_patiently(&format!("DROP TABLE IF EXISTS {table}")).await?;
    }
    Ok(())
}

pub(crate) async fn current_user(lane: &mut Lane) -> Result<String> {
    let rows = lane.query("SELECT quote_ident(current_user)").await?;
    match rows.first() {
        Some(row) => Ok(row.text(0)?.to_owned()),
        None => Err(Error::system("The server does not say who we are; check that it is PostgreSQL.")),
    }
}

/// The SQLSTATE of the server's error behind this one; empty when there is none.
pub(crate) fn code(error: &Error) -> &str {
    server_error(error).map_or("", |e| e.code.as_str())
}

pub(crate) fn is_denied(error: &Error) -> bool {
    code(error) == "42501"
}

/// The first few of these, and how many more there are.
pub(crate) fn list(names: &[String]) -> String {
    const NAMED: usize = 5;
    let mut named: Vec<String> = names.iter().take(NAMED).cloned().collect();
    if names.len() > NAMED {
        named.push(format!("{} more", names.len() - NAMED));
    }
    match named.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}
