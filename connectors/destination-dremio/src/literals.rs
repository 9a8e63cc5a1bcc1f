//! One value to one SQL literal. What does not fit its column becomes NULL, what fits only in part loses the rest, and
//! both are said.

use connector_kit::protocol::ChangeReason;
use connector_kit::protocol::json::Token;
use connector_kit::values::{self, Value};
use connector_kit::{FieldType, write_date, write_time};

use crate::types::ColumnType;

const TOO_LARGE: ChangeReason = ChangeReason::DestinationFieldSizeLimitation;
const WRONG: ChangeReason = ChangeReason::DestinationSerializationError;
const MICROS_PER_DAY: i64 = 86_400_000_000;
/// 0001-01-01 and 9999-12-31, in days since 1970: what a date in SQL can say.
const DAYS: std::ops::RangeInclusive<i64> = -719_162..=2_932_896;
/// Text longer than this is not cast to VARCHAR, which would have 65,536 characters.
pub(crate) const LONG_TEXT: usize = 60_000;

/// How a value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Whole,
    Part(ChangeReason),
}

/// What else bears on how values are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// Say each value's type, as the first row of several must: Dremio would find a type for NULL, and pad short
    /// strings to the longest one's length.
    pub(crate) typed: bool,
    /// Text of more bytes is too large.
    pub(crate) longest_text: usize,
}

/// Appends a value of a field.
pub(crate) fn write_value(
    out: &mut Vec<u8>,
    field: FieldType,
    token: Token<'_>,
    form: Form,
) -> Result<Kept, ChangeReason> {
    let column = ColumnType::of(field);
    let value = values::convert(field, token)?;
    if value == Value::Null {
        write_null(out, column, form);
        return Ok(Kept::Whole);
    }
    let start = out.len();
    // The types of these three stand in the literal itself.
    let is_cast =
        form.typed && !matches!(column, ColumnType::Date | ColumnType::Time | ColumnType::Timestamp);
    if is_cast {
        out.extend_from_slice(b"CAST(");
    }
    let kept = write(out, value, form)?;
    if is_cast {
        if out.len() - start > LONG_TEXT {
            out.drain(start..start + 5);
        } else {
            write_type(out, column);
        }
    }
    Ok(kept)
}

/// Appends NULL.
pub(crate) fn write_null(out: &mut Vec<u8>, column: ColumnType, form: Form) {
    if form.typed {
        out.extend_from_slice(b"CAST(NULL");
        write_type(out, column);
    } else {
        out.extend_from_slice(b"NULL");
    }
}

fn write_type(out: &mut Vec<u8>, column: ColumnType) {
    out.extend_from_slice(b" AS ");
    out.extend_from_slice(column.sql().as_bytes());
    out.push(b')');
}

fn write(out: &mut Vec<u8>, value: Value<'_>, form: Form) -> Result<Kept, ChangeReason> {
    match value {
        Value::Null => {}
        Value::Bool(b) => out.extend_from_slice(if b { b"TRUE" } else { b"FALSE" }),
        // Without its sign it is one more than the largest.
        Value::Integer(i64::MIN) => out.extend_from_slice(b"CAST('-9223372036854775808' AS BIGINT)"),
        Value::Integer(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Value::Number(digits) => return write_double(out, digits),
        Value::Date(days) => {
            if !DAYS.contains(&i64::from(days)) {
                return Err(TOO_LARGE);
            }
            out.extend_from_slice(b"DATE '");
            write_date(out, days);
            out.push(b'\'');
        }
        Value::Time(micros) => {
            // 24:00 is the next day's.
            if micros >= MICROS_PER_DAY {
                return Err(TOO_LARGE);
            }
            out.extend_from_slice(b"TIME '");
            write_millis(out, micros);
            out.push(b'\'');
            return Ok(millis_of(micros));
        }
        Value::Timestamp(micros) => {
            let days = micros.div_euclid(MICROS_PER_DAY);
            if !DAYS.contains(&days) {
                return Err(TOO_LARGE);
            }
            out.extend_from_slice(b"TIMESTAMP '");
            write_date(out, i32::try_from(days).map_err(|_| TOO_LARGE)?);
            out.push(b' ');
            write_millis(out, micros.rem_euclid(MICROS_PER_DAY));
            out.push(b'\'');
            return Ok(millis_of(micros));
        }
        Value::Text(text) => {
            let mut unescaped = Vec::with_capacity(text.raw().len());
            let whole = text.unescape_into(&mut unescaped);
            let kept = write_text(out, &unescaped, form)?;
            return Ok(if whole { kept } else { Kept::Part(WRONG) });
        }
        Value::PlainText(text) => return write_text(out, text, form),
        Value::Json(token) => return write_json(out, token, form),
    }
    Ok(Kept::Whole)
}

/// Dremio's TIME and TIMESTAMP have milliseconds.
fn millis_of(micros: i64) -> Kept {
    if micros.rem_euclid(1_000) == 0 { Kept::Whole } else { Kept::Part(TOO_LARGE) }
}

fn write_millis(out: &mut Vec<u8>, micros: i64) {
    let millis = micros / 1_000 % 1_000;
    write_time(out, micros - micros % 1_000_000);
    out.extend_from_slice(format!(".{millis:03}").as_bytes());
}

/// With an exponent, or it would be a DECIMAL of at most 38 digits.
fn write_double(out: &mut Vec<u8>, digits: &[u8]) -> Result<Kept, ChangeReason> {
    let number = values::exact_f64(digits).ok_or(TOO_LARGE)?;
    // The shortest text that is this number again.
    out.extend_from_slice(format!("{number:E}").as_bytes());
    Ok(Kept::Whole)
}

fn write_json(out: &mut Vec<u8>, token: Token<'_>, form: Form) -> Result<Kept, ChangeReason> {
    match token {
        Token::Str(text) => {
            let mut json = Vec::with_capacity(text.raw().len() + 2);
            json.push(b'"');
            json.extend_from_slice(text.raw());
            json.push(b'"');
            write_text(out, &json, form)
        }
        Token::Number(json) | Token::Array(json) | Token::Object(json) => write_text(out, json, form),
        Token::Bool(b) => write_text(out, if b { b"true" } else { b"false" }, form),
        Token::Null => write_text(out, b"null", form),
    }
}

/// Appends text as a literal: the apostrophe is doubled, and nothing else has a meaning in it. A NUL, which ends text
/// in some of what reads tables, becomes U+FFFD.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &[u8], form: Form) -> Result<Kept, ChangeReason> {
    if text.len() > form.longest_text {
        return Err(TOO_LARGE);
    }
    out.push(b'\'');
    let mut kept = Kept::Whole;
    for byte in text {
        match byte {
            b'\'' => out.extend_from_slice(b"''"),
            0 => {
                out.extend_from_slice("\u{fffd}".as_bytes());
                kept = Kept::Part(WRONG);
            }
            byte => out.push(*byte),
        }
    }
    out.push(b'\'');
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::{Form, Kept, TOO_LARGE, WRONG, write_value};
    use connector_kit::FieldType;
    use connector_kit::protocol::ChangeReason;
    use connector_kit::protocol::json::value_at;
    use proptest::prelude::{any, proptest};

    const PLAIN: Form = Form { typed: false, longest_text: 100 };

    fn literal(field: FieldType, json: &str, form: Form) -> Result<(String, Kept), ChangeReason> {
        let mut out = Vec::new();
        let kept = write_value(&mut out, field, value_at(json.as_bytes(), 0).unwrap().0, form)?;
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
        let typed = Form { typed: true, longest_text: 1 << 20 };
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
            let form = Form { typed: false, longest_text: usize::MAX };
            let (sql, _) = literal(FieldType::String, &json, form).unwrap();
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
