//! What a connection is made of.

use std::time::Duration;

use connector_kit::Secret;

/// Where to connect, and as whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether and how the connection is encrypted.
    pub tls: Tls,
    /// Who we are.
    pub login: Login,
    /// Properties of the session, sent as headers with every call: `schema`, `routing_queue`, `project_id` …
    pub properties: Vec<(String, String)>,
    /// For the connection itself, and for the log-in.
    pub connect_timeout: Duration,
    /// For one statement, from the first byte sent to the last received. The server is told, too, and may end it then.
    pub statement_timeout: Duration,
}

impl Settings {
    /// For sentences.
    pub(crate) fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Encryption.
#[derive(Clone, Debug)]
pub enum Tls {
    /// None.
    Off,
    /// With a certificate for the host's name, signed by one of these authorities (PEM), or by one that this machine trusts.
    Verified(Option<String>),
    /// With whoever answers.
    Unverified,
}

/// Who logs in.
#[derive(Clone, Debug)]
pub enum Login {
    /// By name and password; the server gives a token for the calls to come.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// By a token that the user made.
    Token(Secret),
}
