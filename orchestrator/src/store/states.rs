//! States and generations.

use protocol::StreamDescriptor;
use rusqlite::{OptionalExtension, params};

use super::{Store, failed};
use crate::clock;
use crate::error::Failure;

/// A state as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedState {
    /// The stream, or `None` for the state that all share.
    pub stream: Option<StreamDescriptor>,
    /// JSON text: a stream's own content, or the whole GLOBAL state.
    pub state: Option<String>,
    /// The connector that wrote it.
    pub source: String,
    /// The job that saw it confirmed.
    pub job: i64,
    /// When, in milliseconds since 1970.
    pub updated_at: i64,
}

/// A stream's generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoredGeneration {
    /// Rows written now carry it.
    pub generation: i64,
    /// Rows of earlier ones go when the stream has succeeded.
    pub minimum: i64,
}

fn names(stream: Option<&StreamDescriptor>) -> (&'static str, &str, &str) {
    match stream {
        Some(stream) => ("stream", stream.namespace.as_deref().unwrap_or_default(), &stream.name),
        None => ("global", "", ""),
    }
}

impl Store {
    /// Keeps states, all or none.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn save_states(
        &mut self,
        connection: i64,
        source: &str,
        job: i64,
        states: &[(Option<StreamDescriptor>, Option<String>)],
    ) -> Result<(), Failure> {
        if states.is_empty() {
            return Ok(());
        }
        let now = clock::now_ms();
        let save = |db: &mut rusqlite::Connection| {
            let transaction = db.transaction()?;
            for (stream, state) in states {
                let (kind, namespace, name) = names(stream.as_ref());
                transaction.execute(
                    "INSERT INTO states (connection_id, kind, namespace, name, state, source, job_id, updated_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                     ON CONFLICT (connection_id, kind, namespace, name) DO UPDATE SET
                     state = excluded.state, source = excluded.source, job_id = excluded.job_id, updated_at = excluded.updated_at",
                    params![connection, kind, namespace, name, state, source, job, now],
                )?;
                // A source speaks one of the two; the other kind would be read back as well.
                let other = if kind == "global" { "stream" } else { "global" };
                transaction.execute(
                    "DELETE FROM states WHERE connection_id = ?1 AND kind = ?2",
                    params![connection, other],
                )?;
            }
            transaction.commit()
        };
        save(&mut self.db).map_err(failed)
    }

    /// All states of a sync.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn states(&self, connection: i64) -> Result<Vec<SavedState>, Failure> {
        let read = || {
            let mut statement = self.db.prepare(
                "SELECT kind, namespace, name, state, source, job_id, updated_at FROM states
                 WHERE connection_id = ?1 ORDER BY kind, namespace, name",
            )?;
            let rows = statement.query_map([connection], |row| {
                let (kind, namespace, name): (String, String, String) =
                    (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(SavedState {
                    stream: (kind == "stream").then(|| StreamDescriptor::new(Some(&namespace), &name)),
                    state: row.get(3)?,
                    source: row.get(4)?,
                    job: row.get(5)?,
                    updated_at: row.get(6)?,
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(failed)
    }

    /// Forgets all states of a sync, or one stream's. Gives back how many there were.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn forget_states(&self, connection: i64, only: Option<&StreamDescriptor>) -> Result<usize, Failure> {
        match only {
            None => self.db.execute("DELETE FROM states WHERE connection_id = ?1", [connection]),
            Some(stream) => {
                let (kind, namespace, name) = names(Some(stream));
                self.db.execute(
                    "DELETE FROM states WHERE connection_id = ?1 AND kind = ?2 AND namespace = ?3 AND name = ?4",
                    params![connection, kind, namespace, name],
                )
            }
        }
        .map_err(failed)
    }

    /// A stream's generation; 0 before its first refresh.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn generation(
        &self,
        connection: i64,
        stream: &StreamDescriptor,
    ) -> Result<StoredGeneration, Failure> {
        let (_, namespace, name) = names(Some(stream));
        self.db
            .query_row(
                "SELECT generation_id, minimum_generation_id FROM generations
                 WHERE connection_id = ?1 AND namespace = ?2 AND name = ?3",
                params![connection, namespace, name],
                |row| Ok(StoredGeneration { generation: row.get(0)?, minimum: row.get(1)? }),
            )
            .optional()
            .map(Option::unwrap_or_default)
            .map_err(failed)
    }

    /// Keeps the generations of an attempt that is about to start, all or none. They never fall.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn save_generations(
        &mut self,
        connection: i64,
        generations: &[(StreamDescriptor, StoredGeneration)],
    ) -> Result<(), Failure> {
        let save = |db: &mut rusqlite::Connection| {
            let transaction = db.transaction()?;
            for (stream, g) in generations {
                let (_, namespace, name) = names(Some(stream));
                transaction.execute(
                    "INSERT INTO generations (connection_id, namespace, name, generation_id, minimum_generation_id)
                     VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (connection_id, namespace, name) DO UPDATE SET
                     generation_id = max(generation_id, excluded.generation_id),
                     minimum_generation_id = excluded.minimum_generation_id",
                    params![connection, namespace, name, g.generation, g.minimum],
                )?;
            }
            transaction.commit()
        };
        save(&mut self.db).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::{Store, StoredGeneration};
    use protocol::StreamDescriptor;

    #[test]
    fn states_and_generations_survive_a_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let stream = StreamDescriptor::new(Some("public"), "orders");
        let big = r#"{"c":123456789012345678901234567890}"#.to_owned();
        {
            let mut store = Store::open(dir.path()).unwrap();
            let id = store.connection("s").unwrap();
            store.save_states(id, "source-x", 1, &[(Some(stream.clone()), Some(big.clone()))]).unwrap();
            let up = StoredGeneration { generation: 3, minimum: 3 };
            store.save_generations(id, &[(stream.clone(), up)]).unwrap();
            let down = StoredGeneration { generation: 1, minimum: 0 };
            store.save_generations(id, &[(stream.clone(), down)]).unwrap();
        }
        let mut store = Store::open(dir.path()).unwrap();
        let id = store.connection("s").unwrap();
        assert_eq!(store.states(id).unwrap()[0].state, Some(big));
        assert_eq!(store.generation(id, &stream).unwrap(), StoredGeneration { generation: 3, minimum: 0 });
        assert!(store.states(store.connection("other").unwrap()).unwrap().is_empty());
        store.save_states(id, "source-x", 2, &[(None, Some("{}".into()))]).unwrap();
        assert_eq!(store.states(id).unwrap().len(), 1);
        assert_eq!(store.forget_states(id, None).unwrap(), 1);
    }
}
