//! The connector: which format is read how. Everything below is synchronous; one file is
//! read by one thread.

use connector_kit::{Connector, Context, Result, SelectedStream, Source, StreamEmitter, Streams};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{Config, Format};
use crate::discover;
use crate::json::{self, Shape};
use crate::open::Location;
use crate::options::Options;
use crate::parquet::Parquet;
use crate::read;
use crate::table::Table;

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
            .ok_or_else(|| discover::nothing_in(file))
    }

    fn open_parquet(&self) -> Result<Parquet> {
        Parquet::open(&self.location.shown, self.location.open_file()?)
    }

    fn properties(&self) -> Result<Map<String, Value>> {
        if self.config.format == Format::Parquet {
            return self.open_parquet()?.properties(&self.options);
        }
        let file = &self.location.shown;
        match self.shape() {
            Some(shape) => {
                discover::json(file, &mut self.location.open_text(&self.options)?, shape, &self.options)
            }
            None => discover::table(file, &mut self.open_table()?, &self.options, self.config.ragged_rows),
        }
    }

    fn first_record(&self) -> Result<()> {
        if self.config.format == Format::Parquet {
            return self.open_parquet()?.properties(&self.options).map(|_| ());
        }
        match self.shape() {
            Some(shape) => {
                let mut blocks = self.location.open_text(&self.options)?;
                let found = json::each(&self.location.shown, &mut blocks, shape, |object| {
                    object.members(|_| ()).map(|()| false)
                })?;
                if found == 0 { Err(discover::nothing_in(&self.location.shown)) } else { Ok(()) }
            }
            None => self.open_table()?.each(|_| Ok(false)),
        }
    }

    fn rows(&self, stream: &SelectedStream, out: &mut StreamEmitter<Whole>) -> Result<()> {
        let file = &self.location.shown;
        if self.config.format == Format::Parquet {
            return self.open_parquet()?.read(&self.options, stream, out);
        }
        match self.shape() {
            Some(shape) => json::read(
                file,
                &mut self.location.open_text(&self.options)?,
                shape,
                &self.options,
                stream,
                out,
            ),
            None => read::table(
                file,
                &mut self.open_table()?,
                &self.options,
                self.config.ragged_rows,
                stream,
                out,
            ),
        }
    }
}

impl Connector for SourceFile {
    type Config = Config;
    const NAME: &'static str = "source-file";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    async fn connect(config: Config, ctx: &Context) -> Result<Self> {
        config.validate()?;
        let options = Options::parse(config.reader_options.as_deref(), config.format)?;
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
        Ok(discover::streams(&self.config.dataset_name, self.properties()?))
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
