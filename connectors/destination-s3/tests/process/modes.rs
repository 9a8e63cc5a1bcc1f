//! What each sync mode leaves behind, whole runs and broken ones.

use serde_json::json;
use testkit::services::{ObjectStore, StoreKind};

use crate::harness::{ROOT, STATE, Site, generation, noise, owned, row, rows, status, stream};

#[test]
fn every_mode_at_every_store_ends_with_the_right_rows() {
    for kind in [StoreKind::Strict, StoreKind::Quick] {
        for (mode, expected) in [
            ("overwrite", vec![(2, "c"), (3, "d")]),
            ("append", vec![(1, "a"), (2, "b"), (2, "c"), (3, "d")]),
        ] {
            let site =
                Site::new(kind, json!({"format_type": "JSONL", "flattening": "Root level flattening"}));
            site.sync(stream(mode), &rows(&[(1, "a"), (2, "b")]));
            site.sync(stream(mode), &rows(&[(2, "c"), (3, "d")]));
            assert_eq!(site.rows(), owned(&expected), "{mode} {kind:?}");
            assert_eq!(site.list()["objects"].as_array().unwrap().len(), site.objects().len());
        }
    }
}

#[test]
fn an_overwrite_that_the_source_did_not_finish_changes_nothing() {
    let site = Site::jsonl();
    site.sync(stream("overwrite"), &row(1, "old"));
    let before = site.objects();
    for end in [String::new(), status("INCOMPLETE")] {
        let run =
            site.sync(stream("overwrite"), &[status("STARTED"), row(2, "new"), STATE.into(), end].concat());
        assert_eq!(run.states(), 0, "rows that are dropped are not confirmed");
        assert_eq!(site.objects(), before);
        assert_eq!(site.unfinished(), [""; 0]);
    }
    site.sync(stream("overwrite"), &[status("STARTED"), row(3, "newer"), status("COMPLETE")].concat());
    assert_eq!(site.rows(), owned(&[(3, "newer")]));
}

#[test]
fn a_truncating_refresh_that_is_resumed_keeps_its_rows_and_drops_the_old_ones_at_the_end() {
    let site = Site::jsonl();
    site.sync(generation("append", 1, 0), &rows(&[(1, "old"), (9, "old")]));
    let broken = [status("STARTED"), row(1, "x"), STATE.to_owned(), status("INCOMPLETE")].concat();
    assert_eq!(site.sync(generation("append", 2, 2), &broken).states(), 1);
    assert_eq!(site.rows(), owned(&[(1, "old"), (1, "x"), (9, "old")]), "the old rows stay until it is done");
    site.sync(generation("append", 2, 2), &[status("STARTED"), row(2, "y"), status("COMPLETE")].concat());
    assert_eq!(site.rows(), owned(&[(1, "x"), (2, "y")]));
}

#[test]
fn df_03_objects_of_others_in_the_same_folder_are_never_touched() {
    let site = Site::jsonl();
    let names = ["0.jsonl", "2.jsonl", "notes.txt", "sub/x.jsonl"];
    let theirs = names.map(|name| format!("{ROOT}/s/{name}"));
    let files = site.server.files(ObjectStore::BUCKET);
    for key in &theirs {
        std::fs::create_dir_all(files.join(key).parent().unwrap()).unwrap();
        std::fs::write(files.join(key), "{\"id\":100,\"v\":\"theirs\"}\n").unwrap();
    }
    for run in 0..3 {
        site.sync(stream("overwrite"), &row(run, "ours"));
        let objects = site.objects();
        assert!(theirs.iter().all(|key| objects[key].starts_with(b"{\"id\":100")), "{:?}", objects.keys());
        assert_eq!(objects.len(), theirs.len() + 1);
    }
}

#[test]
fn df_05_an_empty_stream_is_an_object_without_rows_where_the_format_has_a_header() {
    for (format, least) in [
        (json!({"format_type": "Parquet"}), 1),
        (json!({"format_type": "CSV"}), 1),
        (json!({"format_type": "JSONL", "flattening": "Root level flattening"}), 0),
    ] {
        for mode in ["overwrite", "append"] {
            let site = Site::new(StoreKind::Strict, format.clone());
            site.sync(stream(mode), "");
            assert_eq!(site.objects().len(), least, "{mode} {format}");
            site.sync(stream(mode), &row(1, "a"));
            site.sync(stream(mode), "");
            let left = if mode == "overwrite" { least } else { 1 + least };
            assert_eq!(site.objects().len(), left, "{mode} {format}");
        }
    }
}

#[test]
fn objects_are_ended_at_their_size_and_listed_with_rows_and_digests() {
    let mut site = Site::jsonl();
    site.config["object_size_mb"] = 1.into();
    let input: String = (0..300).map(|id| row(id, &noise(id as u64, 16 << 10))).collect();
    site.sync(generation("append", 7, 0), &input);
    assert_eq!(site.rows().len(), 300);
    let list = site.list();
    let objects = list["objects"].as_array().unwrap();
    assert!(objects.len() >= 3, "{list}");
    assert_eq!(objects.iter().map(|o| o["rows"].as_u64().unwrap()).sum::<u64>(), 300);
    let stored = site.objects();
    for object in objects {
        let bytes = &stored[object["key"].as_str().unwrap()];
        assert_eq!(object["bytes"].as_u64().unwrap(), bytes.len() as u64);
        assert_eq!((object["generation"].as_i64(), object["sync_id"].as_i64()), (Some(7), Some(7)));
        assert_eq!(object["digest"].as_str().unwrap().len(), 32);
    }
}

#[test]
fn objects_say_their_generation_as_airbyte_does() {
    let site = Site::jsonl();
    site.sync(generation("append", 7, 0), &row(1, "a"));
    let key = site.objects().into_keys().next().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let head = runtime.block_on(async { site.store().head(&key).await.unwrap().unwrap() });
    assert_eq!(head.metadata.get("ab-generation-id").map(String::as_str), Some("7"));
}

#[test]
fn names_follow_the_patterns_and_a_second_attempt_at_a_sync_uses_the_same_moment() {
    let mut site = Site::jsonl();
    site.config["s3_path_format"] = "${NAMESPACE}/${STREAM_NAME}/${YEAR}_${MONTH}_${DAY}_${EPOCH}_".into();
    site.config["file_name_pattern"] = "{sync_id}_{part_number}{format_extension}".into();
    site.sync(generation("append", 5, 0), &row(1, "a"));
    site.sync(generation("append", 5, 0), &row(2, "b"));
    site.sync(generation("append", 6, 0), &row(3, "c"));
    let keys: Vec<String> = site.objects().into_keys().collect();
    let moments: Vec<&str> = keys.iter().map(|k| k.rsplit('_').nth(2).unwrap()).collect();
    assert!(moments[0] == moments[1] && moments[1] != moments[2], "{keys:?}");
    for (key, end) in keys.iter().zip(["_5_0.jsonl", "_5_1.jsonl", "_6_2.jsonl"]) {
        assert!(key.ends_with(end), "{keys:?}");
    }
}

#[test]
fn a_pattern_that_names_every_object_alike_never_writes_over_one() {
    let mut site = Site::jsonl();
    site.config["file_name_pattern"] = "data{format_extension}".into();
    for id in 0..3 {
        site.sync(stream("append"), &row(id, "x"));
    }
    assert_eq!(site.rows().len(), 3, "{:?}", site.objects().keys());
    assert!(site.objects().contains_key(&format!("{ROOT}/s/data-2.jsonl")));
}

#[test]
fn streams_that_share_a_folder_do_not_write_over_each_other() {
    let mut site = Site::jsonl();
    site.config["s3_path_format"] = "all/".into();
    let mut other = stream("append");
    other["stream"]["name"] = "t".into();
    let input = rows(&[(1, "a")]) + &crate::harness::record("t", r#"{"id":2,"v":"b"}"#);
    let run = crate::harness::run(&mut site.command(&[stream("append"), other]), &input);
    assert!(run.ok, "{}", run.text);
    assert_eq!(site.objects().len(), 2, "{:?}", site.objects().keys());
}

#[test]
fn df_04_a_schema_that_grows_gives_new_objects_the_new_columns() {
    let site = Site::jsonl();
    site.sync(stream("append"), &row(1, "a"));
    let mut wider = stream("append");
    wider["stream"]["json_schema"]["properties"]["extra"] = json!({"type": "boolean"});
    site.sync(wider, &crate::harness::record("s", r#"{"id":2,"v":"b","extra":true}"#));
    let texts: Vec<String> = site.objects().into_values().map(|b| String::from_utf8(b).unwrap()).collect();
    assert!(!texts[0].contains("\"extra\"") && texts[1].contains("\"extra\":true"), "{texts:?}");
}
