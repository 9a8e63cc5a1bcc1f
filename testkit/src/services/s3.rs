//! Stores that speak S3: one that is strict and one that is quick, both on free ports of loopback.

mod faults;

pub use faults::{Action, Asked, FaultyStore};

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::free_port;
use crate::workspace::{python, servers};

/// Longer than either takes to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// `s3s-fs`: checks signatures, checksums, sizes of parts and conditions; keeps objects as files.
    Strict,
    /// `moto`: takes any credentials; another implementation's view of the same requests, with roles.
    Quick,
}

/// A running store.
#[derive(Debug)]
pub struct ObjectStore {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    kind: StoreKind,
    folder: TempDir,
    process: Child,
}

impl ObjectStore {
    /// The access key that it knows.
    pub const ACCESS_KEY: &'static str = "AKIDFERRYTEST0000001";
    /// Its secret: long enough that a search for it in any output finds nothing else.
    pub const SECRET_KEY: &'static str = "a-secret/that+must=appear nowhere";
    /// A bucket that is there from the start.
    pub const BUCKET: &'static str = "lake";

    /// Starts it with one empty bucket.
    ///
    /// # Panics
    /// When it is not installed or does not come up.
    #[must_use]
    pub fn start(kind: StoreKind) -> Self {
        let folder = TempDir::new().expect("a folder");
        for attempt in 1.. {
            let port = free_port();
            let mut process = spawn(kind, port, folder.path());
            let began = Instant::now();
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                let ended = process.try_wait().expect("its status");
                assert!(
                    (ended.is_none() || attempt < 5) && began.elapsed() < PATIENCE,
                    "the store did not come up: {}",
                    fs::read_to_string(folder.path().join("log")).unwrap_or_default()
                );
                if ended.is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            if process.try_wait().expect("its status").is_none() {
                let store = Self { port, kind, folder, process };
                store.make_bucket(Self::BUCKET);
                return store;
            }
        }
        unreachable!("the attempts end in a panic or a store")
    }

    /// Its address.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where the strict one keeps a bucket's objects as files.
    #[must_use]
    pub fn files(&self, bucket: &str) -> PathBuf {
        self.folder.path().join("root").join(bucket)
    }

    /// Makes a bucket.
    ///
    /// # Panics
    /// When it cannot.
    pub fn make_bucket(&self, name: &str) {
        match self.kind {
            // Its buckets are folders.
            StoreKind::Strict => fs::create_dir(self.files(name)).expect("a bucket's folder"),
            StoreKind::Quick => {
                let answer = faults::exchange(
                    self.port,
                    format!("PUT /{name} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                        .as_bytes(),
                );
                assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
            }
        }
    }

    /// The keys of destination-s3's config that lead here.
    #[must_use]
    pub fn destination(&self) -> Value {
        json!({
            "s3_endpoint": self.endpoint(),
            "s3_bucket_name": Self::BUCKET,
            "s3_bucket_region": "us-east-1",
            "access_key_id": Self::ACCESS_KEY,
            "secret_access_key": Self::SECRET_KEY,
        })
    }
}

fn spawn(kind: StoreKind, port: u16, folder: &Path) -> Child {
    let log = fs::File::create(folder.join("log")).expect("a log");
    let mut command = match kind {
        StoreKind::Strict => {
            let program = servers().join("s3s-fs/bin/s3s-fs");
            assert!(
                program.exists(),
                "{} is not there; `cargo xtask servers` installs it",
                program.display()
            );
            fs::create_dir_all(folder.join("root")).expect("a folder");
            let mut command = Command::new(program);
            command
                .args(["--host", "127.0.0.1", "--port", &port.to_string()])
                .args(["--access-key", ObjectStore::ACCESS_KEY, "--secret-key", ObjectStore::SECRET_KEY])
                .arg(folder.join("root"))
                // It logs every request otherwise.
                .env("RUST_LOG", "error");
            command
        }
        StoreKind::Quick => {
            let program = python().join("bin/moto_server");
            assert!(
                program.exists(),
                "{} is not there; `cargo xtask servers` installs it",
                program.display()
            );
            let mut command = Command::new(program);
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
            command
        }
    };
    let errors = log.try_clone().expect("the log again");
    command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().expect("the store starts")
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
