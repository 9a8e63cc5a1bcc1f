//! Parquet files: which columns they have, and their rows a small batch at a time. Only
//! selected columns are read. How a value is written is in [`crate::values`].

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field};
use connector_kit::{Column, Error, FieldType, Result, SelectedStream, StreamEmitter};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::LogicalType;
use serde_json::{Map, Value};

use crate::options::{ColumnRef, Options};
use crate::read::Misfits;
use crate::source::Whole;
use crate::values::{self, Values};

/// Decoded rows held at once, about.
const BATCH_BYTES: i64 = 1 << 20;
const MOST_BATCH_ROWS: i64 = 4096;
/// A footer is decoded in memory; real ones are a few megabytes at most.
const MAX_FOOTER_BYTES: u64 = 64 << 20;

/// An open file whose footer was read.
pub(crate) struct Parquet {
    file: String,
    builder: ParquetRecordBatchReaderBuilder<File>,
}

/// A selected column that the file has.
struct Found {
    /// Its place among the file's top-level columns.
    root: usize,
    natural: FieldType,
    uuid: bool,
}

impl Parquet {
    /// `file` is the name for messages.
    pub(crate) fn open(file: &str, mut input: File) -> Result<Self> {
        check_frame(file, &mut input)?;
        // The Arrow schema that some writers embed is another input to trust; Parquet's own types say enough.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder =
            guarded(file, || ParquetRecordBatchReaderBuilder::try_new_with_options(input, options))?;
        Ok(Self { file: file.to_owned(), builder })
    }

    /// The properties of the stream's schema.
    pub(crate) fn properties(&self, options: &Options) -> Result<Map<String, Value>> {
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
            let natural = self.natural(field)?;
            let asked = options
                .types
                .columns
                .iter()
                .find(|(n, _)| n == field.name())
                .map(|(_, t)| *t)
                .or(options.types.all);
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
                "The file {} has no column {missing:?}, which reader_options names.",
                self.file
            )));
        }
        Ok(properties)
    }

    fn natural(&self, field: &Field) -> Result<FieldType> {
        values::field_type(field.data_type()).ok_or_else(|| {
            Error::config(format!(
                "The file {}, column {:?}: its type {} is not supported; choose other columns with usecols in reader_options.",
                self.file,
                field.name(),
                field.data_type()
            ))
        })
    }

    /// Sends the file's rows as the stream's.
    pub(crate) fn read(
        self,
        options: &Options,
        stream: &SelectedStream,
        out: &mut StreamEmitter<Whole>,
    ) -> Result<()> {
        let columns = stream.columns.iter().map(|c| self.find(&c.name)).collect::<Result<Vec<_>>>()?;
        let file = self.file;
        let mut roots: Vec<usize> = columns.iter().flatten().map(|c| c.root).collect();
        roots.sort_unstable();
        let metadata = self.builder.metadata();
        let widest = metadata.row_groups().iter().map(|g| g.total_byte_size() / g.num_rows().max(1)).max();
        let batch_rows = (BATCH_BYTES / widest.unwrap_or(1).max(1)).clamp(1, MOST_BATCH_ROWS);
        let mask = ProjectionMask::roots(self.builder.parquet_schema(), roots.iter().copied());
        let mut builder =
            self.builder.with_projection(mask).with_batch_size(usize::try_from(batch_rows).unwrap_or(1));
        if let Some(rows) = options.rows {
            builder = builder.with_limit(usize::try_from(rows).unwrap_or(usize::MAX));
        }
        let mut reader = guarded(&file, || builder.build())?;
        let mut rows = Rows {
            columns,
            roots,
            stream,
            misfits: Misfits::new(stream.columns.len()),
            sent: 0,
            scratch: Vec::new(),
        };
        while let Some(batch) = guarded(&file, || reader.next().transpose())? {
            rows.send(&batch, out)?;
            if out.stop_requested() {
                return Err(Error::stopped());
            }
        }
        rows.misfits.report(stream, "row");
        Ok(())
    }

    fn find(&self, name: &str) -> Result<Option<Found>> {
        let Some((root, field)) = self.builder.schema().fields().find(name) else { return Ok(None) };
        let node = &self.builder.parquet_schema().root_schema().get_fields()[root];
        let uuid = matches!(node.get_basic_info().logical_type_ref(), Some(LogicalType::Uuid));
        Ok(Some(Found { root, natural: self.natural(field)?, uuid }))
    }
}

/// Writes batches as rows.
struct Rows<'s> {
    columns: Vec<Option<Found>>,
    /// The file's columns that a batch has, in its order.
    roots: Vec<usize>,
    stream: &'s SelectedStream,
    misfits: Misfits,
    sent: u64,
    scratch: Vec<u8>,
}

impl Rows<'_> {
    fn send(&mut self, batch: &RecordBatch, out: &mut StreamEmitter<Whole>) -> Result<()> {
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
            let mut row = out.row();
            for (column, cell) in cells.iter().enumerate() {
                let Some((values, form)) = cell else {
                    row.null(column);
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
                let fits = *form != Form::Misfit && values.write(i, &mut self.scratch);
                match (fits, form) {
                    (true, Form::AsText) if self.scratch.first() != Some(&b'"') => {
                        row.string(column, std::str::from_utf8(&self.scratch).unwrap_or_default());
                    }
                    (true, _) => row.json(column, &self.scratch),
                    (false, _) => self.misfits.reject(&mut row, column, || self.sent),
                }
            }
            row.end()?;
        }
        Ok(())
    }
}

/// How a column's values become what the catalog asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    AsIs,
    /// Their JSON text, as a string.
    AsText,
    /// The catalog wants what they can never be.
    Misfit,
}

impl Form {
    fn of(natural: FieldType, column: &Column) -> Self {
        let wanted = column.field_type;
        let any = wanted == FieldType::Union || column.schema.get("type").is_none();
        if any || wanted == natural || (wanted == FieldType::Number && natural == FieldType::Integer) {
            Self::AsIs
        } else if wanted == FieldType::String {
            Self::AsText
        } else {
            Self::Misfit
        }
    }
}

/// Looks at what the footer claims before a parser believes it.
fn check_frame(file: &str, input: &mut File) -> Result<()> {
    let bad = |what: &str| Err(Error::config(format!("The file {file} {what}.")));
    let mut ends = || {
        let length = input.seek(SeekFrom::End(0))?;
        if length < 12 {
            return Ok::<_, std::io::Error>(None);
        }
        let (mut head, mut tail) = ([0; 4], [0; 8]);
        input.seek(SeekFrom::Start(0))?;
        input.read_exact(&mut head)?;
        input.seek(SeekFrom::End(-8))?;
        input.read_exact(&mut tail)?;
        Ok(Some((length, head, tail)))
    };
    let Some((length, head, tail)) = ends().map_err(|e| crate::error::reading(file, None, e))? else {
        return bad("is too short to be Parquet; it may be empty or cut short");
    };
    let [f0, f1, f2, f3, magic @ ..] = tail;
    let footer = u64::from(u32::from_le_bytes([f0, f1, f2, f3]));
    match (&head, &magic) {
        (b"PARE", _) | (_, b"PARE") => {
            bad("is encrypted Parquet, which is not supported; write it again in the clear")
        }
        (b"PAR1", b"PAR1") if footer > length - 12 || footer > MAX_FOOTER_BYTES => {
            bad("has a footer that claims an impossible size, so it is damaged; write it again")
        }
        (b"PAR1", b"PAR1") => Ok(()),
        (b"PAR1", _) => bad("begins as Parquet but does not end so: it was cut short; write it again"),
        _ => bad("is not Parquet; check format"),
    }
}

/// Runs a step of the Parquet reader, which may panic on files that lie.
fn guarded<T, E: std::fmt::Display>(file: &str, step: impl FnOnce() -> Result<T, E>) -> Result<T> {
    let damaged = || {
        Error::config(format!(
            "The file {file} cannot be read as Parquet; it is damaged or uses what is not supported. Write it again."
        ))
    };
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => Err(damaged().with_source(e.to_string())),
        Err(_) => Err(damaged().with_source("the reader gave up on its content")),
    }
}
