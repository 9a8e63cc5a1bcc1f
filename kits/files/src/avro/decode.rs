//! Avro's bytes as JSON text. Lengths are believed only as far as there are bytes.

use connector_kit::protocol::json;
use connector_kit::write_date;

use crate::avro::schema::{Node, Schema};
use crate::values::{base64, decimal, quoted, time, timestamp, uuid};

/// Values within values, which a schema that mentions itself allows any number of.
const MAX_DEPTH: u32 = 64;
/// Elements that take no bytes, such as nulls; more of them are an attack.
const MOST_EMPTY: u64 = 1 << 20;

/// A lower-case fragment that says what is wrong.
type Bad = &'static str;

#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    schema: &'a Schema,
    rest: &'a [u8],
    /// The longest JSON text of a record.
    cap: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(schema: &'a Schema, block: &'a [u8], cap: usize) -> Self {
        Self { schema, rest: block, cap }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Appends the next value, of type `node`; `Ok(false)` when JSON cannot say it.
    pub(crate) fn write(&mut self, node: usize, out: &mut Vec<u8>) -> Result<bool, Bad> {
        self.value(node, out, 0)
    }

    #[inline]
    fn take(&mut self, n: usize) -> Result<&'a [u8], Bad> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or("a value ends beyond its block")?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn long(&mut self) -> Result<i64, Bad> {
        let (mut value, mut shift) = (0_u64, 0);
        for (i, byte) in self.rest.iter().enumerate() {
            if shift > 63 {
                return Err("a number is too long");
            }
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                self.rest = &self.rest[i + 1..];
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
            shift += 7;
        }
        Err("a number ends beyond its block")
    }

    fn int(&mut self) -> Result<i32, Bad> {
        i32::try_from(self.long()?).map_err(|_| "a number is larger than its type")
    }

    fn bytes(&mut self) -> Result<&'a [u8], Bad> {
        let length = usize::try_from(self.long()?).map_err(|_| "a length is negative")?;
        self.take(length)
    }

    fn text(&mut self) -> Result<&'a str, Bad> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "a text is not UTF-8")
    }

    /// How many elements the next run of an array or map has; 0 after the last.
    fn run(&mut self, empty: &mut u64) -> Result<u64, Bad> {
        let count = self.long()?;
        if count < 0 {
            self.long()?;
        }
        let count = count.unsigned_abs();
        let beyond = count.saturating_sub(self.rest.len() as u64);
        *empty = empty.saturating_add(beyond);
        if *empty > MOST_EMPTY {
            Err("an array claims more elements than there is room for")
        } else {
            Ok(count)
        }
    }

    fn branch(&mut self, branches: &[usize]) -> Result<usize, Bad> {
        let at = usize::try_from(self.long()?).ok();
        at.and_then(|at| branches.get(at).copied()).ok_or("a union has no such branch")
    }

    fn value(&mut self, node: usize, out: &mut Vec<u8>, depth: u32) -> Result<bool, Bad> {
        if depth > MAX_DEPTH {
            return Err("values are nested too deeply");
        }
        if out.len() > self.cap {
            return Err("the record is longer than allowed");
        }
        let schema = self.schema;
        match schema.node(node) {
            Node::Null => out.extend_from_slice(b"null"),
            Node::Boolean => match self.take(1)? {
                [0] => out.extend_from_slice(b"false"),
                [1] => out.extend_from_slice(b"true"),
                _ => return Err("a boolean is neither true nor false"),
            },
            Node::Int => out.extend_from_slice(itoa::Buffer::new().format(self.int()?).as_bytes()),
            Node::Long => out.extend_from_slice(itoa::Buffer::new().format(self.long()?).as_bytes()),
            Node::Float => {
                let bytes = self.take(4)?.first_chunk().copied().unwrap_or_default();
                let value = f32::from_le_bytes(bytes);
                if !value.is_finite() {
                    return Ok(not_finite(f64::from(value), out, depth));
                }
                out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
            }
            Node::Double => {
                let bytes = self.take(8)?.first_chunk().copied().unwrap_or_default();
                let value = f64::from_le_bytes(bytes);
                if !value.is_finite() {
                    return Ok(not_finite(value, out, depth));
                }
                out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
            }
            Node::Bytes => {
                let bytes = self.bytes()?;
                quoted(out, |out| base64(out, bytes));
            }
            Node::Text => json::write_str(out, self.text()?),
            Node::Fixed(size) => {
                let bytes = self.take(*size)?;
                quoted(out, |out| base64(out, bytes));
            }
            Node::Uuid => {
                let bytes = self.take(16)?;
                quoted(out, |out| uuid(out, bytes));
            }
            Node::Decimal { size, scale } => {
                let bytes = match size {
                    Some(size) => self.take(*size)?,
                    None => self.bytes()?,
                };
                if bytes.len() > 1024 {
                    return Err("a decimal has too many digits");
                }
                quoted(out, |out| decimal(out, &digits(bytes), *scale));
            }
            Node::Date => {
                let days = self.int()?;
                quoted(out, |out| write_date(out, days));
            }
            Node::Time(per_second) => {
                let value = if *per_second == 1_000 { i64::from(self.int()?) } else { self.long()? };
                let fits =
                    value.checked_mul(1_000_000_000 / per_second).is_some_and(|nanos| time(out, nanos));
                return Ok(fits || out_of_range(out, depth));
            }
            Node::Timestamp(per_second, utc) => {
                let value = self.long()?;
                return Ok(timestamp(out, value, *per_second, *utc) || out_of_range(out, depth));
            }
            Node::Enum(symbols) => {
                let at = usize::try_from(self.long()?).ok();
                let symbol = at.and_then(|at| symbols.get(at)).ok_or("an enum has no such symbol")?;
                json::write_str(out, symbol);
            }
            Node::Record(fields) => {
                out.push(b'{');
                for (n, (name, field)) in fields.iter().enumerate() {
                    if n > 0 {
                        out.push(b',');
                    }
                    json::write_str(out, name);
                    out.push(b':');
                    self.value(*field, out, depth + 1)?;
                }
                out.push(b'}');
            }
            Node::Array(items) => {
                out.push(b'[');
                let (mut first, mut empty) = (true, 0);
                loop {
                    let count = self.run(&mut empty)?;
                    if count == 0 {
                        break;
                    }
                    for _ in 0..count {
                        if !std::mem::take(&mut first) {
                            out.push(b',');
                        }
                        self.value(*items, out, depth + 1)?;
                    }
                }
                out.push(b']');
            }
            Node::Map(values) => {
                out.push(b'{');
                let (mut first, mut empty) = (true, 0);
                loop {
                    let count = self.run(&mut empty)?;
                    if count == 0 {
                        break;
                    }
                    for _ in 0..count {
                        if !std::mem::take(&mut first) {
                            out.push(b',');
                        }
                        json::write_str(out, self.text()?);
                        out.push(b':');
                        self.value(*values, out, depth + 1)?;
                    }
                }
                out.push(b'}');
            }
            Node::Union(branches) => {
                let branch = self.branch(branches)?;
                // Of no depth of its own: what a column holds is as a rule a union with null.
                return match schema.node(branch) {
                    Node::Union(_) => Err("a union holds a union"),
                    _ => self.value(branch, out, depth),
                };
            }
        }
        Ok(true)
    }

    /// Passes over the next value.
    pub(crate) fn skip(&mut self, node: usize) -> Result<(), Bad> {
        self.pass(node, 0)
    }

    fn pass(&mut self, node: usize, depth: u32) -> Result<(), Bad> {
        if depth > MAX_DEPTH {
            return Err("values are nested too deeply");
        }
        match self.schema.node(node) {
            Node::Null => {}
            Node::Boolean => drop(self.take(1)?),
            Node::Int | Node::Long | Node::Date | Node::Time(_) | Node::Timestamp(..) | Node::Enum(_) => {
                self.long()?;
            }
            Node::Float => drop(self.take(4)?),
            Node::Double => drop(self.take(8)?),
            Node::Bytes | Node::Text | Node::Decimal { size: None, .. } => drop(self.bytes()?),
            Node::Fixed(size) | Node::Decimal { size: Some(size), .. } => drop(self.take(*size)?),
            Node::Uuid => drop(self.take(16)?),
            Node::Record(fields) => fields.iter().try_for_each(|(_, field)| self.pass(*field, depth + 1))?,
            Node::Array(inner) | Node::Map(inner) => {
                let keyed = matches!(self.schema.node(node), Node::Map(_));
                let mut empty = 0;
                loop {
                    let count = self.run(&mut empty)?;
                    if count == 0 {
                        break;
                    }
                    for _ in 0..count {
                        if keyed {
                            self.bytes()?;
                        }
                        self.pass(*inner, depth + 1)?;
                    }
                }
            }
            Node::Union(branches) => {
                let branch = self.branch(branches)?;
                self.pass(branch, depth + 1)?;
            }
        }
        Ok(())
    }
}

/// At the top a null and a note are better than words; further in nothing can be noted.
fn not_finite(value: f64, out: &mut Vec<u8>, depth: u32) -> bool {
    if depth > 0 {
        json::write_str(out, &value.to_string());
    }
    depth > 0
}

fn out_of_range(out: &mut Vec<u8>, depth: u32) -> bool {
    if depth > 0 {
        json::write_str(out, "out of range");
    }
    depth > 0
}

/// The decimal digits of a big-endian whole number in two's complement.
fn digits(bytes: &[u8]) -> String {
    let negative = bytes.first().is_some_and(|b| b & 0x80 != 0);
    let mut magnitude: Vec<u8> = bytes.to_vec();
    if negative {
        let mut carry = true;
        for byte in magnitude.iter_mut().rev() {
            let (sum, over) = (!*byte).overflowing_add(u8::from(carry));
            (*byte, carry) = (sum, over);
        }
    }
    let mut groups = Vec::new();
    while magnitude.iter().any(|b| *b != 0) {
        let mut rest = 0_u64;
        for byte in &mut magnitude {
            let value = (rest << 8) | u64::from(*byte);
            *byte = u8::try_from((value / 1_000_000_000) & 0xFF).unwrap_or_default();
            rest = value % 1_000_000_000;
        }
        groups.push(rest);
    }
    let Some(first) = groups.pop() else { return "0".to_owned() };
    let mut text = if negative { format!("-{first}") } else { first.to_string() };
    for group in groups.iter().rev() {
        text += &format!("{group:09}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::digits;

    #[test]
    fn whole_numbers_of_any_length_keep_every_digit() {
        for (bytes, expected) in [
            (&[][..], "0"),
            (&[0], "0"),
            (&[0x7F], "127"),
            (&[0x80], "-128"),
            (&[0xFF], "-1"),
            (&[0x04, 0xD2], "1234"),
            (&[0x3B, 0x9A, 0xCA, 0x00], "1000000000"),
        ] {
            assert_eq!(digits(bytes), expected);
        }
        assert_eq!(digits(&i128::MIN.to_be_bytes()), i128::MIN.to_string());
        assert_eq!(digits(&i128::MAX.to_be_bytes()), i128::MAX.to_string());
    }
}
