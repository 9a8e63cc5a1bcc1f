//! The same suite over Parquet, the default: rows are read back with the Parquet library
//! itself, and every value is spelled as JSON to be compared.

use std::fs::File;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use testkit::conformance::{DestinationSuite, StreamDescriptor};

fn suite() -> DestinationSuite {
    DestinationSuite {
        connector: testkit::Connector::new(env!("CARGO_BIN_EXE_destination-local")),
        config: Box::new(|folder| json!({"destination_path": folder})),
        rows: Box::new(rows),
        holds_nul: true,
    }
}

fn rows(lake: &Path, stream: &StreamDescriptor) -> Vec<String> {
    let mut rows = Vec::new();
    for folder in std::fs::read_dir(lake).into_iter().flatten().flatten() {
        let manifest = std::fs::read(folder.path().join(".ferry-manifest.json")).unwrap_or_default();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap_or_default();
        if manifest["stream"] != stream.name.as_str() {
            continue;
        }
        for file in std::fs::read_dir(folder.path()).unwrap().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if name.ends_with(".parquet") && !name.starts_with('.') {
                let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file.path()).unwrap());
                for batch in reader.unwrap().build().unwrap() {
                    let batch = batch.unwrap();
                    rows.extend((0..batch.num_rows()).map(|row| spell(&batch, row)));
                }
            }
        }
    }
    rows
}

/// The columns of the suite's stream; others are of no interest to it.
fn spell(batch: &RecordBatch, row: usize) -> String {
    let mut members = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if column.is_null(row) {
            continue;
        }
        let value = if let Some(integers) = column.as_primitive_opt::<Int64Type>() {
            integers.value(row).to_string()
        } else if let Some(floats) = column.as_primitive_opt::<Float64Type>() {
            json!(floats.value(row)).to_string()
        } else if let Some(decimals) = column.as_primitive_opt::<Decimal128Type>() {
            let text = decimals.value_as_string(row);
            if text.contains('.') {
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            } else {
                text
            }
        } else if let Some(texts) = column.as_string_opt::<i32>() {
            json!(texts.value(row)).to_string()
        } else {
            continue;
        };
        members.push(format!("{}:{value}", json!(field.name())));
    }
    format!("{{{}}}", members.join(","))
}

testkit::destination_trials!(suite);
testkit::file_trials!(suite);
