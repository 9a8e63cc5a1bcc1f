//! A JSON scanner that finds where values begin and end, and builds no tree.
//!
//! Everything on the record path works on extents: a record's `data` travels as the
//! bytes the source wrote, numbers keep every digit, and unknown members survive.
//! Grammar: RFC 8259. Duplicate names are passed through in order; callers decide.

use std::borrow::Cow;

use crate::simd;

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
    loop {
        match simd::string_stop(text, pos) {
            Some(stop) => match text[stop] {
                b'"' => return Ok((RawStr { bytes: &text[start..stop], escaped }, stop + 1)),
                b'\\' => {
                    escaped = true;
                    pos = escape_end(text, stop)?;
                }
                _ => return fail("control character in a string", stop),
            },
            None => return fail("unterminated string", at),
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

fn unescape(raw: &[u8], out: &mut Vec<u8>) -> bool {
    let mut faithful = true;
    out.reserve(raw.len() + 16);
    let mut rest = raw;
    // Text with one escape often has many, close to each other. Blocks are copied whole and cut to
    // size, since a copy of fixed size needs no call.
    while let Some(block) = rest.first_chunk::<16>() {
        let mask = simd::backslashes(*block);
        if mask == 0 {
            out.extend_from_slice(block);
            rest = &rest[16..];
            continue;
        }
        let plain = mask.trailing_zeros() as usize;
        let end = out.len() + plain;
        out.extend_from_slice(block);
        out.truncate(end);
        rest = unescape_one(&rest[plain..], out, &mut faithful);
    }
    while let Some(byte) = rest.first() {
        if *byte == b'\\' {
            rest = unescape_one(rest, out, &mut faithful);
        } else {
            out.push(*byte);
            rest = &rest[1..];
        }
    }
    faithful
}

/// Appends what the escape at the start of `text` stands for; returns what follows it.
#[inline]
fn unescape_one<'a>(text: &'a [u8], out: &mut Vec<u8>, faithful: &mut bool) -> &'a [u8] {
    let byte = match text.get(1) {
        Some(b'n') => b'\n',
        Some(b't') => b'\t',
        Some(b'r') => b'\r',
        Some(b'b') => 8,
        Some(b'f') => 12,
        Some(b'u') => return unescape_unicode(text, out, faithful),
        Some(other) => *other,
        // A backslash at the very end stands for itself.
        None => b'\\',
    };
    out.push(byte);
    text.get(2..).unwrap_or_default()
}

#[cold]
fn unescape_unicode<'a>(text: &'a [u8], out: &mut Vec<u8>, faithful: &mut bool) -> &'a [u8] {
    let (c, used) = unicode_escape(text);
    let mut utf8 = [0; 4];
    *faithful &= c.is_some();
    out.extend_from_slice(c.unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut utf8).as_bytes());
    &text[used..]
}

/// Reads `\uXXXX`, or a surrogate pair of two, at the start of `text`.
fn unicode_escape(text: &[u8]) -> (Option<char>, usize) {
    let Some(first) = hex4(text, 2) else { return (None, 2.min(text.len())) };
    if (0xD800..0xDC00).contains(&first)
        && text.get(6..8) == Some(b"\\u")
        && let Some(second @ 0xDC00..0xE000) = hex4(text, 8)
    {
        return (char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)), 12);
    }
    (char::from_u32(first), 6)
}

fn hex4(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at..at + 4)?;
    digits.iter().try_fold(0, |n, b| char::from(*b).to_digit(16).map(|d| n * 16 + d))
}

/// Appends `text` as a JSON string, quotes included.
#[inline]
pub fn write_str(out: &mut Vec<u8>, text: &str) {
    write_escaped(out, text.as_bytes());
}

/// Appends bytes as a JSON string, quotes included, if they are UTF-8; else appends nothing
/// and returns `false`.
#[inline]
pub fn write_utf8(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let start = out.len();
    if write_escaped(out, bytes) || std::str::from_utf8(bytes).is_ok() {
        return true;
    }
    out.truncate(start);
    false
}

/// Returns whether all bytes are ASCII.
fn write_escaped(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    // Blocks are copied whole and cut to size, since a copy of fixed size needs no call.
    out.reserve(bytes.len() + 18);
    out.push(b'"');
    let mut beyond_ascii = false;
    let (blocks, tail) = bytes.as_chunks::<16>();
    for block in blocks {
        let (mask, beyond) = simd::to_escape(*block);
        beyond_ascii |= beyond;
        if mask == 0 {
            out.extend_from_slice(block);
        } else {
            write_block(out, u128::from_le_bytes(*block), 16, mask);
        }
    }
    if !tail.is_empty() {
        let block = short_block(tail);
        let (mask, beyond) = simd::to_escape(block.to_le_bytes());
        beyond_ascii |= beyond;
        // What fills the block up are control bytes.
        write_block(out, block, tail.len(), mask & ((1 << tail.len()) - 1));
    }
    out.push(b'"');
    !beyond_ascii
}

/// Up to fifteen bytes, from the lowest, by loads of fixed size that may overlap.
#[inline]
fn short_block(bytes: &[u8]) -> u128 {
    // Where two loads overlap, they agree.
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        let place = 8 * (bytes.len() - 8);
        u128::from(u64::from_le_bytes(*first)) | u128::from(u64::from_le_bytes(*last)) << place
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let place = 8 * (bytes.len() - 4);
        u128::from(u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << place)
    } else {
        bytes.iter().rev().fold(0, |block, byte| block << 8 | u128::from(*byte))
    }
}

/// Appends the first `length` bytes of a block, of which `mask` says which to escape.
#[inline]
fn write_block(out: &mut Vec<u8>, mut block: u128, mut length: usize, mut mask: u32) {
    while mask != 0 {
        let plain = mask.trailing_zeros() as usize;
        let end = out.len() + plain;
        out.extend_from_slice(&block.to_le_bytes());
        out.truncate(end);
        block >>= 8 * plain;
        write_escape(out, block as u8);
        block >>= 8;
        length -= plain + 1;
        mask >>= plain + 1;
    }
    let end = out.len() + length;
    out.extend_from_slice(&block.to_le_bytes());
    out.truncate(end);
}

#[inline]
fn write_escape(out: &mut Vec<u8>, byte: u8) {
    /// The letter after the backslash, where there is one.
    const LETTERS: [u8; 128] = {
        let mut letters = [0; 128];
        letters[b'"' as usize] = b'"';
        letters[b'\\' as usize] = b'\\';
        letters[b'\n' as usize] = b'n';
        letters[b'\r' as usize] = b'r';
        letters[b'\t' as usize] = b't';
        letters
    };
    let letter = LETTERS[usize::from(byte & 0x7F)];
    if letter != 0 {
        out.extend_from_slice(&[b'\\', letter]);
    } else {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
        out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        MAX_DEPTH, RawStr, Token, member, members, object_end, skip_value, string_at, value_at, write_str,
        write_utf8,
    };
    use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            ".{0,40}".prop_map(Into::into),
            "[\\\\\"{}\\[\\],:]{0,70}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::vec((".{0,8}", inner), 0..6)
                    .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_valid_text(value in json(), pretty in any::<bool>(), tail in ".{0,70}") {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            assert_eq!(skip_value(text.as_bytes(), 0), Ok(text.len()));
            if value.is_object() {
                assert_eq!(object_end(format!("{text}{tail}").as_bytes()), Some(text.len()));
                let names: Vec<_> = members(text.as_bytes(), 0).map(|m| m.unwrap().name.to_str().unwrap().into_owned()).collect();
                assert_eq!(names, value.as_object().unwrap().keys().cloned().collect::<Vec<_>>());
            }
        }

        #[test]
        fn accepts_exactly_what_serde_json_accepts(text in "[\\[\\]{}\",:0-9eE.+ntrufalse\\\\ -]{0,24}") {
            let ours = value_at(text.trim_start().as_bytes(), 0).is_ok_and(|(_, end)| text.trim_start()[end..].trim().is_empty());
            // serde_json refuses numbers beyond f64; the protocol carries any size.
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            let too_large = theirs.as_ref().is_err_and(|e| e.to_string().contains("out of range"));
            let surrogate = theirs.as_ref().is_err_and(|e| e.to_string().contains("surrogate") || e.to_string().contains("hex escape"));
            assert!(ours == theirs.is_ok() || too_large || surrogate, "{text:?}: ours {ours}, serde_json {theirs:?}");
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = skip_value(&bytes, 0);
            let _ = object_end(&bytes);
            let _ = members(&bytes, 0).count();
        }

        #[test]
        fn strings_come_back_as_written(text in ".*") {
            let mut out = Vec::new();
            write_str(&mut out, &text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            let (raw, end) = string_at(&out, 0).unwrap();
            assert_eq!((raw.to_str().unwrap().as_ref(), end), (text.as_str(), out.len()));
        }

        #[test]
        fn strings_are_written_as_serde_json_writes_them(text in "[ -~\"\\\\\n\t\u{1}\u{1F}é😀]{0,70}") {
            let mut out = b"x".to_vec();
            write_str(&mut out, &text);
            assert_eq!(std::str::from_utf8(&out[1..]).unwrap(), serde_json::to_string(&text).unwrap());
        }

        #[test]
        fn bytes_are_written_exactly_when_they_are_text(bytes in prop::collection::vec(prop_oneof![Just(b'a'), Just(b'"'), any::<u8>()], 0..40)) {
            let mut out = b"x".to_vec();
            match std::str::from_utf8(&bytes) {
                Ok(text) => {
                    assert!(write_utf8(&mut out, &bytes));
                    assert_eq!(serde_json::from_slice::<String>(&out[1..]).unwrap(), text);
                }
                Err(_) => {
                    assert!(!write_utf8(&mut out, &bytes));
                    assert_eq!(out, b"x");
                }
            }
        }
    }

    #[test]
    fn a_lone_surrogate_is_replaced_and_reported() {
        let (raw, _) = string_at(br#""a\ud83d\ude00\ud83dz""#, 0).unwrap();
        let mut out = Vec::new();
        assert!(!raw.unescape_into(&mut out));
        assert_eq!(String::from_utf8(out).unwrap(), "a😀\u{FFFD}z");
    }

    #[test]
    fn depth_is_capped() {
        let deep = |n| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert!(skip_value(deep(MAX_DEPTH).as_bytes(), 0).is_ok());
        assert_eq!(skip_value(deep(MAX_DEPTH + 1).as_bytes(), 0).unwrap_err().what, "nested too deep");
    }

    #[test]
    fn the_last_of_two_equal_names_wins() {
        let token = member(br#"{"a":1,"\u0061":2}"#, "a").unwrap();
        assert_eq!(token, Some(Token::Number(b"2")));
    }

    #[test]
    fn members_report_no_end_after_an_error() {
        let mut walk = members(br#"{"a":1 "b"}"#, 0);
        assert!(walk.next().unwrap().is_ok());
        assert!(walk.next().unwrap().is_err());
        assert_eq!(walk.end(), None);
    }

    #[test]
    fn raw_str_is_small() {
        assert!(size_of::<RawStr<'_>>() <= 24);
    }
}
