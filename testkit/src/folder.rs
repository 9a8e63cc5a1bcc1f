//! The files a connector is started with, in a folder that goes away with the test.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

/// A temporary folder.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Folder {
    /// A new, empty one.
    ///
    /// # Panics
    /// When the disk refuses.
    #[must_use]
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file and returns its path.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, content).expect("a file in a temporary folder");
        text(path)
    }

    /// Writes a JSON file and returns its path.
    pub fn json(&self, name: &str, content: &Value) -> String {
        self.write(name, content.to_string())
    }

    /// Makes a folder inside and returns its path.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn folder(&self, name: &str) -> String {
        let path = self.path().join(name);
        std::fs::create_dir_all(&path).expect("a folder in a temporary folder");
        text(path)
    }

    /// Every file below it, relative, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        files_below(self.path())
    }
}

/// Every file below `top`, relative to it, sorted.
pub(crate) fn files_below(top: &Path) -> Vec<PathBuf> {
    let mut folders = vec![top.to_path_buf()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            // A link is not followed: it could lead out and around.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else {
                files.push(path.strip_prefix(top).unwrap_or(&path).to_path_buf());
            }
        }
    }
    files.sort();
    files
}

fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().expect("temporary folders have plain names")
}
