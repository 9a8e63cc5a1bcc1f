//! Where a server is, and the way to it: TCP or an SSH tunnel, TLS or not, log-in.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use connector_kit::{Error, Result, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cancel::CancelToken;
use crate::connection::Connection;
use crate::error::server_error;
use crate::params::Params;
use crate::ssl::SslMode;
use crate::startup::{self, Login, Privacy};
use crate::tls::{self, Tls};
use crate::tunnel::{self, TunnelMethod};
use crate::wire::{Socket, Wire};

/// Once a peer is silent for this long, the system asks it for a sign of life.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Where a database is, who logs in to it, and how. One is enough for any number of connections.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The server's name or address, as the tunnel's end sees it if there is a tunnel.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
    /// The user's password, where one is asked for.
    pub password: Option<Secret>,
    /// Encryption.
    pub ssl: SslMode,
    /// The way there.
    pub tunnel: TunnelMethod,
    /// What else there is to set.
    pub params: Params,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// SQL and COPY.
    Ordinary,
    /// Logical replication; SQL works, too.
    Replication,
}

/// One of the ways that an [`SslMode`] allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Plain,
    /// TLS if the server speaks it.
    Offered,
    /// TLS or nothing.
    Encrypted,
}

/// A connection that is ready for the start-up packet.
pub(crate) struct Opened {
    pub(crate) socket: Box<dyn Socket>,
    encrypted: bool,
    /// It leaves this machine only inside a tunnel, or not at all.
    sheltered: bool,
    binding: Option<Vec<u8>>,
}

impl Endpoint {
    /// Connects and logs in, within the time that the params allow.
    pub async fn connect(&self, purpose: Purpose) -> Result<Connection> {
        let limit = self.params.connect_timeout;
        let connected = tokio::time::timeout(limit, self.connect_somehow(purpose)).await;
        connected.unwrap_or_else(|_| {
            let keys = match self.tunnel {
                TunnelMethod::NoTunnel => "`host`, `port`",
                _ => "`tunnel_host`, `tunnel_port`, `host`, `port`",
            };
            Err(Error::transient(format!(
                "{} did not let us in within {} s; check {keys} and the firewalls in between, or raise connectTimeout in `jdbc_url_params`.",
                self.address(),
                limit.as_secs()
            )))
        })
    }

    /// Goes through the ways that the mode allows, in libpq's order.
    async fn connect_somehow(&self, purpose: Purpose) -> Result<Connection> {
        match &self.ssl {
            SslMode::Disable => self.attempt(Channel::Plain, purpose).await,
            SslMode::Allow => match self.attempt(Channel::Plain, purpose).await {
                Err(refused) if turned_away(&refused) => {
                    match self.attempt(Channel::Encrypted, purpose).await {
                        // The first error is about the config; that TLS is off is not news.
                        Err(e) if e.source_is::<tls::NotSpoken>() => Err(refused),
                        other => other,
                    }
                }
                other => other,
            },
            SslMode::Prefer => match self.attempt(Channel::Offered, purpose).await {
                Err(refused) if turned_away(&refused) || refused.source_is::<tls::Failed>() => {
                    match self.attempt(Channel::Plain, purpose).await {
                        Err(e) if turned_away(&e) => Err(refused),
                        other => other,
                    }
                }
                other => other,
            },
            SslMode::Require | SslMode::VerifyCa { .. } | SslMode::VerifyFull { .. } => {
                self.attempt(Channel::Encrypted, purpose).await
            }
        }
    }

    async fn attempt(&self, channel: Channel, purpose: Purpose) -> Result<Connection> {
        let opened = self.open(channel).await?;
        // How it came about: a later request to cancel takes the same way.
        let channel = if opened.encrypted { Channel::Encrypted } else { Channel::Plain };
        let privacy = match (opened.encrypted || opened.sheltered, &self.ssl) {
            (true, _) => Privacy::Private,
            (false, SslMode::Disable) => Privacy::Waived,
            (false, _) => Privacy::Open,
        };
        let login =
            Login { user: &self.user, password: self.password.as_ref(), privacy, binding: opened.binding };
        let mut wire = Wire::new(opened.socket, self.address(), self.params.socket_timeout);
        let session = startup::start(&mut wire, login, &self.parameters(purpose)).await?;
        let cancel =
            CancelToken { endpoint: Arc::new(self.clone()), channel, pid: session.pid, key: session.key };
        // Such a database holds whatever bytes it was given. Asked for UTF-8, the server would end the
        // whole statement at the first that is not; taken as they are, only their value is lost.
        let any_bytes = session.parameters.get("server_encoding").is_some_and(|e| e == "SQL_ASCII");
        let encoding = if any_bytes { "SQL_ASCII" } else { "UTF8" };
        let mut connection = Connection::new(wire, session, cancel);
        match purpose {
            Purpose::Ordinary => connection.execute(&self.settings(encoding)).await?,
            Purpose::Replication if any_bytes => {
                connection.execute("SET client_encoding = 'SQL_ASCII'").await?;
            }
            Purpose::Replication => {}
        }
        Ok(connection)
    }

    /// What the start-up packet says. A pooler passes on few parameters, so an ordinary connection
    /// sets the others afterwards; a replication connection goes to the server itself.
    fn parameters(&self, purpose: Purpose) -> Vec<(&str, &str)> {
        let mut parameters = vec![
            ("user", self.user.as_str()),
            ("database", self.database.as_str()),
            ("application_name", self.params.application_name.as_str()),
            ("client_encoding", "UTF8"),
        ];
        if let Some(options) = &self.params.options {
            parameters.push(("options", options));
        }
        if purpose == Purpose::Replication {
            parameters.push(("replication", "database"));
            parameters.extend(SETTINGS);
            parameters.extend(self.params.current_schema.as_deref().map(|path| ("search_path", path)));
        }
        parameters
    }

    fn settings(&self, encoding: &str) -> String {
        let mut sql = String::new();
        let own = self.params.current_schema.as_deref().map(|path| ("search_path", path));
        // client_encoding again: one that is set for the role would win over the start-up packet's
        // only in a pooler, which is where it would go unnoticed.
        for (name, value) in SETTINGS.into_iter().chain([("client_encoding", encoding)]) {
            sql.push_str(&format!("SET {name} = {};", crate::quote_literal(value)));
        }
        if let Some((name, path)) = own {
            let names: Vec<String> =
                path.split(',').map(|name| crate::quote_identifier(name.trim())).collect();
            sql.push_str(&format!("SET {name} = {};", names.join(", ")));
        }
        sql
    }

    pub(crate) fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// A socket to the server, encrypted if the channel says so.
    pub(crate) async fn open(&self, channel: Channel) -> Result<Opened> {
        // First: a mistake in the config is the user's to know, whether the server is there or not.
        let tls = match channel {
            Channel::Plain => None,
            Channel::Offered | Channel::Encrypted => Some(Tls::new(&self.ssl, &self.host)?),
        };
        let (mut socket, sheltered): (Box<dyn Socket>, bool) = match &self.tunnel {
            TunnelMethod::NoTunnel => {
                let (socket, local) = self.dial().await?;
                (Box::new(socket), local)
            }
            through => (tunnel::open(through, &self.host, self.port).await?, true),
        };
        let Some(tls) = tls else {
            return Ok(Opened { socket, encrypted: false, sheltered, binding: None });
        };
        match self.ask_for_tls(&mut *socket).await? {
            true => {
                let (socket, binding) = tls.handshake(socket, &self.address()).await?;
                Ok(Opened { socket, encrypted: true, sheltered, binding })
            }
            false if channel == Channel::Offered => {
                Ok(Opened { socket, encrypted: false, sheltered, binding: None })
            }
            false => Err(tls::not_spoken(&self.address())),
        }
    }

    /// Whether the server answers that it speaks TLS.
    async fn ask_for_tls(&self, socket: &mut dyn Socket) -> Result<bool> {
        let mut request = bytes::BytesMut::new();
        postgres_protocol::message::frontend::ssl_request(&mut request);
        // One byte is the answer. Two bytes of room, because more than one is an attempt to have
        // plain text taken for what came encrypted.
        let mut answer = [0; 2];
        let exchange = async {
            socket.write_all(&request).await?;
            socket.flush().await?;
            socket.read(&mut answer).await
        };
        let read = exchange.await.map_err(|e| {
            Error::transient(format!("The connection to {} was lost; the sync tries again.", self.address()))
                .with_source(e)
        })?;
        match (read, answer) {
            (0, _) => Err(crate::error::closed(&self.address())),
            (1, [b'S', _]) => Ok(true),
            (1, [b'N', _]) => Ok(false),
            // What an error says before TLS could have been put there by anyone.
            (_, [b'E', _]) => {
                Err(crate::error::violation(&self.address(), "an error instead of an answer about TLS"))
            }
            (2, [b'S', _]) => {
                Err(crate::error::violation(&self.address(), "unencrypted data where TLS should begin"))
            }
            _ => Err(crate::error::violation(&self.address(), "no answer about TLS")),
        }
    }

    /// A TCP connection, and whether it stays on this machine.
    async fn dial(&self) -> Result<(TcpStream, bool)> {
        let socket = tcp(&self.host, self.port, "host", "port").await?;
        let local = socket.peer_addr().is_ok_and(|peer: SocketAddr| peer.ip().is_loopback());
        // Without these two a connection still works, only slower or less sure to end.
        let _ = socket.set_nodelay(true);
        if self.params.tcp_keep_alive {
            let _ = rustix::net::sockopt::set_socket_keepalive(&socket, true);
            let _ = rustix::net::sockopt::set_tcp_keepidle(&socket, KEEP_ALIVE);
            let _ = rustix::net::sockopt::set_tcp_keepintvl(&socket, KEEP_ALIVE / 4);
        }
        Ok((socket, local))
    }
}

/// What every session has, so that a value's text is the same on every server.
const SETTINGS: [(&str, &str); 5] = [
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
];

/// A TCP connection; errors name the config's keys for the two.
pub(crate) async fn tcp(host: &str, port: u16, host_key: &str, port_key: &str) -> Result<TcpStream> {
    TcpStream::connect((host, port)).await.map_err(|e| {
        use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut};
        let message = match e.kind() {
            ConnectionRefused => format!(
                "{host} refuses connections to port {port}; check `{host_key}` and `{port_key}`, that the server runs, and that it listens on that address."
            ),
            HostUnreachable | NetworkUnreachable => {
                format!("There is no route to {host}; check `{host_key}` and the network.")
            }
            TimedOut => format!(
                "{host} did not answer on port {port}; check `{host_key}`, `{port_key}` and the firewalls in between."
            ),
            // The resolver has no kind of its own, and no code of the system either.
            _ if e.raw_os_error().is_none() && e.to_string().contains("Temporary failure") => {
                return Error::transient(format!("The name {host} could not be looked up just now; check `{host_key}` if it happens again."))
                    .with_source(e);
            }
            _ if e.raw_os_error().is_none() => {
                format!("There is no host named {host}; check `{host_key}`.")
            }
            _ => {
                return Error::transient(format!("{host} cannot be reached on port {port}; check `{host_key}` and `{port_key}` if it happens again."))
                    .with_source(e);
            }
        };
        if e.kind() == TimedOut { Error::transient(message) } else { Error::config(message) }.with_source(e)
    })
}

/// Whether the server's rules do not let this user in over this kind of channel. A wrong password is
/// not among it: it would be wrong over the other, too, and would be sent once more for nothing.
fn turned_away(error: &Error) -> bool {
    server_error(error).is_some_and(|e| e.code == "28000")
}

trait SourceIs {
    fn source_is<T: std::error::Error + 'static>(&self) -> bool;
}

impl SourceIs for Error {
    fn source_is<T: std::error::Error + 'static>(&self) -> bool {
        crate::error::find::<T>(self).is_some()
    }
}
