//! Scripted connectors for the tests: one Python program whose config says what it does.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const FAKE: &str = include_str!("connector.py");

/// A directory with a fake source, a fake destination and a sync file.
pub struct Place {
    pub dir: tempfile::TempDir,
}

impl Place {
    /// `source` and `destination` are the fakes' configs; `rest` are further keys of the sync file.
    pub fn new(source: Value, destination: Value, rest: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["source-fake", "destination-fake", "destination-exact"] {
            let path = dir.path().join(name);
            std::fs::write(&path, FAKE).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let place = Self { dir };
        place.rewrite(source, destination, rest);
        place
    }

    /// Replaces the sync file.
    pub fn rewrite(&self, source: Value, mut destination: Value, rest: Value) {
        destination["out"] = json!(self.path("received.jsonl"));
        destination["args_out"] = json!(self.path("destination-args.json"));
        let mut source = source;
        source["args_out"] = json!(self.path("source-args.json"));
        let mut file = json!({
            "source": {"connector": "./source-fake", "config": source},
            "destination": {"connector": "./destination-fake", "config": destination},
        });
        for (key, value) in rest.as_object().unwrap() {
            match key.as_str() {
                "destination_connector" => file["destination"]["connector"] = value.clone(),
                _ => file[key] = value.clone(),
            }
        }
        std::fs::write(self.path("sync.json"), serde_json::to_string_pretty(&file).unwrap()).unwrap();
        std::fs::set_permissions(self.path("sync.json"), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferry"));
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Runs ferry; panics when it takes longer than a minute.
    pub fn ferry(&self, arguments: &[&str]) -> Output {
        finish(self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// `ferry sync`, one attempt, as JSON. Gives the exit code and the report.
    pub fn sync(&self) -> (i32, Value) {
        self.sync_with(&["--attempts", "1"])
    }

    pub fn sync_with(&self, more: &[&str]) -> (i32, Value) {
        let mut arguments = vec!["sync", "sync.json", "--output", "json", "--grace-ms", "500"];
        arguments.extend(more);
        let output = self.ferry(&arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        let report = serde_json::from_str(&text).unwrap_or_else(|e| {
            panic!("{e}: {text} / {}", String::from_utf8_lossy(&output.stderr));
        });
        (output.status.code().unwrap_or(-1), report)
    }

    /// The lines that the destination received.
    pub fn received(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("received.jsonl")).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        // Every stream begins with STARTED; what matters comes after.
        lines.filter(|m: &Value| m["trace"]["stream_status"]["status"] != "STARTED").collect()
    }

    /// The saved states, as `ferry state show` gives them.
    pub fn states(&self) -> Value {
        let output = self.ferry(&["state", "show", "sync.json", "--output", "json"]);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What one of the fakes was started with the last time: argv, catalog, state.
    pub fn started_with(&self, role: &str) -> Value {
        let text = std::fs::read_to_string(self.path(&format!("{role}-args.json"))).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

/// Waits for a process, for a minute at most.
pub fn finish(mut child: Child) -> Output {
    let end = Instant::now() + Duration::from_secs(60);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let read = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                pipe.read_to_end(&mut bytes).unwrap();
            }
            bytes
        })
    };
    let out = read(out.map(|p| Box::new(p) as Box<dyn std::io::Read + Send>));
    let err = read(err.map(|p| Box::new(p) as Box<dyn std::io::Read + Send>));
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() };
        }
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("ferry did not end within a minute");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The message of the first failure.
pub fn first_failure(report: &Value) -> String {
    report["failures"][0]["message"].as_str().unwrap_or_default().to_owned()
}

/// A RECORD line.
pub fn record(stream: &str, data: Value) -> String {
    json!({"type": "RECORD", "record": {"stream": stream, "emitted_at": 1, "data": data}}).to_string()
}

/// A STATE line with the source's count, when given.
pub fn state(stream: &str, state: Value, count: Option<u64>) -> String {
    let mut message = json!({"type": "STATE", "state": {"type": "STREAM", "stream": {
        "stream_descriptor": {"name": stream}, "stream_state": state}}});
    if let Some(count) = count {
        message["state"]["sourceStats"] = json!({"recordCount": count as f64});
    }
    message.to_string()
}

/// A COMPLETE line.
pub fn complete(stream: &str) -> String {
    status(stream, "COMPLETE")
}

/// A STREAM_STATUS line.
pub fn status(stream: &str, status: &str) -> String {
    json!({"type": "TRACE", "trace": {"type": "STREAM_STATUS", "emitted_at": 1.0,
        "stream_status": {"stream_descriptor": {"name": stream}, "status": status}}})
    .to_string()
}

/// A well-behaved source of one stream with `n` rows.
pub fn good_source(n: u64) -> Value {
    let mut lines: Vec<String> =
        (0..n).map(|i| record("users", json!({"id": i, "name": format!("n{i}")}))).collect();
    lines.push(state("users", json!({"at": n}), Some(n)));
    lines.push(complete("users"));
    json!({"lines": lines})
}

/// Whether any process still runs with this text in its command line.
pub fn runs(text: &Path) -> bool {
    let text = text.to_string_lossy().into_owned();
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(&text))
    })
}
