//! Runs the connector and reads back what it wrote.

use serde_json::{Value, json};
use testkit::services::{ObjectStore, StoreKind};
use testkit::{Connector, Folder, Invocation, Output};
use testkit_dremio::{Dremio, Options, Source};

/// A server with a config that leads to it.
pub(crate) struct Site {
    pub(crate) server: Dremio,
    pub(crate) folder: Folder,
    pub(crate) config: Value,
    store: Option<ObjectStore>,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with(Dremio::options())
    }

    pub(crate) fn with(options: Options) -> Self {
        let server = options.start();
        let mut config = server.destination();
        // As short as a busy machine allows: each test that loses an answer waits as long.
        config["lost_answer_wait_secs"] = 2.into();
        config["busy_wait_secs"] = 20.into();
        Self { server, folder: Folder::new(), config, store: None }
    }

    /// With rows staged in a store that the server has as the source `minio`.
    pub(crate) fn staged() -> Self {
        let store = ObjectStore::start(StoreKind::Strict);
        let bucket = Source::Store(store.files(ObjectStore::BUCKET));
        let mut site = Self::with(Dremio::options().source("minio", bucket));
        site.config["staging"] = json!({
            "location": "minio/staging", "s3_bucket_name": ObjectStore::BUCKET, "s3_bucket_path": "staging",
            "s3_bucket_region": "us-east-1", "s3_endpoint": store.endpoint(),
            "access_key_id": ObjectStore::ACCESS_KEY, "secret_access_key": ObjectStore::SECRET_KEY,
        });
        site.store = Some(store);
        site
    }

    /// Either way of loading.
    pub(crate) fn both() -> [Self; 2] {
        [Self::new(), Self::staged()]
    }

    /// The files that are staged now.
    pub(crate) fn staged_files(&self) -> Vec<String> {
        let folder = self.store.as_ref().unwrap().files(ObjectStore::BUCKET).join("staging");
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    pub(crate) fn check(&self) -> Output {
        let config = self.folder.json("config.json", &self.config);
        said_no_secret(connector().command(["check", "--config", &config]).output())
    }

    /// Why the check has failed.
    pub(crate) fn failed_check(&self) -> String {
        let output = self.check();
        let line = messages(&output, "CONNECTION_STATUS");
        assert_eq!(line[0]["connectionStatus"]["status"], "FAILED", "{output}");
        line[0]["connectionStatus"]["message"].as_str().unwrap().to_owned()
    }

    pub(crate) fn invocation(&self, streams: &[Value], input: &str) -> Invocation {
        let config = self.folder.json("config.json", &self.config);
        let catalog = self.folder.json("catalog.json", &json!({"streams": streams}));
        connector().command(["write", "--config", &config, "--catalog", &catalog]).stdin(input)
    }

    pub(crate) fn write(&self, stream: Value, input: &str) -> Output {
        said_no_secret(self.invocation(&[stream], input).output())
    }

    /// A run that has to succeed.
    pub(crate) fn sync(&self, stream: Value, input: &str) -> Output {
        self.write(stream, input).succeeded()
    }

    /// The message of the one error of a run that has to fail.
    pub(crate) fn failure(&self, stream: Value, input: &str) -> String {
        self.write(stream, input).failed().message.clone()
    }

    /// The rows of the stream `s`, by id and value.
    pub(crate) fn rows(&self) -> Vec<(i64, String)> {
        let rows = self.server.query("SELECT id, v FROM lake.production.s ORDER BY id, v");
        rows.iter().map(|row| (row[0].as_i64().unwrap(), row[1].as_str().unwrap().to_owned())).collect()
    }

    /// What there is in the folder of the tables, views marked.
    pub(crate) fn tables(&self) -> Vec<String> {
        let sql = "SELECT TABLE_NAME, TABLE_TYPE FROM INFORMATION_SCHEMA.\"TABLES\" ORDER BY TABLE_NAME";
        let name = |row: &Vec<Value>| match (row[0].as_str().unwrap(), row[1].as_str().unwrap()) {
            (name, "VIEW") => format!("{name} (view)"),
            (name, _) => name.to_owned(),
        };
        self.server.query(sql).iter().map(name).collect()
    }

    /// The statements that were run and begin so.
    pub(crate) fn ran(&self, start: &str) -> usize {
        self.server.statements().iter().filter(|sql| sql.starts_with(start)).count()
    }
}

pub(crate) fn connector() -> Connector {
    Connector::new(env!("CARGO_BIN_EXE_destination-dremio"))
}

/// Nothing that anybody can read holds what only the two ends may know.
pub(crate) fn said_no_secret(output: Output) -> Output {
    let text: String = output.lines.iter().map(|line| String::from_utf8_lossy(&line.raw)).collect();
    for secret in [Dremio::PASSWORD, Dremio::TOKEN, "a-bearer-token", ObjectStore::SECRET_KEY] {
        // Its quotation mark is escaped within JSON.
        let escaped = secret.replace('"', "\\\"");
        for secret in [secret, &escaped] {
            assert!(
                !text.contains(secret) && !output.stderr.contains(secret),
                "a secret is in what was said"
            );
        }
    }
    output
}

pub(crate) fn messages(output: &Output, kind: &str) -> Vec<Value> {
    let lines = output.lines.iter().filter_map(|line| serde_json::from_slice::<Value>(&line.raw).ok());
    lines.filter(|line| line["type"] == kind).collect()
}

pub(crate) fn states(output: &Output) -> usize {
    output.states().count()
}

/// The stream `s` with an id, a value and a time.
pub(crate) fn stream(mode: &str) -> Value {
    let properties = json!({
        "id": {"type": "integer"}, "v": {"type": "string"},
        "at": {"type": "string", "format": "date-time"},
        "_ab_cdc_deleted_at": {"type": "string", "format": "date-time"},
    });
    let mut stream = json!({
        "stream": {"name": "s", "json_schema": {"type": "object", "properties": properties},
            "supported_sync_modes": ["full_refresh", "incremental"]},
        "sync_mode": "incremental", "destination_sync_mode": mode, "cursor_field": ["at"],
    });
    if mode == "append_dedup" {
        stream["primary_key"] = json!([["id"]]);
    }
    stream
}

/// The same with a generation.
pub(crate) fn generation(mode: &str, id: i64, minimum: i64) -> Value {
    let mut stream = stream(mode);
    for (key, value) in [("generation_id", id), ("minimum_generation_id", minimum), ("sync_id", id)] {
        stream[key] = value.into();
    }
    stream
}

pub(crate) fn record(data: &Value) -> String {
    let record = json!({"type": "RECORD", "record": {"stream": "s", "emitted_at": 1_700_000_000_123_i64, "data": data}});
    format!("{record}\n")
}

pub(crate) fn rows(rows: &[(i64, &str)]) -> String {
    rows.iter().map(|(id, v)| record(&json!({"id": id, "v": v}))).collect()
}

/// So many rows, each with a value of so many bytes.
pub(crate) fn many(ids: std::ops::Range<i64>, bytes: usize) -> String {
    ids.map(|id| record(&json!({"id": id, "v": format!("{id:0bytes$}")}))).collect()
}

pub(crate) const STATE: &str = "{\"type\":\"STATE\",\"state\":{\"type\":\"STREAM\",\"stream\":{\"stream_descriptor\":{\"name\":\"s\"},\"stream_state\":{\"n\":1}}}}\n";

pub(crate) fn status(status: &str) -> String {
    format!(
        "{{\"type\":\"TRACE\",\"trace\":{{\"type\":\"STREAM_STATUS\",\"emitted_at\":1.0,\"stream_status\":{{\"stream_descriptor\":{{\"name\":\"s\"}},\"status\":\"{status}\"}}}}}}\n"
    )
}

pub(crate) fn owned(rows: &[(i64, &str)]) -> Vec<(i64, String)> {
    rows.iter().map(|(id, v)| (*id, (*v).to_owned())).collect()
}
