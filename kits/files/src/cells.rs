//! One text cell, written into a row as the type that the catalog gives its column.

use connector_kit::protocol::json;
use connector_kit::{FieldType, Row};

use crate::infer::{self, Stamp, Zone};
use crate::options::Options;

/// Writes `text`, or returns `false` and writes nothing when it is no value of the type.
#[inline]
pub(crate) fn write(
    row: &mut Row<'_>,
    column: usize,
    field_type: FieldType,
    text: &str,
    options: &Options,
) -> bool {
    let bytes = text.as_bytes();
    match field_type {
        FieldType::String | FieldType::Union => row.string(column, text),
        FieldType::Integer if infer::is_integer(bytes) => row.number(column, bytes),
        FieldType::Number if infer::is_number(bytes) => row.number(column, bytes),
        FieldType::Boolean => match truth(text, options) {
            Some(value) => row.boolean(column, value),
            None => return false,
        },
        FieldType::Date if infer::is_date(bytes) => row.plain(column, bytes),
        FieldType::TimestampWithTimezone | FieldType::TimestampWithoutTimezone => {
            let zoned = field_type == FieldType::TimestampWithTimezone;
            match Stamp::parse(bytes) {
                Some(stamp) if (stamp.zone != Zone::None) == zoned => {
                    row.quoted(column, |out| stamp.write(out))
                }
                _ => return false,
            }
        }
        FieldType::TimeWithTimezone if infer::is_time(bytes, true) => row.plain(column, bytes),
        FieldType::TimeWithoutTimezone if infer::is_time(bytes, false) => row.plain(column, bytes),
        FieldType::Object if is_json(bytes, b'{') => row.json(column, bytes),
        FieldType::Array if is_json(bytes, b'[') => row.json(column, bytes),
        _ => return false,
    }
    true
}

#[inline]
fn truth(text: &str, options: &Options) -> Option<bool> {
    let Some((yes, no)) = &options.booleans else { return infer::boolean(text.as_bytes()) };
    if yes.iter().any(|word| word.eq_ignore_ascii_case(text)) {
        return Some(true);
    }
    no.iter().any(|word| word.eq_ignore_ascii_case(text)).then_some(false)
}

/// Writes text in which every `"` stands twice, as CSV has it, as a JSON string. A pair
/// takes as many bytes as the escape it becomes, so this is a copy and a touch-up.
#[inline]
pub(crate) fn write_doubled(row: &mut Row<'_>, column: usize, text: &str) {
    let bytes = text.as_bytes();
    if bytes.iter().fold(false, |found, &b| found | (b < 0x20) | (b == b'\\')) {
        return row.string(column, &text.replace("\"\"", "\""));
    }
    row.quoted(column, |out| {
        let from = out.len();
        out.extend_from_slice(bytes);
        let mut pairs = out[from..].iter_mut();
        while let Some(byte) = pairs.next() {
            if *byte == b'"' {
                *byte = b'\\';
                pairs.next();
            }
        }
    });
}

/// Whether the text is one JSON value that opens with `open`, and safe on one line.
fn is_json(bytes: &[u8], open: u8) -> bool {
    bytes.first() == Some(&open)
        && json::skip_value(bytes, 0) == Ok(bytes.len())
        && !bytes.contains(&b'\n')
        && !bytes.contains(&b'\r')
}
