//! The answers to `spec` and `check`.

use std::process::Command;

use serde_json::{Value, json};
use testkit::services::{Action, Authority, FaultyStore, Nginx, ObjectStore, StoreKind};

use crate::harness::{BINARY, Site, noise, row, run, stream};

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
    for name in ["Parquet", "Avro", "CSV", "JSONL"] {
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

/// The status of a check that has no keys in its config but these variables.
fn check_with(site: &Site, role: &str, variables: &[(&str, &str)]) -> (String, String) {
    let mut config = site.config.clone();
    for (key, value) in [("access_key_id", ""), ("secret_access_key", ""), ("role_arn", role)] {
        config[key] = value.into();
    }
    let config = site.folder.json("config.json", &config);
    let mut command = Command::new(BINARY);
    command.args(["check", "--config", &config]).envs(variables.iter().copied());
    // Nothing of this machine's own.
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", site.folder.path());
    let status = run(&mut command, "").of_kind("CONNECTION_STATUS")[0]["connectionStatus"].clone();
    (status["status"].as_str().unwrap().into(), status["message"].as_str().unwrap_or_default().into())
}

#[test]
fn without_keys_the_environments_credentials_are_used_or_missed_by_name() {
    let site = Site::jsonl();
    let variables =
        [("AWS_ACCESS_KEY_ID", ObjectStore::ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", ObjectStore::SECRET_KEY)];
    assert_eq!(check_with(&site, "", &variables), ("SUCCEEDED".into(), String::new()));
    let (status, message) = check_with(&site, "", &[]);
    assert!(status == "FAILED" && message.contains("no credentials were found"), "{message}");
}

#[test]
fn a_role_is_taken_on_with_the_environments_credentials() {
    let mut site = Site::new(StoreKind::Quick, json!({"format_type": "JSONL"}));
    let proxy = FaultyStore::before(site.server.port, |_| Action::Pass);
    let roles = site.server.endpoint();
    site.config["s3_endpoint"] = proxy.endpoint().into();
    let variables = [
        ("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_ENDPOINT_URL_STS", roles.as_str()),
    ];
    let answer = check_with(&site, "arn:aws:iam::123456789012:role/lake-writer", &variables);
    assert_eq!(answer, ("SUCCEEDED".into(), String::new()));
    // Keys of a session begin so; those of the environment are not what the store sees.
    assert!(!proxy.seen().is_empty());
    for asked in proxy.seen() {
        assert!(asked.headers.contains("Credential=ASIA"), "{}", asked.headers);
    }
}

#[test]
fn s3_17_over_tls_a_server_that_nobody_vouches_for_is_refused_and_a_trusted_one_takes_large_objects() {
    let mut site = Site::jsonl();
    let authority = Authority::new();
    let pass = format!(
        "location / {{ client_max_body_size 0; proxy_pass http://127.0.0.1:{}; proxy_set_header Host $http_host; }}",
        site.server.port
    );
    let tls = Nginx::start(authority.issue("DNS:localhost"), &pass);
    site.config["s3_endpoint"] = format!("https://localhost:{}", tls.port).into();
    let (status, message) = check(&site, &json!({}));
    assert!(status == "FAILED" && message.contains("cannot prove who it is"), "{message}");
    let input: String = (0..150).map(|id| row(id, &noise(id as u64, 64 << 10))).collect();
    let mut trusting = site.command(&[stream("append")]);
    let run = run(trusting.env("SSL_CERT_FILE", authority.certificate()), &input);
    assert!(run.ok, "{}", run.text);
    assert_eq!(site.rows().len(), 150);
}
