//! Dates and times as PostgreSQL counts them: from 2000-01-01, in its own ranges, with its own infinities.

use connector_kit::protocol::ChangeReason;
use connector_kit::protocol::json::{RawStr, Token};
use connector_kit::values;

use super::EPOCH_MILLIS;
use super::field::{Kept, write_8};
use crate::column_type::ColumnType;

const WRONG: ChangeReason = ChangeReason::DestinationSerializationError;
const TOO_LARGE: ChangeReason = ChangeReason::DestinationFieldSizeLimitation;
/// Days from 1970 to 2000.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = EPOCH_MILLIS * 1_000;
/// Days from 4714-11-24 BC to before 5874898-06-04.
const DAYS: std::ops::Range<i32> = -2_451_545..2_145_031_949;
/// Microseconds from 4714-11-24 BC to before the year 294277.
const MICROS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;
const MICROS_PER_DAY: i64 = 86_400_000_000;
/// What an offset must stay below.
const OFFSET_SECONDS: i64 = 16 * 3_600;
/// How sources write the 24:00:00 that PostgreSQL has and other systems have not. No column holds such a
/// fraction, so it cannot be anything else.
const END_OF_DAY: &[u8] = b"23:59:59.999999999";

/// From days since 1970.
#[inline]
pub(super) fn date(days: i32) -> Result<i32, ChangeReason> {
    days.checked_sub(EPOCH_DAYS).filter(|days| DAYS.contains(days)).ok_or(TOO_LARGE)
}

/// From microseconds since 1970.
#[inline]
pub(super) fn timestamp(micros: i64) -> Result<i64, ChangeReason> {
    micros.checked_sub(EPOCH_MICROS).filter(|micros| MICROS.contains(micros)).ok_or(TOO_LARGE)
}

/// From the milliseconds since 1970 of a record's `emitted_at`; what is out of range is moved to its end.
#[inline]
pub(crate) fn extracted_at(millis: i64) -> i64 {
    millis.saturating_sub(EPOCH_MILLIS).saturating_mul(1_000).clamp(MICROS.start, MICROS.end - 1)
}

/// A time of day with its offset, UTC if it has none.
pub(super) fn write_time_with_zone(out: &mut Vec<u8>, text: RawStr<'_>) -> Result<Kept, ChangeReason> {
    if text.has_escapes() {
        return Err(WRONG);
    }
    let (micros, east) = match text.raw().strip_prefix(END_OF_DAY) {
        Some(offset) => {
            let noon = [b"12:00".as_slice(), offset].concat();
            (MICROS_PER_DAY, values::time_with_offset(&noon)?.1)
        }
        None => values::time_with_offset(text.raw())?,
    };
    let east = east.unwrap_or(0);
    if east.abs() >= OFFSET_SECONDS {
        return Err(TOO_LARGE);
    }
    out.extend_from_slice(&[0, 0, 0, 12]);
    out.extend_from_slice(&micros.to_be_bytes());
    // The server counts seconds west of UTC.
    out.extend_from_slice(&(-east as i32).to_be_bytes());
    Ok(Kept::Whole)
}

/// What PostgreSQL has and the kit's types have not: infinities, the end of the day, and the last 28 years.
#[cold]
pub(super) fn write_special(out: &mut Vec<u8>, column: ColumnType, token: Token<'_>) -> Option<Kept> {
    let Token::Str(text) = token else { return None };
    let text = text.raw();
    let positive = match text {
        [b'-', rest @ ..] if rest.eq_ignore_ascii_case(b"infinity") => Some(false),
        _ if text.eq_ignore_ascii_case(b"infinity") => Some(true),
        _ => None,
    };
    match (column, positive) {
        (ColumnType::Date, Some(positive)) => {
            let infinity = if positive { i32::MAX } else { i32::MIN };
            out.extend_from_slice(&[0, 0, 0, 4]);
            out.extend_from_slice(&infinity.to_be_bytes());
        }
        (ColumnType::Timestamp | ColumnType::TimestampWithZone, Some(positive)) => {
            write_8(out, if positive { i64::MAX } else { i64::MIN });
        }
        (ColumnType::Timestamp | ColumnType::TimestampWithZone, None) => {
            let zoned = column == ColumnType::TimestampWithZone;
            let micros = values::timestamp_since(i64::from(EPOCH_DAYS), text, zoned).ok()?;
            write_8(out, Some(micros).filter(|micros| MICROS.contains(micros))?);
        }
        (ColumnType::Time, None) if text == END_OF_DAY => write_8(out, MICROS_PER_DAY),
        _ => return None,
    }
    Some(Kept::Whole)
}
