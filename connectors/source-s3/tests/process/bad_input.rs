//! What cannot be read is named, and keeps nothing else from being read.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, RecordBatch};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel};
use parquet::data_type::{Int96, Int96Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::json;
use testkit::Exit;

use crate::harness::{Lake, gzip};

#[test]
fn s3_13_a_file_that_cannot_be_read_is_named_and_the_others_go_on_and_it_is_tried_again() {
    let lake = Lake::csv();
    lake.put("1.csv", "a,b\n1,2\n", 1);
    lake.put("2.csv", "a,b\n1\n", 2);
    lake.put("3.csv", "a,b\n3,4\n", 3);
    let stream = lake.stream_of("1.csv");
    let run = lake.sync(&stream, None);
    assert_ne!(run.output.exit, Exit::Code(0));
    assert_eq!(run.files(), ["1.csv", "3.csv"]);
    let error = run.error();
    assert!(error.contains("1 files could not be read") && error.contains("2.csv, line 2"), "{error}");
    assert_eq!(run.state_value()["unread"], json!({"2.csv": "2026-01-01T00:00:02.000000Z"}));
    lake.put("2.csv", "a,b\n5,6\n", 2);
    let next = lake.sync(&stream, Some(&run.state()));
    assert_eq!(next.ok().rows(), [r#"{"a":"5","b":"6"}"#]);
    assert_eq!(next.state_value().get("unread"), None);
}

#[test]
fn s3_13_damaged_parquet_is_a_sentence_and_never_a_panic() {
    for (content, part) in [
        (b"PAR1".to_vec(), "too short"),
        (vec![b'x'; 100], "is not Parquet"),
        ([b"PAR1".as_slice(), &[0; 100], &[0xFF, 0xFF, 0xFF, 0x7F], b"PAR1"].concat(), "impossible size"),
        ([b"PAR1".as_slice(), &[7; 100], &[90, 0, 0, 0], b"PAR1"].concat(), "cannot be read as Parquet"),
        ([b"PAR1".as_slice(), &[0; 100]].concat(), "cut short"),
    ] {
        let lake = Lake::new(json!({"filetype": "parquet"}));
        lake.put("a.parquet", &content, 0);
        let error = lake.check().error();
        assert!(error.contains(part) && error.contains("s3://lake/a.parquet"), "{part}: {error}");
    }
}

/// A file of two columns of 32-bit numbers in one page each, the first of them at the front.
fn small_parquet(rows: i32, codec: Compression) -> Vec<u8> {
    let numbers = || Arc::new(Int32Array::from_iter_values(0..rows)) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("a", numbers()), ("b", numbers())]).unwrap();
    let properties = WriterProperties::builder().set_compression(codec).set_dictionary_enabled(false);
    let mut out = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut out, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    out
}

#[test]
fn s3_13_a_page_that_is_damaged_is_an_error_and_the_others_go_on() {
    let lake = Lake::new(json!({"filetype": "parquet"}));
    let gzip = Compression::GZIP(GzipLevel::default());
    let whole = small_parquet(1_000, gzip);
    lake.put("1.parquet", &whole, 1);
    let mut damaged = whole;
    // Behind the header of the first page, and within its data.
    damaged[200..600].fill(0xFF);
    lake.put("2.parquet", damaged, 2);
    lake.put("3.parquet", small_parquet(10, gzip), 3);
    let run = lake.sync(&lake.stream_of("1.parquet"), None);
    let error = run.error();
    assert!(error.contains("2.parquet"), "{error}");
    let mut files = run.files();
    files.dedup();
    assert_eq!(files, ["1.parquet", "3.parquet"]);
    assert_eq!(run.rows().len(), 1_010, "nothing of the damaged page is sent");
}

#[test]
fn s3_13_a_codec_that_nobody_knows_is_an_error_that_names_the_file() {
    let lake = Lake::new(json!({"filetype": "parquet"}));
    let mut file = small_parquet(10, Compression::UNCOMPRESSED);
    // In the footer a column's codec follows its path: field 4, an i32; 99 is no codec.
    let end = file.len() - 8;
    let length = u32::from_le_bytes(file[end..end + 4].try_into().unwrap()) as usize;
    let footer = end - length;
    let at = file[footer..end].windows(3).position(|w| w == [b'a', 0x15, 0x00]).unwrap();
    file[footer + at + 2] = 99 << 1 & 0x7F | 0x40;
    lake.put("a.parquet", file, 0);
    let error = lake.check().error();
    assert!(error.contains("s3://lake/a.parquet") && error.contains("Parquet"), "{error}");
}

#[test]
fn s3_13_files_without_rows_and_times_of_old_writers_are_read() {
    let lake = Lake::new(json!({"filetype": "parquet"}));
    lake.put("empty.parquet", small_parquet(0, Compression::UNCOMPRESSED), 0);
    assert_eq!(lake.read().ok().rows(), [""; 0]);
    // INT96: nanoseconds of the day, and the Julian day.
    let schema = Arc::new(parse_message_type("message m { OPTIONAL INT96 at; }").unwrap());
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let mut moment = Int96::new();
    moment.set_data(1_000_000_001, 0, 2_440_588);
    column.typed::<Int96Type>().write_batch(&[moment], Some(&[1, 0]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    let lake = Lake::new(json!({"filetype": "parquet"}));
    lake.put("old.parquet", file, 0);
    assert_eq!(lake.read().ok().rows(), [r#"{"at":"1970-01-01T00:00:01.000000001"}"#, r#"{"at":null}"#]);
}

#[test]
fn s3_14_truncated_gzip_is_an_error_and_bombs_are_cut_off() {
    let lake = Lake::csv();
    let whole = gzip("id\n1\n".repeat(50_000).as_bytes());
    lake.put("a.csv.gz", &whole[..whole.len() - 20], 0);
    let run = lake.sync(&lake.stream_given(), None);
    assert!(run.error().contains("ends too early"), "{}", run.error());
    let lake = Lake::csv();
    lake.put("bomb.csv.gz", gzip(&vec![b'\n'; 40 << 20]), 0);
    let run = lake.sync(&lake.stream_given(), None);
    assert!(run.error().contains("max_decompression_ratio"), "{}", run.error());
    assert!(run.output.peak_kib < 64 << 10, "{} KiB", run.output.peak_kib);
}

#[test]
fn s3_09_headers_that_cannot_be_columns_are_refused_with_their_place() {
    for (text, part) in [("a,,c\n1,2,3\n", "column 2"), ("a,b,a\n1,2,3\n", "column 3")] {
        let lake = Lake::csv();
        lake.put("a.csv", text, 0);
        let error = lake.discover().error();
        assert!(error.contains(part), "{text:?}: {error}");
    }
    let lake = Lake::csv();
    lake.put("a.csv", "\u{feff}a,b\r\n1,\"x\ny\"\n2,\"\"\r\n3,q", 0);
    assert_eq!(
        lake.read().ok().rows(),
        [r#"{"a":"1","b":"x\ny"}"#, r#"{"a":"2","b":""}"#, r#"{"a":"3","b":"q"}"#]
    );
    let lake = Lake::csv();
    lake.put("a.csv", "a,b\n", 0);
    assert_eq!(lake.read().ok().rows().len(), 0);
}

#[test]
fn s3_09_a_line_without_end_is_stopped_at_the_limit() {
    let lake = Lake::csv().set("max_record_mib", json!(1));
    lake.put("a.csv", format!("a\n1\n\"{}", "x".repeat(5 << 20)), 0);
    let run = lake.sync(&lake.stream_given(), None);
    assert!(run.error().contains("line 3") && run.error().contains("max_record_mib"), "{}", run.error());
    assert!(run.output.peak_kib < 64 << 10, "{} KiB", run.output.peak_kib);
}

#[test]
fn s3_09_ragged_rows_stop_the_file_or_are_left_out_and_counted_and_nul_bytes_pass() {
    let lake = Lake::csv();
    lake.put("a.csv", "a,b\n1,x\0y\n2\n3,4,5\n6,z\n", 0);
    let run = lake.sync(&lake.stream_given(), None);
    assert!(run.error().contains("line 3"), "{}", run.error());
    let lake = lake.stream("format", json!({"filetype": "csv", "ignore_errors_on_fields_mismatch": true}));
    let run = lake.read();
    assert_eq!(run.ok().rows(), [r#"{"a":"1","b":"x\u0000y"}"#, r#"{"a":"6","b":"z"}"#]);
    assert!(run.logged("2 rows of s3://lake/a.csv have more or fewer fields"), "{}", run.output.log());
}

#[test]
fn s3_12_of_two_equal_names_the_last_counts() {
    let lake = Lake::new(json!({"filetype": "jsonl"}));
    lake.put("a.jsonl", "{\"a\":1,\"\\u0061\":9223372036854775807}\n", 0);
    assert_eq!(lake.read().ok().rows(), [r#"{"a":9223372036854775807}"#]);
}

#[test]
fn s3_12_bad_json_names_its_line() {
    let deep = format!("{{\"a\":1}}\n{{\"a\":{}1{}}}\n", "[".repeat(5_000), "]".repeat(5_000));
    for (text, line) in [
        ("{\"a\":1}\n{\"a\":1,}\n", "line 2"),
        ("{\"a\":1}\n{\"a\":1}{\"a\":2}\n", "line 2"),
        ("{\"a\":1}\n[1]\n", "line 2"),
        (deep.as_str(), "line 2"),
    ] {
        let lake = Lake::new(json!({"filetype": "jsonl"}));
        lake.put("a.jsonl", text, 0);
        let run = lake.sync(&lake.stream_given(), None);
        assert!(run.error().contains(line), "{}: {}", &text[..20], run.error());
    }
}
