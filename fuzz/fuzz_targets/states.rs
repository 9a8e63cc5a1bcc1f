//! State files in every shape: never a panic, and an accepted one survives being written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{State, StateFile, StateStats};

fuzz_target!(|bytes: &[u8]| {
    let _ = State::echo(bytes, &StateStats::default());
    let Ok(file) = StateFile::parse(bytes) else { return };
    let written: Vec<Vec<u8>> = file.states().iter().map(|s| protocol::Message::State(s.clone()).to_line()).collect();
    for line in written {
        let again = protocol::parse_message(&line).expect("our own line is a message");
        assert_eq!(again.to_line(), line);
    }
});
