//! Values that PostgreSQL cannot hold as they come, through the binary and in every mode.

use serde_json::{Value, json};
use testkit::conformance::feed::{Feed, in_mode};
use testkit::services::Version;

use crate::harness::Site;

/// A stream of texts, whose key is one too.
fn texts(mode: &str) -> Value {
    let mut stream = in_mode("texts", mode);
    stream["stream"]["json_schema"]["properties"] = json!({
        "id": {"type": "string"},
        "text": {"type": ["null", "string"]},
        "any": {"type": ["null", "object"]},
        "updated_at": {"type": "string", "format": "date-time"},
    });
    stream
}

fn record(feed: Feed, id: &str, text: &str) -> Feed {
    let data = format!(
        r#"{{"id":"{id}","text":"{text}","any":{{"{text}":["{text}"]}},"updated_at":"2024-01-01T00:00:00Z"}}"#
    );
    feed.record("texts", &data)
}

/// All rows, with the fields and reasons of their changes.
fn rows(site: &Site) -> String {
    site.psql(
        "SELECT coalesce(id, '-'), text, \"any\"::text, (SELECT string_agg((c ->> 'field') || ' ' || (c ->> 'change') || ' ' || (c ->> 'reason'), ', ') \
         FROM jsonb_array_elements(_airbyte_meta -> 'changes') c) FROM texts ORDER BY text, id",
    )
}

#[test]
fn dp_05_text_with_nul_or_half_a_surrogate_pair_is_stored_and_listed_in_every_mode() {
    let site = Site::of(Version::V18);
    let feed = || {
        let feed = record(Feed::new(), "plain", r"a\ud83d\ude00");
        let feed = record(record(feed, "nul", r"b\u0000b"), "half", r"c\ud800");
        record(feed, r"key\u0000", "d").state("texts", 1)
    };
    let changed =
        "text TRUNCATED DESTINATION_SERIALIZATION_ERROR, any TRUNCATED DESTINATION_SERIALIZATION_ERROR";
    let json = |text: &str| format!(r#"{{"{text}": ["{text}"]}}"#);
    let expected = [
        format!("plain|a😀|{}|", json("a😀")),
        format!("nul|b\u{FFFD}b|{}|{changed}", json("b\u{FFFD}b")),
        format!("half|c\u{FFFD}|{}|{changed}", json("c\u{FFFD}")),
    ];
    let last = |id: &str| match id {
        "-" => format!("-|d|{}|id NULLED DESTINATION_SERIALIZATION_ERROR", json("d")),
        id => format!("{id}|d|{}|id TRUNCATED DESTINATION_SERIALIZATION_ERROR", json("d")),
    };
    // Into a table that is new, one that was there, one that is merged into.
    for (mode, id) in [("overwrite", "key\u{FFFD}"), ("append", "key\u{FFFD}"), ("append_dedup", "-")] {
        if mode == "append" {
            site.psql("TRUNCATE texts");
        } else {
            site.psql("DROP TABLE IF EXISTS texts");
        }
        let _ = site.sync(&[texts(mode)], feed());
        assert_eq!(rows(&site).lines().collect::<Vec<_>>(), [&expected[..], &[last(id)]].concat(), "{mode}");
    }
}

#[test]
fn keys_that_differ_only_in_what_cannot_be_stored_do_not_become_one_row() {
    let site = Site::new();
    let feed = record(record(Feed::new(), r"k\u0000", "first"), r"k\ud800", "second");
    let feed = record(record(feed, "k", "third"), r"k\ufffd", "fourth").state("texts", 1);
    let _ = site.sync(&[texts("append_dedup")], feed);
    assert_eq!(
        site.psql("SELECT string_agg(text, ',' ORDER BY text) FROM texts"),
        "first,fourth,second,third"
    );
}

#[test]
fn numbers_and_dates_out_of_range_are_null_and_listed_beside_rows_that_are_whole() {
    let site = Site::new();
    let feed = Feed::new()
        .record("users", r#"{"id":1,"name":"fine","amount":12345678901234567890.0987654321,"big":1}"#)
        .record("users", r#"{"id":2,"name":"large","amount":1e200000,"big":9223372036854775808}"#)
        .record("users", r#"{"id":3,"name":"late","updated_at":"300000-01-01T00:00:00Z","amount":"x"}"#)
        .state("users", 1);
    let _ = site.sync(&[in_mode("users", "append")], feed.clone());
    let _ = site.sync(&[in_mode("users", "append")], feed);
    let rows = site.psql(
        "SELECT DISTINCT id, amount, big, updated_at, (SELECT string_agg((c ->> 'field') || ' ' || (c ->> 'reason'), ', ') \
         FROM jsonb_array_elements(_airbyte_meta -> 'changes') c), count(*) OVER (PARTITION BY id) FROM users ORDER BY id",
    );
    let expected = [
        "1|12345678901234567890.0987654321|1|||2",
        "2||||amount DESTINATION_FIELD_SIZE_LIMITATION, big DESTINATION_FIELD_SIZE_LIMITATION|2",
        "3||||updated_at DESTINATION_FIELD_SIZE_LIMITATION, amount DESTINATION_SERIALIZATION_ERROR|2",
    ];
    assert_eq!(rows.lines().collect::<Vec<_>>(), expected);
}
