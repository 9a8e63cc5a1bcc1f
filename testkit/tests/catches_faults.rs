//! The suite itself, tried on made-up connectors: a correct one passes, and each fault
//! makes the trial fail that is there to find it. Without this a trial could be empty.

use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::json;
use testkit::conformance::{
    Resumed, SourceSuite, catalogs, configs, reading, schema, spec, states, stopping,
};
use testkit::{Connector, Folder};

const SPEC: &str = r#"{"type":"SPEC","spec":{"connectionSpecification":{"type":"object","properties":{"count":{"type":"integer","title":"Count","order":0}}}}}"#;
const CATALOG: &str = r#"{"type":"CATALOG","catalog":{"streams":[{"name":"s","json_schema":{"type":"object","properties":{"id":{"type":"integer"}}},"supported_sync_modes":["full_refresh"]}]}}"#;

fn status(status: &str) -> String {
    format!(
        r#"{{"type":"TRACE","trace":{{"type":"STREAM_STATUS","emitted_at":1.0,"stream_status":{{"stream_descriptor":{{"name":"s"}},"status":"{status}"}}}}}}"#
    )
}

fn record(data: &str) -> String {
    format!(r#"{{"type":"RECORD","record":{{"stream":"s","emitted_at":1700000000000,"data":{data}}}}}"#)
}

/// A read of two rows that is right in every way.
fn read() -> Vec<String> {
    let mut digest = protocol::RecordDigest::default();
    digest.add(br#"{"id":1}"#);
    digest.add(br#"{"id":2}"#);
    let state = format!(
        r#"{{"type":"STATE","state":{{"type":"STREAM","stream":{{"stream_descriptor":{{"name":"s"}},"stream_state":{{"done":true}}}},"sourceStats":{{"recordCount":2.0,"recordDigest":"{}"}}}}}}"#,
        digest.hex()
    );
    let (one, two) = (record(r#"{"id":1}"#), record(r#"{"id":2}"#));
    vec![status("STARTED"), status("RUNNING"), one, two, state, status("COMPLETE")]
}

/// A connector that prints these lines, whatever it is asked.
fn suite(spec: &str, catalog: &str, read: &[String], after: &str) -> SourceSuite {
    let folder = Folder::new();
    let spec = folder.write("spec", format!("{spec}\n"));
    let catalog = folder.write("catalog", format!("{catalog}\n"));
    let read = folder.write("read", read.join("\n") + "\n");
    let check = folder
        .write("check", "{\"type\":\"CONNECTION_STATUS\",\"connectionStatus\":{\"status\":\"SUCCEEDED\"}}\n");
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in\nspec) cat {spec};;\ncheck) cat {check};;\ndiscover) cat {catalog};;\nread) cat {read}; {after};;\nesac\n"
    );
    let path = folder.write("connector", script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    SourceSuite {
        connector: Connector::new(path),
        config: json!({"count": 2}),
        large: json!({"count": 2}),
        resumed: Resumed::SendsAllAgain,
        keep: Box::new(folder),
    }
}

type Trial = fn(&SourceSuite);

fn passes(trial: Trial, suite: &SourceSuite) -> bool {
    catch_unwind(AssertUnwindSafe(|| trial(suite))).is_ok()
}

/// The trial passes on the correct connector and fails on the faulty one.
fn finds(trial: Trial, faulty: &SourceSuite) {
    assert!(passes(trial, &suite(SPEC, CATALOG, &read(), ":")), "the trial fails without the fault");
    assert!(!passes(trial, faulty), "the trial does not find the fault");
}

fn reading_otherwise(change: impl FnOnce(&mut Vec<String>)) -> SourceSuite {
    let mut lines = read();
    change(&mut lines);
    suite(SPEC, CATALOG, &lines, ":")
}

#[test]
fn a_lost_doubled_or_altered_row_is_found() {
    let trial = reading::states_account_for_every_record;
    finds(trial, &reading_otherwise(|lines| drop(lines.remove(2))));
    finds(trial, &reading_otherwise(|lines| lines[2] = lines[3].clone()));
    finds(trial, &reading_otherwise(|lines| lines[2] = record(r#"{"id": 1}"#)));
}

#[test]
fn a_row_after_the_last_state_is_found() {
    finds(reading::states_account_for_every_record, &reading_otherwise(|lines| lines.swap(3, 4)));
}

#[test]
fn a_missing_or_misplaced_status_is_found() {
    let trial = reading::every_stream_is_started_running_and_complete;
    finds(trial, &reading_otherwise(|lines| drop(lines.pop())));
    finds(trial, &reading_otherwise(|lines| lines.swap(0, 1)));
}

#[test]
fn text_on_stdout_or_stderr_and_half_a_line_are_found() {
    let trial = reading::states_account_for_every_record;
    finds(trial, &reading_otherwise(|lines| lines.insert(2, "connecting …".into())));
    finds(trial, &suite(SPEC, CATALOG, &read(), "echo careful >&2"));
    finds(trial, &suite(SPEC, CATALOG, &read(), "printf half"));
}

#[test]
fn a_row_that_does_not_fit_its_schema_is_found() {
    for data in [r#"{"id":"1"}"#, r#"{"id":1,"other":2}"#, "{}"] {
        finds(schema::every_record_fits_its_schema, &reading_otherwise(|lines| lines[2] = record(data)));
    }
}

#[test]
fn a_spec_or_catalog_that_platforms_refuse_is_found() {
    let refers = SPEC.replace(r#""type":"integer""#, r##""$ref":"#/definitions/x""##);
    finds(spec::spec_keeps_to_what_platforms_can_show, &suite(&refers, CATALOG, &read(), ":"));
    let open_secret = SPEC.replace("\"count\"", "\"password\"").replace("integer", "string");
    finds(spec::spec_keeps_to_what_platforms_can_show, &suite(&open_secret, CATALOG, &read(), ":"));
    let twice = format!("{SPEC}\n{SPEC}");
    finds(spec::spec_is_one_line_and_offers_a_form, &suite(&twice, CATALOG, &read(), ":"));
    let bare = CATALOG.replace(r#","properties":{"id":{"type":"integer"}}"#, "");
    finds(schema::discover_keeps_to_what_platforms_can_use, &suite(SPEC, &bare, &read(), ":"));
}

#[test]
fn a_connector_that_takes_anything_is_found() {
    let careless = suite(SPEC, CATALOG, &read(), ":");
    let trials: [Trial; 9] = [
        configs::check_answers_failed_to_a_file_that_is_no_config,
        configs::a_value_of_the_wrong_type_is_named_by_its_path_and_not_repeated,
        configs::an_unknown_config_key_only_warns,
        catalogs::an_unknown_sync_mode_is_an_error,
        catalogs::an_unknown_stream_is_an_error_that_names_it,
        states::a_file_that_is_no_state_is_an_error,
        states::the_state_of_another_connector_is_an_error_that_says_so,
        spec::a_wrong_command_line_ends_with_code_2_and_an_empty_stdout,
        stopping::sigterm_ends_a_read_soon_with_a_state_and_a_whole_line,
    ];
    for (index, trial) in trials.into_iter().enumerate() {
        assert!(!passes(trial, &careless), "trial {index}");
    }
}

#[test]
fn a_run_that_never_ends_is_ended() {
    let endless = suite(SPEC, CATALOG, &read(), "exec sleep 600");
    let started = std::time::Instant::now();
    let run = endless.connector.command(["read"]).patience(std::time::Duration::from_secs(1));
    assert!(catch_unwind(AssertUnwindSafe(|| run.output())).is_err());
    assert!(started.elapsed() < std::time::Duration::from_secs(30));
}
