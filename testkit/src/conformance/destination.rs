//! Trials of what a destination echoes.

use protocol::{Message, StateScope, json};
use serde_json::Value;

use super::DestinationSuite;
use super::feed::{Feed, catalog, in_mode, named, stream};
use crate::folder::Folder;
use crate::output::Output;
use crate::process::Invocation;

/// A destination with its folder, written to as often as a trial needs.
pub(crate) struct Bench<'a> {
    pub(crate) suite: &'a DestinationSuite,
    /// Where the destination writes.
    pub(crate) lake: Folder,
    /// The files it is started with; elsewhere, so that they are never mistaken for its own.
    files: Folder,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(suite: &'a DestinationSuite) -> Self {
        Self { suite, lake: Folder::new(), files: Folder::new() }
    }

    pub(crate) fn invocation(&self, catalog: &Value, feed: Feed) -> Invocation {
        let config = self.files.json("config.json", &(self.suite.config)(self.lake.path()));
        let catalog = self.files.json("catalog.json", catalog);
        let args = ["write", "--config", &config, "--catalog", &catalog];
        self.suite.connector.command(args).stdin(feed.bytes())
    }

    pub(crate) fn write(&self, catalog: &Value, feed: Feed) -> Output {
        self.invocation(catalog, feed).output()
    }

    /// The rows a reader sees now.
    pub(crate) fn rows(&self, stream: &str) -> Vec<String> {
        (self.suite.rows)(self.lake.path(), &named(stream))
    }

    /// The text of one member of each visible row, sorted; `-` where it is absent or null.
    pub(crate) fn column(&self, stream: &str, name: &str) -> Vec<String> {
        let mut values: Vec<String> = self.rows(stream).iter().map(|row| member(row, name)).collect();
        values.sort();
        values
    }

    pub(crate) fn ids(&self, stream: &str) -> Vec<u64> {
        let mut ids: Vec<u64> =
            self.column(stream, "id").iter().map(|id| id.parse().expect("ids are whole numbers")).collect();
        ids.sort_unstable();
        ids
    }
}

/// The text of a member as it stands in `row`, quotes included; `-` when null or absent.
pub(crate) fn member(row: &str, name: &str) -> String {
    let found = json::members(row.as_bytes(), 0)
        .map(|m| m.expect("a row is a JSON object"))
        .find(|m| m.is(name))
        .map(|m| row[m.value_start..m.value_end].to_owned());
    found.filter(|text| text != "null").unwrap_or_else(|| "-".into())
}

/// `n` of the echoed STREAM states, in order.
pub(crate) fn echoed(output: &Output) -> Vec<u64> {
    output
        .states()
        .filter_map(|state| match &state.scope {
            StateScope::Stream(s) => {
                let content: Value = serde_json::from_str(s.state.as_ref()?.get()).ok()?;
                content["n"].as_u64()
            }
            _ => None,
        })
        .collect()
}

pub fn states_are_echoed_in_order_with_counts_and_digests(suite: &DestinationSuite) {
    let bench = Bench::new(suite);
    let feed = Feed::new().rows("users", 0, 10).state("users", 1).rows("users", 10, 13).state("users", 2);
    let feed = feed.state("users", 3).rows("users", 13, 14).state("users", 4);
    let output = bench.write(&catalog(&[stream("users")]), feed).succeeded();
    assert_eq!(echoed(&output), [1, 2, 3, 4], "{output}");
    let counts: Vec<_> =
        output.states().map(|s| s.destination_stats.as_ref().and_then(|d| d.records)).collect();
    assert_eq!(counts, [Some(10), Some(3), Some(0), Some(1)], "{output}");
    let mut digest = protocol::RecordDigest::default();
    (0..10).for_each(|n| digest.add(format!(r#"{{"id":{n},"name":"row {n}"}}"#).as_bytes()));
    let first = output.states().next().and_then(|s| s.destination_stats.clone()).unwrap_or_default();
    assert_eq!(first.digest, Some(digest.hex()), "{output}");
    assert_eq!(bench.ids("users"), (0..14).collect::<Vec<_>>());
}

pub fn a_state_is_echoed_with_every_unknown_key_as_it_came(suite: &DestinationSuite) {
    let bench = Bench::new(suite);
    let line = r#"{"unheard":{"b":1, "a":[1.50,2e3]},"type":"STATE","state":{"type":"STREAM","id":77,"stream":{"stream_descriptor":{"name":"users","namespace":null},"stream_state":{"lsn":12345678901234567890,"x":1.10}},"sourceStats":{"recordCount":1.0,"recordDigest":"00","other":true},"new_key":"é\u00e9"}}"#;
    let feed = Feed::new().rows("users", 0, 1).line(line);
    let output = bench.write(&catalog(&[stream("users")]), feed).succeeded();
    let echo = output.state_lines().next().unwrap_or_else(|| panic!("no echo: {output}"));
    let echo = String::from_utf8_lossy(echo);
    for kept in [
        r#""unheard":{"b":1, "a":[1.50,2e3]}"#,
        r#""lsn":12345678901234567890,"x":1.10"#,
        r#""new_key":"é\u00e9""#,
        r#""id":77"#,
        r#""sourceStats":{"recordCount":1.0,"recordDigest":"00","other":true}"#,
    ] {
        assert!(echo.contains(kept), "{kept} is not in the echo {echo}");
    }
}

/// As PyAirbyte writes them: every optional key null, `global_` for `global`.
pub fn messages_full_of_nulls_and_a_global_state_are_understood(suite: &DestinationSuite) {
    let bench = Bench::new(suite);
    let nulls =
        r#""log":null,"spec":null,"connectionStatus":null,"catalog":null,"trace":null,"control":null"#;
    let record = |n: u64| {
        format!(
            r#"{{"type":"RECORD",{nulls},"state":null,"record":{{"stream":"users","data":{{"id":{n},"name":null}},"emitted_at":1700000000123,"namespace":null,"meta":null,"file_reference":null}}}}"#
        )
    };
    let state = format!(
        r#"{{"type":"STATE",{nulls},"record":null,"state":{{"type":"GLOBAL","stream":null,"global":null,"global_":{{"shared_state":{{"n":9}},"stream_states":[{{"stream_descriptor":{{"name":"users","namespace":null}},"stream_state":{{"n":1}}}}]}},"data":null,"sourceStats":null,"destinationStats":null,"id":5}}}}"#
    );
    let feed = Feed::new().line(record(0)).line(record(1)).line(state);
    let output = bench.write(&catalog(&[stream("users")]), feed).succeeded();
    assert_eq!(bench.ids("users"), [0, 1]);
    let echo = output.states().next().unwrap_or_else(|| panic!("no echo: {output}"));
    assert!(
        matches!(&echo.scope, StateScope::Global { shared: Some(s), .. } if s.get().contains('9')),
        "{output}"
    );
    assert_eq!(echo.id, Some(5), "{output}");
    assert_eq!(echo.destination_stats.as_ref().and_then(|d| d.records), Some(2), "{output}");
}

pub fn a_global_state_waits_for_every_stream(suite: &DestinationSuite) {
    let bench = Bench::new(suite);
    let global = r#"{"type":"STATE","state":{"type":"GLOBAL","id":1,"global":{"shared_state":{"lsn":1},"stream_states":[]}}}"#;
    let feed = Feed::new().rows("a", 0, 3).rows("b", 0, 4).line(global);
    let output = bench.write(&catalog(&[stream("a"), stream("b")]), feed).succeeded();
    let echo = output.states().next().unwrap_or_else(|| panic!("no echo: {output}"));
    assert_eq!(echo.destination_stats.as_ref().and_then(|d| d.records), Some(7), "{output}");
    assert_eq!((bench.ids("a").len(), bench.ids("b").len()), (3, 4));
}

pub fn nothing_but_states_logs_and_traces_is_written_to_stdout(suite: &DestinationSuite) {
    let bench = Bench::new(suite);
    let modes: Vec<_> = super::modes::offered(suite).iter().map(|m| in_mode(m, m)).collect();
    let feed = Feed::new().rows("append", 0, 5).state("append", 1);
    let output = bench.write(&catalog(&modes), feed).succeeded();
    for message in output.messages() {
        let fine = matches!(message, Message::State(_) | Message::Log(_) | Message::Trace(_));
        assert!(fine, "{output}");
    }
}
