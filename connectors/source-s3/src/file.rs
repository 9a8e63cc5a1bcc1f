//! One file of a stream: what columns it has, and its rows. Whether a failure is the
//! store's or the content's is told apart here.

use std::cell::Cell;

use connector_kit::protocol::json;
use connector_kit::{Error, ErrorKind, Result, SelectedStream, StreamEmitter};
use files_kit::json::{self as lines, Shape};
use files_kit::{Avro, Blocks, Options, Parquet, Table, Target, error, nothing_in, rows, sample};
use s3_kit::Store;
use serde_json::{Map, Value};

use crate::format::{Csv, Format, Inference};
use crate::history::Cursor;
use crate::listing::Entry;
use crate::ranges::{self, AskedBody, Place, Ranges, Trouble};
use crate::schema;
use crate::time;
use crate::windows::{self, Windows};

/// Why a file was not read.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The store did not give its bytes.
    Store(s3_kit::Error),
    /// What is in it cannot be read.
    Content(Error),
    /// Neither; the run cannot go on.
    Fatal(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(e) => e.into(),
            Failure::Content(e) | Failure::Fatal(e) => e,
        }
    }
}

/// How the files of a stream are read.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) store: &'a Store,
    pub(crate) format: &'a Format,
    pub(crate) options: &'a Options,
    pub(crate) schemaless: bool,
}

/// A file being read.
struct Open {
    shown: String,
    place: Place,
    trouble: Trouble,
    /// Its first bytes, asked for while the file before it was read.
    first: Cell<Option<AskedBody>>,
}

/// A file that is read soon.
#[derive(Debug)]
pub(crate) struct Ahead {
    pub(crate) entry: Entry,
    first: Option<AskedBody>,
}

impl Open {
    fn text(&self, options: &Options) -> Result<Blocks> {
        let ranges = Ranges::new(self.place.clone(), self.trouble.clone(), self.first.take());
        files_kit::open_text(ranges, &self.shown, options).map_err(|e| error::reading(&self.shown, None, e))
    }

    fn table(&self, options: &Options) -> Result<Option<Table>> {
        Table::open(&self.shown, self.text(options)?, options)
    }

    fn parquet(&self) -> Result<Parquet<Windows>> {
        let windows = Windows::new(self.place.clone(), self.trouble.clone(), self.first.take());
        let watch = windows.watch();
        Parquet::open(&self.shown, windows, watch)
    }

    fn avro(&self, options: &Options) -> Result<Avro> {
        let ranges = Ranges::new(self.place.clone(), self.trouble.clone(), self.first.take());
        Avro::open(&self.shown, Box::new(ranges), options)
    }
}

impl Reader<'_> {
    /// Asks for the first bytes of a file, so that they are there when its turn comes.
    pub(crate) fn ahead(&self, entry: Entry) -> Ahead {
        let place = Place { store: self.store.clone(), entry };
        let (start, end) = match self.format {
            Format::Parquet { .. } => windows::first_range(place.entry.size),
            _ => ranges::first_range(place.entry.size),
        };
        // Without it nothing would say that later bytes are of the same version.
        let first = (!place.entry.etag.is_empty()).then(|| place.ask(start, end));
        Ahead { entry: place.entry, first }
    }

    fn of<T>(&self, entry: &Entry, work: impl FnOnce(&Open) -> Result<T>) -> Result<T, Failure> {
        self.of_ahead(Ahead { entry: entry.clone(), first: None }, work)
    }

    fn of_ahead<T>(&self, file: Ahead, work: impl FnOnce(&Open) -> Result<T>) -> Result<T, Failure> {
        let Ahead { entry, first } = file;
        let open = Open {
            shown: self.store.url(&entry.key),
            place: Place { store: self.store.clone(), entry },
            trouble: Trouble::default(),
            first: Cell::new(first),
        };
        work(&open).map_err(|e| match (e.kind(), open.trouble.take()) {
            (ErrorKind::Stopped, _) => Failure::Fatal(e),
            (_, Some(trouble)) => Failure::Store(trouble),
            (ErrorKind::Config, None) => Failure::Content(e),
            (_, None) => Failure::Fatal(e),
        })
    }

    /// The columns that the file has; none when it is empty.
    pub(crate) fn properties(&self, entry: &Entry) -> Result<Map<String, Value>, Failure> {
        self.of(entry, |file| match self.format {
            Format::Csv(csv) => match file.table(self.options)? {
                Some(mut table) => {
                    let found = sample::table(&file.shown, &mut table, self.options)?;
                    Ok(if csv.inference_type == Inference::Primitive { Csv::primitive(found) } else { found })
                }
                None => Ok(Map::new()),
            },
            Format::Jsonl {} => {
                sample::json(&file.shown, &mut file.text(self.options)?, Shape::Lines, self.options)
            }
            Format::Parquet { .. } => {
                let mut properties = file.parquet()?.properties(self.options)?;
                for (name, _) in schema::partitions(&entry.key) {
                    properties.entry(name).or_insert_with(|| connector_kit::FieldType::String.json_schema());
                }
                Ok(properties)
            }
            Format::Avro { .. } => file.avro(self.options)?.properties(self.options),
        })
    }

    /// Reads the first record, to see that it can be.
    pub(crate) fn first(&self, entry: &Entry) -> Result<(), Failure> {
        self.of(entry, |file| match self.format {
            Format::Csv(_) => match file.table(self.options)? {
                Some(mut table) => table.each(|_| Ok(false)),
                None => Err(nothing_in(&file.shown, self.options)),
            },
            Format::Jsonl {} => {
                let mut blocks = file.text(self.options)?;
                lines::each(&file.shown, &mut blocks, Shape::Lines, self.options, |object| {
                    object.members(|_| ()).map(|()| false)
                })
                .map(|_| ())
            }
            Format::Parquet { .. } => file.parquet()?.properties(self.options).map(|_| ()),
            Format::Avro { .. } => file.avro(self.options)?.properties(self.options).map(|_| ()),
        })
    }

    /// Sends the file's rows.
    pub(crate) fn send(
        &self,
        file: Ahead,
        stream: &SelectedStream,
        out: &mut StreamEmitter<Cursor>,
    ) -> Result<(), Failure> {
        let constants = self.constants(&file.entry, stream);
        let whole = if self.schemaless { stream.column(schema::DATA) } else { None };
        let mut target = Target { stream, out, constants: &constants, whole };
        self.of_ahead(file, |file| match self.format {
            Format::Csv(_) => match file.table(self.options)? {
                Some(mut table) => rows::send(&file.shown, &mut table, self.options, &mut target),
                None => Ok(()),
            },
            Format::Jsonl {} => {
                let mut blocks = file.text(self.options)?;
                lines::send(&file.shown, &mut blocks, Shape::Lines, self.options, &mut target)
            }
            Format::Parquet { .. } => file.parquet()?.send(self.options, &mut target),
            Format::Avro { .. } => file.avro(self.options)?.send(self.options, &mut target),
        })
    }

    /// The columns that are the same in all rows of the file.
    fn constants(&self, entry: &Entry, stream: &SelectedStream) -> Vec<(usize, Vec<u8>)> {
        let text = |text: &str| {
            let mut out = Vec::new();
            json::write_str(&mut out, text);
            out
        };
        let mut constants = Vec::new();
        if matches!(self.format, Format::Parquet { .. }) && !self.schemaless {
            constants.extend(
                schema::partitions(&entry.key)
                    .filter_map(|(name, value)| Some((stream.column(name)?, text(value)))),
            );
        }
        let modified = time::format(entry.modified);
        constants.extend(stream.column(schema::MODIFIED).map(|at| (at, text(&modified))));
        constants.extend(stream.column(schema::URL).map(|at| (at, text(&entry.key))));
        constants
    }
}

impl Csv {
    /// Only the types that Airbyte's inference knows; days and times stay text.
    fn primitive(properties: Map<String, Value>) -> Map<String, Value> {
        use connector_kit::FieldType as F;
        let keep = |schema: Value| match F::of(&schema) {
            F::Boolean | F::Integer | F::Number => schema,
            _ => F::String.json_schema(),
        };
        properties.into_iter().map(|(name, schema)| (name, keep(schema))).collect()
    }
}
