//! Where a run begins to read the log, and whether that place can still be read.

use connector_kit::{Backoff, Error, Result, tracing};
use postgres_kit::{Connection, Lsn};

use super::position::Position;
use crate::config::{Cdc, InvalidPosition};
use crate::slots::{self, Slot};

/// Where a run begins.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) position: Position,
    /// Whether tables that were read before can go on from it.
    pub(crate) goes_on: bool,
}

/// The server, as far as a position has to do with it.
#[derive(Clone, Debug)]
struct Server {
    /// Made by `initdb`; standbys have that of their primary. Empty when we may not ask.
    system: String,
    /// The end of its log.
    end: Lsn,
}

/// Finds the place, after `position` of the state if there is one.
pub(crate) async fn start(
    connection: &mut Connection,
    cdc: &Cdc,
    database: &str,
    position: Option<Position>,
) -> Result<Start> {
    let slot = usable_slot(connection, cdc, database).await?;
    let confirmed = slot.confirmed_flush_lsn.or(slot.restart_lsn).unwrap_or_default();
    let server = server(connection).await?;
    if let Some(danger) = slot.danger() {
        tracing::warn!("{danger}");
    }
    let Some(position) = position else {
        let position = Position::new(database, &server.system, confirmed.0);
        return Ok(Start { position, goes_on: false });
    };
    let Some(error) = fault(&position, &slot, confirmed, &server) else {
        let position =
            if position.system().is_none() { position.on_system(&server.system) } else { position };
        return Ok(Start { position, goes_on: true });
    };
    if error.may_resync && cdc.invalid_cdc_cursor_position_behavior == InvalidPosition::Resync {
        tracing::warn!(
            "{} As invalid_cdc_cursor_position_behavior is \"Re-sync data\", every table is read anew. Rows that were deleted in the \
             meantime stay in the destination: refresh the streams there to be rid of them.",
            error.text
        );
        let position = Position::new(database, &server.system, confirmed.0);
        return Ok(Start { position, goes_on: false });
    }
    Err(Error::config(format!("{} {}", error.text, error.advice)))
}

/// The slot, once nobody else reads it.
async fn usable_slot(connection: &mut Connection, cdc: &Cdc, database: &str) -> Result<Slot> {
    let backoff = Backoff::default();
    let mut wait = backoff.first;
    for tried in 1.. {
        let slot = slots::slot(connection, &cdc.replication_slot).await?;
        let slot = slot.ok_or_else(|| slots::missing(&cdc.replication_slot, database))?;
        if let Some(problem) = slot.problem() {
            return Err(problem);
        }
        let Some(busy) = slot.in_use() else { return Ok(slot) };
        if tried >= backoff.tries {
            return Err(busy);
        }
        tracing::warn!("{busy} Looking again in {wait:?} (try {tried} of {}).", backoff.tries);
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(backoff.most);
    }
    Err(Error::system("The replication slot was never looked at; please report it."))
}

async fn server(connection: &mut Connection) -> Result<Server> {
    let end = end_of_log(connection).await?;
    // Some services keep this function from their users.
    let system = match connection.query("SELECT system_identifier FROM pg_catalog.pg_control_system()").await
    {
        Ok(rows) => rows.first().and_then(|r| r.get(0)).unwrap_or_default().to_owned(),
        Err(error) if postgres_kit::server_error(&error).is_some() => String::new(),
        Err(error) => return Err(error),
    };
    Ok(Server { system, end })
}

/// The end of what is safely in the log; of a standby, of what it has replayed.
pub(crate) async fn end_of_log(connection: &mut Connection) -> Result<Lsn> {
    let rows = connection
        .query(
            "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
             ELSE pg_catalog.pg_current_wal_flush_lsn() END",
        )
        .await?;
    let text = rows.first().and_then(|r| r.get(0)).unwrap_or_default();
    text.parse().map_err(|e| Error::system("The server did not say where its log ends.").with_source(e))
}

/// Why a position cannot be gone on from.
struct Fault {
    text: String,
    advice: String,
    may_resync: bool,
}

fn fault(position: &Position, slot: &Slot, confirmed: Lsn, server: &Server) -> Option<Fault> {
    let state = Lsn(position.lsn);
    if let Some(system) = position.system().filter(|s| !s.is_empty() && !server.system.is_empty())
        && system != server.system
    {
        return Some(Fault {
            text: format!(
                "The state belongs to another server (system identifier {system}) than the one that host and port lead to now ({}).",
                server.system
            ),
            advice: "Check host and port; if the database has moved here by a dump, clear the state and sync everything anew.".into(),
            may_resync: true,
        });
    }
    if state > server.end {
        return Some(Fault {
            text: format!(
                "The state ends at LSN {state}, but the server's log ends at {} already: it was restored from a backup, or a standby took \
                 over that had not received everything.",
                server.end
            ),
            advice: "What was read beyond that point is not in the database any more; clear the state and sync everything anew.".into(),
            may_resync: true,
        });
    }
    if confirmed > state {
        return Some(Fault {
            text: format!(
                "The replication slot {:?} has moved on to LSN {confirmed}, beyond the state's LSN {state}: the changes in between cannot be \
                 read any more. Something else has read the slot, it was made anew, or the state is an old one.",
                slot.name
            ),
            advice: "Clear the state and sync everything anew, or set invalid_cdc_cursor_position_behavior to \"Re-sync data\", which does so by \
                     itself. To keep it from happening give each connection a slot of its own, sync more often, and let the server keep more log \
                     (max_slot_wal_keep_size)."
                .into(),
            may_resync: true,
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Server, fault};
    use crate::changes::position::Position;
    use crate::slots::Slot;
    use postgres_kit::Lsn;

    fn slot() -> Slot {
        Slot {
            name: "s".into(),
            plugin: Some("pgoutput".into()),
            database: Some("d".into()),
            our_database: "d".into(),
            temporary: false,
            active_pid: None,
            reader: None,
            restart_lsn: Some(Lsn(50)),
            confirmed_flush_lsn: Some(Lsn(60)),
            wal_status: None,
            safe_wal_size: None,
            retained: None,
            invalidation_reason: None,
            two_phase: false,
            synced: false,
        }
    }

    #[test]
    fn a_position_between_the_slot_and_the_end_of_the_log_is_good_and_others_are_named() {
        let server = Server { system: "7".into(), end: Lsn(100) };
        let said = |system: &str, lsn: u64| {
            fault(&Position::new("d", system, lsn), &slot(), Lsn(60), &server).map(|f| f.text)
        };
        for lsn in [60, 80, 100] {
            assert!(said("7", lsn).is_none());
        }
        assert!(said("", 80).is_none(), "a server that does not say who it is");
        assert!(said("8", 80).unwrap().contains("system identifier 8"));
        let restored = said("7", 101).unwrap();
        assert!(restored.contains("0/65") && restored.contains("0/64"), "{restored}");
        let moved = said("7", 59).unwrap();
        assert!(moved.contains("0/3C") && moved.contains("0/3B"), "{moved}");
    }
}
