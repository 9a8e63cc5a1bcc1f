//! Records to rows of cells: the added columns first, then the stream's own, each in its column's type.

use std::sync::Arc;

use connector_kit::protocol::json::{self, Token};
use connector_kit::{
    BatchRow, Changes, Error, FieldType, RecordBatch, Result, RowDecoder, RowSink, SelectedStream, Stamp,
};

use crate::cells::{Cell, DAYS, Kept, cell};
use crate::merge::DELETED_AT;
use crate::types::ColumnType;

const MILLIS_PER_DAY: i64 = 86_400_000;
/// The last eight digits of an id count.
const COMMON: usize = 28;

/// A column of the stream.
#[derive(Debug)]
struct Field {
    field_type: FieldType,
    /// The name as a JSON string, for the list of changes.
    name: Vec<u8>,
    /// A key with something missing could be another row's key.
    is_key: bool,
    /// It says when the row was deleted at the source.
    is_deletion: bool,
}

/// A record that has its id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) id: &'a [u8; 36],
    pub(crate) data: &'a [u8],
    pub(crate) meta: Option<&'a [u8]>,
    pub(crate) emitted_at: i64,
    /// Of stdin.
    pub(crate) line: u64,
}

impl<'a> Record<'a> {
    /// A row of a batch, with its id.
    pub(crate) fn of(id: &'a [u8; 36], row: &BatchRow<'a>) -> Self {
        Self { id, data: row.data, meta: row.meta, emitted_at: row.emitted_at, line: row.line }
    }

    /// `_airbyte_raw_id`
    pub(crate) fn raw_id(&self) -> Cell<'_> {
        Cell::Text(self.id.as_slice().into())
    }

    /// `_airbyte_extracted_at`: what no date can say becomes the nearest that can.
    pub(crate) fn extracted_at(&self) -> Cell<'static> {
        let (first, last) = (DAYS.start() * MILLIS_PER_DAY, (DAYS.end() + 1) * MILLIS_PER_DAY - 1);
        Cell::Timestamp(self.emitted_at.clamp(first, last))
    }
}

/// Takes the values of records.
pub(crate) trait CellSink {
    /// One value of the stream's own columns, called for each in order.
    fn cell(&mut self, column: usize, cell: &Cell<'_>);
}

/// What is known of a record once its values were read.
#[derive(Debug)]
pub(crate) struct Added {
    /// JSON.
    pub(crate) meta: Vec<u8>,
    /// The record says that it was deleted at the source.
    pub(crate) is_deletion: bool,
}

/// Reads the records of one stream.
#[derive(Debug)]
pub(crate) struct RowReader {
    decoder: RowDecoder,
    fields: Vec<Field>,
    /// Of all columns, the added ones included.
    types: Arc<[ColumnType]>,
    stamp: Stamp,
    changes: Changes,
}

impl RowReader {
    pub(crate) fn new(stream: &SelectedStream, types: &[ColumnType]) -> Self {
        let is_key = |name: &str| stream.primary_key.iter().any(|path| path.len() == 1 && path[0] == name);
        let fields = stream.columns.iter().map(|column| {
            let mut name = Vec::new();
            json::write_str(&mut name, &column.name);
            Field {
                field_type: column.field_type,
                name,
                is_key: is_key(&column.name),
                is_deletion: column.name == DELETED_AT,
            }
        });
        Self {
            decoder: RowDecoder::new(stream.columns.iter().map(|c| c.name.as_str())),
            fields: fields.collect(),
            types: types.into(),
            stamp: Stamp::new(stream.sync_id, stream.generation.map(|g| g.id)),
            changes: Changes::default(),
        }
    }

    /// The columns' types, the added ones first.
    pub(crate) fn types(&self) -> Arc<[ColumnType]> {
        Arc::clone(&self.types)
    }

    /// The generation of every row.
    pub(crate) fn generation(&self) -> i64 {
        self.stamp.generation()
    }

    /// What the ids of all records begin with. (No run has so many that it changes; see [`Stamp`].)
    pub(crate) fn prefix(&mut self) -> String {
        String::from_utf8_lossy(&self.next_id()[..COMMON]).into_owned()
    }

    /// An id for the next record. Ids grow.
    pub(crate) fn next_id(&mut self) -> [u8; 36] {
        *self.stamp.next_id()
    }

    /// Reads a record. Texts of more than `longest` bytes become null.
    ///
    /// # Errors
    /// When it is not what the protocol says. The sink may have had some values by then.
    pub(crate) fn read<S: CellSink>(
        &mut self,
        record: Record<'_>,
        longest: usize,
        out: &mut S,
    ) -> Result<Added> {
        self.changes.clear();
        let (fields, changes) = (&self.fields, &mut self.changes);
        let mut sink = Sink { fields, changes, longest, is_deletion: false, out };
        self.decoder
            .decode(record.data, &mut sink)
            .map_err(|e| unreadable(record.line, "data").with_source(e))?;
        let is_deletion = sink.is_deletion;
        let mut meta = Vec::new();
        let written = self.stamp.write_meta(&mut meta, record.meta, &self.changes);
        if written.is_none() || json::skip_value(&meta, 0) != Ok(meta.len()) {
            return Err(unreadable(record.line, "meta"));
        }
        Ok(Added { meta, is_deletion })
    }
}

/// Converts the values of one record.
struct Sink<'a, S> {
    fields: &'a [Field],
    changes: &'a mut Changes,
    longest: usize,
    is_deletion: bool,
    out: &'a mut S,
}

impl<S: CellSink> RowSink for Sink<'_, S> {
    fn value(&mut self, column: usize, token: Token<'_>) {
        let field = &self.fields[column];
        self.is_deletion |= field.is_deletion && token != Token::Null;
        match cell(field.field_type, token, self.longest) {
            Ok((cell, Kept::Whole)) => self.out.cell(column, &cell),
            Ok((cell, Kept::Part(reason))) if !field.is_key => {
                self.changes.truncated(&field.name, reason);
                self.out.cell(column, &cell);
            }
            Ok((_, Kept::Part(reason))) | Err(reason) => {
                self.changes.nulled(&field.name, reason);
                self.out.cell(column, &Cell::Null);
            }
        }
    }
}

/// The first record of a batch that is not UTF-8, as an error.
pub(crate) fn check_utf8(batch: &RecordBatch) -> Result<()> {
    match batch.line_not_utf8() {
        None => Ok(()),
        Some(line) => Err(Error::config(format!(
            "The record on line {line} of stdin is not UTF-8; mend the source that sent it."
        ))),
    }
}

#[cold]
fn unreadable(line: u64, member: &str) -> Error {
    Error::config(format!(
        "The {member} of the record on line {line} of stdin cannot be read; mend the source that sent it."
    ))
}

/// Records that wait, in order, as they came: so they can be written anew when Dremio finds a statement too large.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    id: [u8; 36],
    start: usize,
    data_end: usize,
    meta_end: usize,
    has_meta: bool,
    emitted_at: i64,
    line: u64,
}

impl Waiting {
    pub(crate) fn push(&mut self, id: [u8; 36], row: &BatchRow<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(row.data);
        let data_end = self.bytes.len();
        self.bytes.extend_from_slice(row.meta.unwrap_or_default());
        self.spans.push(Span {
            id,
            start,
            data_end,
            meta_end: self.bytes.len(),
            has_meta: row.meta.is_some(),
            emitted_at: row.emitted_at,
            line: row.line,
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// All of them, in order.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.spans.iter().map(|span| Record {
            id: &span.id,
            data: &self.bytes[span.start..span.data_end],
            meta: span.has_meta.then(|| &self.bytes[span.data_end..span.meta_end]),
            emitted_at: span.emitted_at,
            line: span.line,
        })
    }

    pub(crate) fn clear(&mut self) {
        self.spans.clear();
        self.bytes.clear();
        // There may be many of us, and it is soon grown again.
        self.bytes.shrink_to(64 << 10);
    }
}
