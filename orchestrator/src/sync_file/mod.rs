//! The sync file: what to move from where to where. Its keys, how it is read, and the
//! errors that name the place. Connectors are found and started elsewhere.

mod placement;
mod shape;
mod substitute;

use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::{DestinationSyncMode, FieldPath, SyncMode};
use serde_json::Value;

use crate::error::Error;
use crate::launch::Placement;
pub use substitute::Secrets;

/// A sync file, read and checked. Secrets are filled in.
#[derive(Clone, Debug)]
pub struct SyncFile {
    /// Where it stands.
    pub path: PathBuf,
    /// Where rows come from.
    pub source: Endpoint,
    /// Where rows go.
    pub destination: Endpoint,
    /// `None`: every stream, full refresh into overwrite.
    pub streams: Option<Vec<StreamChoice>>,
    /// How namespaces are named at the destination.
    pub namespace: NamespaceRule,
    /// Put before every stream's name at the destination.
    pub prefix: String,
    /// When silence becomes an error.
    pub timeouts: Timeouts,
}

/// One end of a sync.
#[derive(Clone)]
pub struct Endpoint {
    /// A name, a path, or a container image.
    pub connector: String,
    /// The connector's config with secrets filled in.
    pub config: Value,
    /// The file that the config stands in.
    pub config_path: PathBuf,
    /// What was filled in from the environment or from files.
    pub filled_in: Secrets,
    /// Where and within which limits it runs.
    pub placement: Placement,
}

// A config holds secrets; it must not reach a log through a debug print.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("connector", &self.connector).finish_non_exhaustive()
    }
}

/// One chosen stream.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamChoice {
    /// The stream's name at the source.
    pub name: String,
    /// Its namespace at the source.
    pub namespace: Option<String>,
    /// How to read it; full refresh when absent.
    pub sync_mode: SyncMode,
    /// How to write it; overwrite for a full refresh, append otherwise, when absent.
    pub destination_sync_mode: DestinationSyncMode,
    /// Empty when unset.
    pub cursor_field: FieldPath,
    /// Empty when unset.
    pub primary_key: Vec<FieldPath>,
    /// Top-level fields to keep; `None` keeps all.
    pub fields: Option<Vec<String>>,
}

/// The `namespace` key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamespaceRule {
    /// As the source names it.
    Source,
    /// None: the destination's default schema.
    Destination,
    /// A text in which `${SOURCE_NAMESPACE}` stands for the source's.
    Template(String),
}

/// The `timeouts` key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// A source that says nothing for so long is stopped. 3 hours by default.
    pub source_silence: Duration,
    /// A destination that takes no input, or after its end gives no sign, for so long is stopped. 2 hours by default.
    pub destination_stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { source_silence: Duration::from_secs(10_800), destination_stall: Duration::from_secs(7_200) }
    }
}

impl SyncFile {
    /// Reads a sync file, YAML or JSON.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the file, the key and what would be right.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let tree = read_tree(path)?;
        shape::sync_file(path, &tree).map_err(|detail| Error::Usage(format!("{}: {detail}", path.display())))
    }

    /// The name that jobs and states of this sync are kept under: the file's own name.
    #[must_use]
    pub fn connection(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The directory that relative paths and `.ferry/` are taken from.
    #[must_use]
    pub fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }
}

/// A sync or config file larger than this is a mistake in the path.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Reads a YAML or JSON file into a tree.
pub(crate) fn read_tree(path: &Path) -> Result<Value, Error> {
    let usage = |detail: String| Error::Usage(format!("{}: {detail}", path.display()));
    let meta = std::fs::metadata(path).map_err(|e| usage(format!("cannot be read: {e}")))?;
    if meta.is_dir() {
        return Err(usage("is a directory; name a file".into()));
    }
    if meta.len() > MAX_FILE_BYTES {
        return Err(usage("is larger than 16 MiB; that is no sync or config file".into()));
    }
    let bytes = std::fs::read(path).map_err(|e| usage(format!("cannot be read: {e}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|e| usage(format!("is not UTF-8 at byte {}", e.utf8_error().valid_up_to())))?;
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    if text.trim().is_empty() {
        return Err(usage("is empty".into()));
    }
    if text.trim_start().starts_with('{') && path.extension().is_some_and(|e| e == "json") {
        return serde_json::from_str(text).map_err(|e| usage(format!("is not JSON: {e}")));
    }
    serde_saphyr::from_str(text).map_err(|e| {
        // Only the place and the cause: the parser's excerpt may show a secret of the next line.
        let place = e.location().map_or_else(String::new, |l| format!(" at line {}", l.line()));
        usage(format!("is not YAML{place}: {}", first_line(&e.without_snippet().to_string())))
    })
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
