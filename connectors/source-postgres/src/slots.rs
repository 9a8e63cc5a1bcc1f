//! Replication slots: what the server says about ours, and what is wrong with it.

use connector_kit::{Error, Result};
use postgres_kit::{Connection, Lsn, quote_literal};

/// The plugin that the slot has to have.
pub(crate) const PLUGIN: &str = "pgoutput";

/// A replication slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) name: String,
    /// None: a physical one.
    pub(crate) plugin: Option<String>,
    /// None: a physical one.
    pub(crate) database: Option<String>,
    /// The database that we are connected to.
    pub(crate) our_database: String,
    pub(crate) temporary: bool,
    /// The server process that reads it now.
    pub(crate) active_pid: Option<i32>,
    /// Who that is, as far as the user may know: application and address.
    pub(crate) reader: Option<String>,
    pub(crate) restart_lsn: Option<Lsn>,
    pub(crate) confirmed_flush_lsn: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub(crate) wal_status: Option<String>,
    /// Bytes that may still be written before it is in danger; none when nothing limits them.
    pub(crate) safe_wal_size: Option<i64>,
    /// Bytes of log that the server keeps for it.
    pub(crate) retained: Option<i64>,
    /// Why it was invalidated, by servers of 16 and later.
    pub(crate) invalidation_reason: Option<String>,
    pub(crate) two_phase: bool,
    /// A standby's copy of a slot on its primary, which nobody can read until it is promoted.
    pub(crate) synced: bool,
}

/// The slot of that name, if there is one.
pub(crate) async fn slot(connection: &mut Connection, name: &str) -> Result<Option<Slot>> {
    let since = |version: u32, column: &'static str, before: &'static str| {
        if connection.server_version() >= version { column } else { before }
    };
    let sql = format!(
        "SELECT s.plugin, s.database, pg_catalog.current_database(), s.temporary, s.active_pid, \
           NULLIF(pg_catalog.concat_ws(' from ', NULLIF(a.application_name, ''), pg_catalog.host(a.client_addr)), ''), \
           s.restart_lsn, s.confirmed_flush_lsn, {wal_status}, {safe_wal_size}, \
           pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() \
             THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END, s.restart_lsn), \
           {reason}, {two_phase}, {synced} \
         FROM pg_catalog.pg_replication_slots s \
           LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid \
         WHERE s.slot_name::text = {name}",
        wal_status = since(130_000, "s.wal_status", "NULL"),
        safe_wal_size = since(130_000, "s.safe_wal_size", "NULL"),
        reason = since(
            170_000,
            "s.invalidation_reason",
            since(160_000, "CASE WHEN s.conflicting THEN 'conflict with recovery' END", "NULL"),
        ),
        two_phase = since(140_000, "s.two_phase", "false"),
        synced = since(170_000, "s.synced", "false"),
        name = quote_literal(name),
    );
    let rows = connection.query(&sql).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let text = |column: usize| row.get(column).map(str::to_owned);
    let lsn = |column: usize| -> Result<Option<Lsn>> {
        let parsed = row.get(column).map(str::parse::<Lsn>).transpose();
        parsed.map_err(|e| {
            Error::system(
                "The server names a log position in a form that is not PostgreSQL's; please report it.",
            )
            .with_source(e)
        })
    };
    let number = |column: usize| row.get(column).map(|_| row.int(column)).transpose();
    Ok(Some(Slot {
        name: name.to_owned(),
        plugin: text(0),
        database: text(1),
        our_database: row.text(2)?.to_owned(),
        temporary: row.flag(3)?,
        active_pid: number(4)?.and_then(|pid| i32::try_from(pid).ok()),
        reader: text(5),
        restart_lsn: lsn(6)?,
        confirmed_flush_lsn: lsn(7)?,
        wal_status: text(8),
        safe_wal_size: number(9)?,
        retained: number(10)?,
        invalidation_reason: text(11),
        two_phase: row.flag(12)?,
        synced: row.flag(13)?,
    }))
}

/// The error for a slot that does not exist.
pub(crate) fn missing(name: &str, database: &str) -> Error {
    Error::config(format!(
        "There is no replication slot {name:?}. Create it, connected to the database {database:?}, with {}; a new slot knows nothing of changes made before, so after the first sync re-sync the data as well.",
        create(name)
    ))
}

/// The statement that makes such a slot.
fn create(name: &str) -> String {
    format!("SELECT pg_create_logical_replication_slot({}, '{PLUGIN}');", quote_literal(name))
}

/// The statements that make it anew.
fn replace(name: &str) -> String {
    format!("SELECT pg_drop_replication_slot({}); {}", quote_literal(name), create(name))
}

impl Slot {
    /// Whether the changes since its position are gone for good.
    pub(crate) fn is_lost(&self) -> bool {
        self.wal_status.as_deref() == Some("lost")
            || self.invalidation_reason.is_some()
            || self.restart_lsn.is_none()
    }

    /// Why it cannot be read, whoever reads it now; `None` when it can.
    pub(crate) fn problem(&self) -> Option<Error> {
        let name = &self.name;
        let Some(plugin) = &self.plugin else {
            return Some(Error::config(format!(
                "The replication slot {name:?} is a physical one, which standby servers use. Name another under replication_slot, made with {}.",
                create("NAME_OF_A_NEW_SLOT")
            )));
        };
        if plugin != PLUGIN {
            return Some(Error::config(format!(
                "The replication slot {name:?} was made with the plugin {plugin}, not {PLUGIN}. If nothing else uses it, make it anew with {}; otherwise create one of another name.",
                replace(name)
            )));
        }
        if self.database.as_deref() != Some(self.our_database.as_str()) {
            return Some(Error::config(format!(
                "The replication slot {name:?} belongs to the database {:?}, not to {:?}. Names of slots are unique on a server: create one of another name, connected to {:?}, with {}.",
                self.database.as_deref().unwrap_or(""),
                self.our_database,
                self.our_database,
                create("NAME_OF_A_NEW_SLOT")
            )));
        }
        if self.synced {
            return Some(Error::config(format!(
                "The replication slot {name:?} is this standby's copy of a slot on its primary and cannot be read before the standby is promoted; connect to the primary, or name a slot made on the standby itself."
            )));
        }
        if self.is_lost() {
            return Some(self.lost());
        }
        None
    }

    /// Why it cannot be read now: somebody else does.
    pub(crate) fn in_use(&self) -> Option<Error> {
        let pid = self.active_pid?;
        let reader = self.reader.as_deref().unwrap_or("an application that this user may not see");
        Some(Error::transient(format!(
            "The replication slot {:?} is being read by process {pid} ({reader}). Only one can read it at a time: wait until that sync is done, give every connection a slot of its own, or, if nobody needs that reader, end it with SELECT pg_terminate_backend({pid});",
            self.name
        )))
    }

    fn lost(&self) -> Error {
        let name = &self.name;
        let status = self.wal_status.as_deref().unwrap_or("unknown");
        let reason = self.invalidation_reason.as_deref();
        let why = match reason {
            Some("idle_timeout") => "nobody read it for longer than idle_replication_slot_timeout allows; raise that setting above the time between syncs".to_owned(),
            Some("wal_level_insufficient") => "wal_level was below logical on the primary; set it to logical again".to_owned(),
            Some("rows_removed" | "conflict with recovery") => "the primary removed rows that it needs; set hot_standby_feedback = on at the standby and use a physical slot between the two".to_owned(),
            Some("wal_removed") | None => "the server was not allowed to keep the log that it needs; raise max_slot_wal_keep_size (-1 keeps everything), or sync more often".to_owned(),
            Some(other) => format!("the server gives the reason {other}"),
        };
        Error::config(format!(
            "The replication slot {name:?} is lost (wal_status {status}{}): {why}. Then make the slot anew with {} and re-sync the data, because the changes in between are gone.",
            reason.map(|r| format!(", invalidation_reason {r}")).unwrap_or_default(),
            replace(name)
        ))
    }

    /// What may go wrong before long; `None` when nothing is in sight.
    pub(crate) fn danger(&self) -> Option<String> {
        let retained = self.retained.unwrap_or(0) >> 20;
        match (self.wal_status.as_deref(), self.safe_wal_size) {
            (Some("unreserved"), _) => Some(format!(
                "The replication slot {:?} holds back more log ({retained} MiB) than max_slot_wal_keep_size allows and will be lost at the next checkpoint, unless a sync moves it on before; sync now, and raise max_slot_wal_keep_size.",
                self.name
            )),
            (Some("extended"), Some(left)) => Some(format!(
                "The replication slot {:?} holds back {retained} MiB of log; after another {} MiB it will be lost. Sync more often, or raise max_slot_wal_keep_size.",
                self.name,
                left.max(0) >> 20
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Slot;
    use connector_kit::ErrorKind;
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
            restart_lsn: Some(Lsn(1)),
            confirmed_flush_lsn: Some(Lsn(1)),
            wal_status: Some("reserved".into()),
            safe_wal_size: None,
            retained: Some(5 << 20),
            invalidation_reason: None,
            two_phase: false,
            synced: false,
        }
    }

    #[test]
    fn a_healthy_slot_has_no_problem() {
        let slot = slot();
        assert!(slot.problem().is_none() && slot.in_use().is_none() && slot.danger().is_none());
    }

    #[test]
    fn each_problem_has_its_own_sentence_and_statement() {
        let lost = |reason: Option<&str>| Slot {
            wal_status: Some("lost".into()),
            invalidation_reason: reason.map(String::from),
            ..slot()
        };
        let cases = [
            (Slot { plugin: None, ..slot() }, "physical"),
            (Slot { plugin: Some("wal2json".into()), ..slot() }, "pg_drop_replication_slot('s')"),
            (Slot { database: Some("other".into()), ..slot() }, "\"other\""),
            (Slot { synced: true, ..slot() }, "promoted"),
            (lost(None), "max_slot_wal_keep_size"),
            (lost(Some("wal_removed")), "invalidation_reason wal_removed"),
            (lost(Some("idle_timeout")), "idle_replication_slot_timeout"),
            (lost(Some("rows_removed")), "hot_standby_feedback"),
            (lost(Some("wal_level_insufficient")), "wal_level"),
            (lost(Some("new_reason")), "new_reason"),
            (Slot { restart_lsn: None, ..slot() }, "lost"),
        ];
        let mut said: Vec<String> = Vec::new();
        for (slot, names) in cases {
            let error = slot.problem().unwrap();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains(names), "{error}");
            assert!(!said.contains(&error.to_string()), "said twice: {error}");
            said.push(error.to_string());
        }
    }

    #[test]
    fn a_reader_is_named_and_waiting_for_it_may_help() {
        let slot = Slot { active_pid: Some(42), reader: Some("debezium from 10.0.0.7".into()), ..slot() };
        let error = slot.in_use().unwrap();
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert!(error.message().contains("process 42 (debezium from 10.0.0.7)"), "{error}");
        assert!(slot.problem().is_none());
    }

    #[test]
    fn a_slot_that_may_be_lost_soon_says_so() {
        let unreserved = Slot { wal_status: Some("unreserved".into()), ..slot() };
        assert!(unreserved.danger().unwrap().contains("next checkpoint"));
        let extended = Slot { wal_status: Some("extended".into()), safe_wal_size: Some(7 << 20), ..slot() };
        assert!(extended.danger().unwrap().contains("another 7 MiB"));
    }
}
