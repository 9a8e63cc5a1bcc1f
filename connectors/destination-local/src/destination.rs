//! Wiring: the config, the check, a writer per stream.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use columnar::Budget;
use connector_kit::protocol::DestinationSyncMode;
use connector_kit::{Connector, Context, Destination, Error, FlushPolicy, Result, SelectedStream};

use crate::config::Config;
use crate::dir::Dir;
use crate::encode::Style;
use crate::error::io_error;
use crate::manifest::TEMP;
use crate::write::LocalWriter;

/// A stream holds up to six files open; the usual soft limit of 1,024 is soon reached.
fn allow_many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it is refused, the error that follows names the limit.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Rows become durable, and states are echoed, at least this often.
const FLUSH_AGE: Duration = Duration::from_secs(60);

/// The destination.
#[derive(Debug)]
pub(crate) struct Local {
    path: PathBuf,
    style: Style,
    max_bytes: u64,
    budget: Arc<Budget>,
    root: OnceLock<Dir>,
}

impl Connector for Local {
    type Config = Config;
    const NAME: &'static str = "destination-local";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    async fn connect(config: Config, _: &Context) -> Result<Self> {
        if config.destination_path.trim().is_empty() {
            return Err(Error::config("destination_path is empty; name the directory to write to."));
        }
        let style = Style::new(&config)?;
        allow_many_files();
        let block = if let Style::Parquet { block, .. } = &style { *block } else { usize::MAX };
        Ok(Self {
            path: PathBuf::from(&config.destination_path),
            max_bytes: u64::from(config.max_file_size_mb) << 20,
            style,
            budget: Budget::new(block),
            root: OnceLock::new(),
        })
    }

    /// Does once what a sync does all the time: write, sync, rename, remove.
    async fn check(&self) -> Result<()> {
        let root = Dir::root(&self.path)?;
        let (before, after) =
            (format!("{TEMP}check-{}", std::process::id()), format!("{TEMP}checked-{}", std::process::id()));
        root.remove(&before)?;
        let mut file = root.create(&before)?;
        let written = file.write_all(b"check").and_then(|()| file.sync_all());
        let renamed = written
            .map_err(|e| io_error("write to", &self.path, e))
            .and_then(|()| root.rename(&before, &after));
        let removed = root.remove(&before).and_then(|()| root.remove(&after));
        renamed.and(removed).and_then(|()| root.sync())
    }
}

impl Destination for Local {
    type Writer = LocalWriter;
    const SYNC_MODES: &'static [DestinationSyncMode] =
        &[DestinationSyncMode::Overwrite, DestinationSyncMode::Append, DestinationSyncMode::AppendDedup];

    async fn open(&self, stream: &SelectedStream) -> Result<LocalWriter> {
        let root = match self.root.get() {
            Some(root) => root.clone(),
            None => {
                let root = Dir::root(&self.path)?;
                self.root.get_or_init(|| root).clone()
            }
        };
        LocalWriter::new(&root, stream, &self.style, &self.budget, self.max_bytes)
    }

    /// One file per flush, so the bytes follow the size of files; JSON is about four times
    /// as large as Parquet.
    fn flush_policy(&self) -> FlushPolicy {
        let factor = if matches!(self.style, Style::Parquet { .. }) { 4 } else { 1 };
        FlushPolicy { bytes: self.max_bytes * factor, age: FLUSH_AGE }
    }
}
