use std::io::Write;

use proptest::prelude::{any, prop, proptest};
use protocol::{LineReader, Message, RecordDigest, StreamDescriptor};

use super::{Observer, Pump, Stop, StreamPlan, Tally};
use crate::receipts::{Expected, Saved};

#[derive(Default)]
struct Notes {
    expected: Vec<Expected>,
    messages: Vec<String>,
    noise: Vec<u64>,
}

impl Observer for &mut Notes {
    fn expect(&mut self, expected: Expected) {
        self.expected.push(expected);
    }
    fn message(&mut self, message: Message) {
        self.messages.push(message.kind().to_owned());
    }
    fn noise(&mut self, line: u64, _: &[u8], _: &str) {
        self.noise.push(line);
    }
    fn progress(&mut self, _: &[Tally]) {}
}

fn named(name: &str) -> StreamDescriptor {
    StreamDescriptor::new(None, name)
}

fn plain(name: &str) -> StreamPlan {
    StreamPlan { source: named(name), target: named(name), fields: None }
}

/// What came out, what was noted, and how it ended.
fn pump(plans: Vec<StreamPlan>, input: &[u8], cap: usize) -> (String, Notes, Result<(), String>, Vec<Tally>) {
    let mut notes = Notes::default();
    let mut pump = Pump::new(plans, Vec::new(), &mut notes);
    let result = pump.run(&mut LineReader::with_cap(input, cap));
    let (out, _, tallies) = pump.into_output();
    let result = result.map_err(|stop| match stop {
        Stop::Source(failure) => failure.message,
        Stop::Destination(error) => error.to_string(),
    });
    (String::from_utf8_lossy(&out).into_owned(), notes, result, tallies)
}

fn row(stream: &str, data: &str) -> String {
    format!(r#"{{"type":"RECORD","record":{{"stream":"{stream}","emitted_at":1,"data":{data}}}}}"#)
}

fn state(stream: &str, stats: &str) -> String {
    format!(
        r#"{{"type":"STATE","state":{{"type":"STREAM","stream":{{"stream_descriptor":{{"name":"{stream}"}},"stream_state":{{"n":1.0}}}}{stats}}}}}"#
    )
}

const CAP: usize = 1 << 20;

#[test]
fn records_pass_byte_for_byte_and_only_records_and_states_pass() {
    let log = r#"{"type":"LOG","log":{"level":"INFO","message":"x"}}"#;
    let odd = r#"{ "record" : {"data": {"a" : 1.00, "b":[ ]},"stream":"s","new":7}, "type":"RECORD" }"#;
    let input = format!("{}\n{odd}\n{log}\nhello\n\n{}\r\n", row("s", "{\"a\":1}"), row("s", "{\"a\":2}"));
    let (out, notes, result, tallies) = pump(vec![plain("s")], input.as_bytes(), CAP);
    result.unwrap();
    assert_eq!(out, format!("{}\n{odd}\n{}\r\n", row("s", "{\"a\":1}"), row("s", "{\"a\":2}")));
    assert_eq!((notes.messages, notes.noise), (vec!["LOG".to_owned()], vec![4]));
    let mut digest = RecordDigest::default();
    [&b"{\"a\":1}"[..], b"{\"a\" : 1.00, \"b\":[ ]}", b"{\"a\":2}"].iter().for_each(|d| digest.add(d));
    assert_eq!(tallies[0].read, digest);
}

#[test]
fn states_are_numbered_and_counted_since_the_last_of_their_stream() {
    let input = [
        row("a", "{}"),
        row("b", "{}"),
        state("a", ""),
        row("a", "{}"),
        row("a", "{}"),
        state("a", ""),
        state("b", r#","id":77"#),
    ]
    .join("\n");
    let (out, notes, result, _) = pump(vec![plain("a"), plain("b")], input.as_bytes(), CAP);
    result.unwrap();
    let seen: Vec<_> =
        notes.expected.iter().map(|e| (e.id, e.scope, e.sent.records(), e.covers[0].records)).collect();
    assert_eq!(seen, [(1, Some(0), 1, 1), (2, Some(0), 2, 3), (3, Some(1), 1, 1)]);
    assert_eq!(notes.expected[0].saved, Saved::Stream { index: 0, state: Some(r#"{"n":1.0}"#.into()) });
    assert!(out.contains(r#""stream_state":{"n":1.0}},"id":1,"sourceStats":{"recordCount":1.0}}"#), "{out}");
    assert!(out.ends_with("}\n") && out.contains(r#","id":3,"sourceStats""#), "{out}");
}

#[test]
fn a_source_that_miscounts_is_stopped_with_both_numbers() {
    let mut digest = RecordDigest::default();
    digest.add(b"{}");
    let wrong_count = state("a", r#","sourceStats":{"recordCount":2.0}"#);
    let wrong_digest =
        state("a", &format!(r#","sourceStats":{{"recordCount":1.0,"recordDigest":"{:032x}"}}"#, 5));
    let right =
        state("a", &format!(r#","sourceStats":{{"recordCount":1.0,"recordDigest":"{}"}}"#, digest.hex()));
    let run = |state: &str| pump(vec![plain("a")], format!("{}\n{state}\n", row("a", "{}")).as_bytes(), CAP);
    let (_, notes, result, _) = run(&wrong_count);
    let text = result.unwrap_err();
    assert!(text.contains("stream a") && text.contains("counted 2") && text.contains("received 1"), "{text}");
    assert!(notes.expected.is_empty());
    assert!(run(&wrong_digest).2.unwrap_err().contains("digests do not"));
    let (_, notes, result, _) = run(&right);
    result.unwrap();
    assert!(notes.expected[0].source_digest);
}

#[test]
fn what_could_be_a_lost_record_stops_the_run_and_all_before_it_has_passed() {
    let good = row("s", "{\"a\":1}");
    let cases = [
        (format!("{good}\nxx{good}\n"), "line 2 looks like a RECORD"),
        (format!("{good}\n{}\n", good.replace("{\"a\":1}", "[]")), "looks like a RECORD"),
        (format!("{good}\n{}", &good[..40]), "ends in the middle of line 2"),
        (format!("{good}\n{}\n", row("other", "{}")), "line 2 is a record of stream other"),
        (format!("{good}\n{}\n", state("other", "")), "state of stream other"),
        (format!("{good}\n{{\"type\":\"STATE\",\"state\":{{\"data\":{{}}}}}}\n"), "LEGACY"),
        (
            format!("{good}\n{{\"type\":\"STATE\",\"state\":{{\"type\":\"STREAM\"}}}}\n"),
            "STATE on line 2 cannot be read",
        ),
    ];
    for (input, expected) in cases {
        let (out, _, result, _) = pump(vec![plain("s")], input.as_bytes(), CAP);
        let error = result.unwrap_err();
        assert!(error.contains(expected), "{input}: {error}");
        assert_eq!(out, format!("{good}\n"), "{input}");
        if input.ends_with('\n') {
            let (out, notes, _, _) =
                pump(vec![plain("s")], format!("{input}{good}\n{}\n", state("s", "")).as_bytes(), CAP);
            assert_eq!(
                (out, notes.expected.len()),
                (format!("{good}\n"), 0),
                "what follows a fault: {input}"
            );
        }
    }
}

#[test]
fn invalid_utf8_in_a_record_stops_the_run_and_elsewhere_does_not() {
    let mut input = format!("caf\u{e9}\n{}\n", row("s", "{\"a\":1}")).into_bytes();
    input.splice(3..5, [0xE9]);
    let (out, notes, result, _) = pump(vec![plain("s")], &input, CAP);
    result.unwrap();
    assert_eq!((out, notes.noise), (row("s", "{\"a\":1}") + "\n", vec![1]));

    let mut input = format!("{}\n{}\n", row("s", "{\"a\":1}"), row("s", "{\"a\":\"e\"}")).into_bytes();
    let at = input.iter().rposition(|b| *b == b'e').unwrap();
    let at = input[..at].iter().rposition(|b| *b == b'"').unwrap();
    let at = at.max(input.windows(5).rposition(|w| w == b"\"a\":\"").unwrap() + 5);
    input[at] = 0xE9;
    let (out, _, result, _) = pump(vec![plain("s")], &input, CAP);
    let error = result.unwrap_err();
    assert!(error.contains("line 2, a record of stream s, is not UTF-8"), "{error}");
    assert_eq!(out, row("s", "{\"a\":1}") + "\n");
}

#[test]
fn a_line_beyond_the_cap_stops_the_run() {
    let input =
        format!("{}\n{}\n", row("s", "{}"), row("s", &format!("{{\"a\":\"{}\"}}", "x".repeat(3 << 20))));
    let (out, _, result, _) = pump(vec![plain("s")], input.as_bytes(), 1 << 20);
    let error = result.unwrap_err();
    assert!(error.contains("line 2 of its output is longer than 1 MiB"), "{error}");
    assert_eq!(out, row("s", "{}") + "\n");
}

#[test]
fn a_last_line_without_a_newline_counts_when_it_is_whole() {
    let (out, _, result, tallies) = pump(vec![plain("s")], row("s", "{}").as_bytes(), CAP);
    result.unwrap();
    assert_eq!((out, tallies[0].read.records()), (row("s", "{}") + "\n", 1));
}

#[test]
fn renaming_and_selection_change_only_what_they_must() {
    let plan = StreamPlan {
        source: named("s"),
        target: StreamDescriptor::new(Some("n"), "p_s"),
        fields: Some(["a".to_owned()].into()),
    };
    let input = [
        r#"{"type":"RECORD","record":{"stream":"s","emitted_at":1,"data":{"b":{"a":1},"a" : 1.50},"meta":{"changes":[]}}}"#,
        r#"{"type":"RECORD","record":{"namespace":null,"stream":"s","emitted_at":2,"data":{"a":"}"}}}"#,
        r#"{"type":"RECORD","record":{"namespace":null,"stream":"s","emitted_at":2,"data":{"a":7}}}"#,
        &state("s", r#","sourceStats":{"recordCount":3.0,"more":1}"#),
    ]
    .join("\n");
    let (out, notes, result, tallies) = pump(vec![plan], input.as_bytes(), CAP);
    result.unwrap();
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(
        lines[0],
        r#"{"type":"RECORD","record":{"stream":"p_s","emitted_at":1,"data":{"a" : 1.50},"meta":{"changes":[]},"namespace":"n"}}"#
    );
    assert_eq!(
        lines[1],
        r#"{"type":"RECORD","record":{"namespace":"n","stream":"p_s","emitted_at":2,"data":{"a":"}"}}}"#
    );
    assert_eq!(
        lines[2],
        r#"{"type":"RECORD","record":{"namespace":"n","stream":"p_s","emitted_at":2,"data":{"a":7}}}"#
    );
    assert!(lines[3].contains(r#""stream_descriptor":{"name":"p_s","namespace":"n"}"#), "{}", lines[3]);
    assert!(lines[3].contains(r#""sourceStats":{"recordCount":3.0,"more":1}"#), "{}", lines[3]);
    assert_ne!(tallies[0].read, tallies[0].sent);
    assert_eq!(notes.expected[0].sent, tallies[0].sent);
}

#[test]
fn a_destination_that_is_gone_ends_the_run() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut notes = Notes::default();
    let mut pump = Pump::new(vec![plain("s")], Gone, &mut notes);
    let input = row("s", "{}");
    assert!(matches!(pump.run(&mut LineReader::new(input.as_bytes())), Err(Stop::Destination(_))));
}

proptest! {
    #[test]
    fn damaged_input_never_panics_and_no_counted_record_is_missing(
        cuts in prop::collection::vec((0_usize..400, any::<u8>()), 0..6), fields in any::<bool>()
    ) {
        let mut input = [row("s", "{\"a\":1,\"b\":\"}\\\"\"}"), state("s", ""), row("s", "{\"a\":2}"), row("t", "{\"a\":3}"), state("t", "")].join("\n").into_bytes();
        for (at, byte) in cuts {
            if at < input.len() { input[at] = byte; }
        }
        let keep = fields.then(|| ["a".to_owned()].into());
        let plans = vec![StreamPlan { fields: keep, ..plain("s") }, plain("t")];
        let (out, _, _, tallies) = pump(plans, &input, CAP);
        let sent = out.lines().filter(|l| l.contains("\"RECORD\"")).count() as u64;
        assert!(sent >= tallies.iter().map(|t| t.sent.records()).sum::<u64>());
    }
}
