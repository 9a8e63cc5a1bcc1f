//! Runs the connector and reads back what it wrote.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use flate2::read::MultiGzDecoder;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_destination-local");

/// A directory with a config.
pub(crate) struct Site {
    pub(crate) temp: tempfile::TempDir,
    pub(crate) format: Value,
}

/// What a run said.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) ok: bool,
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
        assert!(!self.ok && errors.len() == 1, "{self:?}");
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
        "sync_mode": "full_refresh", "destination_sync_mode": mode, "primary_key": [["id"]], "cursor_field": ["v"],
    })
}

/// The same with a generation.
pub(crate) fn generation(mode: &str, id: i64, minimum: i64) -> Value {
    let mut stream = stream(mode);
    stream["sync_mode"] = "incremental".into();
    for (key, value) in [("generation_id", id), ("minimum_generation_id", minimum), ("sync_id", 1)] {
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

impl Site {
    pub(crate) fn new(format: Value) -> Self {
        Self { temp: tempfile::tempdir().unwrap(), format }
    }

    pub(crate) fn parquet() -> Self {
        Self::new(json!({"format_type": "parquet"}))
    }

    pub(crate) fn jsonl() -> Self {
        Self::new(json!({"format_type": "jsonl"}))
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.temp.path().join("out")
    }

    pub(crate) fn file(&self, name: &str, content: &Value) -> PathBuf {
        let path = self.temp.path().join(name);
        fs::write(&path, content.to_string()).unwrap();
        path
    }

    pub(crate) fn command(&self, streams: &[Value]) -> Command {
        let config =
            self.file("config.json", &json!({"destination_path": self.root(), "format": self.format}));
        let catalog = self.file("catalog.json", &json!({"streams": streams}));
        let mut command = Command::new(BINARY);
        command.arg("write").arg("--config").arg(config).arg("--catalog").arg(catalog);
        command
    }

    pub(crate) fn write(&self, stream: Value, input: &str) -> Run {
        run(&mut self.command(&[stream]), input)
    }

    /// Writes and expects success.
    pub(crate) fn sync(&self, stream: Value, input: &str) {
        let run = self.write(stream, input);
        assert!(run.ok, "{run:?}");
    }

    /// The rows of stream `s`, sorted, as a reader of the visible files would see them.
    pub(crate) fn rows(&self) -> Vec<(i64, String)> {
        rows_in(&self.root().join("s"))
    }
}

pub(crate) fn run(command: &mut Command, input: &str) -> Run {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // It may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    finish(child)
}

pub(crate) fn finish(child: Child) -> Run {
    let output = child.wait_with_output().unwrap();
    let lines = output.stdout.split(|b| *b == b'\n').filter(|l| !l.is_empty());
    Run { ok: output.status.success(), lines: lines.map(|l| serde_json::from_slice(l).unwrap()).collect() }
}

/// The names that a listing without hidden files shows.
pub(crate) fn visible(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|n| !n.starts_with('.')).collect();
    names.sort();
    names
}

pub(crate) fn rows_in(dir: &Path) -> Vec<(i64, String)> {
    let mut rows: Vec<_> = visible(dir).iter().flat_map(|name| read_file(&dir.join(name))).collect();
    rows.sort();
    rows
}

fn read_file(path: &Path) -> Vec<(i64, String)> {
    let name = path.to_str().unwrap();
    if name.ends_with(".parquet") {
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap().build().unwrap();
        return reader
            .flat_map(|batch| {
                let batch = batch.unwrap();
                let (ids, values) = (batch.column_by_name("id").unwrap(), batch.column_by_name("v").unwrap());
                let (ids, values) = (ids.as_primitive::<Int64Type>(), values.as_string::<i32>());
                (0..batch.num_rows()).map(|i| (ids.value(i), values.value(i).to_owned())).collect::<Vec<_>>()
            })
            .collect();
    }
    let text = read_text(path);
    if name.contains(".jsonl") {
        let row = |line: &str| {
            let row: Value = serde_json::from_str(line).unwrap();
            (row["id"].as_i64().unwrap_or_default(), row["v"].as_str().unwrap_or_default().to_owned())
        };
        return text.lines().map(row).collect();
    }
    let records = csv(&text);
    let at = |name: &str| records[0].iter().position(|n| n == name).unwrap();
    let (id, v) = (at("id"), at("v"));
    records[1..].iter().map(|r| (r[id].parse().unwrap(), r[v].clone())).collect()
}

pub(crate) fn read_text(path: &Path) -> String {
    let mut text = String::new();
    let file = fs::File::open(path).unwrap();
    if path.to_str().unwrap().ends_with(".gz") {
        MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    } else {
        { file }.read_to_string(&mut text).unwrap();
    }
    text
}

/// A plain reader of RFC 4180.
pub(crate) fn csv(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.push(chars.next().unwrap()),
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            c => field.push(c),
        }
    }
    assert!(field.is_empty() && record.is_empty() && !quoted, "the last line is whole");
    records
}

pub(crate) fn owned(rows: &[(i64, &str)]) -> Vec<(i64, String)> {
    rows.iter().map(|(id, v)| (*id, (*v).to_owned())).collect()
}
