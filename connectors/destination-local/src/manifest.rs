//! The list of our own files in a stream's directory. What it does not list is somebody
//! else's and stays.

use connector_kit::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::dir::Dir;

/// Its file name.
pub(crate) const MANIFEST: &str = ".ferry-manifest.json";
/// Our hidden files begin so.
pub(crate) const OURS: &str = ".ferry-";
/// Files being written begin so.
pub(crate) const TEMP: &str = ".ferry-tmp-";
/// A manifest of a million files is smaller.
const CAP: u64 = 512 << 20;

/// What stands in one directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Raised by incompatible changes only.
    pub(crate) version: u32,
    /// The stream's names, unencoded.
    pub(crate) stream: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    /// Grows with every publication; a staged directory is one ahead of the published one.
    pub(crate) epoch: u64,
    /// Staged directories only: everything is in place, only the exchange is missing.
    #[serde(default)]
    pub(crate) ready: bool,
    /// Staged directories only: the rows will replace all others.
    #[serde(default)]
    pub(crate) replaces: bool,
    /// The generation of the run that wrote last.
    pub(crate) generation: i64,
    /// Grows with every file.
    pub(crate) next_file: u64,
    pub(crate) files: Vec<DataFile>,
}

/// One of our files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DataFile {
    pub(crate) name: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) generation: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sync_id: Option<i64>,
    /// What rows are told apart by, where deduplication keeps the keys of this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<KeySpec>,
    /// No other file that is merged holds a row with the same key.
    #[serde(default)]
    pub(crate) merged: bool,
}

/// What rows of a stream are told apart by, and which is the later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeySpec {
    pub(crate) primary_key: Vec<String>,
    pub(crate) cursor: Option<String>,
}

impl DataFile {
    /// The files that make it up, the data last.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let keys = self.key.as_ref().map(|key| key.file_name(&self.name));
        keys.into_iter().chain(std::iter::once(self.name.clone()))
    }
}

impl KeySpec {
    /// The hidden file with the keys of the rows of `name`. Other keys have another file, so
    /// that none is ever read as what it is not.
    pub(crate) fn file_name(&self, name: &str) -> String {
        let tag = xxhash_rust::xxh3::xxh3_64(format!("{self:?}").as_bytes()) as u32;
        format!("{OURS}keys-{tag:08x}-{name}")
    }
}

impl Manifest {
    /// The manifest of `dir`, if it has one.
    pub(crate) fn load(dir: &Dir) -> Result<Option<Self>> {
        let Some(bytes) = dir.read(MANIFEST, CAP)? else { return Ok(None) };
        let path = dir.join(MANIFEST);
        let manifest: Self = serde_json::from_slice(&bytes).map_err(|e| {
            Error::config(format!("The list of files {} is damaged; restore it, or remove the stream's directory and sync it anew.", path.display()))
                .with_source(e)
        })?;
        if manifest.version != 1 {
            return Err(Error::config(format!(
                "The list of files {} was written by a newer version; use that version or another destination_path.",
                path.display()
            )));
        }
        Ok(Some(manifest))
    }

    /// Writes it to `dir`, whole or not at all.
    pub(crate) fn store(&self, dir: &Dir) -> Result<()> {
        let bytes = serde_json::to_vec(self)
            .map_err(|e| Error::system("The list of files cannot be written.").with_source(e))?;
        dir.replace(MANIFEST, &bytes)
    }

    /// Whether `name` belongs to us.
    pub(crate) fn is_ours(&self, name: &str) -> bool {
        name.starts_with(OURS) || self.files.iter().any(|f| f.name == name)
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> u64 {
        self.files.iter().map(|f| f.rows).sum()
    }
}
