//! Runs the binary on a config, and reads what it says.

use serde_json::{Value, json};
use testkit::services::Postgres;
use testkit::{Connector, Exit, Folder, Output};

/// Runs a command that takes a config and nothing else.
pub(crate) fn run(command: &str, config: &Value) -> Output {
    let files = Folder::new();
    let path = files.json("config.json", config);
    let output = Connector::new(env!("CARGO_BIN_EXE_source-postgres")).run([command, "--config", &path]);
    let said: String = output.lines.iter().map(|l| String::from_utf8_lossy(&l.raw).into_owned()).collect();
    assert!(!said.contains(Postgres::PASSWORD), "the password is shown: {output}");
    output
}

/// What the check failed with, and what it warned of on the way.
pub(crate) fn refused(config: &Value) -> String {
    let output = run("check", config).succeeded();
    let (status, message) = outcome(&output);
    assert_eq!(status, "FAILED", "{output}");
    message
}

/// What a check that succeeds warns of.
pub(crate) fn accepted(config: &Value) -> String {
    let output = run("check", config).succeeded();
    let (status, message) = outcome(&output);
    assert_eq!(status, "SUCCEEDED", "{message}");
    output.log()
}

/// Reads these discovered streams whole.
pub(crate) fn read(config: &Value, streams: &[Value]) -> Output {
    read_as(config, streams, "full_refresh")
}

/// Reads these discovered streams in that mode.
pub(crate) fn read_as(config: &Value, streams: &[Value], mode: &str) -> Output {
    let files = Folder::new();
    let configured = streams
        .iter()
        .map(|stream| json!({"stream": stream, "sync_mode": mode, "destination_sync_mode": "append"}));
    let catalog = files.json("catalog.json", &json!({"streams": configured.collect::<Vec<_>>()}));
    let config = files.json("config.json", config);
    let args = ["read", "--config", &config, "--catalog", &catalog];
    Connector::new(env!("CARGO_BIN_EXE_source-postgres")).run(args)
}

fn outcome(output: &Output) -> (String, String) {
    let mut found = output.lines.iter().filter_map(|line| {
        let message: Value = serde_json::from_slice(&line.raw).ok()?;
        let status = message.get("connectionStatus")?;
        Some((status["status"].as_str()?.to_owned(), status["message"].as_str().unwrap_or("").to_owned()))
    });
    let first = found.next().unwrap_or_else(|| panic!("no connection status: {output}"));
    assert!(found.next().is_none(), "two connection statuses: {output}");
    first
}

/// The discovered streams, as JSON, by `schema.name`.
pub(crate) fn streams(config: &Value) -> Vec<(String, Value)> {
    let output = run("discover", config).succeeded();
    assert_eq!(output.exit, Exit::Code(0));
    let catalog = output
        .lines
        .iter()
        .filter_map(|line| serde_json::from_slice::<Value>(&line.raw).ok())
        .find_map(|message| message.get("catalog").cloned())
        .unwrap_or_else(|| panic!("no catalog: {output}"));
    let name = |stream: &Value| {
        format!("{}.{}", stream["namespace"].as_str().unwrap_or(""), stream["name"].as_str().unwrap_or(""))
    };
    catalog["streams"].as_array().unwrap().iter().map(|s| (name(s), s.clone())).collect()
}

/// The stream of that name.
pub(crate) fn stream(config: &Value, name: &str) -> Value {
    let all = streams(config);
    all.iter()
        .find(|(n, _)| n == name)
        .unwrap_or_else(|| panic!("no stream {name} in {:?}", all.iter().map(|(n, _)| n).collect::<Vec<_>>()))
        .1
        .clone()
}

/// A config for CDC with the slot `s` and the publication `p`.
pub(crate) fn cdc(server: &Postgres) -> Value {
    let mut config = server.config_json("postgres");
    config["replication_method"] = json!({"method": "CDC", "plugin": "pgoutput", "replication_slot": "s",
        "publication": "p", "initial_waiting_seconds": 120});
    config
}

/// The same config for another user, whose password is `pw-of-NAME`.
pub(crate) fn as_user(mut config: Value, user: &str) -> Value {
    config["username"] = user.into();
    config["password"] = format!("pw-of-{user}").into();
    config
}

/// The statement that makes that user.
pub(crate) fn create_user(user: &str, rights: &str) -> String {
    format!("CREATE ROLE {user} LOGIN PASSWORD 'pw-of-{user}' {rights};")
}

/// The first statement that a message tells to run, without its semicolon.
pub(crate) fn statement(message: &str) -> String {
    let (_, rest) = message.split_once(" Run ").unwrap_or_else(|| panic!("nothing to run: {message}"));
    let (sql, _) = rest.split_once(';').unwrap_or_else(|| panic!("no end of the statement: {message}"));
    sql.to_owned()
}
