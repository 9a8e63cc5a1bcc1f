//! The answers to `spec` and `check`.

use std::process::Command;

use serde_json::json;

use crate::harness::{BINARY, Site, run, visible};

#[test]
fn spec_offers_the_three_modes_and_the_three_formats() {
    let run = run(Command::new(BINARY).arg("spec"), "");
    let spec = &run.of_kind("SPEC")[0]["spec"];
    assert_eq!(spec["supported_destination_sync_modes"], json!(["overwrite", "append", "append_dedup"]));
    let schema = &spec["connectionSpecification"];
    assert_eq!(schema["required"], json!(["destination_path"]));
    let formats = schema["properties"]["format"]["oneOf"].as_array().unwrap();
    let names: Vec<_> =
        formats.iter().map(|f| f["properties"]["format_type"]["const"].as_str().unwrap()).collect();
    assert_eq!(names, ["parquet", "jsonl", "csv"]);
}

fn check(site: &Site, config: serde_json::Value) -> (String, String) {
    let config = site.file("config.json", &config);
    let run = run(Command::new(BINARY).arg("check").arg("--config").arg(config), "");
    let status = run.of_kind("CONNECTION_STATUS")[0]["connectionStatus"].clone();
    (status["status"].as_str().unwrap().into(), status["message"].as_str().unwrap_or_default().into())
}

#[test]
fn check_proves_writing_and_leaves_no_file() {
    let site = Site::parquet();
    assert_eq!(check(&site, json!({"destination_path": site.root()})).0, "SUCCEEDED");
    assert_eq!(std::fs::read_dir(site.root()).unwrap().count(), 0);
    assert_eq!(visible(site.temp.path()), ["config.json", "out"]);
}

#[test]
fn check_names_the_option_that_is_wrong() {
    let site = Site::parquet();
    for (config, expected) in [
        (json!({"destination_path": " "}), "destination_path is empty"),
        (
            json!({"destination_path": site.root(), "format": {"format_type": "csv", "delimiter": "ab"}}),
            "format.delimiter",
        ),
        (json!({}), "destination_path is missing"),
        (json!({"destination_path": site.root(), "format": {"format_type": "xml"}}), "format"),
    ] {
        let (status, message) = check(&site, config);
        assert!(status == "FAILED" && message.contains(expected), "{message}");
    }
}
