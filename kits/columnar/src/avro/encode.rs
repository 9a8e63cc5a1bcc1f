//! Arrow columns as the binary form of Avro.

use arrow_array::types::{
    Date32Type, Float64Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
    TimestampMillisecondType,
};
use arrow_array::{Array, BooleanArray, ListArray, PrimitiveArray, StringArray, StructArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, TimeUnit};

use crate::Error;

/// A number, small ones in few bytes: zigzag, seven bits a byte.
pub(super) fn write_long(out: &mut Vec<u8>, n: i64) {
    let mut rest = ((n << 1) ^ (n >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

pub(super) fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_long(out, i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    out.extend_from_slice(bytes);
}

/// The cells of a column.
pub(super) struct Cells<'a> {
    /// Where a cell may be missing: a union of null and the value.
    optional: bool,
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
}

enum Values<'a> {
    Bool(&'a BooleanArray),
    Int(&'a [i32]),
    Long(&'a [i64]),
    Double(&'a [f64]),
    Text(&'a StringArray),
    Record(Vec<Cells<'a>>),
    Array(&'a ListArray, Box<Cells<'a>>),
}

impl<'a> Cells<'a> {
    /// The cells of one of our own columns.
    pub(super) fn of(array: &'a dyn Array, optional: bool) -> Result<Self, Error> {
        let any = array.as_any();
        let values = match array.data_type() {
            DataType::Boolean => any.downcast_ref().map(Values::Bool),
            DataType::Date32 => {
                any.downcast_ref::<PrimitiveArray<Date32Type>>().map(|a| Values::Int(a.values()))
            }
            DataType::Int64 => {
                any.downcast_ref::<PrimitiveArray<Int64Type>>().map(|a| Values::Long(a.values()))
            }
            DataType::Time64(_) => {
                any.downcast_ref::<PrimitiveArray<Time64MicrosecondType>>().map(|a| Values::Long(a.values()))
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => any
                .downcast_ref::<PrimitiveArray<TimestampMillisecondType>>()
                .map(|a| Values::Long(a.values())),
            DataType::Timestamp(..) => any
                .downcast_ref::<PrimitiveArray<TimestampMicrosecondType>>()
                .map(|a| Values::Long(a.values())),
            DataType::Float64 => {
                any.downcast_ref::<PrimitiveArray<Float64Type>>().map(|a| Values::Double(a.values()))
            }
            DataType::Utf8 => any.downcast_ref().map(Values::Text),
            DataType::Struct(_) => match any.downcast_ref::<StructArray>() {
                Some(group) => {
                    let members: Result<Vec<_>, _> =
                        group.columns().iter().map(|member| Self::of(member.as_ref(), true)).collect();
                    Some(Values::Record(members?))
                }
                None => None,
            },
            DataType::List(_) => match any.downcast_ref::<ListArray>() {
                Some(list) => Some(Values::Array(list, Box::new(Self::of(list.values().as_ref(), true)?))),
                None => None,
            },
            _ => None,
        };
        let unknown = || Error::Parquet(format!("{} has no place in an Avro file", array.data_type()));
        Ok(Self { optional, nulls: array.nulls(), values: values.ok_or_else(unknown)? })
    }

    /// Appends one cell.
    pub(super) fn write(&self, out: &mut Vec<u8>, row: usize) {
        if self.optional {
            let missing = self.nulls.is_some_and(|nulls| nulls.is_null(row));
            // Which branch of the union.
            write_long(out, i64::from(!missing));
            if missing {
                return;
            }
        }
        match &self.values {
            Values::Bool(cells) => out.push(u8::from(cells.value(row))),
            Values::Int(cells) => write_long(out, cells[row].into()),
            Values::Long(cells) => write_long(out, cells[row]),
            Values::Double(cells) => out.extend_from_slice(&cells[row].to_le_bytes()),
            Values::Text(cells) => write_bytes(out, cells.value(row).as_bytes()),
            Values::Record(members) => members.iter().for_each(|member| member.write(out, row)),
            Values::Array(list, items) => {
                let (from, to) = (list.value_offsets()[row] as usize, list.value_offsets()[row + 1] as usize);
                if to > from {
                    write_long(out, (to - from) as i64);
                    (from..to).for_each(|item| items.write(out, item));
                }
                write_long(out, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_those_of_the_specification() {
        for (n, expected) in [
            (0, &[0x00][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (i64::MAX, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            let mut out = Vec::new();
            super::write_long(&mut out, n);
            assert_eq!(out, expected, "{n}");
        }
    }
}
