//! One value of a record to what a column of Dremio can hold, the same for both ways of loading. What does not fit becomes
//! null, what fits only in part loses the rest, and both are said.

use std::borrow::Cow;

use connector_kit::FieldType;
use connector_kit::protocol::ChangeReason;
use connector_kit::protocol::json::Token;
use connector_kit::values::{self, Value};

const TOO_LARGE: ChangeReason = ChangeReason::DestinationFieldSizeLimitation;
const WRONG: ChangeReason = ChangeReason::DestinationSerializationError;
const MICROS_PER_DAY: i64 = 86_400_000_000;
/// 0001-01-01 and 9999-12-31, in days since 1970: what a date in SQL can say.
pub(crate) const DAYS: std::ops::RangeInclusive<i64> = -719_162..=2_932_896;

/// A value in a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    Double(f64),
    /// Days since 1970.
    Date(i32),
    /// Milliseconds since midnight.
    Time(i32),
    /// Milliseconds since 1970.
    Timestamp(i64),
    /// UTF-8 if the record is.
    Text(Cow<'a, [u8]>),
}

/// How a value was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Whole,
    Part(ChangeReason),
}

/// Converts a value of a field; text of more than `longest` bytes is too large.
pub(crate) fn cell(
    field: FieldType,
    token: Token<'_>,
    longest: usize,
) -> Result<(Cell<'_>, Kept), ChangeReason> {
    let whole = |cell| Ok((cell, Kept::Whole));
    match values::convert(field, token)? {
        Value::Null => whole(Cell::Null),
        Value::Bool(b) => whole(Cell::Bool(b)),
        Value::Integer(n) => whole(Cell::Integer(n)),
        Value::Number(digits) => whole(Cell::Double(values::exact_f64(digits).ok_or(TOO_LARGE)?)),
        Value::Date(days) if DAYS.contains(&i64::from(days)) => whole(Cell::Date(days)),
        // 24:00 is the next day's.
        Value::Time(micros) if micros < MICROS_PER_DAY => {
            let millis = i32::try_from(micros / 1_000).map_err(|_| TOO_LARGE)?;
            Ok((Cell::Time(millis), millis_of(micros)))
        }
        Value::Timestamp(micros) if DAYS.contains(&micros.div_euclid(MICROS_PER_DAY)) => {
            Ok((Cell::Timestamp(micros.div_euclid(1_000)), millis_of(micros)))
        }
        Value::Date(_) | Value::Time(_) | Value::Timestamp(_) => Err(TOO_LARGE),
        Value::Text(text) if !text.has_escapes() => plain(Cow::Borrowed(text.raw()), longest),
        Value::Text(text) => {
            let mut out = Vec::with_capacity(text.raw().len());
            // Half of a surrogate pair can be written in JSON and is no character.
            let is_whole = text.unescape_into(&mut out);
            let (cell, kept) = plain(Cow::Owned(out), longest)?;
            Ok((cell, if is_whole { kept } else { Kept::Part(WRONG) }))
        }
        Value::PlainText(text) => plain(Cow::Borrowed(text), longest),
        Value::Json(token) => plain(json(token), longest),
    }
}

/// TIME and TIMESTAMP have milliseconds.
fn millis_of(micros: i64) -> Kept {
    if micros.rem_euclid(1_000) == 0 { Kept::Whole } else { Kept::Part(TOO_LARGE) }
}

/// A NUL, which ends text in some of what reads tables, becomes U+FFFD.
fn plain(text: Cow<'_, [u8]>, longest: usize) -> Result<(Cell<'_>, Kept), ChangeReason> {
    if text.len() > longest {
        return Err(TOO_LARGE);
    }
    if !text.contains(&0) {
        return Ok((Cell::Text(text), Kept::Whole));
    }
    let mut out = Vec::with_capacity(text.len() + 8);
    for byte in text.iter() {
        match byte {
            0 => out.extend_from_slice("\u{fffd}".as_bytes()),
            byte => out.push(*byte),
        }
    }
    Ok((Cell::Text(Cow::Owned(out)), Kept::Part(WRONG)))
}

fn json(token: Token<'_>) -> Cow<'_, [u8]> {
    match token {
        Token::Str(text) => {
            let mut json = Vec::with_capacity(text.raw().len() + 2);
            json.push(b'"');
            json.extend_from_slice(text.raw());
            json.push(b'"');
            Cow::Owned(json)
        }
        Token::Number(json) | Token::Array(json) | Token::Object(json) => Cow::Borrowed(json),
        Token::Bool(true) => Cow::Borrowed(b"true"),
        Token::Bool(false) => Cow::Borrowed(b"false"),
        Token::Null => Cow::Borrowed(b"null"),
    }
}
