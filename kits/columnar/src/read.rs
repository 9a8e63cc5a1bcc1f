//! Reads Parquet files back: to copy the rows that stay, and for tests.

use std::fs::File;
use std::io::Write;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float64Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
    TimestampMillisecondType,
};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch as Columns};
use arrow_schema::{DataType, TimeUnit};
use arrow_select::filter::filter_record_batch;
use connector_kit::protocol::json;
use connector_kit::{write_date, write_time, write_timestamp};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::Error;
use crate::parquet_file::{ParquetOptions, writer};

/// Decoded rows held at once, about.
const READ_BYTES: i64 = 4 << 20;

/// Hands every row of a file of ours to `take` as a JSON object, in the file's order, with
/// the columns for which `wanted` says so. Text for which `is_json` says so goes in as the
/// JSON it is; `_airbyte_extracted_at` is in milliseconds.
///
/// # Errors
/// When the file cannot be read, or `take` fails.
pub fn json_rows(
    input: File,
    wanted: impl Fn(&str) -> bool,
    is_json: impl Fn(&str) -> bool,
    mut take: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(input)?;
    let indexes: Vec<usize> =
        (0..builder.schema().fields().len()).filter(|i| wanted(builder.schema().field(*i).name())).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), indexes);
    let widest =
        builder.metadata().row_groups().iter().map(|g| g.total_byte_size() / g.num_rows().max(1)).max();
    let batch_rows = (READ_BYTES / widest.unwrap_or(1).max(1)).clamp(1, 8_192);
    let mut row_json = Vec::new();
    for batch in builder.with_projection(mask).with_batch_size(batch_rows as usize).build()? {
        let batch: Columns = batch?;
        let schema = batch.schema();
        let fields: Vec<(Vec<u8>, bool)> = schema
            .fields()
            .iter()
            .map(|field| {
                let mut name = Vec::new();
                json::write_str(&mut name, field.name());
                (name, is_json(field.name()))
            })
            .collect();
        for row in 0..batch.num_rows() {
            row_json.clear();
            for (column, (name, raw)) in batch.columns().iter().zip(&fields) {
                row_json.push(if row_json.is_empty() { b'{' } else { b',' });
                row_json.extend_from_slice(name);
                row_json.push(b':');
                value(&mut row_json, column, row, *raw)?;
            }
            if row_json.is_empty() {
                row_json.push(b'{');
            }
            row_json.push(b'}');
            take(&row_json)?;
        }
    }
    Ok(())
}

fn value(out: &mut Vec<u8>, column: &ArrayRef, row: usize, raw: bool) -> Result<(), Error> {
    if column.is_null(row) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    let quoted = |out: &mut Vec<u8>, write: &dyn Fn(&mut Vec<u8>)| {
        out.push(b'"');
        write(out);
        out.push(b'"');
    };
    let number = |out: &mut Vec<u8>, n: i64| out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
    match column.data_type() {
        DataType::Boolean => {
            let text: &[u8] = if column.as_boolean().value(row) { b"true" } else { b"false" };
            out.extend_from_slice(text);
        }
        DataType::Int64 => number(out, column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => {
            let n = column.as_primitive::<Float64Type>().value(row);
            out.extend_from_slice(zmij::Buffer::new().format_finite(n).as_bytes());
        }
        DataType::Utf8 if raw => out.extend_from_slice(column.as_string::<i32>().value(row).as_bytes()),
        DataType::Utf8 => json::write_str(out, column.as_string::<i32>().value(row)),
        DataType::Date32 => {
            quoted(out, &|out| write_date(out, column.as_primitive::<Date32Type>().value(row)))
        }
        DataType::Time64(_) => {
            quoted(out, &|out| write_time(out, column.as_primitive::<Time64MicrosecondType>().value(row)));
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            number(out, column.as_primitive::<TimestampMillisecondType>().value(row));
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => quoted(out, &|out| {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            write_timestamp(out, micros, zone.is_some());
        }),
        other => return Err(Error::Parquet(format!("a column of type {other} is not of our making"))),
    }
    Ok(())
}

/// Copies the rows for which `keep` says so (rows count from 0) from one file to another,
/// holding one row group of at most `block` bytes. Gives back the sink, the rows read and
/// the rows written.
///
/// # Errors
/// When the file cannot be read or written.
pub fn copy_rows<W: Write + Send>(
    input: File,
    sink: W,
    options: &ParquetOptions,
    block: usize,
    mut keep: impl FnMut(u64) -> bool,
) -> Result<(W, u64, u64), Error> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(input)?;
    let schema = builder.schema().clone();
    let widest =
        builder.metadata().row_groups().iter().map(|g| g.total_byte_size() / g.num_rows().max(1)).max();
    let batch_rows = (READ_BYTES / widest.unwrap_or(1).max(1)).clamp(1, 8_192);
    let mut sink = Some(sink);
    let mut open = None;
    let (mut read, mut written) = (0_u64, 0_u64);
    for batch in builder.with_batch_size(batch_rows as usize).build()? {
        let batch: Columns = batch?;
        let mask: BooleanArray = (0..batch.num_rows() as u64).map(|i| Some(keep(read + i))).collect();
        read += batch.num_rows() as u64;
        let kept = filter_record_batch(&batch, &mask)?;
        if kept.num_rows() == 0 {
            continue;
        }
        if let Some(sink) = sink.take() {
            open = Some(writer(sink, &schema, options, Some(&kept))?);
        }
        if let Some(file) = &mut open {
            file.write(&kept)?;
            written += kept.num_rows() as u64;
            if file.memory_size() > block {
                file.flush()?;
            }
        }
    }
    let file = match (open, sink) {
        (Some(file), _) => file,
        (None, Some(sink)) => writer(sink, &schema, options, None)?,
        (None, None) => return Err(Error::Parquet("the sink is gone".into())),
    };
    Ok((file.into_inner()?, read, written))
}
