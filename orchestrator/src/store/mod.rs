//! What ferry remembers: an SQLite database in `.ferry/` beside the sync file.
//!
//! Several syncs of one directory share the database; each holds its own lock while it
//! runs (see [`lock`]). The tables are those that an API server over the same jobs
//! would need: see [`schema`].

mod jobs;
pub mod lock;
mod schema;
mod states;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use crate::error::{Failure, Origin};
pub use jobs::{JobRow, JobStatus, StreamRow};
pub use states::{SavedState, StoredGeneration};

/// The open database.
#[derive(Debug)]
pub struct Store {
    db: Connection,
    directory: PathBuf,
}

impl Store {
    /// Opens, or makes, the database in `directory`.
    ///
    /// # Errors
    /// When the directory cannot be written, or the database is of a later version.
    pub fn open(directory: &Path) -> Result<Self, Failure> {
        let cannot = |e: &dyn std::fmt::Display| {
            Failure::config(
                Origin::Ferry,
                format!(
                    "cannot use {} for jobs and states: {e}; make it writable, or name another place with --data-dir",
                    directory.display()
                ),
            )
        };
        for sub in ["", "logs", "tmp", "locks"] {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory.join(sub))
                .map_err(|e| cannot(&e))?;
        }
        let path = directory.join("ferry.db");
        let db = Connection::open(&path).map_err(|e| cannot(&e))?;
        // Another sync of the same directory may be writing; its writes are short.
        db.busy_timeout(Duration::from_secs(20)).map_err(|e| cannot(&e))?;
        schema::prepare(&db)
            .map_err(|detail| Failure::config(Origin::Ferry, format!("{}: {detail}", path.display())))?;
        Ok(Self { db, directory: directory.to_owned() })
    }

    /// Where it stands.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The number of the sync called `name`, made on first use.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn connection(&self, name: &str) -> Result<i64, Failure> {
        self.db
            .execute(
                "INSERT INTO connections (name, created_at) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
                rusqlite::params![name, crate::clock::now_ms()],
            )
            .and_then(|_| {
                self.db.query_row("SELECT id FROM connections WHERE name = ?1", [name], |row| row.get(0))
            })
            .map_err(failed)
    }

    /// A random id for the sync's source and destination together: a destination keeps its committed states
    /// under it. Another one from when the source is another connector, or [`renew_uuid`](Self::renew_uuid).
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn uuid(&self, connection: i64, source: &str) -> Result<String, Failure> {
        let read = || {
            self.db.execute(
                "UPDATE connections SET uuid_source = ?2, uuid = (SELECT lower(
                     substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-4' || substr(h, 14, 3) || '-a' || substr(h, 18, 3)
                     || '-' || substr(h, 21, 12)) FROM (SELECT hex(randomblob(16)) AS h))
                 WHERE id = ?1 AND (uuid IS NULL OR uuid_source IS NOT ?2)",
                rusqlite::params![connection, source],
            )?;
            self.db.query_row("SELECT uuid FROM connections WHERE id = ?1", [connection], |row| row.get(0))
        };
        read().map_err(failed)
    }

    /// Has the next sync use another id: what a destination committed before is of no meaning any more.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn renew_uuid(&self, connection: i64) -> Result<(), Failure> {
        self.db
            .execute("UPDATE connections SET uuid = NULL WHERE id = ?1", [connection])
            .map(|_| ())
            .map_err(failed)
    }

    /// Notes something that happened.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn event(&self, connection: i64, job: Option<i64>, kind: &str, detail: &str) -> Result<(), Failure> {
        self.db
            .execute(
                "INSERT INTO events (connection_id, job_id, at, kind, detail) VALUES (?1, ?2, ?3, ?4, ?5)",
                rusqlite::params![connection, job, crate::clock::now_ms(), kind, detail],
            )
            .map(|_| ())
            .map_err(failed)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "used as a map_err argument")]
fn failed(error: rusqlite::Error) -> Failure {
    Failure::fatal(
        Origin::Ferry,
        "the database of jobs and states cannot be used; check that its disk has room and is writable",
    )
    .because(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::Store;

    #[test]
    fn an_id_stays_until_the_source_is_another_or_it_is_renewed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (one, two) = (store.connection("one").unwrap(), store.connection("two").unwrap());
        let id = store.uuid(one, "source-a").unwrap();
        assert_eq!((id.len(), id.matches('-').count()), (36, 4), "{id}");
        assert_eq!(store.uuid(one, "source-a").unwrap(), id);
        assert_ne!(store.uuid(two, "source-a").unwrap(), id);
        let other = store.uuid(one, "source-b").unwrap();
        assert_ne!(other, id);
        store.renew_uuid(one).unwrap();
        assert_ne!(store.uuid(one, "source-b").unwrap(), other);
    }
}
