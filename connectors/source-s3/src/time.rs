//! Points in time, as the state and the config write them: microseconds since 1970, UTC.

const MICROS: i64 = 1_000_000;
const DAY: i64 = 86_400 * MICROS;

/// `2026-01-31T10:20:30.000000Z`.
pub(crate) fn format(micros: i64) -> String {
    let mut out = Vec::new();
    connector_kit::write_timestamp(&mut out, micros.div_euclid(MICROS) * MICROS, false);
    let whole = String::from_utf8(out).unwrap_or_default();
    let seconds = whole.get(..19).unwrap_or(&whole);
    format!("{seconds}.{:06}Z", micros.rem_euclid(MICROS))
}

/// The same, and with fewer digits behind the point, or none, or a date alone.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let text = text.trim().trim_end_matches(['Z', 'z']);
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    let mut parts = date.split('-').map(str::parse::<i64>);
    let (year, month, day) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    if parts.next().is_some()
        || !(1..=9999).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
    {
        return None;
    }
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = clock.split(':').map(str::parse::<i64>);
    let (hour, minute, second) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    if parts.next().is_some()
        || !(0..24).contains(&hour)
        || !(0..60).contains(&minute)
        || !(0..61).contains(&second)
    {
        return None;
    }
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let micros: i64 = digits.parse().ok()?;
    Some(days(year, month, day) * DAY + (hour * 3_600 + minute * 60 + second) * MICROS + micros)
}

/// Days from 1970 to a day of the Gregorian calendar, by eras of 400 years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::{format, parse};

    #[test]
    fn what_is_written_reads_back() {
        for text in [
            "1970-01-01T00:00:00.000000Z",
            "2026-02-28T23:59:59.999999Z",
            "2024-02-29T00:00:00.000001Z",
            "1969-12-31T23:59:59.500000Z",
            "0001-01-01T00:00:00.000000Z",
        ] {
            assert_eq!(parse(text).map(format).as_deref(), Some(text));
        }
        assert_eq!(parse("2026-01-31"), parse("2026-01-31T00:00:00Z"));
        assert_eq!(parse("2026-01-31T10:00:00.5Z"), parse("2026-01-31T10:00:00.500000Z"));
        for bad in ["", "2026-13-01T00:00:00Z", "soon", "2026-01-31T25:00:00Z", "2026-01-31T10:00:00.xZ"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
