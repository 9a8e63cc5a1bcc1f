//! Trials of `--state`: every shape of none, foreign ones, resuming.

use std::collections::{HashMap, HashSet};

use protocol::{FailureType, Message, RecordDigest, StreamDescriptor, SyncMode};
use serde_json::{Value, json};

use super::reading::account;
use super::{Resumed, SourceSuite, configured, final_state};
use crate::folder::Folder;
use crate::output::{Output, descriptor};

fn totals(output: &Output) -> HashMap<StreamDescriptor, RecordDigest> {
    output.digests()
}

pub fn every_shape_of_no_state_starts_from_the_beginning(suite: &SourceSuite) {
    let folder = Folder::new();
    let expected = totals(&suite.read(&folder, &suite.config, SyncMode::Incremental, None).succeeded());
    let nulls: Vec<Value> = expected
        .keys()
        .map(|stream| {
            json!({"type": "STREAM", "stream": {"stream_descriptor": {"name": stream.name, "namespace": stream.namespace},
                "stream_state": null}, "global": null, "global_": null, "data": null, "sourceStats": null,
                "destinationStats": null, "id": null})
        })
        .collect();
    let empty_objects = json!(
        expected
            .keys()
            .map(|stream| json!({"type": "STREAM", "stream": {
        "stream_descriptor": {"name": stream.name}, "stream_state": {}}}))
            .collect::<Vec<_>>()
    );
    let repeated = r#"[{"type":"GLOBAL","global":null,"global":{"shared_state":null,"stream_states":[]}}]"#;
    let global = r#"[{"type":"GLOBAL","global_":{"shared_state":null,"stream_states":[]},"stream":null}]"#;
    let shapes =
        ["[]", "{}", "", "null", &json!(nulls).to_string(), &empty_objects.to_string(), repeated, global];
    for shape in shapes {
        let output = suite.read(&folder, &suite.config, SyncMode::Incremental, Some(shape)).succeeded();
        assert_eq!(totals(&output), expected, "{shape:?}");
    }
}

pub fn a_file_that_is_no_state_is_an_error(suite: &SourceSuite) {
    let folder = Folder::new();
    for text in
        ["not json", "7", "[7]", r#"[{"type":"NONSENSE"}]"#, r#"[{"type":"STREAM"}]"#, r#"[{"type":"STREAM""#]
    {
        let output =
            suite.read(&folder, &suite.config, SyncMode::Incremental, Some(text)).wrote_only_messages();
        let error = output.failed();
        assert!(error.failure_type == Some(FailureType::ConfigError), "{text}: {output}");
        assert!(error.message.contains("state"), "{text}: {output}");
        assert!(output.records().count() == 0, "{text}: {output}");
    }
}

pub fn the_state_of_another_connector_is_an_error_that_says_so(suite: &SourceSuite) {
    let folder = Folder::new();
    let catalog = suite.discover(&folder, &suite.config);
    let legacy = json!({"orders": {"cursor": "2020-01-01"}}).to_string();
    let mut foreign = vec![legacy];
    for stream in catalog.streams.iter().filter(|s| s.supported_sync_modes.contains(&SyncMode::Incremental)) {
        let state = json!([{"type": "STREAM", "stream": {
            "stream_descriptor": {"name": stream.name, "namespace": stream.namespace},
            "stream_state": {"another_connectors_lsn": 23_456, "snapshot_done": true}}}]);
        foreign.push(state.to_string());
    }
    for state in foreign {
        let output =
            suite.read(&folder, &suite.config, SyncMode::Incremental, Some(&state)).wrote_only_messages();
        let error = output.failed();
        assert!(error.failure_type == Some(FailureType::ConfigError), "{state}: {output}");
        assert!(error.message.contains("state"), "{state}: {output}");
        assert!(
            output.records().count() == 0,
            "{state}: rows were sent before the states were looked at: {output}"
        );
    }
}

pub fn reading_again_with_the_final_state_adds_nothing_false(suite: &SourceSuite) {
    let folder = Folder::new();
    let first = suite.read(&folder, &suite.config, SyncMode::Incremental, None).succeeded();
    let state = final_state(&first);
    let second = suite.read(&folder, &suite.config, SyncMode::Incremental, Some(&state)).succeeded();
    account(&second);
    let count = |output: &Output| output.records().count();
    match suite.resumed {
        Resumed::SendsNothing => assert_eq!(count(&second), 0, "{second}"),
        Resumed::SendsAllAgain => assert_eq!(count(&second), count(&first), "{second}"),
    }
    // A third run must be able to go on from the second.
    let third =
        suite.read(&folder, &suite.config, SyncMode::Incremental, Some(&final_state(&second))).succeeded();
    assert_eq!(count(&third), count(&second), "{third}");
}

/// Rows by what they are known by: the primary key, or all of it.
pub(crate) fn identities(output: &Output, keys: &HashMap<StreamDescriptor, Vec<String>>) -> HashSet<String> {
    output
        .records()
        .map(|record| {
            let stream = descriptor(record);
            let data: Value = serde_json::from_str(record.data.get()).expect("data is JSON");
            match keys.get(&stream).filter(|key| !key.is_empty()) {
                Some(key) => {
                    format!("{stream} {}", key.iter().map(|f| data[f].to_string()).collect::<String>())
                }
                None => format!("{stream} {}", record.data.get()),
            }
        })
        .collect()
}

pub(crate) fn keys(
    suite: &SourceSuite,
    folder: &Folder,
    config: &Value,
) -> HashMap<StreamDescriptor, Vec<String>> {
    let catalog = suite.discover(folder, config);
    let key = |s: &protocol::Stream| {
        s.source_defined_primary_key.iter().filter_map(|p| p.first().cloned()).collect()
    };
    catalog.streams.iter().map(|s| (s.descriptor(), key(s))).collect()
}

/// Invariant: no row is lost between what came before a state and what a run that starts
/// from it sends. Tried from the first, a middle and the last state of a long read.
pub fn a_read_resumed_from_any_state_loses_no_row(suite: &SourceSuite) {
    let folder = Folder::new();
    let whole = suite.read(&folder, &suite.large, SyncMode::Incremental, None).succeeded();
    let keys = keys(suite, &folder, &suite.large);
    let all = identities(&whole, &keys);
    let catalog = configured(&suite.discover(&folder, &suite.large), SyncMode::Incremental);
    let states: Vec<usize> =
        (0..whole.lines.len()).filter(|i| matches!(whole.lines[*i].message, Ok(Message::State(_)))).collect();
    assert!(!states.is_empty(), "{whole}");
    let tried: HashSet<usize> = [0, states.len() / 2, states.len() - 1].into_iter().collect();
    for index in tried {
        // What a platform would have kept had the run died just after this state.
        let before = whole.cut_after(states[index]);
        let resumed =
            suite.read_catalog(&folder, &suite.large, &catalog, Some(&final_state(&before))).succeeded();
        let mut together = identities(&before, &keys);
        together.extend(identities(&resumed, &keys));
        let lost = all.difference(&together).count();
        assert_eq!(lost, 0, "from state {index} of {}: {lost} rows of {} are lost", states.len(), all.len());
    }
}
