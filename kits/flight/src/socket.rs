//! The way to the server: a TCP connection, with TLS where it is wanted. Whatever fails here, nothing was sent yet.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::{Error, Fault};
use crate::settings::Settings;
use crate::tls;

/// Bytes both ways.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// Makes connections; the channel asks for another when one is lost.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) settings: Arc<Settings>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl tower::Service<tonic::transport::Uri> for Connector {
    type Response = TokioIo<Box<dyn Socket>>;
    type Error = Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: tonic::transport::Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let limit = this.settings.connect_timeout;
            match tokio::time::timeout(limit, this.connect()).await {
                Ok(made) => made.map(TokioIo::new),
                Err(_) => Err(Error::new(
                    Fault::NotSent,
                    format!(
                        "{} did not answer within {} s; check `host` and `port`, and the firewalls in between.",
                        this.settings.address(),
                        limit.as_secs()
                    ),
                )),
            }
        })
    }
}

impl Connector {
    async fn connect(&self) -> Result<Box<dyn Socket>, Error> {
        let (host, port) = (self.settings.host.as_str(), self.settings.port);
        let address = self.settings.address();
        let stream = TcpStream::connect((host, port)).await.map_err(|e| unreachable_host(&address, e))?;
        // Many small messages go both ways, and a peer that is gone must show within minutes.
        let _ = stream.set_nodelay(true);
        keep_alive(&stream);
        let Some(config) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(host.to_owned()).map_err(|e| {
            Error::new(Fault::Login, format!("No certificate can be for {host:?}; check `host`."))
                .with_source(e)
        })?;
        match TlsConnector::from(Arc::clone(config)).connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(e) => Err(Error::new(Fault::Login, tls::refusal(&e, &address)).with_source(e)),
        }
    }
}

fn unreachable_host(address: &str, e: io::Error) -> Error {
    let text = match e.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("Nobody listens at {address}; check `host` and `port`, and that the server is running.")
        }
        _ => format!("{address} cannot be reached; check `host` and `port`, and the network."),
    };
    Error::new(Fault::NotSent, text).with_source(e)
}

fn keep_alive(stream: &TcpStream) {
    // HTTP/2 pings would be refused: gRPC for Java ends connections that ping more often than every five minutes.
    let _ = rustix::net::sockopt::set_socket_keepalive(stream, true);
    let _ = rustix::net::sockopt::set_tcp_keepidle(stream, Duration::from_secs(30));
    let _ = rustix::net::sockopt::set_tcp_keepintvl(stream, Duration::from_secs(10));
    let _ = rustix::net::sockopt::set_tcp_keepcnt(stream, 6);
}
