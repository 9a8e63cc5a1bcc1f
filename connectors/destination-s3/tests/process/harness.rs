//! Runs the connector and reads back what it wrote.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use connector_kit::Secret;
use flate2::read::MultiGzDecoder;
use s3_kit::{Credentials, Keys, Settings, Store};
use serde_json::{Value, json};
use testkit::Folder;
use testkit::services::{ObjectStore, StoreKind};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_destination-s3");
pub(crate) const ROOT: &str = "base/path";

/// A store with a config that leads to it.
pub(crate) struct Site {
    pub(crate) server: ObjectStore,
    pub(crate) folder: Folder,
    pub(crate) config: Value,
}

/// What a run said.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) ok: bool,
    pub(crate) text: String,
    pub(crate) lines: Vec<Value>,
}

impl Run {
    pub(crate) fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.lines.iter().filter(|l| l["type"] == kind).collect()
    }

    /// The message of the one error.
    pub(crate) fn error(&self) -> String {
        let errors: Vec<_> =
            self.of_kind("TRACE").into_iter().filter(|l| l["trace"]["type"] == "ERROR").collect();
        assert!(!self.ok && errors.len() == 1, "{}", self.text);
        errors[0]["trace"]["error"]["message"].as_str().unwrap().to_owned()
    }

    pub(crate) fn states(&self) -> usize {
        self.of_kind("STATE").len()
    }
}

/// The stream `s` with an id and a value.
pub(crate) fn stream(mode: &str) -> Value {
    json!({
        "stream": {"name": "s", "json_schema": {"type": "object", "properties": {"id": {"type": "integer"}, "v": {"type": "string"}}},
            "supported_sync_modes": ["full_refresh", "incremental"]},
        "sync_mode": "incremental", "destination_sync_mode": mode, "cursor_field": ["id"],
    })
}

/// The same with a generation.
pub(crate) fn generation(mode: &str, id: i64, minimum: i64) -> Value {
    let mut stream = stream(mode);
    for (key, value) in [("generation_id", id), ("minimum_generation_id", minimum), ("sync_id", id)] {
        stream[key] = value.into();
    }
    stream
}

pub(crate) fn record(name: &str, data: &str) -> String {
    format!(
        "{{\"type\":\"RECORD\",\"record\":{{\"stream\":{},\"emitted_at\":1700000000123,\"data\":{data}}}}}\n",
        json!(name)
    )
}

pub(crate) fn row(id: i64, v: &str) -> String {
    record("s", &format!("{{\"id\":{id},\"v\":\"{v}\"}}"))
}

pub(crate) fn rows(rows: &[(i64, &str)]) -> String {
    rows.iter().map(|(id, v)| row(*id, v)).collect()
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

/// Text that no codec makes smaller by much.
pub(crate) fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:016x}", state ^ (state >> 29)));
    }
    text
}

impl Site {
    pub(crate) fn new(kind: StoreKind, format: Value) -> Self {
        let server = ObjectStore::start(kind);
        let mut config = server.destination();
        config["s3_bucket_path"] = ROOT.into();
        config["s3_path_format"] = "${NAMESPACE}/${STREAM_NAME}/".into();
        config["format"] = format;
        Self { server, folder: Folder::new(), config }
    }

    pub(crate) fn jsonl() -> Self {
        Self::new(StoreKind::Strict, json!({"format_type": "JSONL", "flattening": "Root level flattening"}))
    }

    pub(crate) fn command(&self, streams: &[Value]) -> Command {
        let config = self.folder.json("config.json", &self.config);
        let catalog = self.folder.json("catalog.json", &json!({"streams": streams}));
        let mut command = Command::new(BINARY);
        command.args(["write", "--config", &config, "--catalog", &catalog]);
        command
    }

    pub(crate) fn write(&self, stream: Value, input: &str) -> Run {
        run(&mut self.command(&[stream]), input)
    }

    /// A run that has to succeed.
    pub(crate) fn sync(&self, stream: Value, input: &str) -> Run {
        let run = self.write(stream, input);
        assert!(run.ok, "{}", run.text);
        run
    }

    pub(crate) fn store(&self) -> Store {
        let settings = Settings {
            bucket: ObjectStore::BUCKET.into(),
            region: "us-east-1".into(),
            endpoint: self.server.endpoint(),
            credentials: Credentials::Static {
                id: Secret::from(ObjectStore::ACCESS_KEY.to_owned()),
                secret: Secret::from(ObjectStore::SECRET_KEY.to_owned()),
            },
            keys: Keys { bucket: "", region: "", endpoint: "", access_key: "", secret_key: "", role: "" },
        };
        Store::new(settings).unwrap()
    }

    /// Every object of the bucket that readers look at.
    pub(crate) fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        self.everything()
            .into_iter()
            .filter(|(key, _)| !key.starts_with(&format!("{ROOT}/_ferry/")))
            .collect()
    }

    pub(crate) fn everything(&self) -> BTreeMap<String, Vec<u8>> {
        let store = self.store();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut objects = BTreeMap::new();
            let mut listing = store.list("", None);
            while let Some(page) = listing.next_page().await.unwrap() {
                for object in page {
                    let (bytes, _) = store.get(&object.key, 1 << 30).await.unwrap().unwrap();
                    objects.insert(object.key, bytes.to_vec());
                }
            }
            objects
        })
    }

    /// Writes an object as somebody else would.
    pub(crate) fn put(&self, key: &str, text: &str) {
        let store = self.store();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let put = store.put(key, "text/plain", text.to_owned().into(), s3_kit::Condition::Any, &[]);
        runtime.block_on(put).unwrap();
    }

    pub(crate) fn list(&self) -> Value {
        serde_json::from_slice(&self.everything()[&format!("{ROOT}/_ferry/s.json")]).unwrap()
    }

    /// The rows of stream `s`, sorted.
    pub(crate) fn rows(&self) -> Vec<(i64, String)> {
        let mut rows: Vec<_> = self
            .objects()
            .into_iter()
            .filter(|(key, _)| key.starts_with(&format!("{ROOT}/s/")) && key.contains(".jsonl"))
            .flat_map(|(key, bytes)| json_rows(&key, &bytes))
            .map(|row| (row["id"].as_i64().unwrap(), row["v"].as_str().unwrap().to_owned()))
            .collect();
        rows.sort();
        rows
    }

    /// What uploads that were neither completed nor dropped have left; the strict store keeps them as files.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.server.files("")).unwrap().flatten();
        let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.contains(".upload")).collect()
    }
}

pub(crate) fn text_of(key: &str, bytes: &[u8]) -> String {
    let mut text = String::new();
    if key.ends_with(".gz") {
        MultiGzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(bytes.to_vec()).unwrap();
    }
    text
}

pub(crate) fn json_rows(key: &str, bytes: &[u8]) -> Vec<Value> {
    text_of(key, bytes).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs it to its end; nothing it says may hold the secret.
pub(crate) fn run(command: &mut Command, input: &str) -> Run {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let feeder = std::thread::spawn(move || {
        // A connector that ends early closes its end.
        let _ = stdin.write_all(input.as_bytes());
    });
    let run = finish(child);
    feeder.join().unwrap();
    run
}

pub(crate) fn finish(child: Child) -> Run {
    let output = child.wait_with_output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains(ObjectStore::SECRET_KEY), "the secret is in what was said");
    let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Run { ok: output.status.success(), text, lines }
}
