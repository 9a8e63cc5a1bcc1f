//! Trials of the destination sync modes, generations, and what happens to old rows.

use protocol::Message;
use serde_json::json;

use super::DestinationSuite;
use super::destination::{Bench, echoed};
use super::feed::{Feed, catalog, in_generation, in_mode};
use crate::output::Exit;
use crate::process::Signal;

/// The modes that `spec` offers.
pub(crate) fn offered(suite: &DestinationSuite) -> Vec<String> {
    let output = suite.connector.run(["spec"]).succeeded();
    let spec = output.messages().find_map(|m| if let Message::Spec(s) = m { Some(s.clone()) } else { None });
    let modes = spec.and_then(|s| s.supported_destination_sync_modes).unwrap_or_default();
    modes.iter().map(|m| json!(m).as_str().unwrap_or_default().to_owned()).collect()
}

fn offers(suite: &DestinationSuite, mode: &str) -> bool {
    offered(suite).iter().any(|m| m == mode)
}

pub fn the_spec_offers_at_least_one_sync_mode(suite: &DestinationSuite) {
    assert!(!offered(suite).is_empty(), "the spec lists no supported_destination_sync_modes");
}

pub fn append_adds_to_what_is_there(suite: &DestinationSuite) {
    if !offers(suite, "append") {
        return;
    }
    let bench = Bench::new(suite);
    for (from, to) in [(0, 3), (2, 5)] {
        let feed = Feed::new().rows("users", from, to).state("users", to);
        let _ = bench.write(&catalog(&[in_mode("users", "append")]), feed).succeeded();
    }
    assert_eq!(bench.ids("users"), [0, 1, 2, 2, 3, 4]);
}

pub fn overwrite_replaces_what_is_there(suite: &DestinationSuite) {
    if !offers(suite, "overwrite") {
        return;
    }
    let bench = Bench::new(suite);
    for (from, to) in [(0, 30), (100, 103)] {
        let feed = Feed::new().rows("users", from, to).state("users", to);
        let _ = bench.write(&catalog(&[in_mode("users", "overwrite")]), feed).succeeded();
    }
    assert_eq!(bench.ids("users"), [100, 101, 102]);
    // Every row gone at the source is gone here.
    let _ =
        bench.write(&catalog(&[in_mode("users", "overwrite")]), Feed::new().state("users", 1)).succeeded();
    assert!(bench.ids("users").is_empty());
}

pub fn deduplication_keeps_the_latest_row_of_each_key(suite: &DestinationSuite) {
    if !offers(suite, "append_dedup") {
        return;
    }
    let bench = Bench::new(suite);
    let catalog = catalog(&[in_mode("users", "append_dedup")]);
    let row = |id: u64, name: &str, day: u64| {
        format!(r#"{{"id":{id},"name":"{name}","updated_at":"2024-01-{day:02}T00:00:00Z"}}"#)
    };
    let first = Feed::new()
        .record("users", &row(1, "one", 1))
        .record("users", &row(2, "two", 1))
        .record("users", &row(1, "one, later", 2))
        .record(
            "users",
            &row(2, "two, older", 1).replace("-01T", "-00T").replace("2024-01-00", "2023-12-31"),
        );
    let _ = bench.write(&catalog, first.state("users", 1)).succeeded();
    assert_eq!(bench.ids("users"), [1, 2]);
    assert_eq!(bench.column("users", "name"), ["\"one, later\"", "\"two\""]);
    let second = Feed::new().record("users", &row(2, "two, at last", 9)).record("users", &row(3, "three", 1));
    let _ = bench.write(&catalog, second.state("users", 2)).succeeded();
    assert_eq!(bench.ids("users"), [1, 2, 3]);
    assert_eq!(bench.column("users", "name"), ["\"one, later\"", "\"three\"", "\"two, at last\""]);
}

pub fn a_mode_that_the_spec_does_not_offer_is_refused(suite: &DestinationSuite) {
    for mode in ["update", "soft_delete"] {
        if offers(suite, mode) {
            continue;
        }
        let bench = Bench::new(suite);
        let output = bench.write(&catalog(&[in_mode("users", mode)]), Feed::new().rows("users", 0, 1));
        let message = output.failed().message.clone();
        assert!(message.contains("users") && message.contains(mode), "{message}");
    }
}

pub fn the_end_of_input_without_any_status_completes_every_stream(suite: &DestinationSuite) {
    let bench = Bench::new(suite);
    let mode = if offers(suite, "overwrite") { "overwrite" } else { "append" };
    let output =
        bench.write(&catalog(&[in_mode("users", mode)]), Feed::new().rows("users", 0, 3)).succeeded();
    assert_eq!(bench.ids("users"), [0, 1, 2], "{output}");
}

/// Invariant: overwrite swaps only after the source said COMPLETE.
pub fn statuses_without_complete_keep_the_old_rows(suite: &DestinationSuite) {
    if !offers(suite, "overwrite") {
        return;
    }
    let bench = Bench::new(suite);
    let both = catalog(&[in_mode("users", "overwrite"), in_mode("other", "overwrite")]);
    let old = Feed::new().rows("users", 0, 5).rows("other", 0, 5).state("users", 1);
    let _ = bench.write(&both, old).succeeded();
    for last in ["INCOMPLETE", "RUNNING"] {
        let feed = Feed::new().rows("users", 50, 52).state("users", 2).rows("other", 50, 51);
        let feed = feed.status("other", "COMPLETE").status("users", last);
        let _ = bench.write(&both, feed);
        assert_eq!(bench.ids("users"), [0, 1, 2, 3, 4], "{last}: the old rows must stay");
        assert_eq!(
            bench.ids("other"),
            [50],
            "{last}: a complete stream is replaced whatever becomes of others"
        );
    }
    // A stream that no status names is not complete either once statuses are in use.
    let feed = Feed::new().rows("users", 60, 61).rows("other", 60, 61).status("other", "COMPLETE");
    let _ = bench.write(&both, feed);
    assert_eq!(bench.ids("users"), [0, 1, 2, 3, 4]);
}

pub fn a_truncating_refresh_replaces_earlier_generations_once_complete(suite: &DestinationSuite) {
    if !offers(suite, "append") {
        return;
    }
    let bench = Bench::new(suite);
    let refresh = |generation, minimum| catalog(&[in_generation("users", "append", generation, minimum)]);
    let complete =
        |from, to| Feed::new().rows("users", from, to).state("users", to).status("users", "COMPLETE");
    let _ = bench.write(&refresh(0, 0), complete(0, 3)).succeeded();
    let _ = bench.write(&refresh(1, 0), complete(3, 5)).succeeded();
    assert_eq!(bench.ids("users"), [0, 1, 2, 3, 4], "a retaining refresh keeps earlier generations");
    let failed = Feed::new().rows("users", 100, 101).state("users", 9).status("users", "INCOMPLETE");
    let _ = bench.write(&refresh(2, 2), failed);
    let seen = bench.ids("users");
    assert!(
        [0, 1, 2, 3, 4].iter().all(|id| seen.contains(id)),
        "a failed refresh must keep the old rows: {seen:?}"
    );
    let _ = bench.write(&refresh(2, 2), complete(200, 203)).succeeded();
    let seen = bench.ids("users");
    assert!([200, 201, 202].iter().all(|id| seen.contains(id)), "the new rows are there: {seen:?}");
    assert!(seen.iter().all(|id| *id >= 100), "earlier generations are gone: {seen:?}");
}

/// Killed at any moment: readers see the old rows, all of them, and nothing else.
pub fn a_kill_in_the_middle_leaves_the_old_rows(suite: &DestinationSuite) {
    if !offers(suite, "overwrite") {
        return;
    }
    let bench = Bench::new(suite);
    let catalog = catalog(&[in_mode("users", "overwrite")]);
    let _ = bench.write(&catalog, Feed::new().rows("users", 0, 5).state("users", 1)).succeeded();
    for signal in [Signal::KILL, Signal::TERM] {
        let feed = Feed::new().rows("users", 1000, 21_000).state("users", 2).rows("users", 30_000, 40_000);
        let running = bench.invocation(&catalog, feed).holding_stdin_open().start();
        // Not before it has begun: whatever it does with the rows by then, nobody may see it.
        running.wait_until_input_is_taken();
        running.signal(signal);
        let output = running.wait_holding_stdin();
        assert!(output.exit != Exit::Code(0), "{output}");
        assert_eq!(bench.ids("users"), [0, 1, 2, 3, 4], "{signal:?}");
    }
    // What the killed runs left lying about is in nobody's way.
    let output = bench.write(&catalog, Feed::new().rows("users", 7, 9).state("users", 3)).succeeded();
    assert_eq!(echoed(&output), [3]);
    assert_eq!(bench.ids("users"), [7, 8]);
}
