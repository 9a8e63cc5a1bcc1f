//! Trials of what may come along on a destination's stdin, and of being stopped.

use std::time::{Duration, Instant};

use protocol::FailureType;
use serde_json::{Value, json};

use super::DestinationSuite;
use super::destination::{Bench, echoed, member};
use super::feed::{Feed, catalog, named, state, stream};
use super::stopping::ended_by;
use crate::output::Exit;
use crate::process::Signal;

fn users() -> Value {
    catalog(&[stream("users")])
}

pub fn logs_traces_and_unknown_kinds_are_tolerated(suite: &DestinationSuite) {
    let bench = Bench::new(suite);
    let feed = Feed::new()
        .line(r#"{"type":"LOG","log":{"level":"INFO","message":"hello"}}"#)
        .rows("users", 0, 1)
        .line(r#"{"type":"TRACE","trace":{"type":"ANALYTICS","emitted_at":1.0,"analytics":{"type":"x","value":"y"}}}"#)
        .line(r#"{"type":"TRACE","trace":{"type":"ERROR","emitted_at":1.0,"error":{"message":"the source's own"}}}"#)
        .line(r#"{"type":"TRACE","trace":{"type":"ESTIMATE","emitted_at":1,"estimate":{"name":"users","type":"STREAM","row_estimate":5}}}"#)
        .line(r#"{"type":"CONTROL","control":{"type":"CONNECTOR_CONFIG","emitted_at":1.0,"connectorConfig":{"config":{}}}}"#)
        .line(r#"{"type":"UNHEARD_OF","unheard_of":{"a":1}}"#)
        .line("")
        .rows("users", 1, 2)
        .state("users", 1);
    let output = bench.write(&users(), feed).succeeded();
    assert_eq!(bench.ids("users"), [0, 1]);
    assert_eq!(echoed(&output), [1]);
}

pub fn records_with_unknown_fields_or_streams_do_no_harm(suite: &DestinationSuite) {
    let bench = Bench::new(suite);
    let feed = Feed::new()
        .record("users", r#"{"id":1,"unheard_of":{"deep":[1,2]},"name":"x"}"#)
        .record("strangers", r#"{"id":2}"#)
        .record("users", r#"{"id":3}"#)
        .line(r#"{"type":"RECORD","unheard":1,"record":{"stream":"users","new_key":[],"emitted_at":1700000000123,"data":{"id":4},"namespace":""}}"#)
        .state("users", 1);
    let _ = bench.write(&users(), feed).succeeded();
    assert_eq!(bench.ids("users"), [1, 3, 4]);
}

pub fn a_record_of_one_megabyte_arrives_whole(suite: &DestinationSuite) {
    let bench = Bench::new(suite);
    let long: String = "0123456789abcdef".chars().cycle().take(1 << 20).collect();
    let feed = Feed::new().record("users", &format!(r#"{{"id":1,"name":"{long}"}}"#)).rows("users", 2, 4);
    let _ = bench.write(&users(), feed.state("users", 1)).succeeded();
    assert_eq!(bench.ids("users"), [1, 2, 3]);
    let row = bench.rows("users").into_iter().find(|row| member(row, "id") == "1").expect("the row");
    assert!(member(&row, "name") == format!("\"{long}\""), "the long text changed");
}

pub fn whole_numbers_and_decimals_keep_every_digit(suite: &DestinationSuite) {
    let bench = Bench::new(suite);
    let integers = ["9223372036854775807", "-9223372036854775808", "9007199254740993", "0"];
    let mut feed = Feed::new();
    for (id, big) in integers.iter().enumerate() {
        feed = feed.record("users", &format!(r#"{{"id":{id},"big":{big},"amount":0.1}}"#));
    }
    let _ = bench.write(&users(), feed.state("users", 1)).succeeded();
    let mut expected: Vec<String> = integers.iter().map(ToString::to_string).collect();
    expected.sort();
    assert_eq!(bench.column("users", "big"), expected);
    assert_eq!(bench.column("users", "amount"), ["0.1"; 4]);
}

/// Never silently: what a column cannot hold becomes null, and the row says so.
pub fn a_value_of_the_wrong_type_becomes_null_and_is_noted(suite: &DestinationSuite) {
    let bench = Bench::new(suite);
    let feed =
        Feed::new().record("users", r#"{"id":1,"big":"not a number","name":"kept"}"#).state("users", 1);
    let output = bench.write(&users(), feed).succeeded();
    let row = bench.rows("users").pop().unwrap_or_else(|| panic!("no row: {output}"));
    assert_eq!(member(&row, "name"), "\"kept\"");
    let noted = row.contains("NULLED") && row.contains("big");
    let kept = member(&row, "big") == "\"not a number\"";
    assert!(noted || kept, "the value is neither kept nor noted in _airbyte_meta: {row}");
}

pub fn text_of_every_kind_arrives_unchanged(suite: &DestinationSuite) {
    let bench = Bench::new(suite);
    let texts = [
        "",
        " ",
        "null",
        "a\"b\\c/d",
        "line\nbreak\r\n\ttab",
        "é ü 漢字 🚢",
        "\u{0}\u{1f}",
        "'; DROP TABLE x; --",
        "1,2;3",
    ];
    let mut feed = Feed::new();
    for (id, text) in texts.iter().enumerate() {
        feed = feed.record("users", &json!({"id": id, "name": text}).to_string());
    }
    let _ = bench.write(&users(), feed.state("users", 1)).succeeded();
    let mut read: Vec<String> = bench
        .rows("users")
        .iter()
        .map(|row| serde_json::from_str(&member(row, "name")).expect("a JSON string"))
        .collect();
    let mut expected = texts.map(str::to_owned).to_vec();
    if !suite.holds_nul {
        let noted = |row: &String| row.replace(' ', "").contains(r#""changes":[{"#);
        assert_eq!(bench.rows("users").iter().filter(|row| noted(row)).count(), 1, "one text was changed");
        expected.iter_mut().for_each(|text| *text = text.replace('\0', "\u{fffd}"));
    }
    read.sort();
    expected.sort();
    assert_eq!(read, expected);
}

/// Names of streams come from other people's systems.
pub fn hostile_stream_names_stay_inside_and_apart(suite: &DestinationSuite) {
    let long = "x".repeat(300);
    let names = [
        "../escape",
        "..",
        ".",
        "/absolute",
        "a/b/c",
        "a\\b",
        "quote\"s'",
        "emoji🚢",
        "UPPER",
        "upper",
        "semi;colon",
        "new\nline",
        "nul\u{0}byte",
        " space ",
        "con",
        "%2e%2e",
        "~",
        "-rf",
        "a.b",
        "a_b",
        "*",
        &long,
        &format!("{long}y"),
    ];
    let outer = crate::folder::Folder::new();
    let lake = outer.path().join("inner/lake");
    let files = crate::folder::Folder::new();
    let config = files.json("config.json", &(suite.config)(&lake));
    let streams: Vec<Value> = names.iter().map(|name| stream(name)).collect();
    let catalog = files.json("catalog.json", &catalog(&streams));
    let mut feed = Feed::new();
    for (id, name) in (0..).zip(names) {
        feed = feed.rows(name, id, id + 1).state(name, id);
    }
    let run =
        suite.connector.command(["write", "--config", &config, "--catalog", &catalog]).stdin(feed.bytes());
    let output = run.output().succeeded();
    for file in outer.files() {
        assert!(file.starts_with("inner/lake"), "{} is outside the folder", file.display());
    }
    for (id, name) in names.iter().enumerate() {
        let rows = (suite.rows)(&lake, &named(name));
        let ids: Vec<String> = rows.iter().map(|row| member(row, "id")).collect();
        assert_eq!(ids, [id.to_string()], "{name:?}: {output}");
    }
}

pub fn a_line_of_garbage_is_tolerated_or_named(suite: &DestinationSuite) {
    for garbage in [&b"this is no message"[..], b"{\"a\":", b"\xff\xfe\x00", b"[]", b"{}", b"null"] {
        let bench = Bench::new(suite);
        let feed = Feed::new().rows("users", 0, 1).line(garbage).rows("users", 1, 2).state("users", 1);
        let output = bench.write(&users(), feed).wrote_only_messages();
        let shown = String::from_utf8_lossy(garbage);
        if output.exit == Exit::Code(0) {
            assert_eq!(bench.ids("users"), [0, 1], "{shown}: rows around it were lost");
        } else {
            assert!(output.failed().message.contains("ine 2"), "{shown}: the line is not named: {output}");
        }
    }
}

pub fn half_a_record_at_the_end_is_an_error_and_its_state_is_never_echoed(suite: &DestinationSuite) {
    let bench = Bench::new(suite);
    let mut feed = Feed::new().rows("users", 0, 2).state("users", 1).rows("users", 2, 3).bytes();
    feed.extend_from_slice(
        br#"{"type":"RECORD","record":{"stream":"users","emitted_at":1700000000123,"data":{"id":3,"na"#,
    );
    let text = String::from_utf8(feed).expect("text");
    // `line` would end it with a newline, which a source that died did not write.
    let output = bench.invocation(&users(), Feed::new()).stdin(text).output().wrote_only_messages();
    let error = output.failed();
    assert!(error.message.contains("ine 5"), "the line is not named: {output}");
    assert!(
        error.failure_type.is_some_and(|f| f != FailureType::ConfigError),
        "nobody's config is at fault: {output}"
    );
    assert!(echoed(&output).iter().all(|n| *n == 1), "{output}");
}

/// Invariant: a state is echoed only when its rows would survive; a stop is no reason to lose them.
pub fn sigterm_makes_what_was_taken_durable_and_echoes_it(suite: &DestinationSuite) {
    // One whose source goes on from that state; rows of one that starts over are of no use to it.
    let mut stream = stream("users");
    stream["sync_mode"] = json!("incremental");
    stream["cursor_field"] = json!(["id"]);
    let users = catalog(&[stream]);
    let bench = Bench::new(suite);
    let feed = Feed::new().rows("users", 0, 100).state("users", 1);
    let running = bench.invocation(&users, feed).holding_stdin_open().start();
    // Who was stopped before any row was taken has nothing to echo.
    running.wait_until_input_is_taken();
    std::thread::sleep(Duration::from_millis(300));
    let stopped = Instant::now();
    running.signal(Signal::TERM);
    let output = running.wait_holding_stdin().wrote_only_messages();
    assert!(ended_by(&output, Signal::TERM), "{output}");
    // Sooner than the ten seconds after which it would end in any case: stdin stays open.
    assert!(stopped.elapsed() < Duration::from_secs(9), "{output}");
    assert_eq!(echoed(&output), [1], "{output}");
    // Appended rows that a state vouches for are there for the next run, whether readers see them now or then.
    let _ = bench.write(&users, Feed::new().rows("users", 100, 101).state("users", 2)).succeeded();
    assert_eq!(bench.ids("users"), (0..101).collect::<Vec<_>>());
}

pub fn a_platform_that_leaves_ends_a_write_quietly(suite: &DestinationSuite) {
    let bench = Bench::new(suite);
    let mut feed = Feed::new();
    for n in 0..50 {
        feed = feed.rows("users", n, n + 1).line(state("users", n));
    }
    let output = bench.invocation(&users(), feed).closing_stdout_after(0).output();
    assert!(output.stderr.is_empty(), "{output}");
    assert!(!matches!(output.exit, Exit::Signal(s) if s != Signal::PIPE.as_raw()), "{output}");
}

pub fn an_empty_input_is_a_sync_of_nothing(suite: &DestinationSuite) {
    let bench = Bench::new(suite);
    let output = bench.write(&users(), Feed::new()).succeeded();
    assert_eq!(output.states().count(), 0, "{output}");
    assert!(bench.rows("users").is_empty());
}
