//! The record scanner against the parser: whatever both take for a record has the same data.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{Message, RecordScanner, Scanned, parse_message};

fuzz_target!(|bytes: &[u8]| {
    let mut scanner = RecordScanner::new();
    for line in bytes.split(|b| *b == b'\n') {
        let Ok(Scanned::Record(found)) = scanner.scan(line) else { continue };
        let data = &line[found.data.clone()];
        assert!(data.starts_with(b"{"));
        // The scanner leaves the inside of `data`, and so which bracket closes it, to whoever
        // decodes it: it may take a line that the parser refuses. What both take must agree.
        if let Ok(Message::Record(record)) = parse_message(line) {
            assert_eq!(record.data.get().as_bytes(), data);
            let (namespace, name) = scanner.descriptor(found.stream);
            assert_eq!((record.namespace.as_deref(), record.stream.as_str()), (namespace, name));
        }
    }
});
