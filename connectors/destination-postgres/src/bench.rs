//! Doors for the benches into the hot path. Not part of the API.

use connector_kit::{RecordBatch, SelectedStream};

use crate::rows::{Constants, RowWriter, Tuples};

/// Rows of one stream to COPY tuples in memory.
#[derive(Debug)]
pub struct Rows {
    writer: RowWriter,
    tuples: Tuples,
}

impl Rows {
    /// As for a table that this run has made, or for one that was there.
    ///
    /// # Panics
    /// When no table can hold the stream.
    #[must_use]
    pub fn new(stream: &SelectedStream, fresh: bool) -> Self {
        let constants = if fresh { Constants::Defaults } else { Constants::Sent };
        Self { writer: RowWriter::new(stream, constants).expect("columns"), tuples: Tuples::default() }
    }

    /// Writes the batch over what was there; returns how many bytes it took.
    ///
    /// # Panics
    /// When a record is none.
    pub fn write(&mut self, batch: &RecordBatch) -> usize {
        self.tuples.clear();
        self.writer.write(batch, &mut self.tuples).expect("records");
        self.tuples.plain.len() + self.tuples.full.len()
    }
}
