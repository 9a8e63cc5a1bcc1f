//! Reads Parquet files back: to copy the rows that stay, and for tests.

use std::fs::File;
use std::io::Write;

use arrow_array::{BooleanArray, RecordBatch as Columns};
use arrow_select::filter::filter_record_batch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::Error;
use crate::parquet_file::{ParquetOptions, writer};

/// Decoded rows held at once, about.
const READ_BYTES: i64 = 4 << 20;

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
