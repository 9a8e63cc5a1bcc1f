//! OpenSSH's server, for the account that runs the test, with its file transfer.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{free_port, run};

/// A running server.
#[derive(Debug)]
pub struct Sshd {
    folder: TempDir,
    process: Child,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

impl Sshd {
    /// Starts it; one key is let in.
    ///
    /// # Panics
    /// When it is not installed or does not come up.
    #[must_use]
    pub fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let port = free_port();
        let path = |name: &str| folder.path().join(name).display().to_string();
        for name in ["host", "user"] {
            run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &path(name)]));
        }
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n",
            path("host"),
            path("user.pub")
        );
        fs::write(folder.path().join("config"), config).expect("a file");
        // Its home when it runs as root; a system that starts it as a service makes that, too.
        let _ = fs::create_dir("/run/sshd");
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", &path("config")])
            .stdin(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).expect("a log"))
            .spawn()
            .expect("OpenSSH's server is not installed; `cargo xtask servers` installs it");
        let server = Self { folder, process, port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = fs::read_to_string(server.folder.path().join("log")).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(20), "{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// The private key that is let in.
    ///
    /// # Panics
    /// When it is gone.
    #[must_use]
    pub fn key(&self) -> String {
        fs::read_to_string(self.folder.path().join("user")).expect("the key")
    }

    /// Who may log in.
    #[must_use]
    pub fn user(&self) -> String {
        run(Command::new("id").arg("-un")).trim().to_owned()
    }

    /// The fingerprint of the server's key.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let line = run(Command::new("ssh-keygen").arg("-lf").arg(self.folder.path().join("host.pub")));
        line.split(' ').nth(1).unwrap_or_default().to_owned()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
