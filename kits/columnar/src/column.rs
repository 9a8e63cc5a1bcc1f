//! Typed buffers of one column, filled row by row and handed to Arrow without a copy.

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Float64Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray, StringArray};
use arrow_buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use connector_kit::FieldType;
use connector_kit::protocol::ChangeReason;
use connector_kit::protocol::json::Token;
use connector_kit::values::{self, Value};

use crate::nested::{Loss, Nested, lose};
use crate::schema::data_type;
use crate::shape::Shape;

/// Text memory kept between batches; more came from one large record.
const KEEP_BYTES: usize = 4 << 20;

/// One column of the rows at hand.
#[derive(Debug)]
pub(crate) struct ColumnBuffer {
    field_type: FieldType,
    /// Rows without a value; most columns of most rows have one.
    nulls: Vec<u32>,
    values: Values,
    /// What the row at hand could not bring into a group or a list.
    losses: Vec<Loss>,
}

#[derive(Debug)]
enum Values {
    Bool(Vec<bool>),
    Days(Vec<i32>),
    Long(Vec<i64>),
    Double(Vec<f64>),
    Text(TextBuffer),
    Nested(Box<Nested>),
}

/// Strings back to back.
#[derive(Debug)]
pub(crate) struct TextBuffer {
    pub(crate) ends: Vec<i32>,
    pub(crate) bytes: Vec<u8>,
}

impl Default for TextBuffer {
    fn default() -> Self {
        Self { ends: vec![0], bytes: Vec::new() }
    }
}

impl TextBuffer {
    /// Ends the string that was appended to `bytes`. The caller's bound on a batch's bytes
    /// keeps offsets far below 2^31.
    #[inline]
    pub(crate) fn end(&mut self) {
        self.ends.push(self.bytes.len() as i32);
    }

    pub(crate) fn take(&mut self, nulls: Option<NullBuffer>) -> Result<StringArray, BadText> {
        let ends = std::mem::replace(&mut self.ends, vec![0]);
        let bytes = std::mem::take(&mut self.bytes);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
        let values = Buffer::from_vec(bytes);
        // Checks UTF-8 once for the whole column.
        match StringArray::try_new(offsets.clone(), values.clone(), nulls) {
            Ok(array) => Ok(array),
            Err(_) => {
                let bad =
                    |ends: &[i32]| std::str::from_utf8(&values[ends[0] as usize..ends[1] as usize]).is_err();
                Err(BadText { row: offsets.windows(2).position(bad).unwrap_or(0) })
            }
        }
    }

    pub(crate) fn recycle(&mut self, array: ArrayRef) {
        let Some(text) = array.as_any().downcast_ref::<StringArray>().cloned() else { return };
        // The buffers can be taken back only when nobody else holds them.
        drop(array);
        let (offsets, values, _) = text.into_parts();
        if let Ok(mut ends) = offsets.into_inner().into_inner().into_vec::<i32>() {
            ends.truncate(1);
            self.ends = ends;
        }
        if let Ok(mut bytes) = values.into_vec::<u8>() {
            bytes.clear();
            bytes.shrink_to(KEEP_BYTES);
            self.bytes = bytes;
        }
    }
}

/// The first row whose text is not UTF-8.
#[derive(Debug)]
pub(crate) struct BadText {
    pub(crate) row: usize,
}

impl ColumnBuffer {
    pub(crate) fn new(shape: &Shape) -> Self {
        match shape {
            Shape::Leaf(field_type) => Self::leaf(*field_type),
            Shape::Group(members) => Self::nested(FieldType::Object, Nested::group(members)),
            Shape::List(item) => Self::nested(FieldType::Array, Nested::list(item)),
        }
    }

    fn nested(field_type: FieldType, nested: Nested) -> Self {
        let values = Values::Nested(Box::new(nested));
        Self { field_type, nulls: Vec::new(), values, losses: Vec::new() }
    }

    fn leaf(field_type: FieldType) -> Self {
        let values = match field_type {
            FieldType::Boolean => Values::Bool(Vec::new()),
            FieldType::Date => Values::Days(Vec::new()),
            FieldType::Number => Values::Double(Vec::new()),
            FieldType::Integer
            | FieldType::TimeWithoutTimezone
            | FieldType::TimestampWithTimezone
            | FieldType::TimestampWithoutTimezone => Values::Long(Vec::new()),
            _ => Values::Text(TextBuffer::default()),
        };
        Self { field_type, nulls: Vec::new(), values, losses: Vec::new() }
    }

    /// Takes the row's value; on an error takes null. What is lost inside of it is in [`losses`](Self::losses).
    #[inline]
    pub(crate) fn push(&mut self, row: usize, token: Token<'_>) -> Result<(), ChangeReason> {
        // The usual cases go ahead of all others: no conversion has to be chosen for them.
        match (&mut self.values, token) {
            (Values::Text(out), Token::Str(text))
                if self.field_type == FieldType::String && !text.has_escapes() =>
            {
                out.bytes.extend_from_slice(text.raw());
                out.end();
                return Ok(());
            }
            (Values::Long(out), Token::Number(digits)) if self.field_type == FieldType::Integer => {
                if let Ok(n) = values::integer(digits) {
                    out.push(n);
                    return Ok(());
                }
            }
            (Values::Long(out), Token::Str(text))
                if self.field_type == FieldType::TimestampWithTimezone && !text.has_escapes() =>
            {
                if let Ok(n) = values::timestamp_since(0, text.raw(), true) {
                    out.push(n);
                    return Ok(());
                }
            }
            (Values::Double(out), Token::Number(digits)) => {
                if let Some(n) = values::exact_f64(digits) {
                    out.push(n);
                    return Ok(());
                }
            }
            (_, Token::Null) => {
                self.null(row);
                return Ok(());
            }
            _ => {}
        }
        self.push_converted(row, token)
    }

    /// Any other value, and those that cannot be taken: it says why.
    fn push_converted(&mut self, row: usize, token: Token<'_>) -> Result<(), ChangeReason> {
        let value = match values::convert(self.field_type, token) {
            Ok(Value::Null) => {
                self.null(row);
                return Ok(());
            }
            Ok(value) => value,
            Err(reason) => {
                self.null(row);
                return Err(reason);
            }
        };
        match (&mut self.values, value) {
            (Values::Long(out), Value::Integer(n) | Value::Time(n) | Value::Timestamp(n)) => out.push(n),
            (Values::Text(out), Value::Text(text)) => {
                let start = out.bytes.len();
                if !text.unescape_into(&mut out.bytes) {
                    // A lone surrogate: JSON can write it, no text file can.
                    out.bytes.truncate(start);
                    self.null(row);
                    return Err(ChangeReason::DestinationSerializationError);
                }
                out.end();
            }
            (Values::Double(out), Value::Number(digits)) => match values::exact_f64(digits) {
                Some(n) => out.push(n),
                None => {
                    self.null(row);
                    return Err(ChangeReason::DestinationFieldSizeLimitation);
                }
            },
            (Values::Days(out), Value::Date(days)) => out.push(days),
            (Values::Bool(out), Value::Bool(b)) => out.push(b),
            (Values::Text(out), Value::PlainText(text)) => {
                out.bytes.extend_from_slice(text);
                out.end();
            }
            // Of the type that the column has: an object for a group, an array for a list.
            (Values::Nested(_), Value::Json(token)) => return self.push_whole(row, token),
            (Values::Text(out), Value::Json(token)) => {
                write_token(&mut out.bytes, token);
                out.end();
            }
            _ => {
                self.null(row);
                return Err(ChangeReason::DestinationSerializationError);
            }
        }
        Ok(())
    }

    /// A group or a list at the top. Apart from the rest, so that columns without any do not pay for it.
    #[cold]
    fn push_whole(&mut self, row: usize, token: Token<'_>) -> Result<(), ChangeReason> {
        let mut losses = std::mem::take(&mut self.losses);
        let pushed = self.push_nested(row, token, "", &mut losses);
        self.losses = losses;
        pushed
    }

    /// The same inside a group or a list: what is lost is noted by its path.
    pub(crate) fn push_inner(
        &mut self,
        row: usize,
        token: Token<'_>,
        path: &str,
        name: &str,
        losses: &mut Vec<Loss>,
    ) {
        if let Values::Nested(_) = &self.values {
            let path = if name.is_empty() { path.to_owned() } else { format!("{path}.{name}") };
            if let Err(reason) = self.push_nested(row, token, &path, losses) {
                lose(losses, Loss { path, reason, undeclared: false });
            }
        } else if let Err(reason) = self.push(row, token) {
            let path = if name.is_empty() { path.to_owned() } else { format!("{path}.{name}") };
            lose(losses, Loss { path, reason, undeclared: false });
        }
    }

    fn push_nested(
        &mut self,
        row: usize,
        token: Token<'_>,
        path: &str,
        losses: &mut Vec<Loss>,
    ) -> Result<(), ChangeReason> {
        let Values::Nested(nested) = &mut self.values else { return self.push(row, token) };
        let pushed = match token {
            Token::Null => {
                self.null(row);
                return Ok(());
            }
            token => nested.push(row, token, path, losses),
        };
        if pushed.is_err() {
            self.null(row);
        }
        pushed
    }

    /// What the rows since the last call could not bring into groups and lists; paths begin with a dot.
    pub(crate) fn losses(&mut self) -> std::vec::Drain<'_, Loss> {
        self.losses.drain(..)
    }

    #[inline]
    pub(crate) fn null(&mut self, row: usize) {
        self.nulls.push(row as u32);
        match &mut self.values {
            Values::Bool(out) => out.push(false),
            Values::Days(out) => out.push(0),
            Values::Long(out) => out.push(0),
            Values::Double(out) => out.push(0.0),
            Values::Text(out) => out.end(),
            Values::Nested(nested) => nested.null(row),
        }
    }

    /// The rows as an array; the buffer is empty afterwards.
    pub(crate) fn take(&mut self, rows: usize) -> Result<ArrayRef, BadText> {
        let nulls = self.take_nulls(rows);
        Ok(match &mut self.values {
            Values::Bool(out) => {
                let bits = BooleanBuffer::collect_bool(rows, |i| out[i]);
                out.clear();
                Arc::new(BooleanArray::new(bits, nulls))
            }
            Values::Days(out) => primitive::<Date32Type>(out, nulls),
            Values::Double(out) => primitive::<Float64Type>(out, nulls),
            Values::Long(out) => match self.field_type {
                FieldType::Integer => primitive::<Int64Type>(out, nulls),
                FieldType::TimeWithoutTimezone => primitive::<Time64MicrosecondType>(out, nulls),
                field_type => {
                    let array =
                        PrimitiveArray::<TimestampMicrosecondType>::new(std::mem::take(out).into(), nulls);
                    Arc::new(array.with_data_type(data_type(field_type)))
                }
            },
            Values::Text(out) => Arc::new(out.take(nulls)?),
            Values::Nested(nested) => nested.take(rows, nulls)?,
        })
    }

    fn take_nulls(&mut self, rows: usize) -> Option<NullBuffer> {
        if self.nulls.is_empty() {
            return None;
        }
        let mut bits = MutableBuffer::new(rows.div_ceil(8)).with_bitset(rows.div_ceil(8), true);
        let bytes = bits.as_slice_mut();
        for row in self.nulls.drain(..) {
            bytes[row as usize / 8] &= !(1 << (row % 8));
        }
        Some(NullBuffer::new(BooleanBuffer::new(bits.into(), 0, rows)))
    }

    /// Takes an array's memory back.
    pub(crate) fn recycle(&mut self, array: ArrayRef) {
        match &mut self.values {
            Values::Bool(_) | Values::Nested(_) => {}
            Values::Days(out) => reclaim::<Date32Type>(array, out),
            Values::Double(out) => reclaim::<Float64Type>(array, out),
            Values::Long(out) => match self.field_type {
                FieldType::Integer => reclaim::<Int64Type>(array, out),
                FieldType::TimeWithoutTimezone => reclaim::<Time64MicrosecondType>(array, out),
                _ => reclaim::<TimestampMicrosecondType>(array, out),
            },
            Values::Text(out) => out.recycle(array),
        }
    }

    /// Bytes of memory held.
    pub(crate) fn memory(&self) -> usize {
        let values = match &self.values {
            Values::Bool(v) => v.capacity(),
            Values::Days(v) => v.capacity() * 4,
            Values::Long(v) => v.capacity() * 8,
            Values::Double(v) => v.capacity() * 8,
            Values::Text(v) => v.ends.capacity() * 4 + v.bytes.capacity(),
            Values::Nested(nested) => nested.memory(),
        };
        values + self.nulls.capacity() * 4
    }
}

fn primitive<T: ArrowPrimitiveType>(out: &mut Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(std::mem::take(out).into(), nulls))
}

pub(crate) fn reclaim<T: ArrowPrimitiveType>(array: ArrayRef, out: &mut Vec<T::Native>) {
    let Some(typed) = array.as_any().downcast_ref::<PrimitiveArray<T>>().cloned() else { return };
    drop(array);
    let (_, values, _) = typed.into_parts();
    if let Ok(mut values) = values.into_inner().into_vec::<T::Native>() {
        values.clear();
        *out = values;
    }
}

/// A value as the JSON text it came as.
pub(crate) fn write_token(out: &mut Vec<u8>, token: Token<'_>) {
    match token {
        Token::Null => out.extend_from_slice(b"null"),
        Token::Bool(b) => out.extend_from_slice(if b { b"true" } else { b"false" }),
        Token::Number(json) | Token::Array(json) | Token::Object(json) => out.extend_from_slice(json),
        Token::Str(text) => {
            out.push(b'"');
            out.extend_from_slice(text.raw());
            out.push(b'"');
        }
    }
}
