//! Splits CSV into records and fields, in place: fields are extents of the block that was
//! read, and tell quoted from unquoted. RFC 4180, and what is usual beyond it: any one-byte
//! delimiter and quote, an escape character, lines that end in LF, CRLF or CR, quotes inside unquoted fields.
//! What fields mean is not known here.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};

use wide::u8x16;

use crate::options::Keys;

/// More fields than this in one record is a wrong delimiter or an attack.
pub(crate) const MAX_FIELDS: usize = 100_000;

const BLOCK_BYTES: usize = 128 << 10;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    pub(crate) quote: Option<u8>,
    /// Takes the meaning from the byte after it.
    pub(crate) escape: Option<u8>,
}

impl Dialect {
    /// A field's value.
    pub(crate) fn text<'t>(self, field: &Field, block: &'t str) -> Cow<'t, str> {
        let text = field.of(block);
        if !field.doubled {
            return Cow::Borrowed(text);
        }
        let mut plain = String::with_capacity(text.len());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let special = u8::try_from(c).ok();
            // What stands first of two is the pair's sign.
            let pair =
                special.is_some() && (special == self.escape || (field.quoted && special == self.quote));
            if !pair {
                plain.push(c);
            } else if let Some(meant) = chars.next() {
                plain.push(meant);
            }
        }
        Cow::Owned(plain)
    }
}

/// One field, as offsets into the block's text, quotes left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    start: u32,
    end: u32,
    pub(crate) quoted: bool,
    /// Holds quotes that are written twice, or escapes.
    pub(crate) doubled: bool,
}

impl Field {
    /// The text, doubled quotes and all.
    #[inline]
    pub(crate) fn of<'t>(&self, block: &'t str) -> &'t str {
        &block[self.start as usize..self.end as usize]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

/// Why a record cannot be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// Offset into the block.
    pub(crate) at: usize,
    /// Counted from 1.
    pub(crate) field: usize,
    /// What is wrong.
    pub(crate) fault: Fault,
}

/// What can be wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    TooManyFields,
    NeverClosed,
    TextAfterQuote,
}

impl Fault {
    /// A lower-case fragment that says what to do.
    pub(crate) fn text(self, keys: &Keys) -> String {
        match self {
            Self::TooManyFields => format!("the record has too many fields; check {}", keys.delimiter),
            Self::NeverClosed => {
                format!("the quote that opens here is never closed; close it, or set {} to null", keys.quote)
            }
            Self::TextAfterQuote => format!(
                "text follows the closing quote; double the quotes inside the field, or check {} and {}",
                keys.delimiter, keys.quote
            ),
        }
    }
}

/// Why no further block can be had.
#[derive(Debug)]
pub enum BlockError {
    Io(io::Error),
    /// The record on the current line outgrew the cap.
    TooLong,
    /// Not UTF-8, on this line and at this byte of the text.
    Encoding {
        line: u64,
        byte: u64,
    },
}

/// Reads text a block at a time. Memory: one block, or the longest record if that is longer.
pub struct Blocks {
    input: Box<dyn Read>,
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    ended: bool,
    /// Whether the last block was of any use.
    progress: bool,
    cap: usize,
    /// The physical line on which the next block begins, from 1.
    pub(crate) line: u64,
    /// Bytes of text before the next block.
    pub(crate) offset: u64,
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocks")
            .field("line", &self.line)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl Blocks {
    /// `cap` is the longest record.
    #[must_use]
    pub fn new(input: Box<dyn Read>, cap: usize) -> Self {
        Self {
            input,
            buffer: vec![0; BLOCK_BYTES],
            start: 0,
            filled: 0,
            ended: false,
            progress: true,
            cap,
            line: 1,
            offset: 0,
        }
    }

    /// What is not yet consumed and more of the file, as text, and whether the file ends
    /// with it. `None` at the end. What is not consumed comes again, with more behind it.
    pub(crate) fn next(&mut self) -> Result<Option<(&str, bool)>, BlockError> {
        self.fill()?;
        let bytes = &self.buffer[self.start..self.filled];
        if bytes.is_empty() {
            return Ok(None);
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some((text, self.ended))),
            Err(e) => {
                let valid = e.valid_up_to();
                let cut = e.error_len().is_none() && !self.ended;
                let fault = BlockError::Encoding {
                    line: self.line + line_ends(&bytes[..valid]),
                    byte: self.offset + valid as u64,
                };
                // Whole records before the fault are read first; a later call then reports it.
                if !cut && (valid == 0 || !self.progress) {
                    return Err(fault);
                }
                std::str::from_utf8(&bytes[..valid]).map(|text| Some((text, false))).map_err(|_| fault)
            }
        }
    }

    /// Takes `used` bytes off the block.
    pub(crate) fn consume(&mut self, used: usize) {
        let bytes = &self.buffer[self.start..self.start + used];
        self.line += line_ends(bytes);
        self.offset += used as u64;
        self.start += used;
        self.progress = used > 0;
    }

    fn fill(&mut self) -> Result<(), BlockError> {
        self.buffer.copy_within(self.start..self.filled, 0);
        self.filled -= self.start;
        self.start = 0;
        if self.filled == self.buffer.len() {
            if self.filled > self.cap {
                return Err(BlockError::TooLong);
            }
            let wanted = (self.filled * 2).min(self.cap + 1);
            self.buffer.reserve_exact(wanted - self.filled);
            self.buffer.resize(wanted, 0);
        } else if self.buffer.len() > BLOCK_BYTES && self.filled < BLOCK_BYTES / 2 {
            self.buffer.truncate(BLOCK_BYTES);
            self.buffer.shrink_to_fit();
        }
        while !self.ended && self.filled < self.buffer.len() {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Ok(0) => self.ended = true,
                Ok(n) => self.filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(BlockError::Io(e)),
            }
        }
        Ok(())
    }
}

/// How many lines `bytes` end: LF, or CR in files that know no other.
pub(crate) fn line_ends(bytes: &[u8]) -> u64 {
    let feeds = memchr::memchr_iter(b'\n', bytes).count();
    let ends = if feeds == 0 { memchr::memchr_iter(b'\r', bytes).count() } else { feeds };
    ends as u64
}

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Record,
    /// The block ends inside a record, or exactly after one.
    More,
}

/// Walks the records of one block.
#[derive(Debug)]
pub(crate) struct Scan<'t> {
    text: &'t [u8],
    ended: bool,
    delimiter: u8,
    quote: Option<u8>,
    escape: Option<u8>,
    /// Where the next record begins.
    pos: usize,
    /// The 64 bytes that `mask` is about, and those of their special bytes not yet taken.
    base: usize,
    mask: u64,
}

impl<'t> Scan<'t> {
    pub(crate) fn new(block: &'t str, ended: bool, dialect: Dialect) -> Self {
        let mut scan = Self {
            text: block.as_bytes(),
            ended,
            delimiter: dialect.delimiter,
            quote: dialect.quote,
            escape: dialect.escape,
            pos: 0,
            base: 0,
            mask: 0,
        };
        scan.mask = scan.classify(0);
        scan
    }

    /// How many bytes whole records took.
    pub(crate) fn used(&self) -> usize {
        self.pos
    }

    #[inline]
    fn classify(&self, base: usize) -> u64 {
        let mut last = [0; 64];
        let rest = self.text.get(base..).unwrap_or_default();
        let block = match rest.first_chunk::<64>() {
            Some(block) => block,
            None => {
                last[..rest.len()].copy_from_slice(rest);
                &last
            }
        };
        let quote = self.quote.unwrap_or(self.delimiter);
        let (delimiter, quote) = (u8x16::splat(self.delimiter), u8x16::splat(quote));
        let (feed, carriage) = (u8x16::splat(b'\n'), u8x16::splat(b'\r'));
        let mut mask = 0;
        for (i, lane) in block.as_chunks::<16>().0.iter().enumerate() {
            let v = u8x16::new(*lane);
            let hits = (v.simd_eq(delimiter) | v.simd_eq(quote)) | (v.simd_eq(feed) | v.simd_eq(carriage));
            mask |= u64::from(hits.to_bitmask()) << (i * 16);
        }
        if let Some(escape) = self.escape {
            for (i, byte) in block.iter().enumerate() {
                mask |= u64::from(*byte == escape) << i;
            }
        }
        mask
    }

    /// The next delimiter, quote, LF or CR.
    #[inline]
    fn special(&mut self) -> Option<usize> {
        while self.mask == 0 {
            self.base += 64;
            if self.base >= self.text.len() {
                return None;
            }
            self.mask = self.classify(self.base);
        }
        let at = self.base + self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        Some(at)
    }

    /// Passes over the byte that the escape at `at` is for; `false` when it is not in the block yet.
    fn pass_escaped(&mut self, at: usize) -> bool {
        let next = at + 1;
        if next >= self.text.len() {
            return self.ended;
        }
        if next == self.base + 64 {
            self.base += 64;
            self.mask = self.classify(self.base);
        }
        self.mask &= !(1 << (next - self.base));
        true
    }

    /// Splits the next record into `fields`. A `Malformed` record ends the walk.
    #[inline]
    pub(crate) fn record(&mut self, fields: &mut Vec<Field>) -> Result<Step, Malformed> {
        fields.clear();
        let mut start = self.pos;
        if start >= self.text.len() {
            return Ok(Step::More);
        }
        loop {
            // Every special byte before `start` has been taken.
            let (end, quoted, doubled, stop) =
                if self.quote.is_some() && self.text.get(start).copied() == self.quote {
                    match self.quoted(start, fields.len())? {
                        Some((end, doubled, stop)) => (end, true, doubled, stop),
                        None => return Ok(Step::More),
                    }
                } else {
                    let mut escaped = false;
                    let stop = loop {
                        match self.special() {
                            Some(at) if self.escape == Some(self.text[at]) => {
                                escaped = true;
                                if !self.pass_escaped(at) {
                                    return Ok(Step::More);
                                }
                            }
                            Some(at) if Some(self.text[at]) == self.quote => {}
                            stop => break stop,
                        }
                    };
                    match stop {
                        Some(at) => (at, false, escaped, at),
                        None if self.ended => (self.text.len(), false, escaped, self.text.len()),
                        None => return Ok(Step::More),
                    }
                };
            let first = start + usize::from(quoted);
            fields.push(Field { start: first as u32, end: end as u32, quoted, doubled });
            match self.text.get(stop) {
                Some(&b) if b == self.delimiter => {
                    start = stop + 1;
                    if fields.len() >= MAX_FIELDS {
                        return Err(Malformed { at: stop, field: fields.len(), fault: Fault::TooManyFields });
                    }
                }
                Some(b'\r') => match self.text.get(stop + 1) {
                    Some(b'\n') => {
                        self.special();
                        self.pos = stop + 2;
                        return Ok(Step::Record);
                    }
                    None if !self.ended => return Ok(Step::More),
                    _ => {
                        self.pos = stop + 1;
                        return Ok(Step::Record);
                    }
                },
                Some(_) => {
                    self.pos = stop + 1;
                    return Ok(Step::Record);
                }
                None => {
                    self.pos = self.text.len();
                    return Ok(Step::Record);
                }
            }
        }
    }

    /// The field whose quote opens at `open`: its end, whether it holds doubled quotes, and
    /// where the byte after its closing quote is. `None` when the block ends inside it.
    #[inline]
    fn quoted(&mut self, open: usize, field: usize) -> Result<Option<(usize, bool, usize)>, Malformed> {
        self.special();
        let mut doubled = false;
        let close = loop {
            let Some(at) = self.special() else {
                return if self.ended {
                    Err(Malformed { at: open, field: field + 1, fault: Fault::NeverClosed })
                } else {
                    Ok(None)
                };
            };
            if self.escape == Some(self.text[at]) {
                doubled = true;
                if !self.pass_escaped(at) {
                    return Ok(None);
                }
                continue;
            }
            if Some(self.text[at]) != self.quote {
                continue;
            }
            match self.text.get(at + 1) {
                None if !self.ended => return Ok(None),
                next if next.copied() == self.quote => {
                    self.special();
                    doubled = true;
                }
                _ => break at,
            }
        };
        match self.text.get(close + 1) {
            None => {}
            Some(&b) if b == self.delimiter || b == b'\n' || b == b'\r' => {
                self.special();
            }
            Some(_) => {
                return Err(Malformed { at: close, field: field + 1, fault: Fault::TextAfterQuote });
            }
        }
        Ok(Some((close, doubled, close + 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Blocks, Dialect, Field, Scan, Step};
    use proptest::prelude::{Just, any, prop, prop_assert_eq, prop_oneof, proptest};
    use std::io::{self, Read};

    struct Portions(Vec<u8>, usize);
    impl Read for Portions {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(buf.len()).min(self.0.len());
            buf[..n].copy_from_slice(&self.0[..n]);
            self.0.drain(..n);
            Ok(n)
        }
    }

    fn text(dialect: Dialect, field: &Field, block: &str) -> String {
        let text = dialect.text(field, block);
        if field.quoted { format!("<{text}>") } else { text.into_owned() }
    }

    fn split(input: &str, portion: usize) -> Result<Vec<Vec<String>>, String> {
        split_with(input, portion, None)
    }

    fn split_with(input: &str, portion: usize, escape: Option<u8>) -> Result<Vec<Vec<String>>, String> {
        let mut blocks = Blocks::new(Box::new(Portions(input.as_bytes().to_vec(), portion)), 1 << 20);
        let (mut records, mut fields) = (Vec::new(), Vec::new());
        while let Some((block, ended)) = blocks.next().map_err(|e| format!("{e:?}"))? {
            let dialect = Dialect { delimiter: b',', quote: Some(b'"'), escape };
            let mut scan = Scan::new(block, ended, dialect);
            while scan.record(&mut fields).map_err(|e| format!("{}: {:?}", e.field, e.fault))? == Step::Record
            {
                records.push(fields.iter().map(|f| text(dialect, f, block)).collect());
            }
            let used = scan.used();
            blocks.consume(used);
        }
        Ok(records)
    }

    #[test]
    fn splits_what_the_standard_and_custom_allow() {
        for (input, expected) in [
            ("a,b\n1,2\n", vec![vec!["a", "b"], vec!["1", "2"]]),
            ("a,b\r\n1,2", vec![vec!["a", "b"], vec!["1", "2"]]),
            ("a\rb\r", vec![vec!["a"], vec!["b"]]),
            ("\"x\ny\",\"q\"\"q\",\"\",\n", vec![vec!["<x\ny>", "<q\"q>", "<>", ""]]),
            ("5\" disk,b\n", vec![vec!["5\" disk", "b"]]),
            ("a,\"b\"", vec![vec!["a", "<b>"]]),
            ("a,\"b\"\r\nc,", vec![vec!["a", "<b>"], vec!["c", ""]]),
            ("\n\na\n", vec![vec![""], vec![""], vec!["a"]]),
            ("\"\"\"\"\n", vec![vec!["<\">"]]),
        ] {
            assert_eq!(
                split(input, usize::MAX),
                Ok(expected.iter().map(|r| r.iter().map(|s| (*s).to_owned()).collect()).collect()),
                "{input:?}"
            );
        }
    }

    #[test]
    fn an_escape_takes_the_meaning_from_what_follows() {
        for (input, expected) in [
            (r#"a\,b,"c\"d",e\\"#, vec![vec!["a,b", r#"<c"d>"#, r"e\"]]),
            ("\"a\\\nb\",c\n", vec![vec!["<a\nb>", "c"]]),
        ] {
            let expected: Vec<Vec<String>> =
                expected.iter().map(|r| r.iter().map(|s| (*s).to_owned()).collect()).collect();
            let input = format!("{}{input}", "x\n".repeat(31));
            for portion in [1, 2, 63, 64, usize::MAX] {
                let found = split_with(&input, portion, Some(b'\\')).unwrap();
                assert_eq!(found[31..], expected, "{input:?} {portion}");
            }
        }
    }

    #[test]
    fn refuses_what_has_no_one_meaning() {
        assert!(split("a\n\"b", 99).unwrap_err().contains("NeverClosed"));
        assert!(split("a,\"b\"c\n", 99).unwrap_err().starts_with("2: TextAfterQuote"));
    }

    #[test]
    fn the_block_boundary_changes_nothing() {
        let row = format!("{},\"quo\"\"te, {}\n\",ünï,\r\n", "x".repeat(70), "y".repeat(61));
        let input = row.repeat(5000);
        let whole = split(&input, usize::MAX).unwrap();
        assert_eq!(whole.len(), 5000);
        assert!(whole.iter().all(|r| r == &whole[0] && r.len() == 4));
        assert_eq!(split(&input, 4099).unwrap(), whole);
    }

    proptest! {
        #[test]
        fn gives_back_what_was_written(
            rows in prop::collection::vec(prop::collection::vec("[a,\"\n\r é]{0,9}", 1..5), 1..30),
            ending in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
            portion in 1_usize..40,
        ) {
            let field = |f: &String| if f.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", f.replace('"', "\"\"")) } else { f.clone() };
            let text: String = rows.iter().map(|r| r.iter().map(field).collect::<Vec<_>>().join(",") + ending).collect();
            let plain = |f: String| f.strip_prefix('<').and_then(|f| f.strip_suffix('>')).map_or(f.clone(), str::to_owned);
            let found: Vec<Vec<String>> = split(&text, portion).unwrap().into_iter().map(|r| r.into_iter().map(plain).collect()).collect();
            prop_assert_eq!(found, rows);
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(prop_oneof![Just(b'"'), Just(b','), Just(b'\n'), Just(b'\r'), Just(b'\\'), any::<u8>()], 0..200), portion in 1_usize..40) {
            let mut blocks = Blocks::new(Box::new(Portions(bytes, portion)), 64);
            let mut fields = Vec::new();
            for _ in 0..500 {
                let Ok(Some((block, ended))) = blocks.next() else { break };
                let mut scan = Scan::new(block, ended, Dialect { delimiter: b',', quote: Some(b'"'), escape: Some(b'\\') });
                while scan.record(&mut fields) == Ok(Step::Record) {
                    for field in &fields {
                        field.of(block);
                    }
                }
                let used = scan.used();
                blocks.consume(used);
            }
        }
    }
}
