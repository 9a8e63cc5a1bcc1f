//! Dates and times as the protocol writes them, from numbers, without a formatter.

const MICROS_PER_DAY: i64 = 86_400_000_000;

#[inline]
fn two(out: &mut Vec<u8>, n: u32) {
    out.extend_from_slice(&[b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8]);
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian
/// calendar (Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

/// Appends the date; returns whether the year is before Christ, which goes at the end.
#[inline]
fn date(out: &mut Vec<u8>, days: i64) -> bool {
    let (year, month, day) = civil(days);
    let (year, bc) = if year <= 0 { (1 - year, true) } else { (year, false) };
    if year < 10_000 {
        two(out, year as u32 / 100);
        two(out, year as u32 % 100);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(year).as_bytes());
    }
    out.push(b'-');
    two(out, month);
    out.push(b'-');
    two(out, day);
    bc
}

#[inline]
fn time(out: &mut Vec<u8>, micros: i64) {
    let seconds = (micros / 1_000_000) as u32;
    two(out, seconds / 3_600);
    out.push(b':');
    two(out, seconds / 60 % 60);
    out.push(b':');
    two(out, seconds % 60);
    let fraction = (micros % 1_000_000) as u32;
    if fraction != 0 {
        out.push(b'.');
        two(out, fraction / 10_000);
        two(out, fraction / 100 % 100);
        two(out, fraction % 100);
    }
}

/// Appends `2021-01-23`, or `0044-03-15 BC`. `days` count from 1970-01-01.
pub fn write_date(out: &mut Vec<u8>, days: i32) {
    if date(out, i64::from(days)) {
        out.extend_from_slice(b" BC");
    }
}

/// Appends `10:20:30` or `10:20:30.000001`. `micros` count from midnight; 24:00:00 is allowed.
pub fn write_time(out: &mut Vec<u8>, micros: i64) {
    time(out, micros);
}

/// Appends `2021-01-23T10:20:30.000001Z`, without the `Z` when `utc` is false.
/// `micros` count from 1970-01-01T00:00:00.
#[inline]
pub fn write_timestamp(out: &mut Vec<u8>, micros: i64, utc: bool) {
    let bc = date(out, micros.div_euclid(MICROS_PER_DAY));
    out.push(b'T');
    time(out, micros.rem_euclid(MICROS_PER_DAY));
    if utc {
        out.push(b'Z');
    }
    if bc {
        out.extend_from_slice(b" BC");
    }
}

#[cfg(test)]
mod tests {
    use super::{write_date, write_time, write_timestamp};

    fn text(f: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        f(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writes_dates_on_both_sides_of_every_edge() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (-719_162, "0001-01-01"),
            (-719_163, "0001-12-31 BC"),
            (2_932_896, "9999-12-31"),
            (2_932_897, "10000-01-01"),
        ] {
            assert_eq!(text(|o| write_date(o, days)), expected);
        }
    }

    #[test]
    fn writes_timestamps_and_times() {
        assert_eq!(text(|o| write_timestamp(o, 1, true)), "1970-01-01T00:00:00.000001Z");
        assert_eq!(text(|o| write_timestamp(o, -1, false)), "1969-12-31T23:59:59.999999");
        assert_eq!(text(|o| write_time(o, 86_400_000_000)), "24:00:00");
    }
}
