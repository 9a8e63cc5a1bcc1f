//! A certificate authority for the length of a test.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::run;

/// Keys on this curve are made in a few milliseconds; RSA ones take a quarter of a second.
const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

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
            .openssl(&format!("req -x509 {NEW_KEY} -days 2 -subj /CN=test-ca -keyout ca.key -out ca.crt"))
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
        self.issue_to("localhost", names)
    }

    /// The same to somebody: a client's, whose name is the subject's common name (letters
    /// and digits).
    ///
    /// # Panics
    /// When openssl refuses.
    #[must_use]
    pub fn issue_to(&self, subject: &str, names: &str) -> (PathBuf, PathBuf) {
        let path = |name: &str| self.folder.path().join(name);
        fs::write(path("names"), format!("subjectAltName={names}\n")).expect("a file");
        run(&mut self
            .openssl(&format!("req {NEW_KEY} -subj /CN={subject} -keyout {subject}.key -out {subject}.csr")));
        run(&mut self.openssl(&format!(
            "x509 -req -in {subject}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out {subject}.crt -extfile names"
        )));
        (path(&format!("{subject}.crt")), path(&format!("{subject}.key")))
    }

    fn openssl(&self, args: &str) -> Command {
        let mut command = Command::new("openssl");
        command.args(args.split(' ')).current_dir(self.folder.path());
        command
    }
}
