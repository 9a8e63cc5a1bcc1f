//! The few rows that statements of ours answer with.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, UInt64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, SchemaRef};

/// An answer, whole.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) schema: Option<SchemaRef>,
}

impl Table {
    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// The number in the first row's first column.
    #[must_use]
    pub fn number(&self) -> Option<i64> {
        let column = self.batches.iter().find(|b| b.num_rows() > 0)?.columns().first()?;
        if column.is_null(0) {
            return None;
        }
        match column.data_type() {
            DataType::Int64 => Some(column.as_primitive::<Int64Type>().value(0)),
            DataType::Int32 => Some(i64::from(column.as_primitive::<Int32Type>().value(0))),
            DataType::UInt64 => i64::try_from(column.as_primitive::<UInt64Type>().value(0)).ok(),
            _ => None,
        }
    }

    /// The text in each row's `column`; empty for nulls and for what is no text.
    #[must_use]
    pub fn texts(&self, column: usize) -> Vec<String> {
        let mut texts = Vec::new();
        for batch in &self.batches {
            let Some(array) = batch.columns().get(column) else { continue };
            for row in 0..batch.num_rows() {
                let text = match array.data_type() {
                    _ if array.is_null(row) => "",
                    DataType::Utf8 => array.as_string::<i32>().value(row),
                    DataType::LargeUtf8 => array.as_string::<i64>().value(row),
                    DataType::Utf8View => array.as_string_view().value(row),
                    _ => "",
                };
                texts.push(text.to_owned());
            }
        }
        texts
    }
}
