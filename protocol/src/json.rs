//! A JSON scanner that finds where values begin and end, and builds no tree.
//!
//! Everything on the record path works on extents: a record's `data` travels as the
//! bytes the source wrote, numbers keep every digit, and unknown members survive.
//! Grammar: RFC 8259. Duplicate names are passed through in order; callers decide.

mod strings;

use std::borrow::Cow;

use crate::simd;

use strings::unescape;
pub use strings::{write_str, write_utf8};

/// Deepest nesting accepted. A record nested deeper is refused, not recursed into.
pub const MAX_DEPTH: usize = 128;

/// Why a text is not the JSON that was expected, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct JsonError {
    /// What is wrong, as a lower-case fragment.
    pub what: &'static str,
    /// Byte offset into the text that was scanned.
    pub at: usize,
}

type Result<T> = std::result::Result<T, JsonError>;

#[cold]
fn fail<T>(what: &'static str, at: usize) -> Result<T> {
    Err(JsonError { what, at })
}

/// The bytes between a string's quotes, escapes not yet resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawStr<'a> {
    bytes: &'a [u8],
    escaped: bool,
}

impl<'a> RawStr<'a> {
    /// The bytes as they stand between the quotes.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether the raw bytes hold at least one backslash escape.
    #[must_use]
    pub fn has_escapes(&self) -> bool {
        self.escaped
    }

    /// Appends the string's value to `out`. Lone surrogates, which JSON can write and
    /// UTF-8 cannot, become U+FFFD; `false` says that this happened. The raw bytes are
    /// copied unchecked: the caller validates UTF-8 once per chunk or column.
    pub fn unescape_into(&self, out: &mut Vec<u8>) -> bool {
        if self.escaped {
            unescape(self.bytes, out)
        } else {
            out.extend_from_slice(self.bytes);
            true
        }
    }

    /// The string's value.
    ///
    /// # Errors
    /// When the bytes are not UTF-8.
    pub fn to_str(&self) -> std::result::Result<Cow<'a, str>, std::str::Utf8Error> {
        if self.escaped {
            let mut out = Vec::with_capacity(self.bytes.len());
            unescape(self.bytes, &mut out);
            String::from_utf8(out).map(Cow::Owned).map_err(|e| e.utf8_error())
        } else {
            std::str::from_utf8(self.bytes).map(Cow::Borrowed)
        }
    }
}

/// One JSON value, by its kind and extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number's text, digits untouched.
    Number(&'a [u8]),
    /// A string.
    Str(RawStr<'a>),
    /// An array's text, brackets included.
    Array(&'a [u8]),
    /// An object's text, braces included.
    Object(&'a [u8]),
}

/// Offset of the first byte at or after `at` that is not white space.
#[inline]
#[must_use]
pub fn skip_space(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Scans the string that opens at `at`. Returns it and the offset after its closing quote.
///
/// # Errors
/// Unterminated, a raw control byte inside, or an unknown escape.
#[inline]
pub fn string_at(text: &[u8], at: usize) -> Result<(RawStr<'_>, usize)> {
    if text.get(at) != Some(&b'"') {
        return fail("expected a string", at);
    }
    let start = at + 1;
    let mut pos = start;
    let mut escaped = false;
    // Escapes often stand close to each other: what one look at a block found is used up before the next.
    while let Some(block) = text.get(pos..).and_then(<[u8]>::first_chunk::<16>) {
        let mut stops = simd::string_stops(*block);
        let mut next = 16;
        while stops != 0 {
            let bit = stops.trailing_zeros() as usize;
            match block[bit] {
                b'"' => return Ok((RawStr { bytes: &text[start..pos + bit], escaped }, pos + bit + 1)),
                b'\\' => {
                    escaped = true;
                    let end = escape_end(text, pos + bit)? - pos;
                    next = next.max(end);
                    // None of the escape's bytes ends the string.
                    stops &= u32::MAX.checked_shl(end as u32).unwrap_or(0);
                }
                _ => return fail("control character in a string", pos + bit),
            }
        }
        pos += next;
    }
    short_string_end(text, start, pos, escaped)
}

/// What is left of a string when less than a block is left of the text.
fn short_string_end(
    text: &[u8],
    start: usize,
    mut pos: usize,
    mut escaped: bool,
) -> Result<(RawStr<'_>, usize)> {
    loop {
        match text.get(pos) {
            Some(b'"') => return Ok((RawStr { bytes: &text[start..pos], escaped }, pos + 1)),
            Some(b'\\') => {
                escaped = true;
                pos = escape_end(text, pos)?;
            }
            Some(0..=0x1F) => return fail("control character in a string", pos),
            Some(_) => pos += 1,
            None => return fail("unterminated string", start - 1),
        }
    }
}

#[inline]
fn escape_end(text: &[u8], backslash: usize) -> Result<usize> {
    match text.get(backslash + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(backslash + 2),
        _ => unicode_end(text, backslash),
    }
}

#[cold]
fn unicode_end(text: &[u8], backslash: usize) -> Result<usize> {
    match text.get(backslash + 1) {
        Some(b'u') => match text.get(backslash + 2..backslash + 6) {
            Some(hex) if hex.iter().all(u8::is_ascii_hexdigit) => Ok(backslash + 6),
            _ => fail("bad \\u escape", backslash),
        },
        _ => fail("bad escape", backslash),
    }
}

/// Scans one value that starts exactly at `at`. Returns it and the offset after it.
///
/// # Errors
/// When the text there is not one whole JSON value.
#[inline]
pub fn value_at(text: &[u8], at: usize) -> Result<(Token<'_>, usize)> {
    match text.get(at) {
        Some(b'"') => string_at(text, at).map(|(s, end)| (Token::Str(s), end)),
        Some(b'-' | b'0'..=b'9') => {
            let end = number_end(text, at)?;
            Ok((Token::Number(&text[at..end]), end))
        }
        Some(b'{') => {
            let end = skip_value(text, at)?;
            Ok((Token::Object(&text[at..end]), end))
        }
        Some(b'[') => {
            let end = skip_value(text, at)?;
            Ok((Token::Array(&text[at..end]), end))
        }
        Some(b'n') => literal(text, at, b"null").map(|end| (Token::Null, end)),
        Some(b't') => literal(text, at, b"true").map(|end| (Token::Bool(true), end)),
        Some(b'f') => literal(text, at, b"false").map(|end| (Token::Bool(false), end)),
        _ => fail("expected a value", at),
    }
}

#[inline]
fn literal(text: &[u8], at: usize, word: &[u8]) -> Result<usize> {
    if text[at..].starts_with(word) { Ok(at + word.len()) } else { fail("expected a value", at) }
}

#[inline]
fn number_end(text: &[u8], at: usize) -> Result<usize> {
    let mut pos = at + usize::from(text[at] == b'-');
    match text.get(pos) {
        Some(b'0') => pos += 1,
        Some(b'1'..=b'9') => pos = digits_end(text, pos),
        _ => return fail("bad number", at),
    }
    if text.get(pos) == Some(&b'.') {
        let end = digits_end(text, pos + 1);
        if end == pos + 1 {
            return fail("bad number", at);
        }
        pos = end;
    }
    if matches!(text.get(pos), Some(b'e' | b'E')) {
        let start = pos + 1 + usize::from(matches!(text.get(pos + 1), Some(b'+' | b'-')));
        pos = digits_end(text, start);
        if pos == start {
            return fail("bad number", at);
        }
    }
    Ok(pos)
}

#[inline]
fn digits_end(text: &[u8], mut at: usize) -> usize {
    while let Some(block) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let digits = simd::leading_digits(*block);
        at += digits;
        if digits < 16 {
            return at;
        }
    }
    while matches!(text.get(at), Some(b'0'..=b'9')) {
        at += 1;
    }
    at
}

/// Offset after the value that starts at `at`; the value is fully checked, without
/// recursion, up to [`MAX_DEPTH`].
///
/// # Errors
/// When the text there is not one whole JSON value.
pub fn skip_value(text: &[u8], at: usize) -> Result<usize> {
    // One bit a level: 1 = object, 0 = array.
    let mut kinds: u128 = 0;
    let mut depth = 0_usize;
    let mut pos = at;
    loop {
        pos = match text.get(pos) {
            Some(&open @ (b'{' | b'[')) => {
                if depth == MAX_DEPTH {
                    return fail("nested too deep", pos);
                }
                depth += 1;
                kinds = (kinds << 1) | u128::from(open == b'{');
                let inside = skip_space(text, pos + 1);
                if text.get(inside) == Some(&(open + 2)) {
                    inside
                } else if open == b'{' {
                    pos = key_end(text, inside)?;
                    continue;
                } else {
                    pos = inside;
                    continue;
                }
            }
            _ => value_at_scalar(text, pos)?,
        };
        // A value ended, or an empty container is about to close.
        loop {
            if depth == 0 {
                return Ok(pos);
            }
            pos = skip_space(text, pos);
            let object = kinds & 1 == 1;
            match text.get(pos) {
                Some(b',') => {
                    pos = skip_space(text, pos + 1);
                    if object {
                        pos = key_end(text, pos)?;
                    }
                    break;
                }
                Some(b'}') if object => {}
                Some(b']') if !object => {}
                _ => return fail("expected a comma or the end of the container", pos),
            }
            depth -= 1;
            kinds >>= 1;
            pos += 1;
        }
    }
}

fn value_at_scalar(text: &[u8], at: usize) -> Result<usize> {
    match text.get(at) {
        Some(b'"') => string_at(text, at).map(|(_, end)| end),
        Some(b'-' | b'0'..=b'9') => number_end(text, at),
        Some(b'n') => literal(text, at, b"null"),
        Some(b't') => literal(text, at, b"true"),
        Some(b'f') => literal(text, at, b"false"),
        _ => fail("expected a value", at),
    }
}

fn key_end(text: &[u8], at: usize) -> Result<usize> {
    let (_, end) = string_at(text, at)?;
    let colon = skip_space(text, end);
    if text.get(colon) != Some(&b':') {
        return fail("expected a colon", colon);
    }
    Ok(skip_space(text, colon + 1))
}

/// Offset after the closing brace of the object that opens at byte 0, found by
/// brackets and quotes alone: fast enough for every record, and no proof that what
/// is between is valid JSON. `None` when the object does not end.
#[must_use]
pub fn object_end(text: &[u8]) -> Option<usize> {
    if text.first() != Some(&b'{') {
        return None;
    }
    let mut depth = 0_u64;
    let mut in_string = 0_u64; // all ones while a block begins inside a string
    let mut carry_escape = false; // the previous block ended in an unfinished escape
    let mut base = 0;
    let (blocks, tail) = text.as_chunks::<64>();
    let mut last = [b' '; 64];
    last[..tail.len()].copy_from_slice(tail);
    for block in blocks.iter().chain(std::iter::once(&last)) {
        let masks = simd::classify(block);
        let mut quotes = masks.quote;
        if masks.backslash != 0 || carry_escape {
            let escaped = escaped_bytes(masks.backslash, &mut carry_escape);
            quotes &= !escaped;
        }
        let inside = prefix_xor(quotes) ^ in_string;
        // All ones exactly when the block ends inside a string.
        in_string = 0_u64.wrapping_sub(inside >> 63);
        let open = masks.open & !inside;
        let mut close = masks.close & !inside;
        let closing = u64::from(close.count_ones());
        if closing < depth {
            depth += u64::from(open.count_ones());
            depth -= closing;
        } else {
            let mut seen = 0;
            while close != 0 {
                let bit = close.trailing_zeros();
                let before = (1_u64 << bit) - 1;
                let opened = u64::from((open & before).count_ones());
                seen += 1;
                if depth + opened == seen {
                    return Some(base + bit as usize + 1);
                }
                close &= close - 1;
            }
            depth = depth + u64::from(open.count_ones()) - closing;
        }
        base += 64;
    }
    None
}

/// Bit `i` of the result is the XOR of bits `0..=i`: set between an opening quote
/// (inclusive) and its closing quote (exclusive).
#[inline]
fn prefix_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

/// Which bytes are escaped, given where the backslashes are. `carry` says that the
/// first byte is escaped by the block before, and is set for the block after.
#[inline]
fn escaped_bytes(mut backslashes: u64, carry: &mut bool) -> u64 {
    let mut escaped = u64::from(*carry);
    backslashes &= !escaped;
    *carry = false;
    while backslashes != 0 {
        let bit = backslashes.trailing_zeros();
        if bit == 63 {
            *carry = true;
            break;
        }
        escaped |= 1 << (bit + 1);
        // The escaped byte may itself be a backslash; it then escapes nothing.
        backslashes &= !(0b11 << bit);
    }
    escaped
}

/// One `name: value` pair of an object, by extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name, escapes not yet resolved.
    pub name: RawStr<'a>,
    /// Where the name's opening quote is, as an offset into the scanned text.
    pub start: usize,
    /// Where the value begins, as an offset into the scanned text.
    pub value_start: usize,
    /// The offset after the value.
    pub value_end: usize,
    /// The value.
    pub value: Token<'a>,
}

impl<'a> Member<'a> {
    /// Whether the name is `name`, whatever escapes it is written with.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        if self.name.escaped {
            self.name.to_str().is_ok_and(|n| n == name)
        } else {
            self.name.bytes == name.as_bytes()
        }
    }
}

/// Walks the members of the object that opens at byte `at` of `text`.
///
/// Stops after the first error, or after the object's end; [`Members::end`] then
/// gives the offset after it.
#[must_use]
pub fn members(text: &[u8], at: usize) -> Members<'_> {
    Members { text, pos: at, phase: Phase::Open }
}

/// See [`members`].
#[derive(Clone, Debug)]
pub struct Members<'a> {
    text: &'a [u8],
    pos: usize,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    Inside,
    Done,
    Failed,
}

impl Members<'_> {
    /// The offset after the object, once the walk is over.
    #[must_use]
    pub fn end(&self) -> Option<usize> {
        (self.phase == Phase::Done).then_some(self.pos)
    }
}

impl<'a> Members<'a> {
    fn step(&mut self) -> Result<Option<Member<'a>>> {
        let text = self.text;
        let mut pos = skip_space(text, self.pos);
        match self.phase {
            Phase::Done | Phase::Failed => return Ok(None),
            Phase::Open => {
                if text.get(pos) != Some(&b'{') {
                    return fail("expected an object", pos);
                }
                pos = skip_space(text, pos + 1);
                if text.get(pos) == Some(&b'}') {
                    (self.pos, self.phase) = (pos + 1, Phase::Done);
                    return Ok(None);
                }
            }
            Phase::Inside => match text.get(pos) {
                Some(b',') => pos = skip_space(text, pos + 1),
                Some(b'}') => {
                    (self.pos, self.phase) = (pos + 1, Phase::Done);
                    return Ok(None);
                }
                _ => return fail("expected a comma or a closing brace", pos),
            },
        }
        let start = pos;
        let (name, end) = string_at(text, pos)?;
        let colon = skip_space(text, end);
        if text.get(colon) != Some(&b':') {
            return fail("expected a colon", colon);
        }
        let value_start = skip_space(text, colon + 1);
        let (value, value_end) = value_at(text, value_start)?;
        (self.pos, self.phase) = (value_end, Phase::Inside);
        Ok(Some(Member { name, start, value_start, value_end, value }))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<Member<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.step() {
            Ok(member) => member.map(Ok),
            Err(error) => {
                self.phase = Phase::Failed;
                Some(Err(error))
            }
        }
    }
}

/// The value of the member called `name`, or `None` when the object has none.
/// When a name stands twice the last one wins, as in most JSON parsers.
///
/// # Errors
/// When `text` is not one JSON object.
pub fn member<'a>(text: &'a [u8], name: &str) -> Result<Option<Token<'a>>> {
    let mut found = None;
    for member in members(text, 0) {
        let member = member?;
        if member.is(name) {
            found = Some(member.value);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
