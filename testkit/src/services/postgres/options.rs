//! How a server is to be started.

use super::{Postgres, Version};

/// Wishes for a server.
#[derive(Clone, Debug)]
pub struct Options {
    pub(super) version: Version,
    pub(super) initdb: Vec<String>,
    pub(super) names: String,
    pub(super) copy_of: Option<Primary>,
    lines: Vec<String>,
    access: Vec<String>,
}

/// The server that a standby follows.
#[derive(Clone, Debug)]
pub(super) struct Primary {
    pub(super) port: u16,
}

impl Options {
    pub(super) fn new(version: Version) -> Self {
        Self {
            version,
            initdb: ["--encoding=UTF8", "--locale=C.UTF-8"].map(String::from).to_vec(),
            names: "DNS:localhost,IP:127.0.0.1".to_owned(),
            copy_of: None,
            lines: Vec::new(),
            access: Vec::new(),
        }
    }

    /// A line of `postgresql.conf`; it wins over those before it.
    #[must_use]
    pub fn setting(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// A line of `pg_hba.conf`. With the first one the usual lines are gone.
    #[must_use]
    pub fn access_line(mut self, line: &str) -> Self {
        self.access.push(line.to_owned());
        self
    }

    /// The databases' encoding and locale: `("SQL_ASCII", "C")`.
    #[must_use]
    pub fn encoding(mut self, encoding: &str, locale: &str) -> Self {
        self.initdb = vec![format!("--encoding={encoding}"), format!("--locale={locale}")];
        self
    }

    /// The names in its certificate, instead of `DNS:localhost,IP:127.0.0.1`.
    #[must_use]
    pub fn certificate_names(mut self, names: &str) -> Self {
        names.clone_into(&mut self.names);
        self
    }

    /// A standby that follows a running server of the same version, `standby.signal` and
    /// `primary_conninfo` written. The tools for it are Debian's, so that version is 15.
    #[must_use]
    pub fn standby_of(mut self, primary: &Postgres) -> Self {
        self.copy_of = Some(Primary { port: primary.port });
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it is not installed or does not come up.
    #[must_use]
    pub fn start(self) -> Postgres {
        Postgres::with(&self)
    }

    pub(super) fn settings(&self, port: u16) -> String {
        let settings = format!(
            "port = {port}
             listen_addresses = '127.0.0.1'
             unix_socket_directories = ''
             wal_level = logical
             max_replication_slots = 20
             max_wal_senders = 20
             fsync = off
             log_destination = stderr
             logging_collector = off
             ssl = on
             ssl_cert_file = 'server.crt'
             ssl_key_file = 'server.key'
             ssl_ca_file = 'ca.crt'
             "
        );
        settings + &self.lines.join("\n") + "\n"
    }

    pub(super) fn access(&self) -> String {
        if self.access.is_empty() {
            return "host all all 127.0.0.1/32 scram-sha-256\n\
                    host replication all 127.0.0.1/32 scram-sha-256\n"
                .to_owned();
        }
        self.access.join("\n") + "\n"
    }
}
