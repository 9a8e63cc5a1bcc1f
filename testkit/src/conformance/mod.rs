//! The conformance suite: what every connector must do, tried on the built binary.
//!
//! A connector's `tests/conformance.rs` makes a [`SourceSuite`] or [`DestinationSuite`] and
//! hands it to [`source_trials!`](crate::source_trials) or
//! [`destination_trials!`](crate::destination_trials), which make one test of each trial.
//! Nothing here knows a connector: what a trial expects is what the protocol, the
//! platform or ARCHITECTURE.md's invariants demand of all of them.

use std::any::Any;
use std::path::Path;

use protocol::{Catalog, Message, SyncMode};
use serde_json::{Value, json};

use crate::folder::Folder;
use crate::output::Output;
use crate::process::Connector;

pub mod catalogs;
pub mod configs;
pub mod destination;
pub mod feed;
pub mod intake;
pub mod modes;
pub mod reading;
pub mod schema;
pub mod spec;
pub mod states;
pub mod stopping;
mod trials;

pub use protocol::StreamDescriptor;

/// What a second read with the first one's final state does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// Nothing is new: an incremental source.
    SendsNothing,
    /// The source has no incremental streams, or always sends everything.
    SendsAllAgain,
}

/// A source and what it can be tried with.
#[derive(Debug)]
pub struct SourceSuite {
    /// The built binary.
    pub connector: Connector,
    /// Some hundred rows; the same ones each time.
    pub config: Value,
    /// At least 5 MB of rows, so that a read can be caught in the middle.
    pub large: Value,
    /// What a second read does.
    pub resumed: Resumed,
    /// Whatever must live as long as the trial, e.g. a folder of files.
    pub keep: Box<dyn Any>,
}

/// A config that writes to the place that a folder's path stands for.
pub type ConfigFor = Box<dyn Fn(&Path) -> Value>;
/// The rows that a reader of the stream would see there now, each as JSON text with the values' digits
/// as they were received; none when there is no such stream.
pub type RowsOf = Box<dyn Fn(&Path, &StreamDescriptor) -> Vec<String>>;

/// A destination and how to see what it wrote.
pub struct DestinationSuite {
    /// The built binary.
    pub connector: Connector,
    /// A config that writes below the given folder, or to a place of that name.
    pub config: ConfigFor,
    /// What readers see.
    pub rows: RowsOf,
    /// Texts may hold U+0000. Where they may not, U+FFFD takes its place and the row says so.
    pub holds_nul: bool,
}

impl std::fmt::Debug for DestinationSuite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DestinationSuite").field("connector", &self.connector).finish_non_exhaustive()
    }
}

/// What the trials of the command line, the spec and the config need; both suites have it.
pub trait Suite {
    /// The built binary.
    fn connector(&self) -> &Connector;
    /// A config that works; files it names may be made in `folder`.
    fn config(&self, folder: &Folder) -> Value;
    /// `read` or `write`.
    fn transfer(&self) -> &'static str;
    /// A catalog that the config's system has.
    fn catalog(&self, folder: &Folder) -> Value;
}

impl Suite for SourceSuite {
    fn connector(&self) -> &Connector {
        &self.connector
    }
    fn config(&self, _: &Folder) -> Value {
        self.config.clone()
    }
    fn transfer(&self) -> &'static str {
        "read"
    }
    fn catalog(&self, folder: &Folder) -> Value {
        configured(&self.discover(folder, &self.config), SyncMode::FullRefresh)
    }
}

impl Suite for DestinationSuite {
    fn connector(&self) -> &Connector {
        &self.connector
    }
    fn config(&self, folder: &Folder) -> Value {
        (self.config)(folder.path())
    }
    fn transfer(&self) -> &'static str {
        "write"
    }
    fn catalog(&self, _: &Folder) -> Value {
        feed::catalog(&[feed::stream("users")])
    }
}

impl SourceSuite {
    /// The catalog of `config`.
    ///
    /// # Panics
    /// When `discover` does not answer with one.
    #[must_use]
    pub fn discover(&self, folder: &Folder, config: &Value) -> Catalog {
        let config = folder.json("discover.json", config);
        let output = self.connector.run(["discover", "--config", &config]).succeeded();
        let mut catalogs = output
            .messages()
            .filter_map(|m| if let Message::Catalog(c) = m { Some(c.clone()) } else { None });
        let catalog = catalogs.next().unwrap_or_else(|| panic!("discover printed no CATALOG: {output}"));
        assert!(catalogs.next().is_none(), "discover printed more than one CATALOG: {output}");
        catalog
    }

    /// A read of everything that `config` offers.
    #[must_use]
    pub fn read(&self, folder: &Folder, config: &Value, mode: SyncMode, state: Option<&str>) -> Output {
        let catalog = configured(&self.discover(folder, config), mode);
        self.read_catalog(folder, config, &catalog, state)
    }

    /// A read of `catalog`.
    #[must_use]
    pub fn read_catalog(
        &self,
        folder: &Folder,
        config: &Value,
        catalog: &Value,
        state: Option<&str>,
    ) -> Output {
        let files = ReadFiles::new(folder, config, catalog, state);
        self.connector.run(files.args())
    }
}

/// The files of a `read`, written out.
#[derive(Debug)]
pub struct ReadFiles {
    config: String,
    catalog: String,
    state: Option<String>,
}

impl ReadFiles {
    /// Writes them.
    #[must_use]
    pub fn new(folder: &Folder, config: &Value, catalog: &Value, state: Option<&str>) -> Self {
        Self {
            config: folder.json("config.json", config),
            catalog: folder.json("catalog.json", catalog),
            state: state.map(|text| folder.write("state.json", text)),
        }
    }

    /// The command line that names them.
    #[must_use]
    pub fn args(&self) -> Vec<&str> {
        let mut args = vec!["read", "--config", &self.config, "--catalog", &self.catalog];
        if let Some(state) = &self.state {
            args.extend(["--state", state]);
        }
        args
    }
}

/// Every stream of `catalog`, in `mode` where it offers that, whole where it does not.
#[must_use]
pub fn configured(catalog: &Catalog, mode: SyncMode) -> Value {
    let streams: Vec<Value> = catalog
        .streams
        .iter()
        .map(|stream| {
            let mode = if stream.supported_sync_modes.contains(&mode) { mode } else { SyncMode::FullRefresh };
            json!({
                "stream": stream,
                "sync_mode": mode,
                "destination_sync_mode": if mode == SyncMode::Incremental { "append" } else { "overwrite" },
                "cursor_field": stream.default_cursor_field,
                "primary_key": stream.source_defined_primary_key,
            })
        })
        .collect();
    json!({ "streams": streams })
}

/// The state file that a platform would hand back after this run: each stream's last state.
#[must_use]
pub fn final_state(output: &Output) -> String {
    let mut last: Vec<&protocol::State> = Vec::new();
    for state in output.states() {
        last.retain(|earlier| earlier.descriptor() != state.descriptor());
        last.push(state);
    }
    serde_json::to_string(&last).expect("states are JSON")
}
