//! Records to the tuples of a binary COPY: head and end of each row, and which COPY it goes to. What a value
//! looks like is in the files below.
//!
//! What does not fit its column becomes NULL, what cannot be stored as it is becomes what can, and both are
//! listed in the row's `_airbyte_meta`.

mod field;
mod jsonb;
mod numeric;
mod times;

use connector_kit::protocol::json;
use connector_kit::{
    BatchRow, Changes, Error, GENERATION_ID, META, RecordBatch, Result, RowDecoder, SelectedStream, Stamp,
};

use field::{Encoder, Field};
pub(crate) use field::{Kept, framed};
pub(crate) use jsonb::write_jsonb;
pub(crate) use times::extracted_at;

/// Milliseconds from 1970 to PostgreSQL's own epoch, 2000-01-01.
const EPOCH_MILLIS: i64 = 946_684_800_000;
/// What one large batch leaves behind.
const KEEP_BYTES: usize = 2 << 20;

/// Where the two columns come from that are nearly always the same for all rows of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Constants {
    /// They are the DEFAULT of their columns, in a table that this run has made. Most rows then go to
    /// [`Tuples::plain`] and leave them out, which saves a quarter of the server's time.
    Defaults,
    /// They are sent with every row, all of which go to [`Tuples::full`].
    Sent,
}

/// Rows ready for COPY, without its header and end. [`RowWriter::PLAIN`] and [`RowWriter::FULL`]
/// say which columns come before the stream's own.
#[derive(Debug, Default)]
pub(crate) struct Tuples {
    pub(crate) plain: Vec<u8>,
    pub(crate) full: Vec<u8>,
}

impl Tuples {
    /// Empties it, keeping its memory unless one large record blew it up.
    pub(crate) fn clear(&mut self) {
        for tuples in [&mut self.plain, &mut self.full] {
            tuples.clear();
            tuples.shrink_to(KEEP_BYTES);
        }
    }
}

/// Writes the rows of one stream.
#[derive(Debug)]
pub(crate) struct RowWriter {
    decoder: RowDecoder,
    fields: Vec<Field>,
    stamp: Stamp,
    changes: Changes,
    constants: Constants,
    /// The fields `_airbyte_meta` and `_airbyte_generation_id` of a row without changes.
    unchanged: Vec<u8>,
    /// Those of the row at hand, otherwise.
    changed: Vec<u8>,
}

impl RowWriter {
    /// All columns of the stream, in the order of its schema.
    ///
    /// # Errors
    /// When there are more columns than a table can have.
    pub(crate) fn new(stream: &SelectedStream, constants: Constants) -> Result<Self> {
        if stream.columns.len() > 1_596 {
            return Err(Error::config(format!(
                "Stream {} has {} columns; a PostgreSQL table holds 1,600, four of which are added to every row. \
                 Select fewer.",
                stream.descriptor,
                stream.columns.len()
            )));
        }
        let is_key = |name: &str| stream.primary_key.iter().any(|path| path.len() == 1 && path[0] == name);
        let fields = stream.columns.iter().map(|c| Field::new(&c.name, c.field_type, is_key(&c.name)));
        let stamp = Stamp::new(stream.sync_id, stream.generation.map(|g| g.id));
        let mut unchanged = Vec::new();
        write_constants(&mut unchanged, &stamp, None, &Changes::default())
            .ok_or_else(|| Error::system("A row's own meta could not be written; please report it."))?;
        Ok(Self {
            decoder: RowDecoder::new(stream.columns.iter().map(|c| c.name.as_str())),
            fields: fields.collect(),
            stamp,
            changes: Changes::default(),
            constants,
            unchanged,
            changed: Vec::new(),
        })
    }

    /// The added columns of rows in [`Tuples::plain`], in order; the stream's own follow.
    pub(crate) const PLAIN: [&str; 2] = [connector_kit::RAW_ID, connector_kit::EXTRACTED_AT];
    /// The same for [`Tuples::full`].
    pub(crate) const FULL: [&str; 4] =
        [connector_kit::RAW_ID, connector_kit::EXTRACTED_AT, META, GENERATION_ID];

    /// Appends all rows of the batch.
    ///
    /// # Errors
    /// When a record is not what the protocol says: no UTF-8, no object, or a meta that is none.
    pub(crate) fn write(&mut self, batch: &RecordBatch, out: &mut Tuples) -> Result<()> {
        if let Some(line) = batch.line_not_utf8() {
            return Err(Error::config(format!(
                "The record on line {line} of stdin is not UTF-8; mend the source that sent it."
            )));
        }
        out.plain.reserve(batch.bytes());
        batch.rows().try_for_each(|row| self.row(&row, out))
    }

    #[inline]
    fn row(&mut self, row: &BatchRow<'_>, out: &mut Tuples) -> Result<()> {
        let plain = &mut out.plain;
        let start = plain.len();
        self.head(plain, row.emitted_at, Self::PLAIN.len());
        let values = plain.len();
        let mut encoder = Encoder { fields: &self.fields, out: plain, changes: &mut self.changes };
        if let Err(error) = self.decoder.decode(row.data, &mut encoder) {
            plain.truncate(start);
            self.changes.clear();
            return Err(unreadable(row.line, "data").with_source(error));
        }
        if self.constants == Constants::Defaults && self.changes.is_empty() && row.meta.is_none() {
            return Ok(());
        }
        self.in_full(row, start, values, out)
    }

    /// Moves the row that was begun in `plain` to `full`, unless it says nothing of its own.
    fn in_full(&mut self, row: &BatchRow<'_>, start: usize, values: usize, out: &mut Tuples) -> Result<()> {
        let constants = if self.changes.is_empty() && row.meta.is_none() {
            &self.unchanged
        } else {
            self.changed.clear();
            let written = write_constants(&mut self.changed, &self.stamp, row.meta, &self.changes);
            self.changes.clear();
            if written.is_none() {
                out.plain.truncate(start);
                return Err(unreadable(row.line, "meta"));
            }
            if self.constants == Constants::Defaults && self.changed == self.unchanged {
                return Ok(());
            }
            &self.changed
        };
        let (full, head) = (&mut out.full, &out.plain[start..values]);
        full.extend_from_slice(&column_count(self.fields.len() + Self::FULL.len()));
        full.extend_from_slice(&head[2..]);
        full.extend_from_slice(constants);
        full.extend_from_slice(&out.plain[values..]);
        out.plain.truncate(start);
        Ok(())
    }

    /// The number of columns, `_airbyte_raw_id` and `_airbyte_extracted_at`.
    #[inline]
    fn head(&mut self, out: &mut Vec<u8>, emitted_at: i64, added: usize) {
        let mut head = [0; 2 + 4 + 36 + 4 + 8];
        head[..2].copy_from_slice(&column_count(self.fields.len() + added));
        head[5] = 36;
        head[6..42].copy_from_slice(self.stamp.next_id());
        head[45] = 8;
        head[46..].copy_from_slice(&times::extracted_at(emitted_at).to_be_bytes());
        out.extend_from_slice(&head);
    }
}

/// The number of columns that a tuple begins with. The caller's bound on columns keeps it far from the sign.
fn column_count(columns: usize) -> [u8; 2] {
    (columns as u16).to_be_bytes()
}

/// The fields `_airbyte_meta` and `_airbyte_generation_id`; `None` if the record's own meta is malformed.
fn write_constants(out: &mut Vec<u8>, stamp: &Stamp, meta: Option<&[u8]>, changes: &Changes) -> Option<()> {
    let mut text = Vec::new();
    stamp.write_meta(&mut text, meta, changes)?;
    if json::skip_value(&text, 0) != Ok(text.len()) {
        return None;
    }
    // What cannot be stored in it, such as a NUL in a field's name, has nowhere to be listed.
    let _ = field::framed(out, |out| write_jsonb(out, &text));
    out.extend_from_slice(&[0, 0, 0, 8]);
    out.extend_from_slice(&stamp.generation().to_be_bytes());
    Some(())
}

#[cold]
fn unreadable(line: u64, member: &str) -> Error {
    Error::config(format!(
        "The {member} of the record on line {line} of stdin cannot be read; mend the source that sent it."
    ))
}

#[cfg(test)]
mod tests;
