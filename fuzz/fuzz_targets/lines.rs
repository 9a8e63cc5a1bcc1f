//! The line reader: any bytes, in any pieces, give the same lines, and none is longer than the cap.

#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use protocol::{LineError, LineReader, Lines};

/// Gives out its bytes in pieces whose sizes follow from the bytes themselves.
struct Pieces<'a>(&'a [u8]);

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let size = self.0.first().map_or(0, |b| usize::from(*b % 17) + 1);
        let size = size.min(self.0.len()).min(into.len());
        into[..size].copy_from_slice(&self.0[..size]);
        self.0 = &self.0[size..];
        Ok(size)
    }
}

const CAP: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = LineReader::with_cap(Pieces(bytes), CAP);
    let mut found: Vec<Vec<u8>> = Vec::new();
    loop {
        match reader.next_block() {
            Ok(Some(block)) => found.extend(Lines::of(block).map(<[u8]>::to_vec)),
            Ok(None) => break,
            Err(LineError::TooLong { .. }) => return,
            Err(error) => panic!("{error}"),
        }
    }
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let expected: Vec<&[u8]> =
        if bytes.is_empty() { Vec::new() } else { text.split(|b| *b == b'\n').collect() };
    let expected: Vec<&[u8]> = expected.iter().map(|l| l.strip_suffix(b"\r").unwrap_or(l)).collect();
    let found: Vec<&[u8]> = found.iter().map(Vec::as_slice).collect();
    // Blank lines may or may not be handed out; nothing else may differ.
    let solid = |lines: Vec<&[u8]>| lines.into_iter().filter(|l| !l.is_empty()).map(<[u8]>::to_vec).collect::<Vec<_>>();
    assert_eq!(solid(found), solid(expected));
});
