//! What the files hold, to the byte where bytes are promised.

use std::fs;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::harness::{Site, csv, generation, read_text, record, stream, visible};

fn only_text(site: &Site) -> String {
    let dir = site.root().join("s");
    read_text(&dir.join(&visible(&dir)[0]))
}

#[test]
fn jsonl_keeps_every_value_as_it_was_written() {
    let site = Site::jsonl();
    let mut stream = generation("append", 4, 0);
    stream["stream"]["json_schema"]["properties"] = json!({"n": {"type": "number"}, "i": {"type": "integer"}, "s": {"type": "string"}, "o": {"type": "object"}, "gone": {"type": "string"}});
    stream["primary_key"] = json!([]);
    stream["cursor_field"] = json!([]);
    let data = r#"{"n":1.10,"i":123456789012345678901234567890,"s":"\u00e9\ud83e\udd80 é","o":{"b": 1.0,"a":[1e5]},"extra":1}"#;
    site.sync(stream, &record("s", data));
    let text = only_text(&site);
    assert!(text.contains(r#","n":1.10,"i":123456789012345678901234567890,"s":"\u00e9\ud83e\udd80 é","o":{"b": 1.0,"a":[1e5]},"gone":null}"#), "{text}");
    let row: Value = serde_json::from_str(&text).unwrap();
    let keys: Vec<_> = row.as_object().unwrap().keys().take(4).cloned().collect();
    assert_eq!(keys, ["_airbyte_raw_id", "_airbyte_extracted_at", "_airbyte_meta", "_airbyte_generation_id"]);
    assert_eq!(row["_airbyte_extracted_at"], 1_700_000_000_123_i64);
    assert_eq!(row["_airbyte_meta"], json!({"sync_id": 1, "changes": []}));
    assert_eq!(row["_airbyte_generation_id"], 4);
}

#[test]
fn csv_tells_null_from_empty_and_quotes_by_rfc_4180() {
    let site = Site::new(json!({"format_type": "csv"}));
    let mut stream = stream("append");
    stream["stream"]["json_schema"]["properties"] = json!({"a,b": {"type": "string"}, "v": {"type": "string"}, "o": {"type": "object"}, "n": {"type": "number"}, "f": {"type": "string"}});
    stream["primary_key"] = json!([]);
    let data = r#"{"a,b":null,"v":"","o":{"k": "x,y"},"n":0.10,"f":"=1+1"}"#;
    site.sync(stream, &record("s", data));
    let text = only_text(&site);
    let (header, line) = text.split_once('\n').unwrap();
    assert_eq!(
        header,
        r#"_airbyte_raw_id,_airbyte_extracted_at,_airbyte_meta,_airbyte_generation_id,"a,b",v,o,n,f"#
    );
    let tail = ",1700000000123,\"{\"\"sync_id\"\":null,\"\"changes\"\":[]}\",0,,\"\",\"{\"\"k\"\": \"\"x,y\"\"}\",0.10,=1+1\n";
    assert!(line.ends_with(tail), "{line}");
}

#[test]
fn df_11_cells_that_look_like_formulas_are_exact_unless_the_option_is_on() {
    let mut stream = stream("append");
    stream["stream"]["json_schema"]["properties"] =
        json!({"v": {"type": "string"}, "n": {"type": "number"}, "f": {"type": "string"}});
    (stream["primary_key"], stream["cursor_field"]) = (json!([]), json!([]));
    let input = [record("s", r#"{"v":"a-b","n":-0.10,"f":"=1+1"}"#), record("s", r#"{"f":"\t-1"}"#)].concat();
    for (escape, first, second) in [
        (false, "\ta-b\t-0.10\t=1+1\n", "\t\t\t\"\t-1\"\n"),
        (true, "\ta-b\t-0.10\t'=1+1\n", "\t\t\t\"'\t-1\"\n"),
    ] {
        let format = json!({"format_type": "csv", "delimiter": "Tab: \\t", "escape_formulas": escape});
        let site = Site::new(format);
        site.sync(stream.clone(), &input);
        let text = only_text(&site);
        assert!(text.contains(first) && text.ends_with(second), "{text}");
    }
}

#[test]
fn a_lone_surrogate_is_null_in_csv_and_named_in_meta() {
    let site = Site::new(json!({"format_type": "csv"}));
    site.sync(stream("append"), &record("s", r#"{"id":1,"v":"\udc00"}"#));
    let records = csv(&only_text(&site));
    assert_eq!(records[1][5], "");
    assert!(
        records[1][2]
            .contains(r#"{"field":"v","change":"NULLED","reason":"DESTINATION_SERIALIZATION_ERROR"}"#),
        "{records:?}"
    );
}

#[test]
fn df_05_parquet_nulls_what_does_not_fit_says_so_and_keeps_what_the_source_said() {
    let site = Site::parquet();
    let mut stream = stream("append");
    stream["stream"]["json_schema"]["properties"] = json!({
        "i": {"type": "integer"}, "n": {"type": "number"}, "t": {"type": "string", "format": "date-time"}, "d": {"type": "string", "format": "date"},
    });
    stream["primary_key"] = json!([]);
    stream["cursor_field"] = json!([]);
    let data = r#"{"i":9223372036854775808,"n":0.12345678901234567890,"t":"2024-01-01T00:00:00.1234567Z","d":"soon"}"#;
    let meta = r#"{"changes":[{"field":"x","change":"TRUNCATED","reason":"SOURCE_FIELD_SIZE_LIMITATION"}]}"#;
    let line = format!(
        "{{\"type\":\"RECORD\",\"record\":{{\"stream\":\"s\",\"emitted_at\":1,\"data\":{data},\"meta\":{meta}}}}}\n"
    );
    let bc = record(
        "s",
        r#"{"i":-9223372036854775808,"n":0.1,"t":"0044-03-15T00:00:00Z BC","d":"0044-03-15 BC"}"#,
    );
    site.sync(stream, &[line, bc].concat());
    let dir = site.root().join("s");
    let file = fs::File::open(dir.join(&visible(&dir)[0])).unwrap();
    let batch =
        ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap();
    assert!((4..8).all(|c| batch.column(c).is_null(0) && batch.column(c).is_valid(1)));
    assert_eq!(batch.column(4).as_primitive::<Int64Type>().value(1), i64::MIN);
    assert_eq!(batch.column(6).as_primitive::<TimestampMicrosecondType>().value(1), -63_517_824_000_000_000);
    let meta: Value = serde_json::from_str(batch.column(2).as_string::<i32>().value(0)).unwrap();
    let fields: Vec<_> = meta["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["field"].as_str().unwrap(), c["reason"].as_str().unwrap()))
        .collect();
    let (wrong, large) = ("DESTINATION_SERIALIZATION_ERROR", "DESTINATION_FIELD_SIZE_LIMITATION");
    assert_eq!(
        fields,
        [("x", "SOURCE_FIELD_SIZE_LIMITATION"), ("i", large), ("n", large), ("t", large), ("d", wrong)]
    );
}

#[test]
fn files_roll_at_the_configured_size_and_none_is_lost() {
    let site = Site::jsonl();
    let mut command = site.command(&[stream("overwrite")]);
    let config = json!({"destination_path": site.root(), "format": site.format, "max_file_size_mb": 1});
    site.file("config.json", &config);
    let input: String = (0..30_000).map(|i| crate::harness::row(i, &"x".repeat(100))).collect();
    let run = crate::harness::run(&mut command, &input);
    assert!(run.ok, "{run:?}");
    assert!(visible(&site.root().join("s")).len() >= 3);
    let ids: Vec<_> = site.rows().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, (0..30_000).collect::<Vec<_>>());
}
