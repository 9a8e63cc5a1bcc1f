//! The connector: wiring only.

use connector_kit::protocol::{Stream, StreamDescriptor};
use connector_kit::{
    Connector, Context, Error, Result, SelectedStream, Source, Stop, StreamEmitter, Streams,
};
use files_kit::Options;
use s3_kit::Store;
use serde_json::{Value, json};

use crate::config::{Config, StreamConfig};
use crate::discover;
use crate::format;
use crate::history::Cursor;
use crate::legacy;
use crate::read::Job;

/// See `README.md`.
#[derive(Debug)]
pub(crate) struct SourceS3 {
    store: Store,
    streams: Vec<(StreamConfig, Options)>,
    start: Option<i64>,
    stop: Stop,
}

impl SourceS3 {
    fn stream(&self, name: &str) -> Option<&(StreamConfig, Options)> {
        self.streams.iter().find(|(config, _)| config.name == name)
    }
}

impl Connector for SourceS3 {
    type Config = Config;
    const NAME: &'static str = "source-s3";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn adapt(config: &mut Value) {
        legacy::adapt(config);
    }

    async fn connect(config: Config, ctx: &Context) -> Result<Self> {
        config.validate()?;
        let store = Store::new(config.settings())?;
        let streams = config
            .streams
            .iter()
            .map(|stream| Ok((stream.clone(), format::options(&config, stream)?)))
            .collect::<Result<_>>()?;
        Ok(Self { store, streams, start: config.start()?, stop: ctx.stop.clone() })
    }

    async fn check(&self) -> Result<()> {
        self.streams
            .iter()
            .try_for_each(|(config, options)| discover::try_first(&self.store, config, options, &self.stop))
    }
}

impl Source for SourceS3 {
    type Cursor = Cursor;

    async fn discover(&self) -> Result<Streams> {
        let streams = self
            .streams
            .iter()
            .map(|(config, options)| discover::stream(&self.store, config, options, &self.stop))
            .collect::<Result<Vec<_>>>()?;
        Ok(Streams::new(streams))
    }

    async fn offered(&self, wanted: &[StreamDescriptor]) -> Result<Vec<Result<Stream>>> {
        let look = |descriptor: &StreamDescriptor| match self.stream(&descriptor.name) {
            // Its columns are those of the configured catalog: no file is looked at for them.
            Some((config, _)) if descriptor.namespace.is_none() => Ok(discover::offer(config, json!({}))),
            _ => {
                let names: Vec<_> = self.streams.iter().take(20).map(|(c, _)| c.name.as_str()).collect();
                Err(Error::config(format!(
                    "Stream {descriptor} is in the catalog but not in streams of the config, which has: {}.",
                    names.join(", ")
                )))
            }
        };
        Ok(wanted.iter().map(look).collect())
    }

    async fn read(
        &self,
        stream: &SelectedStream,
        resume: Option<Cursor>,
        out: &mut StreamEmitter<Cursor>,
    ) -> Result<()> {
        let name = &stream.descriptor.name;
        let (config, options) = self.stream(name).ok_or_else(|| {
            Error::config(format!("Stream {name} is not in streams of the config; run discover again."))
        })?;
        let job = Job { store: &self.store, config, options, start: self.start, stop: &self.stop };
        job.run(stream, resume, out)
    }
}
