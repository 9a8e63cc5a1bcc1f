//! The tables, and how an older database becomes a newer one.

use rusqlite::Connection;

/// One step per version; a step, once released, never changes.
const STEPS: &[&str] = &[
    "
CREATE TABLE connections (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, connection_id INTEGER NOT NULL REFERENCES connections (id),
    kind TEXT NOT NULL, status TEXT NOT NULL, source TEXT NOT NULL, destination TEXT NOT NULL,
    catalog TEXT, log_path TEXT, failure TEXT,
    created_at INTEGER NOT NULL, ended_at INTEGER
) STRICT;
CREATE INDEX jobs_by_connection ON jobs (connection_id, id);
CREATE TABLE attempts (
    job_id INTEGER NOT NULL REFERENCES jobs (id), number INTEGER NOT NULL,
    status TEXT NOT NULL, failures TEXT, started_at INTEGER NOT NULL, ended_at INTEGER,
    PRIMARY KEY (job_id, number)
) STRICT;
CREATE TABLE stream_stats (
    job_id INTEGER NOT NULL, attempt INTEGER NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    status TEXT NOT NULL, records_read INTEGER NOT NULL, bytes_read INTEGER NOT NULL,
    records_committed INTEGER NOT NULL, bytes_committed INTEGER NOT NULL, records_rejected INTEGER NOT NULL,
    checkpoints INTEGER NOT NULL, proof TEXT, digest TEXT,
    estimated_records INTEGER, estimated_bytes INTEGER, generation_id INTEGER, failure TEXT,
    PRIMARY KEY (job_id, attempt, namespace, name),
    FOREIGN KEY (job_id, attempt) REFERENCES attempts (job_id, number)
) STRICT;
CREATE TABLE retry_states (
    job_id INTEGER PRIMARY KEY REFERENCES jobs (id),
    complete_successive INTEGER NOT NULL, complete_total INTEGER NOT NULL,
    partial_successive INTEGER NOT NULL, partial_total INTEGER NOT NULL
) STRICT;
CREATE TABLE states (
    connection_id INTEGER NOT NULL REFERENCES connections (id), kind TEXT NOT NULL,
    namespace TEXT NOT NULL, name TEXT NOT NULL, state TEXT, source TEXT NOT NULL,
    job_id INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    PRIMARY KEY (connection_id, kind, namespace, name)
) STRICT;
CREATE TABLE generations (
    connection_id INTEGER NOT NULL REFERENCES connections (id),
    namespace TEXT NOT NULL, name TEXT NOT NULL,
    generation_id INTEGER NOT NULL, minimum_generation_id INTEGER NOT NULL,
    PRIMARY KEY (connection_id, namespace, name)
) STRICT;
CREATE TABLE events (
    id INTEGER PRIMARY KEY, connection_id INTEGER NOT NULL, job_id INTEGER,
    at INTEGER NOT NULL, kind TEXT NOT NULL, detail TEXT NOT NULL
) STRICT;
",
    "
ALTER TABLE connections ADD COLUMN uuid TEXT;
ALTER TABLE connections ADD COLUMN uuid_source TEXT;
",
];

/// Sets the connection up and brings the tables to this version.
pub(super) fn prepare(db: &Connection) -> Result<(), String> {
    let text = |e: rusqlite::Error| format!("the database cannot be read: {e}");
    // WAL with full synchronisation: a commit that returned survives a power cut.
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -1024;")
        .map_err(text)?;
    let version = || db.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).map_err(text);
    let newest = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    if version()? > newest {
        return Err(format!(
            "was written by a later ferry (version {} of its tables, this ferry knows {newest}); use that ferry, or another --data-dir",
            version()?
        ));
    }
    if version()? < newest {
        db.execute_batch("BEGIN IMMEDIATE").map_err(text)?;
        // Read again: another process may have been first.
        let from = usize::try_from(version()?).unwrap_or(0);
        let result = STEPS.iter().skip(from).try_for_each(|step| db.execute_batch(step));
        let end = match &result {
            Ok(()) => format!("PRAGMA user_version = {newest}; COMMIT"),
            Err(_) => "ROLLBACK".to_owned(),
        };
        db.execute_batch(&end).map_err(text)?;
        result.map_err(text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::prepare;
    use rusqlite::Connection;

    #[test]
    fn a_database_of_the_first_version_keeps_what_it_holds() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(super::STEPS[0]).unwrap();
        db.execute_batch(
            "PRAGMA user_version = 1; INSERT INTO connections (name, created_at) VALUES ('s', 5)",
        )
        .unwrap();
        prepare(&db).unwrap();
        let kept: (String, Option<String>) = db
            .query_row("SELECT name, uuid FROM connections", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!(kept, ("s".into(), None));
    }

    #[test]
    fn prepares_once_and_refuses_a_later_version() {
        let db = Connection::open_in_memory().unwrap();
        prepare(&db).unwrap();
        prepare(&db).unwrap();
        db.execute_batch("PRAGMA user_version = 99").unwrap();
        assert!(prepare(&db).unwrap_err().contains("later ferry"));
    }
}
