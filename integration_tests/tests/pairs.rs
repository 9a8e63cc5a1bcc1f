//! Our sources into our destination through `ferry sync`, as a user runs it.

use std::path::Path;

use serde_json::{Value, json};
use testkit::{Connector, Exit, Folder, Output, binary};

/// `ferry` with our connectors found beside it.
fn ferry(folder: &Path, args: &[&str]) -> Output {
    let run = Connector::new(binary("ferry")).command(args.iter().copied()).in_folder(folder);
    run.output()
}

fn sync(folder: &Folder, file: &Value) -> Value {
    folder.json("sync.yaml", file);
    let output = ferry(folder.path(), &["sync", "sync.yaml", "--output", "json"]);
    assert!(output.exit == Exit::Code(0), "{output}");
    let text: Vec<u8> = output.lines.iter().flat_map(|l| [&l.raw[..], b"\n"].concat()).collect();
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{e}: {output}"))
}

fn rows(folder: &Folder, stream: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    for file in std::fs::read_dir(folder.path().join("lake").join(stream)).into_iter().flatten().flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        if name.ends_with(".jsonl") && !name.starts_with('.') {
            let text = std::fs::read_to_string(file.path()).unwrap();
            rows.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        }
    }
    rows
}

fn ids(folder: &Folder, stream: &str) -> Vec<u64> {
    let mut ids: Vec<_> = rows(folder, stream).iter().map(|row| row["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    ids
}

fn faker(count: u64, always_updated: bool) -> Value {
    json!({"connector": binary("source-faker"),
        "config": {"count": count, "seed": 7, "always_updated": always_updated}})
}

fn lake() -> Value {
    json!({"connector": binary("destination-local"),
        "config": {"destination_path": "lake", "format": {"format_type": "jsonl"}}})
}

fn incremental(destination_mode: &str) -> Value {
    json!([{"name": "users", "sync_mode": "incremental", "destination_sync_mode": destination_mode,
        "cursor_field": "updated_at", "primary_key": ["id"]}])
}

#[test]
fn every_stream_arrives_whole_and_a_second_run_replaces_it() {
    let folder = Folder::new();
    let file = json!({"source": faker(250, true), "destination": lake()});
    for _ in 0..2 {
        sync(&folder, &file);
        assert_eq!(ids(&folder, "users"), (1..=250).collect::<Vec<_>>());
        assert_eq!(ids(&folder, "purchases"), (1..=250).collect::<Vec<_>>());
        assert_eq!(ids(&folder, "products"), (1..=100).collect::<Vec<_>>());
    }
}

#[test]
fn an_incremental_sync_brings_only_what_is_new() {
    let folder = Folder::new();
    for (count, file) in [(100, faker(100, false)), (100, faker(100, false)), (130, faker(130, false))] {
        sync(&folder, &json!({"source": file, "destination": lake(), "streams": incremental("append")}));
        assert_eq!(ids(&folder, "users"), (1..=count).collect::<Vec<_>>());
    }
}

#[test]
fn a_deduplicating_sync_keeps_one_row_of_each_key_and_the_newest() {
    let folder = Folder::new();
    let file =
        json!({"source": faker(100, true), "destination": lake(), "streams": incremental("append_dedup")});
    sync(&folder, &file);
    let first = rows(&folder, "users");
    sync(&folder, &file);
    assert_eq!(ids(&folder, "users"), (1..=100).collect::<Vec<_>>());
    let newest = |rows: &[Value]| rows.iter().map(|r| r["updated_at"].as_str().unwrap().to_owned()).min();
    assert!(newest(&rows(&folder, "users")) > newest(&first), "the second run's rows are all newer");
}

#[test]
fn a_prefix_and_selected_fields_are_what_arrives() {
    let folder = Folder::new();
    let streams = json!([{"name": "users", "sync_mode": "full_refresh", "destination_sync_mode": "overwrite",
        "fields": ["id", "email"]}]);
    sync(
        &folder,
        &json!({"source": faker(20, true), "destination": lake(), "streams": streams, "prefix": "ml_"}),
    );
    assert!(rows(&folder, "users").is_empty());
    assert_eq!(ids(&folder, "ml_users"), (1..=20).collect::<Vec<_>>());
    for row in rows(&folder, "ml_users") {
        let own: Vec<_> = row.as_object().unwrap().keys().filter(|k| !k.starts_with("_airbyte_")).collect();
        assert_eq!(own, ["id", "email"]);
    }
}

#[test]
fn the_example_arrives_with_every_row() {
    let folder = Folder::new();
    let csv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/earthquakes/earthquakes.csv");
    let source = json!({"connector": binary("source-file"), "config": {"dataset_name": "earthquakes",
        "format": "csv", "url": csv, "provider": {"storage": "local"}}});
    sync(&folder, &json!({"source": source, "destination": lake()}));
    assert_eq!(rows(&folder, "earthquakes").len(), 1707);
}
