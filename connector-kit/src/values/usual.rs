//! The forms that nearly all numbers, dates and times have, read at fixed places without a loop over their characters.
//!
//! `None` says that a text has another form, or none: the long way decides. Both ways give the same value
//! where this one gives any; tests hold them to it.

/// `0` in every byte.
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Whether every byte that `places` covers is a digit, `0` taken off already.
#[inline]
fn digits(word: u64, places: u64) -> bool {
    let word = word & places;
    // Adding 0x76 sets the top bit of ten and more; what had it set before may carry, and shows in the word itself.
    (word.wrapping_add(0x7676_7676_7676_7676 & places) | word) & 0x8080_8080_8080_8080 == 0
}

/// Byte `i` becomes ten times digit `i` plus digit `i + 1`.
#[inline]
fn pairs(word: u64) -> u64 {
    word.wrapping_mul(10).wrapping_add(word >> 8)
}

#[inline]
fn byte(word: u64, at: u32) -> u32 {
    u32::from((word >> (8 * at)) as u8)
}

#[inline]
fn eight(text: &[u8], at: usize) -> Option<u64> {
    text.get(at..at + 8)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// One to eight bytes, from the lowest, by loads of fixed size that may overlap.
#[inline]
fn short(text: &[u8]) -> u64 {
    // Where two loads overlap, they agree.
    if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        let last = u64::from(u32::from_le_bytes(*last));
        u64::from(u32::from_le_bytes(*first)) | last << (8 * (text.len() - 4))
    } else {
        text.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
    }
}

/// The number that up to eight digits stand for; none of them is zero.
#[inline]
fn up_to_eight(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return Some(0);
    }
    // The last digit goes to the highest byte; zeros stand before the first.
    let word = (short(text) ^ (ZEROS >> (64 - 8 * text.len()))) << (64 - 8 * text.len());
    if !digits(word, u64::MAX) {
        return None;
    }
    let twos = pairs(word) & 0x00FF_00FF_00FF_00FF;
    let fours = (twos.wrapping_mul(100).wrapping_add(twos >> 16)) & 0x0000_FFFF_0000_FFFF;
    Some((fours & 0xFFFF) * 10_000 + (fours >> 32))
}

/// The number that up to eighteen digits stand for.
#[inline]
pub(super) fn whole(text: &[u8]) -> Option<u64> {
    const EIGHT: u64 = 100_000_000;
    let length = text.len();
    if length <= 8 {
        up_to_eight(text)
    } else if length <= 16 {
        let (high, low) = text.split_at(length - 8);
        Some(up_to_eight(high)? * EIGHT + up_to_eight(low)?)
    } else if length <= 18 {
        let (high, rest) = text.split_at(length - 16);
        let (middle, low) = rest.split_at(8);
        Some((up_to_eight(high)? * EIGHT + up_to_eight(middle)?) * EIGHT + up_to_eight(low)?)
    } else {
        None
    }
}

/// A decimal number without an exponent that a double holds: up to fifteen digits.
#[inline]
pub(super) fn decimal(text: &[u8]) -> Option<f64> {
    /// All of them are doubles themselves, so one division rounds once, and correctly.
    const POWERS: [f64; 16] =
        [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let (negative, magnitude) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if magnitude.len() > 16 {
        return None;
    }
    let (before, after) = match magnitude.iter().position(|b| *b == b'.') {
        Some(point) => (&magnitude[..point], &magnitude[point + 1..]),
        None => (magnitude, &[][..]),
    };
    if before.len() + after.len() > 15 {
        return None;
    }
    // Beyond 2^53 there are no fifteen digits, so the sum is exact.
    let scaled = whole(before)? as f64 * POWERS[after.len()] + whole(after)? as f64;
    let value = scaled / POWERS[after.len()];
    Some(if negative { -value } else { value })
}

const LENGTHS: [u32; 13] = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Days since 1970-01-01 of a date from year 1 to 9999 (Hinnant's `days_from_civil`).
#[inline]
fn days(year: u32, month: u32, day: u32) -> Option<i64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = LENGTHS.get(month as usize)? + u32::from(month == 2 && leap);
    // Day zero becomes the largest.
    if day.wrapping_sub(1) >= length || year == 0 {
        return None;
    }
    // A year begins in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (century, of_century) = (year / 100, year % 100);
    let before = century / 4 * 146_097 + century % 4 * 36_524 + of_century * 1_461 / 4;
    Some(i64::from(before + (153 * month + 2) / 5 + day - 1) - 719_468)
}

/// Days since 1970 of a text that begins with `2021-01-23`.
#[inline]
fn day(head: u64, day_of_month: u32) -> Option<i64> {
    // "YYYY-MM-": digits, and what stands between them.
    const PLACES: u64 = 0x00FF_FF00_FFFF_FFFF;
    const MARKS: u64 = 0x2D00_002D_0000_0000;
    let word = head ^ (ZEROS & PLACES);
    if word & !PLACES != MARKS || !digits(word, PLACES) {
        return None;
    }
    let pairs = pairs(word & PLACES);
    days(byte(pairs, 0) * 100 + byte(pairs, 2), byte(pairs, 5), day_of_month)
}

/// `2021-01-23`, all of the text, as days since 1970.
#[inline]
pub(super) fn date(text: &[u8]) -> Option<i64> {
    if text.len() != 10 {
        return None;
    }
    day(eight(text, 0)?, u32::try_from(up_to_eight(&text[8..])?).ok()?)
}

/// `2021-01-23T10:20:30`, with up to six digits of a second and with or without `Z`, all of the text: days since
/// 1970, microseconds since midnight, and whether there is a `Z`.
#[inline]
pub(super) fn timestamp(text: &[u8]) -> Option<(i64, i64, bool)> {
    // "DDTHH:MM" and "HH:MM:SS", of which "MM" has been seen.
    const PLACES: u64 = 0xFFFF_00FF_FF00_FFFF;
    const MARKS: u64 = 0x0000_3A00_0054_0000;
    let (text, zulu) = match text {
        [rest @ .., b'Z'] => (rest, true),
        _ => (text, false),
    };
    let word = eight(text, 8)? ^ (ZEROS & PLACES);
    // A space may stand for the T.
    if (word & !PLACES != MARKS && word & !PLACES != MARKS ^ 0x0074_0000) || !digits(word, PLACES) {
        return None;
    }
    let low = pairs(word & PLACES);
    let (hour, minute) = (byte(low, 3), byte(low, 6));
    let tail = eight(text, 11)? ^ ZEROS;
    // The colon is ten away from the zero.
    if byte(tail, 5) != 10 || !digits(tail, 0xFFFF_0000_0000_0000) {
        return None;
    }
    let second = byte(tail, 6) * 10 + byte(tail, 7);
    let micros = match text.get(19..)? {
        [] => 0,
        [b'.', fraction @ ..] if (1..=6).contains(&fraction.len()) => {
            const SCALE: [u64; 7] = [0, 100_000, 10_000, 1_000, 100, 10, 1];
            up_to_eight(fraction)? * SCALE[fraction.len()]
        }
        _ => return None,
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = i64::from(hour * 3_600 + minute * 60 + second);
    Some((day(eight(text, 0)?, byte(low, 0))?, seconds * 1_000_000 + micros as i64, zulu))
}

#[cfg(test)]
mod tests {
    use super::{date, decimal, timestamp, whole};
    use proptest::prelude::{prop, proptest};

    proptest! {
        #[test]
        fn whole_numbers_are_what_the_standard_library_reads(text in "[0-9]{1,20}") {
            let expected = if text.len() <= 18 { text.parse().ok() } else { None };
            assert_eq!(whole(text.as_bytes()), expected);
        }

        #[test]
        fn decimals_are_what_the_standard_library_reads(text in "-?[0-9]{1,10}(\\.[0-9]{1,10})?") {
            if let Some(value) = decimal(text.as_bytes()) {
                assert_eq!(value.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
            } else {
                assert!(text.bytes().filter(u8::is_ascii_digit).count() > 15, "{text}");
            }
        }

        #[test]
        fn bytes_that_are_no_digits_are_seen_wherever_they_stand(text in prop::collection::vec(0_u8..=255, 1..19)) {
            assert_eq!(whole(&text).is_some(), text.iter().all(u8::is_ascii_digit), "{text:?}");
        }

        #[test]
        fn one_wrong_byte_is_seen_wherever_it_stands(at in 0_usize..27, byte in 0_u8..=255) {
            let mut text = *b"2021-12-23T10:20:30.123456Z";
            let was = text[at];
            text[at] = byte;
            let fits = match was {
                b'0'..=b'9' => byte.is_ascii_digit(),
                b'T' => matches!(byte, b'T' | b' '),
                was => byte == was,
            };
            if !fits {
                assert_eq!(timestamp(&text), None, "{text:?}");
                if at < 10 {
                    assert_eq!(date(&text[..10]), None);
                }
            }
        }
    }

    #[test]
    fn other_forms_are_left_to_the_long_way() {
        for text in [
            "2021-01-23",
            "2021-01-23T10:20",
            "2021-01-23T24:00:00",
            "2021-01-23T10:60:00",
            "2021-01-23T10:20:60",
            "0000-01-01T00:00:00",
            "2021-02-29T00:00:00",
            "2021-00-01T00:00:00",
            "2021-01-00T00:00:00",
            "2021-13-01T00:00:00",
            "2021-01-23T10:20:30.",
            "2021-01-23T10:20:30.1234567",
            "2021-01-23T10:20:30+01",
            "12021-01-23T10:20:30",
            "",
            "Z",
        ] {
            assert_eq!(timestamp(text.as_bytes()), None, "{text}");
        }
        for text in ["", "2021-1-23", "20210123", "2021-02-29", "2021/01/23", "0000-01-01", "2021-01-234"] {
            assert_eq!(date(text.as_bytes()), None, "{text}");
        }
    }
}
