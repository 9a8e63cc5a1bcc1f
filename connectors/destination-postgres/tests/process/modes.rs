//! What readers of the tables see after, and during, syncs of each mode.

use testkit::Signal;
use testkit::conformance::feed::{Feed, in_generation, in_mode};

use crate::harness::{Site, incremental};

#[test]
fn a_first_sync_makes_typed_tables_and_fills_them() {
    let site = Site::new();
    let row =
        r#"{"id":1,"name":"é","updated_at":"2024-01-01T00:00:00.5Z","amount":1.50,"big":9007199254740993}"#;
    let feed = Feed::new().record("users", row).rows("users", 2, 4).state("users", 1).rows("other", 7, 8);
    let _ = site.sync(&[in_mode("users", "append"), in_mode("other", "overwrite")], feed);
    let values = "SELECT id, name, updated_at AT TIME ZONE 'UTC', amount, big FROM users WHERE id = 1";
    assert_eq!(site.psql(values), "1|é|2024-01-01 00:00:00.5|1.50|9007199254740993");
    assert_eq!((site.ids("users").as_str(), site.ids("other").as_str()), ("1,2,3", "7"));
    let added = "SELECT _airbyte_meta, _airbyte_generation_id, length(_airbyte_raw_id) FROM users LIMIT 1";
    assert_eq!(site.psql(added), r#"{"changes": [], "sync_id": null}|0|36"#);
    let defaults = "SELECT count(*) FROM pg_attrdef WHERE adrelid IN ('users'::regclass, 'other'::regclass)";
    assert_eq!(site.psql(defaults), "0", "the defaults were for the load only");
}

#[test]
fn dp_09_an_overwrite_whose_source_fails_leaves_the_old_table_intact() {
    let site = Site::new();
    let stream = [in_mode("users", "overwrite")];
    let _ = site.sync(&stream, Feed::new().rows("users", 0, 3).state("users", 1));
    let half =
        Feed::new().status("users", "STARTED").rows("users", 10, 20).state("users", 2).rows("users", 20, 25);
    let output = site.write(&stream, half.status("users", "INCOMPLETE"));
    assert_eq!(output.states().count(), 0, "{output}");
    assert_eq!(site.ids("users"), "0,1,2");
    let tables = "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class c WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
    assert_eq!(site.psql(tables), "users", "nothing is left behind");
    let _ = site.sync(&stream, Feed::new().rows("users", 10, 12).state("users", 3));
    assert_eq!(site.ids("users"), "10,11");
}

#[test]
fn a_truncating_refresh_goes_on_where_the_last_attempt_ended_and_swaps_at_the_end() {
    let site = Site::new();
    let stream = |generation, minimum| [incremental(in_generation("users", "append", generation, minimum))];
    let _ = site.sync(&stream(0, 0), Feed::new().rows("users", 0, 3).state("users", 1));
    let first = Feed::new().rows("users", 10, 12).state("users", 2).rows("users", 12, 13);
    let output = site.write(&stream(1, 1), first.status("users", "INCOMPLETE"));
    assert_eq!(output.states().count(), 1, "{output}");
    assert_eq!(site.ids("users"), "0,1,2");
    let second = Feed::new().rows("users", 12, 14).state("users", 3).status("users", "COMPLETE");
    let _ = site.sync(&stream(1, 1), second);
    assert_eq!(site.ids("users"), "10,11,12,13");
}

#[test]
fn a_stream_that_starts_over_after_a_failure_shows_its_rows_only_when_complete() {
    let site = Site::new();
    let stream = [in_mode("users", "append")];
    let _ = site.sync(&stream, Feed::new().rows("users", 0, 2).state("users", 1));
    let half = Feed::new().rows("users", 5, 9).state("users", 2).status("users", "INCOMPLETE");
    assert_eq!(site.write(&stream, half).states().count(), 0);
    assert_eq!(site.ids("users"), "0,1");
    let _ = site.sync(&stream, Feed::new().rows("users", 5, 7).status("users", "COMPLETE"));
    assert_eq!(site.ids("users"), "0,1,5,6");
}

#[test]
fn rows_after_the_last_state_of_an_unfinished_stream_are_not_kept() {
    let site = Site::new();
    let streams = [incremental(in_mode("a", "append")), incremental(in_mode("b", "append"))];
    let feed = Feed::new().status("a", "STARTED").status("b", "STARTED").rows("a", 0, 3).state("a", 1);
    let feed = feed.rows("a", 3, 5).state("a", 2).status("a", "COMPLETE").rows("b", 0, 2).state("b", 1);
    let output = site.write(&streams, feed.rows("b", 2, 9).status("b", "INCOMPLETE"));
    assert_eq!(output.states().count(), 3, "{output}");
    assert_eq!((site.ids("a").as_str(), site.ids("b").as_str()), ("0,1,2,3,4", "0,1"));
}

#[test]
fn a_complete_stream_keeps_its_rows_although_another_one_fails_between_its_states() {
    let site = Site::new();
    let streams = [incremental(in_mode("a", "append")), incremental(in_mode("b", "append"))];
    // Mixed, so that there is no moment without a row too many of one of them.
    let feed = Feed::new().rows("a", 0, 2).rows("b", 0, 2).state("a", 1).rows("a", 2, 3).state("b", 1);
    // A batch of its own.
    let large = format!(r#"{{"id":2,"name":"{}"}}"#, "x".repeat(2 << 20));
    let feed = feed.record("b", &large).state("a", 2).status("a", "COMPLETE").status("b", "INCOMPLETE");
    let output = site.write(&streams, feed);
    assert_eq!(output.states().count(), 3, "{output}");
    assert_eq!(site.ids("a"), "0,1,2");
    assert!(output.log().contains("may be written twice"), "{output}");
}

#[test]
fn a_stop_keeps_everything_up_to_the_last_state() {
    let site = Site::new();
    let streams = [incremental(in_mode("users", "append_dedup"))];
    let feed = Feed::new().rows("users", 0, 40).state("users", 1).rows("users", 40, 50);
    let running = site.writing(&streams, feed).holding_stdin_open().start();
    // The rows after the state are in the server's hands then, or on their way.
    running.wait_until_input_is_taken();
    std::thread::sleep(std::time::Duration::from_millis(300));
    running.signal(Signal::TERM);
    let output = running.wait_holding_stdin();
    assert_eq!(output.states().count(), 1, "{output}");
    assert_eq!(site.psql("SELECT count(*) FROM users"), "40");
}

#[test]
fn one_streams_failure_is_not_anothers() {
    let site = Site::new();
    let streams = [incremental(in_mode("a", "append_dedup")), incremental(in_mode("b", "append_dedup"))];
    let one = Feed::new().rows("a", 0, 2).state("a", 1).rows("b", 0, 2).state("b", 1);
    let _ = site.sync(&streams, one);
    site.psql("ALTER TABLE a ADD CONSTRAINT small CHECK (id < 10)");
    let two = Feed::new().rows("a", 20, 22).state("a", 2).rows("b", 20, 22).state("b", 2);
    let output = site.write(&streams, two);
    let error = output.failed();
    assert!(error.stream_descriptor.as_ref().is_some_and(|s| s.name == "a"), "{output}");
    assert_eq!((site.ids("a").as_str(), site.ids("b").as_str()), ("0,1", "0,1,20,21"));
    assert_eq!(output.states().count(), 1, "{output}");
}

#[test]
fn a_first_load_that_cannot_be_merged_leaves_nothing_behind() {
    let site = Site::new();
    let mut keyed = incremental(in_mode("a", "append_dedup"));
    keyed["primary_key"] = serde_json::json!([["name"]]);
    // Longer than an entry of an index can be, and not compressible.
    let long: String = (0..9000_u64).map(|n| char::from(b'a' + (n * n * 31 % 251 % 26) as u8)).collect();
    let noise: String =
        (0..3000_u64).map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let feed = Feed::new().record("a", &format!(r#"{{"id":1,"name":"{noise}{long}"}}"#)).state("a", 1);
    let feed = feed.rows("b", 0, 2).state("b", 1);
    let output = site.write(&[keyed, incremental(in_mode("b", "append"))], feed);
    assert!(output.failed().stream_descriptor.as_ref().is_some_and(|s| s.name == "a"), "{output}");
    assert_eq!((site.psql("SELECT count(*) FROM a"), site.ids("b")), ("0".into(), "0,1".into()));
    assert_eq!(output.states().count(), 1, "{output}");
}
