//! Jobs, attempts and what was counted.

use protocol::StreamDescriptor;
use rusqlite::params;
use serde::Serialize;

use super::{Store, failed};
use crate::clock;
use crate::error::Failure;

/// How a job, or one attempt of it, stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// At work.
    Running,
    /// Every stream is complete.
    Succeeded,
    /// Some streams are.
    Partial,
    /// None is.
    Failed,
    /// Stopped by a signal.
    Cancelled,
}

impl JobStatus {
    /// The word that is stored and shown.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One stream's numbers in one attempt.
#[derive(Clone, Debug, Default)]
pub struct StreamRow {
    /// `complete`, `incomplete`.
    pub status: String,
    /// Records read from the source.
    pub records_read: u64,
    /// Bytes of their data.
    pub bytes_read: u64,
    /// Records confirmed by the destination.
    pub records_committed: u64,
    /// Bytes of their data.
    pub bytes_committed: u64,
    /// Records refused by the destination.
    pub records_rejected: u64,
    /// States confirmed.
    pub checkpoints: u64,
    /// `digest`, `count`, `echo`.
    pub proof: Option<String>,
    /// The digest of all records read.
    pub digest: Option<String>,
    /// The source's estimate.
    pub estimated_records: Option<i64>,
    /// The source's estimate.
    pub estimated_bytes: Option<i64>,
    /// The generation that was written.
    pub generation_id: Option<i64>,
    /// Why it is incomplete.
    pub failure: Option<String>,
}

/// A job as `history` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct JobRow {
    /// Its number.
    pub id: i64,
    /// `running`, `succeeded`, `partial`, `failed`, `cancelled`.
    pub status: String,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Milliseconds since 1970; `None` while it runs.
    pub ended_at: Option<i64>,
    /// How many attempts it took.
    pub attempts: i64,
    /// Records read, over all attempts.
    pub records_read: i64,
    /// Records confirmed, over all attempts.
    pub records_committed: i64,
    /// Bytes read, over all attempts.
    pub bytes_read: i64,
    /// Why it failed.
    pub failure: Option<String>,
    /// Its log.
    pub log_path: Option<String>,
}

fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Store {
    /// Ends jobs of this sync that a crash left running. Call with its lock held.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn end_orphans(&self, connection: i64) -> Result<usize, Failure> {
        let now = clock::now_ms();
        let why = "ferry ended before the job did";
        self.db
            .execute(
                "UPDATE attempts SET status = 'failed', ended_at = ?2 WHERE status = 'running' AND job_id IN
                 (SELECT id FROM jobs WHERE connection_id = ?1)",
                params![connection, now],
            )
            .and_then(|_| {
                self.db.execute(
                    "UPDATE jobs SET status = 'failed', ended_at = ?2, failure = ?3
                     WHERE connection_id = ?1 AND status = 'running'",
                    params![connection, now, why],
                )
            })
            .map_err(failed)
    }

    /// Begins a job and gives its number.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn begin_job(&self, connection: i64, source: &str, destination: &str) -> Result<i64, Failure> {
        self.db
            .execute(
                "INSERT INTO jobs (connection_id, kind, status, source, destination, created_at)
                 VALUES (?1, 'sync', 'running', ?2, ?3, ?4)",
                params![connection, source, destination, clock::now_ms()],
            )
            .map_err(failed)?;
        Ok(self.db.last_insert_rowid())
    }

    /// Notes a job's log and catalog.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn describe_job(
        &self,
        job: i64,
        log_path: Option<&str>,
        catalog: Option<&str>,
    ) -> Result<(), Failure> {
        self.db
            .execute(
                "UPDATE jobs SET log_path = coalesce(?2, log_path), catalog = coalesce(?3, catalog) WHERE id = ?1",
                params![job, log_path, catalog],
            )
            .map(|_| ())
            .map_err(failed)
    }

    /// Ends a job.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn end_job(&self, job: i64, status: JobStatus, failure: Option<&str>) -> Result<(), Failure> {
        self.db
            .execute(
                "UPDATE jobs SET status = ?2, failure = ?3, ended_at = ?4 WHERE id = ?1",
                params![job, status.word(), failure, clock::now_ms()],
            )
            .map(|_| ())
            .map_err(failed)
    }

    /// Begins an attempt, numbered from 0.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn begin_attempt(&self, job: i64, number: u32) -> Result<(), Failure> {
        self.db
            .execute(
                "INSERT INTO attempts (job_id, number, status, started_at) VALUES (?1, ?2, 'running', ?3)",
                params![job, number, clock::now_ms()],
            )
            .map(|_| ())
            .map_err(failed)
    }

    /// Ends an attempt with its streams' numbers, all or none.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn end_attempt(
        &mut self,
        job: i64,
        number: u32,
        status: JobStatus,
        failures: Option<&str>,
        streams: &[(StreamDescriptor, StreamRow)],
    ) -> Result<(), Failure> {
        let save = |db: &mut rusqlite::Connection| {
            let transaction = db.transaction()?;
            transaction.execute(
                "UPDATE attempts SET status = ?3, failures = ?4, ended_at = ?5 WHERE job_id = ?1 AND number = ?2",
                params![job, number, status.word(), failures, clock::now_ms()],
            )?;
            for (stream, row) in streams {
                transaction.execute(
                    "INSERT OR REPLACE INTO stream_stats VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
                    params![
                        job,
                        number,
                        stream.namespace.as_deref().unwrap_or_default(),
                        stream.name,
                        row.status,
                        count(row.records_read),
                        count(row.bytes_read),
                        count(row.records_committed),
                        count(row.bytes_committed),
                        count(row.records_rejected),
                        count(row.checkpoints),
                        row.proof,
                        row.digest,
                        row.estimated_records,
                        row.estimated_bytes,
                        row.generation_id,
                        row.failure,
                    ],
                )?;
            }
            transaction.commit()
        };
        save(&mut self.db).map_err(failed)
    }

    /// Keeps a job's counts of failed attempts.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn save_retries(&self, job: i64, complete: (u32, u32), partial: (u32, u32)) -> Result<(), Failure> {
        self.db
            .execute(
                "INSERT OR REPLACE INTO retry_states VALUES (?1, ?2, ?3, ?4, ?5)",
                params![job, complete.0, complete.1, partial.0, partial.1],
            )
            .map(|_| ())
            .map_err(failed)
    }

    /// The newest jobs of a sync, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn history(&self, connection: i64, limit: u32) -> Result<Vec<JobRow>, Failure> {
        let read = || {
            let mut statement = self.db.prepare(
                "SELECT j.id, j.status, j.created_at, j.ended_at, j.failure, j.log_path,
                    (SELECT count(*) FROM attempts a WHERE a.job_id = j.id),
                    (SELECT coalesce(sum(records_read), 0) FROM stream_stats s WHERE s.job_id = j.id),
                    (SELECT coalesce(sum(records_committed), 0) FROM stream_stats s WHERE s.job_id = j.id),
                    (SELECT coalesce(sum(bytes_read), 0) FROM stream_stats s WHERE s.job_id = j.id)
                 FROM jobs j WHERE j.connection_id = ?1 ORDER BY j.id DESC LIMIT ?2",
            )?;
            let rows = statement.query_map(params![connection, limit], |row| {
                Ok(JobRow {
                    id: row.get(0)?,
                    status: row.get(1)?,
                    created_at: row.get(2)?,
                    ended_at: row.get(3)?,
                    failure: row.get(4)?,
                    log_path: row.get(5)?,
                    attempts: row.get(6)?,
                    records_read: row.get(7)?,
                    records_committed: row.get(8)?,
                    bytes_read: row.get(9)?,
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(failed)
    }
}
