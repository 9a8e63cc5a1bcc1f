//! What a destination would make of a connector's records: tables keyed by `id`, the record of
//! the greatest `_ab_cdc_lsn` winning, deleted rows gone; and the state to go on from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use testkit::services::{Postgres, Version};
use testkit::{Connector, Folder, Invocation, Output};

use crate::harness;

/// One row: where its last record was in the log, and what it said; `None` once deleted.
type Row = (u64, Option<Map<String, Value>>);

/// A server, and a copy of its tables kept by the connector.
pub(crate) struct Replica {
    pub(crate) server: Arc<Postgres>,
    pub(crate) config: Value,
    pub(crate) state: Option<Value>,
    pub(crate) catalog: Value,
    tables: BTreeMap<String, BTreeMap<String, Row>>,
    files: Folder,
}

impl Replica {
    /// A server on which `sql` was run, which makes the tables and the publication `p`; and the slot `s`.
    pub(crate) fn new(version: Version, sql: &str) -> Self {
        Self::on(Postgres::start(version), sql)
    }

    pub(crate) fn on(server: Postgres, sql: &str) -> Self {
        server.psql(sql);
        server.psql("SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
        let config = harness::cdc(&server);
        let mut replica = Self {
            server: Arc::new(server),
            config,
            state: None,
            catalog: Value::Null,
            tables: BTreeMap::new(),
            files: Folder::new(),
        };
        replica.refresh();
        replica
    }

    pub(crate) fn set(&mut self, option: &str, value: Value) {
        self.config["replication_method"][option] = value;
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        self.server.psql(sql)
    }

    /// Takes the streams as they are discovered now, those of them that have changes.
    pub(crate) fn refresh(&mut self) {
        let incremental = |stream: &Value| {
            stream["supported_sync_modes"]
                .as_array()
                .is_some_and(|modes| modes.iter().any(|m| m == "incremental"))
        };
        let configured = |(_, stream): (String, Value)| {
            incremental(&stream).then(|| {
                json!({"stream": stream, "sync_mode": "incremental", "destination_sync_mode": "append_dedup"})
            })
        };
        let streams: Vec<Value> = harness::streams(&self.config).into_iter().filter_map(configured).collect();
        self.catalog = json!({ "streams": streams });
    }

    /// The streams of the catalog.
    pub(crate) fn streams(&self) -> Vec<String> {
        let streams = self.catalog["streams"].as_array().expect("streams");
        streams.iter().filter_map(|s| s["stream"]["name"].as_str()).map(str::to_owned).collect()
    }

    /// A read that was not started yet.
    pub(crate) fn read(&self) -> Invocation {
        let config = self.files.json("config.json", &self.config);
        let catalog = self.files.json("catalog.json", &self.catalog);
        let mut args = vec!["read", "--config", &config, "--catalog", &catalog];
        let state;
        if let Some(content) = &self.state {
            state = self.files.json("state.json", &json!([content]));
            args.extend(["--state", &state]);
        }
        let connector = Connector::new(env!("CARGO_BIN_EXE_source-postgres"));
        connector.command(args).patience(Duration::from_secs(90))
    }

    /// Takes over what a run said, whether it ended well or not.
    pub(crate) fn take(&mut self, output: &Output) {
        for line in &output.lines {
            let Ok(message) = serde_json::from_slice::<Value>(&line.raw) else { continue };
            match message["type"].as_str() {
                Some("RECORD") => self.record(&message["record"]),
                Some("STATE") => self.state = Some(message["state"].clone()),
                _ => {}
            }
        }
    }

    fn record(&mut self, record: &Value) {
        let mut data = record["data"].as_object().expect("a record is an object").clone();
        let lsn = data.remove("_ab_cdc_lsn").and_then(|v| v.as_u64()).expect("an lsn");
        let updated = data.remove("_ab_cdc_updated_at").unwrap_or_default();
        assert!(updated.as_str().is_some_and(|t| t.ends_with('Z')), "{record}");
        let deleted = data.remove("_ab_cdc_deleted_at").unwrap_or_default();
        let id = data["id"].to_string();
        let table = self.tables.entry(record["stream"].as_str().unwrap_or("").to_owned()).or_default();
        let row = table.entry(id).or_insert((0, None));
        if lsn >= row.0 {
            *row = (lsn, deleted.is_null().then_some(data));
        }
    }

    /// Begins anew with an empty copy and no state.
    pub(crate) fn forget(&mut self) {
        self.tables.clear();
        self.state = None;
    }

    /// Syncs; the run must end well.
    pub(crate) fn sync(&mut self) -> Output {
        let output = self.read().output().succeeded();
        self.take(&output);
        output
    }

    /// Syncs; the run must fail. Returns the message of its one error.
    pub(crate) fn sync_fails(&mut self) -> (String, Output) {
        let output = self.read().output();
        let message = output.failed().message.clone();
        self.take(&output);
        (message, output)
    }

    /// The rows that the copy holds of a table.
    pub(crate) fn rows(&self, table: &str) -> BTreeMap<String, Value> {
        let rows = self.tables.get(table).into_iter().flatten();
        rows.filter_map(|(id, (_, row))| Some((id.clone(), Value::Object(row.clone()?)))).collect()
    }

    /// The rows that the table itself holds.
    pub(crate) fn truth(&self, table: &str) -> BTreeMap<String, Value> {
        let text = self.sql(&format!("SELECT coalesce(json_agg(t), '[]') FROM {table} t"));
        let rows: Vec<Value> = serde_json::from_str(&text).expect("rows as JSON");
        rows.into_iter().map(|row| (row["id"].to_string(), row)).collect()
    }

    /// The rows of a table as the connector itself reads them whole, without CDC.
    pub(crate) fn read_whole(&self, table: &str) -> BTreeMap<String, Value> {
        let config = self.server.config_json("postgres");
        let stream = harness::stream(&config, &format!("public.{table}"));
        let stream =
            json!({"stream": stream, "sync_mode": "full_refresh", "destination_sync_mode": "overwrite"});
        let config = self.files.json("whole.json", &config);
        let catalog = self.files.json("whole-catalog.json", &json!({"streams": [stream]}));
        let connector = Connector::new(env!("CARGO_BIN_EXE_source-postgres"));
        let output = connector.run(["read", "--config", &config, "--catalog", &catalog]).succeeded();
        data(&output, table).into_iter().map(|row| (row["id"].to_string(), row)).collect()
    }

    /// Asserts that copy and table are equal.
    pub(crate) fn equals(&self, table: &str) {
        self.compare(table, &self.truth(table));
    }

    /// Asserts that the copy of a table holds these rows.
    pub(crate) fn compare(&self, table: &str, truth: &BTreeMap<String, Value>) {
        let copy = self.rows(table);
        for (id, row) in truth {
            let found = copy.get(id).unwrap_or_else(|| panic!("row {id} of {table} is missing in the copy"));
            for (name, value) in row.as_object().expect("a row") {
                let short = |v: Option<&Value>| format!("{v:?}").chars().take(200).collect::<String>();
                let theirs = found.get(name);
                let both = (short(theirs), short(Some(value)));
                assert!(
                    theirs == Some(value),
                    "{name} of row {id} of {table}: {} is {}; {:?}",
                    both.0,
                    both.1,
                    self.tables[table][id].0
                );
            }
        }
        assert_eq!(copy.len(), truth.len(), "rows of {table} that are gone are still in the copy");
    }

    /// A number of the slot's, in bytes of log.
    pub(crate) fn lsn(&self, expression: &str) -> u64 {
        let sql = format!(
            "SELECT ({expression} - '0/0'::pg_lsn)::text FROM pg_replication_slots WHERE slot_name = 's'"
        );
        self.sql(&sql).parse().expect("a position in the log")
    }

    /// The position of the last state.
    pub(crate) fn position(&self) -> u64 {
        let shared = &self.state.as_ref().expect("a state")["global"]["shared_state"]["state"];
        let offset = shared.as_object().expect("an object").values().next().expect("one offset");
        let offset: Value = serde_json::from_str(offset.as_str().expect("text")).expect("JSON");
        offset["lsn"].as_u64().expect("an lsn")
    }
}

/// How many records of a stream a run sent.
pub(crate) fn count(output: &Output, stream: &str) -> usize {
    output.records().filter(|r| r.stream == stream).count()
}

/// The data of a stream's records, in order.
pub(crate) fn data(output: &Output, stream: &str) -> Vec<Value> {
    let records = output.records().filter(|r| r.stream == stream);
    records.map(|r| serde_json::from_str(r.data.get()).expect("JSON")).collect()
}

/// Runs a test on both servers.
pub(crate) fn on_both(test: impl Fn(Version)) {
    test(Version::V15);
    test(Version::V18);
}
