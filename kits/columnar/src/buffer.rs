//! Rows on their way into columns.

use std::sync::Arc;

use arrow_array::types::{Int64Type, TimestampMillisecondType};
use arrow_array::{ArrayRef, PrimitiveArray, RecordBatch as Columns};
use arrow_buffer::ScalarBuffer;
use connector_kit::protocol::json::{self, Token};
use connector_kit::{BatchRow, Changes, EXTRACTED_AT, META, RAW_ID, RowSink, Stamp};

use crate::Error;
use crate::column::{ColumnBuffer, TextBuffer, reclaim};
use crate::schema::{ADDED, Layout};
use crate::shape::Shape;

/// Rows encoded at once …
const BATCH_ROWS: usize = 8_192;
/// … or fewer, when their JSON is this large: memory is a promise, rows are not.
const BATCH_BYTES: usize = 4 << 20;

/// Takes rows value by value; its memory is used again for every batch.
#[derive(Debug)]
pub struct RowBuffer {
    layout: Arc<Layout>,
    stamp: Stamp,
    columns: Vec<ColumnBuffer>,
    ids: TextBuffer,
    extracted: Vec<i64>,
    meta: TextBuffer,
    /// The same as a group, for files that have groups.
    meta_group: Option<ColumnBuffer>,
    generations: Vec<i64>,
    changes: Changes,
    lines: Vec<u64>,
    rows: usize,
    /// Of JSON, for the rows at hand.
    bytes: usize,
}

impl RowSink for RowBuffer {
    #[inline]
    fn value(&mut self, column: usize, token: Token<'_>) {
        if let Err(reason) = self.columns[column].push(self.rows, token) {
            self.changes.nulled(&self.layout.fields[column].name_json, reason);
        }
    }
}

impl RowBuffer {
    /// An empty buffer.
    #[must_use]
    pub fn new(layout: Arc<Layout>, stamp: Stamp) -> Self {
        let columns = layout.fields.iter().map(|f| ColumnBuffer::new(&f.shape)).collect();
        Self {
            meta_group: layout.nested.then(|| ColumnBuffer::new(&Shape::meta())),
            layout,
            stamp,
            columns,
            ids: TextBuffer::default(),
            extracted: Vec::new(),
            meta: TextBuffer::default(),
            generations: Vec::new(),
            changes: Changes::default(),
            lines: Vec::new(),
            rows: 0,
            bytes: 0,
        }
    }

    /// Ends the row whose values were given, and adds its four columns.
    ///
    /// # Errors
    /// When the record's own meta is malformed.
    #[inline]
    pub fn end_row(&mut self, row: &BatchRow<'_>) -> Result<(), Error> {
        self.ids.bytes.extend_from_slice(self.stamp.next_id());
        self.ids.end();
        self.extracted.push(row.emitted_at);
        if self.layout.nested {
            self.note_losses();
        }
        let start = self.meta.bytes.len();
        let written = self.stamp.write_meta(&mut self.meta.bytes, row.meta, &self.changes);
        written.ok_or(Error::Meta { line: row.line })?;
        if let Some(group) = &mut self.meta_group {
            let pushed = group.push(self.rows, Token::Object(&self.meta.bytes[start..]));
            pushed.map_err(|_| Error::Meta { line: row.line })?;
            group.losses();
            self.meta.bytes.truncate(start);
        } else {
            self.meta.end();
        }
        self.changes.clear();
        self.lines.push(row.line);
        self.rows += 1;
        self.bytes += row.data.len();
        Ok(())
    }

    /// What the row could not bring into groups and lists becomes part of what was changed in it.
    fn note_losses(&mut self) {
        for (column, field) in self.columns.iter_mut().zip(&self.layout.fields) {
            for loss in column.losses() {
                let mut name = Vec::new();
                json::write_str(&mut name, &format!("{}{}", field.name, loss.path));
                if loss.undeclared {
                    self.changes.truncated(&name, loss.reason);
                } else {
                    self.changes.nulled(&name, loss.reason);
                }
            }
        }
    }

    /// Whether the rows should be encoded now.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// How many rows it holds.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The rows as Arrow columns; the buffer is empty afterwards.
    pub(crate) fn take(&mut self) -> Result<Columns, Error> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        self.generations.resize(rows, self.stamp.generation());
        let lines = std::mem::take(&mut self.lines);
        let line = |row: usize| lines.get(row).copied().unwrap_or(0);
        let bad = |field: &str, row| Error::NotUtf8 { line: line(row), field: field.to_owned() };
        let extracted: ScalarBuffer<i64> = std::mem::take(&mut self.extracted).into();
        let extracted = PrimitiveArray::<TimestampMillisecondType>::new(extracted, None).with_timezone("UTC");
        let generations: ScalarBuffer<i64> = std::mem::take(&mut self.generations).into();
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(self.ids.take(None).map_err(|b| bad(RAW_ID, b.row))?),
            Arc::new(extracted),
            match &mut self.meta_group {
                Some(group) => group.take(rows).map_err(|b| bad(META, b.row))?,
                None => Arc::new(self.meta.take(None).map_err(|b| bad(META, b.row))?),
            },
            Arc::new(PrimitiveArray::<Int64Type>::new(generations, None)),
        ];
        for (column, field) in self.columns.iter_mut().zip(&self.layout.fields) {
            arrays.push(column.take(rows).map_err(|b| bad(&field.name, b.row))?);
        }
        self.lines = lines;
        self.lines.clear();
        Ok(Columns::try_new(self.layout.schema.clone(), arrays)?)
    }

    /// Takes the memory of a batch back, once it is encoded.
    pub(crate) fn recycle(&mut self, batch: Columns) {
        let (schema, arrays, _) = batch.into_parts();
        drop(schema);
        for (index, array) in arrays.into_iter().enumerate() {
            match index {
                0 => self.ids.recycle(array),
                1 => reclaim::<TimestampMillisecondType>(array, &mut self.extracted),
                2 if self.meta_group.is_none() => self.meta.recycle(array),
                2 => {}
                3 => reclaim::<Int64Type>(array, &mut self.generations),
                _ => self.columns[index - ADDED].recycle(array),
            }
        }
        debug_assert_eq!(self.layout.schema.field(1).name(), EXTRACTED_AT, "the order above is the layout's");
    }

    /// Bytes of memory held.
    pub(crate) fn memory(&self) -> usize {
        let own: usize = self.columns.iter().map(ColumnBuffer::memory).sum();
        let meta = self.meta_group.as_ref().map_or(0, ColumnBuffer::memory);
        own + meta + self.ids.bytes.capacity() + self.meta.bytes.capacity() + self.rows * 36
    }

    /// Gives all memory back.
    pub(crate) fn release(&mut self) {
        if self.rows == 0 {
            self.columns = self.layout.fields.iter().map(|f| ColumnBuffer::new(&f.shape)).collect();
            self.ids = TextBuffer::default();
            self.meta = TextBuffer::default();
            self.meta_group = self.layout.nested.then(|| ColumnBuffer::new(&Shape::meta()));
            self.extracted = Vec::new();
            self.generations = Vec::new();
            self.lines = Vec::new();
        }
    }
}

impl RowBuffer {
    /// Takes the stamp out, so that the next file's ids go on from it.
    pub(crate) fn swap_stamp(&mut self, stamp: Stamp) -> Stamp {
        std::mem::replace(&mut self.stamp, stamp)
    }
}
