//! The answers to `spec` and `check`.

use std::process::Command;

use serde_json::{Value, json};
use testkit::services::{ObjectStore, StoreKind};

use crate::harness::{BINARY, Site, run};

#[test]
fn spec_has_the_keys_that_pasted_configs_have() {
    let run = run(Command::new(BINARY).arg("spec"), "");
    let spec = &run.of_kind("SPEC")[0]["spec"];
    assert_eq!(spec["supported_destination_sync_modes"], json!(["overwrite", "append"]));
    let properties = &spec["connectionSpecification"]["properties"];
    for key in ["access_key_id", "secret_access_key"] {
        assert_eq!(properties[key]["airbyte_secret"], true, "{properties}");
    }
    for key in [
        "role_arn",
        "s3_bucket_region",
        "s3_endpoint",
        "s3_path_format",
        "file_name_pattern",
        "s3_bucket_path",
    ] {
        assert!(properties[key].is_object(), "{key}");
    }
    let formats = properties["format"]["oneOf"].as_array().unwrap();
    let names: Vec<_> =
        formats.iter().map(|f| f["properties"]["format_type"]["const"].as_str().unwrap()).collect();
    for name in ["Parquet", "CSV", "JSONL"] {
        assert!(names.contains(&name), "{names:?}");
    }
}

fn check(site: &Site, change: &Value) -> (String, String) {
    let mut config = site.config.clone();
    for (key, value) in change.as_object().unwrap() {
        config[key] = value.clone();
    }
    let config = site.folder.json("config.json", &config);
    let run = run(Command::new(BINARY).args(["check", "--config", &config]), "");
    let status = run.of_kind("CONNECTION_STATUS")[0]["connectionStatus"].clone();
    (status["status"].as_str().unwrap().into(), status["message"].as_str().unwrap_or_default().into())
}

#[test]
fn check_writes_and_removes_an_object_and_leaves_nothing() {
    for kind in [StoreKind::Strict, StoreKind::Quick] {
        let site = Site::new(kind, json!({"format_type": "Parquet"}));
        assert_eq!(check(&site, &json!({})), ("SUCCEEDED".into(), String::new()), "{kind:?}");
        assert!(site.everything().is_empty(), "{:?}", site.everything().keys());
    }
}

#[test]
fn check_names_the_key_that_is_wrong() {
    let site = Site::jsonl();
    for (change, named) in [
        (json!({"secret_access_key": "not the one"}), "secret_access_key"),
        (json!({"access_key_id": "AKIDUNKNOWN"}), "access_key_id"),
        (json!({"s3_bucket_name": "s3://lake"}), "s3_bucket_name"),
        (json!({"s3_endpoint": "http://127.0.0.1:9"}), "s3_endpoint"),
        (json!({"s3_bucket_path": "a/../b"}), "s3_bucket_path"),
        (json!({"role_arn": "me", "access_key_id": "", "secret_access_key": ""}), "role_arn"),
        (json!({"format": {"format_type": "Parquet", "compression_codec": "LZO"}}), "LZO"),
        (json!({"format": {"format_type": "XML"}}), "format"),
    ] {
        let (status, message) = check(&site, &change);
        assert!(status == "FAILED" && message.contains(named), "{change}: {message}");
        assert!(!message.contains(ObjectStore::SECRET_KEY) && !message.contains("not the one"), "{message}");
    }
    let quick = Site::new(StoreKind::Quick, json!({"format_type": "JSONL"}));
    let (status, message) = check(&quick, &json!({"s3_bucket_name": "nowhere"}));
    assert!(status == "FAILED" && message.contains("no bucket nowhere"), "{message}");
}
