//! The way through an SSH server.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task;
use std::time::Duration;

use connector_kit::{Error, Result, Secret, tracing};
use russh::client::{self, AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate, decode_secret_key};
use russh::{ChannelStream, MethodKind};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::endpoint::tcp;
use crate::wire::Socket;

/// How the server is reached.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(tag = "tunnel_method", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TunnelMethod {
    /// Directly.
    #[default]
    #[schemars(title = "No Tunnel")]
    NoTunnel,
    /// Through an SSH server that knows our key.
    #[schemars(title = "SSH Key Authentication")]
    SshKeyAuth {
        /// The SSH server's name or address.
        #[schemars(title = "SSH Tunnel Jump Server Host")]
        tunnel_host: String,
        /// The SSH server's port.
        #[schemars(title = "SSH Connection Port")]
        #[serde(default = "ssh_port")]
        tunnel_port: u16,
        /// The user there.
        #[schemars(title = "SSH Login Username")]
        tunnel_user: String,
        /// The user's private key, without a passphrase: OpenSSH's form or PEM.
        #[schemars(title = "SSH Private Key", extend("multiline" = true))]
        ssh_key: Secret,
        /// The fingerprint of the SSH server's key, as `ssh-keygen -lf` prints it (`SHA256:…`). Without
        /// it, whatever key the server shows is accepted, with a warning that names its fingerprint.
        #[schemars(title = "SSH Server Key Fingerprint")]
        tunnel_host_key: Option<String>,
    },
    /// Through an SSH server that asks for a password.
    #[schemars(title = "Password Authentication")]
    SshPasswordAuth {
        /// The SSH server's name or address.
        #[schemars(title = "SSH Tunnel Jump Server Host")]
        tunnel_host: String,
        /// The SSH server's port.
        #[schemars(title = "SSH Connection Port")]
        #[serde(default = "ssh_port")]
        tunnel_port: u16,
        /// The user there.
        #[schemars(title = "SSH Login Username")]
        tunnel_user: String,
        /// The user's password there.
        #[schemars(title = "Password")]
        tunnel_user_password: Secret,
        /// The fingerprint of the SSH server's key, as `ssh-keygen -lf` prints it (`SHA256:…`). Without
        /// it, whatever key the server shows is accepted, with a warning that names its fingerprint.
        #[schemars(title = "SSH Server Key Fingerprint")]
        tunnel_host_key: Option<String>,
    },
}

fn ssh_port() -> u16 {
    22
}

/// Silence of the SSH server after which it is asked for a sign of life; three are waited for.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How often a server may ask before it is given up.
const QUESTIONS: usize = 3;

enum Proof<'a> {
    Key(&'a Secret),
    Password(&'a Secret),
}

/// A connection to `host:port` as the SSH server sees them.
pub(crate) async fn open(method: &TunnelMethod, host: &str, port: u16) -> Result<Box<dyn Socket>> {
    let (tunnel_host, tunnel_port, user, proof, host_key) = match method {
        TunnelMethod::NoTunnel => return Err(Error::system("A tunnel was asked for where there is none.")),
        TunnelMethod::SshKeyAuth { tunnel_host, tunnel_port, tunnel_user, ssh_key, tunnel_host_key } => {
            (tunnel_host, *tunnel_port, tunnel_user, Proof::Key(ssh_key), tunnel_host_key)
        }
        TunnelMethod::SshPasswordAuth {
            tunnel_host,
            tunnel_port,
            tunnel_user,
            tunnel_user_password,
            tunnel_host_key,
        } => (tunnel_host, *tunnel_port, tunnel_user, Proof::Password(tunnel_user_password), tunnel_host_key),
    };
    let place = format!("{tunnel_host}:{tunnel_port}");
    let key = match &proof {
        Proof::Key(key) => Some(decode_secret_key(key.expose(), None).map_err(|e| unreadable(e, key))?),
        Proof::Password(_) => None,
    };
    let socket = tcp(tunnel_host, tunnel_port, "tunnel_host", "tunnel_port").await?;
    let config = client::Config { nodelay: true, keepalive_interval: Some(KEEP_ALIVE), ..Default::default() };
    let _ = socket.set_nodelay(true);
    let greeter = Greeter { place: place.clone(), expected: host_key.clone() };
    let mut session = client::connect_stream(Arc::new(config), socket, greeter).await.map_err(|e| match e {
        Fault::Stranger(shown) => Error::config(format!(
            "The SSH server {place} shows the key {shown}, and `tunnel_host_key` is another; find out whether its key was changed, and set the new one only then."
        )),
        Fault::Ssh(russh::Error::NoCommonAlgo { .. }) => Error::config(format!(
            "The SSH server {place} offers no algorithm that is still safe; update it."
        ))
        .with_source(e),
        Fault::Ssh(_) => Error::config(format!(
            "{place} did not answer as an SSH server does; check `tunnel_host` and `tunnel_port`."
        ))
        .with_source(e),
    })?;
    let lost = |e: russh::Error| {
        Error::transient(format!("The connection to the SSH server {place} was lost; the sync tries again."))
            .with_source(e)
    };
    let (accepted, what) = match (proof, key) {
        (Proof::Password(password), _) | (Proof::Key(password), None) => {
            (log_in(&mut session, user, password).await, "`tunnel_user_password`")
        }
        (Proof::Key(_), Some(key)) => {
            // SHA-1, which a server that does not say may still want, is only for those that say so.
            let hash = match session.best_supported_rsa_hash().await.map_err(lost)? {
                Some(hash) => hash,
                None => Some(HashAlg::Sha256),
            };
            let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
            (session.authenticate_publickey(user, key).await, "`ssh_key`")
        }
    };
    match accepted.map_err(lost)? {
        AuthResult::Success => {}
        AuthResult::Failure { partial_success: true, .. } => {
            return Err(Error::config(format!(
                "The SSH server {place} wants a second proof after {what}, which is not supported; let it accept {what} alone for this user."
            )));
        }
        AuthResult::Failure { .. } => {
            return Err(Error::config(format!(
                "The SSH server {place} did not accept the user; check `tunnel_user` and {what}."
            )));
        }
    }
    let channel = session.channel_open_direct_tcpip(host, port.into(), "127.0.0.1", 0).await;
    let channel = channel.map_err(|e| match e {
        russh::Error::ChannelOpenFailure(russh::ChannelOpenFailure::AdministrativelyProhibited) => {
            Error::config(format!(
                "The SSH server {place} does not forward connections to {host}:{port}; allow it there (AllowTcpForwarding, PermitOpen)."
            ))
            .with_source(e)
        }
        russh::Error::ChannelOpenFailure(_) => Error::config(format!(
            "The SSH server {place} cannot reach {host}:{port}; check `host` and `port`, which are as that server sees them."
        ))
        .with_source(e),
        e => lost(e),
    })?;
    Ok(Box::new(Tunnelled { stream: channel.into_stream(), _session: session }))
}

/// By password; where the server takes one only as the answer to a question (PAM), in that way.
async fn log_in(
    session: &mut Handle<Greeter>,
    user: &str,
    password: &Secret,
) -> Result<AuthResult, russh::Error> {
    let answered = session.authenticate_password(user, password.expose()).await?;
    match &answered {
        // Only there: elsewhere a wrong password would be tried twice.
        AuthResult::Failure { remaining_methods: left, partial_success: false }
            if left.contains(&MethodKind::KeyboardInteractive) && !left.contains(&MethodKind::Password) => {}
        _ => return Ok(answered),
    }
    let mut reply = session.authenticate_keyboard_interactive_start(user, None).await?;
    // One question, and some servers then have a remark that wants no answer.
    for _ in 0..QUESTIONS {
        let questions = match reply {
            KeyboardInteractiveAuthResponse::Success => return Ok(AuthResult::Success),
            KeyboardInteractiveAuthResponse::Failure { remaining_methods, partial_success } => {
                return Ok(AuthResult::Failure { remaining_methods, partial_success });
            }
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => prompts,
        };
        // A password is not shown while it is typed; what is shown is another question.
        let answer = |question: client::Prompt| match question.echo {
            false => password.expose().to_owned(),
            true => String::new(),
        };
        let answers = questions.into_iter().map(answer).collect();
        reply = session.authenticate_keyboard_interactive_respond(answers).await?;
    }
    Ok(answered)
}

fn unreadable(e: russh::keys::Error, key: &Secret) -> Error {
    let encrypted = matches!(e, russh::keys::Error::KeyIsEncrypted) || key.expose().contains("ENCRYPTED");
    Error::config(match encrypted {
        true => {
            "`ssh_key` has a passphrase, which is not supported; remove it from a copy with `ssh-keygen -p`."
        }
        false => {
            "`ssh_key` is not a private key that can be read; give the whole text of one in OpenSSH's form or PEM, line breaks included."
        }
    })
}

/// What can go wrong before anyone has logged in.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the server's key is {0}")]
    Stranger(String),
    #[error(transparent)]
    Ssh(#[from] russh::Error),
}

/// Looks at the SSH server's key.
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
                    "The SSH server {} shows the key {shown}, which nothing in the config confirms; set `tunnel_host_key` to it to be safe from others that pose as that server.",
                    self.place
                );
                Ok(true)
            }
        }
    }
}

/// The stream of a forwarded connection; the SSH session ends with it.
struct Tunnelled {
    stream: ChannelStream<client::Msg>,
    _session: Handle<Greeter>,
}

impl AsyncRead for Tunnelled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> task::Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Tunnelled {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        data: &[u8],
    ) -> task::Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> task::Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> task::Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
