//! Connections and processes that end at the worst moment; rows are there once all the same.

use std::time::Duration;

use connector_kit::protocol::{self, StateScope};
use serde_json::Value;
use testkit::conformance::feed::{Feed, in_mode};
use testkit::services::{Cut, Proxy};
use testkit::{Output, Signal};

use crate::harness::{Site, by_ferry, incremental};

/// As the whole of a statement; "READ COMMITTED" is none.
const COMMIT: &str = "COMMIT\0";

/// `n` of the states in an output.
fn numbers(output: &Output) -> Vec<u64> {
    let number = |state: &protocol::State| match &state.scope {
        StateScope::Stream(s) => serde_json::from_str::<Value>(s.state.as_ref()?.get()).ok()?["n"].as_u64(),
        _ => None,
    };
    output.states().filter_map(number).collect()
}

#[test]
fn dp_01_a_commit_whose_answer_is_lost_neither_loses_nor_doubles_a_row() {
    let mut site = Site::new();
    let proxy = Proxy::to(site.server.port);
    site.port = proxy.port;
    let stream = [incremental(in_mode("users", "append"))];
    let feed = || Feed::new().rows("users", 0, 3).state("users", 1);

    // The server has committed: the run goes on as if nothing had happened, with and without ferry.
    proxy.cut(COMMIT, Cut::After, 0);
    let output = by_ferry(site.writing(&stream, feed()), "c", 1, 0).output().succeeded();
    assert_eq!((numbers(&output), site.ids("users").as_str()), (vec![1], "0,1,2"));
    proxy.cut(COMMIT, Cut::After, 0);
    let output = site.sync(&stream, feed());
    assert_eq!((numbers(&output), site.ids("users").as_str()), (vec![1], "0,0,1,1,2,2"));

    // It has not: nothing is echoed, and the error says that trying again helps.
    proxy.cut(COMMIT, Cut::Before, 0);
    let output = by_ferry(site.writing(&stream, feed()), "c", 1, 1).output();
    assert_eq!(output.failed().failure_type, Some(protocol::FailureType::TransientError), "{output}");
    assert_eq!((numbers(&output), site.ids("users").as_str()), (vec![], "0,0,1,1,2,2"));
    assert_eq!(proxy.cuts(), 3);
}

#[test]
fn what_is_committed_is_told_with_its_job_even_if_nobody_heard_of_it() {
    let site = Site::new();
    let streams = [incremental(in_mode("users", "append")), incremental(in_mode("other", "append_dedup"))];
    let feed = Feed::new().rows("users", 0, 3).state("users", 1).rows("other", 0, 2).state("other", 5);
    let feed = feed.rows("users", 3, 4).state("users", 2);
    // Nobody reads what it echoes.
    let _ = by_ferry(site.writing(&streams, feed), "c", 12, 1).closing_stdout_after(0).output();
    let told = site.committed("c", &streams);
    assert_eq!(numbers(&told), [5, 2], "in the order of names: {told}");
    let line = String::from_utf8_lossy(told.state_lines().next().unwrap()).into_owned();
    assert!(line.contains(r#""ferrybyte":{"job":12,"attempt":1}"#), "{line}");
    assert!(line.contains(r#""recordCount":2.0"#), "{line}");
    assert_eq!(numbers(&site.committed("c", &streams[..1])), [2]);
    assert_eq!(numbers(&site.committed("another", &streams)), Vec::<u64>::new());
    // Without the id of a connection nothing is kept, and nothing made for it.
    let empty = Site::new();
    let _ = empty.sync(&streams, Feed::new().rows("users", 0, 1).state("users", 1));
    assert_eq!(empty.psql("SELECT count(*) FROM pg_namespace WHERE nspname = 'airbyte_internal'"), "0");
}

#[test]
fn a_shared_state_takes_the_place_of_those_of_streams_and_the_other_way_round() {
    let site = Site::new();
    let streams = [incremental(in_mode("users", "append"))];
    let global = r#"{"type":"STATE","state":{"type":"GLOBAL","id":1,"global":{"shared_state":{"lsn":12345678901234567890},"stream_states":[]}}}"#;
    let run = |feed: Feed| by_ferry(site.writing(&streams, feed), "c", 1, 0).output().succeeded();
    let _ = run(Feed::new().rows("users", 0, 1).state("users", 1));
    let _ = run(Feed::new().rows("users", 1, 2).line(global));
    let told = site.committed("c", &streams);
    let lines: Vec<_> = told.state_lines().map(|l| String::from_utf8_lossy(l).into_owned()).collect();
    assert!(lines.len() == 1 && lines[0].contains("12345678901234567890"), "{lines:?}");
    let _ = run(Feed::new().state("users", 3));
    assert_eq!(numbers(&site.committed("c", &streams)), [3]);
    assert_eq!(site.committed("c", &streams).states().count(), 1);
}

#[test]
fn a_job_that_sends_a_whole_stream_again_does_not_double_it() {
    let site = Site::new();
    let stream = [in_mode("users", "append")];
    let feed = || Feed::new().rows("users", 0, 3).state("users", 1).status("users", "COMPLETE");
    for attempt in 0..2 {
        let output = by_ferry(site.writing(&stream, feed()), "c", 1, attempt).output().succeeded();
        let counted = output.states().next().and_then(|s| s.destination_stats.as_ref()?.records);
        assert_eq!(counted, Some(3), "{output}");
        assert_eq!(site.ids("users"), "0,1,2");
    }
    // The next job appends, as it is meant to.
    let _ = by_ferry(site.writing(&stream, feed()), "c", 2, 0).output().succeeded();
    assert_eq!(site.ids("users"), "0,0,1,1,2,2");
}

#[test]
fn whoever_asks_waits_for_a_process_that_can_still_commit() {
    let site = Site::new();
    let stream = [incremental(in_mode("users", "append"))];
    let feed = Feed::new().rows("users", 0, 3).state("users", 1);
    let first = by_ferry(site.writing(&stream, feed), "c", 1, 0).holding_stdin_open().start();
    let works = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";
    while site.psql(works) == "0" {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| site.committed("c", &stream));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!asked.is_finished());
        first.signal(Signal::TERM);
        let _ = first.wait_holding_stdin();
        let told = asked.join().unwrap();
        let kept = site.ids("users") == "0,1,2";
        assert_eq!(numbers(&told), if kept { vec![1] } else { vec![] });
    });
}
