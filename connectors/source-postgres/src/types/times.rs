//! Dates and times in the server's two forms. Both are read to the numbers that its binary
//! form has: days since 2000-01-01, or microseconds.

use super::calendar::{
    MICROS_PER_DAY, PAIRS, day_of, write_clock, write_date, write_timestamp, write_timestamptz,
};
use super::{Fate, Malformed, Outcome};

const DATE: Malformed = Malformed("a date in ISO form");
const TIME: Malformed = Malformed("a time in ISO form");
const TIMETZ: Malformed = Malformed("a time with time zone in ISO form");
const TIMESTAMP: Malformed = Malformed("a timestamp in ISO form");
const TIMESTAMPTZ: Malformed = Malformed("a timestamp with time zone in ISO form");

const INFINITY: &[u8] = b"\"Infinity\"";
const MINUS_INFINITY: &[u8] = b"\"-Infinity\"";

#[cold]
fn infinity(out: &mut Vec<u8>, positive: bool) -> Outcome {
    out.extend_from_slice(if positive { INFINITY } else { MINUS_INFINITY });
    Ok(Fate::Written)
}

#[inline]
pub(super) fn date(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    let day = i32::from_be_bytes(value.try_into().map_err(|_| DATE)?);
    if matches!(day, i32::MIN | i32::MAX) {
        return infinity(out, day > 0);
    }
    write_date(out, day);
    Ok(Fate::Written)
}

#[inline]
pub(super) fn timestamp(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    let micros = i64::from_be_bytes(value.try_into().map_err(|_| TIMESTAMP)?);
    if matches!(micros, i64::MIN | i64::MAX) {
        return infinity(out, micros > 0);
    }
    write_timestamp(out, micros);
    Ok(Fate::Written)
}

#[inline]
pub(super) fn timestamptz(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    let micros = i64::from_be_bytes(value.try_into().map_err(|_| TIMESTAMPTZ)?);
    if matches!(micros, i64::MIN | i64::MAX) {
        return infinity(out, micros > 0);
    }
    write_timestamptz(out, micros);
    Ok(Fate::Written)
}

fn write_time(out: &mut Vec<u8>, micros: i64) -> Outcome {
    if !(0..=MICROS_PER_DAY).contains(&micros) {
        return Err(TIME);
    }
    out.push(b'"');
    write_clock(out, micros);
    out.push(b'"');
    Ok(Fate::Written)
}

#[inline]
pub(super) fn time(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    write_time(out, i64::from_be_bytes(value.try_into().map_err(|_| TIME)?))
}

/// Microseconds, then the zone in seconds *west* of UTC.
pub(super) fn timetz(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    let (micros, zone) = value.split_first_chunk::<8>().ok_or(TIMETZ)?;
    let west = i32::from_be_bytes(zone.try_into().map_err(|_| TIMETZ)?);
    write_timetz(out, i64::from_be_bytes(*micros), west.checked_neg().ok_or(TIMETZ)?)
}

/// In its own offset, `Z` for none; seconds of the offset only where there are any.
fn write_timetz(out: &mut Vec<u8>, micros: i64, east: i32) -> Outcome {
    // The server allows less than sixteen hours.
    if !(0..=MICROS_PER_DAY).contains(&micros) || east.abs() >= 16 * 3_600 {
        return Err(TIMETZ);
    }
    out.push(b'"');
    write_clock(out, micros);
    if east == 0 {
        out.extend_from_slice(b"Z\"");
        return Ok(Fate::Written);
    }
    out.push(if east < 0 { b'-' } else { b'+' });
    let seconds = east.unsigned_abs() as usize;
    out.extend_from_slice(&PAIRS[seconds / 3_600]);
    out.push(b':');
    out.extend_from_slice(&PAIRS[seconds / 60 % 60]);
    if !seconds.is_multiple_of(60) {
        out.push(b':');
        out.extend_from_slice(&PAIRS[seconds % 60]);
    }
    out.push(b'"');
    Ok(Fate::Written)
}

pub(super) fn date_text(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    if let Some(positive) = infinite(value) {
        return infinity(out, positive);
    }
    let (value, bc) = era(value);
    let (day, rest) = take_date(value, bc).ok_or(DATE)?;
    if !rest.is_empty() {
        return Err(DATE);
    }
    write_date(out, day);
    Ok(Fate::Written)
}

pub(super) fn time_text(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    match take_clock(value) {
        Some((micros, [])) => write_time(out, micros),
        _ => Err(TIME),
    }
}

pub(super) fn timetz_text(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    let (micros, zone) = take_clock(value).ok_or(TIMETZ)?;
    write_timetz(out, micros, offset(zone).ok_or(TIMETZ)?)
}

pub(super) fn timestamp_text(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    if let Some(positive) = infinite(value) {
        return infinity(out, positive);
    }
    match moment(value) {
        Some((micros, [])) => write_timestamp(out, micros),
        _ => return Err(TIMESTAMP),
    }
    Ok(Fate::Written)
}

pub(super) fn timestamptz_text(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    if let Some(positive) = infinite(value) {
        return infinity(out, positive);
    }
    let (micros, zone) = moment(value).ok_or(TIMESTAMPTZ)?;
    let east = i64::from(offset(zone).ok_or(TIMESTAMPTZ)?);
    write_timestamptz(out, micros.checked_sub(east * 1_000_000).ok_or(TIMESTAMPTZ)?);
    Ok(Fate::Written)
}

fn infinite(value: &[u8]) -> Option<bool> {
    match value {
        b"infinity" => Some(true),
        b"-infinity" => Some(false),
        _ => None,
    }
}

fn era(value: &[u8]) -> (&[u8], bool) {
    value.strip_suffix(b" BC").map_or((value, false), |value| (value, true))
}

/// Date and time, joined by a space, in microseconds since 2000-01-01T00:00:00; what follows.
fn moment(value: &[u8]) -> Option<(i64, &[u8])> {
    let (value, bc) = era(value);
    let (day, rest) = take_date(value, bc)?;
    let (micros, rest) = take_clock(rest.strip_prefix(b" ")?)?;
    Some((i64::from(day).checked_mul(MICROS_PER_DAY)?.checked_add(micros)?, rest))
}

/// `2024-02-29`, with any number of digits in the year.
fn take_date(value: &[u8], bc: bool) -> Option<(i32, &[u8])> {
    let length = value.iter().take_while(|b| b.is_ascii_digit()).count();
    if !(4..=7).contains(&length) {
        return None;
    }
    let (year, rest) = value.split_at(length);
    let year = year.iter().fold(0, |n, b| n * 10 + i64::from(b - b'0'));
    let [b'-', a, b, b'-', c, d, rest @ ..] = rest else { return None };
    let year = if bc { 1 - year } else { year };
    Some((day_of(year, pair(*a, *b)?, pair(*c, *d)?)?, rest))
}

/// `10:20:30`, with up to six decimals; up to and including 24:00:00.
fn take_clock(value: &[u8]) -> Option<(i64, &[u8])> {
    let [a, b, b':', c, d, b':', e, f, rest @ ..] = value else { return None };
    let (hour, minute, second) = (pair(*a, *b)?, pair(*c, *d)?, pair(*e, *f)?);
    if hour > 24 || minute > 59 || second > 59 {
        return None;
    }
    let mut micros = i64::from(hour * 3_600 + minute * 60 + second) * 1_000_000;
    let mut rest = rest;
    if let [b'.', decimals @ ..] = rest {
        let length = decimals.iter().take_while(|b| b.is_ascii_digit()).count();
        if !(1..=6).contains(&length) {
            return None;
        }
        let (decimals, after) = decimals.split_at(length);
        let n = decimals.iter().fold(0, |n, b| n * 10 + i64::from(b - b'0'));
        micros += n * 10_i64.pow(6 - length as u32);
        rest = after;
    }
    (micros <= MICROS_PER_DAY).then_some((micros, rest))
}

/// `+08`, `+05:30` or `-00:01:15`, in seconds east of UTC.
fn offset(zone: &[u8]) -> Option<i32> {
    let (sign, a, b, rest) = match zone {
        [b'+', a, b, rest @ ..] => (1, a, b, rest),
        [b'-', a, b, rest @ ..] => (-1, a, b, rest),
        _ => return None,
    };
    let (minutes, seconds) = match rest {
        [] => (0, 0),
        [b':', c, d] => (pair(*c, *d)?, 0),
        [b':', c, d, b':', e, f] => (pair(*c, *d)?, pair(*e, *f)?),
        _ => return None,
    };
    if minutes > 59 || seconds > 59 {
        return None;
    }
    Some(sign * (pair(*a, *b)? * 3_600 + minutes * 60 + seconds).cast_signed())
}

fn pair(a: u8, b: u8) -> Option<u32> {
    (a.is_ascii_digit() && b.is_ascii_digit()).then(|| u32::from(a - b'0') * 10 + u32::from(b - b'0'))
}
