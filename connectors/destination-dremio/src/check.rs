//! The check: does once, under a name that nobody has, what a sync does all the time.

use connector_kit::{Error, Result, Stamp};

use crate::destination::Shared;
use crate::names::{Place, folder_sql};
use crate::session::{Session, explained};
use crate::staged::sample;
use crate::staging::Stage;
use crate::table::create_with;

/// Makes a table, puts a row into it, reads it, and drops it.
pub(crate) async fn check(shared: &Shared, folder: &[String]) -> Result<()> {
    let session = &shared.session;
    // The ids of rows are as unlikely to be anybody's as a name can be.
    let id = String::from_utf8_lossy(Stamp::new(None, None).next_id()).replace('-', "");
    let table = Place { folder: folder.to_vec(), name: format!("_ferry_check_{id}") };
    let shown = folder_sql(folder);
    let doing = format!("create a table in {shown}");
    create_with(session, &doing, &table, "\"id\" BIGINT, \"note\" VARCHAR").await?;
    let mut used = use_it(session, &table, &shown).await;
    if let (Ok(()), Some(stage)) = (&used, &shared.stage) {
        used = stage_it(session, &table, stage, &format!("{}.parquet", table.name)).await;
    }
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

/// Puts a file into the store, and has Dremio load it.
async fn stage_it(session: &Session, table: &Place, stage: &Stage, file: &str) -> Result<()> {
    stage.put(file, sample()?).await?;
    let doing = format!("copy a file from {} (`staging.location`)", stage.location());
    let copied = session.settle(&doing, &stage.copy_into(table, &[file.to_owned()])).await;
    let removed = stage.remove(&[file.to_owned()]).await;
    copied?;
    removed?;
    let select = format!("SELECT COUNT(*) FROM {} WHERE \"note\" = 'staged'", table.sql());
    match session.ask("select a row that was copied", &select).await?.number() {
        Some(1..) => Ok(()),
        _ => Err(Error::config(
            "A file was put into the bucket of `staging` and Dremio copied something else; check that `staging.location` leads to the same folder.",
        )),
    }
}
