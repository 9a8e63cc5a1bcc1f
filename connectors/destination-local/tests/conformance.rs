//! The suite that every destination passes, run against the built binary, writing JSON lines.

use std::path::Path;

use serde_json::{Value, json};
use testkit::conformance::{DestinationSuite, StreamDescriptor};

fn suite() -> DestinationSuite {
    DestinationSuite {
        connector: testkit::Connector::new(env!("CARGO_BIN_EXE_destination-local")),
        config: Box::new(|folder| json!({"destination_path": folder, "format": {"format_type": "jsonl"}})),
        rows: Box::new(rows),
        holds_nul: true,
    }
}

/// What somebody who lists the folder sees: every file that is not hidden.
fn rows(lake: &Path, stream: &StreamDescriptor) -> Vec<String> {
    let mut rows = Vec::new();
    for folder in std::fs::read_dir(lake).into_iter().flatten().flatten() {
        let manifest = std::fs::read(folder.path().join(".ferry-manifest.json")).unwrap_or_default();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap_or_default();
        // Names are encoded in paths; the manifest has them plain.
        if manifest["stream"] != stream.name.as_str() {
            continue;
        }
        for file in std::fs::read_dir(folder.path()).unwrap().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if name.ends_with(".jsonl") && !name.starts_with('.') {
                let text = std::fs::read_to_string(file.path()).unwrap();
                rows.extend(text.lines().map(str::to_owned));
            }
        }
    }
    rows
}

testkit::destination_trials!(suite);
testkit::file_trials!(suite);
