//! One value to one field of a tuple: its length and its binary form.

use connector_kit::protocol::ChangeReason;
use connector_kit::protocol::json::{self, Token};
use connector_kit::values::{self, Value};
use connector_kit::{Changes, FieldType, RowSink};

use super::{jsonb, numeric, times};
use crate::column_type::ColumnType;

/// The length that says NULL.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();

/// A value was stored with something of it missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Whole,
    Part(ChangeReason),
}

/// A column of the stream.
#[derive(Debug)]
pub(super) struct Field {
    field_type: FieldType,
    column_type: ColumnType,
    /// The name as a JSON string, for the list of changes.
    name: Vec<u8>,
    /// A key with something missing could be another row's key.
    is_key: bool,
}

impl Field {
    pub(super) fn new(name: &str, field_type: FieldType, is_key: bool) -> Self {
        let mut quoted = Vec::new();
        json::write_str(&mut quoted, name);
        Self { field_type, column_type: ColumnType::of(field_type), name: quoted, is_key }
    }
}

/// Appends the values of one row.
pub(super) struct Encoder<'a> {
    pub(super) fields: &'a [Field],
    pub(super) out: &'a mut Vec<u8>,
    pub(super) changes: &'a mut Changes,
}

impl RowSink for Encoder<'_> {
    #[inline]
    fn value(&mut self, column: usize, token: Token<'_>) {
        let field = &self.fields[column];
        let start = self.out.len();
        match write(self.out, field, token) {
            Ok(Kept::Whole) => {}
            Ok(Kept::Part(reason)) if !field.is_key => self.changes.truncated(&field.name, reason),
            Ok(Kept::Part(reason)) | Err(reason) => {
                self.out.truncate(start);
                self.out.extend_from_slice(&NULL);
                self.changes.nulled(&field.name, reason);
            }
        }
    }
}

#[inline]
fn write(out: &mut Vec<u8>, field: &Field, token: Token<'_>) -> Result<Kept, ChangeReason> {
    let value = match values::convert(field.field_type, token) {
        Ok(value) => value,
        // PostgreSQL has values that the kit's types have not.
        Err(reason) => return times::write_special(out, field.column_type, token).ok_or(reason),
    };
    match value {
        Value::Null => out.extend_from_slice(&NULL),
        Value::Bool(b) => out.extend_from_slice(&[0, 0, 0, 1, u8::from(b)]),
        Value::Integer(n) => write_8(out, n),
        Value::Number(digits) => numeric::write_numeric(out, digits)?,
        Value::Date(days) => out.extend_from_slice(&with_length_4(times::date(days)?)),
        Value::Time(micros) => write_8(out, micros),
        Value::Timestamp(micros) => write_8(out, times::timestamp(micros)?),
        Value::Text(text) if field.column_type == ColumnType::TimeWithZone => {
            return times::write_time_with_zone(out, text);
        }
        Value::Text(text) if !text.has_escapes() => write_bytes(out, text.raw()),
        Value::Text(text) => return Ok(framed(out, |out| write_escaped(out, text))),
        Value::PlainText(text) => write_bytes(out, text),
        Value::Json(Token::Str(text)) => {
            return framed(out, |out| jsonb::write_jsonb_string(out, text.raw()));
        }
        Value::Json(Token::Number(json) | Token::Array(json) | Token::Object(json)) => {
            return framed(out, |out| jsonb::write_jsonb(out, json));
        }
        Value::Json(Token::Bool(true)) => write_bytes(out, b"\x01true"),
        Value::Json(Token::Bool(false)) => write_bytes(out, b"\x01false"),
        Value::Json(Token::Null) => out.extend_from_slice(&NULL),
    }
    Ok(Kept::Whole)
}

#[inline]
pub(super) fn write_8(out: &mut Vec<u8>, n: i64) {
    let mut field = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    field[4..].copy_from_slice(&n.to_be_bytes());
    out.extend_from_slice(&field);
}

#[inline]
fn with_length_4(n: i32) -> [u8; 8] {
    let mut field = [0, 0, 0, 4, 0, 0, 0, 0];
    field[4..].copy_from_slice(&n.to_be_bytes());
    field
}

/// The cap on a line of stdin keeps lengths far below 2^31.
#[inline]
fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(4 + bytes.len());
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Appends what `write` appends, with its length before it.
#[inline]
pub(crate) fn framed<T>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    let result = write(out);
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    result
}

/// A NUL and half a surrogate pair can be written in JSON and not be stored as text: U+FFFD takes their place.
fn write_escaped(out: &mut Vec<u8>, text: json::RawStr<'_>) -> Kept {
    let start = out.len();
    let whole = text.unescape_into(out);
    if memchr::memchr(0, &out[start..]).is_some() {
        let replaced = String::from_utf8_lossy(&out[start..]).replace('\0', "\u{FFFD}");
        out.truncate(start);
        out.extend_from_slice(replaced.as_bytes());
    } else if whole {
        return Kept::Whole;
    }
    Kept::Part(ChangeReason::DestinationSerializationError)
}
