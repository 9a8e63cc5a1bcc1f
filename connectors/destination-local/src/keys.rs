//! The keys of a data file's rows, kept in a hidden file beside it: what deduplication
//! needs to know of a row, without the row.
//!
//! A key is 128 bits of hash over the key's values in a form where equal values are equal
//! bytes (1 and 1.0, "a" and "\u0061"). A cursor is bytes that sort as the values do.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};

use connector_kit::protocol::json::Token;
use connector_kit::values::{self, Value};
use connector_kit::{FieldType, SelectedStream};
use xxhash_rust::xxh3::xxh3_128;

use crate::manifest::KeySpec;

const MAGIC: &[u8; 8] = b"FBKEYS01";
/// The source deleted the row.
const DELETED: u8 = 1;
/// A key with a null in it equals no other.
const NULL_KEY: u8 = 2;
/// The column in which change data capture says so.
pub(crate) const DELETED_AT: &str = "_ab_cdc_deleted_at";
/// A longer cursor is damage.
const CURSOR_CAP: u32 = 1 << 30;

/// Collects the key of one row at a time.
#[derive(Debug)]
pub(crate) struct KeyTaker {
    roles: Vec<Role>,
    parts: Vec<Vec<u8>>,
    whole: Vec<u8>,
    cursor: Vec<u8>,
    flags: u8,
}

#[derive(Clone, Copy, Debug)]
struct Role {
    field_type: FieldType,
    key: Option<usize>,
    cursor: bool,
    deleted: bool,
}

/// The key and cursor of a stream that is deduplicated.
pub(crate) fn key_spec(stream: &SelectedStream) -> KeySpec {
    KeySpec {
        primary_key: stream.primary_key.iter().filter_map(|path| path.first().cloned()).collect(),
        cursor: stream.cursor_field.first().cloned(),
    }
}

impl KeyTaker {
    pub(crate) fn new(stream: &SelectedStream, spec: &KeySpec) -> Self {
        let roles = stream.columns.iter().map(|column| Role {
            field_type: column.field_type,
            key: spec.primary_key.iter().position(|name| *name == column.name),
            cursor: spec.cursor.as_ref() == Some(&column.name),
            deleted: column.name == DELETED_AT,
        });
        Self {
            roles: roles.collect(),
            parts: vec![Vec::new(); spec.primary_key.len()],
            whole: Vec::new(),
            cursor: Vec::new(),
            flags: 0,
        }
    }

    /// Looks at one value of the row.
    #[inline]
    pub(crate) fn value(&mut self, column: usize, token: Token<'_>) {
        let role = self.roles[column];
        if let Some(index) = role.key {
            let part = &mut self.parts[index];
            part.clear();
            if !sortable(part, role.field_type, token) {
                self.flags |= NULL_KEY;
            }
        }
        if role.cursor {
            sortable(&mut self.cursor, role.field_type, token);
        }
        if role.deleted && token != Token::Null {
            self.flags |= DELETED;
        }
    }

    /// Ends the row and writes its key.
    pub(crate) fn end_row(&mut self, emitted_at: i64, out: &mut KeyWriter) -> io::Result<()> {
        self.whole.clear();
        for part in &self.parts {
            self.whole.extend_from_slice(&(part.len() as u64).to_le_bytes());
            self.whole.extend_from_slice(part);
        }
        let key = Key { hash: xxh3_128(&self.whole), emitted_at, flags: self.flags };
        out.write(key, &self.cursor)?;
        self.cursor.clear();
        self.flags = 0;
        Ok(())
    }
}

/// Appends bytes that sort as values of the type do, and are equal when they are. `false`
/// for null, which appends nothing and sorts first.
fn sortable(out: &mut Vec<u8>, field_type: FieldType, token: Token<'_>) -> bool {
    match values::convert(field_type, token) {
        Ok(Value::Null) => return false,
        Ok(Value::Bool(b)) => out.extend_from_slice(&[b'b', u8::from(b)]),
        Ok(Value::Integer(n)) => sortable_number(out, itoa::Buffer::new().format(n).as_bytes()),
        Ok(Value::Number(digits)) => sortable_number(out, digits),
        Ok(Value::Date(days)) => sortable_time(out, i64::from(days)),
        Ok(Value::Time(micros) | Value::Timestamp(micros)) => sortable_time(out, micros),
        Ok(Value::Text(text)) => {
            out.push(b's');
            text.unescape_into(out);
        }
        Ok(Value::PlainText(text)) => {
            out.push(b's');
            out.extend_from_slice(text);
        }
        Ok(Value::Json(token)) => untyped(out, token),
        Err(_) => {
            if !finer_than_micros(out, field_type, token) {
                untyped(out, token);
            }
        }
    }
    true
}

/// A value that is not of its column's type: whatever it is, by its own kind.
fn untyped(out: &mut Vec<u8>, token: Token<'_>) {
    match token {
        Token::Null => {}
        Token::Bool(b) => out.extend_from_slice(&[b'b', u8::from(b)]),
        Token::Number(digits) => sortable_number(out, digits),
        Token::Str(text) => {
            out.push(b's');
            text.unescape_into(out);
        }
        Token::Array(json) | Token::Object(json) => {
            out.push(b'j');
            out.extend_from_slice(json);
        }
    }
}

fn sortable_time(out: &mut Vec<u8>, n: i64) {
    out.push(b't');
    out.extend_from_slice(&(n as u64 ^ 1 << 63).to_be_bytes());
}

/// A time with more than six digits after the point: the first six as a time, then the rest.
fn finer_than_micros(out: &mut Vec<u8>, field_type: FieldType, token: Token<'_>) -> bool {
    let Token::Str(text) = token else { return false };
    let text = text.raw();
    let Some(point) = text.iter().position(|b| *b == b'.') else { return false };
    let digits = text[point + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
    if digits <= 6 {
        return false;
    }
    let (head, tail) = (&text[..point + 7], &text[point + 1 + digits..]);
    let shorter = [b"\"", head, tail, b"\""].concat();
    let Ok((token, _)) = connector_kit::protocol::json::value_at(&shorter, 0) else { return false };
    match values::convert(field_type, token) {
        Ok(Value::Time(micros) | Value::Timestamp(micros)) => {
            sortable_time(out, micros);
            let rest = &text[point + 7..point + 1 + digits];
            let kept = rest.iter().rposition(|b| *b != b'0').map_or(0, |at| at + 1);
            out.extend_from_slice(&rest[..kept]);
            true
        }
        _ => false,
    }
}

/// A JSON number of any size: sign, then the power of ten, then the significant digits;
/// for negative numbers all of it inverted.
fn sortable_number(out: &mut Vec<u8>, text: &[u8]) {
    let negative = text.first() == Some(&b'-');
    let at = text.iter().position(|b| matches!(b, b'e' | b'E'));
    let (mantissa, power) = text.split_at(at.unwrap_or(text.len()));
    let power = std::str::from_utf8(power.get(1..).unwrap_or_default()).unwrap_or_default();
    let mut exponent = match power.trim_start_matches('+').parse::<i64>() {
        Ok(n) => n.clamp(-(1 << 30), 1 << 30),
        Err(_) if power.starts_with('-') => -(1 << 30),
        Err(_) if power.is_empty() => 0,
        Err(_) => 1 << 30,
    };
    out.push(b'n');
    let start = out.len();
    out.extend_from_slice(&[0; 5]);
    let mut fraction = false;
    for byte in mantissa {
        match byte {
            b'.' => fraction = true,
            b'0' if out.len() == start + 5 => exponent -= i64::from(fraction),
            b'0'..=b'9' => {
                exponent += i64::from(!fraction);
                out.push(*byte);
            }
            _ => {}
        }
    }
    while out.len() > start + 5 && out.last() == Some(&b'0') {
        out.pop();
    }
    if out.len() == start + 5 {
        out.truncate(start);
        out.push(0x80);
        return;
    }
    // The value is 0.digits times ten to the exponent.
    out[start] = 0xc0;
    let biased = u32::try_from(exponent + (1 << 31)).unwrap_or(u32::MAX);
    out[start + 1..start + 5].copy_from_slice(&biased.to_be_bytes());
    out.push(0);
    if negative {
        out[start..].iter_mut().for_each(|b| *b = !*b);
    }
}

/// What is kept of one row, but for its cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) hash: u128,
    pub(crate) emitted_at: i64,
    flags: u8,
}

impl Key {
    #[cfg(test)]
    pub(crate) fn new(hash: u128, emitted_at: i64, flags: u8) -> Self {
        Self { hash, emitted_at, flags }
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.flags & DELETED != 0
    }

    pub(crate) fn is_null(&self) -> bool {
        self.flags & NULL_KEY != 0
    }
}

/// Writes a file of keys.
#[derive(Debug)]
pub(crate) struct KeyWriter {
    out: BufWriter<File>,
}

impl KeyWriter {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        Self::with_capacity(file, 64 << 10)
    }

    pub(crate) fn with_capacity(file: File, buffer: usize) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(buffer, file);
        out.write_all(MAGIC)?;
        Ok(Self { out })
    }

    #[inline]
    pub(crate) fn write(&mut self, key: Key, cursor: &[u8]) -> io::Result<()> {
        let mut head = [0; 29];
        head[..16].copy_from_slice(&key.hash.to_le_bytes());
        head[16..24].copy_from_slice(&key.emitted_at.to_le_bytes());
        head[24] = key.flags;
        head[25..].copy_from_slice(&(cursor.len() as u32).to_le_bytes());
        self.out.write_all(&head)?;
        self.out.write_all(cursor)
    }

    /// Makes it durable.
    pub(crate) fn close(self) -> io::Result<()> {
        self.end()?.sync_all()
    }

    /// Writes out what is buffered.
    pub(crate) fn end(self) -> io::Result<File> {
        self.out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// Reads a file of keys.
#[derive(Debug)]
pub(crate) struct KeyReader {
    input: BufReader<File>,
}

impl KeyReader {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let mut input = BufReader::with_capacity(64 << 10, file);
        let mut magic = [0; 8];
        input.read_exact(&mut magic)?;
        if &magic == MAGIC { Ok(Self { input }) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// The next key, its cursor in `cursor`. The caller knows how many there are.
    #[inline]
    pub(crate) fn read(&mut self, cursor: &mut Vec<u8>) -> io::Result<Key> {
        let mut head = [0; 29];
        self.input.read_exact(&mut head)?;
        let number = |range: std::ops::Range<usize>| {
            head[range].iter().rev().fold(0_u128, |n, b| n << 8 | u128::from(*b))
        };
        let length = number(25..29) as u32;
        if length > CURSOR_CAP {
            return Err(io::ErrorKind::InvalidData.into());
        }
        cursor.clear();
        let read = Read::take(&mut self.input, u64::from(length)).read_to_end(cursor)?;
        if read != length as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Key { hash: number(0..16), emitted_at: number(16..24) as i64, flags: head[24] })
    }

    /// Whether nothing is left.
    pub(crate) fn at_end(&mut self) -> io::Result<bool> {
        let mut byte = [0];
        Ok(self.input.read(&mut byte)? == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::{sortable, sortable_number};
    use connector_kit::FieldType;
    use connector_kit::protocol::json::value_at;
    use proptest::prelude::{any, proptest};

    fn bytes(field_type: FieldType, json: &str) -> Vec<u8> {
        let mut out = Vec::new();
        sortable(&mut out, field_type, value_at(json.as_bytes(), 0).unwrap().0);
        out
    }

    #[test]
    fn numbers_sort_by_value_and_equal_ones_are_equal_bytes() {
        let ordered = [
            "-1e400",
            "-12345678901234567890",
            "-100",
            "-99.5",
            "-10",
            "-1.5",
            "-1",
            "-0.01",
            "0",
            "1e-400",
            "0.001",
            "0.01",
            "0.5",
            "1",
            "1.05",
            "1.5",
            "9",
            "10",
            "99",
            "100",
            "1e18",
            "12345678901234567890",
            "1e400",
        ];
        for pair in ordered.windows(2) {
            let n = FieldType::Number;
            assert!(bytes(n, pair[0]) < bytes(n, pair[1]), "{pair:?}");
        }
        for same in [
            ["1", "1.0"],
            ["1", "10e-1"],
            ["-1.50", "-15E-1"],
            ["0", "-0.0"],
            ["100", "1e2"],
            ["0.01", "1e-2"],
        ] {
            assert_eq!(bytes(FieldType::Number, same[0]), bytes(FieldType::Number, same[1]), "{same:?}");
        }
        assert_eq!(
            bytes(FieldType::Integer, "1"),
            bytes(FieldType::Number, "1.0"),
            "a column may change its type"
        );
    }

    #[test]
    fn times_sort_by_instant_down_to_the_nanosecond() {
        let t = FieldType::TimestampWithTimezone;
        assert_eq!(bytes(t, "\"2024-01-01T00:00:00Z\""), bytes(t, "\"2024-01-01T01:00:00+01:00\""));
        let ordered = [
            "\"0044-03-15T00:00:00Z BC\"",
            "\"1969-12-31T23:59:59Z\"",
            "\"2024-01-01T00:00:00.123456Z\"",
            "\"2024-01-01T00:00:00.1234561Z\"",
            "\"2024-01-01T00:00:00.123456111Z\"",
            "\"2024-01-01T00:00:00.123457Z\"",
        ];
        for pair in ordered.windows(2) {
            assert!(bytes(t, pair[0]) < bytes(t, pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn strings_are_compared_unescaped_and_null_comes_first() {
        let s = FieldType::String;
        assert_eq!(bytes(s, "\"a\""), bytes(s, "\"\\u0061\""));
        assert!(bytes(s, "null") < bytes(s, "\"\""));
        assert_ne!(bytes(s, "\"1\""), bytes(FieldType::Integer, "1"));
    }

    proptest! {
        #[test]
        fn integers_sort_as_integers(a in any::<i64>(), b in any::<i64>()) {
            let of = |n: i64| { let mut out = Vec::new(); sortable_number(&mut out, n.to_string().as_bytes()); out };
            assert_eq!(a.cmp(&b), of(a).cmp(&of(b)));
        }

        #[test]
        fn decimals_sort_as_decimals(a in -9_999_999..9_999_999_i64, b in -9_999_999..9_999_999_i64) {
            let text = |n: i64| format!("{}{}.{:03}", if n < 0 { "-" } else { "" }, n.abs() / 1000, n.abs() % 1000);
            let of = |n: i64| { let mut out = Vec::new(); sortable_number(&mut out, text(n).as_bytes()); out };
            assert_eq!(a.cmp(&b), of(a).cmp(&of(b)));
        }
    }
}
