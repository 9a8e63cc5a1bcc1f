//! Bad input from either connector: a named error, and the old state intact.

mod fakes;

use std::os::unix::fs::PermissionsExt;

use fakes::{Place, complete, first_failure, good_source, record, state, status};
use serde_json::{Value, json};

/// An incremental sync whose state `{"at": 1}` was confirmed, and then this source and destination.
fn after_a_good_run(source: Value, destination: Value) -> (Place, i32, Value) {
    after_a_good_run_with(source, destination, json!({}))
}

fn after_a_good_run_with(source: Value, destination: Value, more: Value) -> (Place, i32, Value) {
    let mut rest = json!({"streams": [{"name": "users", "sync_mode": "incremental", "cursor_field": "id"}]});
    for (key, value) in more.as_object().unwrap() {
        rest[key] = value.clone();
    }
    // On a busy machine the good run may well be slower than limits that the other one is to reach.
    let mut good = rest.clone();
    good.as_object_mut().unwrap().remove("timeouts");
    let place = Place::new(good_source(1), json!({}), good);
    assert_eq!(place.sync().0, 0);
    place.rewrite(source, destination, rest);
    let (code, report) = place.sync();
    (place, code, report)
}

fn keeps_the_old_state(place: &Place) {
    assert_eq!(place.states()[0]["state"], json!({"at": 1}));
}

fn rows_then(more: Value) -> Value {
    let mut lines = vec![json!(record("users", json!({"id": 1}))), json!(record("users", json!({"id": 2})))];
    lines.extend(more.as_array().unwrap().iter().cloned());
    json!({"lines": lines})
}

#[test]
fn garbage_on_stdout_is_logged_and_the_sync_goes_on() {
    let source = rows_then(json!([
        "Downloading…",
        "{\"half\":",
        state("users", json!({"at": 2}), Some(2)),
        complete("users")
    ]));
    let (place, code, report) = after_a_good_run(source, json!({}));
    assert_eq!(code, 0, "{report:#}");
    let log = std::fs::read_to_string(report["log"].as_str().unwrap()).unwrap();
    assert!(log.contains("line 3 of the source is no message") && log.contains("Downloading…"), "{log}");
    assert_eq!(place.states()[0]["state"], json!({"at": 2}));
}

#[test]
fn a_damaged_record_fails_the_sync() {
    let source = rows_then(json!([
        r#"{"type":"RECORD","record":{"stream":"users","data":{"id":3}"#,
        state("users", json!({"at": 2}), None),
        complete("users")
    ]));
    let (place, code, report) = after_a_good_run(source, json!({}));
    assert_eq!(code, 1);
    assert!(first_failure(&report).contains("line 3 looks like a RECORD"), "{report:#}");
    keeps_the_old_state(&place);
    assert_eq!(place.received().last().unwrap()["trace"]["stream_status"]["status"], "INCOMPLETE");
}

#[test]
fn half_a_last_line_fails_the_sync_by_name() {
    let source = rows_then(
        json!([state("users", json!({"at": 2}), None), {"raw_latin1": "{\"type\":\"RECORD\",\"record\":{\"stre"}]),
    );
    let (place, code, report) = after_a_good_run(source, json!({}));
    assert_eq!(code, 1);
    assert!(first_failure(&report).contains("ends in the middle of line 4"), "{report:#}");
    // What was confirmed before the fault is kept.
    assert_eq!(place.states()[0]["state"], json!({"at": 2}));
}

#[test]
fn invalid_utf8_in_a_record_fails_the_sync_by_line_and_stream() {
    let source = rows_then(
        json!([{"raw_latin1": "{\"type\":\"RECORD\",\"record\":{\"stream\":\"users\",\"emitted_at\":1,\"data\":{\"name\":\"caf\u{e9}\"}}}\n"}, complete("users")]),
    );
    let (place, code, report) = after_a_good_run(source, json!({}));
    assert_eq!(code, 1);
    assert!(
        first_failure(&report).contains("line 3, a record of stream users, is not UTF-8 at byte"),
        "{report:#}"
    );
    keeps_the_old_state(&place);
}

#[test]
fn a_line_of_a_gigabyte_fails_the_sync_at_the_cap() {
    let (place, code, report) = after_a_good_run(rows_then(json!([{"fill": 1024}])), json!({}));
    assert_eq!(code, 1);
    assert!(first_failure(&report).contains("line 3 of its output is longer than 256 MiB"), "{report:#}");
    keeps_the_old_state(&place);
}

#[test]
fn a_record_of_a_stream_that_was_not_asked_for_fails_the_sync() {
    let (place, code, report) =
        after_a_good_run(rows_then(json!([record("strangers", json!({})), complete("users")])), json!({}));
    assert_eq!(code, 1);
    assert!(first_failure(&report).contains("stream strangers, which was not asked for"), "{report:#}");
    keeps_the_old_state(&place);
}

#[test]
fn a_source_killed_by_a_signal_is_told_by_the_signals_name() {
    for (signal, name) in [(9, "SIGKILL"), (11, "SIGSEGV")] {
        // Its word that the stream is complete does not count.
        let source = rows_then(json!([complete("users"), {"kill": signal}]));
        let (place, code, report) = after_a_good_run(source, json!({}));
        assert_eq!(code, 1);
        assert!(first_failure(&report).contains(name), "{report:#}");
        assert_eq!(report["failures"][0]["origin"], "source");
        keeps_the_old_state(&place);
        assert_eq!(place.received().last().unwrap()["trace"]["stream_status"]["status"], "INCOMPLETE");
    }
}

#[test]
fn a_source_that_ends_without_complete_has_not_finished() {
    let source = rows_then(json!([{"stderr": "some words"}, state("users", json!({"at": 2}), None)]));
    let (place, code, report) = after_a_good_run(source, json!({}));
    assert_eq!(code, 1);
    assert!(first_failure(&report).contains("never said COMPLETE"), "{report:#}");
    assert_eq!(place.received().last().unwrap()["trace"]["stream_status"]["status"], "INCOMPLETE");
}

#[test]
fn a_source_that_fails_after_complete_has_not_finished() {
    let source = rows_then(
        json!([state("users", json!({"at": 2}), None), complete("users"), {"stderr": "lost the connection"}, {"exit": 1}]),
    );
    let (place, code, report) = after_a_good_run(source, json!({}));
    assert_eq!(code, 1);
    assert!(first_failure(&report).contains("exited with code 1"), "{report:#}");
    assert!(report["failures"][0]["detail"].as_str().unwrap().contains("lost the connection"));
    assert_eq!(place.received().last().unwrap()["trace"]["stream_status"]["status"], "INCOMPLETE");
}

#[test]
fn records_after_the_last_state_are_covered_by_no_receipt() {
    let source = json!({"lines": [state("users", json!({"at": 2}), None), record("users", json!({"id": 1})), complete("users")]});
    let (_, code, report) = after_a_good_run(source, json!({}));
    assert_eq!(code, 1);
    assert!(first_failure(&report).contains("1 records after its last state"), "{report:#}");
}

#[test]
fn a_source_that_miscounts_fails_the_sync_with_both_numbers() {
    let source = rows_then(json!([state("users", json!({"at": 2}), Some(3)), complete("users")]));
    let (place, code, report) = after_a_good_run(source, json!({}));
    assert_eq!(code, 1);
    let text = first_failure(&report);
    assert!(
        text.contains("stream users") && text.contains("counted 3") && text.contains("received 2"),
        "{report:#}"
    );
    keeps_the_old_state(&place);
}

#[test]
fn a_destination_that_loses_or_doubles_a_row_fails_the_sync_with_both_numbers() {
    for (skew, committed) in [(-1, "committed 1"), (1, "committed 3")] {
        let source = rows_then(json!([state("users", json!({"at": 2}), Some(2)), complete("users")]));
        let (place, code, report) = after_a_good_run(source, json!({"skew": {"1": skew}}));
        assert_eq!(code, 1);
        let text = first_failure(&report);
        assert!(
            text.contains("stream users") && text.contains("sent 2 records") && text.contains(committed),
            "{report:#}"
        );
        keeps_the_old_state(&place);
    }
}

#[test]
fn a_destination_whose_digest_disagrees_fails_the_sync() {
    let source = rows_then(json!([state("users", json!({"at": 2}), Some(2)), complete("users")]));
    let (place, code, report) =
        after_a_good_run(source, json!({"digest": "00000000000000000000000000000001"}));
    assert_eq!(code, 1);
    assert!(first_failure(&report).contains("the digests do not"), "{report:#}");
    keeps_the_old_state(&place);
}

#[test]
fn echoes_never_sent_twice_or_out_of_order_fail_the_sync() {
    let two = || {
        rows_then(json!([
            state("users", json!({"at": 2}), Some(2)),
            state("users", json!({"at": 3}), Some(0)),
            complete("users")
        ]))
    };
    let (place, code, report) = after_a_good_run(two(), json!({"foreign_id": true}));
    assert_eq!(code, 1);
    assert!(first_failure(&report).contains("state 999, which was never sent"), "{report:#}");
    keeps_the_old_state(&place);

    let (_, code, report) = after_a_good_run(two(), json!({"twice": true}));
    assert_eq!(code, 1);
    assert!(first_failure(&report).contains("echoed state 1 twice"), "{report:#}");

    let (_, code, report) = after_a_good_run(two(), json!({"reverse": true, "no_stats": true}));
    assert_eq!(code, 1);
    assert!(first_failure(&report).contains("echoed state 1 out of order, after state 2"), "{report:#}");
}

#[test]
fn a_destination_that_confirms_nothing_leaves_the_stream_incomplete() {
    let source = rows_then(json!([state("users", json!({"at": 2}), Some(2)), complete("users")]));
    let (place, code, report) = after_a_good_run(source, json!({"swallow": true}));
    assert_eq!(code, 1);
    assert!(
        first_failure(&report).contains("without confirming 1 states; 2 records were sent, 0 confirmed"),
        "{report:#}"
    );
    keeps_the_old_state(&place);
}

#[test]
fn a_destination_that_ends_early_is_told_by_code_signal_and_its_last_words() {
    let many = || json!({"lines": [{"repeat": 20000, "text": record("users", json!({"id": "@", "name": "x".repeat(60)}))}, complete("users")]});
    let (place, code, report) = after_a_good_run(many(), json!({"exit_at_start": 4}));
    assert_eq!(code, 1);
    let text = first_failure(&report);
    assert!(
        text.contains("before all records were sent") && text.contains("exited with code 4"),
        "{report:#}"
    );
    assert!(report["failures"][0]["detail"].as_str().unwrap().contains("cannot open the table"));
    keeps_the_old_state(&place);

    let (_, code, report) = after_a_good_run(many(), json!({"die_after": 10, "die_by": 9}));
    assert_eq!(code, 1);
    assert!(first_failure(&report).contains("signal 9 (SIGKILL"), "{report:#}");
    assert_eq!(report["failures"][0]["origin"], "destination");

    let (_, code, report) = after_a_good_run(
        rows_then(json!([state("users", json!({"at": 2}), Some(2)), complete("users")])),
        json!({"exit": 3}),
    );
    assert_eq!(code, 1);
    assert!(first_failure(&report).contains("exited with code 3"), "{report:#}");
}

#[test]
fn a_destination_that_stops_reading_is_stopped_by_name() {
    let many = json!({"lines": [{"repeat": 20000, "text": record("users", json!({"id": "@", "name": "x".repeat(60)}))}, complete("users")]});
    let (place, code, report) = after_a_good_run_with(
        many,
        json!({"stop_reading": 30}),
        json!({"timeouts": {"destination_stall_secs": 1}}),
    );
    // The first run had the same limit and met it.
    assert_eq!(code, 1);
    assert!(
        first_failure(&report)
            .contains("took no input for 1 s, the limit of timeouts.destination_stall_secs"),
        "{report:#}"
    );
    assert_eq!(report["failures"].as_array().unwrap().len(), 1, "{report:#}");
    keeps_the_old_state(&place);
}

#[test]
fn a_destination_that_never_ends_is_stopped_by_name() {
    let (_, code, report) = after_a_good_run_with(
        rows_then(json!([state("users", json!({"at": 2}), Some(2)), complete("users")])),
        json!({"hang_at_end": 30}),
        json!({"timeouts": {"destination_stall_secs": 1}}),
    );
    assert_eq!(code, 1);
    assert!(first_failure(&report).contains("gave no sign after the end of its input for 1 s"), "{report:#}");
}

#[test]
fn a_silent_source_is_stopped_by_name() {
    let (place, code, report) = after_a_good_run_with(
        rows_then(json!([{"sleep": 30}])),
        json!({}),
        json!({"timeouts": {"source_silence_secs": 1}}),
    );
    assert_eq!(code, 1);
    assert!(
        first_failure(&report).contains("sent nothing for 1 s, the limit of timeouts.source_silence_secs"),
        "{report:#}"
    );
    keeps_the_old_state(&place);
}

#[test]
fn a_slow_destination_is_no_silent_source() {
    // More than the pipes and ferry hold, so that nothing is read of the source during the pause.
    let source = json!({"lines": [{"repeat": 3000, "text": record("users", json!({"id": "@", "name": "x".repeat(1000)}))}, state("users", json!({"at": 2}), Some(3000)), complete("users")]});
    let (_, code, report) = after_a_good_run_with(
        source,
        json!({"pauses_at": 10, "pause": 6}),
        json!({"timeouts": {"source_silence_secs": 4, "destination_stall_secs": 20}}),
    );
    assert_eq!(code, 0, "{report:#}");
}

#[test]
fn secrets_reach_no_log_error_report_or_command_line() {
    let secret = "p@ss w\"rd/äö+%";
    let source = json!({"password": secret, "print_secret": true, "lines": [
        {"stderr": format!("tried {secret} and gave up")},
        json!({"type":"TRACE","trace":{"type":"ERROR","emitted_at":1.0,"error":{"message":format!("cannot log in with {secret}"),"internal_message":"url=postgres://u:p%40ss%20w%22rd%2F%C3%A4%C3%B6%2B%25@h/db","failure_type":"config_error"}}}).to_string(),
        status("users", "INCOMPLETE"), {"exit": 1}]});
    let place =
        Place::new(source, json!({"password": "${FERRY_TEST_SECRET}", "print_secret": true}), json!({}));
    let out = place
        .command(&["sync", "sync.json"])
        .env("FERRY_TEST_SECRET", "from-the-environment")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .map(fakes::finish)
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
    let told = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(told.contains("cannot log in with ****"), "{told}");
    // Everything below .ferry, the database included, and both argument lists.
    let mut found = told.into_bytes();
    let mut waiting = vec![place.path(".ferry")];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            if entry.path().is_dir() {
                waiting.push(entry.path());
            } else {
                found.extend(std::fs::read(entry.path()).unwrap());
            }
        }
    }
    for role in ["source", "destination"] {
        found.extend(place.started_with(role)["argv"].to_string().into_bytes());
    }
    let found = String::from_utf8_lossy(&found);
    assert!(found.contains("connecting with ****"));
    for form in [secret, "p%40ss", "p@ss w\\\"rd", "from-the-environment"] {
        assert!(!found.contains(form), "{form}");
    }
    assert!(std::fs::read_dir(place.path(".ferry/tmp")).unwrap().next().is_none());
}

#[test]
fn a_file_with_secrets_that_others_can_read_gets_a_warning() {
    let mut source = good_source(1);
    source["password"] = json!("hunter2secret");
    let place = Place::new(source, json!({}), json!({}));
    assert_eq!(place.sync().1["warnings"], json!([]));
    std::fs::set_permissions(place.path("sync.json"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, report) = place.sync();
    assert_eq!(code, 0);
    let warning = report["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("sync.json") && warning.contains("mode 644") && warning.contains("chmod 600"),
        "{warning}"
    );
    let text = place.ferry(&["sync", "sync.json"]);
    assert!(String::from_utf8_lossy(&text.stderr).contains("warning: "));
}

#[test]
fn a_wrong_choice_of_streams_names_stream_and_field_and_starts_nothing() {
    let cases = [
        (json!([{"name": "user"}]), "did you mean \"users\"?"),
        (
            json!([{"name": "users", "sync_mode": "incremental", "cursor_field": "updated"}]),
            "cursor_field \"updated\" is not one of its fields",
        ),
        (
            json!([{"name": "users", "destination_sync_mode": "append_dedup"}]),
            "append_dedup needs a primary_key",
        ),
        (json!([{"name": "users", "primary_key": ["idd"]}]), "primary_key \"idd\""),
        (json!([{"name": "users", "fields": ["nme"]}]), "did you mean \"name\"?"),
    ];
    for (streams, expected) in cases {
        let place = Place::new(good_source(1), json!({}), json!({"streams": streams}));
        let (code, report) = place.sync();
        assert_eq!(code, 2);
        assert!(report["error"]["message"].as_str().unwrap().contains(expected), "{report}");
        assert!(!place.path("source-args.json").exists());
    }
}

#[test]
fn odd_stream_names_travel_unchanged() {
    let names = ["a\"b", "../../etc/passwd", "sl/ash", "emoji 🚢", &"long".repeat(75), "new\nline"];
    let mut lines = Vec::new();
    for name in names {
        lines.push(record(name, json!({"id": 1})));
        lines.push(state(name, json!({"of": name}), Some(1)));
        lines.push(complete(name));
    }
    let place = Place::new(json!({"streams": names, "lines": lines}), json!({}), json!({"prefix": "p'"}));
    let (code, report) = place.sync();
    assert_eq!(code, 0, "{report:#}");
    let received = place.received();
    for name in names {
        assert!(received.iter().any(|m| m["record"]["stream"] == format!("p'{name}")), "{name}");
        assert!(place.states().as_array().unwrap().iter().any(|s| s["stream"]["name"] == name));
    }
}

#[test]
fn something_that_is_no_connector_is_told_apart() {
    let place = Place::new(good_source(1), json!({}), json!({}));
    std::fs::write(place.path("source-fake"), "#!/bin/sh\necho hello\nexit 0\n").unwrap();
    let (code, report) = place.sync();
    assert_eq!(code, 1);
    assert!(report["error"]["message"].as_str().unwrap().contains("speaks the Airbyte protocol"), "{report}");
    std::fs::write(place.path("source-fake"), "#!/no/such/interpreter\n").unwrap();
    let (code, report) = place.sync();
    assert_eq!(code, 1);
    assert!(report["error"]["message"].as_str().unwrap().contains("cannot be started"), "{report}");
}
