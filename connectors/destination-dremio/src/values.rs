//! Rows for `VALUES`.

use connector_kit::Result;

use crate::cells::Cell;
use crate::literals::{LONG_TEXT, write_literal};
use crate::names::ADDED;
use crate::rows::{CellSink, Record, RowReader};
use crate::types::ColumnType;

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// How many rows.
    pub(crate) rows: usize,
    /// One of them says that it was deleted.
    pub(crate) deletions: bool,
    /// Texts so long that they were not cast. Then there is one row.
    pub(crate) long_texts: Vec<LongText>,
}

/// A text that is longer than Dremio's VARCHAR has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LongText {
    /// The column in the table, the added ones included.
    pub(crate) column: usize,
    pub(crate) characters: usize,
}

impl LongText {
    fn of(column: usize, cell: &Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Text(text) if text.len() > LONG_TEXT => {
                Some(Self { column, characters: String::from_utf8_lossy(text).chars().count() })
            }
            _ => None,
        }
    }
}

/// Appends records as `(…), (…)` as long as `out` has at most `most` bytes; at least one.
///
/// # Errors
/// When a record is not what the protocol says.
pub(crate) fn values<'a>(
    out: &mut Vec<u8>,
    rows: &mut RowReader,
    records: impl Iterator<Item = Record<'a>>,
    most: usize,
    longest_text: usize,
) -> Result<Written> {
    let mut written = Written::default();
    for record in records {
        let start = out.len();
        let typed = written.rows == 0;
        if !typed {
            out.push(b',');
        }
        let types = rows.types();
        // Written where it stays: one record may be a large part of the memory that there is.
        out.reserve(record.data.len() + 40 * types.len());
        let mut row = ValuesRow { out, types: &types, typed, long: Vec::new() };
        row.out.push(b'(');
        row.put(0, &record.raw_id());
        row.put(1, &record.extracted_at());
        row.put(3, &Cell::Integer(rows.generation()));
        let added = rows.read(record, longest_text, &mut row)?;
        // Last, because it tells what became of the others.
        row.put(2, &Cell::Text(added.meta.into()));
        let long = row.long;
        out.pop();
        out.push(b')');
        // Dremio would pad other rows' texts to a long one that cannot be cast.
        if !typed && (!long.is_empty() || out.len() > most) {
            out.truncate(start);
            break;
        }
        written.rows += 1;
        written.deletions |= added.is_deletion;
        written.long_texts = long;
        if !written.long_texts.is_empty() || out.len() >= most {
            break;
        }
    }
    Ok(written)
}

/// The columns in the order in which [`values`] writes them.
pub(crate) fn in_order(columns: &[String]) -> impl Iterator<Item = &String> {
    let meta = columns.get(2).into_iter();
    columns.iter().enumerate().filter(|(i, _)| *i != 2).map(|(_, column)| column).chain(meta)
}

struct ValuesRow<'a> {
    out: &'a mut Vec<u8>,
    types: &'a [ColumnType],
    typed: bool,
    long: Vec<LongText>,
}

impl ValuesRow<'_> {
    fn put(&mut self, column: usize, cell: &Cell<'_>) {
        write_literal(self.out, cell, self.types[column], self.typed);
        self.out.push(b',');
        self.long.extend(LongText::of(column, cell));
    }
}

impl CellSink for ValuesRow<'_> {
    fn cell(&mut self, column: usize, cell: &Cell<'_>) {
        self.put(ADDED.len() + column, cell);
    }
}
