//! Splits a byte stream into lines, a block at a time, within a named cap.

use std::io::{self, Read};

/// Longest line accepted: 256 MiB. A record that long costs its own size in memory;
/// a longer one ends the run with [`LineError::TooLong`] instead of the machine.
pub const MAX_LINE_BYTES: usize = 256 << 20;

/// How much is read at a time, and what an ordinary reader holds.
const BLOCK_BYTES: usize = 256 << 10;

/// Why no further line can be had.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The stream itself failed.
    #[error("cannot read the stream after line {line}")]
    Io {
        /// The last whole line, counted from 1.
        line: u64,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A line outgrew the cap.
    #[error("line {line} is longer than {cap} bytes")]
    TooLong {
        /// The line, counted from 1.
        line: u64,
        /// The cap that it outgrew.
        cap: usize,
    },
}

/// Reads blocks of whole lines. Memory: one block, or the longest line if that is longer.
#[derive(Debug)]
pub struct LineReader<R> {
    input: R,
    buffer: Vec<u8>,
    /// What the last block took; dropped on the next call.
    consumed: usize,
    filled: usize,
    cap: usize,
    lines: u64,
    ended: bool,
    unterminated: bool,
}

impl<R: Read> LineReader<R> {
    /// A reader with the protocol's cap, [`MAX_LINE_BYTES`].
    pub fn new(input: R) -> Self {
        Self::with_cap(input, MAX_LINE_BYTES)
    }

    /// A reader that refuses lines longer than `cap` bytes.
    pub fn with_cap(input: R, cap: usize) -> Self {
        Self {
            input,
            buffer: vec![0; BLOCK_BYTES.min(cap.saturating_add(2))],
            consumed: 0,
            filled: 0,
            cap,
            lines: 0,
            ended: false,
            unterminated: false,
        }
    }

    /// The next block: one or more whole lines, each with its `\n`. The stream's last
    /// line may lack one; then [`ended_inside_a_line`](Self::ended_inside_a_line) says
    /// so. `None` at the end. Returns as soon as one whole line is there, so a slow
    /// writer's line is never held back.
    ///
    /// # Errors
    /// When reading fails or a line outgrows the cap.
    pub fn next_block(&mut self) -> Result<Option<&[u8]>, LineError> {
        self.buffer.copy_within(self.consumed..self.filled, 0);
        self.filled -= self.consumed;
        self.consumed = 0;
        let mut searched = 0;
        loop {
            if let Some(newline) = memchr::memrchr(b'\n', &self.buffer[searched..self.filled]) {
                self.consumed = searched + newline + 1;
                break;
            }
            searched = self.filled;
            if self.ended {
                self.consumed = self.filled;
                self.unterminated |= self.filled > 0;
                break;
            }
            if self.filled > self.cap {
                return Err(LineError::TooLong { line: self.lines + 1, cap: self.cap });
            }
            self.read_more()?;
        }
        if self.consumed == 0 {
            // A long line's buffer must not outlive the stream that needed it.
            return Ok(None);
        }
        let block = &self.buffer[..self.consumed];
        self.lines += memchr::memchr_iter(b'\n', block).count() as u64 + u64::from(self.unterminated);
        Ok(Some(block))
    }

    fn read_more(&mut self) -> Result<(), LineError> {
        if self.filled == self.buffer.len() {
            let wanted = (self.buffer.len() * 2).min(self.cap.saturating_add(2)).max(self.filled + 1);
            // Exactly: doubling past the cap would break the promise about memory.
            self.buffer.reserve_exact(wanted - self.buffer.len());
            self.buffer.resize(wanted, 0);
        } else if self.buffer.len() > BLOCK_BYTES && self.filled < BLOCK_BYTES / 2 {
            self.buffer.truncate(BLOCK_BYTES);
            self.buffer.shrink_to_fit();
        }
        loop {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Ok(0) => self.ended = true,
                Ok(n) => self.filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(LineError::Io { line: self.lines, source }),
            }
            return Ok(());
        }
    }

    /// How many lines the blocks so far held.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Whether the stream ended without a `\n`: the writer may have died in mid-line.
    #[must_use]
    pub fn ended_inside_a_line(&self) -> bool {
        self.unterminated
    }
}

/// The lines of a block, without their `\n` (a `\r` before it goes too). Empty lines are left out.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    /// Walks a block of [`LineReader::next_block`].
    #[must_use]
    pub fn of(block: &'a [u8]) -> Self {
        Self { rest: block }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let end = memchr::memchr(b'\n', self.rest).unwrap_or(self.rest.len());
            let line = &self.rest[..end];
            self.rest = self.rest.get(end + 1..).unwrap_or(&[]);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() {
                return Some(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LineError, LineReader, Lines};
    use proptest::prelude::{any, prop, proptest};
    use std::io::Read;

    /// Hands out its bytes in the given portions, as a pipe would.
    struct Portions<'a>(&'a [u8], usize);
    impl Read for Portions<'_> {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let n = self.1.min(buf.len()).min(self.0.len());
            buf[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    proptest! {
        #[test]
        fn gives_back_every_line_however_it_arrives(text in prop::collection::vec("[a-z]{0,30}", 0..20), portion in 1_usize..50, end in any::<bool>()) {
            let mut joined = text.join("\n");
            if end { joined.push('\n'); }
            let mut reader = LineReader::with_cap(Portions(joined.as_bytes(), portion), 64);
            let mut seen = Vec::new();
            while let Some(block) = reader.next_block().unwrap() {
                seen.extend(Lines::of(block).map(|l| String::from_utf8(l.to_vec()).unwrap()));
            }
            assert_eq!(seen, joined.lines().filter(|l| !l.is_empty()).collect::<Vec<_>>());
            assert_eq!(reader.ended_inside_a_line(), !joined.is_empty() && !joined.ends_with('\n'));
        }
    }

    #[test]
    fn refuses_a_line_beyond_the_cap_without_holding_it() {
        let mut reader = LineReader::with_cap(Read::take(std::io::repeat(b'x'), 1 << 30), 1 << 20);
        assert!(matches!(reader.next_block(), Err(LineError::TooLong { line: 1, .. })));
        assert!(reader.buffer.capacity() <= (1 << 20) + 4096);
    }

    #[test]
    fn takes_carriage_returns_off() {
        assert_eq!(Lines::of(b"a\r\n\r\nb").collect::<Vec<_>>(), [&b"a"[..], b"b"]);
    }
}
