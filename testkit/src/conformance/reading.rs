//! Trials of `read`: status, states, counts, digests, selection.

use std::collections::HashMap;

use protocol::{Message, RecordDigest, StreamDescriptor, StreamStatusKind, SyncMode};
use serde_json::{Value, json};

use super::{SourceSuite, configured};
use crate::folder::Folder;
use crate::output::{Output, descriptor};

pub fn every_stream_is_started_running_and_complete(suite: &SourceSuite) {
    let folder = Folder::new();
    for mode in [SyncMode::FullRefresh, SyncMode::Incremental] {
        let catalog = suite.discover(&folder, &suite.config);
        let output = suite.read(&folder, &suite.config, mode, None).succeeded();
        let mut statuses = HashMap::<&StreamDescriptor, Vec<StreamStatusKind>>::new();
        for (stream, status) in output.statuses() {
            statuses.entry(stream).or_default().push(status);
        }
        assert_eq!(statuses.len(), catalog.streams.len(), "each stream has a status: {output}");
        for (stream, mut said) in statuses {
            said.dedup_by(|a, b| a == b && *a == StreamStatusKind::Running);
            let expected = [StreamStatusKind::Started, StreamStatusKind::Running, StreamStatusKind::Complete];
            assert_eq!(said, expected, "{stream}");
        }
        assert!(output.errors().count() == 0, "{output}");
    }
}

/// Walks through a run and checks every state against the rows before it; returns each
/// stream's total. Used on every run whatever became of it.
pub(crate) fn account(output: &Output) -> HashMap<StreamDescriptor, RecordDigest> {
    let mut since = HashMap::<StreamDescriptor, RecordDigest>::new();
    let mut total = HashMap::<StreamDescriptor, RecordDigest>::new();
    for message in output.messages() {
        match message {
            Message::Record(record) => {
                let data = record.data.get().as_bytes();
                since.entry(descriptor(record)).or_default().add(data);
                total.entry(descriptor(record)).or_default().add(data);
            }
            Message::State(state) => {
                let mut counted = RecordDigest::default();
                match state.descriptor() {
                    Some(stream) => counted = since.remove(stream).unwrap_or_default(),
                    None => since.drain().for_each(|(_, part)| counted.merge(part)),
                }
                let stats = state
                    .source_stats
                    .as_ref()
                    .unwrap_or_else(|| panic!("a state without sourceStats: {output}"));
                let place = state.descriptor().map(ToString::to_string).unwrap_or_default();
                assert_eq!(stats.records, Some(counted.records()), "{place}: recordCount");
                assert_eq!(stats.digest.as_deref(), Some(counted.hex().as_str()), "{place}: recordDigest");
            }
            _ => {}
        }
    }
    total
}

pub fn states_account_for_every_record(suite: &SourceSuite) {
    let folder = Folder::new();
    for config in [&suite.config, &suite.large] {
        for mode in [SyncMode::FullRefresh, SyncMode::Incremental] {
            let output = suite.read(&folder, config, mode, None).succeeded();
            let totals = account(&output);
            assert_eq!(totals, output.digests());
            // Nothing after a stream's last state but its COMPLETE.
            let mut open = HashMap::new();
            for message in output.messages() {
                match message {
                    Message::Record(record) => {
                        _ = open.insert(descriptor(record), "a record without a state after it");
                    }
                    Message::State(state) => match state.descriptor() {
                        Some(stream) => _ = open.insert(stream.clone(), ""),
                        None => open.values_mut().for_each(|fault| *fault = ""),
                    },
                    Message::Trace(trace) => {
                        let status = trace.stream_status.as_ref();
                        if let Some(done) = status.filter(|s| s.status == StreamStatusKind::Complete) {
                            let fault = open.remove(&done.stream_descriptor);
                            assert_eq!(
                                fault,
                                Some(""),
                                "{} is COMPLETE without a last state",
                                done.stream_descriptor
                            );
                        }
                    }
                    _ => {}
                }
            }
            assert!(open.is_empty(), "without COMPLETE: {open:?}");
        }
    }
}

pub fn only_selected_fields_are_sent(suite: &SourceSuite) {
    let folder = Folder::new();
    let mut catalog = configured(&suite.discover(&folder, &suite.config), SyncMode::FullRefresh);
    let mut kept = HashMap::new();
    for stream in catalog["streams"].as_array_mut().expect("an array") {
        stream["cursor_field"] = json!([]);
        stream["primary_key"] = json!([]);
        let name = stream["stream"]["name"].as_str().unwrap_or_default().to_owned();
        let properties = stream["stream"]["json_schema"]["properties"].as_object_mut().expect("properties");
        let first = properties.keys().next_back().expect("a property").clone();
        properties.retain(|field, _| *field == first);
        kept.insert(name, first);
    }
    let output = suite.read_catalog(&folder, &suite.config, &catalog, None).succeeded();
    assert!(output.records().count() > 0, "{output}");
    for record in output.records() {
        let data: Value = serde_json::from_str(record.data.get()).expect("data is JSON");
        let fields: Vec<_> = data.as_object().into_iter().flatten().map(|(k, _)| k.as_str()).collect();
        assert_eq!(fields, [kept[&record.stream].as_str()], "{}", record.stream);
    }
    account(&output);
}

pub fn a_field_that_the_source_no_longer_has_is_no_failure(suite: &SourceSuite) {
    let folder = Folder::new();
    let mut catalog = configured(&suite.discover(&folder, &suite.config), SyncMode::FullRefresh);
    catalog["streams"][0]["stream"]["json_schema"]["properties"]["gone_since"] =
        json!({"type": ["null", "string"]});
    let output = suite.read_catalog(&folder, &suite.config, &catalog, None).succeeded();
    assert!(output.records().count() > 0, "{output}");
}

pub fn one_stream_of_many_can_be_read(suite: &SourceSuite) {
    let folder = Folder::new();
    let mut catalog = configured(&suite.discover(&folder, &suite.config), SyncMode::FullRefresh);
    catalog["streams"].as_array_mut().expect("an array").truncate(1);
    let output = suite.read_catalog(&folder, &suite.config, &catalog, None).succeeded();
    assert_eq!(output.digests().len(), 1, "{output}");
}

pub fn peak_memory_stays_below_64_mib(suite: &SourceSuite) {
    let folder = Folder::new();
    let output = suite.read(&folder, &suite.large, SyncMode::FullRefresh, None).succeeded();
    assert!(output.peak_kib > 0, "the sampling saw nothing: {output}");
    assert!(output.peak_kib <= 64 << 10, "{} KiB: {output}", output.peak_kib);
}
