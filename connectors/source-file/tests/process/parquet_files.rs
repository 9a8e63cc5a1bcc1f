//! Parquet: every type, column selection, damaged files.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, MapBuilder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::json;

use crate::harness::{Case, pairs};

fn file(columns: Vec<(&str, ArrayRef)>, compression: Compression, group: usize) -> Vec<u8> {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap();
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(group))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Case {
    Case::new("f.parquet", "parquet", file(columns, Compression::SNAPPY, 1000))
}

#[test]
fn s3_13_every_type_arrives_exact() {
    let structs = StructArray::from(vec![(
        Arc::new(arrow_schema::Field::new("x", arrow_schema::DataType::Float64, true)),
        Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(0.1)])) as ArrayRef,
    )]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), ListBuilder::new(StringBuilder::new()));
    map.keys().append_value("k\"");
    map.values().append_value([Some("v"), None]);
    map.append(true).unwrap();
    map.append(false).unwrap();
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), Some(vec![])]);
    let case = parquet(vec![
        ("i", Arc::new(Int64Array::from(vec![Some(i64::MIN), None]))),
        ("u", Arc::new(UInt64Array::from(vec![u64::MAX, 0]))),
        ("f", Arc::new(Float32Array::from(vec![0.1, f32::INFINITY]))),
        ("b", Arc::new(BooleanArray::from(vec![true, false]))),
        ("s", Arc::new(StringArray::from(vec!["a\n\"b\"", ""]))),
        ("y", Arc::new(BinaryArray::from(vec![&b"\xFF\x00"[..], b""]))),
        ("x", Arc::new(FixedSizeBinaryArray::try_from_iter([*b"abc", *b"def"].iter()).unwrap())),
        ("d", Arc::new(Date32Array::from(vec![-1, 19_000]))),
        ("t", Arc::new(Time64MicrosecondArray::from(vec![1, 86_399_000_000]))),
        ("z", Arc::new(TimestampMicrosecondArray::from(vec![-1, 0]).with_timezone("UTC"))),
        ("l", Arc::new(TimestampMillisecondArray::from(vec![1, i64::MAX]))),
        ("n", Arc::new(TimestampNanosecondArray::from(vec![1, 2_000]))),
        (
            "c",
            Arc::new(
                Decimal128Array::from(vec![-5, 9_999_999_999_999_999_999_999_999_999])
                    .with_precision_and_scale(30, 2)
                    .unwrap(),
            ),
        ),
        ("o", Arc::new(structs)),
        ("a", Arc::new(lists)),
        ("m", Arc::new(map.finish())),
    ]);
    assert_eq!(
        case.types(),
        pairs(&[
            ("i", "integer"),
            ("u", "integer"),
            ("f", "number"),
            ("b", "boolean"),
            ("s", "string"),
            ("y", "string"),
            ("x", "string"),
            ("d", "string/date"),
            ("t", "string/time/time_without_timezone"),
            ("z", "string/date-time/timestamp_with_timezone"),
            ("l", "string/date-time/timestamp_without_timezone"),
            ("n", "string/date-time/timestamp_without_timezone"),
            ("c", "number"),
            ("o", "object"),
            ("a", "array"),
            ("m", "object"),
        ])
    );
    let run = case.read();
    assert_eq!(
        run.raw_rows(),
        [
            r#"{"i":-9223372036854775808,"u":18446744073709551615,"f":0.1,"b":true,"s":"a\n\"b\"","y":"/wA=","x":"YWJj","d":"1969-12-31","t":"00:00:00.000001","z":"1969-12-31T23:59:59.999999Z","l":"1970-01-01T00:00:00.001000","n":"1970-01-01T00:00:00.000000001","c":-0.05,"o":{"x":"NaN"},"a":[1,null],"m":{"k\"":["v",null]}}"#,
            r#"{"i":null,"u":0,"f":null,"b":false,"s":"","y":"","x":"ZGVm","d":"2022-01-08","t":"23:59:59","z":"1970-01-01T00:00:00Z","l":null,"n":"1970-01-01T00:00:00.000002","c":99999999999999999999999999.99,"o":{"x":0.1},"a":[],"m":null}"#,
        ]
    );
    let reason = "NULLED:SOURCE_SERIALIZATION_ERROR";
    assert_eq!(run.changes(), [(1, format!("f:{reason}")), (1, format!("l:{reason}"))]);
}

fn simple(rows: i64, compression: Compression) -> Vec<u8> {
    let text: Vec<_> = (0..rows).map(|i| format!("row {i}")).collect();
    file(
        vec![
            ("id", Arc::new(Int64Array::from_iter_values(0..rows))),
            ("s", Arc::new(StringArray::from(text))),
        ],
        compression,
        700,
    )
}

#[test]
fn every_codec_and_every_row_group_is_read() {
    let zstd = Compression::ZSTD(ZstdLevel::default());
    for codec in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        zstd,
        Compression::LZ4_RAW,
    ] {
        let rows = Case::new("f.parquet", "parquet", simple(2000, codec)).read().rows();
        assert_eq!(rows.len(), 2000);
        assert_eq!(rows[1999], r#"{"id":1999,"s":"row 1999"}"#);
    }
}

#[test]
fn the_catalog_and_the_options_select() {
    let case = Case::new("f.parquet", "parquet", simple(10, Compression::SNAPPY));
    let mut stream = case.stream();
    stream["json_schema"]["properties"] =
        json!({"s": {"type": "string"}, "gone": {"type": "string"}, "id": {"type": "string"}});
    assert_eq!(case.read_stream(stream).rows()[3], r#"{"s":"row 3","gone":null,"id":"3"}"#);
    let case = case.options(json!({"usecols": ["id"], "nrows": 2}));
    assert_eq!(case.read().rows(), [r#"{"id":0}"#, r#"{"id":1}"#]);
    let run = case.options(json!({"usecols": ["nope"]})).discover();
    assert!(run.error().contains("\"nope\""));
}

#[test]
fn s3_13_damaged_files_end_with_one_error_that_names_them() {
    let good = simple(5000, Compression::UNCOMPRESSED);
    let mut footer = good.clone();
    let at = footer.len() - 8;
    footer[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut metadata = good.clone();
    metadata[at - 300..at].fill(0xA5);
    let mut pages = good.clone();
    pages[4..1200].fill(0xA5);
    for (content, expected) in [
        (good[..good.len() / 2].to_vec(), "cut short"),
        (footer, "impossible size"),
        (metadata, "cannot be read as Parquet"),
        (pages, "cannot be read as Parquet"),
        (b"a,b\n1,2\n3,4\n5,6\n".to_vec(), "is not Parquet"),
        (Vec::new(), "too short"),
    ] {
        let case = Case::new("f.parquet", "parquet", content);
        let discovered = case.discover();
        let error = if discovered.code == 0 { case.read().error() } else { discovered.error() };
        assert!(error.contains(expected) && error.contains("f.parquet"), "{expected}: {error}");
    }
}
