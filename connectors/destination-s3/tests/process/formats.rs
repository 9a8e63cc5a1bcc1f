//! What objects look like, byte for byte where it matters.

use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Value, json};
use testkit::services::StoreKind;

use crate::harness::{Site, json_rows, noise, record, row, stream, text_of};

fn one(site: &Site) -> (String, Vec<u8>) {
    let objects = site.objects();
    assert_eq!(objects.len(), 1, "{:?}", objects.keys());
    objects.into_iter().next().unwrap()
}

fn flattening(flat: bool) -> &'static str {
    if flat { "Root level flattening" } else { "No flattening" }
}

#[test]
fn json_lines_hold_the_record_whole_or_its_fields_at_the_root() {
    for (kind, extension) in [("No Compression", ".jsonl"), ("GZIP", ".jsonl.gz")] {
        for flat in [false, true] {
            let site = Site::new(
                StoreKind::Strict,
                json!({"format_type": "JSONL", "compression": {"compression_type": kind}, "flattening": flattening(flat)}),
            );
            site.sync(
                stream("append"),
                &record("s", r#"{"id":12345678901234567890,"v":"é\u00e9","more":1.50}"#),
            );
            let (key, bytes) = one(&site);
            assert!(key.ends_with(extension), "{key}");
            let text = text_of(&key, &bytes);
            let row: Value = json_rows(&key, &bytes).remove(0);
            assert_eq!(row["_airbyte_extracted_at"], 1_700_000_000_123_i64);
            assert_eq!(row["_airbyte_meta"], json!({"sync_id": null, "changes": []}));
            assert_eq!(row["_airbyte_generation_id"], 0);
            assert_eq!(row["_airbyte_raw_id"].as_str().unwrap().len(), 36);
            let data = if flat {
                r#""id":12345678901234567890,"v":"é\u00e9"}"#
            } else {
                r#""_airbyte_data":{"id":12345678901234567890,"v":"é\u00e9","more":1.50}}"#
            };
            assert!(text.contains(data), "{text}");
        }
    }
}

#[test]
fn csv_has_the_documented_header_and_quotes_what_needs_it() {
    for (flat, header, line) in
        [(false, "_airbyte_data", r#",0,"{""id"":1,""v"":""a,b""}""#), (true, "id,v", r#",0,1,"a,b""#)]
    {
        let site =
            Site::new(StoreKind::Strict, json!({"format_type": "CSV", "flattening": flattening(flat)}));
        site.sync(stream("append"), &row(1, "a,b"));
        let (key, bytes) = one(&site);
        let text = text_of(&key, &bytes);
        let mut lines = text.lines();
        assert_eq!(
            lines.next().unwrap(),
            format!("_airbyte_raw_id,_airbyte_extracted_at,_airbyte_meta,_airbyte_generation_id,{header}")
        );
        let row = lines.next().unwrap();
        assert!(row.ends_with(line) && row.contains(r#","{""sync_id"":null,""changes"":[]}","#), "{row}");
    }
}

#[test]
fn df_11_cells_that_look_like_formulas_are_kept_as_they_are() {
    let site = Site::new(StoreKind::Strict, json!({"format_type": "CSV", "flattening": flattening(true)}));
    site.sync(stream("append"), &row(1, "=1+2"));
    let (key, bytes) = one(&site);
    assert!(text_of(&key, &bytes).ends_with(",1,=1+2\n"));
}

fn metadata(bytes: Vec<u8>) -> ParquetMetaData {
    SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap().metadata().clone()
}

#[test]
fn parquet_takes_every_codec_and_its_sizes() {
    for (codec, expected) in [
        ("UNCOMPRESSED", "UNCOMPRESSED"),
        ("SNAPPY", "SNAPPY"),
        ("GZIP", "GZIP"),
        ("BROTLI", "BROTLI"),
        ("LZ4", "LZ4_RAW"),
        ("ZSTD", "ZSTD"),
    ] {
        let site = Site::new(
            StoreKind::Strict,
            json!({"format_type": "Parquet", "compression_codec": codec, "block_size_mb": 1, "page_size_kb": 8,
                "dictionary_page_size_kb": 4, "dictionary_encoding": codec != "ZSTD", "max_padding_size_mb": 8}),
        );
        let input: String = (0..2_000).map(|id| row(id % 10, "always the same")).collect();
        site.sync(stream("append"), &input);
        let (key, bytes) = one(&site);
        assert!(key.ends_with(".parquet"), "{key}");
        let metadata = metadata(bytes);
        assert_eq!(metadata.file_metadata().num_rows(), 2_000);
        let column = metadata.row_group(0).columns().last().unwrap().clone();
        assert!(format!("{:?}", column.compression()).starts_with(expected), "{:?}", column.compression());
        assert_eq!(column.dictionary_page_offset().is_some(), codec != "ZSTD", "{codec}");
    }
}

#[test]
fn a_row_group_is_written_out_when_its_block_is_full() {
    let site = Site::new(StoreKind::Strict, json!({"format_type": "Parquet", "block_size_mb": 1}));
    let input: String = (0..400).map(|id| row(id, &noise(id as u64, 16 << 10))).collect();
    site.sync(stream("append"), &input);
    let (_, bytes) = one(&site);
    let metadata = metadata(bytes);
    assert!(metadata.num_row_groups() >= 3, "{}", metadata.num_row_groups());
    assert_eq!(metadata.file_metadata().num_rows(), 400);
}

#[test]
fn df_05_values_that_a_column_cannot_hold_are_null_and_named_and_columns_may_be_all_null() {
    let site = Site::new(StoreKind::Strict, json!({"format_type": "Parquet"}));
    let mut stream = stream("append");
    stream["cursor_field"] = json!([]);
    stream["stream"]["json_schema"]["properties"] = json!({
        "none": {"type": "string"}, "decimal": {"type": "number"}, "nanos": {"type": "string", "format": "date-time"},
        "unsigned": {"type": "integer"}, "nested": {"type": "object", "properties": {"a": {"type": "integer"}}},
    });
    let values = r#"{"decimal":123456789012345678901234567890123456789.1,"nanos":"2024-01-01T00:00:00.123456789Z","unsigned":18446744073709551615,"nested":{"a":[1.50]}}"#;
    site.sync(stream, &[record("s", values), record("s", r#"{"decimal":0.1,"unsigned":1}"#)].concat());
    let (_, bytes) = one(&site);
    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap();
    let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.get_column_iter().skip(4).map(|(_, cell)| cell.to_string()).collect())
        .collect();
    assert_eq!(cells[0], ["null", "null", "null", "null", r#""{"a":[1.50]}""#]);
    assert_eq!(cells[1], ["null", "0.1", "null", "1", "null"]);
    let (_, meta) = rows[0].get_column_iter().nth(2).unwrap();
    let meta: Value = serde_json::from_str(meta.to_string().trim_matches('"')).unwrap();
    let fields: Vec<_> = meta["changes"].as_array().unwrap().iter().map(|c| c["field"].clone()).collect();
    assert_eq!(fields, ["decimal", "nanos", "unsigned"]);
}
