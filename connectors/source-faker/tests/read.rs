//! Reads as a process: the same rows for a seed, and resuming.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

fn read(dir: &Path, config: &Value, state: Option<&Value>, stream: &str) -> Vec<Value> {
    let schema = json!({"type": "object", "properties": {"id": {"type": "integer"}, "updated_at": {"type": "string", "format": "date-time"}, "name": {"type": "string"}}});
    let catalog = json!({"streams": [{
        "stream": {"name": stream, "json_schema": schema, "supported_sync_modes": ["full_refresh", "incremental"]},
        "sync_mode": "incremental", "destination_sync_mode": "append", "cursor_field": ["updated_at"]}]});
    let mut command = Command::new(env!("CARGO_BIN_EXE_source-faker"));
    command.arg("read");
    let mut files = vec![("--config", config), ("--catalog", &catalog)];
    files.extend(state.map(|s| ("--state", s)));
    for (flag, content) in files {
        let path = dir.join(flag.trim_start_matches('-'));
        std::fs::write(&path, content.to_string()).unwrap();
        command.arg(flag).arg(path);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
        .stdout
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect()
}

fn rows(messages: &[Value]) -> Vec<&Value> {
    messages.iter().filter(|m| m["type"] == "RECORD").map(|m| &m["record"]["data"]).collect()
}

fn ids(messages: &[Value]) -> Vec<u64> {
    rows(messages).iter().map(|r| r["id"].as_u64().unwrap()).collect()
}

fn last_state(messages: &[Value]) -> Value {
    json!([messages.iter().rfind(|m| m["type"] == "STATE").unwrap()["state"]])
}

#[test]
fn the_same_seed_gives_the_same_rows_and_another_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let config = |seed| json!({"count": 50, "seed": seed});
    let first = read(dir.path(), &config(7), None, "users");
    assert_eq!(rows(&first), rows(&read(dir.path(), &config(7), None, "users")));
    assert_ne!(rows(&first), rows(&read(dir.path(), &config(8), None, "users")));
    assert_eq!(ids(&first), (1..=50).collect::<Vec<_>>());
}

#[test]
fn a_finished_state_sends_everything_again_or_nothing_as_configured() {
    let dir = tempfile::tempdir().unwrap();
    let first = read(dir.path(), &json!({"count": 20, "seed": 7}), None, "users");
    let state = last_state(&first);
    let again = read(dir.path(), &json!({"count": 20, "seed": 7}), Some(&state), "users");
    assert_eq!(ids(&again), ids(&first));
    assert!(rows(&again)[0]["updated_at"].as_str() > rows(&first)[0]["updated_at"].as_str(), "updated now");
    let quiet = json!({"count": 25, "seed": 7, "always_updated": false});
    assert_eq!(ids(&read(dir.path(), &quiet, Some(&state), "users")), [21, 22, 23, 24, 25]);
    let none = read(dir.path(), &json!({"count": 20, "always_updated": false}), Some(&state), "users");
    assert!(ids(&none).is_empty());
    assert_eq!(
        last_state(&none)[0]["stream"]["stream_state"],
        state[0]["stream"]["stream_state"],
        "the state stays"
    );
}

#[test]
fn an_interrupted_state_goes_on_with_the_same_rows_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({"count": 30, "seed": 7});
    let whole = read(dir.path(), &config, None, "users");
    let state = json!([{"type": "STREAM", "stream": {"stream_descriptor": {"name": "users"},
        "stream_state": {"seed": 7, "updated_at": "2001-01-01T00:00:00+00:00", "loop_offset": 12}}}]);
    assert_eq!(rows(&read(dir.path(), &config, Some(&state), "users")), rows(&whole)[12..]);
}

#[test]
fn purchases_are_ten_for_ten_users_and_products_at_most_a_hundred() {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({"count": 200, "seed": 1});
    assert_eq!(ids(&read(dir.path(), &config, None, "purchases")), (1..=200).collect::<Vec<_>>());
    assert_eq!(ids(&read(dir.path(), &config, None, "products")), (1..=100).collect::<Vec<_>>());
}
