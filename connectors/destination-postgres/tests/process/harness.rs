//! A server, and runs of the binary on it.

use serde_json::{Value, json};
use testkit::conformance::feed::{Feed, catalog};
use testkit::services::{Postgres, Version};
use testkit::{Connector, Folder, Invocation, Output};

/// A server with a database to write to.
pub(crate) struct Site {
    pub(crate) server: Postgres,
    /// Where the binary connects to: the server, or a way to it.
    pub(crate) port: u16,
    /// Keys of the config beside the server's.
    pub(crate) more: Value,
    files: Folder,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::of(Version::V15)
    }

    pub(crate) fn of(version: Version) -> Self {
        Self::on(Postgres::start(version))
    }

    pub(crate) fn on(server: Postgres) -> Self {
        Self { port: server.port, server, more: json!({}), files: Folder::new() }
    }

    pub(crate) fn config(&self) -> Value {
        let mut config = json!({
            "host": "127.0.0.1", "port": self.port, "database": "postgres", "schema": "public",
            "username": Postgres::USER, "password": Postgres::PASSWORD, "ssl_mode": {"mode": "disable"},
        });
        for (key, value) in self.more.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        config
    }

    fn invocation(&self, verb: &str, streams: &[Value]) -> Invocation {
        let config = self.files.json("config.json", &self.config());
        let catalog = self.files.json("catalog.json", &catalog(streams));
        let binary = Connector::new(env!("CARGO_BIN_EXE_destination-postgres"));
        binary.command([verb, "--config", &config, "--catalog", &catalog])
    }

    /// A run that writes these streams.
    pub(crate) fn writing(&self, streams: &[Value], feed: Feed) -> Invocation {
        self.invocation("write", streams).stdin(feed.bytes())
    }

    pub(crate) fn write(&self, streams: &[Value], feed: Feed) -> Output {
        told_no_secret(self.writing(streams, feed).output())
    }

    /// Writes and expects success.
    pub(crate) fn sync(&self, streams: &[Value], feed: Feed) -> Output {
        self.write(streams, feed).succeeded()
    }

    /// Checks another config than the site's own.
    pub(crate) fn check(&self, config: &Value) -> Output {
        let config = self.files.json("checked.json", config);
        told_no_secret(
            Connector::new(env!("CARGO_BIN_EXE_destination-postgres")).run(["check", "--config", &config]),
        )
    }

    /// What the connection's last committed states are.
    pub(crate) fn committed(&self, connection: &str, streams: &[Value]) -> Output {
        let asked = self.invocation("committed", streams).env("FERRY_CONNECTION", connection);
        told_no_secret(asked.output()).succeeded()
    }

    /// What a query prints, a line a row.
    pub(crate) fn psql(&self, sql: &str) -> String {
        self.server.psql(sql)
    }

    /// The ids in a table, sorted, with commas between them; `none` where there is no such table.
    pub(crate) fn ids(&self, table: &str) -> String {
        let there = self.psql(&format!("SELECT to_regclass('{table}') IS NOT NULL"));
        if there == "f" {
            return "none".to_owned();
        }
        self.psql(&format!("SELECT string_agg(id::text, ',' ORDER BY id) FROM {table}"))
    }
}

/// Sets what `ferry` sets.
pub(crate) fn by_ferry(run: Invocation, connection: &str, job: i64, attempt: i64) -> Invocation {
    run.env("FERRY_CONNECTION", connection)
        .env("WORKER_JOB_ID", &job.to_string())
        .env("WORKER_JOB_ATTEMPT", &attempt.to_string())
}

/// A stream whose source goes on from its last state.
pub(crate) fn incremental(mut stream: Value) -> Value {
    stream["sync_mode"] = "incremental".into();
    stream["cursor_field"] = json!(["id"]);
    stream
}

fn told_no_secret(output: Output) -> Output {
    let said: String = output.lines.iter().map(|l| String::from_utf8_lossy(&l.raw).into_owned()).collect();
    assert!(!said.contains(Postgres::PASSWORD) && !output.stderr.contains(Postgres::PASSWORD), "{output}");
    output
}
