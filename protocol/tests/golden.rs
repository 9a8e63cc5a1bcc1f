//! Every kind of message as it travels, kept in files: what is written never changes by
//! accident, and what others write is understood.

use std::path::Path;

use protocol::{Message, RecordScanner, Scanned, parse_message};

const KINDS: [&str; 9] = [
    "record",
    "state",
    "log",
    "spec",
    "connection_status",
    "catalog",
    "trace",
    "control",
    "destination_catalog",
];

fn lines(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.jsonl"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(str::to_owned).collect()
}

fn written(line: &str) -> String {
    let message = parse_message(line.as_bytes()).unwrap_or_else(|e| panic!("{e}: {line}"));
    String::from_utf8(message.to_line()).unwrap().trim_end().to_owned()
}

#[test]
fn every_kind_is_written_as_it_was_read_byte_by_byte() {
    for kind in KINDS {
        let lines = lines(kind);
        assert!(!lines.is_empty(), "{kind}");
        for line in lines {
            assert_eq!(written(&line), line, "{kind}");
            let message = parse_message(line.as_bytes()).unwrap();
            assert_eq!(message.kind().to_lowercase(), kind, "{line}");
            assert!(!matches!(message, Message::Unknown { .. }), "{line}");
        }
    }
}

#[test]
fn a_kind_nobody_knows_survives_whole() {
    for line in lines("unknown") {
        assert!(matches!(parse_message(line.as_bytes()), Ok(Message::Unknown { .. })), "{line}");
        assert_eq!(written(&line), line);
    }
}

#[test]
fn what_other_clients_write_comes_out_in_our_form() {
    let (ins, outs) = (lines("foreign.in"), lines("foreign.out"));
    assert_eq!(ins.len(), outs.len());
    for (line, expected) in ins.iter().zip(&outs) {
        assert_eq!(&written(line), expected, "from {line}");
        assert_eq!(&written(expected), expected, "our own form does not change any more");
    }
}

/// The two readers of records must never disagree about what a record's data is.
#[test]
fn the_scanner_and_the_parser_agree_on_every_record() {
    let mut scanner = RecordScanner::new();
    for line in lines("record").iter().chain(&lines("foreign.in")) {
        let scanned = scanner.scan(line.as_bytes()).unwrap();
        match (parse_message(line.as_bytes()).unwrap(), scanned) {
            (Message::Record(record), Scanned::Record(found)) => {
                assert_eq!(record.data.get(), &line[found.data.clone()], "{line}");
                assert_eq!(record.emitted_at, found.emitted_at, "{line}");
                let (namespace, name) = scanner.descriptor(found.stream);
                assert_eq!(
                    (record.namespace.as_deref(), record.stream.as_str()),
                    (namespace, name),
                    "{line}"
                );
                assert_eq!(record.meta.is_some(), found.meta.is_some(), "{line}");
            }
            (message, Scanned::Other(kind)) => assert_eq!(message.kind(), &*kind, "{line}"),
            (message, _) => panic!("{} is no record: {line}", message.kind()),
        }
    }
}

#[test]
fn lines_that_are_no_messages_are_errors_and_never_panics() {
    for line in [
        &b""[..],
        b"{",
        b"}",
        b"[]",
        b"null",
        b"7",
        b"\"x\"",
        b"{}",
        b"{\"type\":7}",
        b"{\"type\":\"RECORD\"}",
        b"{\"type\":\"RECORD\",\"record\":{}}",
        b"{\"type\":\"RECORD\",\"record\":{\"stream\":\"s\",\"data\":[]}}",
        b"{\"type\":\"STATE\",\"state\":{\"type\":\"STREAM\"}}",
        b"{\"type\":\"LOG\",\"log\":{}} trailing",
        b"{\"type\":\"LOG\",\"log\":{\"level\":\"LOUD\",\"message\":\"\"}}",
        b"{\"type\":\"\xff\"}",
    ] {
        assert!(parse_message(line).is_err(), "{}", String::from_utf8_lossy(line));
    }
}
