//! A cell as a literal of SQL.

use connector_kit::{write_date, write_time};

use crate::cells::Cell;
use crate::types::ColumnType;

const MILLIS_PER_DAY: i64 = 86_400_000;
/// Text longer than this is not cast to VARCHAR, which would have 65,536 characters.
pub(crate) const LONG_TEXT: usize = 60_000;

/// Appends a value of a column. With `typed` it says its type, as the first row of several must: Dremio would have to
/// find a type for NULL, and would pad short strings to the longest one's length.
pub(crate) fn write_literal(out: &mut Vec<u8>, cell: &Cell<'_>, column: ColumnType, typed: bool) {
    // The types of these three stand in the literal itself.
    let says_itself = matches!(cell, Cell::Date(_) | Cell::Time(_) | Cell::Timestamp(_));
    let is_long = matches!(cell, Cell::Text(text) if text.len() > LONG_TEXT);
    if !typed || says_itself || is_long {
        return write(out, cell);
    }
    out.extend_from_slice(b"CAST(");
    write(out, cell);
    out.extend_from_slice(b" AS ");
    out.extend_from_slice(column.sql().as_bytes());
    out.push(b')');
}

fn write(out: &mut Vec<u8>, cell: &Cell<'_>) {
    match cell {
        Cell::Null => out.extend_from_slice(b"NULL"),
        Cell::Bool(b) => out.extend_from_slice(if *b { b"TRUE" } else { b"FALSE" }),
        // Without its sign it is one more than the largest.
        Cell::Integer(i64::MIN) => out.extend_from_slice(b"CAST('-9223372036854775808' AS BIGINT)"),
        Cell::Integer(n) => out.extend_from_slice(n.to_string().as_bytes()),
        // The shortest text that is this number again; without the exponent it would be a DECIMAL of at most 38 digits.
        Cell::Double(n) => out.extend_from_slice(format!("{n:E}").as_bytes()),
        Cell::Date(days) => {
            out.extend_from_slice(b"DATE '");
            write_date(out, *days);
            out.push(b'\'');
        }
        Cell::Time(millis) => {
            out.extend_from_slice(b"TIME '");
            write_time_of_day(out, i64::from(*millis));
            out.push(b'\'');
        }
        Cell::Timestamp(millis) => {
            out.extend_from_slice(b"TIMESTAMP '");
            write_date(out, i32::try_from(millis.div_euclid(MILLIS_PER_DAY)).unwrap_or_default());
            out.push(b' ');
            write_time_of_day(out, millis.rem_euclid(MILLIS_PER_DAY));
            out.push(b'\'');
        }
        Cell::Text(text) => {
            // The apostrophe is doubled, and nothing else has a meaning.
            out.push(b'\'');
            for part in text.split_inclusive(|byte| *byte == b'\'') {
                out.extend_from_slice(part);
                if part.last() == Some(&b'\'') {
                    out.push(b'\'');
                }
            }
            out.push(b'\'');
        }
    }
}

fn write_time_of_day(out: &mut Vec<u8>, millis: i64) {
    write_time(out, millis / 1_000 * 1_000_000);
    out.extend_from_slice(format!(".{:03}", millis % 1_000).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::write_literal;
    use crate::cells::{Kept, cell};
    use crate::types::ColumnType;
    use connector_kit::FieldType;
    use connector_kit::protocol::ChangeReason;
    use connector_kit::protocol::json::value_at;
    use proptest::prelude::{any, proptest};

    const TOO_LARGE: ChangeReason = ChangeReason::DestinationFieldSizeLimitation;
    const WRONG: ChangeReason = ChangeReason::DestinationSerializationError;

    /// In no first row, and with a limit for texts that none of the short ones here meets.
    const PLAIN: (bool, usize) = (false, 100);

    fn literal(
        field: FieldType,
        json: &str,
        (typed, longest): (bool, usize),
    ) -> Result<(String, Kept), ChangeReason> {
        let mut out = Vec::new();
        let (cell, kept) = cell(field, value_at(json.as_bytes(), 0).unwrap().0, longest)?;
        write_literal(&mut out, &cell, ColumnType::of(field), typed);
        Ok((String::from_utf8(out).unwrap(), kept))
    }

    #[test]
    fn dw_11_every_type_has_a_literal_and_what_does_not_fit_is_null() {
        use FieldType::{
            Boolean, Date, Integer, Number, Object, String, TimeWithTimezone, TimeWithoutTimezone,
            TimestampWithTimezone, TimestampWithoutTimezone, Union,
        };
        for (field, json, expected) in [
            (Integer, "9223372036854775807", Ok("9223372036854775807")),
            (Integer, "-9223372036854775808", Ok("CAST('-9223372036854775808' AS BIGINT)")),
            (Integer, "9223372036854775808", Err(TOO_LARGE)),
            (Number, "0.1", Ok("1E-1")),
            (Number, "123456.789", Ok("1.23456789E5")),
            (Number, "0", Ok("0E0")),
            (Number, "1e400", Err(TOO_LARGE)),
            (Number, "12345678901234567.89", Err(TOO_LARGE)),
            (Number, "\"NaN\"", Err(WRONG)),
            (Boolean, "true", Ok("TRUE")),
            (String, "\"it's \\\\ \\\"\"", Ok("'it''s \\ \"'")),
            (String, "1.50", Ok("'1.50'")),
            (Date, "\"2024-02-29\"", Ok("DATE '2024-02-29'")),
            (Date, "\"12024-02-29\"", Err(TOO_LARGE)),
            (Date, "\"0044-03-15 BC\"", Err(TOO_LARGE)),
            (
                TimestampWithTimezone,
                "\"2024-01-01T01:00:00.5+01:00\"",
                Ok("TIMESTAMP '2024-01-01 00:00:00.500'"),
            ),
            (
                TimestampWithoutTimezone,
                "\"1969-12-31T23:59:59.999\"",
                Ok("TIMESTAMP '1969-12-31 23:59:59.999'"),
            ),
            (TimeWithoutTimezone, "\"10:20:30.25\"", Ok("TIME '10:20:30.250'")),
            (TimeWithoutTimezone, "\"24:00:00\"", Err(TOO_LARGE)),
            (TimeWithTimezone, "\"10:20:30+01:00\"", Ok("'10:20:30+01:00'")),
            (Object, "{\"a\":\"o'x\"}", Ok("'{\"a\":\"o''x\"}'")),
            (Union, "\"x\"", Ok("'\"x\"'")),
            (Union, "null", Ok("NULL")),
            (String, "null", Ok("NULL")),
        ] {
            let written = literal(field, json, PLAIN);
            assert_eq!(written, expected.map(|text| (text.to_owned(), Kept::Whole)), "{field:?} {json}");
        }
    }

    #[test]
    fn dw_11_what_is_finer_than_a_millisecond_is_cut_and_said() {
        for (field, json, expected) in [
            (
                FieldType::TimestampWithTimezone,
                "\"2024-01-01T00:00:00.123456Z\"",
                "TIMESTAMP '2024-01-01 00:00:00.123'",
            ),
            (
                FieldType::TimestampWithTimezone,
                "\"1969-12-31T23:59:59.999999Z\"",
                "TIMESTAMP '1969-12-31 23:59:59.999'",
            ),
            (FieldType::TimeWithoutTimezone, "\"00:00:00.000001\"", "TIME '00:00:00.000'"),
        ] {
            assert_eq!(
                literal(field, json, PLAIN),
                Ok((expected.to_owned(), Kept::Part(TOO_LARGE))),
                "{json}"
            );
        }
        assert_eq!(
            literal(FieldType::String, "\"a\\u0000b\"", PLAIN),
            Ok(("'a\u{fffd}b'".into(), Kept::Part(WRONG)))
        );
    }

    #[test]
    fn the_first_row_says_every_values_type() {
        let typed = (true, 1 << 20);
        for (field, json, expected) in [
            (FieldType::Integer, "1", "CAST(1 AS BIGINT)"),
            (FieldType::String, "\"x\"", "CAST('x' AS VARCHAR)"),
            (FieldType::Date, "null", "CAST(NULL AS DATE)"),
            (FieldType::Date, "\"2024-01-01\"", "DATE '2024-01-01'"),
        ] {
            assert_eq!(literal(field, json, typed).unwrap().0, expected);
        }
        let long = format!("\"{}\"", "x".repeat(100_000));
        assert!(
            literal(FieldType::String, &long, typed).unwrap().0.starts_with("'xx"),
            "a cast would cut it"
        );
        assert_eq!(literal(FieldType::String, &long, PLAIN), Err(TOO_LARGE));
    }

    proptest! {
        #[test]
        fn no_text_leaves_its_literal(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            let (sql, _) = literal(FieldType::String, &json, (false, usize::MAX)).unwrap();
            let inner = sql.strip_prefix('\'').unwrap().strip_suffix('\'').unwrap();
            assert_eq!(inner.replace("''", "").matches('\'').count(), 0);
            assert_eq!(inner.replace("''", "'"), text.replace('\0', "\u{fffd}"));
        }

        #[test]
        fn every_double_is_written_so_that_it_reads_back(bits in any::<u64>()) {
            let number = f64::from_bits(bits);
            if number.is_finite() {
                let (sql, _) = literal(FieldType::Number, &serde_json::to_string(&number).unwrap(), PLAIN).unwrap();
                assert!(sql.contains('E'));
                assert_eq!(sql.parse::<f64>().unwrap(), number);
            }
        }
    }
}
