//! States that a destination has committed and ferry was not told of.

mod fakes;

use std::path::Path;

use fakes::{Place, complete, first_failure, good_source, record, state};
use serde_json::{Value, json};

/// A destination that keeps states, and an incremental stream.
fn place(source: Value, mut destination: Value) -> Place {
    let place = Place::new(source, json!({}), json!({}));
    destination["kept"] = json!(place.path("kept"));
    rewrite(&place, good_source(2), destination);
    place
}

fn rewrite(place: &Place, source: Value, destination: Value) {
    let rest = json!({"destination_connector": "./destination-exact",
        "streams": [{"name": "users", "sync_mode": "incremental", "cursor_field": "id"}]});
    place.rewrite(source, destination, rest);
}

fn log_of(report: &Value) -> String {
    std::fs::read_to_string(Path::new(report["log"].as_str().unwrap())).unwrap()
}

#[test]
fn the_next_attempt_goes_on_from_a_state_whose_echo_was_lost() {
    let place = place(good_source(2), json!({"die_uncommitted": 0}));
    let (code, report) = place.sync_with(&["--attempts", "2", "--backoff-ms", "1"]);
    assert_eq!(code, 0, "{report:#}");
    let given = &place.started_with("source")["state"];
    assert_eq!(given[0]["stream"]["stream_state"], json!({"at": 2}), "{given}");
    let log = log_of(&report);
    assert!(
        log.contains("stream users: the destination has committed a state in job 1 that was not saved"),
        "{log}"
    );
}

#[test]
fn so_does_the_next_run_and_a_reset_forgets_it() {
    let place = place(good_source(2), json!({}));
    rewrite(&place, good_source(2), json!({"die_uncommitted": 0, "kept": place.path("kept")}));
    let (code, report) = place.sync();
    assert_ne!(code, 0, "{report:#}");
    assert_eq!(place.states(), json!([]));
    rewrite(&place, good_source(3), json!({"kept": place.path("kept")}));
    assert_eq!(place.sync().0, 0);
    assert_eq!(place.started_with("source")["state"][0]["stream"]["stream_state"], json!({"at": 2}));
    let first = place.started_with("destination")["connection"].clone();
    assert_eq!(first.as_str().unwrap().len(), 36);

    // What is saved and committed alike is no news.
    let (_, report) = place.sync();
    assert!(!log_of(&report).contains("has committed a state"));
    assert_eq!(place.started_with("destination")["connection"], first);

    assert!(place.ferry(&["state", "reset", "sync.json"]).status.success());
    assert_eq!(place.sync().0, 0);
    assert_eq!(place.started_with("source")["state"], Value::Null);
    assert_ne!(place.started_with("destination")["connection"], first);
}

#[test]
fn a_full_refresh_does_not_go_on_from_the_committed_state_of_another_job() {
    let place = place(good_source(2), json!({}));
    let lines: Vec<String> =
        vec![record("users", json!({"id": 1})), state("users", json!({"at": 1}), Some(1)), complete("users")];
    let source = json!({"lines": lines, "resumable": true});
    let rest = json!({"destination_connector": "./destination-exact",
        "streams": [{"name": "users", "sync_mode": "full_refresh", "destination_sync_mode": "append"}]});
    let destination = |dies: bool| {
        let mut destination = json!({"kept": place.path("kept")});
        if dies {
            destination["die_uncommitted"] = json!(0);
        }
        destination
    };
    place.rewrite(source.clone(), destination(true), rest.clone());
    let (code, report) = place.sync_with(&["--attempts", "2", "--backoff-ms", "1"]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(place.started_with("source")["state"][0]["stream"]["stream_state"], json!({"at": 1}));
    place.rewrite(source, destination(false), rest);
    assert_eq!(place.sync().0, 0);
    assert_eq!(place.started_with("source")["state"], Value::Null);
}

#[test]
fn a_destination_that_cannot_say_what_it_committed_is_asked_again_and_then_fails_the_sync() {
    let place = place(good_source(2), json!({"committed_error": true}));
    let output = place.ferry(&["sync", "sync.json", "--attempts", "2", "--backoff-ms", "1"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("not now"), "{said}");
    assert!(!place.path("source-args.json").exists(), "nothing was read");
    rewrite(&place, good_source(2), json!({"kept": place.path("kept")}));
    let (code, report) = place.sync();
    assert_eq!((code, first_failure(&report).as_str()), (0, ""));
}
