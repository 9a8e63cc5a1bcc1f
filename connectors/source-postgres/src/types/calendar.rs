//! Dates and times as text, from days and microseconds, by tables and without a formatter.

/// `00` to `99`; and more, so that an index of seven bits needs no check.
pub(super) const PAIRS: [[u8; 2]; 128] = {
    let mut pairs = [[0; 2]; 128];
    let mut n = 0;
    while n < 100 {
        pairs[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        n += 1;
    }
    pairs
};

pub(super) const MICROS_PER_DAY: i64 = 86_400_000_000;

/// 2000-01-01, where the server counts from, in days since 0000-03-01.
const FROM_MARCH_0000: i64 = 730_425;

#[inline]
fn put(text: &mut [u8], at: usize, n: u32) {
    text[at..at + 2].copy_from_slice(&PAIRS[(n & 127) as usize]);
}

/// Year, month and day of a day counted from 2000-01-01, in the proleptic Gregorian calendar.
pub(super) fn civil(day: i32) -> (i64, u32, u32) {
    let day = i64::from(day) + FROM_MARCH_0000;
    let (year, month, in_month) = civil_of(day.rem_euclid(DAYS_OF_400_YEARS) as u32);
    (day.div_euclid(DAYS_OF_400_YEARS) * 400 + i64::from(year), month, in_month)
}

const DAYS_OF_400_YEARS: i64 = 146_097;

/// The same of a day counted from 0000-03-01. Years begin in March here, so that the leap day
/// is the last of its year and the lengths of the months follow a line: 2141/65536 months a
/// day, from which month and day fall out of one product.
#[inline]
fn civil_of(day: u32) -> (u32, u32, u32) {
    let quarter = 4 * day + 3;
    let century = quarter / 146_097;
    let in_century = (quarter % 146_097) | 3;
    let year = 100 * century + in_century / 1_461;
    let in_year = in_century % 1_461 / 4;
    let line = 2_141 * in_year + 197_913;
    let (month, in_month) = (line >> 16, (line & 0xFFFF) / 2_141 + 1);
    if month > 12 { (year + 1, month - 12, in_month) } else { (year, month, in_month) }
}

/// The day, counted from 2000-01-01; `None` when there is none, or it is beyond the server's.
pub(super) fn day_of(year: i64, month: u32, day: u32) -> Option<i32> {
    const LENGTHS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = LENGTHS.get(month.wrapping_sub(1) as usize)? + u32::from(leap && month == 2);
    if day == 0 || day > length || !(-5_000..6_000_000).contains(&year) {
        return None;
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let in_year = i64::from((153 * month + 2) / 5 + day - 1);
    i32::try_from(year * 365 + leaps + in_year - FROM_MARCH_0000).ok()
}

/// `2024-02-29`; `None` for years before Christ or beyond 9999, which are not of this length.
#[inline]
fn ordinary(day: i32) -> Option<[u8; 10]> {
    /// 0001-01-01 to 9999-12-31.
    const DAYS: std::ops::RangeInclusive<i64> = 306..=3_652_364;
    let day = i64::from(day) + FROM_MARCH_0000;
    if !DAYS.contains(&day) {
        return None;
    }
    let (year, month, in_month) = civil_of(day as u32);
    let mut text = *b"0000-00-00";
    put(&mut text, 0, year / 100);
    put(&mut text, 2, year % 100);
    put(&mut text, 5, month);
    put(&mut text, 8, in_month);
    Some(text)
}

/// Appends any date; returns whether ` BC` has to follow.
#[cold]
fn extraordinary(out: &mut Vec<u8>, day: i32) -> bool {
    let (year, month, day) = civil(day);
    let (year, bc) = if year <= 0 { (1 - year, true) } else { (year, false) };
    if year < 1_000 {
        out.extend_from_slice(&b"000"[..if year < 10 { 3 } else { 1 + usize::from(year < 100) }]);
    }
    out.extend_from_slice(itoa::Buffer::new().format(year).as_bytes());
    let mut rest = *b"-00-00";
    put(&mut rest, 1, month);
    put(&mut rest, 4, day);
    out.extend_from_slice(&rest);
    bc
}

/// Appends `"2024-02-29"`; `"0044-03-15 BC"`.
#[inline]
pub(super) fn write_date(out: &mut Vec<u8>, day: i32) {
    if let Some(date) = ordinary(day) {
        let mut text = *b"\"0000-00-00\"";
        text[1..11].copy_from_slice(&date);
        out.extend_from_slice(&text);
        return;
    }
    out.push(b'"');
    if extraordinary(out, day) {
        out.extend_from_slice(b" BC");
    }
    out.push(b'"');
}

/// `10:20:30.123456`
#[inline]
fn clock(micros: u64) -> [u8; 15] {
    let mut text = *b"00:00:00.000000";
    let (seconds, fraction) = ((micros / 1_000_000) as u32, (micros % 1_000_000) as u32);
    put(&mut text, 0, seconds / 3_600);
    put(&mut text, 3, seconds / 60 % 60);
    put(&mut text, 6, seconds % 60);
    put(&mut text, 9, fraction / 10_000);
    put(&mut text, 11, fraction / 100 % 100);
    put(&mut text, 13, fraction % 100);
    text
}

/// How much of [`clock`] is shown: no, three or six decimals as needed; six on the full minute.
#[inline]
fn shown(micros: u64) -> usize {
    if !micros.is_multiple_of(1_000) || micros.is_multiple_of(60_000_000) {
        15
    } else if !micros.is_multiple_of(1_000_000) {
        12
    } else {
        8
    }
}

/// Appends `10:20:30` with as many decimals as [`shown`] says; `micros` since midnight.
#[inline]
pub(super) fn write_clock(out: &mut Vec<u8>, micros: i64) {
    let micros = micros.unsigned_abs();
    if micros >= MICROS_PER_DAY.unsigned_abs() {
        // 24:00:00 is no time of day elsewhere; the last one that can be said is.
        out.extend_from_slice(b"23:59:59.999999999");
    } else {
        out.extend_from_slice(&clock(micros)[..shown(micros)]);
    }
}

/// Appends `"2024-02-29T10:20:30.123456Z"`; `micros` since 2000-01-01T00:00:00.
#[inline]
pub(super) fn write_timestamptz(out: &mut Vec<u8>, micros: i64) {
    let (day, in_day) = split(micros);
    if let Some(date) = ordinary(day) {
        let mut text = *b"\"0000-00-00T00:00:00.000000Z\"";
        text[1..11].copy_from_slice(&date);
        text[12..27].copy_from_slice(&clock(in_day));
        out.extend_from_slice(&text);
        return;
    }
    out.push(b'"');
    let bc = extraordinary(out, day);
    out.push(b'T');
    out.extend_from_slice(&clock(in_day));
    out.extend_from_slice(if bc { b"Z BC\"" } else { b"Z\"" });
}

/// Appends `"2024-02-29T10:20:30"` with as many decimals as [`shown`] says.
#[inline]
pub(super) fn write_timestamp(out: &mut Vec<u8>, micros: i64) {
    let (day, in_day) = split(micros);
    let clock = clock(in_day);
    let clock = &clock[..shown(in_day)];
    if let Some(date) = ordinary(day) {
        let mut text = *b"\"0000-00-00T00:00:00.000000\"";
        text[1..11].copy_from_slice(&date);
        let end = 12 + clock.len();
        text[12..end].copy_from_slice(clock);
        text[end] = b'"';
        out.extend_from_slice(&text[..=end]);
        return;
    }
    out.push(b'"');
    let bc = extraordinary(out, day);
    out.push(b'T');
    out.extend_from_slice(clock);
    out.extend_from_slice(if bc { b" BC\"" } else { b"\"" });
}

/// Day and microseconds of the day. 64 bits of microseconds are 107 million days.
#[inline]
fn split(micros: i64) -> (i32, u64) {
    (micros.div_euclid(MICROS_PER_DAY) as i32, micros.rem_euclid(MICROS_PER_DAY).unsigned_abs())
}
