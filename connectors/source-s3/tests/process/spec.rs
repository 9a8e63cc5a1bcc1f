//! The form, and configs of older versions.

use serde_json::{Value, json};
use testkit::services::ObjectStore;

use crate::harness::Lake;

#[test]
fn the_form_offers_the_formats_and_credentials_by_their_discriminators() {
    let output = testkit::Connector::new(env!("CARGO_BIN_EXE_source-s3")).run(["spec"]);
    let spec: Value = serde_json::from_slice(&output.lines[0].raw).unwrap();
    let schema = &spec["spec"]["connectionSpecification"];
    let constants = |options: &Value, key: &str| -> Vec<String> {
        let options = options.as_array().unwrap();
        options.iter().map(|o| o["properties"][key]["const"].as_str().unwrap().to_owned()).collect()
    };
    let stream = &schema["properties"]["streams"]["items"];
    assert_eq!(
        constants(&stream["properties"]["format"]["oneOf"], "filetype"),
        ["csv", "jsonl", "parquet", "avro"]
    );
    assert_eq!(
        constants(&schema["properties"]["credentials"]["oneOf"], "auth_type"),
        ["iam_user", "iam_role", "default_credentials", "anonymous"]
    );
    let secret = &schema["properties"]["credentials"]["oneOf"][0]["properties"]["aws_secret_access_key"];
    assert_eq!(secret["airbyte_secret"], true);
    assert_eq!(stream["properties"]["globs"]["default"], json!(["**"]));
}

#[test]
fn a_config_of_version_three_is_read_as_it_is() {
    let mut lake = Lake::csv();
    lake.put("in/a.csv", "id,n\n1,x\n", 0);
    lake.put("out/b.csv", "id,n\n2,y\n", 0);
    lake.config = json!({
        "dataset": "old", "path_pattern": "in/*.csv|never/*.csv", "format": {"filetype": "csv"}, "schema": "{}",
        "provider": {
            "storage": "S3", "bucket": ObjectStore::BUCKET, "endpoint": lake.store.endpoint(),
            "aws_access_key_id": ObjectStore::ACCESS_KEY, "aws_secret_access_key": ObjectStore::SECRET_KEY,
            "path_prefix": "in"
        }
    });
    assert_eq!(lake.read().ok().rows(), [r#"{"id":"1","n":"x"}"#]);
}

#[test]
fn what_makes_no_sense_is_refused_by_its_key() {
    for (key, value, named) in [
        ("name", json!(" "), "name"),
        ("globs", json!([]), "globs"),
        ("input_schema", json!("[]"), "input_schema"),
        ("input_schema", json!(r#"{"a": "varchar"}"#), "\"a\""),
        ("format", json!({"filetype": "csv", "delimiter": "||"}), "delimiter"),
        ("format", json!({"filetype": "csv", "double_quote": false}), "escape_char"),
        ("format", json!({"filetype": "csv", "encoding": "klingon"}), "klingon"),
        ("format", json!({"filetype": "excel"}), "format"),
    ] {
        let lake = Lake::csv().stream(key, value.clone());
        lake.put("a.csv", "id\n1\n", 0);
        let error = lake.check().error();
        assert!(error.contains(named), "{key} {value}: {error}");
    }
    let lake = Lake::csv().set("start_date", json!("soon"));
    assert!(lake.check().error().contains("start_date"));
    let lake =
        Lake::csv().stream("schemaless", json!(true)).stream("input_schema", json!(r#"{"a":"string"}"#));
    assert!(lake.check().error().contains("schemaless"));
}

#[test]
fn no_secret_is_said_anywhere() {
    let lake = Lake::csv();
    lake.put("a.csv", "id\n1\n", 0);
    let runs = [lake.check(), lake.read(), lake.set("bucket", json!("nowhere")).check()];
    for run in runs {
        let text =
            run.output.lines.iter().map(|l| String::from_utf8_lossy(&l.raw).into_owned()).collect::<String>();
        assert!(
            !text.contains(ObjectStore::SECRET_KEY) && !run.output.stderr.contains(ObjectStore::SECRET_KEY)
        );
    }
}
