//! Runs the binary on a file made for the test, and reads its messages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

const TIME_LIMIT: Duration = Duration::from_secs(60);

/// One file and the config that reads it.
pub(crate) struct Case {
    pub(crate) dir: TempDir,
    pub(crate) config: Value,
}

/// What a run said.
pub(crate) struct Run {
    text: String,
    pub(crate) messages: Vec<Value>,
    pub(crate) code: i32,
}

impl Case {
    /// A local file with this content.
    pub(crate) fn new(name: &str, format: &str, content: impl AsRef<[u8]>) -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        let config =
            json!({"dataset_name": "s", "format": format, "url": path, "provider": {"storage": "local"}});
        Self { dir, config }
    }

    pub(crate) fn csv(content: impl AsRef<[u8]>) -> Self {
        Self::new("f.csv", "csv", content)
    }

    pub(crate) fn options(self, options: Value) -> Self {
        self.set("reader_options", options.to_string().into())
    }

    pub(crate) fn set(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, command: &str, more: &[&Path]) -> Run {
        let config = self.path("config.json");
        fs::write(&config, self.config.to_string()).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_source-file"));
        process.arg(command).arg("--config").arg(config);
        if let [catalog] = more {
            process.arg("--catalog").arg(catalog);
        }
        Run::of(&wait(process))
    }

    pub(crate) fn check(&self) -> Run {
        self.run("check", &[])
    }

    /// The discovered properties, each as `type` or `type/format/airbyte_type`.
    pub(crate) fn types(&self) -> Vec<(String, String)> {
        let short = |schema: &Value| {
            let types: Vec<_> = schema["type"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .filter(|t| *t != "null")
                .collect();
            let mut text = types.join("|");
            for key in ["format", "airbyte_type"] {
                if let Some(more) = schema[key].as_str() {
                    text = format!("{text}/{more}");
                }
            }
            text
        };
        let stream = self.stream();
        stream["json_schema"]["properties"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(n, s)| (n.clone(), short(s)))
            .collect()
    }

    pub(crate) fn stream(&self) -> Value {
        let run = self.run("discover", &[]);
        assert_eq!(run.code, 0, "discover failed: {}", run.error());
        let catalog = run.messages.iter().find(|m| m["type"] == "CATALOG").expect("a catalog");
        assert_eq!(catalog["catalog"]["streams"].as_array().unwrap().len(), 1);
        catalog["catalog"]["streams"][0].clone()
    }

    pub(crate) fn discover(&self) -> Run {
        self.run("discover", &[])
    }

    /// Reads with everything that discover found.
    pub(crate) fn read(&self) -> Run {
        self.read_stream(self.stream())
    }

    pub(crate) fn read_stream(&self, stream: Value) -> Run {
        let catalog = json!({"streams": [{"stream": stream, "sync_mode": "full_refresh", "destination_sync_mode": "overwrite"}]});
        let path = self.path("catalog.json");
        fs::write(&path, catalog.to_string()).unwrap();
        self.run("read", &[&path])
    }
}

fn wait(mut process: Command) -> Output {
    let dir = TempDir::new().unwrap();
    let (out, err) = (dir.path().join("out"), dir.path().join("err"));
    process
        .stdin(Stdio::null())
        .stdout(fs::File::create(&out).unwrap())
        .stderr(fs::File::create(&err).unwrap());
    let mut child = process.spawn().unwrap();
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > TIME_LIMIT {
            let _ = child.kill();
            panic!("no end within {TIME_LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(3));
    };
    Output { status, stdout: fs::read(out).unwrap(), stderr: fs::read(err).unwrap() }
}

impl Run {
    fn of(output: &Output) -> Self {
        let lines = output.stdout.split(|b| *b == b'\n').filter(|l| !l.is_empty());
        let messages = lines
            .map(|l| {
                serde_json::from_slice(l)
                    .unwrap_or_else(|e| panic!("not JSON ({e}): {}", String::from_utf8_lossy(l)))
            })
            .collect();
        Self {
            text: String::from_utf8(output.stdout.clone()).unwrap(),
            messages,
            code: output.status.code().unwrap_or(-1),
        }
    }

    fn records(&self) -> impl Iterator<Item = &Value> {
        self.messages.iter().filter(|m| m["type"] == "RECORD").map(|m| &m["record"])
    }

    /// Each record's data as text, keys in the order written.
    pub(crate) fn rows(&self) -> Vec<String> {
        assert_eq!(self.code, 0, "read failed: {}", self.error());
        self.records().map(|r| r["data"].to_string()).collect()
    }

    /// The bytes of each record's `data`, which a JSON parser would round.
    pub(crate) fn raw_rows(&self) -> Vec<&str> {
        assert_eq!(self.code, 0, "read failed: {}", self.error());
        let lines = self.text.lines().filter(|l| l.starts_with(r#"{"type":"RECORD""#));
        lines
            .filter_map(|l| l.split_once(r#""data":"#))
            .map(|(_, d)| {
                d.split_once(r#","meta":"#).map_or_else(|| d.strip_suffix("}}").unwrap(), |(d, _)| d)
            })
            .collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.records().count()
    }

    /// `field:change:reason` of each record that has changes, with the record's number from 0.
    pub(crate) fn changes(&self) -> Vec<(usize, String)> {
        let text = |c: &Value| {
            format!(
                "{}:{}:{}",
                c["field"].as_str().unwrap(),
                c["change"].as_str().unwrap(),
                c["reason"].as_str().unwrap()
            )
        };
        self.records()
            .enumerate()
            .flat_map(|(i, r)| {
                r["meta"]["changes"].as_array().into_iter().flatten().map(move |c| (i, text(c)))
            })
            .collect()
    }

    /// The message of the one error trace, or of a failed check; empty when there was none.
    pub(crate) fn error(&self) -> String {
        let traces: Vec<_> = self.messages.iter().filter(|m| m["trace"]["type"] == "ERROR").collect();
        assert!(traces.len() <= 1, "more than one error trace");
        if let Some(trace) = traces.first() {
            assert_ne!(self.code, 0);
            return trace["trace"]["error"]["message"].as_str().unwrap().to_owned();
        }
        let status = self.messages.iter().find(|m| m["connectionStatus"]["status"] == "FAILED");
        status.map_or_else(String::new, |s| s["connectionStatus"]["message"].as_str().unwrap().to_owned())
    }

    pub(crate) fn failure_type(&self) -> String {
        let trace = self.messages.iter().find(|m| m["trace"]["type"] == "ERROR").expect("an error trace");
        trace["trace"]["error"]["failure_type"].as_str().unwrap().to_owned()
    }

    pub(crate) fn logged(&self, part: &str) -> bool {
        self.messages.iter().any(|m| m["log"]["message"].as_str().is_some_and(|t| t.contains(part)))
    }

    pub(crate) fn passed(&self) -> bool {
        self.code == 0 && self.messages.iter().any(|m| m["connectionStatus"]["status"] == "SUCCEEDED")
    }
}

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(content).unwrap();
    out.finish().unwrap()
}

pub(crate) fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 3).unwrap()
}

pub(crate) fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}
