//! A certificate authority for the length of a test.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::run;

/// An authority that nobody trusts until told to.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// Makes its key and certificate.
    ///
    /// # Panics
    /// When openssl is not installed.
    #[must_use]
    pub fn new() -> Self {
        let authority = Self { folder: TempDir::new().expect("a folder") };
        run(authority
            .openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-ca -keyout ca.key -out ca.crt")
            .args(["-addext", "basicConstraints=critical,CA:TRUE"]));
        authority
    }

    /// The file to trust it by.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// A server's certificate and key for these names (`DNS:localhost`).
    ///
    /// # Panics
    /// When openssl refuses.
    #[must_use]
    pub fn issue(&self, names: &str) -> (PathBuf, PathBuf) {
        let path = |name: &str| self.folder.path().join(name);
        fs::write(path("names"), format!("subjectAltName={names}\n")).expect("a file");
        run(&mut self
            .openssl("req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr"));
        run(&mut self.openssl("x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out server.crt -extfile names"));
        (path("server.crt"), path("server.key"))
    }

    fn openssl(&self, args: &str) -> Command {
        let mut command = Command::new("openssl");
        command.args(args.split(' ')).current_dir(self.folder.path());
        command
    }
}
