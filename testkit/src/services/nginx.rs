//! nginx as a server of files over TLS.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::free_port;

/// A running server; its files are in [`Nginx::root`].
#[derive(Debug)]
pub struct Nginx {
    folder: TempDir,
    process: Child,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

impl Nginx {
    /// Starts it with a certificate and key, and further lines for its `server` block.
    ///
    /// # Panics
    /// When it is not installed or does not come up.
    #[must_use]
    pub fn start((certificate, key): (PathBuf, PathBuf), more: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let at = folder.path().display();
        let port = free_port();
        fs::create_dir(folder.path().join("root")).expect("a folder");
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;
             events {{}}
             http {{
               access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;
               uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;
               server {{
                 listen 127.0.0.1:{port} ssl;
                 ssl_certificate {}; ssl_certificate_key {};
                 root {at}/root;
                 {more}
               }}
             }}",
            certificate.display(),
            key.display()
        );
        fs::write(folder.path().join("nginx.conf"), config).expect("a file");
        let process = Command::new("nginx")
            .arg("-c")
            .arg(folder.path().join("nginx.conf"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is not installed; `cargo xtask test` installs it");
        let mut server = Self { folder, process, port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = server.process.try_wait().expect("its status");
            assert!(
                ended.is_none() && began.elapsed() < Duration::from_secs(20),
                "nginx did not come up: {}",
                server.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// Where its files are.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// The address of a file, by the name localhost.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/{path}", self.port)
    }

    fn log(&self) -> String {
        fs::read_to_string(Path::join(self.folder.path(), "error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
