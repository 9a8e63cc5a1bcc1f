//! One run of a sync at a time.
//!
//! The lock is the operating system's, so it goes with its process and is never stale;
//! the file's text only says who holds it.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::error::{Failure, Origin};

/// Held while it lives.
#[derive(Debug)]
pub struct SyncLock {
    _file: File,
}

#[derive(Serialize, Deserialize)]
struct Owner {
    pid: u32,
    host: String,
    since: i64,
}

impl SyncLock {
    /// Takes the lock of the sync called `connection`.
    ///
    /// # Errors
    /// When another process holds it; the error names that process.
    pub fn take(directory: &Path, connection: &str) -> Result<Self, Failure> {
        let path = directory.join("locks").join(format!("{connection}.lock"));
        let cannot = |e: std::io::Error| {
            Failure::config(Origin::Ferry, format!("cannot lock {}: {e}", path.display()))
        };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(e)) => return Err(cannot(e)),
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                let owner = serde_json::from_str::<Owner>(&text).map_or_else(
                    |_| "another process".to_owned(),
                    |o| {
                        let age = (clock::now_ms() - o.since).max(0) / 1000;
                        format!("process {} on {} since {} ({age} s)", o.pid, o.host, clock::utc(o.since))
                    },
                );
                return Err(Failure::config(
                    Origin::Ferry,
                    format!("{connection} is already running: {owner}. Wait for it, or stop that process"),
                ));
            }
        }
        let owner = Owner {
            pid: std::process::id(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            since: clock::now_ms(),
        };
        let text = serde_json::to_string(&owner).unwrap_or_default();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(cannot)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::SyncLock;

    #[test]
    fn names_the_owner_and_outlives_a_stale_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("locks")).unwrap();
        std::fs::write(dir.path().join("locks/s.lock"), "left by a crash").unwrap();
        let lock = SyncLock::take(dir.path(), "s").unwrap();
        let error = SyncLock::take(dir.path(), "s").unwrap_err().message;
        assert!(error.contains(&format!("process {} on ", std::process::id())), "{error}");
        assert!(SyncLock::take(dir.path(), "other").is_ok());
        drop(lock);
        assert!(SyncLock::take(dir.path(), "s").is_ok());
    }
}
