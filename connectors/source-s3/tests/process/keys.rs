//! Names of objects, and which of them are a stream's.

use serde_json::json;
use testkit::services::{ObjectStore, StoreKind};

use crate::harness::{Lake, config, quick_put};

#[test]
fn s3_07_keys_of_any_kind_are_read_once_and_keep_their_names() {
    let store = ObjectStore::start(StoreKind::Quick);
    let mut lake = Lake::csv();
    lake.config = config(&store.endpoint(), json!({"filetype": "csv"}));
    let mut keys = [
        "a b/c d.csv",
        "a+b.csv",
        "a%2Fb.csv",
        "..a/..b.csv",
        "dots/a..csv",
        "nfc/\u{e9}.csv",
        "nfd/e\u{301}.csv",
        "emoji/🦀.csv",
        "quo\"te/'s.csv",
        "amp&lt;.csv",
        "hash#and?query=1.csv",
        "back\\slash.csv",
    ];
    for (n, key) in keys.iter().enumerate() {
        quick_put(store.port, key, "", &format!("id\n{n}\n"));
    }
    let lake = lake.stream("globs", json!(["**", "..a/..b.csv"]));
    let run = lake.read();
    let mut files = run.ok().files();
    files.sort_unstable();
    keys.sort_unstable();
    assert_eq!(files, keys);
}

#[test]
fn s3_15_globs_are_exact_and_a_file_of_two_globs_is_read_once() {
    let lake = Lake::csv().stream("globs", json!(["a/*.csv", "a/**", "b/x.csv"]));
    for (n, key) in
        ["a/1.csv", "a/sub/2.csv", "a-1/3.csv", "b/x.csv", "b/x.csv.bak", "ab/4.csv"].iter().enumerate()
    {
        lake.put(key, format!("id\n{n}\n"), n as u64);
    }
    assert_eq!(lake.read().ok().files(), ["a/1.csv", "a/sub/2.csv", "b/x.csv"]);
}

#[test]
fn s3_15_globs_that_match_nothing_are_named_with_what_to_do() {
    let lake = Lake::csv().stream("globs", json!(["nothing/*.csv"]));
    lake.put("a.csv", "id\n1\n", 0);
    for run in [lake.check(), lake.discover()] {
        let error = run.error();
        assert!(error.contains("nothing/*.csv") && error.contains("stream s"), "{error}");
    }
    // Later syncs have nothing to read, which is no fault.
    let lake = lake.stream("globs", json!(["a.csv"]));
    let stream = lake.found();
    std::fs::remove_file(lake.path("a.csv")).unwrap();
    assert_eq!(lake.sync(&stream, None).ok().rows().len(), 0);
}

#[test]
fn s3_08_empty_objects_folders_and_archived_objects_are_left_out_with_a_reason() {
    let store = ObjectStore::start(StoreKind::Quick);
    for (key, headers, body) in [
        ("folder/", "", ""),
        ("empty.csv", "", ""),
        ("cold.csv", "x-amz-storage-class: GLACIER\r\n", "id\n9\n"),
        ("warm.csv", "x-amz-storage-class: STANDARD_IA\r\n", "id\n1\n"),
    ] {
        quick_put(store.port, key, headers, body);
    }
    let mut lake = Lake::csv();
    lake.config = config(&store.endpoint(), json!({"filetype": "csv"}));
    let run = lake.read();
    assert_eq!(run.ok().files(), ["warm.csv"]);
    assert!(run.logged("1 empty objects were left out"), "{}", run.output.log());
    assert!(run.logged("1 objects were left out because they lie in an archive"));
}

#[test]
fn s3_18_a_bucket_that_is_not_there_and_a_wrong_secret_are_named() {
    let lake = Lake::csv();
    lake.put("a.csv", "id\n1\n", 0);
    let mut other = lake.config.clone();
    other["credentials"]["aws_secret_access_key"] = "another-secret".into();
    let lake = lake.set("bucket", json!("elsewhere"));
    assert!(lake.check().error().contains("there is no bucket elsewhere"), "{}", lake.check().error());
    let mut lake = lake;
    lake.config = other;
    let error = lake.check().error();
    assert!(error.contains("aws_secret_access_key"), "{error}");
}
