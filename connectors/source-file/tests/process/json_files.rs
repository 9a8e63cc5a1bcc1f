//! JSON lines and JSON documents.

use serde_json::json;

use crate::harness::{Case, gzip, pairs};

#[test]
fn s3_12_json_lines_keep_every_digit_and_the_schema_is_a_union() {
    let case = Case::new(
        "f.jsonl",
        "jsonl",
        "{\"id\": 9007199254740993, \"mixed\": 1, \"o\": {\"x\": [1, 2]}, \"f\": 1}\n\n\
         {\"mixed\": \"one\", \"id\": 2, \"a\": [], \"f\": 1.50, \"n\": null, \"b\": true}",
    );
    assert_eq!(
        case.types(),
        pairs(&[
            ("id", "integer"),
            ("mixed", "integer|string"),
            ("o", "object"),
            ("f", "number"),
            ("a", "array"),
            ("n", "string"),
            ("b", "boolean"),
        ])
    );
    assert_eq!(
        case.read().raw_rows(),
        [
            r#"{"id":9007199254740993,"mixed":1,"o":{"x": [1, 2]},"f":1,"a":null,"n":null,"b":null}"#,
            r#"{"id":2,"mixed":"one","o":null,"f":1.50,"a":[],"n":null,"b":true}"#,
        ]
    );
}

#[test]
fn a_document_is_an_array_or_one_object() {
    for text in ["[{\"a\":1},\n {\"a\":\n2}]\n", "\u{FEFF} [ {\"a\":1} , {\"a\":2} ]"] {
        assert_eq!(Case::new("f.json", "json", text).read().rows(), [r#"{"a":1}"#, r#"{"a":2}"#], "{text:?}");
    }
    let rows = Case::new("f.json", "json", "{\"a\": 1,\n \"b\": {\"c\":\n [1,\r\n \"x y\"]}}").read().rows();
    assert_eq!(rows, [r#"{"a":1,"b":{"c":[1,"x y"]}}"#]);
    let big: Vec<_> = (0..30_000).map(|i| json!({"i": i, "s": "}{[]\",\\"})).collect();
    let rows = Case::new("f.json.gz", "json", gzip(serde_json::to_string_pretty(&big).unwrap().as_bytes()))
        .read()
        .rows();
    assert_eq!(rows.len(), 30_000);
    assert_eq!(rows[29_999], r#"{"i":29999,"s":"}{[]\",\\"}"#);
}

#[test]
fn values_that_do_not_fit_are_null_and_reported() {
    let mut text = String::new();
    for i in 0..10_000 {
        text += &format!("{{\"n\":{i},\"s\":\"x\"}}\n");
    }
    text += "{\"n\":\"late\",\"s\":5,\"new\":1}\n";
    let case = Case::new("f.jsonl", "jsonl", &text);
    let run = case.read();
    assert_eq!(run.rows()[10_000], r#"{"n":null,"s":null}"#);
    assert_eq!(run.changes().iter().map(|(i, _)| *i).collect::<Vec<_>>(), [10_000, 10_000]);
    assert!(
        run.logged("Column \"n\": 1 values")
            && run.logged("line 10001")
            && run.logged("\"new\" of 1 records")
    );
    let run = case.options(json!({"dtype": "string"})).read();
    assert_eq!(run.rows()[10_000], r#"{"n":"late","s":"5"}"#);
}

#[test]
fn s3_12_the_last_of_two_equal_keys_is_sent_and_told() {
    let run = Case::new("f.jsonl", "jsonl", "{\"a\":1,\"\\u0061\":2}\n").read();
    assert_eq!(run.rows(), [r#"{"a":2}"#]);
    assert!(run.logged("stood twice"));
}

#[test]
fn s3_12_bad_json_names_the_line() {
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    for (format, text, expected) in [
        ("jsonl", "{\"a\":1}\n{\"a\":1,}\n", "line 2"),
        ("jsonl", "{\"a\":1}\n{\"a\":1}{\"a\":2}\n", "line 2"),
        ("jsonl", "{\"a\":1}\n[1]\n", "line 2"),
        ("jsonl", "{\"a\":1}\n{\"a\":", "line 2"),
        ("jsonl", "[\n{\"a\":1}]\n", "format json"),
        ("jsonl", &deep, "nested too deep"),
        ("json", "[{\"a\":1},\n{\"a\":", "line 2"),
        ("json", "[{\"a\":1}", "not closed"),
        ("json", "[{\"a\":1}\n {\"a\":2}]", "comma"),
        ("json", "{\"a\":1}\n{\"a\":2}\n", "format jsonl"),
        ("json", "[1,2]", "array of objects"),
        ("json", "[]", "holds no record"),
        ("jsonl", "\n\n", "holds no record"),
        ("json", "", "is empty"),
    ] {
        let error = Case::new("f", format, text).discover().error();
        assert!(error.contains(expected), "{format} {text:?}: {error}");
    }
}
