//! The connector: which format is read how. Everything below is synchronous; one file is
//! read by one thread.

use std::fs::File;
use std::sync::Arc;

use connector_kit::protocol::Stream;
use connector_kit::{Connector, Context, Result, SelectedStream, Source, StreamEmitter, Streams};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use files_kit::json::{self, Shape};
use files_kit::{Options, Parquet, Table, Target, Unwatched, nothing_in, rows, sample};

use crate::config::{Config, Format};
use crate::open::Location;
use crate::options;

/// A file is always read whole: there is nothing to go on from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Whole {}

/// See `README.md`.
#[derive(Debug)]
pub(crate) struct SourceFile {
    config: Config,
    options: Options,
    location: Location,
}

impl SourceFile {
    fn shape(&self) -> Option<Shape> {
        match self.config.format {
            Format::Json => Some(Shape::Document),
            Format::Jsonl => Some(Shape::Lines),
            Format::Csv | Format::Tsv | Format::Parquet => None,
        }
    }

    fn open_table(&self) -> Result<Table> {
        let file = &self.location.shown;
        Table::open(file, self.location.open_text(&self.options)?, &self.options)?
            .ok_or_else(|| nothing_in(file, &self.options))
    }

    fn open_parquet(&self) -> Result<Parquet<File>> {
        Parquet::open(&self.location.shown, self.location.open_file()?, Arc::new(Unwatched))
    }

    fn properties(&self) -> Result<Map<String, Value>> {
        if self.config.format == Format::Parquet {
            return self.open_parquet()?.properties(&self.options);
        }
        let file = &self.location.shown;
        match self.shape() {
            Some(shape) => {
                sample::json(file, &mut self.location.open_text(&self.options)?, shape, &self.options)
            }
            None => sample::table(file, &mut self.open_table()?, &self.options),
        }
    }

    fn first_record(&self) -> Result<()> {
        if self.config.format == Format::Parquet {
            return self.open_parquet()?.properties(&self.options).map(|_| ());
        }
        match self.shape() {
            Some(shape) => {
                let mut blocks = self.location.open_text(&self.options)?;
                let found = json::each(&self.location.shown, &mut blocks, shape, &self.options, |object| {
                    object.members(|_| ()).map(|()| false)
                })?;
                if found == 0 { Err(nothing_in(&self.location.shown, &self.options)) } else { Ok(()) }
            }
            None => self.open_table()?.each(|_| Ok(false)),
        }
    }

    fn rows(&self, stream: &SelectedStream, out: &mut StreamEmitter<Whole>) -> Result<()> {
        let file = &self.location.shown;
        let mut target = Target { stream, out, constants: &[], whole: None };
        if self.config.format == Format::Parquet {
            return self.open_parquet()?.send(&self.options, &mut target);
        }
        match self.shape() {
            Some(shape) => {
                let mut blocks = self.location.open_text(&self.options)?;
                json::send(file, &mut blocks, shape, &self.options, &mut target)
            }
            None => rows::send(file, &mut self.open_table()?, &self.options, &mut target),
        }
    }
}

/// The one stream of the file.
fn streams(name: &str, properties: Map<String, Value>) -> Streams {
    let schema = serde_json::json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": properties,
    });
    Streams::new([Stream::new(name, schema)])
}

impl Connector for SourceFile {
    type Config = Config;
    const NAME: &'static str = "source-file";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    async fn connect(config: Config, ctx: &Context) -> Result<Self> {
        config.validate()?;
        let options = options::of(&config)?;
        let location = Location::new(&config, &ctx.stop);
        Ok(Self { config, options, location })
    }

    async fn check(&self) -> Result<()> {
        self.first_record()
    }
}

impl Source for SourceFile {
    type Cursor = Whole;

    async fn discover(&self) -> Result<Streams> {
        Ok(streams(&self.config.dataset_name, self.properties()?))
    }

    async fn read(
        &self,
        stream: &SelectedStream,
        _: Option<Whole>,
        out: &mut StreamEmitter<Whole>,
    ) -> Result<()> {
        self.rows(stream, out)
    }
}
