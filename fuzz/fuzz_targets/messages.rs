//! The parser of messages: never a panic, and what it accepts it can write and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::parse_message;

fuzz_target!(|line: &[u8]| {
    let Ok(message) = parse_message(line) else { return };
    let written = message.to_line();
    let again = parse_message(&written).expect("our own line is a message");
    assert_eq!(again.to_line(), written, "our own line reads and writes the same");
});
