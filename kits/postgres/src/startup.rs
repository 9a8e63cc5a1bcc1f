//! From an open socket to a session: start-up packet, authentication, the server's parameters.

use std::collections::BTreeMap;

use bytes::BytesMut;
use connector_kit::{Error, Result, Secret, tracing};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;

use crate::error::ServerError;
use crate::wire::Wire;

/// How many messages a server may send before it says that it is ready.
const PATIENCE: usize = 10_000;

/// How many of its parameters are remembered, and how long a value may be.
const PARAMETERS: usize = 256;
const PARAMETER_LENGTH: usize = 4096;

/// Why a password may be sent as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privacy {
    /// The connection is encrypted, tunnelled, or stays on this machine.
    Private,
    /// It is not, by `ssl_mode: disable`: the user has said so.
    Waived,
    /// It is not, because the server has no TLS.
    Open,
}

/// Who logs in, and what binds the log-in to the TLS connection it is in.
pub(crate) struct Login<'a> {
    pub(crate) user: &'a str,
    pub(crate) password: Option<&'a Secret>,
    pub(crate) privacy: Privacy,
    /// The `tls-server-end-point` of the connection.
    pub(crate) binding: Option<Vec<u8>>,
}

/// What the server said of itself.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) pid: i32,
    pub(crate) key: i32,
    pub(crate) parameters: BTreeMap<String, String>,
}

impl Session {
    /// Takes the body of a `ParameterStatus`; `None` when it is malformed.
    pub(crate) fn take_parameter(&mut self, body: &[u8]) -> Option<()> {
        let body = std::str::from_utf8(body.strip_suffix(&[0])?).ok()?;
        let (name, value) = body.split_once('\0')?;
        let room = self.parameters.len() < PARAMETERS || self.parameters.contains_key(name);
        if room && name.len() + value.len() <= PARAMETER_LENGTH {
            self.parameters.insert(name.to_owned(), value.to_owned());
        }
        Some(())
    }
}

/// Logs in and waits until the server is ready.
pub(crate) async fn start(wire: &mut Wire, login: Login<'_>, parameters: &[(&str, &str)]) -> Result<Session> {
    let written = frontend::startup_message(parameters.iter().copied(), &mut wire.output);
    written.map_err(|e| {
        Error::config(
            "The config holds a NUL character in `username`, `database` or `jdbc_url_params`; remove it.",
        )
        .with_source(e)
    })?;
    wire.flush().await?;
    let mut authentication = Authentication { login, scram: Scram::None, done: false };
    let mut session = Session::default();
    for _ in 0..PATIENCE {
        let message = wire.receive().await?;
        match message.tag {
            b'R' if !authentication.done => authentication.take(wire, message).await?,
            b'E' => {
                return Err(match ServerError::parse(wire.body(message)) {
                    Some(error) => error.classify(),
                    None => wire.violation("malformed error"),
                });
            }
            // What was said before the log-in is nobody's word yet.
            b'N' => {}
            b'S' if authentication.done => {
                if session.take_parameter(wire.body(message)).is_none() {
                    return Err(wire.violation("malformed parameter status"));
                }
            }
            b'K' if authentication.done => {
                let Some((pid, key)) = wire.body(message).split_first_chunk::<4>() else {
                    return Err(wire.violation("malformed backend key"));
                };
                session.pid = i32::from_be_bytes(*pid);
                // Longer keys belong to protocol 3.2, which is not asked for.
                session.key = key.first_chunk::<4>().map_or(0, |key| i32::from_be_bytes(*key));
            }
            b'Z' if authentication.done => {
                wire.trust();
                return Ok(session);
            }
            // The server speaks a lower minor version or does not know an option; both are fine.
            b'v' if !authentication.done => {}
            tag => return Err(wire.violation(format!("message {:?} during start-up", char::from(tag)))),
        }
    }
    Err(wire.violation("start-up without end"))
}

enum Scram {
    None,
    /// Our first message is out.
    First(ScramSha256),
    /// Our proof is out.
    Proved(ScramSha256),
    /// The server has proved that it knows the password, too.
    Mutual,
}

struct Authentication<'a> {
    login: Login<'a>,
    scram: Scram,
    done: bool,
}

impl Authentication<'_> {
    async fn take(&mut self, wire: &mut Wire, message: crate::wire::Message) -> Result<()> {
        let body = wire.body(message);
        let Some((kind, rest)) = body.split_first_chunk::<4>() else {
            return Err(wire.violation("malformed authentication request"));
        };
        let mut answer = BytesMut::new();
        match (i32::from_be_bytes(*kind), std::mem::replace(&mut self.scram, Scram::None)) {
            // A server that leaves out its proof may be anyone.
            (0, Scram::None | Scram::Mutual) => self.done = true,
            (3, Scram::None) => {
                let password = self.password()?;
                match self.login.privacy {
                    Privacy::Private => {}
                    Privacy::Waived => tracing::warn!(
                        "The server asked for the password in clear text, and the connection is not encrypted; use scram-sha-256 in the server's pg_hba.conf, or another ssl_mode."
                    ),
                    Privacy::Open => {
                        return Err(Error::config(
                            "The server asked for the password in clear text over a connection that is not encrypted, and did not get it; use scram-sha-256 in its pg_hba.conf, or TLS, or set `ssl_mode` to disable if the network is trusted.",
                        ));
                    }
                }
                self.written(wire, frontend::password_message(password.as_bytes(), &mut answer))?;
            }
            (5, Scram::None) => {
                let Ok(salt) = <[u8; 4]>::try_from(rest) else {
                    return Err(wire.violation("malformed salt"));
                };
                let hash = md5_hash(self.login.user.as_bytes(), self.password()?.as_bytes(), salt);
                self.written(wire, frontend::password_message(hash.as_bytes(), &mut answer))?;
            }
            (10, Scram::None) => {
                let offered = |name: &str| rest.split(|b| *b == 0).any(|offer| offer == name.as_bytes());
                let (mechanism, binding) = match self.login.binding.take() {
                    Some(binding) if offered(SCRAM_SHA_256_PLUS) => {
                        (SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(binding))
                    }
                    Some(_) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
                    None => (SCRAM_SHA_256, ChannelBinding::unsupported()),
                };
                if !offered(mechanism) {
                    return Err(unsupported("a SASL mechanism other than SCRAM-SHA-256"));
                }
                let scram = ScramSha256::new(self.password()?.as_bytes(), binding);
                let written = frontend::sasl_initial_response(mechanism, scram.message(), &mut answer);
                self.written(wire, written)?;
                self.scram = Scram::First(scram);
            }
            (11, Scram::First(mut scram)) => {
                scram.update(rest).map_err(|e| wire.violation("malformed SCRAM challenge").with_source(e))?;
                self.written(wire, frontend::sasl_response(scram.message(), &mut answer))?;
                self.scram = Scram::Proved(scram);
            }
            (12, Scram::Proved(mut scram)) => {
                scram.finish(rest).map_err(|e| {
                    Error::config(format!(
                        "{} could not prove that it knows the password, so it may not be the server it claims to be; check `host`, `port` and `ssl_mode`.",
                        wire.address
                    ))
                    .with_source(e)
                })?;
                self.scram = Scram::Mutual;
            }
            (2 | 7 | 8 | 9, _) => return Err(unsupported("Kerberos, GSSAPI or SSPI")),
            (kind, _) => return Err(wire.violation(format!("authentication request {kind} out of turn"))),
        }
        if !answer.is_empty() {
            wire.output.extend_from_slice(&answer);
            wire.flush().await?;
        }
        Ok(())
    }

    fn password(&self) -> Result<&str> {
        let password = self.login.password.map(Secret::expose).filter(|password| !password.is_empty());
        password.ok_or_else(|| Error::config("The server asks for a password; set `password`."))
    }

    fn written(&self, _: &Wire, result: std::io::Result<()>) -> Result<()> {
        result.map_err(|e| {
            Error::config(
                "The password holds a NUL character, which no PostgreSQL password can; mend `password`.",
            )
            .with_source(e)
        })
    }
}

fn unsupported(what: &str) -> Error {
    Error::config(format!(
        "The server asks for authentication by {what}, which is not supported; let its pg_hba.conf ask for scram-sha-256."
    ))
}

#[cfg(test)]
mod tests {
    use super::{Login, Privacy, start};
    use crate::wire::Wire;
    use connector_kit::{ErrorKind, Result, Secret};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    /// A server's part of a log-in, by hand.
    struct Server(DuplexStream);

    impl Server {
        async fn ask(&mut self, kind: u32, more: &[u8]) {
            let mut message = vec![b'R'];
            message.extend((more.len() as u32 + 8).to_be_bytes());
            message.extend(kind.to_be_bytes());
            message.extend(more);
            self.0.write_all(&message).await.unwrap();
        }

        /// What the client says; nothing once it has hung up.
        async fn hear(&mut self) -> Option<Vec<u8>> {
            assert_eq!(self.0.read_u8().await.ok()?, b'p');
            let mut body = vec![0; self.0.read_u32().await.unwrap() as usize - 4];
            self.0.read_exact(&mut body).await.unwrap();
            Some(body)
        }
    }

    fn log_in(privacy: Privacy, serve: impl AsyncFnOnce(Server)) -> Result<()> {
        let (mut server, client) = duplex(1 << 16);
        let password = Secret::from("pencil".to_owned());
        let login = Login { user: "user", password: Some(&password), privacy, binding: None };
        let log_in = async {
            let mut wire = Wire::new(Box::new(client), "server:1".into(), None);
            start(&mut wire, login, &[("user", "user")]).await.map(drop)
        };
        let serve = async {
            let length = server.read_u32().await.unwrap();
            server.read_exact(&mut vec![0; length as usize - 4]).await.unwrap();
            serve(Server(server)).await;
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::join!(log_in, serve).0 })
    }

    #[test]
    fn a_password_goes_in_clear_text_only_where_nobody_listens_or_the_user_said_so() {
        for (privacy, sent) in [(Privacy::Private, true), (Privacy::Waived, true), (Privacy::Open, false)] {
            let mut heard = None;
            let result = log_in(privacy, async |mut server| {
                server.ask(3, b"").await;
                heard = server.hear().await;
            });
            assert_eq!(heard.is_some(), sent, "{privacy:?}");
            let error = result.unwrap_err();
            assert_eq!(error.message().contains("`ssl_mode` to disable"), !sent, "{error}");
        }
    }

    #[test]
    fn a_server_that_does_not_prove_itself_gets_no_further() {
        let challenge = async |server: &mut Server, rounds: &str| {
            server.ask(10, b"SCRAM-SHA-256\0\0").await;
            let hello = server.hear().await.unwrap();
            let hello = String::from_utf8(hello).unwrap();
            let nonce = &hello[hello.find("r=").unwrap()..];
            server.ask(11, format!("{nonce}more,s=QSXCR+Q6sek8bf92,i={rounds}").as_bytes()).await;
        };
        let error = log_in(Privacy::Private, async |mut server| {
            challenge(&mut server, "4096").await;
            server.hear().await.unwrap();
            server.ask(0, b"").await;
            assert_eq!(server.hear().await, None);
        });
        assert_eq!(
            error.unwrap_err().causes().unwrap(),
            "protocol violation: authentication request 0 out of turn"
        );
        let error = log_in(Privacy::Private, async |mut server| {
            challenge(&mut server, "4096").await;
            server.hear().await.unwrap();
            server.ask(12, b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").await;
            assert_eq!(server.hear().await, None);
        });
        let error = error.unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.message().contains("prove"), "{error}");
        // So many rounds would keep us busy for hours.
        let error = log_in(Privacy::Private, async |mut server| {
            challenge(&mut server, "4000000000").await;
            assert_eq!(server.hear().await, None);
        });
        assert!(error.unwrap_err().message().contains("protocol"));
        for wrong in ["r=other,s=QSXCR+Q6sek8bf92,i=4096", "", "r=", "\u{fffd}"] {
            let error = log_in(Privacy::Private, async |mut server| {
                server.ask(10, b"SCRAM-SHA-256\0\0").await;
                server.hear().await.unwrap();
                server.ask(11, wrong.as_bytes()).await;
                assert_eq!(server.hear().await, None);
            });
            assert!(error.unwrap_err().message().contains("protocol"), "{wrong}");
        }
    }
}
