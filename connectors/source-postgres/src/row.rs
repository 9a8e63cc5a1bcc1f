//! Rows as the server's binary COPY sends them, written out as JSON without a tree.
//!
//! A stream is a header, tuples, and a trailer. A tuple is a count of fields, then each
//! field with its length in front, -1 for null. The server sends every tuple in a message of
//! its own, the first together with the header; a message may hold any number of them here.

use connector_kit::{Error, Result, Row};

use crate::types::ColumnType;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xFF\r\n\0";
/// Reserved for changes that a reader must know of; none is defined that we ask for.
const CRITICAL_FLAGS: u32 = 0xFFFF_0000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Header,
    Tuples,
    Ended,
}

/// Reads one COPY of one table.
#[derive(Debug)]
pub(crate) struct CopyDecoder {
    table: String,
    /// Fields in front of the columns that the caller wants for itself.
    leading: usize,
    columns: Vec<(ColumnType, usize)>,
    phase: Phase,
}

impl CopyDecoder {
    /// Each column with its index in the stream's selected columns, in the order of the
    /// query; `leading` fields come before them.
    pub(crate) fn new(table: impl Into<String>, leading: usize, columns: Vec<(ColumnType, usize)>) -> Self {
        Self { table: table.into(), leading, columns, phase: Phase::Header }
    }

    /// The next tuple of a message, `None` when it holds no more. `data` is what is left of
    /// the message; write the tuple, or drop the message, before asking for the next.
    ///
    /// # Errors
    /// When the bytes are not what was asked for.
    #[inline]
    pub(crate) fn tuple<'d, 'a>(&'d mut self, data: &'d mut &'a [u8]) -> Result<Option<Tuple<'d, 'a>>> {
        if self.phase == Phase::Header && !data.is_empty() {
            self.header(data)?;
        }
        let Some((count, rest)) = data.split_first_chunk::<2>() else {
            return if data.is_empty() { Ok(None) } else { Err(self.broken("has a piece of a row")) };
        };
        let count = i16::from_be_bytes(*count);
        if self.phase == Phase::Ended {
            return Err(self.broken("goes on after its end"));
        }
        *data = rest;
        if count == -1 {
            self.phase = Phase::Ended;
            return if rest.is_empty() { Ok(None) } else { Err(self.broken("goes on after its end")) };
        }
        if usize::try_from(count) != Ok(self.leading + self.columns.len()) {
            return Err(self.broken("has a row with another number of columns than were asked for"));
        }
        Ok(Some(Tuple { decoder: self, data, passed: 0 }))
    }

    /// To be called when the server said that the COPY is over.
    ///
    /// # Errors
    /// When its end was not among the data: rows may be missing.
    pub(crate) fn finish(&self) -> Result<()> {
        if self.phase == Phase::Ended { Ok(()) } else { Err(self.broken("stops before its end")) }
    }

    fn header(&mut self, data: &mut &[u8]) -> Result<()> {
        let header = data.split_first_chunk::<19>();
        let Some((header, rest)) = header.filter(|(header, _)| header.starts_with(SIGNATURE)) else {
            return Err(self.broken("does not begin like one"));
        };
        let word =
            |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let extension = usize::try_from(word(15)).ok().and_then(|length| rest.get(length..));
        match extension {
            Some(rest) if word(11) & CRITICAL_FLAGS == 0 => {
                *data = rest;
                self.phase = Phase::Tuples;
                Ok(())
            }
            _ => Err(self.broken("is of a form that is not known")),
        }
    }

    #[cold]
    fn broken(&self, how: &str) -> Error {
        Error::system(format!(
            "The server sent a COPY of table {} that {how}. Sync again; if it happens again, check what stands \
             between the server and here (a proxy, a pooler) and report the server's version.",
            self.table
        ))
    }
}

/// One row, not yet written.
#[derive(Debug)]
#[must_use = "the message cannot be read on before the tuple is written"]
pub(crate) struct Tuple<'d, 'a> {
    decoder: &'d CopyDecoder,
    data: &'d mut &'a [u8],
    passed: usize,
}

impl<'a> Tuple<'_, 'a> {
    /// The next of the leading fields, `None` for null.
    ///
    /// # Errors
    /// When the field is cut off.
    pub(crate) fn leading(&mut self) -> Result<Option<&'a [u8]>> {
        debug_assert!(
            self.passed < self.decoder.leading,
            "asked for more leading fields than were announced"
        );
        self.passed += 1;
        field(self.data).ok_or_else(|| self.cut_off(self.passed))
    }

    /// Writes the columns.
    ///
    /// # Errors
    /// When a field is cut off, or no value of its type.
    #[inline]
    pub(crate) fn write(mut self, row: &mut Row<'_>) -> Result<()> {
        while self.passed < self.decoder.leading {
            self.leading()?;
        }
        let mut data = *self.data;
        for (at, (column_type, column)) in self.decoder.columns.iter().enumerate() {
            match field(&mut data) {
                Some(Some(value)) => column_type.write_binary(row, *column, value)?,
                Some(None) => row.null(*column),
                None => return Err(self.cut_off(self.decoder.leading + at + 1)),
            }
        }
        *self.data = data;
        Ok(())
    }

    #[cold]
    fn cut_off(&self, ordinal: usize) -> Error {
        self.decoder.broken(&format!("has a row whose field {ordinal} is longer than the row"))
    }
}

/// Splits off a field: outer `None` when it is not whole, inner `None` for null.
#[inline]
#[allow(clippy::option_option, reason = "the two say different things, and nothing is smaller")]
fn field<'a>(data: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (length, rest) = data.split_first_chunk::<4>()?;
    let length = i32::from_be_bytes(*length);
    if length == -1 {
        *data = rest;
        return Some(None);
    }
    let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *data = rest;
    Some(Some(value))
}

#[cfg(test)]
mod tests;
