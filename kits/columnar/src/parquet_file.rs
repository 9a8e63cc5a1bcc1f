//! A Parquet file that grows row by row.

use std::collections::HashSet;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Float64Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
    TimestampMillisecondType,
};
use arrow_array::{Array, ArrayRef, PrimitiveArray, RecordBatch as Columns, StringArray};
use arrow_schema::{DataType, SchemaRef};
use connector_kit::{BatchRow, Stamp};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use xxhash_rust::xxh3::xxh3_64;

use crate::Error;
use crate::budget::{Budget, Holder};
use crate::buffer::RowBuffer;
use crate::schema::Layout;

/// How pages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Fast, and read everywhere.
    Snappy,
    /// A third smaller, a little slower.
    Zstd,
    /// Slow; for old readers.
    Gzip,
    /// Small, and slow to write.
    Brotli,
    /// The fastest; as the format's LZ4_RAW, which readers agree on, unlike its first LZ4.
    Lz4,
    /// As it is.
    None,
}

/// How files are written.
#[derive(Clone, Debug)]
pub struct ParquetOptions {
    /// The compression of pages.
    pub codec: Codec,
    /// Named in the file's footer.
    pub created_by: String,
    /// About how large a page is, before compression.
    pub page_bytes: usize,
    /// How large a column's dictionary may grow, for columns whose first rows repeat; 0 for no dictionaries.
    pub dictionary_bytes: usize,
}

impl ParquetOptions {
    /// The usual sizes.
    #[must_use]
    pub fn new(codec: Codec, created_by: impl Into<String>) -> Self {
        Self {
            codec,
            created_by: created_by.into(),
            page_bytes: PAGE_BYTES,
            dictionary_bytes: DICTIONARY_BYTES,
        }
    }
}

/// Rows looked at to choose a column's encoding.
const SAMPLE_ROWS: usize = 8_192;
/// A dictionary beyond this size costs more than it saves: twice the CPU and a larger file.
const DICTIONARY_BYTES: usize = 64 << 10;
const PAGE_BYTES: usize = 1 << 20;

/// A Parquet file that grows row by row; see [`Budget`] for when row groups end.
pub struct ParquetFile<W: Write + Send + 'static> {
    inner: Arc<Mutex<Inner<W>>>,
    budget: Arc<Budget>,
}

struct Inner<W: Write + Send + 'static> {
    rows: RowBuffer,
    schema: SchemaRef,
    options: ParquetOptions,
    written_rows: u64,
    state: State<W>,
}

enum State<W: Write + Send + 'static> {
    /// No rows encoded yet: the first batch chooses the encodings.
    New(W),
    Open(Box<ArrowWriter<W>>),
    /// Closed, or broken by an error.
    Gone,
}

impl<W: Write + Send + 'static> fmt::Debug for ParquetFile<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParquetFile").finish_non_exhaustive()
    }
}

/// A file locked for taking rows.
#[derive(Debug)]
pub struct Rows<'a, W: Write + Send + 'static>(MutexGuard<'a, Inner<W>>);

impl<W: Write + Send + 'static> fmt::Debug for Inner<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("rows", &self.written_rows).finish_non_exhaustive()
    }
}

impl<W: Write + Send + 'static> ParquetFile<W> {
    /// An empty file; nothing is written to `sink` before the first rows are encoded.
    pub fn new(
        sink: W,
        layout: &Arc<Layout>,
        stamp: Stamp,
        options: ParquetOptions,
        budget: &Arc<Budget>,
    ) -> Self {
        let inner = Arc::new(Mutex::new(Inner {
            rows: RowBuffer::new(Arc::clone(layout), stamp),
            schema: Arc::clone(&layout.schema),
            options,
            written_rows: 0,
            state: State::New(sink),
        }));
        let holder: Arc<Mutex<dyn Holder>> = inner.clone();
        budget.join(&holder);
        Self { inner, budget: Arc::clone(budget) }
    }

    /// Locks the file for a batch of rows. Call [`Self::balance`] afterwards.
    #[must_use]
    pub fn lock(&self) -> Rows<'_, W> {
        Rows(self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps the budget; call it after each batch of rows.
    ///
    /// # Errors
    /// When writing fails, of this file or of another under the same budget.
    pub fn balance(&self) -> Result<(), Error> {
        self.budget.balance()
    }

    /// The bytes the file has now, about.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.lock().0.state {
            State::Open(writer) => (writer.bytes_written() + writer.in_progress_size()) as u64,
            _ => 0,
        }
    }

    /// Writes the rest and the footer; gives back the sink, the number of rows, and the
    /// stamp for the next file.
    ///
    /// # Errors
    /// When writing fails; the file is then worthless.
    pub fn close(self) -> Result<(W, u64, Stamp), Error> {
        let mut inner = self.lock().0;
        inner.encode()?;
        inner.open(None)?;
        let State::Open(writer) = std::mem::replace(&mut inner.state, State::Gone) else {
            return Err(broken());
        };
        let sink = writer.into_inner()?;
        let spare = Stamp::new(None, None);
        Ok((sink, inner.written_rows, inner.rows.swap_stamp(spare)))
    }
}

impl<W: Write + Send + 'static> Rows<'_, W> {
    /// Where the row's values go.
    #[inline]
    pub fn sink(&mut self) -> &mut RowBuffer {
        &mut self.0.rows
    }

    /// Ends the row.
    ///
    /// # Errors
    /// When writing fails, or a string of the rows at hand is not UTF-8.
    #[inline]
    pub fn end_row(&mut self, row: &BatchRow<'_>) -> Result<(), Error> {
        self.0.rows.end_row(row)?;
        if self.0.rows.is_full() { self.0.encode() } else { Ok(()) }
    }
}

fn broken() -> Error {
    Error::Parquet("the file was given up after an earlier error".into())
}

impl<W: Write + Send + 'static> Inner<W> {
    fn open(&mut self, first: Option<&Columns>) -> Result<(), Error> {
        match std::mem::replace(&mut self.state, State::Gone) {
            State::New(sink) => {
                let writer = writer(sink, &self.schema, &self.options, first)?;
                self.state = State::Open(Box::new(writer));
                Ok(())
            }
            State::Open(writer) => {
                self.state = State::Open(writer);
                Ok(())
            }
            State::Gone => Err(broken()),
        }
    }

    /// Encodes the buffered rows into pages.
    fn encode(&mut self) -> Result<(), Error> {
        if self.rows.rows() == 0 {
            return Ok(());
        }
        let batch = self.rows.take()?;
        self.open(Some(&batch))?;
        if let State::Open(writer) = &mut self.state {
            writer.write(&batch)?;
        }
        self.written_rows += batch.num_rows() as u64;
        self.rows.recycle(batch);
        Ok(())
    }
}

impl<W: Write + Send + 'static> Holder for Inner<W> {
    fn held(&self) -> usize {
        let writer = if let State::Open(writer) = &self.state { writer.memory_size() } else { 0 };
        writer + self.rows.memory()
    }

    fn let_go(&mut self) -> Result<(), Error> {
        if matches!(self.state, State::Gone) {
            return Ok(());
        }
        self.encode()?;
        self.rows.release();
        match &mut self.state {
            State::Open(writer) => Ok(writer.flush()?),
            _ => Ok(()),
        }
    }
}

/// A writer whose encodings suit the first rows.
pub(crate) fn writer<W: Write + Send>(
    sink: W,
    schema: &SchemaRef,
    options: &ParquetOptions,
    first: Option<&Columns>,
) -> Result<ArrowWriter<W>, Error> {
    let codec = match options.codec {
        Codec::Snappy => Compression::SNAPPY,
        Codec::Zstd => Compression::ZSTD(ZstdLevel::try_new(1)?),
        Codec::Gzip => Compression::GZIP(GzipLevel::try_new(6)?),
        Codec::Brotli => Compression::BROTLI(BrotliLevel::try_new(1)?),
        Codec::Lz4 => Compression::LZ4_RAW,
        Codec::None => Compression::UNCOMPRESSED,
    };
    let mut properties = WriterProperties::builder()
        .set_created_by(options.created_by.clone())
        .set_compression(codec)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_data_page_size_limit(options.page_bytes)
        .set_dictionary_page_size_limit(options.dictionary_bytes.max(1))
        .set_dictionary_enabled(false);
    for (field, column) in schema.fields().iter().zip(first.map_or(&[][..], Columns::columns)) {
        if options.dictionary_bytes > 0 && repeats(column) {
            let path = ColumnPath::new(vec![field.name().clone()]);
            properties = properties.set_column_dictionary_enabled(path, true);
        }
    }
    // The Arrow schema adds nothing to types that Parquet has itself.
    let options =
        ArrowWriterOptions::new().with_properties(properties.build()).with_skip_arrow_metadata(true);
    Ok(ArrowWriter::try_new_with_options(sink, Arc::clone(schema), options)?)
}

/// Whether at most a quarter of the values are distinct, so that a dictionary pays.
fn repeats(column: &ArrayRef) -> bool {
    let rows = column.len().min(SAMPLE_ROWS);
    let most = rows / 4 + 1;
    let mut seen = HashSet::with_capacity(most + 1);
    let mut distinct = |hash: u64| {
        seen.insert(hash);
        seen.len() > most
    };
    fn numbers<T: ArrowPrimitiveType>(
        column: &ArrayRef,
        rows: usize,
        distinct: &mut dyn FnMut(u64) -> bool,
    ) -> bool
    where
        T::Native: arrow_buffer::ToByteSlice,
    {
        let Some(array) = column.as_any().downcast_ref::<PrimitiveArray<T>>() else { return false };
        !array.values()[..rows].iter().any(|v| distinct(xxh3_64(arrow_buffer::ToByteSlice::to_byte_slice(v))))
    }
    match column.data_type() {
        DataType::Utf8 => {
            let Some(array) = column.as_any().downcast_ref::<StringArray>() else { return false };
            (0..rows).all(|i| !distinct(xxh3_64(array.value(i).as_bytes())))
        }
        DataType::Int64 => numbers::<Int64Type>(column, rows, &mut distinct),
        DataType::Float64 => numbers::<Float64Type>(column, rows, &mut distinct),
        DataType::Date32 => numbers::<Date32Type>(column, rows, &mut distinct),
        DataType::Time64(_) => numbers::<Time64MicrosecondType>(column, rows, &mut distinct),
        DataType::Timestamp(arrow_schema::TimeUnit::Millisecond, _) => {
            numbers::<TimestampMillisecondType>(column, rows, &mut distinct)
        }
        DataType::Timestamp(..) => numbers::<TimestampMicrosecondType>(column, rows, &mut distinct),
        _ => false,
    }
}
