//! The table of ours that says which state of which connection is committed: a row changes in the same
//! transaction as the rows that the state covers, so that after any crash the two agree.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use connector_kit::protocol::{StateStats, StreamDescriptor};
use connector_kit::{Checkpoint, Committed, Error, Result, RunIdentity};
use postgres_kit::quote_literal;

use crate::lane::Lane;
use crate::names::{CHECKPOINTS, TableName};

/// For how long an earlier process of the connection is waited for. One that was killed is gone from the server
/// within a moment, or, where a merge of it still runs, once the server looks for its client.
const PREDECESSOR: Duration = Duration::from_secs(60);

/// Where a connection's checkpoints are.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    table: TableName,
    connection: String,
    run: RunIdentity,
    /// Tells commits of this process from all others.
    process: String,
    commits: AtomicU64,
}

impl Checkpoints {
    /// Of this run; `None` where nobody says which connection it is of, so nobody could ask again.
    pub(crate) fn new(schema: &str, run: &RunIdentity) -> Option<Self> {
        let connection = run.connection.clone()?;
        let random = || RandomState::new().build_hasher().finish();
        Some(Self {
            table: TableName::new(schema, CHECKPOINTS),
            connection,
            run: run.clone(),
            process: format!("{:016x}{:016x}", random(), random()),
            commits: AtomicU64::new(0),
        })
    }

    /// Waits until no other process of the connection can commit, and keeps others out.
    pub(crate) async fn take_turn(&self, lane: &mut Lane) -> Result<()> {
        match lane.lock(&format!("ferrybyte connection {}", self.connection), PREDECESSOR).await? {
            None => Ok(()),
            Some(pid) => Err(Error::transient(format!(
                "An earlier process of this sync is still at work on the server (PID {pid}). Wait until it has ended, or end it with SELECT pg_terminate_backend({pid})."
            ))),
        }
    }

    /// Makes the table unless it is there. No transaction is open.
    pub(crate) async fn make_table(&self, lane: &mut Lane) -> Result<()> {
        if self.is_there(lane).await? {
            return Ok(());
        }
        crate::table::make_schema(lane, &self.table.schema).await?;
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} (connection text NOT NULL, namespace text NOT NULL, stream text NOT NULL, \
             job bigint, attempt bigint, state text NOT NULL, records bigint, digest text, complete boolean NOT NULL, \
             commit text NOT NULL, committed_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (connection, namespace, stream))",
            self.table
        );
        match crate::table::create(lane, &self.table, &sql).await {
            // Another sync was faster.
            Err(_) if self.is_there(lane).await? => Ok(()),
            made => made,
        }
    }

    async fn is_there(&self, lane: &mut Lane) -> Result<bool> {
        let sql = format!(
            "SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = {} AND c.relname = {} AND c.relkind = 'r'",
            quote_literal(&self.table.schema),
            quote_literal(&self.table.table)
        );
        Ok(!lane.query(&sql).await?.is_empty())
    }

    /// Writes them in the lane's transaction. Returns a query that finds a row once it is committed.
    pub(crate) async fn write(
        &self,
        lane: &mut Lane,
        checkpoints: &[Checkpoint<'_>],
    ) -> Result<Option<String>> {
        // Of each scope only the last one counts.
        let mut last = BTreeMap::new();
        checkpoints.iter().for_each(|checkpoint| {
            last.insert(key(checkpoint.stream), checkpoint);
        });
        if last.is_empty() {
            return Ok(None);
        }
        let commit = format!("{}-{}", self.process, self.commits.fetch_add(1, Ordering::Relaxed));
        let connection = quote_literal(&self.connection);
        let number = |n: Option<i64>| n.map_or_else(|| "NULL".to_owned(), |n| n.to_string());
        let ascii = !matches!(lane.server_encoding(), Some("UTF8" | "SQL_ASCII"));
        let mut rows = Vec::with_capacity(last.len());
        for ((namespace, stream), checkpoint) in &last {
            let line = std::str::from_utf8(checkpoint.line).map_err(|e| {
                Error::system("A state is not UTF-8; mend the source that sent it.").with_source(e)
            })?;
            let line = if ascii { in_ascii(line) } else { line.to_owned() };
            rows.push(format!(
                "({connection}, {}, {}, {}, {}, {}, {}, {}, {}, {})",
                quote_literal(namespace),
                quote_literal(stream),
                number(self.run.job),
                number(self.run.attempt),
                quote_literal(&line),
                number(checkpoint.stats.records.and_then(|n| i64::try_from(n).ok())),
                checkpoint.stats.digest.as_deref().map_or_else(|| "NULL".to_owned(), quote_literal),
                checkpoint.complete,
                quote_literal(&commit),
            ));
        }
        let table = &self.table;
        // A source has either states of streams or one of all; those of the other kind are history.
        let other = if last.contains_key(&("", "")) { "<>" } else { "=" };
        lane.begin().await?;
        lane.execute(&format!(
            "DELETE FROM {table} WHERE connection = {connection} AND stream {other} ''; \
             INSERT INTO {table} AS c (connection, namespace, stream, job, attempt, state, records, digest, complete, commit) VALUES {} \
             ON CONFLICT (connection, namespace, stream) DO UPDATE SET job = excluded.job, attempt = excluded.attempt, \
             state = excluded.state, records = excluded.records, digest = excluded.digest, complete = excluded.complete, commit = excluded.commit, \
             committed_at = excluded.committed_at",
            rows.join(", ")
        ))
        .await?;
        Ok(Some(format!(
            "SELECT FROM {table} WHERE connection = {connection} AND commit = {} LIMIT 1",
            quote_literal(&commit)
        )))
    }

    /// The streams of which an earlier attempt of this very job has committed everything.
    pub(crate) async fn done_by_this_job(&self, lane: &mut Lane) -> Result<HashSet<StreamDescriptor>> {
        let Some(job) = self.run.job else { return Ok(HashSet::new()) };
        let sql = format!(
            "SELECT namespace, stream FROM {} WHERE connection = {} AND job = {job} AND complete AND stream <> ''",
            self.table,
            quote_literal(&self.connection)
        );
        let rows = lane.query(&sql).await?;
        rows.iter().map(|row| Ok(StreamDescriptor::new(row.get(0), row.text(1)?))).collect()
    }

    /// Whether rows of the stream are among what a state of the connection covers.
    pub(crate) async fn covers(&self, lane: &mut Lane, stream: &StreamDescriptor) -> Result<bool> {
        Ok(self.read(lane, std::slice::from_ref(stream)).await?.iter().any(|committed| {
            // The one that all share says of which it is.
            let state = serde_json::from_slice::<serde_json::Value>(&committed.line).unwrap_or_default();
            match state.pointer("/state/global/stream_states").and_then(serde_json::Value::as_array) {
                Some(streams) => streams.iter().any(|s| {
                    let descriptor = &s["stream_descriptor"];
                    descriptor["name"] == stream.name.as_str()
                        && descriptor["namespace"].as_str() == stream.namespace.as_deref()
                }),
                None => true,
            }
        }))
    }

    /// The last ones of these streams, or the one that all share.
    pub(crate) async fn read(&self, lane: &mut Lane, streams: &[StreamDescriptor]) -> Result<Vec<Committed>> {
        if !self.is_there(lane).await? {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT namespace, stream, job, attempt, state, records, digest FROM {} WHERE connection = {} \
             ORDER BY namespace, stream",
            self.table,
            quote_literal(&self.connection)
        );
        let asked: HashSet<_> = streams.iter().map(|s| key(Some(s))).chain([("", "")]).collect();
        let mut found = Vec::new();
        for row in lane.query(&sql).await? {
            if !asked.contains(&(row.text(0)?, row.text(1)?)) {
                continue;
            }
            let number = |column| row.get(column).map(|_| row.int(column)).transpose();
            found.push(Committed {
                job: number(2)?,
                attempt: number(3)?,
                line: row.text(4)?.as_bytes().to_vec(),
                stats: StateStats {
                    records: number(5)?.and_then(|n| u64::try_from(n).ok()),
                    rejected: None,
                    digest: row.get(6).map(str::to_owned),
                },
            });
        }
        Ok(found)
    }
}

/// A state that all streams share is kept under no name.
fn key(stream: Option<&StreamDescriptor>) -> (&str, &str) {
    stream.map_or(("", ""), |s| (s.namespace.as_deref().unwrap_or_default(), &s.name))
}

/// The same JSON for a database that cannot hold every character: outside of strings there are none of those.
fn in_ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_state_for_a_small_alphabet_is_the_same_json() {
        let state = r#"{"a":"é🚢\u00e9","b":[1.50]}"#;
        let ascii = super::in_ascii(state);
        assert!(ascii.is_ascii() && ascii.contains("1.50"), "{ascii}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&ascii), value(state));
    }
}
