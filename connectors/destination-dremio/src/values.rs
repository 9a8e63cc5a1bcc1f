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
        let types = rows.types().to_vec();
        let mut row = ValuesRow {
            out: Vec::with_capacity(record.data.len() + 64),
            types: &types,
            typed,
            long: Vec::new(),
        };
        let added = rows.read(record, longest_text, &mut row)?;
        let (own, mut long) = (row.out, row.long);
        let head = [
            Cell::Text(record.id.as_slice().into()),
            Cell::Timestamp(added.extracted_at),
            Cell::Text(added.meta.into()),
            Cell::Integer(added.generation),
        ];
        out.push(b'(');
        for (column, cell) in head.iter().enumerate() {
            if column > 0 {
                out.push(b',');
            }
            write_literal(out, cell, types[column], typed);
            long.extend(LongText::of(column, cell));
        }
        out.extend_from_slice(&own);
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

struct ValuesRow<'a> {
    out: Vec<u8>,
    types: &'a [ColumnType],
    typed: bool,
    long: Vec<LongText>,
}

impl CellSink for ValuesRow<'_> {
    fn cell(&mut self, column: usize, cell: &Cell<'_>) {
        self.out.push(b',');
        let column = ADDED.len() + column;
        write_literal(&mut self.out, cell, self.types[column], self.typed);
        self.long.extend(LongText::of(column, cell));
    }
}
