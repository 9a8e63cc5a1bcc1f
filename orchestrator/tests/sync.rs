//! `ferry sync` from end to end, with scripted connectors.

mod fakes;

use fakes::{Place, complete, first_failure, good_source, record, state, status};
use serde_json::{Value, json};

#[test]
fn moves_rows_keeps_the_state_and_reports_both() {
    let place = Place::new(good_source(3), json!({}), json!({}));
    let (code, report) = place.sync();
    assert_eq!(code, 0, "{report:#}");
    let stream = &report["streams"][0];
    assert_eq!(
        (&stream["read"], &stream["committed"], &stream["status"]),
        (&json!(3), &json!(3), &json!("complete"))
    );
    assert_eq!(stream["receipt"]["proof"], "count");
    let received = place.received();
    let kinds: Vec<_> = received.iter().map(|m| m["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["RECORD", "RECORD", "RECORD", "STATE", "TRACE"]);
    assert_eq!(received[3]["state"]["id"], 1);
    assert_eq!(received[4]["trace"]["stream_status"]["status"], "COMPLETE");
    assert_eq!(place.states()[0]["state"], json!({"at": 3}));
    let catalog = &place.started_with("destination")["catalog"]["streams"][0];
    assert_eq!((&catalog["generation_id"], &catalog["minimum_generation_id"]), (&json!(1), &json!(1)));
    assert_eq!(catalog["destination_sync_mode"], "overwrite");
    assert_eq!(place.started_with("source")["config_mode"], 0o600);
}

#[test]
fn an_incremental_stream_goes_on_from_its_state_in_the_next_run() {
    let streams = json!({"streams": [{"name": "users", "sync_mode": "incremental", "cursor_field": "id"}]});
    let place = Place::new(good_source(2), json!({}), streams.clone());
    assert_eq!(place.sync().0, 0);
    assert_eq!(place.started_with("source")["state"], Value::Null);
    assert_eq!(place.sync().0, 0);
    let given = &place.started_with("source")["state"];
    assert_eq!(given[0]["stream"]["stream_state"], json!({"at": 2}));
    assert_eq!(given[0]["type"], "STREAM");
    let catalog = &place.started_with("destination")["catalog"]["streams"][0];
    assert_eq!((&catalog["generation_id"], &catalog["minimum_generation_id"]), (&json!(0), &json!(0)));
    assert_eq!(catalog["destination_sync_mode"], "append");

    let reset = place.ferry(&["state", "reset", "sync.json"]);
    assert!(reset.status.success());
    assert_eq!(place.sync().0, 0);
    assert_eq!(place.started_with("source")["state"], Value::Null);
}

#[test]
fn a_full_refresh_starts_over_with_a_new_generation() {
    let place = Place::new(good_source(2), json!({}), json!({}));
    assert_eq!(place.sync().0, 0);
    assert_eq!(place.sync().0, 0);
    assert_eq!(place.started_with("source")["state"], Value::Null);
    assert_eq!(place.started_with("source")["catalog"]["streams"][0]["generation_id"], 2);
}

#[test]
fn names_are_mapped_on_the_way_there_and_states_keep_the_sources() {
    let lines = json!([
        json!({"type":"RECORD","record":{"namespace":"public","stream":"users","emitted_at":1,"data":{"id":1.50,"name":"ä\u{1F600}","at":9007199254740993_u64}}}).to_string(),
        json!({"type":"STATE","state":{"type":"STREAM","stream":{"stream_descriptor":{"name":"users","namespace":"public"},"stream_state":{"c":1}}}}).to_string(),
        json!({"type":"TRACE","trace":{"type":"STREAM_STATUS","emitted_at":1.0,"stream_status":{"stream_descriptor":{"name":"users","namespace":"public"},"status":"COMPLETE"}}}).to_string(),
    ]);
    let place = Place::new(
        json!({"streams": [["public", "users"]], "lines": lines}),
        json!({}),
        json!({"namespace": "production_${SOURCE_NAMESPACE}", "prefix": "ml_", "streams": [{"name": "users", "fields": ["id", "at"]}]}),
    );
    let (code, report) = place.sync();
    assert_eq!(code, 0, "{report:#}");
    let received = place.received();
    assert_eq!(received[0]["record"]["namespace"], "production_public");
    assert_eq!(received[0]["record"]["stream"], "ml_users");
    let text = std::fs::read_to_string(place.path("received.jsonl")).unwrap();
    assert!(text.contains(r#""data":{"id":1.5,"at":9007199254740993}"#), "{text}");
    assert_eq!(
        received[1]["state"]["stream"]["stream_descriptor"],
        json!({"name": "ml_users", "namespace": "production_public"})
    );
    assert_eq!(received[1]["state"]["sourceStats"]["recordCount"], 1.0);
    assert_eq!(received[2]["trace"]["stream_status"]["stream_descriptor"]["name"], "ml_users");
    assert_eq!(place.states()[0]["stream"], json!({"name": "users", "namespace": "public"}));
    let source = place.started_with("source");
    assert_eq!(source["catalog"]["streams"][0]["stream"]["name"], "users");
    let properties =
        source["catalog"]["streams"][0]["stream"]["json_schema"]["properties"].as_object().unwrap().clone();
    assert_eq!(properties.keys().collect::<Vec<_>>(), ["id", "at"]);
    assert_eq!(place.started_with("destination")["catalog"]["streams"][0]["stream"]["name"], "ml_users");
}

#[test]
fn a_source_without_states_gets_one_made_up_that_is_not_kept() {
    let lines = json!([record("users", json!({"id": 1})), complete("users")]);
    let place = Place::new(json!({"lines": lines}), json!({}), json!({}));
    let (code, report) = place.sync();
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["streams"][0]["committed"], 1);
    assert_eq!(place.received()[1]["state"]["stream"]["stream_state"], json!({}));
    assert_eq!(place.states(), json!([]));
}

#[test]
fn one_failed_stream_makes_the_job_partial_and_the_others_complete() {
    let lines = json!([
        record("a", json!({"id": 1})),
        state("a", json!({"x": 1}), Some(1)),
        complete("a"),
        record("b", json!({"id": 2})),
        json!({"type":"TRACE","trace":{"type":"ERROR","emitted_at":1.0,"error":{"message":"b is locked","failure_type":"config_error","stream_descriptor":{"name":"b"}}}}).to_string(),
        status("b", "INCOMPLETE"),
        {"exit": 1},
    ]);
    let place = Place::new(json!({"streams": ["a", "b"], "lines": lines}), json!({}), json!({}));
    let (code, report) = place.sync_with(&[]);
    assert_eq!((code, &report["status"]), (3, &json!("partial")), "{report:#}");
    assert_eq!(report["streams"][0]["status"], "complete");
    assert_eq!(report["streams"][1]["status"], "incomplete");
    assert_eq!(first_failure(&report), "b is locked");
    let statuses: Vec<_> = place
        .received()
        .iter()
        .filter(|m| m["type"] == "TRACE")
        .map(|m| m["trace"]["stream_status"]["status"].clone())
        .collect();
    assert_eq!(statuses, ["COMPLETE", "INCOMPLETE"]);
}

#[test]
fn a_passing_failure_is_tried_again_for_the_unfinished_stream_only() {
    let first = json!([
        state("a", json!({"x": 1}), Some(0)), complete("a"),
        record("b", json!({"id": 2})), state("b", json!({"x": 2}), Some(1)),
        record("b", json!({"id": 3})), status("b", "INCOMPLETE"), {"exit": 1},
    ]);
    let then = json!([record("b", json!({"id": 3})), state("b", json!({"x": 3}), Some(1)), complete("b")]);
    let place = Place::new(
        json!({"streams": ["a", "b"], "resumable": true, "lines": {"0": first, "else": then}}),
        json!({}),
        json!({"streams": [
            {"name": "a", "destination_sync_mode": "append"}, {"name": "b", "destination_sync_mode": "append"},
        ]}),
    );
    let (code, report) = place.sync_with(&["--backoff-ms", "10"]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!((&report["attempts"], &report["streams"][1]["committed"]), (&json!(2), &json!(2)));
    let source = place.started_with("source");
    assert_eq!(source["catalog"]["streams"].as_array().unwrap().len(), 1);
    // Row 3 was read twice and is told once.
    assert_eq!(
        (&report["streams"][1]["read"], &report["streams"][1]["receipt"]["digest"]),
        (&json!(2), &Value::Null)
    );
    // A resumable full refresh goes on in the same generation.
    assert_eq!(source["catalog"]["streams"][0]["generation_id"], 1);
    assert_eq!(source["state"][0]["stream"]["stream_state"], json!({"x": 2}));
}

#[test]
fn a_shared_state_is_counted_over_all_streams_and_given_back_whole() {
    let global = json!({"type":"STATE","state":{"type":"GLOBAL","global":{"shared_state":{"lsn":7,"big":0},"stream_states":[]}}}).to_string().replace("\"big\":0", "\"big\":123456789012345678901234567890");
    let lines = json!([
        record("a", json!({"id": 1})),
        record("b", json!({"id": 1})),
        global,
        complete("a"),
        complete("b")
    ]);
    let streams = json!([{"name": "a", "sync_mode": "incremental", "cursor_field": "id"}, {"name": "b", "sync_mode": "incremental", "cursor_field": "id"}]);
    let place =
        Place::new(json!({"streams": ["a", "b"], "lines": lines}), json!({}), json!({"streams": streams}));
    let (code, report) = place.sync();
    assert_eq!(code, 0, "{report:#}");
    // Digits that no double holds survive the store and the command line.
    let shown = place.ferry(&["state", "show", "sync.json", "--output", "json"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("123456789012345678901234567890"));
    assert_eq!(place.sync().0, 0);
    assert_eq!(place.started_with("source")["state"][0]["global"]["shared_state"]["lsn"], 7);
}

#[test]
fn a_state_of_another_connector_is_refused() {
    let streams = json!({"streams": [{"name": "users", "sync_mode": "incremental", "cursor_field": "id"}]});
    let place = Place::new(good_source(1), json!({}), streams);
    assert_eq!(place.sync().0, 0);
    std::fs::copy(place.path("source-fake"), place.path("source-other")).unwrap();
    let text =
        std::fs::read_to_string(place.path("sync.json")).unwrap().replace("./source-fake", "./source-other");
    std::fs::write(place.path("sync.json"), text).unwrap();
    let (code, report) = place.sync();
    assert_eq!(code, 2);
    assert!(report["error"]["message"].as_str().unwrap().contains("state reset"), "{report}");
}

#[test]
fn every_other_command_answers() {
    let place = Place::new(good_source(1), json!({"works": false, "password": "hunter2secret"}), json!({}));
    assert_eq!(place.sync().0, 0);
    let check = place.ferry(&["check", "sync.json"]);
    let text = String::from_utf8(check.stdout).unwrap();
    assert_eq!(check.status.code(), Some(1));
    assert!(
        text.contains("source ./source-fake: works") && text.contains("FAILED: no route with ****"),
        "{text}"
    );
    let run = |arguments: &[&str]| {
        let output = place.ferry(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run(&["discover", "sync.json"]).contains("users"));
    assert!(run(&["spec", "./source-fake"]).contains("password"));
    assert!(run(&["new", "./source-fake", "./destination-fake"]).contains("connector: "));
    assert!(run(&["history", "sync.json"]).contains("succeeded"));
    assert!(run(&["connectors", "--output", "json"]).starts_with('['));
    for arguments in [["sync", "nope.yaml"], ["history", "nope.yaml"], ["frobnicate", "x"]] {
        assert_eq!(place.ferry(&arguments).status.code(), Some(2));
    }
}
