//! The server's errors, and the sentences and kinds they become.

use std::error::Error as StdError;
use std::fmt;

use connector_kit::Error;

/// An error as the server reports it. Printed, it shows the message only where that cannot hold
/// values of a row, and never the detail, which often does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    /// `ERROR`, `FATAL` or `PANIC`, whatever the server's language.
    pub severity: String,
    /// The SQLSTATE, five characters.
    pub code: String,
    /// The primary message.
    pub message: String,
    /// More about it; may hold values of a row.
    pub detail: Option<String>,
    /// What the server suggests.
    pub hint: Option<String>,
    /// The schema it concerns.
    pub schema: Option<String>,
    /// The table it concerns.
    pub table: Option<String>,
    /// The column it concerns.
    pub column: Option<String>,
    /// The data type it concerns.
    pub data_type: Option<String>,
    /// The constraint it concerns.
    pub constraint: Option<String>,
}

impl ServerError {
    /// Reads the body of an `ErrorResponse` or `NoticeResponse`; `None` when it is malformed.
    pub(crate) fn parse(mut body: &[u8]) -> Option<Self> {
        let mut error = Self::default();
        let mut localized = None;
        loop {
            let (kind, rest) = body.split_first()?;
            if *kind == 0 {
                break;
            }
            let end = memchr(rest)?;
            // A server whose messages are in another encoding than the client's still has a code.
            let text = String::from_utf8_lossy(&rest[..end]).into_owned();
            body = &rest[end + 1..];
            match kind {
                b'V' => error.severity = text,
                b'S' => localized = Some(text),
                b'C' => error.code = text,
                b'M' => error.message = text,
                b'D' => error.detail = Some(text),
                b'H' => error.hint = Some(text),
                b's' => error.schema = Some(text),
                b't' => error.table = Some(text),
                b'c' => error.column = Some(text),
                b'd' => error.data_type = Some(text),
                b'n' => error.constraint = Some(text),
                _ => {}
            }
        }
        if error.severity.is_empty() {
            error.severity = localized?;
        }
        Some(error)
    }

    /// Whether the server ends the connection with it.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity.as_str(), "FATAL" | "PANIC")
    }

    /// The message, unless it may quote a value of a row: data exceptions, constraint violations and
    /// what functions raise do.
    fn shown(&self) -> Option<&str> {
        let class = self.code.get(..2).unwrap_or("");
        (!matches!(class, "22" | "23" | "P0" | "44" | "38" | "39" | "") && !self.message.is_empty())
            .then_some(self.message.as_str())
    }

    /// The error for the person: who has to act, and what to do.
    #[must_use]
    pub fn classify(self) -> Error {
        let said = match self.shown() {
            Some(message) => format!("the server says: {}", message.trim_end_matches('.')),
            None => format!("the server reports SQLSTATE {}", self.code),
        };
        self.sentence(&said).with_source(self)
    }

    /// Where a constraint was violated, as far as the server tells.
    fn place(&self) -> String {
        [
            ("constraint", &self.constraint),
            ("column", &self.column),
            ("table", &self.table),
            ("schema", &self.schema),
        ]
        .into_iter()
        .filter_map(|(what, name)| Some(format!(", {what} {:?}", name.as_ref()?)))
        .collect()
    }

    fn sentence(&self, said: &str) -> Error {
        let message = self.message.as_str();
        let has = |part: &str| message.contains(part);
        match self.code.as_str() {
            "28P01" => Error::config(format!(
                "The server refused the user name or the password ({said}); check `username` and `password`."
            )),
            "28000" if has("certificate") => Error::config(format!(
                "The server wants a valid client certificate ({said}); set `client_certificate` and `client_key` under `ssl_mode`."
            )),
            "28000" => Error::config(format!(
                "The server does not let this user in from here ({said}); check `username`, `database` and `ssl_mode`, or add a line for them to the server's pg_hba.conf."
            )),
            "3D000" => Error::config(format!("The database does not exist ({said}); check `database`.")),
            "42501" => {
                Error::config(format!("A privilege is missing ({said}); GRANT it to the user of the config."))
            }
            "42704" if has("replication slot") => Error::config(format!(
                "The replication slot does not exist ({said}); create it, or check `replication_slot`."
            )),
            "42704" if has("publication") => Error::config(format!(
                "The publication does not exist ({said}); create it, or check `publication`. If it is there, it was made after the replication slot, which sees publications as of its own position: drop the slot, create it again and re-sync."
            )),
            "42P01" | "3F000" | "42703" | "42704" | "42883" | "42P02" => Error::config(format!(
                "Something that is read or written is not in the database, or was dropped meanwhile ({said}); refresh the schema of the connection."
            )),
            "25P03" | "25P04" => Error::config(format!(
                "The server ended our transaction for lasting too long ({said}); raise idle_in_transaction_session_timeout or transaction_timeout for this user."
            )),
            "55000" if has("wal_level") || has("logical decoding") => Error::config(format!(
                "The server's log is not set up for change data capture ({said}); set wal_level = logical and restart the server."
            )),
            "55000" if has("slot") => Error::config(format!(
                "The replication slot cannot be read any more ({said}); drop it, create it again and re-sync."
            )),
            "55000" if has("recovery") => {
                Error::transient(format!("The server is still in recovery ({said}); the sync tries again."))
            }
            "58P01" if has("WAL segment") => Error::config(format!(
                "The log that the replication slot needs is gone ({said}); drop the slot, create it again and re-sync, and raise max_slot_wal_keep_size."
            )),
            "55006" => Error::transient(format!(
                "Something is in use by another connection ({said}); end it, or wait for it and try again."
            )),
            "53400" if has("replication slots") || has("max_") => Error::config(format!(
                "A limit of the server is used up ({said}); raise it, or drop what is not used any more."
            )),
            "53300" => Error::transient(format!(
                "The server has no connection left ({said}); lower `max_db_connections`, raise the server's max_connections, or try again later."
            )),
            "57014" if has("statement timeout") => Error::transient(format!(
                "The server stopped our statement for lasting too long ({said}); raise statement_timeout for this user if it happens again."
            )),
            "57P03" | "57P01" | "57P02" => Error::transient(format!(
                "The server is starting, stopping or recovering ({said}); the sync tries again."
            )),
            "57P04" => Error::config(format!("The database was dropped ({said}); check `database`.")),
            "57P05" => Error::config(format!(
                "The server ended our idle connection ({said}); raise idle_session_timeout for this user."
            )),
            "0A000" => Error::config(format!(
                "The server does not support what the sync needs ({said}); check its version, and that `host` and `port` lead to PostgreSQL itself."
            )),
            "08P01" => Error::config(format!(
                "The server refused how the connection speaks to it ({said}); if a connection pooler is at `host` and `port`, give those of PostgreSQL itself."
            )),
            "XX001" | "XX002" => Error::config(format!(
                "The server's data is damaged ({said}); its administrator has to look at it."
            )),
            "72000" => Error::transient(format!(
                "The snapshot of the read became too old ({said}); the sync tries again."
            )),
            _ if has("conflict with recovery") => Error::transient(format!(
                "The read met a conflict on a standby server ({said}); set hot_standby_feedback = on or raise max_standby_streaming_delay there, or read from the primary."
            )),
            code => match code.get(..2).unwrap_or("") {
                "08" => Error::transient(format!(
                    "The connection to the server failed ({said}); the sync tries again."
                )),
                "23" => Error::config(format!(
                    "A constraint does not allow it{} ({said}); drop the constraint, or mend the rows.",
                    self.place()
                )),
                "P0" => Error::config(format!(
                    "A function of the database does not allow it ({said}); see what the table's triggers do."
                )),
                "40" => Error::transient(format!(
                    "The server rolled our transaction back ({said}); the sync tries again."
                )),
                "53" => Error::transient(format!(
                    "The server is out of a resource ({said}); give it more, or try again later."
                )),
                "54" => Error::config(format!(
                    "A limit of PostgreSQL is exceeded ({said}); select fewer or smaller fields."
                )),
                "57" => Error::transient(format!(
                    "The server's operator intervened ({said}); the sync tries again."
                )),
                "58" => Error::transient(format!(
                    "The server's system failed ({said}); its administrator has to look at it if it happens again."
                )),
                _ => Error::system(format!(
                    "The server did not accept a statement of ours ({said}); please report it."
                )),
            },
        }
    }
}

fn memchr(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|b| *b == 0)
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = self.severity.to_ascii_lowercase();
        match self.shown() {
            Some(message) => write!(f, "{severity} {}: {message}", self.code)?,
            None => write!(f, "{severity} {}", self.code)?,
        }
        for (what, name) in [("schema", &self.schema), ("table", &self.table), ("column", &self.column)] {
            if let Some(name) = name {
                write!(f, ", {what} {name}")?;
            }
        }
        Ok(())
    }
}

impl StdError for ServerError {}

/// The server's error behind one of ours.
#[must_use]
pub fn server_error(error: &Error) -> Option<&ServerError> {
    find(error)
}

/// The first error of type `T` in the chain of causes.
pub(crate) fn find<T: StdError + 'static>(error: &Error) -> Option<&T> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// What the server did against the protocol.
#[derive(Debug, thiserror::Error)]
#[error("protocol violation: {0}")]
pub(crate) struct ProtocolError(pub(crate) String);

/// An answer that the protocol does not allow: another program, or a broken one.
pub(crate) fn violation(address: &str, what: impl Into<String>) -> Error {
    Error::system(format!(
        "{address} sent what PostgreSQL's protocol does not allow; check that `host` and `port` lead to a PostgreSQL server."
    ))
    .with_source(ProtocolError(what.into()))
}

/// The connection ended without a word.
pub(crate) fn closed(address: &str) -> Error {
    Error::transient(format!(
        "{address} closed the connection; look into the server's log if it happens again."
    ))
}

#[cfg(test)]
mod tests {
    use super::{ServerError, server_error};
    use connector_kit::ErrorKind;

    fn error(code: &str, message: &str) -> ServerError {
        ServerError {
            severity: "ERROR".into(),
            code: code.into(),
            message: message.into(),
            ..Default::default()
        }
    }

    #[test]
    fn reads_every_field_and_prefers_the_severity_that_is_not_translated() {
        let body =
            b"SFEHLER\0VERROR\0C42501\0Mpermission denied for table t\0Dd\0Hh\0ss\0tt\0cc\0dd\0nn\0Fx.c\0\0";
        let error = ServerError::parse(body).unwrap();
        assert_eq!((error.severity.as_str(), error.code.as_str()), ("ERROR", "42501"));
        assert_eq!((error.hint.as_deref(), error.constraint.as_deref()), (Some("h"), Some("n")));
        for cut in 0..body.len() {
            assert_eq!(ServerError::parse(&body[..cut]), None);
        }
    }

    #[test]
    fn says_who_has_to_act() {
        use ErrorKind::{Config, System, Transient};
        for (code, message, kind, names) in [
            ("28P01", "password authentication failed for user \"x\"", Config, "`password`"),
            ("3D000", "database \"x\" does not exist", Config, "`database`"),
            ("28000", "no pg_hba.conf entry for host", Config, "pg_hba.conf"),
            ("42501", "permission denied for table t", Config, "GRANT"),
            ("55000", "logical decoding requires wal_level >= logical", Config, "wal_level"),
            ("55000", "cannot read from logical replication slot \"s\"", Config, "create it again"),
            ("57014", "canceling statement due to statement timeout", Transient, "statement_timeout"),
            ("40001", "canceling statement due to conflict with recovery", Transient, "hot_standby_feedback"),
            ("53400", "temporary file size exceeds temp_file_limit (1kB)", Transient, "resource"),
            ("53400", "all replication slots are in use", Config, "limit"),
            ("57P03", "the database system is starting up", Transient, "starting"),
            ("25P03", "terminating connection due to idle-in-transaction timeout", Config, "idle_in"),
            ("54011", "tables can have at most 1600 columns", Config, "limit"),
            ("42601", "syntax error", System, "report"),
        ] {
            let error = error(code, message).classify();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().contains(names) && error.message().contains(message), "{error}");
            assert_eq!(server_error(&error).unwrap().code, code);
        }
    }

    #[test]
    fn shows_no_value_of_a_row() {
        let mut error = error("22P02", "invalid input syntax for type integer: \"s3cret\"");
        error.detail = Some("s3cret".into());
        let error = error.classify();
        assert!(!format!("{error} {:?}", error.causes()).contains("s3cret"));
        assert!(error.message().contains("22P02"));
    }
}
