//! Makes a table that was built aside the one that readers see.
//!
//! Where views can be made, what readers see is a view of one of two tables that take turns: replacing the view is one step,
//! and the old rows are there until then. In a source that has no views, or over a table that is there already, the new rows
//! are first added to the table and the old ones are deleted then: two commits, between which readers see both.
//! There is no third way: Dremio cannot rename a table, and has no transactions.

use connector_kit::{Error, Result, tracing};
use flight_kit::Fault;

use crate::insert::{Arrival, Range};
use crate::names::{Place, StreamNames};
use crate::session::{Session, explained};
use crate::table::{Layout, Standing, can_hold, create, create_anew, drop_table, evolve, look};

/// Publishes the table of a turn, with all rows of this run in it.
pub(crate) async fn publish(
    session: &Session,
    names: &StreamNames,
    layout: &Layout,
    turn: usize,
    sent: Option<&Range>,
) -> Result<()> {
    let built = &names.turns[turn];
    check_count(session, built, sent).await?;
    // Somebody may have changed it meanwhile.
    let standing = look(session, names).await?;
    if standing != Standing::Table {
        match show(session, &names.public, built).await {
            Ok(()) => {
                if let Standing::ViewOf(old) = standing
                    && old != turn
                {
                    forget(session, &names.turns[old]).await;
                }
                return Ok(());
            }
            Err(error) => {
                let is_refused = matches!(
                    error.fault(),
                    Fault::Refused | Fault::Unsupported | Fault::Failed | Fault::Denied | Fault::Missing
                );
                if !is_refused || standing != Standing::Nothing {
                    return Err(explained(&format!("replace the view {}", names.public), error));
                }
                tracing::info!(
                    "No view can be made in {}, so the table itself is filled.",
                    names.public.folder.join(".")
                );
            }
        }
    }
    fill(session, names, layout, built, sent, &standing).await?;
    forget(session, built).await;
    Ok(())
}

/// Lets a view show a table, in one step.
pub(crate) async fn show(session: &Session, view: &Place, table: &Place) -> Result<(), flight_kit::Error> {
    let sql = format!("CREATE OR REPLACE VIEW {} AS SELECT * FROM {}", view.sql(), table.sql());
    session.attempt(&format!("replace the view {view}"), &sql).await
}

/// What is counted once more before it replaces anything: no row is missing, and none is there twice.
async fn check_count(session: &Session, built: &Place, sent: Option<&Range>) -> Result<()> {
    let expected = sent.map_or(0, |range| range.rows);
    let sql = format!("SELECT COUNT(*) FROM {}", built.sql());
    let found = session.ask(&format!("count the rows of the table {built}"), &sql).await?.number();
    if found.and_then(|n| u64::try_from(n).ok()) == Some(expected) {
        return Ok(());
    }
    Err(Error::transient(format!(
        "The table {built} has {} rows where {expected} were written, so it replaces nothing. Start the sync again.",
        found.unwrap_or_default()
    )))
}

async fn fill(
    session: &Session,
    names: &StreamNames,
    layout: &Layout,
    built: &Place,
    sent: Option<&Range>,
    standing: &Standing,
) -> Result<()> {
    let table = &names.public;
    if *standing == Standing::Nothing {
        create(session, table, layout).await?;
    } else if can_hold(session, table, layout).await? {
        evolve(session, table, layout).await?;
    } else {
        tracing::warn!(
            "The type of a column has changed, so the table {table} is made anew; for a moment it is empty."
        );
        create_anew(session, table, layout).await?;
    }
    if let Some(range) = sent {
        let doing = format!("fill the table {table}");
        let columns = layout.list();
        let sql = format!(
            "INSERT INTO {} ({columns}) SELECT {columns} FROM {} WHERE {}",
            table.sql(),
            built.sql(),
            range.inside()
        );
        session
            .once(&doing, (&sql).into(), &Arrival { table, range, verb: "INSERT INTO" })
            .await
            .map_err(|e| e.explained(&doing))?;
    }
    let old = sent.map_or(String::new(), |range| format!(" WHERE {}", range.outside()));
    session
        .settle(
            &format!("delete the old rows of the table {table}"),
            &format!("DELETE FROM {}{old}", table.sql()),
        )
        .await
}

/// Drops what nobody reads any more. The next run would do it, too.
async fn forget(session: &Session, table: &Place) {
    if let Err(error) = drop_table(session, table).await {
        tracing::warn!("The table {table} is of no more use and could not be dropped: {error}");
    }
}
