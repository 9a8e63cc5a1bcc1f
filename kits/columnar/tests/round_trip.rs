//! Records through the buffers into a Parquet file, and back through a reader.

use std::fs::File;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float64Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
};
use arrow_array::{Array, RecordBatch as Columns};
use columnar::{Budget, Codec, Error, Layout, ParquetFile, ParquetOptions, read};
use connector_kit::{Column, FieldType, RecordBatch, RowDecoder, Stamp};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

const TYPES: [FieldType; 12] = [
    FieldType::Boolean,
    FieldType::Integer,
    FieldType::Number,
    FieldType::String,
    FieldType::Date,
    FieldType::TimeWithTimezone,
    FieldType::TimeWithoutTimezone,
    FieldType::TimestampWithTimezone,
    FieldType::TimestampWithoutTimezone,
    FieldType::Object,
    FieldType::Array,
    FieldType::Union,
];

fn columns(types: &[FieldType]) -> Vec<Column> {
    let column = |(i, t): (usize, &FieldType)| Column {
        name: format!("c{i}"),
        field_type: *t,
        schema: t.json_schema(),
    };
    types.iter().enumerate().map(column).collect()
}

fn options(codec: Codec) -> ParquetOptions {
    ParquetOptions::new(codec, "test")
}

fn write(
    types: &[FieldType],
    rows: impl Iterator<Item = String>,
    budget: &Arc<Budget>,
    codec: Codec,
) -> Result<File, Error> {
    let layout = Arc::new(Layout::new(&columns(types)).unwrap());
    let mut decoder = RowDecoder::new(layout.names());
    let sink = tempfile::tempfile().unwrap();
    let file = ParquetFile::new(sink, &layout, Stamp::new(Some(1), Some(2)), options(codec), budget);
    let mut batch = RecordBatch::default();
    for (line, row) in rows.enumerate() {
        batch.push(row.as_bytes(), None, 1_700_000_000_123, line as u64 + 1);
    }
    {
        let mut open = file.lock();
        for row in batch.rows() {
            decoder.decode(row.data, open.sink()).unwrap();
            open.end_row(&row)?;
        }
    }
    file.balance()?;
    file.close().map(|(file, ..)| file)
}

fn read_back(file: &File) -> (Vec<Columns>, usize) {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file.try_clone().unwrap()).unwrap();
    let groups = builder.metadata().num_row_groups();
    (builder.build().unwrap().map(Result::unwrap).collect(), groups)
}

#[test]
fn every_type_comes_back_as_it_went_in() {
    let row = r#"{"c0":true,"c1":9007199254740993,"c2":0.1,"c3":"a\u00e9\n","c4":"2024-02-29","c5":"10:20:30+02:00","c6":"10:20:30.000001","c7":"1969-12-31T23:59:59.999999Z","c8":"2024-01-01T00:00:00","c9":{"k": [1.10]},"c10":[1,2],"c11":"x"}"#;
    let rows = [row.to_owned(), "{}".to_owned()].into_iter();
    for codec in [Codec::Snappy, Codec::Zstd, Codec::Gzip, Codec::None] {
        let file = write(&TYPES, rows.clone(), &Budget::new(1 << 20), codec).unwrap();
        let batch = &read_back(&file).0[0];
        let text = |i: usize| batch.column(4 + i).as_string::<i32>().value(0).to_owned();
        assert!(batch.column(4).as_boolean().value(0));
        assert_eq!(batch.column(5).as_primitive::<Int64Type>().value(0), 9_007_199_254_740_993);
        assert_eq!(batch.column(6).as_primitive::<Float64Type>().value(0), 0.1);
        assert_eq!(text(3), "aé\n");
        assert_eq!(batch.column(8).as_primitive::<Date32Type>().value(0), 19_782);
        assert_eq!(text(5), "10:20:30+02:00");
        assert_eq!(batch.column(11).as_primitive::<TimestampMicrosecondType>().value(0), -1);
        assert_eq!((text(9), text(10), text(11)), ("{\"k\": [1.10]}".into(), "[1,2]".into(), "\"x\"".into()));
        assert!((4..16).all(|i| batch.column(i).is_null(1)), "a missing member is null");
        assert_eq!(batch.column(1).as_primitive::<TimestampMillisecondType>().value(0), 1_700_000_000_123);
        assert_eq!(batch.column(2).as_string::<i32>().value(1), r#"{"sync_id":1,"changes":[]}"#);
        assert_eq!(batch.column(3).as_primitive::<Int64Type>().value(1), 2);
    }
}

#[test]
fn what_does_not_fit_is_null_and_named_in_meta() {
    let row =
        r#"{"c0":"yes","c1":9223372036854775808,"c2":12345678901234567.89,"c3":"\ud800","c4":"2021-02-30"}"#;
    let file =
        write(&TYPES[..5], [row.to_owned()].into_iter(), &Budget::new(1 << 20), Codec::Snappy).unwrap();
    let batch = &read_back(&file).0[0];
    assert!((4..9).all(|i| batch.column(i).is_null(0)));
    let meta: serde_json::Value = serde_json::from_str(batch.column(2).as_string::<i32>().value(0)).unwrap();
    let changes: Vec<_> = meta["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["field"].as_str().unwrap(), c["reason"].as_str().unwrap()))
        .collect();
    let (wrong, large) = ("DESTINATION_SERIALIZATION_ERROR", "DESTINATION_FIELD_SIZE_LIMITATION");
    assert_eq!(changes, [("c0", wrong), ("c1", large), ("c2", large), ("c3", wrong), ("c4", wrong)]);
}

#[test]
fn memory_is_used_again_without_mixing_batches() {
    let rows = (0..40_000).map(|i| {
        let text = if i % 3 == 0 { "null".to_owned() } else { format!("\"row {i}\"") };
        format!("{{\"c0\":{i},\"c1\":{text}}}")
    });
    let file =
        write(&[FieldType::Integer, FieldType::String], rows, &Budget::new(1 << 30), Codec::Snappy).unwrap();
    let mut next = 0;
    for batch in read_back(&file).0 {
        let (ids, texts) = (batch.column(4).as_primitive::<Int64Type>(), batch.column(5).as_string::<i32>());
        for row in 0..batch.num_rows() {
            assert_eq!(ids.value(row), next);
            assert_eq!(texts.is_null(row), next % 3 == 0);
            assert!(texts.is_null(row) || texts.value(row) == format!("row {next}"));
            next += 1;
        }
    }
    assert_eq!(next, 40_000);
}

#[test]
fn bad_utf8_is_refused_with_its_line_and_field() {
    let layout = Arc::new(Layout::new(&columns(&[FieldType::String])).unwrap());
    let file = ParquetFile::new(
        Vec::new(),
        &layout,
        Stamp::new(None, None),
        options(Codec::None),
        &Budget::new(1 << 20),
    );
    let mut batch = RecordBatch::default();
    batch.push(b"{\"c0\":\"fine\"}", None, 0, 41);
    batch.push(b"{\"c0\":\"\xff\"}", None, 0, 42);
    let mut decoder = RowDecoder::new(layout.names());
    for row in batch.rows() {
        let mut open = file.lock();
        decoder.decode(row.data, open.sink()).unwrap();
        open.end_row(&row).unwrap();
    }
    let text = file.close().unwrap_err().to_string();
    assert!(text.contains("line 42") && text.contains("c0"), "{text}");
}

#[test]
fn all_open_files_share_one_budget_and_the_largest_gives_way() {
    let layout = Arc::new(Layout::new(&columns(&[FieldType::String])).unwrap());
    let budget = Budget::new(2 << 20);
    let new = || {
        ParquetFile::new(
            tempfile::tempfile().unwrap(),
            &layout,
            Stamp::new(None, None),
            options(Codec::None),
            &budget,
        )
    };
    let (large, small) = (new(), new());
    let mut decoder = RowDecoder::new(layout.names());
    let mut give = |file: &ParquetFile<File>, rows: usize| {
        let mut batch = RecordBatch::default();
        (0..rows).for_each(|i| batch.push(format!("{{\"c0\":\"{i:0>90}\"}}").as_bytes(), None, 0, 1));
        let mut open = file.lock();
        for row in batch.rows() {
            decoder.decode(row.data, open.sink()).unwrap();
            open.end_row(&row).unwrap();
        }
        drop(open);
        file.balance().unwrap();
    };
    give(&small, 10);
    (0..20).for_each(|_| give(&large, 2_000));
    let groups = |file: ParquetFile<File>| read_back(&file.close().unwrap().0).1;
    assert!(groups(large) > 2, "40,000 rows of 90 bytes do not fit into 2 MiB at once");
    assert_eq!(groups(small), 1, "the small file was left alone");
}

#[test]
fn an_empty_file_has_its_schema() {
    let file = write(&TYPES, std::iter::empty(), &Budget::new(1), Codec::Snappy).unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    assert_eq!(builder.schema().fields().len(), 16);
    assert_eq!(builder.metadata().file_metadata().num_rows(), 0);
}

#[test]
fn copying_keeps_the_chosen_rows_and_types() {
    let rows = (0..20_000).map(|i| format!("{{\"c0\":{i},\"c1\":\"2024-01-01T00:00:00Z\"}}"));
    let types = [FieldType::Integer, FieldType::TimestampWithTimezone];
    let file = write(&types, rows, &Budget::new(1 << 30), Codec::Snappy).unwrap();
    let schema = read_back(&file).0[0].schema();
    let sink = tempfile::tempfile().unwrap();
    let (copy, read, written) =
        read::copy_rows(file, sink, &options(Codec::Zstd), 1 << 20, |row| row % 7 == 3).unwrap();
    assert_eq!((read, written), (20_000, 2_857));
    let batches = read_back(&copy).0;
    assert_eq!(batches[0].schema(), schema);
    let ids: Vec<i64> =
        batches.iter().flat_map(|b| b.column(4).as_primitive::<Int64Type>().values().to_vec()).collect();
    assert!(ids.iter().zip(0..).all(|(id, i)| *id == 7 * i + 3));
}

#[test]
fn a_field_with_a_reserved_name_is_refused() {
    let mut taken = columns(&[FieldType::String]);
    taken[0].name = "_airbyte_meta".into();
    assert!(Layout::new(&taken).unwrap_err().to_string().contains("_airbyte_meta"));
}
