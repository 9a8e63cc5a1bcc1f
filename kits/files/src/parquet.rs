//! Parquet files: which columns they have, and their rows a small batch at a time. Only
//! selected columns are read. How a value is written is in [`crate::values`].

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field};
use connector_kit::protocol::json;
use connector_kit::{Column, Error, FieldType, Result, SelectedStream};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::LogicalType;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::ChunkReader;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error;
use crate::form::Form;
use crate::options::{ColumnRef, Options};
use crate::target::{Misfits, Target};
use crate::values::{self, Values};

/// Decoded rows held at once, about.
const BATCH_BYTES: i64 = 1 << 20;
const MOST_BATCH_ROWS: i64 = 4096;
/// A footer is decoded in memory; real ones are a few megabytes at most.
const MAX_FOOTER_BYTES: u64 = 64 << 20;

/// What a store that is slow to answer is told of the reading, and asked.
pub trait Watch: Send + Sync {
    /// Only these leaf columns will be read, row group after row group.
    fn plan(&self, metadata: &ParquetMetaData, leaves: &ProjectionMask);
    /// Why the last read failed, where it was not the content's fault.
    fn fault(&self) -> Option<io::Error>;
}

/// A file on this machine can do without.
#[derive(Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn plan(&self, _: &ParquetMetaData, _: &ProjectionMask) {}
    fn fault(&self) -> Option<io::Error> {
        None
    }
}

/// An open file whose footer was read.
pub struct Parquet<T: ChunkReader + 'static> {
    file: String,
    builder: ParquetRecordBatchReaderBuilder<T>,
    watch: Arc<dyn Watch>,
}

impl<T: ChunkReader> fmt::Debug for Parquet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parquet").field("file", &self.file).finish_non_exhaustive()
    }
}

/// A selected column that the file has.
struct Found {
    /// Its place among the file's top-level columns.
    root: usize,
    natural: FieldType,
    uuid: bool,
}

impl<T: ChunkReader + 'static> Parquet<T> {
    /// `file` is the name for messages.
    ///
    /// # Errors
    /// When it is not Parquet, is damaged, or cannot be read.
    pub fn open(file: &str, input: T, watch: Arc<dyn Watch>) -> Result<Self> {
        check_frame(file, &input, watch.as_ref())?;
        // The Arrow schema that some writers embed is another input to trust; Parquet's own types say enough.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = guarded(file, watch.as_ref(), || {
            ParquetRecordBatchReaderBuilder::try_new_with_options(input, options)
        })?;
        Ok(Self { file: file.to_owned(), builder, watch })
    }

    /// The properties of the stream's schema.
    ///
    /// # Errors
    /// When a column is of a type that cannot be written, or one that `options` names is not there.
    pub fn properties(&self, options: &Options) -> Result<Map<String, Value>> {
        let fields = self.builder.schema().fields();
        let mut properties = Map::new();
        for (at, field) in fields.iter().enumerate() {
            let wanted = options.columns.as_ref().is_none_or(|columns| {
                columns.iter().any(|c| match c {
                    ColumnRef::Name(name) => name == field.name(),
                    ColumnRef::Position(position) => *position == at,
                })
            });
            if !wanted {
                continue;
            }
            let natural = self.natural(field, options)?;
            let asked = options.types.of(field.name()).or_else(|| {
                (options.decimals_as_text && values::is_decimal(field.data_type()))
                    .then_some(FieldType::String)
            });
            let mut schema = asked.unwrap_or(natural).json_schema();
            if field.data_type() == &DataType::Binary && asked.is_none() {
                schema["contentEncoding"] = "base64".into();
            }
            if properties.insert(field.name().clone(), schema).is_some() {
                return Err(Error::config(format!(
                    "The file {} has two columns called {:?}; write it again with different names.",
                    self.file,
                    field.name()
                )));
            }
        }
        let named = options.types.columns.iter().map(|(name, _)| name).chain(
            options.columns.iter().flatten().filter_map(|c| match c {
                ColumnRef::Name(name) => Some(name),
                ColumnRef::Position(_) => None,
            }),
        );
        if let Some(missing) = named.into_iter().find(|name| !properties.contains_key(*name)) {
            return Err(Error::config(format!(
                "The file {} has no column {missing:?}, which {} names.",
                self.file, options.keys.columns
            )));
        }
        Ok(properties)
    }

    fn natural(&self, field: &Field, options: &Options) -> Result<FieldType> {
        values::field_type(field.data_type()).ok_or_else(|| {
            Error::config(format!(
                "The file {}, column {:?}: its type {} is not supported; {}.",
                self.file,
                field.name(),
                field.data_type(),
                options.keys.columns_out
            ))
        })
    }

    /// Sends the file's rows as the stream's.
    ///
    /// # Errors
    /// For what cannot be read, and when the run was asked to stop.
    pub fn send<C: Serialize + Clone>(self, options: &Options, target: &mut Target<'_, C>) -> Result<()> {
        let stream = target.stream;
        let find = |(i, c): (usize, &Column)| {
            if target.constant(i).is_some() || target.whole == Some(i) {
                return Ok(None);
            }
            self.find(&c.name, options)
        };
        let columns = stream.columns.iter().enumerate().map(find).collect::<Result<Vec<_>>>()?;
        let fields = self.builder.schema().fields().clone();
        let mut roots: Vec<usize> = columns.iter().flatten().map(|c| c.root).collect();
        if target.whole.is_some() {
            fields.iter().try_for_each(|f| self.natural(f, options).map(|_| ()))?;
            roots = (0..fields.len()).collect();
        }
        let (file, watch) = (self.file, self.watch);
        roots.sort_unstable();
        let metadata = self.builder.metadata();
        let widest = metadata.row_groups().iter().map(|g| g.total_byte_size() / g.num_rows().max(1)).max();
        let batch_rows = (BATCH_BYTES / widest.unwrap_or(1).max(1)).clamp(1, MOST_BATCH_ROWS);
        let mask = ProjectionMask::roots(self.builder.parquet_schema(), roots.iter().copied());
        watch.plan(self.builder.metadata(), &mask);
        let mut builder =
            self.builder.with_projection(mask).with_batch_size(usize::try_from(batch_rows).unwrap_or(1));
        if let Some(rows) = options.rows {
            builder = builder.with_limit(usize::try_from(rows).unwrap_or(usize::MAX));
        }
        let mut reader = guarded(&file, watch.as_ref(), || builder.build())?;
        let mut rows = Rows {
            columns,
            names: roots.iter().map(|root| fields[*root].name().clone()).collect(),
            roots,
            stream,
            misfits: Misfits::new(&file, "row", options, stream.columns.len()),
            sent: 0,
            scratch: Vec::new(),
        };
        while let Some(batch) = guarded(&file, watch.as_ref(), || reader.next().transpose())? {
            rows.send(&batch, target)?;
            if target.out.stop_requested() {
                return Err(Error::stopped());
            }
        }
        rows.misfits.report(stream);
        Ok(())
    }

    fn find(&self, name: &str, options: &Options) -> Result<Option<Found>> {
        let Some((root, field)) = self.builder.schema().fields().find(name) else { return Ok(None) };
        let node = &self.builder.parquet_schema().root_schema().get_fields()[root];
        let uuid = matches!(node.get_basic_info().logical_type_ref(), Some(LogicalType::Uuid));
        Ok(Some(Found { root, natural: self.natural(field, options)?, uuid }))
    }
}

/// Writes batches as rows.
struct Rows<'s> {
    columns: Vec<Option<Found>>,
    /// The file's columns that a batch has, in its order.
    roots: Vec<usize>,
    /// What those are called.
    names: Vec<String>,
    stream: &'s SelectedStream,
    misfits: Misfits<'s>,
    sent: u64,
    scratch: Vec<u8>,
}

impl Rows<'_> {
    fn send<C: Serialize + Clone>(&mut self, batch: &RecordBatch, target: &mut Target<'_, C>) -> Result<()> {
        let (constants, whole) = (target.constants, target.whole);
        let everything: Vec<Option<Values<'_>>> = match whole {
            Some(_) => batch.columns().iter().map(|c| Values::of(c.as_ref(), false)).collect(),
            None => Vec::new(),
        };
        let cells: Vec<Option<(Values<'_>, Form)>> = self
            .columns
            .iter()
            .zip(&self.stream.columns)
            .map(|(found, column)| {
                let found = found.as_ref()?;
                let at = self.roots.binary_search(&found.root).ok()?;
                let values = Values::of(batch.column(at).as_ref(), found.uuid)?;
                Some((values, Form::of(found.natural, column)))
            })
            .collect();
        for i in 0..batch.num_rows() {
            self.sent += 1;
            let mut row = target.out.row();
            for (column, cell) in cells.iter().enumerate() {
                let Some((values, form)) = cell else {
                    if let Some((_, json)) = constants.iter().find(|(at, _)| *at == column) {
                        row.json(column, json);
                    } else if whole == Some(column) {
                        row.value(column, |out| object(&self.names, &everything, i, out));
                    } else {
                        row.null(column);
                    }
                    continue;
                };
                if values.is_null(i) {
                    row.null(column);
                    continue;
                }
                if let (Some(text), Form::AsIs | Form::AsText) = (values.text(i), form) {
                    row.string(column, text);
                    continue;
                }
                self.scratch.clear();
                let said = *form != Form::Misfit && values.write(i, &mut self.scratch);
                if !form.write(&mut row, column, said.then_some(&self.scratch[..])) {
                    self.misfits.reject(&mut row, column, || self.sent);
                }
            }
            self.misfits.end(row)?;
        }
        Ok(())
    }
}

/// Row `i` as an object.
fn object(names: &[String], columns: &[Option<Values<'_>>], i: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    for (n, (name, values)) in names.iter().zip(columns).enumerate() {
        if n > 0 {
            out.push(b',');
        }
        json::write_str(out, name);
        out.push(b':');
        match values {
            Some(values) => values.nested(i, out),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
}

/// Looks at what the footer claims before a parser believes it.
fn check_frame<T: ChunkReader>(file: &str, input: &T, watch: &dyn Watch) -> Result<()> {
    let bad = |what: &str| Err(Error::config(format!("The file {file} {what}.")));
    let length = input.len();
    if length < 12 {
        return bad("is too short to be Parquet; it may be empty or cut short");
    }
    let ends = || Ok::<_, ParquetError>((input.get_bytes(length - 8, 8)?, input.get_bytes(0, 4)?));
    let (tail, head) = guarded(file, watch, ends)?;
    let (Some(tail), Some(head)) = (tail.first_chunk::<8>(), head.first_chunk::<4>()) else {
        return bad("ends sooner than it should; it changed or was cut short");
    };
    let [f0, f1, f2, f3, magic @ ..] = *tail;
    let footer = u64::from(u32::from_le_bytes([f0, f1, f2, f3]));
    match (head, &magic) {
        (b"PARE", _) | (_, b"PARE") => {
            bad("is encrypted Parquet, which is not supported; write it again in the clear")
        }
        (b"PAR1", b"PAR1") if footer > length - 12 || footer > MAX_FOOTER_BYTES => {
            bad("has a footer that claims an impossible size, so it is damaged; write it again")
        }
        (b"PAR1", b"PAR1") => Ok(()),
        (b"PAR1", _) => bad("begins as Parquet but does not end so: it was cut short; write it again"),
        _ => bad("is not Parquet; check its format"),
    }
}

/// Runs a step of the Parquet reader, which may panic on files that lie.
fn guarded<T, E: fmt::Display>(
    file: &str,
    watch: &dyn Watch,
    step: impl FnOnce() -> Result<T, E>,
) -> Result<T> {
    let damaged = || {
        Error::config(format!(
            "The file {file} cannot be read as Parquet; it is damaged or uses what is not supported. Write it again."
        ))
    };
    let result = catch_unwind(AssertUnwindSafe(step));
    if !matches!(result, Ok(Ok(_)))
        && let Some(fault) = watch.fault()
    {
        return Err(error::reading(file, None, fault));
    }
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => Err(damaged().with_source(e.to_string())),
        Err(_) => Err(damaged().with_source("the reader gave up on its content")),
    }
}
