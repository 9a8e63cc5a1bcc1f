//! Where the rows of a file go: the stream's columns, those of them that the file does not
//! fill itself, and what became of values that did not fit.

use connector_kit::protocol::ChangeReason;
use connector_kit::{Error, Result, Row, SelectedStream, StreamEmitter, tracing};
use serde::Serialize;

use crate::options::{OnMisfit, Options};

/// A stream that takes the rows of a file.
#[derive(Debug)]
pub struct Target<'a, C> {
    /// The stream, by whose columns rows are written.
    pub stream: &'a SelectedStream,
    /// Its emitter.
    pub out: &'a mut StreamEmitter<C>,
    /// Columns, by their place, that hold the same JSON in every row of the file.
    pub constants: &'a [(usize, Vec<u8>)],
    /// The column that takes whole records as objects, where the stream has no schema.
    pub whole: Option<usize>,
}

impl<C: Serialize + Clone> Target<'_, C> {
    /// The constant that `column` holds.
    #[must_use]
    pub fn constant(&self, column: usize) -> Option<&[u8]> {
        self.constants.iter().find(|(at, _)| *at == column).map(|(_, json)| json.as_slice())
    }
}

/// The cause of the error that ends a file whose values do not fit, where that is asked for.
#[derive(Debug, thiserror::Error)]
#[error("a value does not fit its column")]
pub struct DoesNotFit;

/// Values that did not fit their column: sent as null and noted in the record, or the reason
/// why it is left out; and told at the end.
#[derive(Debug)]
pub struct Misfits<'a> {
    file: &'a str,
    /// What positions count: line or row.
    unit: &'static str,
    on: OnMisfit,
    types_key: &'static str,
    columns: Vec<(u64, u64)>,
    /// In the row at hand.
    found: bool,
    rows_left_out: u64,
}

impl<'a> Misfits<'a> {
    pub(crate) fn new(file: &'a str, unit: &'static str, options: &Options, columns: usize) -> Self {
        Self {
            file,
            unit,
            on: options.misfits,
            types_key: options.keys.types,
            columns: vec![(0, 0); columns],
            found: false,
            rows_left_out: 0,
        }
    }

    /// Rejects the value; `line` is only asked for the first of a column.
    #[cold]
    pub(crate) fn reject(&mut self, row: &mut Row<'_>, column: usize, line: impl FnOnce() -> u64) {
        row.reject(column, ChangeReason::SourceSerializationError);
        self.found = true;
        let (count, first) = &mut self.columns[column];
        if *count == 0 {
            *first = line();
        }
        *count += 1;
    }

    /// Ends the row, or leaves it out, as the policy has it.
    #[inline]
    pub(crate) fn end(&mut self, row: Row<'_>) -> Result<()> {
        if self.found { self.end_misfit(row) } else { row.end() }
    }

    #[cold]
    fn end_misfit(&mut self, row: Row<'_>) -> Result<()> {
        self.found = false;
        match self.on {
            OnMisfit::NullAndReport => return row.end(),
            OnMisfit::SkipRow => {
                self.rows_left_out += 1;
                return Ok(());
            }
            OnMisfit::Stop => {}
        }
        let Some((column, (_, place))) = self.columns.iter().enumerate().find(|(_, (count, _))| *count > 0)
        else {
            return row.end();
        };
        let (file, unit) = (self.file, self.unit);
        Err(Error::config(format!(
            "The file {file}, {unit} {place}: the value of column {:?} does not fit its type, and the stream's validation policy is to wait. Run discover and accept the new schema, or choose another policy.",
            row.name(column)
        ))
        .with_source(DoesNotFit))
    }

    /// Says what was found, once the file was read.
    pub(crate) fn report(&self, stream: &SelectedStream) {
        let (file, unit) = (self.file, self.unit);
        for (column, (count, first)) in
            stream.columns.iter().zip(&self.columns).filter(|(_, (count, _))| *count > 0)
        {
            let done = if self.on == OnMisfit::SkipRow {
                "their rows were left out"
            } else {
                "were sent as null, each noted in its record"
            };
            tracing::warn!(
                "Column {:?}: {count} values did not fit its type and {done}; the first is on {unit} {first} of {file}. \
                 To keep them, read the column as text: {}.",
                column.name,
                self.types_key
            );
        }
        if self.rows_left_out > 0 {
            tracing::warn!("{} rows of {file} were left out in all.", self.rows_left_out);
        }
    }
}

/// Whether to go on is asked once in this many records.
pub(crate) const STOP_EVERY: u64 = 1024;

/// The error for a file of which nothing can be learnt.
#[must_use]
pub fn nothing_in(file: &str, options: &Options) -> Error {
    Error::config(format!(
        "The file {file} is empty or holds no record, so its columns are not known; check {}, or sync it once it has content.",
        options.keys.place
    ))
}
