//! A file on an SSH server, by its file transfer subsystem.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use connector_kit::{Secret, Stop, tracing};
use files_kit::error;
use russh::client::{self, AuthResult};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate, decode_secret_key};
use russh_sftp::client::SftpSession;
use russh_sftp::protocol::StatusCode;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::addresses::{Allowed, Refused};
use crate::body::{Body, Parts};

const PART_BYTES: usize = 256 << 10;
const CONNECT_TIME: Duration = Duration::from_secs(20);
/// A server that does not answer for this long is taken for dead.
const SILENCE_SECS: u64 = 60;

/// Where the file is, and who asks.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) proof: Proof,
    /// The fingerprint that the server's key has to have.
    pub(crate) host_key: Option<String>,
    pub(crate) allow_private: bool,
    pub(crate) path: String,
    pub(crate) stop: Stop,
}

#[derive(Clone, Debug)]
pub(crate) enum Proof {
    Password(Secret),
    Key(Secret),
}

/// Begins to fetch the file.
pub(crate) fn open(settings: Settings) -> io::Result<Body> {
    Body::fetch(move |parts| fetch(settings, parts))
}

async fn fetch(settings: Settings, parts: Parts) -> io::Result<()> {
    let place = format!("{}:{}", settings.host, settings.port);
    let socket = connect(&settings).await?;
    let config = client::Config {
        nodelay: true,
        inactivity_timeout: Some(Duration::from_secs(SILENCE_SECS)),
        ..Default::default()
    };
    let _ = socket.set_nodelay(true);
    let greeter = Greeter { place: place.clone(), expected: settings.host_key.clone() };
    let connecting = client::connect_stream(Arc::new(config), socket, greeter);
    let mut session = in_time(&place, connecting).await?.map_err(|e| match e {
        Fault::Stranger(shown) => error::bad_content(format!(
            "the SSH server {place} shows the key {shown}, and host_key is another; find out whether its key was changed, and set the new one only then"
        )),
        Fault::Ssh(e) => error::bad_content(format!(
            "{place} did not answer as an SSH server does ({e}); check host and port"
        )),
    })?;
    log_in(&mut session, &settings, &place).await?;
    let lost = |e: &dyn std::fmt::Display| {
        error::interrupted(format!("the connection to the SSH server {place} was lost ({e}); try again"))
    };
    let channel = session.channel_open_session().await.map_err(|e| lost(&e))?;
    channel.request_subsystem(true, "sftp").await.map_err(|e| lost(&e))?;
    let files = in_time(&place, SftpSession::new(channel.into_stream())).await?.map_err(|e| {
        error::bad_content(format!(
            "the SSH server {place} does not offer SFTP ({e}); enable that subsystem there"
        ))
    })?;
    files.set_timeout(SILENCE_SECS);
    let mut file = files.open(&settings.path).await.map_err(|e| refused(&e))?;
    let known = file.metadata().await.map_err(|e| refused(&e))?;
    if known.is_dir() {
        return Err(error::bad_content("it is a directory; give the path of a file in url"));
    }
    let mut sent = 0_u64;
    loop {
        if settings.stop.requested() {
            return Ok(());
        }
        let mut part = vec![0; PART_BYTES];
        let n = file.read(&mut part).await.map_err(|e| lost(&e))?;
        if n == 0 {
            break;
        }
        part.truncate(n);
        sent += n as u64;
        if parts.send(Ok(part)).is_err() {
            return Ok(());
        }
    }
    match known.size {
        Some(size) if sent < size => {
            Err(error::interrupted("the server ended the file before its length; try again"))
        }
        _ => Ok(()),
    }
}

/// The names that the host has are looked up here, and what is connected to is what was checked.
async fn connect(settings: &Settings) -> io::Result<TcpStream> {
    let host = settings.host.trim().trim_start_matches('[').trim_end_matches(']');
    let place = format!("{host}:{}", settings.port);
    let allowed = if settings.allow_private { Allowed::Any } else { Allowed::Public };
    let found = tokio::net::lookup_host((host, settings.port))
        .await
        .map_err(|_| error::interrupted(format!("the name {host} is not known; check host")))?;
    let permitted: Vec<_> = found.filter(|address| allowed.permits(address.ip())).collect();
    if permitted.is_empty() {
        return Err(error::bad_content(Refused::by(allowed).0));
    }
    for address in permitted {
        if let Ok(Ok(socket)) = tokio::time::timeout(CONNECT_TIME, TcpStream::connect(address)).await {
            return Ok(socket);
        }
    }
    Err(error::interrupted(format!("{place} cannot be reached; check host, port and the network")))
}

async fn in_time<T>(place: &str, work: impl Future<Output = T>) -> io::Result<T> {
    tokio::time::timeout(Duration::from_secs(SILENCE_SECS), work)
        .await
        .map_err(|_| error::interrupted(format!("the SSH server {place} does not answer in time; try again")))
}

async fn log_in(session: &mut client::Handle<Greeter>, settings: &Settings, place: &str) -> io::Result<()> {
    let lost = |e: russh::Error| {
        error::interrupted(format!("the SSH server {place} hung up while logging in ({e}); try again"))
    };
    let (answer, key) = match &settings.proof {
        Proof::Password(password) => {
            (session.authenticate_password(&settings.user, password.expose()).await, "password")
        }
        Proof::Key(text) => {
            let key = decode_secret_key(text.expose(), None).map_err(|_| {
                error::bad_content(
                    "private_key is no private key that can be read; give the whole text of one without a passphrase, line breaks included",
                )
            })?;
            let hash =
                session.best_supported_rsa_hash().await.map_err(lost)?.unwrap_or(Some(HashAlg::Sha256));
            let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
            (session.authenticate_publickey(&settings.user, key).await, "private_key")
        }
    };
    match answer.map_err(lost)? {
        AuthResult::Success => Ok(()),
        AuthResult::Failure { .. } => Err(error::bad_content(format!(
            "the SSH server {place} did not accept the user; check user and {key}"
        ))),
    }
}

fn refused(e: &russh_sftp::client::error::Error) -> io::Error {
    use russh_sftp::client::error::Error;
    match e {
        Error::Status(status) if status.status_code == StatusCode::NoSuchFile => {
            error::bad_content("the server has no file of that path; check url")
        }
        Error::Status(status) if status.status_code == StatusCode::PermissionDenied => {
            error::bad_content("the server does not let the user read it; change its permissions there")
        }
        other => {
            error::interrupted(format!("the server does not open it ({other}); check url and try again"))
        }
    }
}

/// What can go wrong before anyone has logged in.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the server's key is {0}")]
    Stranger(String),
    #[error(transparent)]
    Ssh(#[from] russh::Error),
}

/// Looks at the server's key.
struct Greeter {
    place: String,
    expected: Option<String>,
}

impl client::Handler for Greeter {
    type Error = Fault;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Fault> {
        let shown = match key {
            PublicKeyOrCertificate::PublicKey { key, .. } => key.fingerprint(HashAlg::Sha256),
            PublicKeyOrCertificate::Certificate(certificate) => {
                certificate.public_key().fingerprint(HashAlg::Sha256)
            }
        }
        .to_string();
        match &self.expected {
            Some(expected) if expected.trim().trim_end_matches('=') == shown => Ok(true),
            Some(_) => Err(Fault::Stranger(shown)),
            None => {
                tracing::warn!(
                    "The SSH server {} shows the key {shown}, which nothing in the config confirms; set host_key to it to be safe from others that pose as that server.",
                    self.place
                );
                Ok(true)
            }
        }
    }
}
