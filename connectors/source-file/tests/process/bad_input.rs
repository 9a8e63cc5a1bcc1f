//! What cannot be read ends with one error that says where and what to do.

use serde_json::json;

use crate::harness::{Case, gzip, zstd};

#[test]
fn bad_csv_names_file_line_and_field() {
    for (text, expected) in [
        ("a,b\n1,2\n3\n", &["f.csv", "line 3", "1 field where the header has 2", "ragged_rows"][..]),
        ("a,b\n1,2\n3,4,5\n", &["line 3", "3 fields"]),
        ("a,b\n\"x\n\ny\",2\n3\n", &["line 5"]),
        ("a,b\n1,2\n3,\"x\ny\n", &["line 3", "field 2 (b)", "never closed"]),
        ("a,b\n1,\"x\"y\n", &["line 2", "field 2 (b)", "follows the closing quote"]),
        ("", &["f.csv", "is empty"]),
    ] {
        let case = Case::csv(text);
        let run = case.discover();
        for part in expected {
            assert!(run.error().contains(part), "{text:?}: {}", run.error());
        }
        assert_eq!(run.failure_type(), "config_error");
    }
}

#[test]
fn a_late_fault_fails_the_read_after_the_rows_before_it() {
    let mut text = "a,b\n".to_owned();
    for i in 0..20_000 {
        text += &format!("{i},x\n");
    }
    let run = Case::csv(text + "1,2,3\n").read();
    assert_eq!((run.code != 0, run.count()), (true, 20_000));
    assert!(run.error().contains("line 20002"), "{}", run.error());
    assert!(run.messages.iter().any(|m| m["trace"]["stream_status"]["status"] == "INCOMPLETE"));
    assert!(!run.messages.iter().any(|m| m["type"] == "STATE"));
}

#[test]
fn s3_09_ragged_rows_on_request_are_null_and_reported() {
    let run = Case::csv("a,b\n1,2\n3\n4,5,6\n").set("ragged_rows", "null_and_report".into()).read();
    assert_eq!(run.rows(), [r#"{"a":1,"b":2}"#, r#"{"a":3,"b":null}"#, r#"{"a":null,"b":null}"#]);
    assert_eq!(
        run.changes().iter().map(|(i, c)| (*i, &c[..1])).collect::<Vec<_>>(),
        [(1, "b"), (2, "a"), (2, "b")]
    );
}

#[test]
fn a_file_that_is_not_there_or_not_a_file_is_named() {
    let case = Case::csv("a\n1\n");
    let missing = case.path("absent.csv");
    let case = case.set("url", json!(missing));
    let error = case.check().error();
    assert!(error.contains("absent.csv does not exist"), "{error}");
    let dir = case.dir.path().to_owned();
    let error = case.set("url", json!(dir)).check().error();
    assert!(error.contains("is a directory"), "{error}");
}

#[test]
fn s3_14_broken_compression_is_named() {
    let text = (0..50_000).fold("a,b\n".to_owned(), |t, i| t + &format!("{i},{}\n", i * 7919 % 10_007));
    let (gz, zst) = (gzip(text.as_bytes()), zstd(text.as_bytes()));
    let mut damaged = gz.clone();
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    for (name, content, expected) in [
        ("f.csv.gz", gz[..gz.len() / 2].to_vec(), "cut short"),
        ("f.csv.gz", gz[..gz.len() - 4].to_vec(), "cut short"),
        ("f.csv.gz", gz[..6].to_vec(), "cut short"),
        ("f.csv.zst", zst[..zst.len() / 2].to_vec(), "cut short"),
        ("f.csv.gz", damaged, "damaged"),
        ("f.csv.zip", b"PK\x03\x04rest".to_vec(), "zip"),
        ("f.csv.bz2", b"BZh91AY".to_vec(), "bzip2"),
    ] {
        let case = Case::new(name, "csv", content).options(json!({"names": ["a", "b"], "dtype": "string"}));
        let discovered = case.discover();
        let error = if discovered.code == 0 { case.read().error() } else { discovered.error() };
        assert!(error.contains(expected) && error.contains(name), "{name}: {error}");
    }
}

#[test]
fn s3_14_a_bomb_ends_the_sync_unless_its_ratio_is_allowed() {
    // 24 MiB from about 24 KiB.
    let line = format!("{}\n", "x".repeat(1 << 20));
    let case =
        Case::new("f.csv.gz", "csv", gzip(line.repeat(24).as_bytes())).options(json!({"header": null}));
    let run = case.read();
    assert!(run.error().contains("max_decompression_ratio"), "{}", run.error());
    assert_eq!(case.set("max_decompression_ratio", 2000.into()).read().count(), 24);
}

#[test]
fn s3_09_a_record_without_end_is_refused() {
    let text = "a,b\n1,\"".to_owned() + &"x\n".repeat(2 << 20);
    let run = Case::csv(&text).set("max_record_mib", 1.into()).discover();
    assert!(run.error().contains("line 2") && run.error().contains("max_record_mib"), "{}", run.error());
    let text = "{\"a\":\"".to_owned() + &"x".repeat(2 << 20);
    let run = Case::new("f", "jsonl", text).set("max_record_mib", 1.into()).discover();
    assert!(run.error().contains("line 1") && run.error().contains("max_record_mib"), "{}", run.error());
}

#[test]
fn text_in_another_encoding_is_named() {
    let error = Case::csv(b"a\nok\nGr\xFC\xDFe\n").discover().error();
    assert!(error.contains("line 3") && error.contains("byte 7") && error.contains("encoding"), "{error}");
    let utf16: Vec<u8> = "a,b\n1,2\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let error = Case::csv(utf16).discover().error();
    assert!(error.contains("UTF-16"), "{error}");
    let error = Case::csv(b"\xFF\xFEa\0\x00\xD8b\0").discover().error();
    assert!(error.contains("not valid UTF-16LE"), "{error}");
}

#[test]
fn bad_reader_options_are_named() {
    for (options, expected) in [
        ("{", "not valid JSON object"),
        ("[1]", "not valid JSON object"),
        ("{\"sep\": \"||\"}", "sep must be exactly one"),
        ("{\"encoding\": \"klingon\"}", "klingon"),
        ("{\"header\": \"x\"}", "header must be"),
        ("{\"dtype\": \"quux\"}", "quux"),
        ("{\"dtype\": {\"zz\": \"str\"}}", "\"zz\""),
        ("{\"usecols\": [\"zz\"]}", "\"zz\""),
        ("{\"thousands\": \",\"}", "thousands is not supported"),
        ("{\"names\": [\"only\"]}", "names"),
        ("{\"sep\": \"\\\"\"}", "must differ"),
        ("{\"compression\": \"gzip\"}", "not compressed with gzip"),
    ] {
        let run = Case::csv("a,b\n1,2\n").set("reader_options", options.into()).discover();
        assert!(run.error().contains(expected), "{options}: {}", run.error());
        assert_eq!(run.failure_type(), "config_error");
    }
    let run = Case::csv("a\n1\n").options(json!({"engin": "c"})).discover();
    assert_eq!(run.code, 0);
    assert!(run.logged("\"engin\""));
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let run = Case::csv("a\n1\n").set("format", "excel".into()).check();
    assert!(run.error().contains("format") && run.error().contains("parquet"), "{}", run.error());
    let run = Case::csv("a\n1\n").set("provider", json!({"storage": "AzBlob"})).check();
    assert!(run.error().contains("provider") && run.error().contains("\"local\""), "{}", run.error());
    let run = Case::csv("a\n1\n").set("provider", json!({"storage": "S3"})).check();
    assert!(run.error().contains("url must be the bucket and the key"), "{}", run.error());
    let run = Case::csv("a\n1\n").set("dataset_name", "".into()).check();
    assert!(run.error().contains("dataset_name"), "{}", run.error());
}

#[test]
fn a_stream_that_the_file_is_not_is_refused() {
    let case = Case::csv("a\n1\n");
    let mut stream = case.stream();
    stream["name"] = "other".into();
    let run = case.read_stream(stream);
    assert!(run.error().contains("other") && run.code != 0);
    assert_eq!(run.count(), 0);
}
