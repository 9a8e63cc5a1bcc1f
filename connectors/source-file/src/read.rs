//! Rows of a text file, written as the configured catalog types them.

use connector_kit::protocol::ChangeReason;
use connector_kit::{Error, FieldType, Result, Row, SelectedStream, StreamEmitter, tracing};

use crate::cells;
use crate::config::RaggedRows;
use crate::csv::Field;
use crate::options::{Nulls, Options};
use crate::source::Whole;
use crate::table::{self, Record, Table};

/// Whether to go on is asked once in this many records.
const STOP_EVERY: u64 = 1024;

/// Values that did not fit their column: sent as null, noted in the record, and told at the end.
#[derive(Debug)]
pub(crate) struct Misfits {
    columns: Vec<(u64, u64)>,
}

impl Misfits {
    pub(crate) fn new(columns: usize) -> Self {
        Self { columns: vec![(0, 0); columns] }
    }

    /// Rejects the value; `line` is only asked for the first of a column.
    #[cold]
    pub(crate) fn reject(&mut self, row: &mut Row<'_>, column: usize, line: impl FnOnce() -> u64) {
        row.reject(column, ChangeReason::SourceSerializationError);
        let (count, first) = &mut self.columns[column];
        if *count == 0 {
            *first = line();
        }
        *count += 1;
    }

    /// `unit` is what the positions count: line or row.
    pub(crate) fn report(&self, stream: &SelectedStream, unit: &str) {
        for (column, (count, first)) in
            stream.columns.iter().zip(&self.columns).filter(|(_, (count, _))| *count > 0)
        {
            tracing::warn!(
                "Column {:?}: {count} values did not fit its type and were sent as null, each noted in its record; the first is on {unit} {first}. \
                 To keep them, read the column as text: dtype in reader_options.",
                column.name
            );
        }
    }
}

struct Column {
    /// `None`: the file has no such column (any more); the kit has warned of it.
    field: Option<usize>,
    field_type: FieldType,
    is_text: bool,
}

/// Sends the table's records as the stream's rows.
pub(crate) fn table(
    file: &str,
    table: &mut Table,
    options: &Options,
    ragged: RaggedRows,
    stream: &SelectedStream,
    out: &mut StreamEmitter<Whole>,
) -> Result<()> {
    let columns = plan(table, stream);
    let width = table.names.len();
    let nulls = &options.nulls;
    let mut misfits = Misfits::new(columns.len());
    let mut left = options.rows.unwrap_or(u64::MAX);
    if left == 0 {
        return Ok(());
    }
    table.each(|record| {
        let found = record.fields.len();
        if found != width && ragged == RaggedRows::Error {
            return Err(ragged_error(file, record, width));
        }
        let mut row = out.row();
        for (i, column) in columns.iter().enumerate() {
            let fits = match column.field {
                None => {
                    row.null(i);
                    true
                }
                Some(_) if found > width => false,
                Some(at) => match record.fields.get(at) {
                    Some(field) => cell(&mut row, i, column, field, record, nulls, options.quote),
                    None => false,
                },
            };
            if !fits {
                misfits.reject(&mut row, i, || record.line());
            }
        }
        row.end()?;
        left -= 1;
        if left.is_multiple_of(STOP_EVERY) && out.stop_requested() {
            return Err(Error::stopped());
        }
        Ok(left > 0)
    })?;
    misfits.report(stream, "line");
    Ok(())
}

/// Writes one cell; `false` when its value does not fit.
#[inline]
fn cell(
    row: &mut Row<'_>,
    i: usize,
    column: &Column,
    field: &Field,
    record: &Record<'_>,
    nulls: &Nulls,
    quote: Option<u8>,
) -> bool {
    let text = field.of(record.block);
    if text.is_empty() && (!column.is_text || (nulls.empty && !field.quoted)) {
        row.null(i);
        return true;
    }
    if !nulls.everywhere.is_empty() && nulls.everywhere.iter().any(|n| n == text) {
        row.null(i);
        return true;
    }
    if field.doubled {
        if column.is_text && quote == Some(b'"') {
            cells::write_doubled(row, i, text);
            return true;
        }
        return cells::write(row, i, column.field_type, &table::text(field, record.block, quote));
    }
    if cells::write(row, i, column.field_type, text) {
        return true;
    }
    let word = !field.quoted && nulls.words.contains(&text);
    if word {
        row.null(i);
    }
    word
}

fn plan(table: &Table, stream: &SelectedStream) -> Vec<Column> {
    let column = |c: &connector_kit::Column| Column {
        field: table.used.iter().copied().find(|at| table.names[*at] == c.name),
        field_type: c.field_type,
        is_text: matches!(c.field_type, FieldType::String | FieldType::Union),
    };
    stream.columns.iter().map(column).collect()
}

#[cold]
pub(crate) fn ragged_error(file: &str, record: &Record<'_>, width: usize) -> Error {
    let found = record.fields.len();
    let s = if found == 1 { "" } else { "s" };
    crate::error::at_line(
        file,
        record.line(),
        &format!(
            "{found} field{s} where the header has {width}; mend the line, check sep and quotechar, or set ragged_rows to null_and_report"
        ),
    )
}
