//! Avro container files that grow row by row.

mod codec;
mod encode;
mod names;
mod schema;

use std::io::Write;
use std::sync::Arc;

use connector_kit::{BatchRow, Stamp};
use xxhash_rust::xxh3::xxh3_128;

use crate::Error;
use crate::buffer::RowBuffer;
use crate::schema::Layout;

pub use codec::AvroCodec;
use encode::{Cells, write_bytes, write_long};

/// Rows compressed at once: large enough for codecs, and small for readers, which hold a block in memory.
const BLOCK_BYTES: usize = 256 << 10;

/// How a file is written, and what its records are called.
#[derive(Clone, Debug)]
pub struct AvroStyle {
    /// The compression of blocks.
    pub codec: AvroCodec,
    /// The stream.
    pub name: String,
    /// Its namespace.
    pub namespace: Option<String>,
}

/// A file whose records have the layout's columns; objects and arrays are records and arrays where the layout is
/// [nested](Layout::nested).
#[derive(Debug)]
pub struct AvroFile<W: Write> {
    sink: W,
    rows: RowBuffer,
    codec: AvroCodec,
    sync: [u8; 16],
    block: Vec<u8>,
    packed: Vec<u8>,
    block_rows: i64,
    rows_written: u64,
    bytes_written: u64,
}

impl<W: Write> AvroFile<W> {
    /// A file without rows: its header is written at once.
    ///
    /// # Errors
    /// When writing fails.
    pub fn new(
        mut sink: W,
        layout: &Arc<Layout>,
        mut stamp: Stamp,
        style: &AvroStyle,
    ) -> Result<Self, Error> {
        let sync = xxh3_128(stamp.next_id()).to_be_bytes();
        let schema = schema::text(layout, &style.name, style.namespace.as_deref());
        let mut header = b"Obj\x01".to_vec();
        write_long(&mut header, 2);
        for (key, value) in [("avro.schema", schema.as_str()), ("avro.codec", style.codec.name())] {
            write_bytes(&mut header, key.as_bytes());
            write_bytes(&mut header, value.as_bytes());
        }
        write_long(&mut header, 0);
        header.extend_from_slice(&sync);
        sink.write_all(&header)?;
        Ok(Self {
            sink,
            rows: RowBuffer::new(Arc::clone(layout), stamp),
            codec: style.codec,
            sync,
            block: Vec::new(),
            packed: Vec::new(),
            block_rows: 0,
            rows_written: 0,
            bytes_written: header.len() as u64,
        })
    }

    /// Where a row's values go.
    #[inline]
    pub fn sink(&mut self) -> &mut RowBuffer {
        &mut self.rows
    }

    /// Ends the row.
    ///
    /// # Errors
    /// When writing fails, or a string of the rows at hand is not UTF-8.
    #[inline]
    pub fn end_row(&mut self, row: &BatchRow<'_>) -> Result<(), Error> {
        self.rows.end_row(row)?;
        if self.rows.is_full() { self.encode() } else { Ok(()) }
    }

    /// Encodes the rows of a batch, so that a file that waits for more holds little.
    ///
    /// # Errors
    /// When writing fails, or a string is not UTF-8.
    pub fn end_batch(&mut self) -> Result<(), Error> {
        self.encode()
    }

    /// The bytes the file has now, about.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.bytes_written + self.block.len() as u64
    }

    /// Writes the rest; gives back the sink, the number of rows, and the stamp for the next file.
    ///
    /// # Errors
    /// When writing fails; the file is then worthless.
    pub fn close(mut self) -> Result<(W, u64, Stamp), Error> {
        self.encode()?;
        self.end_block()?;
        Ok((self.sink, self.rows_written, self.rows.swap_stamp(Stamp::new(None, None))))
    }

    fn encode(&mut self) -> Result<(), Error> {
        let rows = self.rows.rows();
        if rows == 0 {
            return Ok(());
        }
        let batch = self.rows.take()?;
        let schema = batch.schema();
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (field, array) in schema.fields().iter().zip(batch.columns()) {
            columns.push(Cells::of(array.as_ref(), field.is_nullable())?);
        }
        for row in 0..rows {
            columns.iter().for_each(|column| column.write(&mut self.block, row));
            self.block_rows += 1;
            self.rows_written += 1;
            if self.block.len() >= BLOCK_BYTES {
                end_block(
                    &mut self.sink,
                    self.codec,
                    &self.sync,
                    (&mut self.block, &mut self.packed),
                    (&mut self.block_rows, &mut self.bytes_written),
                )?;
            }
        }
        drop(columns);
        self.rows.recycle(batch);
        Ok(())
    }

    fn end_block(&mut self) -> Result<(), Error> {
        end_block(
            &mut self.sink,
            self.codec,
            &self.sync,
            (&mut self.block, &mut self.packed),
            (&mut self.block_rows, &mut self.bytes_written),
        )
    }
}

/// Writes a block: how many records, how many bytes, these, and the mark by which readers find the next.
fn end_block<W: Write>(
    sink: &mut W,
    codec: AvroCodec,
    sync: &[u8; 16],
    (block, packed): (&mut Vec<u8>, &mut Vec<u8>),
    (rows, written): (&mut i64, &mut u64),
) -> Result<(), Error> {
    if *rows == 0 {
        return Ok(());
    }
    codec.pack(block, packed)?;
    let mut head = Vec::with_capacity(20);
    write_long(&mut head, std::mem::take(rows));
    write_long(&mut head, i64::try_from(packed.len()).unwrap_or(i64::MAX));
    sink.write_all(&head)?;
    sink.write_all(packed)?;
    sink.write_all(sync)?;
    *written += (head.len() + packed.len() + sync.len()) as u64;
    block.clear();
    // One large record must not keep its memory.
    block.shrink_to(BLOCK_BYTES * 2);
    packed.shrink_to(BLOCK_BYTES * 2);
    Ok(())
}
