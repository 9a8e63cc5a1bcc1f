//! The check: does once, under a name that nobody has, what a sync does all the time.

use connector_kit::{Error, Result, Stamp};

use crate::names::{Place, folder_sql};
use crate::session::{Session, explained};

/// Makes a table, puts a row into it, reads it, and drops it.
pub(crate) async fn check(session: &Session, folder: &[String]) -> Result<()> {
    // The ids of rows are as unlikely to be anybody's as a name can be.
    let id = String::from_utf8_lossy(Stamp::new(None, None).next_id()).replace('-', "");
    let table = Place { folder: folder.to_vec(), name: format!("_ferry_check_{id}") };
    let shown = folder_sql(folder);
    let create = format!("CREATE TABLE IF NOT EXISTS {} (\"id\" BIGINT, \"note\" VARCHAR)", table.sql());
    session.settle(&format!("create a table in {shown}"), &create).await?;
    let used = use_it(session, &table, &shown).await;
    let drop = session.attempt("drop a table", &format!("DROP TABLE IF EXISTS {}", table.sql())).await;
    used?;
    drop.map_err(|error| explained(&format!("drop a table in {shown}, so {table} is left behind"), error))
}

async fn use_it(session: &Session, table: &Place, shown: &str) -> Result<()> {
    let insert = format!(
        "INSERT INTO {} (\"id\", \"note\") VALUES (CAST(1 AS BIGINT), CAST('check' AS VARCHAR))",
        table.sql()
    );
    session.settle(&format!("insert rows into a table in {shown}"), &insert).await?;
    let select = format!("SELECT COUNT(*) FROM {} WHERE \"id\" = 1", table.sql());
    let count = session.ask(&format!("select rows of a table in {shown}"), &select).await?.number();
    match count {
        // Done twice, if an answer was lost.
        Some(1..) => Ok(()),
        _ => Err(Error::transient(format!(
            "A row was put into a table in {shown} and is not there; Dremio does not show what it took. Try again."
        ))),
    }
}
