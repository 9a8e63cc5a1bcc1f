//! Trials with configured catalogs that are wrong, or only unusual.

use protocol::FailureType;
use serde_json::{Value, json};

use super::Suite;
use crate::folder::Folder;
use crate::output::Output;

fn transfer(suite: &impl Suite, folder: &Folder, catalog: impl AsRef<[u8]>) -> Output {
    let config = folder.json("config.json", &suite.config(folder));
    let catalog = folder.write("catalog.json", catalog);
    suite.connector().run([suite.transfer(), "--config", &config, "--catalog", &catalog])
}

/// Runs with the suite's catalog after `change`, which must be refused; returns the message.
fn refused(suite: &impl Suite, change: impl FnOnce(&mut Value)) -> String {
    let folder = Folder::new();
    let mut catalog = suite.catalog(&folder);
    change(&mut catalog);
    let output = transfer(suite, &folder, catalog.to_string()).wrote_only_messages();
    let error = output.failed();
    assert!(error.failure_type == Some(FailureType::ConfigError), "{output}");
    assert!(output.records().count() == 0, "rows were sent before the catalog was checked: {output}");
    error.message.clone()
}

pub fn a_file_that_is_no_catalog_is_an_error(suite: &impl Suite) {
    let folder = Folder::new();
    for text in ["", "not json", "[]", "{}", r#"{"streams": 7}"#, r#"{"streams": [{}]}"#] {
        let output = transfer(suite, &folder, text).wrote_only_messages();
        let error = output.failed();
        assert!(error.failure_type == Some(FailureType::ConfigError), "{text}: {output}");
        assert!(error.message.contains("catalog"), "{text}: {output}");
    }
}

pub fn an_unknown_sync_mode_is_an_error(suite: &impl Suite) {
    refused(suite, |catalog| catalog["streams"][0]["sync_mode"] = json!("INVALID"));
}

pub fn an_unknown_destination_sync_mode_is_an_error(suite: &impl Suite) {
    refused(suite, |catalog| catalog["streams"][0]["destination_sync_mode"] = json!("INVALID"));
}

pub fn an_unknown_cursor_field_is_an_error_that_names_it(suite: &impl Suite) {
    let message = refused(suite, |catalog| catalog["streams"][0]["cursor_field"] = json!(["no_such_field"]));
    assert!(message.contains("no_such_field"), "{message}");
}

/// The official suite for sources asks them for `append_dedup` without a key.
pub fn how_the_destination_writes_is_none_of_a_sources_business(suite: &impl Suite) {
    let folder = Folder::new();
    let mut catalog = suite.catalog(&folder);
    for stream in catalog["streams"].as_array_mut().expect("an array") {
        stream["destination_sync_mode"] = json!("append_dedup");
        stream["primary_key"] = Value::Null;
    }
    let output = transfer(suite, &folder, catalog.to_string()).succeeded();
    assert!(output.records().count() > 0, "{output}");
}

pub fn deduplication_without_a_key_is_an_error_that_names_the_stream(suite: &impl Suite) {
    let mut name = String::new();
    let message = refused(suite, |catalog| {
        let stream = &mut catalog["streams"][0];
        stream["destination_sync_mode"] = json!("append_dedup");
        stream["primary_key"] = json!([]);
        stream["stream"]["source_defined_primary_key"] = json!([]);
        name = stream["stream"]["name"].as_str().unwrap_or_default().to_owned();
    });
    assert!(message.contains(&name), "{message}");
}

pub fn the_same_stream_twice_is_an_error_that_names_it(suite: &impl Suite) {
    let mut name = String::new();
    let message = refused(suite, |catalog| {
        let first = catalog["streams"][0].clone();
        name = first["stream"]["name"].as_str().unwrap_or_default().to_owned();
        catalog["streams"].as_array_mut().expect("an array").push(first);
    });
    assert!(message.contains(&name), "{message}");
}

pub fn an_unknown_stream_is_an_error_that_names_it(suite: &impl Suite) {
    // The other streams may go on; the run still fails.
    let folder = Folder::new();
    let mut catalog = suite.catalog(&folder);
    catalog["streams"][0]["stream"]["name"] = json!("no_such_stream");
    let output = transfer(suite, &folder, catalog.to_string()).wrote_only_messages();
    let error = output.failed();
    assert!(error.failure_type == Some(FailureType::ConfigError), "{output}");
    assert!(error.message.contains("no_such_stream"), "{output}");
    assert!(output.records().all(|r| r.stream != "no_such_stream"), "{output}");
}

pub fn explicit_nulls_and_unknown_keys_are_accepted(suite: &impl Suite) {
    let folder = Folder::new();
    let mut catalog = suite.catalog(&folder);
    catalog["unheard_of"] = json!({"a": 1});
    for stream in catalog["streams"].as_array_mut().expect("an array") {
        for key in
            ["cursor_field", "primary_key", "generation_id", "minimum_generation_id", "sync_id", "fields"]
        {
            stream[key] = Value::Null;
        }
        stream["unheard_of"] = json!([1]);
        for key in ["is_resumable", "source_defined_cursor", "is_file_based"] {
            stream["stream"][key] = Value::Null;
        }
        // A namespace is part of the name: it is null only where there is none.
        let namespace = stream["stream"]["namespace"].take();
        stream["stream"]["namespace"] = namespace;
        stream["stream"]["unheard_of"] = json!("x");
    }
    let _ = transfer(suite, &folder, catalog.to_string()).succeeded();
}
