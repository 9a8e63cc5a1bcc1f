//! Write a connector: a whole source in one file. It counts.
//!
//! Run it: `cargo run -p connector-kit --example toy_source -- spec`
//!
//! A source needs four things: a config type, `discover`, `read`, and a cursor. A real one
//! puts each into a file of its own (`config.rs`, `discover.rs`, `read.rs`, `types.rs`);
//! `cargo xtask new-connector` lays them out.

use connector_kit::protocol::{Stream, SyncMode};
use connector_kit::schemars::JsonSchema;
use connector_kit::{Connector, Context, Error, Result, SelectedStream, Source, StreamEmitter, Streams};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Counts from 1. The docs of this type and of its fields become the form that users see.
#[derive(Debug, Deserialize, JsonSchema)]
struct Config {
    /// Where to stop.
    #[schemars(range(min = 1))]
    up_to: u32,
    /// The word that goes with each number. Defaults to "sheep".
    #[serde(default = "sheep")]
    word: String,
}

fn sheep() -> String {
    "sheep".into()
}

/// How far a stream was read. Its JSON is the state; keep every version of it readable.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    last: u32,
}

struct ToySource {
    config: Config,
}

impl Connector for ToySource {
    type Config = Config;
    const NAME: &'static str = "toy-source";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    // The config has passed its schema; check here what a schema cannot say.
    async fn connect(config: Config, _: &Context) -> Result<Self> {
        if config.word.trim().is_empty() {
            return Err(Error::config("word is blank; give one, or leave it out for \"sheep\"."));
        }
        Ok(Self { config })
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl Source for ToySource {
    type Cursor = Cursor;

    async fn discover(&self) -> Result<Streams> {
        let schema = json!({"type": "object", "properties": {
            "number": {"type": "integer"},
            "word": {"type": ["null", "string"]},
        }});
        let mut stream = Stream::new("counts", schema);
        stream.supported_sync_modes = vec![SyncMode::FullRefresh, SyncMode::Incremental];
        stream.source_defined_cursor = Some(true);
        stream.default_cursor_field = vec!["number".into()];
        stream.source_defined_primary_key = vec![vec!["number".into()]];
        Ok(Streams::new([stream]))
    }

    async fn read(
        &self,
        stream: &SelectedStream,
        resume: Option<Cursor>,
        out: &mut StreamEmitter<Cursor>,
    ) -> Result<()> {
        // The user may have selected some columns only; the index is what a row wants.
        let (number, word) = (stream.column("number"), stream.column("word"));
        let first = resume.map_or(1, |cursor| cursor.last + 1);
        for n in first..=self.config.up_to {
            let mut row = out.row();
            if let Some(column) = number {
                row.integer(column, n.into());
            }
            if let Some(column) = word {
                row.string(column, &self.config.word);
            }
            // Counted, digested and on its way; dropped without `end` it would never have been.
            row.end()?;
            // "A later run may go on from here." The kit decides which of these become states.
            out.checkpoint(&Cursor { last: n })?;
        }
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    connector_kit::source_main::<ToySource>()
}
