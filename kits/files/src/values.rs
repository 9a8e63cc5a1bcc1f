//! Arrow values as JSON text: one type table, for columns and for what is nested in them.
//! Digits stay exact; what JSON has no type for becomes text.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType,
    Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, ListArray, MapArray, PrimitiveArray,
    StringArray, StructArray,
};
use arrow_schema::{DataType, TimeUnit};
use connector_kit::protocol::json;
use connector_kit::{FieldType, write_date, write_time, write_timestamp};

const MILLIS_PER_DAY: i64 = 86_400_000;

/// The field type of a top-level column; `None` when we cannot write it.
pub(crate) fn field_type(data_type: &DataType) -> Option<FieldType> {
    Some(match data_type {
        DataType::Boolean => FieldType::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => FieldType::Integer,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => FieldType::Integer,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => FieldType::Number,
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => FieldType::Number,
        DataType::Utf8 | DataType::Binary | DataType::FixedSizeBinary(_) | DataType::Null => {
            FieldType::String
        }
        DataType::Date32 | DataType::Date64 => FieldType::Date,
        DataType::Time32(_) | DataType::Time64(_) => FieldType::TimeWithoutTimezone,
        DataType::Timestamp(_, Some(_)) => FieldType::TimestampWithTimezone,
        DataType::Timestamp(_, None) => FieldType::TimestampWithoutTimezone,
        DataType::Struct(fields) => {
            fields.iter().all(|f| field_type(f.data_type()).is_some()).then_some(FieldType::Object)?
        }
        DataType::List(item) => field_type(item.data_type()).map(|_| FieldType::Array)?,
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                field_type(pair[1].data_type())?;
                if pair[0].data_type() == &DataType::Utf8 {
                    FieldType::Object
                } else {
                    field_type(pair[0].data_type()).map(|_| FieldType::Array)?
                }
            }
            _ => return None,
        },
        _ => return None,
    })
}

/// Whether values of this type are exact numbers with places after the point.
pub(crate) fn is_decimal(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
    )
}

/// One array, its type found out once.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    array: &'a dyn Array,
    kind: Kind<'a>,
}

#[derive(Debug)]
enum Kind<'a> {
    Null,
    Boolean(&'a BooleanArray),
    Int8(&'a PrimitiveArray<Int8Type>),
    Int16(&'a PrimitiveArray<Int16Type>),
    Int32(&'a PrimitiveArray<Int32Type>),
    Int64(&'a PrimitiveArray<Int64Type>),
    UInt8(&'a PrimitiveArray<UInt8Type>),
    UInt16(&'a PrimitiveArray<UInt16Type>),
    UInt32(&'a PrimitiveArray<UInt32Type>),
    UInt64(&'a PrimitiveArray<UInt64Type>),
    Float16(&'a PrimitiveArray<Float16Type>),
    Float32(&'a PrimitiveArray<Float32Type>),
    Float64(&'a PrimitiveArray<Float64Type>),
    Decimal32(&'a PrimitiveArray<Decimal32Type>, i8),
    Decimal64(&'a PrimitiveArray<Decimal64Type>, i8),
    Decimal128(&'a PrimitiveArray<Decimal128Type>, i8),
    Decimal256(&'a PrimitiveArray<Decimal256Type>, i8),
    Text(&'a StringArray),
    Binary(&'a BinaryArray),
    Fixed(&'a FixedSizeBinaryArray, bool),
    Date32(&'a PrimitiveArray<Date32Type>),
    Date64(&'a PrimitiveArray<Date64Type>),
    TimeSeconds(&'a PrimitiveArray<Time32SecondType>),
    TimeMillis(&'a PrimitiveArray<Time32MillisecondType>),
    TimeMicros(&'a PrimitiveArray<Time64MicrosecondType>),
    TimeNanos(&'a PrimitiveArray<Time64NanosecondType>),
    Seconds(&'a PrimitiveArray<TimestampSecondType>, bool),
    Millis(&'a PrimitiveArray<TimestampMillisecondType>, bool),
    Micros(&'a PrimitiveArray<TimestampMicrosecondType>, bool),
    Nanos(&'a PrimitiveArray<TimestampNanosecondType>, bool),
    Struct(Vec<(String, Values<'a>)>),
    List(&'a ListArray, Box<Values<'a>>),
    /// Keys, values, and whether the keys are text.
    Map(&'a MapArray, Box<(Values<'a>, Values<'a>)>, bool),
}

impl<'a> Values<'a> {
    /// `None` when [`field_type`] is.
    pub(crate) fn of(array: &'a dyn Array, uuid: bool) -> Option<Self> {
        let kind = match array.data_type() {
            DataType::Null => Kind::Null,
            DataType::Boolean => Kind::Boolean(array.as_boolean()),
            DataType::Int8 => Kind::Int8(array.as_primitive()),
            DataType::Int16 => Kind::Int16(array.as_primitive()),
            DataType::Int32 => Kind::Int32(array.as_primitive()),
            DataType::Int64 => Kind::Int64(array.as_primitive()),
            DataType::UInt8 => Kind::UInt8(array.as_primitive()),
            DataType::UInt16 => Kind::UInt16(array.as_primitive()),
            DataType::UInt32 => Kind::UInt32(array.as_primitive()),
            DataType::UInt64 => Kind::UInt64(array.as_primitive()),
            DataType::Float16 => Kind::Float16(array.as_primitive()),
            DataType::Float32 => Kind::Float32(array.as_primitive()),
            DataType::Float64 => Kind::Float64(array.as_primitive()),
            DataType::Decimal32(_, scale) => Kind::Decimal32(array.as_primitive(), *scale),
            DataType::Decimal64(_, scale) => Kind::Decimal64(array.as_primitive(), *scale),
            DataType::Decimal128(_, scale) => Kind::Decimal128(array.as_primitive(), *scale),
            DataType::Decimal256(_, scale) => Kind::Decimal256(array.as_primitive(), *scale),
            DataType::Utf8 => Kind::Text(array.as_string()),
            DataType::Binary => Kind::Binary(array.as_binary()),
            DataType::FixedSizeBinary(size) => Kind::Fixed(array.as_fixed_size_binary(), uuid && *size == 16),
            DataType::Date32 => Kind::Date32(array.as_primitive()),
            DataType::Date64 => Kind::Date64(array.as_primitive()),
            DataType::Time32(TimeUnit::Second) => Kind::TimeSeconds(array.as_primitive()),
            DataType::Time32(_) => Kind::TimeMillis(array.as_primitive()),
            DataType::Time64(TimeUnit::Nanosecond) => Kind::TimeNanos(array.as_primitive()),
            DataType::Time64(_) => Kind::TimeMicros(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Second, zone) => {
                Kind::Seconds(array.as_primitive(), zone.is_some())
            }
            DataType::Timestamp(TimeUnit::Millisecond, zone) => {
                Kind::Millis(array.as_primitive(), zone.is_some())
            }
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                Kind::Micros(array.as_primitive(), zone.is_some())
            }
            DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
                Kind::Nanos(array.as_primitive(), zone.is_some())
            }
            DataType::Struct(fields) => {
                let columns: &'a StructArray = array.as_struct();
                let one =
                    |(name, column): (String, &'a ArrayRef)| Some((name, Self::of(column.as_ref(), false)?));
                Kind::Struct(
                    fields
                        .iter()
                        .map(|f| f.name().clone())
                        .zip(columns.columns())
                        .map(one)
                        .collect::<Option<_>>()?,
                )
            }
            DataType::List(_) => {
                let list: &'a ListArray = array.as_list();
                Kind::List(list, Box::new(Self::of(list.values().as_ref(), false)?))
            }
            DataType::Map(..) => {
                let map: &'a MapArray = array.as_map();
                let pair = (Self::of(map.keys().as_ref(), false)?, Self::of(map.values().as_ref(), false)?);
                let text = matches!(pair.0.kind, Kind::Text(_));
                Kind::Map(map, Box::new(pair), text)
            }
            _ => return None,
        };
        Some(Self { array, kind })
    }

    pub(crate) fn is_null(&self, i: usize) -> bool {
        matches!(self.kind, Kind::Null) || self.array.is_null(i)
    }

    /// The value, when it is text already.
    pub(crate) fn text(&self, i: usize) -> Option<&'a str> {
        match self.kind {
            Kind::Text(a) => Some(a.value(i)),
            _ => None,
        }
    }

    /// Appends value `i`, which is not null, as JSON; `false` when JSON cannot say it.
    pub(crate) fn write(&self, i: usize, out: &mut Vec<u8>) -> bool {
        match &self.kind {
            Kind::Null => out.extend_from_slice(b"null"),
            Kind::Boolean(a) => out.extend_from_slice(if a.value(i) { b"true" } else { b"false" }),
            Kind::Int8(a) => integer(out, a.value(i)),
            Kind::Int16(a) => integer(out, a.value(i)),
            Kind::Int32(a) => integer(out, a.value(i)),
            Kind::Int64(a) => integer(out, a.value(i)),
            Kind::UInt8(a) => integer(out, a.value(i)),
            Kind::UInt16(a) => integer(out, a.value(i)),
            Kind::UInt32(a) => integer(out, a.value(i)),
            Kind::UInt64(a) => integer(out, a.value(i)),
            Kind::Float16(a) => return float32(out, a.value(i).to_f32()),
            Kind::Float32(a) => return float32(out, a.value(i)),
            Kind::Float64(a) => {
                let value = a.value(i);
                if !value.is_finite() {
                    return false;
                }
                out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
            }
            Kind::Decimal32(a, scale) => decimal(out, itoa::Buffer::new().format(a.value(i)), *scale),
            Kind::Decimal64(a, scale) => decimal(out, itoa::Buffer::new().format(a.value(i)), *scale),
            Kind::Decimal128(a, scale) => decimal(out, itoa::Buffer::new().format(a.value(i)), *scale),
            Kind::Decimal256(a, scale) => decimal(out, &a.value(i).to_string(), *scale),
            Kind::Text(a) => json::write_str(out, a.value(i)),
            Kind::Binary(a) => quoted(out, |out| base64(out, a.value(i))),
            Kind::Fixed(a, false) => quoted(out, |out| base64(out, a.value(i))),
            Kind::Fixed(a, true) => quoted(out, |out| uuid(out, a.value(i))),
            Kind::Date32(a) => quoted(out, |out| write_date(out, a.value(i))),
            Kind::Date64(a) => match i32::try_from(a.value(i).div_euclid(MILLIS_PER_DAY)) {
                Ok(days) => quoted(out, |out| write_date(out, days)),
                Err(_) => return false,
            },
            Kind::TimeSeconds(a) => return time(out, i64::from(a.value(i)) * 1_000_000_000),
            Kind::TimeMillis(a) => return time(out, i64::from(a.value(i)) * 1_000_000),
            Kind::TimeMicros(a) => {
                return a.value(i).checked_mul(1_000).is_some_and(|nanos| time(out, nanos));
            }
            Kind::TimeNanos(a) => return time(out, a.value(i)),
            Kind::Seconds(a, utc) => return timestamp(out, a.value(i), 1, *utc),
            Kind::Millis(a, utc) => return timestamp(out, a.value(i), 1_000, *utc),
            Kind::Micros(a, utc) => return timestamp(out, a.value(i), 1_000_000, *utc),
            Kind::Nanos(a, utc) => return timestamp(out, a.value(i), 1_000_000_000, *utc),
            Kind::Struct(fields) => {
                out.push(b'{');
                for (n, (name, values)) in fields.iter().enumerate() {
                    separate(out, n);
                    json::write_str(out, name);
                    out.push(b':');
                    values.nested(i, out);
                }
                out.push(b'}');
            }
            Kind::List(a, values) => {
                out.push(b'[');
                for (n, at) in range(a.value_offsets(), i).enumerate() {
                    separate(out, n);
                    values.nested(at, out);
                }
                out.push(b']');
            }
            Kind::Map(a, pair, text) => {
                out.push(if *text { b'{' } else { b'[' });
                for (n, at) in range(a.value_offsets(), i).enumerate() {
                    separate(out, n);
                    if !*text {
                        out.extend_from_slice(b"{\"key\":");
                    }
                    pair.0.nested(at, out);
                    out.extend_from_slice(if *text { b":" } else { b",\"value\":" });
                    pair.1.nested(at, out);
                    if !*text {
                        out.push(b'}');
                    }
                }
                out.push(if *text { b'}' } else { b']' });
            }
        }
        true
    }

    /// As part of a container, where a null cannot be reported: what is no number is said in words.
    pub(crate) fn nested(&self, i: usize, out: &mut Vec<u8>) {
        if self.is_null(i) {
            out.extend_from_slice(b"null");
        } else if !self.write(i, out) {
            let words = match &self.kind {
                Kind::Float16(a) => a.value(i).to_f32().to_string(),
                Kind::Float32(a) => a.value(i).to_string(),
                Kind::Float64(a) => a.value(i).to_string(),
                _ => "out of range".to_owned(),
            };
            json::write_str(out, &words);
        }
    }
}

fn range(offsets: &[i32], i: usize) -> std::ops::Range<usize> {
    let at = |i: usize| usize::try_from(offsets[i]).unwrap_or(0);
    at(i)..at(i + 1)
}

fn separate(out: &mut Vec<u8>, n: usize) {
    if n > 0 {
        out.push(b',');
    }
}

fn integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn float32(out: &mut Vec<u8>, value: f32) -> bool {
    if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    }
    value.is_finite()
}

/// `12345` at scale 2 is `123.45`, at scale -2 `1234500`.
pub(crate) fn decimal(out: &mut Vec<u8>, digits: &str, scale: i8) {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |d| ("-", d));
    out.extend_from_slice(sign.as_bytes());
    let places = usize::from(scale.unsigned_abs());
    if scale <= 0 {
        out.extend_from_slice(digits.as_bytes());
        if digits != "0" {
            out.resize(out.len() + places, b'0');
        }
    } else if digits.len() > places {
        let (whole, fraction) = digits.split_at(digits.len() - places);
        out.extend_from_slice(whole.as_bytes());
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + places - digits.len(), b'0');
        out.extend_from_slice(digits.as_bytes());
    }
}

pub(crate) fn quoted(out: &mut Vec<u8>, f: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    f(out);
    out.push(b'"');
}

/// Appends what `f` writes for microseconds, and the three digits below them if there are any.
fn with_nanos(out: &mut Vec<u8>, nanos: i64, f: impl FnOnce(&mut Vec<u8>, i64)) {
    let below = nanos.rem_euclid(1_000);
    if below == 0 {
        return f(out, nanos.div_euclid(1_000));
    }
    // With whole seconds no fraction is written, so that all nine digits can follow.
    let fraction = nanos.rem_euclid(1_000_000_000);
    f(out, nanos.div_euclid(1_000_000_000) * 1_000_000);
    out.extend_from_slice(format!(".{fraction:09}").as_bytes());
}

pub(crate) fn time(out: &mut Vec<u8>, nanos: i64) -> bool {
    let fits = (0..=86_400_000_000_000).contains(&nanos);
    if fits {
        quoted(out, |out| with_nanos(out, nanos, write_time));
    }
    fits
}

/// `value` counts `per_second`-ths of a second since 1970.
pub(crate) fn timestamp(out: &mut Vec<u8>, value: i64, per_second: i64, utc: bool) -> bool {
    if per_second == 1_000_000_000 {
        quoted(out, |out| {
            with_nanos(out, value, |out, micros| write_timestamp(out, micros, false));
            if utc {
                out.push(b'Z');
            }
        });
        return true;
    }
    let Some(micros) = value.checked_mul(1_000_000 / per_second) else { return false };
    quoted(out, |out| write_timestamp(out, micros, utc));
    true
}

pub(crate) fn uuid(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (n, byte) in bytes.iter().enumerate() {
        if matches!(n, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

/// The standard alphabet, padded.
pub(crate) fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        for n in 0..4 {
            let six = (bits >> (18 - 6 * n)) as usize & 63;
            out.push(if n <= three.len() { ALPHABET[six] } else { b'=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{base64, decimal, timestamp};

    fn text(f: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        f(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn base64_is_the_standards() {
        for (bytes, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(text(|o| base64(o, bytes.as_bytes())), expected);
        }
        assert_eq!(text(|o| base64(o, &[0xFB, 0xEF, 0xFF])), "++//");
    }

    #[test]
    fn decimals_keep_every_digit() {
        for (digits, scale, expected) in [
            ("12345", 2, "123.45"),
            ("-5", 2, "-0.05"),
            ("0", 2, "0.00"),
            ("12", 0, "12"),
            ("12", -2, "1200"),
            ("-99999999999999999999999999999999999999", 38, "-0.99999999999999999999999999999999999999"),
        ] {
            assert_eq!(text(|o| decimal(o, digits, scale)), expected);
        }
    }

    #[test]
    fn timestamps_keep_nanoseconds_on_both_sides_of_the_epoch() {
        let stamp = |value, per| text(|o| assert!(timestamp(o, value, per, true)));
        assert_eq!(stamp(1, 1_000_000_000), "\"1970-01-01T00:00:00.000000001Z\"");
        assert_eq!(stamp(-1, 1_000_000_000), "\"1969-12-31T23:59:59.999999999Z\"");
        assert_eq!(stamp(1_500, 1_000), "\"1970-01-01T00:00:01.500000Z\"");
        assert!(!timestamp(&mut Vec::new(), i64::MAX, 1_000, true));
    }
}
