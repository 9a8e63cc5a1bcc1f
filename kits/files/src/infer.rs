//! What type a column of text has, from a sample of it. Pure functions over text; the
//! same checks guard every value that is read later.

use connector_kit::FieldType;

const BOOLEAN: u8 = 1;
const INTEGER: u8 = 2;
const NUMBER: u8 = 4;
const DATE: u8 = 8;
const LOCAL_TIME: u8 = 16;
const ZONED_TIME: u8 = 32;
/// `t` and `f`, as Postgres writes booleans: text, unless both occur.
const LETTER: u8 = 64;

/// What one column may still be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guess {
    may: u8,
    seen: bool,
    t: bool,
    f: bool,
}

impl Guess {
    pub(crate) fn new() -> Self {
        Self { may: u8::MAX, seen: false, t: false, f: false }
    }

    /// Takes one value that is not null.
    pub(crate) fn see(&mut self, text: &str) {
        self.seen = true;
        if self.may != 0 {
            self.may &= kinds(text);
            self.t |= text == "t";
            self.f |= text == "f";
        }
    }

    /// The narrowest type that holds every value seen; text when there was none.
    pub(crate) fn field_type(self) -> FieldType {
        let fits = |kind| self.seen && self.may & kind != 0;
        if fits(BOOLEAN) || (fits(LETTER) && self.t && self.f) {
            FieldType::Boolean
        } else if fits(INTEGER) {
            FieldType::Integer
        } else if fits(NUMBER) {
            FieldType::Number
        } else if fits(DATE) {
            FieldType::Date
        } else if fits(LOCAL_TIME) {
            FieldType::TimestampWithoutTimezone
        } else if fits(ZONED_TIME) {
            FieldType::TimestampWithTimezone
        } else {
            FieldType::String
        }
    }
}

fn kinds(text: &str) -> u8 {
    let bytes = text.as_bytes();
    if is_integer(bytes) {
        return INTEGER | NUMBER;
    }
    if is_number(bytes) {
        return NUMBER;
    }
    if is_date(bytes) {
        return DATE;
    }
    if let Some(stamp) = Stamp::parse(bytes) {
        return if stamp.zone == Zone::None { LOCAL_TIME } else { ZONED_TIME };
    }
    match text {
        "t" | "f" => LETTER,
        _ if boolean(bytes).is_some() => BOOLEAN | LETTER,
        _ => 0,
    }
}

/// `true`, `false` in the usual spellings, and Postgres's `t` and `f`.
#[inline]
pub(crate) fn boolean(bytes: &[u8]) -> Option<bool> {
    match bytes {
        b"t" | b"true" | b"True" | b"TRUE" => Some(true),
        b"f" | b"false" | b"False" | b"FALSE" => Some(false),
        _ => None,
    }
}

#[inline]
fn all_digits(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_digit)
}

/// Digits without a leading zero or plus, any number of them: `007` is a name, not a number.
#[inline]
pub(crate) fn is_integer(bytes: &[u8]) -> bool {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    match digits {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => all_digits(rest),
        _ => false,
    }
}

/// A JSON number that a double does not turn into infinity or zero.
#[inline]
pub(crate) fn is_number(bytes: &[u8]) -> bool {
    let rest = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let whole = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    if whole == 0 || (whole > 1 && rest[0] == b'0') {
        return false;
    }
    match rest.get(whole) {
        None => true,
        Some(b'.') => {
            let fraction = &rest[whole + 1..];
            let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
            digits > 0 && (digits == fraction.len() || has_exponent(bytes, &fraction[digits..]))
        }
        Some(_) => has_exponent(bytes, &rest[whole..]),
    }
}

#[cold]
fn has_exponent(number: &[u8], tail: &[u8]) -> bool {
    let [b'e' | b'E', rest @ ..] = tail else { return false };
    let digits = match rest {
        [b'+' | b'-', digits @ ..] => digits,
        digits => digits,
    };
    if digits.is_empty() || !all_digits(digits) {
        return false;
    }
    let value = std::str::from_utf8(number).ok().and_then(|t| t.parse::<f64>().ok());
    let mantissa_is_zero =
        number.iter().take_while(|b| !matches!(b, b'e' | b'E')).all(|b| matches!(b, b'0' | b'.' | b'-'));
    value.is_some_and(|v| v.is_finite() && (v != 0.0 || mantissa_is_zero))
}

#[inline]
fn two(bytes: &[u8], at: usize) -> u8 {
    let (tens, ones) = (bytes[at].wrapping_sub(b'0'), bytes[at + 1].wrapping_sub(b'0'));
    if tens > 9 || ones > 9 { u8::MAX } else { tens * 10 + ones }
}

/// `YYYY-MM-DD`, a day that exists.
#[inline]
pub(crate) fn is_date(bytes: &[u8]) -> bool {
    bytes.len() == 10 && starts_with_date(bytes)
}

#[inline]
fn starts_with_date(bytes: &[u8]) -> bool {
    let Some(d) = bytes.first_chunk::<10>() else { return false };
    if d[4] != b'-' || d[7] != b'-' {
        return false;
    }
    let (century, year, month, day) = (two(d, 0), two(d, 2), two(d, 5), two(d, 8));
    if century == u8::MAX
        || year == u8::MAX
        || (century == 0 && year == 0)
        || !(1..=12).contains(&month)
        || day == 0
    {
        return false;
    }
    day <= 28 || day <= days_in_month(century, year, month)
}

fn days_in_month(century: u8, year: u8, month: u8) -> u8 {
    match month {
        2 if year.is_multiple_of(4) && (year != 0 || century.is_multiple_of(4)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    None,
    /// `Z`, or an offset of nothing.
    Utc,
    /// Sign, hours and minutes.
    Offset(u8, [u8; 2], [u8; 2]),
}

/// A date and time as ISO 8601 and Postgres write them, by extents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp<'a> {
    date: &'a [u8],
    /// `HH:MM[:SS[.f…]]`
    time: &'a [u8],
    pub(crate) zone: Zone,
}

impl<'a> Stamp<'a> {
    /// `YYYY-MM-DD`, `T` or one space, `HH:MM[:SS[.f…]]`, and perhaps `Z`, `±HH`, `±HHMM` or `±HH:MM`.
    #[inline]
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() < 16 || !matches!(bytes[10], b' ' | b'T' | b't') || !starts_with_date(bytes) {
            return None;
        }
        let time = &bytes[11..];
        let end = time_end(time)?;
        let zone = match &time[end..] {
            [] => Zone::None,
            [b'Z' | b'z'] => Zone::Utc,
            [sign @ (b'+' | b'-'), offset @ ..] => zone(*sign, offset)?,
            _ => return None,
        };
        Some(Self { date: &bytes[..10], time: &time[..end], zone })
    }

    /// Appends it as RFC 3339 has it.
    #[inline]
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.date);
        out.push(b'T');
        out.extend_from_slice(self.time);
        if self.time.len() == 5 {
            out.extend_from_slice(b":00");
        }
        match self.zone {
            Zone::None => {}
            Zone::Utc => out.push(b'Z'),
            Zone::Offset(sign, [h, i], [m, n]) => out.extend_from_slice(&[sign, h, i, b':', m, n]),
        }
    }
}

/// Where a time of day that stands at the beginning ends.
#[inline]
fn time_end(time: &[u8]) -> Option<usize> {
    if time.len() < 5 || time[2] != b':' || two(time, 0) > 23 || two(time, 3) > 59 {
        return None;
    }
    if time.get(5) != Some(&b':') {
        return Some(5);
    }
    if time.len() < 8 || two(time, 6) > 59 {
        return None;
    }
    if time.get(8) != Some(&b'.') {
        return Some(8);
    }
    let digits = time[9..].iter().take_while(|b| b.is_ascii_digit()).count();
    // Beyond nanoseconds nobody downstream can hold the digits.
    (1..=9).contains(&digits).then_some(9 + digits)
}

#[inline]
fn zone(sign: u8, offset: &[u8]) -> Option<Zone> {
    let (hours, minutes) = match offset {
        [h, i] => ([*h, *i], [b'0', b'0']),
        [h, i, b':', m, n] | [h, i, m, n] => ([*h, *i], [*m, *n]),
        _ => return None,
    };
    if two(&hours, 0) > 23 || two(&minutes, 0) > 59 {
        return None;
    }
    Some(if hours == *b"00" && minutes == *b"00" { Zone::Utc } else { Zone::Offset(sign, hours, minutes) })
}

/// A whole time of day; with `zoned`, an offset must follow.
pub(crate) fn is_time(bytes: &[u8], zoned: bool) -> bool {
    let Some(end) = time_end(bytes) else { return false };
    match &bytes[end..] {
        [] => !zoned,
        [b'Z'] => zoned,
        [sign @ (b'+' | b'-'), offset @ ..] => zoned && zone(*sign, offset).is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Guess, Stamp};
    use connector_kit::FieldType::{
        self, Boolean, Date, Integer, Number, String, TimestampWithTimezone, TimestampWithoutTimezone,
    };

    fn guess(values: &[&str]) -> FieldType {
        let mut guess = Guess::new();
        values.iter().for_each(|v| guess.see(v));
        guess.field_type()
    }

    #[test]
    fn only_text_that_is_exactly_a_value_has_its_type() {
        for (values, expected) in [
            (&["1", "-20", "0"][..], Integer),
            (&["9007199254740993", "123456789012345678901234567890"], Integer),
            (&["1", "2.50"], Number),
            (&["1e3", "-0.5E-7"], Number),
            (&["007"], String),
            (&["+5"], String),
            (&["1,5"], String),
            (&["1."], String),
            (&[".5"], String),
            (&[" 5"], String),
            (&["1e400"], String),
            (&["1e-400"], String),
            (&["NaN", "1.5"], String),
            (&["true", "FALSE"], Boolean),
            (&["t", "f", "t"], Boolean),
            (&["f", "f"], String),
            (&["t", "true"], String),
            (&["2024-02-29"], Date),
            (&["2023-02-29"], String),
            (&["2023-01-01 00:00:23.456789+00", "2023-01-01T00:00:00Z"], TimestampWithTimezone),
            (&["2023-01-01 00:00"], TimestampWithoutTimezone),
            (&["2023-01-01 00:00", "2023-01-01 00:00Z"], String),
            (&["2023-01-01", "2023-01-01 00:00"], String),
            (&["2023-01-01 24:00:00"], String),
            (&["1", "x"], String),
            (&[], String),
        ] {
            assert_eq!(guess(values), expected, "{values:?}");
        }
    }

    #[test]
    fn timestamps_become_rfc_3339_without_losing_a_digit() {
        for (text, expected) in [
            ("2023-01-01 00:00:23.456789+00", "2023-01-01T00:00:23.456789Z"),
            ("2023-01-01 00:00:23+05:30", "2023-01-01T00:00:23+05:30"),
            ("2023-01-01T00:00:23.123456789-0800", "2023-01-01T00:00:23.123456789-08:00"),
            ("2023-01-01 10:20", "2023-01-01T10:20:00"),
        ] {
            let mut out = Vec::new();
            Stamp::parse(text.as_bytes()).unwrap().write(&mut out);
            assert_eq!(std::str::from_utf8(&out), Ok(expected));
        }
        assert!(Stamp::parse(b"2023-01-01 00:00:23.1234567890").is_none());
        assert!(Stamp::parse(b"2023-01-01 00:00:23+00:19:32").is_none());
    }
}
