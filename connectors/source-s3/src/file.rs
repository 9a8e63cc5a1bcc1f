//! One file of a stream: what columns it has, and its rows. Whether a failure is the
//! store's or the content's is told apart here.

use std::cell::Cell;
use std::io::{BufReader, Cursor, Read};

use connector_kit::protocol::json;
use connector_kit::{Error, ErrorKind, Result, SelectedStream, StreamEmitter};
use files_kit::json::{self as lines, Shape};
use files_kit::zip::{Directory, Member, TAIL_BYTES};
use files_kit::{Avro, Blocks, Options, Parquet, Table, Target, error, nothing_in, rows, sample};
use s3_kit::{Bytes, Store};
use serde_json::{Map, Value};

use crate::format::{Csv, Format, Inference};
use crate::history::Cursor as State;
use crate::listing::Entry;
use crate::ranges::{self, AskedBody, Place, Ranges, Trouble};
use crate::schema;
use crate::time;
use crate::windows::{self, Windows};

/// An archive of this size is fetched at once, however many files are in it.
const SMALL_ARCHIVE: u64 = 8 << 20;

/// Files of an archive that are looked at for its columns.
const SAMPLED_MEMBERS: u32 = 10;

/// Whether it is to be read as the files that are in it.
fn is_archive(key: &str) -> bool {
    key.rsplit_once('.').is_some_and(|(_, ending)| ending.eq_ignore_ascii_case("zip"))
}

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
    /// The part of an archive that is read as a file.
    member: Option<Member>,
    /// The archive, where it is small.
    archive: Option<Bytes>,
}

/// A file that is read soon.
#[derive(Debug)]
pub(crate) struct Ahead {
    pub(crate) entry: Entry,
    first: Option<AskedBody>,
}

impl Open {
    /// From its first byte to its last.
    fn content(&self, options: &Options) -> Result<Box<dyn Read>> {
        let (place, trouble) = (self.place.clone(), self.trouble.clone());
        let Some(member) = &self.member else {
            return Ok(Box::new(Ranges::new(place, trouble, self.first.take())));
        };
        let part: Box<dyn Read> = match &self.archive {
            Some(whole) => {
                let end = usize::try_from(member.end()).unwrap_or(usize::MAX).min(whole.len());
                let start = usize::try_from(member.start).unwrap_or(usize::MAX).min(end);
                Box::new(Cursor::new(whole.slice(start..end)))
            }
            None => Box::new(Ranges::part(place, trouble, member.start, member.end())),
        };
        member.open(part, options).map_err(|e| error::reading(&self.shown, None, e))
    }

    fn text(&self, options: &Options) -> Result<Blocks> {
        let content = self.content(options)?;
        files_kit::open_text(content, &self.shown, options).map_err(|e| error::reading(&self.shown, None, e))
    }

    /// Calls `f` with the file, or with each file in it where it is an archive, until it returns `false`.
    fn each(&self, mut f: impl FnMut(&Self, &str) -> Result<bool>) -> Result<()> {
        let key = &self.place.entry.key;
        if !is_archive(key) {
            return f(self, key).map(|_| ());
        }
        let (place, size) = (&self.place, self.place.entry.size);
        let part = |start, end| Ranges::part(place.clone(), self.trouble.clone(), start, end);
        let mut tail = Vec::new();
        let fetched = if size <= SMALL_ARCHIVE { size } else { TAIL_BYTES };
        let found = part(size.saturating_sub(fetched), size)
            .read_to_end(&mut tail)
            .and_then(|_| Directory::find(&tail, size));
        let directory = found.map_err(|e| error::reading(&self.shown, None, e))?;
        let archive = (size <= SMALL_ARCHIVE).then(|| Bytes::from(tail));
        let list: Box<dyn Read> = match &archive {
            // Both lie within the archive: the list was found in it.
            Some(whole) => {
                Box::new(Cursor::new(whole.slice(directory.start as usize..directory.end as usize)))
            }
            None => Box::new(part(directory.start, directory.end)),
        };
        let list = BufReader::with_capacity(64 << 10, list);
        let mut result = Ok(());
        let walked = directory.each::<std::io::Error>(list, |member| {
            let inside = Self {
                shown: format!("{}#{}", self.shown, member.name),
                place: place.clone(),
                trouble: self.trouble.clone(),
                first: Cell::new(None),
                member: Some(member.clone()),
                archive: archive.clone(),
            };
            Ok(f(&inside, &format!("{key}#{}", member.name)).unwrap_or_else(|e| {
                result = Err(e);
                false
            }))
        });
        result.and(walked.map_err(|e| error::reading(&self.shown, None, e)))
    }

    fn table(&self, options: &Options) -> Result<Option<Table>> {
        Table::open(&self.shown, self.text(options)?, options)
    }

    fn parquet(&self) -> Result<Parquet<Windows>> {
        if self.member.is_some() {
            return Err(Error::config(format!(
                "The file {} cannot be read: Parquet within a zip archive is not supported; put the Parquet files into the bucket by themselves.",
                self.shown
            )));
        }
        let windows = Windows::new(self.place.clone(), self.trouble.clone(), self.first.take());
        let watch = windows.watch();
        Parquet::open(&self.shown, windows, watch)
    }

    fn avro(&self, options: &Options) -> Result<Avro> {
        Avro::open(&self.shown, self.content(options)?, options)
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
        let known = !place.entry.etag.is_empty() && !is_archive(&place.entry.key);
        let first = known.then(|| place.ask(start, end));
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
            member: None,
            archive: None,
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
        self.of(entry, |file| {
            let (mut merged, mut files) = (Map::new(), 0);
            file.each(|file, key| {
                let found = self.properties_of(file, key)?;
                files += 1;
                if files == 1 {
                    merged = found;
                } else {
                    schema::merge(&mut merged, found, !matches!(self.format, Format::Jsonl {}));
                }
                Ok(files < SAMPLED_MEMBERS)
            })?;
            Ok(merged)
        })
    }

    fn properties_of(&self, file: &Open, key: &str) -> Result<Map<String, Value>> {
        match self.format {
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
                for (name, _) in schema::partitions(key) {
                    properties.entry(name).or_insert_with(|| connector_kit::FieldType::String.json_schema());
                }
                Ok(properties)
            }
            Format::Avro { .. } => file.avro(self.options)?.properties(self.options),
        }
    }

    /// Reads the first record, to see that it can be.
    pub(crate) fn first(&self, entry: &Entry) -> Result<(), Failure> {
        self.of(entry, |file| file.each(|file, _| self.first_of(file).map(|()| false)))
    }

    fn first_of(&self, file: &Open) -> Result<()> {
        match self.format {
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
        }
    }

    /// Sends the file's rows.
    pub(crate) fn send(
        &self,
        file: Ahead,
        stream: &SelectedStream,
        out: &mut StreamEmitter<State>,
    ) -> Result<(), Failure> {
        let entry = file.entry.clone();
        let whole = if self.schemaless { stream.column(schema::DATA) } else { None };
        self.of_ahead(file, |file| {
            file.each(|file, key| {
                let constants = self.constants(&entry, key, stream);
                let mut target = Target { stream, out: &mut *out, constants: &constants, whole };
                self.send_one(file, &mut target).map(|()| true)
            })
        })
    }

    fn send_one(&self, file: &Open, target: &mut Target<'_, State>) -> Result<()> {
        match self.format {
            Format::Csv(_) => match file.table(self.options)? {
                Some(mut table) => rows::send(&file.shown, &mut table, self.options, target),
                None => Ok(()),
            },
            Format::Jsonl {} => {
                let mut blocks = file.text(self.options)?;
                lines::send(&file.shown, &mut blocks, Shape::Lines, self.options, target)
            }
            Format::Parquet { .. } => file.parquet()?.send(self.options, target),
            Format::Avro { .. } => file.avro(self.options)?.send(self.options, target),
        }
    }

    /// The columns that are the same in all rows of the file.
    fn constants(&self, entry: &Entry, key: &str, stream: &SelectedStream) -> Vec<(usize, Vec<u8>)> {
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
        constants.extend(stream.column(schema::URL).map(|at| (at, text(key))));
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
