//! Which row of a key stays.

use serde_json::json;

use crate::harness::{STATE, Site, generation, owned, record, row, rows, status, stream};

#[test]
fn the_greater_cursor_wins_whatever_the_order_of_arrival() {
    for site in [Site::parquet(), Site::jsonl()] {
        site.sync(stream("append_dedup"), &rows(&[(1, "5"), (1, "7"), (1, "6"), (2, "1")]));
        assert_eq!(site.rows(), owned(&[(1, "7"), (2, "1")]));
        site.sync(stream("append_dedup"), &rows(&[(1, "4"), (2, "2"), (3, "0")]));
        assert_eq!(site.rows(), owned(&[(1, "7"), (2, "2"), (3, "0")]));
    }
}

#[test]
fn equal_keys_are_equal_by_value_not_by_spelling() {
    let site = Site::jsonl();
    let input: String = [r#"{"id":1,"v":"a"}"#, r#"{"id":1.0,"v":"b"}"#, r#"{"id":10e-1,"v":"\u0063"}"#]
        .iter()
        .map(|data| record("s", data))
        .collect();
    site.sync(stream("append_dedup"), &input);
    assert_eq!(site.rows().len(), 1);
}

#[test]
fn a_deletion_removes_its_row_and_a_later_insert_brings_it_back() {
    let mut stream = stream("append_dedup");
    stream["stream"]["json_schema"]["properties"]["_ab_cdc_deleted_at"] = json!({"type": "string"});
    let deleted = |id: i64, v: &str| {
        record("s", &format!(r#"{{"id":{id},"v":"{v}","_ab_cdc_deleted_at":"2024-01-01"}}"#))
    };
    let site = Site::parquet();
    site.sync(stream.clone(), &[rows(&[(1, "1"), (2, "1")]), deleted(3, "1")].concat());
    site.sync(stream.clone(), &[deleted(1, "2"), row(2, "2")].concat());
    assert_eq!(site.rows(), owned(&[(2, "2")]));
    site.sync(stream.clone(), &row(1, "3"));
    assert_eq!(site.rows(), owned(&[(1, "3"), (2, "2")]));
    site.sync(stream, &[deleted(1, "4"), deleted(2, "4")].concat());
    assert_eq!(site.rows(), []);
}

#[test]
fn rows_with_a_null_in_their_key_equal_no_other() {
    let site = Site::jsonl();
    let null = record("s", r#"{"id":null,"v":"x"}"#);
    site.sync(stream("append_dedup"), &[null.clone(), null.clone()].concat());
    site.sync(stream("append_dedup"), &null);
    assert_eq!(site.rows().len(), 3);
}

#[test]
fn a_composite_key_does_not_run_together() {
    let mut stream = stream("append_dedup");
    stream["primary_key"] = json!([["id"], ["v"]]);
    stream["cursor_field"] = json!([]);
    let site = Site::jsonl();
    site.sync(stream, &rows(&[(1, "11"), (11, "1"), (1, "11")]));
    assert_eq!(site.rows(), owned(&[(1, "11"), (11, "1")]));
}

#[test]
fn rows_of_an_interrupted_run_are_merged_by_the_next() {
    let site = Site::parquet();
    site.sync(stream("append_dedup"), &rows(&[(1, "1"), (2, "1")]));
    let run =
        site.write(stream("append_dedup"), &[status("STARTED"), row(1, "2"), STATE.to_owned()].concat());
    assert!(run.ok && run.states() == 1, "{run:?}");
    assert_eq!(site.rows(), owned(&[(1, "1"), (2, "1")]), "no duplicate is ever seen");
    site.sync(stream("append_dedup"), &row(2, "2"));
    assert_eq!(site.rows(), owned(&[(1, "2"), (2, "2")]));
}

#[test]
fn rows_left_by_an_interrupted_dedup_run_are_not_lost_when_the_mode_changes() {
    let site = Site::jsonl();
    site.sync(stream("append_dedup"), &[status("STARTED"), row(1, "1"), STATE.to_owned()].concat());
    site.sync(stream("append"), &row(2, "1"));
    assert_eq!(site.rows(), owned(&[(1, "1"), (2, "1")]));
}

#[test]
fn files_without_losers_stay_the_same_files() {
    let site = Site::parquet();
    site.sync(stream("append_dedup"), &rows(&[(1, "1"), (2, "1")]));
    let first = crate::harness::visible(&site.root().join("s"));
    site.sync(stream("append_dedup"), &row(3, "1"));
    let second = crate::harness::visible(&site.root().join("s"));
    assert!(second.len() == 2 && second.contains(&first[0]), "{first:?} {second:?}");
}

#[test]
fn a_truncating_refresh_starts_over_with_other_keys() {
    let site = Site::jsonl();
    site.sync(generation("append_dedup", 1, 0), &row(1, "1"));
    let mut other = generation("append_dedup", 2, 2);
    other["primary_key"] = json!([["v"]]);
    site.sync(other, &rows(&[(1, "x"), (2, "x")]));
    assert_eq!(site.rows(), owned(&[(2, "x")]));
}

#[test]
fn files_written_in_another_mode_or_with_another_key_are_merged_all_the_same() {
    for site in [Site::parquet(), Site::jsonl()] {
        site.sync(stream("overwrite"), &rows(&[(1, "1"), (1, "2"), (2, "1")]));
        site.sync(stream("append_dedup"), &rows(&[(2, "0"), (3, "1")]));
        assert_eq!(site.rows(), owned(&[(1, "2"), (2, "1"), (3, "1")]));
        let mut other = stream("append_dedup");
        other["primary_key"] = json!([["v"]]);
        other["cursor_field"] = json!(["id"]);
        site.sync(other, "");
        assert_eq!(site.rows(), owned(&[(1, "2"), (3, "1")]));
    }
}

#[test]
fn csv_written_in_another_mode_is_refused_rather_than_guessed_at() {
    let site = Site::new(json!({"format_type": "csv"}));
    site.sync(stream("append"), &row(1, "1"));
    let error = site.write(stream("append_dedup"), &row(1, "2")).error();
    assert!(error.contains("truncating refresh"), "{error}");
    assert_eq!(site.rows(), owned(&[(1, "1")]));
}

#[test]
fn keys_that_somebody_removed_are_read_back() {
    let site = Site::parquet();
    site.sync(stream("append_dedup"), &rows(&[(1, "1"), (2, "1")]));
    let dir = site.root().join("s");
    for entry in std::fs::read_dir(&dir).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with(".ferry-keys") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    site.sync(stream("append_dedup"), &row(2, "2"));
    assert_eq!(site.rows(), owned(&[(1, "1"), (2, "2")]));
}
