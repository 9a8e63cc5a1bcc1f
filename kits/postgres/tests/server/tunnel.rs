//! Through SSH servers: OpenSSH's for keys, and one of our library's for passwords, because OpenSSH's
//! would want an account of the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use connector_kit::{ErrorKind, Secret};
use postgres_kit::{Endpoint, Purpose, SslMode, TunnelMethod};
use russh::keys::{HashAlg, PrivateKey, load_secret_key};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session};
use russh::{Channel, ChannelOpenFailure, MethodKind, MethodSet};
use tempfile::TempDir;
use testkit::services::{Postgres, Version, free_port};
use tokio::net::{TcpListener, TcpStream};

use crate::{endpoint, run, shown};

fn output(command: &mut Command) -> String {
    let output = command.output().expect("OpenSSH is not installed; `cargo xtask test` installs it");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Makes a key in one of the forms that people have.
fn key(folder: &Path, name: &str, form: &str) -> PathBuf {
    let path = folder.join(name);
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-f"]).arg(&path).args(form.split(' '));
    if !form.contains("-N") {
        command.args(["-N", ""]);
    }
    output(&mut command);
    path
}

/// OpenSSH's server, for the account that runs the test.
struct Sshd {
    folder: TempDir,
    port: u16,
    process: Child,
}

impl Sshd {
    fn start(config: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let port = free_port();
        let path = |name: &str| folder.path().join(name).display().to_string();
        key(folder.path(), "host", "-t ed25519");
        fs::write(folder.path().join("authorized"), "").unwrap();
        let text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n{config}\n",
            path("host"),
            path("authorized")
        );
        fs::write(folder.path().join("config"), text).unwrap();
        // Its home when it runs as root; a system that starts it as a service makes that, too.
        let _ = fs::create_dir("/run/sshd");
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", &path("config")])
            .stdin(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .expect("OpenSSH's server is not installed; `cargo xtask test` installs it");
        let sshd = Self { folder, port, process };
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "{}", sshd.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        sshd
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn fingerprint(&self) -> String {
        let line = output(Command::new("ssh-keygen").arg("-lf").arg(self.folder.path().join("host.pub")));
        line.split(' ').nth(1).unwrap().to_owned()
    }

    /// Lets the owner of a key in.
    fn authorize(&self, key: &Path) {
        let path = self.folder.path().join("authorized");
        let known = fs::read_to_string(&path).unwrap();
        fs::write(path, known + &fs::read_to_string(key.with_extension("pub")).unwrap()).unwrap();
    }

    fn by_key(&self, key: &str, host_key: Option<String>) -> TunnelMethod {
        TunnelMethod::SshKeyAuth {
            tunnel_host: "127.0.0.1".into(),
            tunnel_port: self.port,
            tunnel_user: output(Command::new("id").arg("-un")),
            ssh_key: Secret::from(key.to_owned()),
            tunnel_host_key: host_key,
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn refused(endpoint: &Endpoint) -> String {
    let error = endpoint.connect(Purpose::Ordinary).await.unwrap_err();
    let shown = shown(&error);
    assert_eq!(error.kind(), ErrorKind::Config, "{shown}");
    shown
}

#[test]
fn keys_of_every_form_open_a_tunnel_that_carries_everything() {
    let postgres = Postgres::start(Version::V15);
    let sshd = Sshd::start("");
    let folder = TempDir::new().unwrap();
    run(async {
        for (name, form) in [
            ("ed25519", "-t ed25519"),
            ("rsa", "-t rsa -b 2048 -m PEM"),
            ("rsa-openssh", "-t rsa -b 2048"),
            ("ecdsa", "-t ecdsa -m PKCS8"),
        ] {
            let path = key(folder.path(), name, form);
            sshd.authorize(&path);
            let key = fs::read_to_string(path).unwrap();
            let mut endpoint = endpoint(&postgres);
            endpoint.tunnel = sshd.by_key(&key, Some(sshd.fingerprint()));
            let mut connection = endpoint.connect(Purpose::Ordinary).await.unwrap();
            assert_eq!(connection.query("SELECT 1").await.unwrap().len(), 1, "{name}");
        }
        let mut endpoint = endpoint(&postgres);
        endpoint.host = "localhost".into();
        let key = fs::read_to_string(folder.path().join("ed25519")).unwrap();
        endpoint.tunnel = sshd.by_key(&key, None);
        endpoint.ssl = SslMode::VerifyFull {
            ca_certificate: Secret::from(postgres.ca_certificate()),
            client_certificate: None,
            client_key: None,
            client_key_password: None,
        };
        let mut connection = endpoint.connect(Purpose::Ordinary).await.unwrap();
        let sql = "COPY (SELECT repeat('x', 999) FROM generate_series(1, 20000)) TO STDOUT";
        connection.copy_out(sql).await.unwrap();
        let mut length = 0;
        while !connection.copy_finished() {
            while let Some(data) = connection.next_copy_data().unwrap() {
                length += data.len();
            }
            if !connection.copy_finished() {
                connection.fill().await.unwrap();
            }
        }
        assert_eq!(length, 20_000_000);
        let token = connection.cancel_token();
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            token.cancel().await.unwrap();
        };
        let (error, ()) = tokio::join!(connection.query("SELECT pg_sleep(90)"), cancel);
        assert_eq!(postgres_kit::server_error(&error.unwrap_err()).unwrap().code, "57014");
    });
}

#[test]
fn each_way_that_a_tunnel_fails_is_named_by_the_key_to_mend() {
    let postgres = Postgres::start(Version::V15);
    let sshd = Sshd::start("");
    let closed = Sshd::start("AllowTcpForwarding no");
    let folder = TempDir::new().unwrap();
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    let good = key(folder.path(), "good", "-t ed25519");
    sshd.authorize(&good);
    closed.authorize(&good);
    let good = read(good);
    let other = read(key(folder.path(), "other", "-t ed25519"));
    let locked = read(key(folder.path(), "locked", "-t ed25519 -N opensesame"));
    let locked_rsa = read(key(folder.path(), "locked-rsa", "-t rsa -m PEM -N opensesame"));
    let nobody = TunnelMethod::SshPasswordAuth {
        tunnel_host: "127.0.0.1".into(),
        tunnel_port: free_port(),
        tunnel_user: "nobody".into(),
        tunnel_user_password: Secret::from("opensesame".to_owned()),
        tunnel_host_key: None,
    };
    let mut not_ssh = nobody.clone();
    if let TunnelMethod::SshPasswordAuth { tunnel_port, .. } = &mut not_ssh {
        *tunnel_port = postgres.port;
    }
    run(async {
        let right = endpoint(&postgres);
        let through = |tunnel: TunnelMethod| Endpoint { tunnel, ..right.clone() };
        for (tunnel, names) in [
            (nobody, "`tunnel_host` and `tunnel_port`"),
            (sshd.by_key(&other, None), "`tunnel_user` and `ssh_key`"),
            (sshd.by_key(&locked, None), "passphrase"),
            (sshd.by_key(&locked_rsa, None), "passphrase"),
            (sshd.by_key("junk", None), "`ssh_key` is not a private key"),
            (sshd.by_key(&good, Some(closed.fingerprint())), "`tunnel_host_key` is another"),
            (closed.by_key(&good, None), "AllowTcpForwarding"),
        ] {
            let shown = refused(&through(tunnel)).await;
            assert!(shown.contains(names) && !shown.contains("opensesame"), "{shown}");
        }
        let mut nowhere = through(sshd.by_key(&good, None));
        nowhere.port = free_port();
        assert!(refused(&nowhere).await.contains("as that server sees them"));
        // PostgreSQL waits for a start-up packet where an SSH server would speak first.
        let mut silent = through(not_ssh);
        silent.params.connect_timeout = Duration::from_secs(5);
        let error = silent.connect(Purpose::Ordinary).await.unwrap_err();
        assert!(shown(&error).contains("`tunnel_host`"), "{}", shown(&error));
    });
}

/// An SSH server that wants a password, as such or as an answer, and forwards anything.
#[derive(Clone)]
struct Forwarder {
    asks: bool,
}

impl server::Handler for Forwarder {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        let known = user == "ali" && password == "opensesame";
        Ok(if known && !self.asks { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        response: Option<server::Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        let Some(mut response) = response else {
            return Ok(Auth::Partial {
                name: "".into(),
                instructions: "".into(),
                prompts: vec![("Password: ".into(), false)].into(),
            });
        };
        let known = user == "ali" && response.next().is_some_and(|answer| answer[..] == *b"opensesame");
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        match TcpStream::connect((host, port as u16)).await {
            Ok(mut target) => {
                reply.accept().await;
                tokio::spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut channel.into_stream(), &mut target).await;
                });
            }
            Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
        }
        Ok(())
    }
}

async fn forward(listener: TcpListener, key: PrivateKey, asks: bool) {
    let methods = if asks { MethodKind::KeyboardInteractive } else { MethodKind::Password };
    let config = server::Config {
        methods: MethodSet::from(&[methods][..]),
        keys: vec![key],
        auth_rejection_time: Duration::from_millis(10),
        ..Default::default()
    };
    let config = Arc::new(config);
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let config = Arc::clone(&config);
        tokio::spawn(async move {
            if let Ok(session) = server::run_stream(config, client, Forwarder { asks }).await {
                let _ = session.await;
            }
        });
    }
}

#[test]
fn a_password_opens_a_tunnel_and_a_wrong_one_is_named() {
    let postgres = Postgres::start(Version::V15);
    let folder = TempDir::new().unwrap();
    let key = load_secret_key(key(folder.path(), "host", "-t ed25519"), None).unwrap();
    let fingerprint = key.public_key().fingerprint(HashAlg::Sha256).to_string();
    run(async {
        for asks in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            tokio::spawn(forward(listener, key.clone(), asks));
            let with = |password: &str| Endpoint {
                tunnel: TunnelMethod::SshPasswordAuth {
                    tunnel_host: "127.0.0.1".into(),
                    tunnel_port: port,
                    tunnel_user: "ali".into(),
                    tunnel_user_password: Secret::from(password.to_owned()),
                    tunnel_host_key: Some(fingerprint.clone()),
                },
                ..endpoint(&postgres)
            };
            let mut connection = with("opensesame").connect(Purpose::Ordinary).await.unwrap();
            assert_eq!(connection.query("SELECT 1").await.unwrap().len(), 1);
            let shown = refused(&with("open barley")).await;
            assert!(shown.contains("`tunnel_user_password`") && !shown.contains("open barley"), "{shown}");
        }
    });
}
