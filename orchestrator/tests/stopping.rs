//! Signals, second runs and crashes of ferry itself.

mod fakes;

use std::process::Stdio;
use std::time::{Duration, Instant};

use fakes::{Place, finish, good_source, record, runs, state};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// A running `ferry sync` whose source has sent one state and waits.
fn waiting(source_then: Value, hang: bool) -> (Place, std::process::Child) {
    let place = Place::new(json!({}), json!({}), json!({}));
    let lines = json!([
        record("users", json!({"id": 1})),
        state("users", json!({"at": 1}), Some(1)),
        {"until_term": place.path("ready"), "then": source_then, "hang": hang},
    ]);
    let streams = json!({"streams": [{"name": "users", "sync_mode": "incremental", "cursor_field": "id"}]});
    place.rewrite(json!({"lines": lines}), json!({}), streams);
    let child = place
        .command(&["sync", "sync.json", "--output", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while !place.path("ready").exists() {
        assert!(Instant::now() < end, "the source did not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    (place, child)
}

fn signal(child: &std::process::Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
}

#[test]
fn a_signal_drains_to_a_durable_state_and_the_next_run_goes_on() {
    let then = json!([record("users", json!({"id": 2})), state("users", json!({"at": 2}), Some(1))]);
    let (place, child) = waiting(then, false);
    let start = Instant::now();
    signal(&child, Signal::INT);
    let output = finish(child);
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["status"]), (Some(1), &json!("cancelled")), "{report:#}");
    // What the source sent after the signal is confirmed too.
    assert_eq!(place.states()[0]["state"], json!({"at": 2}));
    assert_eq!(report["streams"][0]["committed"], 2);
    assert_eq!(place.received().last().unwrap()["trace"]["stream_status"]["status"], "INCOMPLETE");
}

#[test]
fn a_second_signal_stops_at_once() {
    let (place, child) = waiting(json!([]), true);
    signal(&child, Signal::TERM);
    std::thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    signal(&child, Signal::INT);
    let output = finish(child);
    // The source would go on for half a minute, and the first signal gives it ten seconds.
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert_eq!(output.status.code(), Some(1));
    assert!(!runs(&place.path("source-fake")) && !runs(&place.path("destination-fake")));
}

#[test]
fn a_second_run_of_the_same_sync_is_refused_with_its_owner_named() {
    let (place, child) = waiting(json!([]), false);
    let (code, report) = place.sync();
    assert_eq!(code, 1);
    let text = report["error"]["message"].as_str().unwrap();
    assert!(
        text.contains("already running") && text.contains(&format!("process {} on ", child.id())),
        "{text}"
    );
    let reset = place.ferry(&["state", "reset", "sync.json"]);
    assert_eq!(reset.status.code(), Some(1));
    signal(&child, Signal::INT);
    finish(child);
}

#[test]
fn a_killed_ferry_leaves_no_lock_no_config_and_a_job_that_is_not_running() {
    let (place, mut child) = waiting(json!([]), false);
    let pid = place.started_with("source")["pid"].as_i64().unwrap() as i32;
    child.kill().unwrap();
    child.wait().unwrap();
    // The destination has seen that statuses are in use, so the end of its input is no completion.
    let received = || std::fs::read_to_string(place.path("received.jsonl")).unwrap_or_default();
    let end = Instant::now() + Duration::from_secs(20);
    while !received().contains("STARTED") {
        assert!(Instant::now() < end, "the destination did not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!received().contains("COMPLETE"), "{}", received());
    // Its connectors see closed pipes; the source of this test waits for a signal.
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    let streams = json!({"streams": [{"name": "users", "sync_mode": "incremental", "cursor_field": "id"}]});
    place.rewrite(good_source(1), json!({}), streams);
    let (code, report) = place.sync();
    assert_eq!(code, 0, "{report:#}");
    assert!(std::fs::read_dir(place.path(".ferry/tmp")).unwrap().next().is_none());
    let history = place.ferry(&["history", "sync.json", "--output", "json"]);
    let history: Value = serde_json::from_slice(&history.stdout).unwrap();
    assert_eq!(history[0]["status"], "succeeded");
    assert_eq!(
        (&history[1]["status"], &history[1]["failure"]),
        (&json!("failed"), &json!("ferry ended before the job did"))
    );
}
