//! From JSON values to typed ones, by the declared type: the coercions that destinations
//! share. What does not fit is refused with the reason for `meta.changes`; nothing is
//! rounded, shortened or guessed.

use protocol::ChangeReason;
use protocol::json::{RawStr, Token};

use crate::schema::FieldType;

mod usual;

/// A typed value. Text is not yet unescaped and not yet checked for UTF-8.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// No value.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer of 64 bits.
    Integer(i64),
    /// A number's digits, a valid JSON number; see [`exact_f64`].
    Number(&'a [u8]),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since midnight, up to and including 24:00.
    Time(i64),
    /// Microseconds since 1970-01-01T00:00:00, in UTC or without a zone as the type says.
    Timestamp(i64),
    /// A string.
    Text(RawStr<'a>),
    /// A number, boolean, array or object where a string was declared: its JSON text.
    PlainText(&'a [u8]),
    /// Any JSON value, as text.
    Json(Token<'a>),
}

/// Converts a value to the declared type.
///
/// # Errors
/// The reason for `meta.changes`: `DESTINATION_SERIALIZATION_ERROR` when the value is not of
/// the type, `DESTINATION_FIELD_SIZE_LIMITATION` when it is but does not fit (beyond 64
/// bits, finer than a microsecond).
#[inline]
pub fn convert(field_type: FieldType, token: Token<'_>) -> Result<Value<'_>, ChangeReason> {
    const WRONG: ChangeReason = ChangeReason::DestinationSerializationError;
    let text = |token| match token {
        Token::Str(text) if !text.has_escapes() => Ok(text.raw()),
        _ => Err(WRONG),
    };
    match (field_type, token) {
        (_, Token::Null) => Ok(Value::Null),
        (FieldType::String | FieldType::TimeWithTimezone, Token::Str(text)) => Ok(Value::Text(text)),
        (FieldType::String, Token::Number(json) | Token::Array(json) | Token::Object(json)) => {
            Ok(Value::PlainText(json))
        }
        (FieldType::String, Token::Bool(b)) => Ok(Value::PlainText(if b { b"true" } else { b"false" })),
        (FieldType::Integer, Token::Number(digits)) => integer(digits).map(Value::Integer),
        (FieldType::Integer, Token::Str(_)) => integer(number_in(text(token)?)?).map(Value::Integer),
        (FieldType::Number, Token::Number(digits)) => Ok(Value::Number(digits)),
        (FieldType::Number, Token::Str(_)) => number_in(text(token)?).map(Value::Number),
        (FieldType::Boolean, Token::Bool(b)) => Ok(Value::Bool(b)),
        (FieldType::Date, Token::Str(_)) => date(text(token)?).map(Value::Date),
        (FieldType::TimeWithoutTimezone, Token::Str(_)) => time(text(token)?).map(Value::Time),
        (FieldType::TimestampWithTimezone, Token::Str(_)) => {
            timestamp(text(token)?, true).map(Value::Timestamp)
        }
        (FieldType::TimestampWithoutTimezone, Token::Str(_)) => {
            timestamp(text(token)?, false).map(Value::Timestamp)
        }
        (FieldType::Object, Token::Object(_))
        | (FieldType::Array, Token::Array(_))
        | (FieldType::Union, _) => Ok(Value::Json(token)),
        _ => Err(WRONG),
    }
}

const WRONG: ChangeReason = ChangeReason::DestinationSerializationError;
const TOO_LARGE: ChangeReason = ChangeReason::DestinationFieldSizeLimitation;

/// A string holding exactly one JSON number.
fn number_in(text: &[u8]) -> Result<&[u8], ChangeReason> {
    match protocol::json::value_at(text, 0) {
        Ok((Token::Number(digits), end)) if end == text.len() => Ok(digits),
        _ => Err(WRONG),
    }
}

/// An integer from a JSON number; `1.0` and `1e3` are integral too.
///
/// # Errors
/// As [`convert`]'s.
#[inline]
pub fn integer(digits: &[u8]) -> Result<i64, ChangeReason> {
    let (negative, magnitude) = match digits {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if let Some(n) = usual::whole(magnitude) {
        let n = n.cast_signed();
        return Ok(if negative { -n } else { n });
    }
    long_integer(digits, negative)
}

fn long_integer(digits: &[u8], negative: bool) -> Result<i64, ChangeReason> {
    let decimal = Decimal::parse(digits);
    if decimal.digits.is_empty() {
        return Ok(0);
    }
    if decimal.exponent < 0 {
        return Err(WRONG);
    }
    if decimal.digits.len() as i64 + decimal.exponent > 19 {
        return Err(TOO_LARGE);
    }
    let zeros = usize::try_from(decimal.exponent).unwrap_or(0);
    let all = decimal.digits.iter().copied().chain(std::iter::repeat_n(b'0', zeros));
    let n = all.fold(0_i128, |n, b| n * 10 + i128::from(b - b'0'));
    i64::try_from(if negative { -n } else { n }).map_err(|_| TOO_LARGE)
}

/// A number as significant digits times a power of ten, zeros stripped at both ends:
/// equal numbers have equal decimals, however they are written.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    /// `text` must be a JSON number.
    fn parse(text: &[u8]) -> Self {
        let negative = text.first() == Some(&b'-');
        let mark = text.iter().position(|b| matches!(b, b'e' | b'E'));
        let (mantissa, power) = match mark {
            Some(at) => (&text[..at], std::str::from_utf8(&text[at + 1..]).unwrap_or("0")),
            None => (text, "0"),
        };
        // An exponent beyond i64 saturates: such a number fits nothing anyway.
        let sign = if power.starts_with('-') { -1 } else { 1 };
        let mut exponent = power.trim_start_matches(['+', '-']).parse::<i64>().unwrap_or(i64::MAX / 4) * sign;
        let mut digits = Vec::with_capacity(mantissa.len());
        let mut fraction = false;
        for byte in mantissa {
            match byte {
                b'.' => fraction = true,
                b'0'..=b'9' => {
                    exponent -= i64::from(fraction);
                    if !(digits.is_empty() && *byte == b'0') {
                        digits.push(*byte);
                    }
                }
                _ => {}
            }
        }
        while digits.last() == Some(&b'0') {
            digits.pop();
            exponent += 1;
        }
        if digits.is_empty() {
            Self { negative: false, digits, exponent: 0 }
        } else {
            Self { negative, digits, exponent }
        }
    }
}

/// The double that stands for exactly these digits: its shortest text is the same number.
/// `None` when the digits say more than a double can hold. `text` must be a JSON number.
#[inline]
#[must_use]
pub fn exact_f64(text: &[u8]) -> Option<f64> {
    // Any decimal of up to 15 significant digits in the normal range survives a double.
    usual::decimal(text).or_else(|| exact_slow(text))
}

fn exact_slow(text: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    if !value.is_finite() {
        return None;
    }
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format_finite(value).as_bytes();
    (shortest == text || Decimal::parse(shortest) == Decimal::parse(text)).then_some(value)
}

/// Two digits at `at`.
#[inline]
fn two(text: &[u8], at: usize) -> Option<u32> {
    match text.get(at..at + 2)? {
        [a @ b'0'..=b'9', b @ b'0'..=b'9'] => Some(u32::from(a - b'0') * 10 + u32::from(b - b'0')),
        _ => None,
    }
}

fn leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar, `None` when there
/// is no such day (Hinnant's `days_from_civil`).
fn days_from_civil(year: i64, month: u32, day: u32) -> Option<i64> {
    const LENGTHS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = LENGTHS.get(month.wrapping_sub(1) as usize)? + u32::from(month == 2 && leap(year));
    if day == 0 || day > length {
        return None;
    }
    let y = year - i64::from(month <= 2);
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = i64::from((month + 9) % 12);
    let doy = (153 * mp + 2) / 5 + i64::from(day) - 1;
    Some(era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468)
}

/// Splits ` BC` off and gives the factor for the year.
fn era(text: &[u8]) -> (&[u8], bool) {
    match text.strip_suffix(b" BC") {
        Some(rest) => (rest, true),
        None => (text, false),
    }
}

/// Reads `2021-01-23` (also with `/`, `.`, space or no separator, and years of more digits)
/// at the start; returns days and the length read.
fn date_at(text: &[u8], before_christ: bool) -> Option<(i64, usize)> {
    let year_digits = text.iter().take(8).take_while(|b| b.is_ascii_digit()).count();
    let compact = year_digits == 8;
    let year_len = if compact { 4 } else { year_digits };
    if year_len < 4 {
        return None;
    }
    let year = text[..year_len].iter().fold(0_i64, |n, b| n * 10 + i64::from(b - b'0'));
    let separator = usize::from(!compact);
    if !compact && !matches!(text.get(year_len), Some(b'-' | b'/' | b'.' | b' ')) {
        return None;
    }
    let month_at = year_len + separator;
    let day_at = month_at + 2 + separator;
    if !compact && text.get(year_len) != text.get(month_at + 2) {
        return None;
    }
    let year = if before_christ { 1 - year } else { year };
    if year_len == 4 && year == 0 && !before_christ {
        return None;
    }
    let days = days_from_civil(year, two(text, month_at)?, two(text, day_at)?)?;
    Some((days, day_at + 2))
}

/// Days since 1970-01-01.
#[inline]
fn date(text: &[u8]) -> Result<i32, ChangeReason> {
    if let Some(days) = usual::date(text) {
        return i32::try_from(days).map_err(|_| TOO_LARGE);
    }
    let (text, bc) = era(text);
    match date_at(text, bc) {
        Some((days, end)) if end == text.len() => i32::try_from(days).map_err(|_| TOO_LARGE),
        _ => Err(WRONG),
    }
}

/// Reads `10:20`, `10:20:30` or `10:20:30.123456` at the start; returns microseconds and
/// the length read. 24:00:00 is allowed, as databases do.
fn time_at(text: &[u8]) -> Result<(i64, usize), ChangeReason> {
    let (hour, minute) = (two(text, 0).ok_or(WRONG)?, two(text, 3).ok_or(WRONG)?);
    if text.get(2) != Some(&b':') {
        return Err(WRONG);
    }
    let (mut second, mut micros, mut end) = (0, 0_i64, 5);
    if text.get(5) == Some(&b':') {
        second = two(text, 6).ok_or(WRONG)?;
        end = 8;
        if text.get(8) == Some(&b'.') {
            let digits = text[9..].iter().take_while(|b| b.is_ascii_digit()).count();
            if digits == 0 {
                return Err(WRONG);
            }
            let (kept, finer) = text[9..9 + digits].split_at(digits.min(6));
            if finer.iter().any(|b| *b != b'0') {
                return Err(TOO_LARGE);
            }
            micros =
                kept.iter().fold(0, |n, b| n * 10 + i64::from(b - b'0')) * 10_i64.pow(6 - kept.len() as u32);
            end = 9 + digits;
        }
    }
    let total = i64::from(hour * 3_600 + minute * 60 + second) * 1_000_000 + micros;
    // Second 60 is a leap second; no target type has one.
    if minute > 59 || second > 59 || total > 86_400_000_000 { Err(WRONG) } else { Ok((total, end)) }
}

fn time(text: &[u8]) -> Result<i64, ChangeReason> {
    match time_at(text)? {
        (micros, end) if end == text.len() => Ok(micros),
        _ => Err(WRONG),
    }
}

/// Reads `Z`, `+01`, `+0100`, `+01:00` or `+01:00:30`, the whole of `text`; seconds east of UTC.
fn offset(text: &[u8]) -> Option<i64> {
    if matches!(text, b"Z" | b"z" | b"UTC" | b" UTC") {
        return Some(0);
    }
    let sign = match text.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let rest = &text[1..];
    let (hours, minutes, seconds) = match (rest.len(), rest.get(2)) {
        (2, _) => (two(rest, 0)?, 0, 0),
        (4, _) => (two(rest, 0)?, two(rest, 2)?, 0),
        (5, Some(b':')) => (two(rest, 0)?, two(rest, 3)?, 0),
        (8, Some(b':')) if rest[5] == b':' => (two(rest, 0)?, two(rest, 3)?, two(rest, 6)?),
        _ => return None,
    };
    (hours < 24 && minutes < 60 && seconds < 60)
        .then(|| sign * i64::from(hours * 3_600 + minutes * 60 + seconds))
}

/// A time of day and its offset in seconds east of UTC, if it has one: microseconds since midnight as in
/// [`Value::Time`], which text of the type `time with time zone` is not converted to.
///
/// # Errors
/// As [`convert`]'s.
pub fn time_with_offset(text: &[u8]) -> Result<(i64, Option<i64>), ChangeReason> {
    let (micros, end) = time_at(text)?;
    match &text[end..] {
        [] => Ok((micros, None)),
        rest => offset(rest).map(|east| (micros, Some(east))).ok_or(WRONG),
    }
}

#[inline]
fn timestamp(text: &[u8], zoned: bool) -> Result<i64, ChangeReason> {
    timestamp_since(0, text, zoned)
}

/// Microseconds since the start of a day that is counted from 1970, for those whose range ends elsewhere than
/// [`Value::Timestamp`]'s. A type with a zone takes text without an offset as UTC; one without a zone refuses
/// text with an offset, since dropping it would change the value.
///
/// # Errors
/// As [`convert`]'s.
#[inline]
pub fn timestamp_since(epoch: i64, text: &[u8], zoned: bool) -> Result<i64, ChangeReason> {
    if let Some((days, micros, zulu)) = usual::timestamp(text)
        && zoned >= zulu
    {
        return since(epoch, days, micros);
    }
    long_timestamp(epoch, text, zoned)
}

fn since(epoch: i64, days: i64, micros: i64) -> Result<i64, ChangeReason> {
    let midnight = days.checked_sub(epoch).and_then(|d| d.checked_mul(86_400_000_000));
    midnight.and_then(|m| m.checked_add(micros)).ok_or(TOO_LARGE)
}

fn long_timestamp(epoch: i64, text: &[u8], zoned: bool) -> Result<i64, ChangeReason> {
    let (text, bc) = era(text);
    let (days, date_end) = date_at(text, bc).ok_or(WRONG)?;
    let rest = &text[date_end..];
    let (micros, after) = match rest.first() {
        None => (0, rest),
        Some(b'T' | b't' | b' ') => {
            let (micros, end) = time_at(&rest[1..])?;
            (micros, &rest[1 + end..])
        }
        Some(_) => return Err(WRONG),
    };
    let east = match (after.is_empty(), zoned) {
        (true, _) => 0,
        (false, true) => offset(after).ok_or(WRONG)?,
        (false, false) => return Err(WRONG),
    };
    since(epoch, days, micros - east * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::{Decimal, TOO_LARGE, Value, WRONG, convert, exact_f64, time_with_offset, timestamp_since};
    use crate::schema::FieldType;
    use crate::text::{write_date, write_timestamp};
    use proptest::prelude::{any, proptest};
    use protocol::ChangeReason;
    use protocol::json::value_at;

    fn conv(field_type: FieldType, json: &str) -> Result<String, ChangeReason> {
        let token = value_at(json.as_bytes(), 0).unwrap().0;
        convert(field_type, token).map(|v| match v {
            Value::Number(t) | Value::PlainText(t) => String::from_utf8_lossy(t).into_owned(),
            Value::Text(t) => t.to_str().unwrap().into_owned(),
            Value::Json(_) => "json".into(),
            Value::Integer(n) | Value::Time(n) | Value::Timestamp(n) => n.to_string(),
            Value::Date(n) => n.to_string(),
            Value::Bool(b) => b.to_string(),
            Value::Null => "null".into(),
        })
    }

    #[test]
    fn integers_are_exact_or_refused() {
        for (json, expected) in [
            ("9223372036854775807", Ok("9223372036854775807")),
            ("-9223372036854775808", Ok("-9223372036854775808")),
            ("9223372036854775808", Err(TOO_LARGE)),
            ("1.0", Ok("1")),
            ("12e2", Ok("1200")),
            ("1.5", Err(WRONG)),
            ("\"42\"", Ok("42")),
            ("\"4x\"", Err(WRONG)),
            ("1e400", Err(TOO_LARGE)),
            ("0e999999999999999999999", Ok("0")),
            ("true", Err(WRONG)),
            ("-0", Ok("0")),
            ("1e-999999999999999999999", Err(WRONG)),
        ] {
            assert_eq!(conv(FieldType::Integer, json), expected.map(String::from), "{json}");
        }
    }

    #[test]
    fn doubles_hold_only_what_they_can_say() {
        for text in [
            "0.1",
            "1.10",
            "1e3",
            "123456789012345",
            "0.30000000000000004",
            "12345.678901234567",
            "-0",
            "1.7976931348623157e308",
            "100000000000000000000",
        ] {
            assert!(exact_f64(text.as_bytes()).is_some(), "{text}");
        }
        for text in [
            "12345678901234567.89",
            "0.1000000000000000055511151231257827",
            "1e400",
            "9007199254740993",
            "123456789012345678901234567890",
        ] {
            assert!(exact_f64(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn dates_and_times_by_the_documented_forms() {
        use FieldType::{Date, TimeWithoutTimezone, TimestampWithTimezone, TimestampWithoutTimezone};
        for (field_type, json, expected) in [
            (Date, "\"1970-01-02\"", Ok("1")),
            (Date, "\"1970/01/02\"", Ok("1")),
            (Date, "\"19700102\"", Ok("1")),
            (Date, "\"2021-02-29\"", Err(WRONG)),
            (Date, "\"0001-01-01 BC\"", Ok("-719528")),
            (Date, "\"12021-01-23\"", Ok("3671075")),
            (Date, "\"1234567-01-23\"", Ok("450196832")),
            (Date, "\"2021012\"", Err(WRONG)),
            (Date, "\"202101231\"", Err(WRONG)),
            (TimestampWithTimezone, "\"20210123T000000\"", Err(WRONG)),
            (TimestampWithTimezone, "\"20210123 10:20\"", Ok("1611397200000000")),
            (Date, "\"2021-01-23T00:00:00\"", Err(WRONG)),
            (Date, "5", Err(WRONG)),
            (Date, "\"infinity\"", Err(WRONG)),
            (TimestampWithTimezone, "\"1970-01-01T00:00:01Z\"", Ok("1000000")),
            (TimestampWithTimezone, "\"1970-01-01 01:00:01.5+01:00\"", Ok("1500000")),
            (TimestampWithTimezone, "\"1970-01-01T00:00:01\"", Ok("1000000")),
            (TimestampWithTimezone, "\"1970-01-02\"", Ok("86400000000")),
            (TimestampWithTimezone, "\"1970-01-01T00:00:00.1234567Z\"", Err(TOO_LARGE)),
            (TimestampWithTimezone, "\"1970-01-01T00:00:00.123456000Z\"", Ok("123456")),
            (TimestampWithTimezone, "\"1970-01-01T00:00:01Q\"", Err(WRONG)),
            (TimestampWithTimezone, "\"1970-01-01T23:59:60Z\"", Err(WRONG)),
            (TimestampWithoutTimezone, "\"1970-01-01T00:00:01\"", Ok("1000000")),
            (TimestampWithoutTimezone, "\"1970-01-01T00:00:01Z\"", Err(WRONG)),
            (TimeWithoutTimezone, "\"24:00:00\"", Ok("86400000000")),
            (TimeWithoutTimezone, "\"24:00:01\"", Err(WRONG)),
            (TimeWithoutTimezone, "\"10:20\"", Ok("37200000000")),
            (TimeWithoutTimezone, "\"1:20\"", Err(WRONG)),
        ] {
            assert_eq!(conv(field_type, json), expected.map(String::from), "{field_type:?} {json}");
        }
    }

    #[test]
    fn times_of_day_keep_their_offset() {
        for (text, expected) in [
            ("10:20", Ok((37_200_000_000, None))),
            ("10:20:30.5Z", Ok((37_230_500_000, Some(0)))),
            ("10:20:30-08:30", Ok((37_230_000_000, Some(-30_600)))),
            ("10:20:30+01:02:03", Ok((37_230_000_000, Some(3_723)))),
            ("10:20:30 01", Err(WRONG)),
            ("10:20:30.1234567Z", Err(TOO_LARGE)),
        ] {
            assert_eq!(time_with_offset(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn timestamps_reach_as_far_as_their_epoch_lets_them() {
        let late = b"294260-01-01T00:00:00Z";
        assert_eq!(timestamp_since(0, late, true), Err(TOO_LARGE));
        assert_eq!(timestamp_since(10_957, late, true), Ok(9_222_834_787_200_000_000));
        assert_eq!(timestamp_since(10_957, b"2000-01-01T00:00:01+00", true), Ok(1_000_000));
    }

    #[test]
    fn strings_take_anything_and_containers_only_their_own_kind() {
        assert_eq!(conv(FieldType::String, "1.50"), Ok("1.50".into()));
        assert_eq!(conv(FieldType::String, "{\"a\":1}"), Ok("{\"a\":1}".into()));
        assert_eq!(conv(FieldType::Object, "\"{}\""), Err(WRONG));
        assert_eq!(conv(FieldType::Array, "{}"), Err(WRONG));
        assert_eq!(conv(FieldType::Union, "\"x\""), Ok("json".into()));
        assert_eq!(conv(FieldType::Boolean, "\"true\""), Err(WRONG));
    }

    proptest! {
        #[test]
        fn written_dates_read_back(days in -700_000..4_000_000_i32, micros in -60_000_000_000_000_000..250_000_000_000_000_000_i64) {
            let mut text = vec![b'"'];
            write_date(&mut text, days);
            text.push(b'"');
            assert_eq!(conv(FieldType::Date, std::str::from_utf8(&text).unwrap()), Ok(days.to_string()));
            let mut text = vec![b'"'];
            write_timestamp(&mut text, micros, true);
            text.push(b'"');
            assert_eq!(conv(FieldType::TimestampWithTimezone, std::str::from_utf8(&text).unwrap()), Ok(micros.to_string()));
        }

        #[test]
        fn every_double_survives_its_own_text(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            if value.is_finite() {
                let text = serde_json::to_string(&value).unwrap();
                assert_eq!(exact_f64(text.as_bytes()), Some(value));
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in "[0-9T:. Z+BC-]{0,30}") {
            let json = format!("\"{text}\"");
            for t in [FieldType::Date, FieldType::TimestampWithTimezone, FieldType::TimeWithoutTimezone, FieldType::Integer, FieldType::Number] {
                let _ = conv(t, &json);
            }
        }
    }

    #[test]
    fn equal_numbers_have_equal_decimals() {
        assert_eq!(Decimal::parse(b"-1.50"), Decimal::parse(b"-15e-1"));
        assert_eq!(Decimal::parse(b"0.00"), Decimal::parse(b"-0"));
    }
}
