//! A destination that keeps what it is sent, and hands the states back as a platform does.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testkit::{Connector, Folder, Invocation, Output};

/// Several runs over one catalog.
pub(crate) struct Replay {
    files: Folder,
    catalog: Value,
    /// The states that the last runs ended with, as a platform keeps them.
    pub(crate) states: Vec<Value>,
    /// Every row of every run: stream and data.
    pub(crate) rows: Vec<(String, Value)>,
}

/// How a stream is to be synced.
pub(crate) fn configured(stream: &Value, mode: &str, destination: &str, cursor: Option<&str>) -> Value {
    let key = stream.get("source_defined_primary_key").cloned().unwrap_or(json!([]));
    json!({"stream": stream, "sync_mode": mode, "destination_sync_mode": destination, "primary_key": key,
        "cursor_field": cursor.map_or(json!([]), |c| json!([c]))})
}

impl Replay {
    pub(crate) fn new(config: &Value, streams: &[Value]) -> Self {
        let files = Folder::new();
        files.json("config.json", config);
        Self { files, catalog: json!({ "streams": streams }), states: Vec::new(), rows: Vec::new() }
    }

    /// The next run, not yet started.
    pub(crate) fn read(&self) -> Invocation {
        let catalog = self.files.json("catalog.json", &self.catalog);
        let state = self.files.json("state.json", &Value::from(self.states.clone()));
        let config = self.files.path().join("config.json").display().to_string();
        Connector::new(env!("CARGO_BIN_EXE_source-postgres")).command([
            "read",
            "--config",
            &config,
            "--catalog",
            &catalog,
            "--state",
            &state,
        ])
    }

    /// Takes in what a run said, as a destination that confirms all of it.
    pub(crate) fn take(&mut self, output: &Output) {
        for record in output.records() {
            let data = serde_json::from_str(record.data.get()).expect("an object");
            let name = format!("{}.{}", record.namespace.as_deref().unwrap_or(""), record.stream);
            self.rows.push((name, data));
        }
        for line in output.state_lines() {
            let state: Value = serde_json::from_slice(line).expect("a message");
            let state = &state["state"];
            if state["type"] == "GLOBAL" {
                self.states = vec![state.clone()];
            } else {
                let same =
                    |s: &Value| s["stream"]["stream_descriptor"] == state["stream"]["stream_descriptor"];
                self.states.retain(|s| !same(s));
                self.states.push(state.clone());
            }
        }
    }

    /// Takes in a run that died: what came after its last state was not confirmed.
    pub(crate) fn take_confirmed(&mut self, output: &Output) {
        let is_state =
            |l: &testkit::Line| matches!(l.message, Ok(connector_kit::protocol::Message::State(_)));
        if let Some(last) = output.lines.iter().rposition(is_state) {
            self.take(&output.cut_after(last));
        }
    }

    /// One whole run that must succeed. Returns what it sent.
    pub(crate) fn sync(&mut self) -> Output {
        let output = self.read().output().succeeded();
        self.take(&output);
        output
    }

    /// The rows of a stream after deduplication by a column: the last one sent wins.
    pub(crate) fn latest(&self, stream: &str, key: &str) -> BTreeMap<String, Value> {
        let of_stream = self.rows.iter().filter(|(name, _)| name == stream);
        of_stream.map(|(_, row)| (row[key].to_string(), row.clone())).collect()
    }

    /// How many rows of a stream were sent in all.
    pub(crate) fn count(&self, stream: &str) -> usize {
        self.rows.iter().filter(|(name, _)| name == stream).count()
    }
}

/// The records of one run, as JSON.
pub(crate) fn records(output: &Output) -> Vec<Value> {
    output.records().map(|r| serde_json::from_str(r.data.get()).expect("an object")).collect()
}
