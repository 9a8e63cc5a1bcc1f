//! Errors that say who has to act, and whether a statement may have run.

use std::error::Error as StdError;
use std::fmt;

use tonic::{Code, Status};

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The sort of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// We are not let in: password, token, certificate.
    Login,
    /// The user lacks a privilege.
    Denied,
    /// What the statement names is not there.
    Missing,
    /// The server has no such call.
    Unsupported,
    /// The message is larger than the server, or we, take.
    TooLarge,
    /// The statement was refused before it ran, and would be again.
    Refused,
    /// The connection did not come about, so nothing was sent.
    NotSent,
    /// The server cannot now: overloaded, out of quota, asleep, another commit came first. It may say so after it began.
    Busy,
    /// The answer was lost; the statement may have run, may be running, or may never have come there.
    Lost,
    /// It ran and failed, says the server.
    Failed,
}

impl Fault {
    /// Whether the statement may have had an effect, or may still have one.
    #[must_use]
    pub fn may_have_run(self) -> bool {
        matches!(self, Self::Busy | Self::Lost | Self::Failed)
    }

    /// Whether asking again later may help.
    #[must_use]
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Busy | Self::Lost | Self::NotSent)
    }
}

/// What went wrong.
#[derive(Debug)]
pub struct Error {
    fault: Fault,
    message: String,
    said: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), said: String::new(), source: None }
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Its sort.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// The sentence for the person.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the server said, in one line and without values; empty if it said nothing.
    #[must_use]
    pub fn said(&self) -> &str {
        &self.said
    }

    /// The answer to a call, or the lack of one.
    pub(crate) fn of(status: Status, address: &str) -> Self {
        if let Some(error) = connecting(&status) {
            return error;
        }
        let said = one_line(status.message());
        let fault = fault(&status);
        let message = match fault {
            Fault::Login => format!(
                "{address} does not accept the log-in; check `username` and `password`, or `personal_access_token`."
            ),
            Fault::Denied => format!("{address} says that the user may not do this: {said}"),
            Fault::Missing | Fault::Refused | Fault::Failed => {
                format!("{address} refused a statement: {said}")
            }
            Fault::Unsupported => {
                format!(
                    "{address} lacks a call of Flight SQL that is needed; check that `port` is that of Arrow Flight SQL."
                )
            }
            Fault::TooLarge => format!("{address} does not take messages this large: {said}"),
            Fault::Busy => format!("{address} cannot serve this now: {said}"),
            Fault::NotSent | Fault::Lost => format!("The answer of {address} was lost."),
        };
        Self { fault, message, said, source: Some(Box::new(Cause::of(&status))) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}

impl From<Error> for connector_kit::Error {
    fn from(error: Error) -> Self {
        let make = match error.fault {
            Fault::Busy | Fault::Lost | Fault::NotSent => Self::transient,
            Fault::Failed => Self::system,
            _ => Self::config,
        };
        make(error.message.clone()).with_source(error)
    }
}

/// A status without what else it carries: its details and headers may hold anything.
#[derive(Debug, thiserror::Error)]
#[error("{code:?}: {said}{via}")]
struct Cause {
    code: Code,
    said: String,
    via: String,
}

impl Cause {
    fn of(status: &Status) -> Self {
        let mut via = String::new();
        let mut source = status.source();
        while let Some(error) = source {
            via.push_str(": ");
            via.push_str(&one_line(&error.to_string()));
            source = error.source();
        }
        Self { code: status.code(), said: one_line(status.message()), via }
    }
}

/// Our own error, when a connection did not come about.
fn connecting(status: &Status) -> Option<Error> {
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(own) = error.downcast_ref::<Error>() {
            return Some(Error::new(own.fault, own.message.clone()).with_source(Cause::of(status)));
        }
        source = error.source();
    }
    None
}

fn fault(status: &Status) -> Fault {
    let text = status.message().to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    // A status with a cause was made on this side of the wire.
    let is_ours = status.source().is_some();
    match status.code() {
        Code::Unauthenticated => Fault::Login,
        Code::PermissionDenied => Fault::Denied,
        Code::NotFound => Fault::Missing,
        Code::Unimplemented => Fault::Unsupported,
        Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists => {
            if says(&["not found", "does not exist", "no such", "doesn't exist"]) {
                Fault::Missing
            } else if says(&["permission", "privilege", "not authorized", "access denied"]) {
                Fault::Denied
            } else if says(&["too large", "too long"]) {
                Fault::TooLarge
            } else {
                Fault::Refused
            }
        }
        Code::OutOfRange | Code::ResourceExhausted
            if says(&["larger than", "too large", "exceeds max", "message length"]) =>
        {
            Fault::TooLarge
        }
        Code::Internal | Code::Unknown | Code::DataLoss | Code::OutOfRange if !is_ours => {
            if says(&["conflict", "concurrent", "commit failed", "commitfailed"]) {
                Fault::Busy
            } else if text.starts_with("unsupported_operation error") {
                Fault::Refused
            } else {
                Fault::Failed
            }
        }
        Code::Unavailable | Code::ResourceExhausted | Code::Aborted if !is_ours => Fault::Busy,
        _ => Fault::Lost,
    }
}

/// The first line of what a server says, without what it quotes: between apostrophes stand values of rows, and the lines
/// that follow repeat the statement.
fn one_line(text: &str) -> String {
    const LONGEST: usize = 300;
    let mut out = String::new();
    let mut quoted = false;
    for c in text.lines().next().unwrap_or_default().chars() {
        if out.len() >= LONGEST {
            out.push('…');
            break;
        }
        match c {
            '\'' => {
                if !quoted {
                    out.push_str("'…'");
                }
                quoted = !quoted;
            }
            _ if quoted => {}
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Error, Fault, one_line};
    use tonic::{Code, Status};

    fn fault(code: Code, text: &str) -> Fault {
        Error::of(Status::new(code, text), "h:1").fault()
    }

    #[test]
    fn answers_are_sorted_by_what_can_be_done() {
        for (code, text, expected) in [
            (Code::Unauthenticated, "x", Fault::Login),
            (Code::PermissionDenied, "no", Fault::Denied),
            (Code::InvalidArgument, "Object 'a' not found within 'b'", Fault::Missing),
            (Code::InvalidArgument, "Failure parsing the query.", Fault::Refused),
            (Code::Unavailable, "Concurrent operations", Fault::Busy),
            (Code::ResourceExhausted, "queue is full", Fault::Busy),
            (Code::ResourceExhausted, "message larger than max (5 vs. 4)", Fault::TooLarge),
            (Code::Internal, "Cannot cast", Fault::Failed),
            (Code::Internal, "Commit failed: conflict", Fault::Busy),
            (Code::DeadlineExceeded, "", Fault::Lost),
            (Code::Unimplemented, "", Fault::Unsupported),
        ] {
            assert_eq!(fault(code, text), expected, "{code:?} {text}");
        }
    }

    #[test]
    fn a_status_of_our_own_making_leaves_open_what_became_of_the_statement() {
        let mut status = Status::new(Code::Unknown, "transport error");
        status.set_source(std::sync::Arc::new(std::io::Error::other("reset")));
        let error = Error::of(status, "h:1");
        assert_eq!(error.fault(), Fault::Lost);
        assert!(error.fault().may_have_run() && error.fault().may_pass());
    }

    #[test]
    fn what_a_server_quotes_is_not_repeated() {
        let said = one_line("Cannot cast 'secret value' to \"c\"\nSQL Query INSERT 'x'");
        assert_eq!(said, "Cannot cast '…' to \"c\"");
        assert!(one_line(&"x".repeat(9_000)).len() < 310);
        assert_eq!(one_line("it's open"), "it'…'");
    }
}
