//! Trials of `check` and of configs that are no configs, for sources and destinations.

use protocol::{ConnectionStatus, ConnectionStatusKind, FailureType, Message};
use serde_json::{Value, json};

use super::Suite;
use super::spec::spec_schema;
use crate::folder::Folder;
use crate::output::Output;

/// Stands where a secret or a wrong value is, and must never be repeated.
const MARK: &str = "mark-4c1f-must-not-be-echoed";

fn status(output: &Output) -> &ConnectionStatus {
    let mut all =
        output.messages().filter_map(|m| if let Message::ConnectionStatus(s) = m { Some(s) } else { None });
    let status = all.next().unwrap_or_else(|| panic!("check printed no CONNECTION_STATUS: {output}"));
    assert!(all.next().is_none(), "check printed more than one CONNECTION_STATUS: {output}");
    status
}

pub fn check_succeeds(suite: &impl Suite) {
    let folder = Folder::new();
    let config = folder.json("config.json", &suite.config(&folder));
    let output = suite.connector().run(["check", "--config", &config]).succeeded();
    assert!(status(&output).status == ConnectionStatusKind::Succeeded, "{output}");
}

/// Each way in which a file is no config: what it is, its path, what the message must name.
fn bad_files(folder: &Folder) -> Vec<(&'static str, String)> {
    vec![
        ("absent", folder.path().join("absent.json").display().to_string()),
        ("empty", folder.write("empty.json", "")),
        ("blank", folder.write("blank.json", " \n\t\n")),
        ("not JSON", folder.write("not.json", format!("{{\"key\": {MARK}"))),
        ("not UTF-8", folder.write("latin.json", b"{\"key\": \"\xe9\xff\"}")),
        ("an array", folder.write("array.json", format!("[\"{MARK}\"]"))),
        ("null", folder.write("null.json", "null")),
        ("a folder", folder.folder("folder.json")),
    ]
}

pub fn check_answers_failed_to_a_file_that_is_no_config(suite: &impl Suite) {
    let folder = Folder::new();
    for (what, path) in bad_files(&folder) {
        let output = suite.connector().run(["check", "--config", &path]).succeeded();
        let answer = status(&output);
        assert!(answer.status == ConnectionStatusKind::Failed, "{what}: {output}");
        let message = answer.message.clone().unwrap_or_default();
        assert!(message.contains(&path), "{what}: the message must name the file: {message}");
        assert!(!output.to_string().contains(MARK), "{what}: repeats the content: {output}");
    }
}

pub fn a_file_that_is_no_config_fails_every_other_command_once(suite: &impl Suite) {
    let folder = Folder::new();
    let catalog = folder.json("catalog.json", &suite.catalog(&folder));
    let transfer = suite.transfer();
    for (what, path) in bad_files(&folder) {
        for args in
            [&["discover", "--config", &path][..], &[transfer, "--config", &path, "--catalog", &catalog]]
        {
            let output = suite.connector().run(args.iter().copied()).wrote_only_messages();
            let error = output.failed();
            assert!(error.failure_type == Some(FailureType::ConfigError), "{what}: {output}");
            assert!(error.message.contains(&path), "{what}: the error must name the file: {output}");
            assert!(!output.to_string().contains(MARK), "{what}: repeats the content: {output}");
        }
    }
}

/// Every place in a config with its schema: a JSON path, and the schema that holds there.
fn places(schema: &Value, config: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    let Some(object) = config.as_object() else { return };
    // Of several options the config's own constants choose one.
    let options = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let chosen = options.filter(|o| jsonschema::draft7::new(o).is_ok_and(|v| v.is_valid(config)));
    for schema in std::iter::once(schema).chain(chosen) {
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            let path = format!("{path}.{name}");
            if property.get("oneOf").is_none() {
                found.push((path.clone(), property.clone()));
            }
            if let Some(inner) = object.get(name) {
                places(property, inner, &path, found);
            }
        }
    }
}

fn replaced(config: &Value, path: &str, value: Value) -> Value {
    let mut config = config.clone();
    let mut place = &mut config;
    for name in path.trim_start_matches("$.").split('.') {
        place = &mut place[name];
    }
    *place = value;
    config
}

pub fn a_value_of_the_wrong_type_is_named_by_its_path_and_not_repeated(suite: &impl Suite) {
    let folder = Folder::new();
    let schema = spec_schema(suite);
    let config = suite.config(&folder);
    let catalog = folder.json("catalog.json", &suite.catalog(&folder));
    let mut found = Vec::new();
    places(&schema, &config, "$", &mut found);
    assert!(!found.is_empty(), "no property of the spec could be tried");
    for (path, property) in found {
        // What fits no schema of a single type, with the mark inside.
        let wrong = match property.get("type").and_then(Value::as_str) {
            Some("array" | "object") => json!(MARK),
            Some(_) => json!([MARK]),
            None => continue,
        };
        let file = folder.json("wrong.json", &replaced(&config, &path, wrong));
        let output = suite.connector().run(["check", "--config", &file]).succeeded();
        let answer = status(&output);
        assert!(answer.status == ConnectionStatusKind::Failed, "{path}: {output}");
        let message = answer.message.clone().unwrap_or_default();
        let named = path.rsplit('.').next().unwrap_or_default();
        // Inside a choice the validator may only say which choice fits nothing.
        let outer = path.trim_start_matches("$.").split('.').next().unwrap_or_default();
        assert!(
            message.contains(named) || message.contains(&format!("$.{outer}")),
            "{path}: not named: {message}"
        );
        assert!(!output.to_string().contains(MARK), "{path}: repeats the value: {output}");

        let output = suite
            .connector()
            .run([suite.transfer(), "--config", &file, "--catalog", &catalog])
            .wrote_only_messages();
        assert!(output.failed().failure_type == Some(FailureType::ConfigError), "{path}: {output}");
        assert!(!output.to_string().contains(MARK), "{path}: repeats the value: {output}");
    }
}

pub fn a_missing_key_is_named(suite: &impl Suite) {
    let folder = Folder::new();
    let schema = spec_schema(suite);
    let config = suite.config(&folder);
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let mut without = config.clone();
        without.as_object_mut().expect("configs are objects").remove(key);
        let file = folder.json("without.json", &without);
        let output = suite.connector().run(["check", "--config", &file]).succeeded();
        let answer = status(&output);
        assert!(answer.status == ConnectionStatusKind::Failed, "{key}: {output}");
        assert!(answer.message.as_ref().is_some_and(|m| m.contains(key)), "{key} is not named: {output}");
    }
}

pub fn an_unknown_config_key_only_warns(suite: &impl Suite) {
    let folder = Folder::new();
    let mut config = suite.config(&folder);
    config["unheard_of_key"] = json!(MARK);
    let file = folder.json("config.json", &config);
    let output = suite.connector().run(["check", "--config", &file]).succeeded();
    assert!(status(&output).status == ConnectionStatusKind::Succeeded, "{output}");
    assert!(output.log().contains("unheard_of_key"), "no LOG line names the key: {output}");
    assert!(!output.to_string().contains(MARK), "repeats the value: {output}");
}

pub fn flags_come_in_any_order(suite: &impl Suite) {
    let folder = Folder::new();
    let config = folder.json("config.json", &suite.config(&folder));
    let catalog = folder.json("catalog.json", &suite.catalog(&folder));
    let equals = (format!("--config={config}"), format!("--catalog={catalog}"));
    let command = suite.transfer();
    for args in [&[command, "--catalog", &catalog, "--config", &config][..], &[command, &equals.1, &equals.0]]
    {
        let _ = suite.connector().run(args.iter().copied()).succeeded();
    }
}
