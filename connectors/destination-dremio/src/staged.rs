//! Rows into one table by COPY INTO: Parquet files in a store, loaded together by one statement. Only files of this very
//! flush are named in it, so what an earlier run left there is never loaded.

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Date32Builder, Float64Builder, Int64Builder, StringBuilder, Time32MillisecondBuilder,
    TimestampMillisecondBuilder,
};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use connector_kit::{BatchRow, Error, Result, tracing};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::cells::Cell;
use crate::insert::{Arrival, Arrived, Range};
use crate::names::{ADDED, Place};
use crate::room::Share;
use crate::rows::{CellSink, Record, RowReader};
use crate::session::Session;
use crate::staging::Stage;
use crate::table::Layout;
use crate::types::ColumnType;

/// Rows are encoded when they have about so many bytes.
const BATCH_BYTES: usize = 2 << 20;
/// How many files one COPY INTO may name.
const MOST_FILES: usize = 1_000;

/// Puts rows into files.
#[derive(Debug)]
pub(crate) struct Stager {
    table: Place,
    stage: Stage,
    schema: SchemaRef,
    columns: Columns,
    /// Bytes of the rows in `columns`, and the id of the first.
    held: usize,
    first: Option<String>,
    share: Share,
    file: Option<OpenFile>,
    /// In the store, to be loaded.
    files: Vec<String>,
    arrived: Option<Arrived>,
}

struct OpenFile {
    name: String,
    writer: ArrowWriter<Vec<u8>>,
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenFile").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Stager {
    pub(crate) fn new(table: Place, layout: &Layout, stage: Stage, share: Share) -> Self {
        let fields = layout
            .columns
            .iter()
            .zip(&layout.types)
            .map(|(name, kind)| Field::new(name, data_type(*kind), true));
        Self {
            table,
            stage,
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            columns: Columns(layout.types.iter().map(|kind| Column::new(*kind)).collect()),
            held: 0,
            first: None,
            share,
            file: None,
            files: Vec::new(),
            arrived: None,
        }
    }

    /// Takes a record.
    pub(crate) async fn take(
        &mut self,
        rows: &mut RowReader,
        id: [u8; 36],
        row: &BatchRow<'_>,
    ) -> Result<()> {
        let record = Record::of(&id, row);
        let added = rows.read(record, usize::MAX, &mut self.columns)?;
        self.held += row.data.len() + added.meta.len() + 64;
        let head = [
            record.raw_id(),
            record.extracted_at(),
            Cell::Text(added.meta.into()),
            Cell::Integer(rows.generation()),
        ];
        head.iter().zip(&mut self.columns.0).for_each(|(cell, column)| column.push(cell));
        let id = String::from_utf8_lossy(&id).into_owned();
        let range = Range { first: id.clone(), last: id.clone(), rows: 1 };
        Arrived::join(&mut self.arrived, Arrived { range, deletions: added.is_deletion });
        self.first.get_or_insert(id);
        if self.held >= BATCH_BYTES {
            self.encode()?;
        }
        let in_file =
            self.file.as_ref().map_or(0, |f| f.writer.in_progress_size() + f.writer.bytes_written());
        // Alone, it may hold as much as all others would.
        if self.share.holds(self.held + in_file) {
            self.put().await?;
        }
        Ok(())
    }

    /// Moves the rows at hand into the file, which is opened no sooner: an open one takes memory of its own.
    fn encode(&mut self) -> Result<()> {
        let Some(first) = self.first.take() else { return Ok(()) };
        self.held = 0;
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), self.columns.finish())
            .map_err(|e| Error::system("Rows cannot be made columns; please report it.").with_source(e))?;
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open(first, &self.schema)?),
        };
        file.writer.write(&batch).map_err(broken)
    }

    /// Ends the open file and puts it into the store.
    async fn put(&mut self) -> Result<()> {
        self.encode()?;
        let Some(file) = self.file.take() else { return Ok(()) };
        let bytes = file.writer.into_inner().map_err(broken)?;
        // Noted before it is there, so that it is removed whatever becomes of it.
        self.files.push(file.name.clone());
        self.share.holds(0);
        self.stage.put(&file.name, bytes).await
    }

    /// Loads what waits; nothing, if nothing does.
    pub(crate) async fn load(&mut self, session: &Session) -> Result<Option<Arrived>> {
        self.put().await?;
        let Some(arrived) = self.arrived.take() else { return Ok(None) };
        if self.files.len() > MOST_FILES {
            return Err(Error::system(
                "More files were staged than one COPY INTO can name; please report it.",
            ));
        }
        let sql = self.stage.copy_into(&self.table, &self.files);
        let doing = format!("copy staged files into the table {}", self.table);
        let work = Arrival { table: &self.table, range: &arrived.range, verb: "COPY INTO" };
        session
            .once(&doing, (&sql).into(), &work)
            .await
            .map_err(|failure| explained_copy(failure.explained(&doing)))?;
        let found = arrived.range.count(session, &self.table).await?;
        if found != arrived.range.rows {
            return Err(Error::system(format!(
                "Dremio has {found} of {} rows that were copied into the table {}; the staged files and `staging.location` may not be the same folder.",
                arrived.range.rows, self.table
            )));
        }
        self.clean_up().await;
        Ok(Some(arrived))
    }

    /// Drops what waits.
    pub(crate) async fn forget(&mut self) {
        drop(self.columns.finish());
        self.held = 0;
        self.first = None;
        self.arrived = None;
        self.share.holds(0);
        self.clean_up().await;
    }

    /// Removes the files. What cannot be removed is in nobody's way.
    pub(crate) async fn clean_up(&mut self) {
        self.file = None;
        let files = std::mem::take(&mut self.files);
        if !files.is_empty()
            && let Err(error) = self.stage.remove(&files).await
        {
            tracing::warn!(
                "{} staged files are of no more use and could not be removed: {error}",
                files.len()
            );
        }
    }

    /// Whether it is time to load: more files than that cannot be loaded at once.
    pub(crate) fn is_full(&self) -> bool {
        self.files.len() >= MOST_FILES - 1
    }
}

fn open(first: String, schema: &SchemaRef) -> Result<OpenFile> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_dictionary_page_size_limit(64 << 10)
        .set_created_by(concat!("destination-dremio ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(schema), Some(properties)).map_err(broken)?;
    Ok(OpenFile { name: format!("{first}.parquet"), writer })
}

/// A file of one row, for the check.
pub(crate) fn sample() -> Result<Vec<u8>> {
    let columns: [(&str, ArrayRef); 2] =
        [("id", Arc::new(Int64Array::from(vec![2]))), ("note", Arc::new(StringArray::from(vec!["staged"])))];
    let batch = RecordBatch::try_from_iter(columns)
        .map_err(|e| Error::system("Rows cannot be made columns; please report it.").with_source(e))?;
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).map_err(broken)?;
    writer.write(&batch).map_err(broken)?;
    writer.into_inner().map_err(broken)
}

fn broken(e: parquet::errors::ParquetError) -> Error {
    Error::system("Rows cannot be written as Parquet; please report it.").with_source(e)
}

/// Says what else may be wrong with a COPY INTO.
fn explained_copy(error: Error) -> Error {
    let text = format!(
        "{} With `staging`: check that `staging.location` leads to the folder in the bucket.",
        error.message()
    );
    let make = match error.kind() {
        connector_kit::ErrorKind::Config => Error::config,
        connector_kit::ErrorKind::Transient => Error::transient,
        _ => Error::system,
    };
    make(text).with_source(error)
}

fn data_type(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::BigInt => DataType::Int64,
        ColumnType::Double => DataType::Float64,
        ColumnType::Date => DataType::Date32,
        ColumnType::Time => DataType::Time32(TimeUnit::Millisecond),
        ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, None),
        ColumnType::Varchar => DataType::Utf8,
    }
}

/// The rows at hand, column by column.
#[derive(Debug)]
struct Columns(Vec<Column>);

impl CellSink for Columns {
    fn cell(&mut self, column: usize, cell: &Cell<'_>) {
        self.0[ADDED.len() + column].push(cell);
    }
}

impl Columns {
    fn finish(&mut self) -> Vec<ArrayRef> {
        self.0.iter_mut().map(Column::finish).collect()
    }
}

#[derive(Debug)]
enum Column {
    Boolean(BooleanBuilder),
    BigInt(Int64Builder),
    Double(Float64Builder),
    Date(Date32Builder),
    Time(Time32MillisecondBuilder),
    Timestamp(TimestampMillisecondBuilder),
    Varchar(StringBuilder),
}

impl Column {
    fn new(kind: ColumnType) -> Self {
        match kind {
            ColumnType::Boolean => Self::Boolean(BooleanBuilder::new()),
            ColumnType::BigInt => Self::BigInt(Int64Builder::new()),
            ColumnType::Double => Self::Double(Float64Builder::new()),
            ColumnType::Date => Self::Date(Date32Builder::new()),
            ColumnType::Time => Self::Time(Time32MillisecondBuilder::new()),
            ColumnType::Timestamp => Self::Timestamp(TimestampMillisecondBuilder::new()),
            ColumnType::Varchar => Self::Varchar(StringBuilder::new()),
        }
    }

    /// Takes a cell of its own type; anything else is null.
    fn push(&mut self, cell: &Cell<'_>) {
        match (self, cell) {
            (Self::Boolean(out), Cell::Bool(b)) => out.append_value(*b),
            (Self::Boolean(out), _) => out.append_null(),
            (Self::BigInt(out), Cell::Integer(n)) => out.append_value(*n),
            (Self::BigInt(out), _) => out.append_null(),
            (Self::Double(out), Cell::Double(n)) => out.append_value(*n),
            (Self::Double(out), _) => out.append_null(),
            (Self::Date(out), Cell::Date(days)) => out.append_value(*days),
            (Self::Date(out), _) => out.append_null(),
            (Self::Time(out), Cell::Time(millis)) => out.append_value(*millis),
            (Self::Time(out), _) => out.append_null(),
            (Self::Timestamp(out), Cell::Timestamp(millis)) => out.append_value(*millis),
            (Self::Timestamp(out), _) => out.append_null(),
            // A batch was checked to be UTF-8 before.
            (Self::Varchar(out), Cell::Text(text)) => out.append_value(String::from_utf8_lossy(text)),
            (Self::Varchar(out), _) => out.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Boolean(out) => Arc::new(out.finish()),
            Self::BigInt(out) => Arc::new(out.finish()),
            Self::Double(out) => Arc::new(out.finish()),
            Self::Date(out) => Arc::new(out.finish()),
            Self::Time(out) => Arc::new(out.finish()),
            Self::Timestamp(out) => Arc::new(out.finish()),
            Self::Varchar(out) => Arc::new(out.finish()),
        }
    }
}
