//! One error type across the kit's boundary: a sentence for the person, a chain of
//! causes for the engineer, and who has to act.

use std::error::Error as StdError;
use std::fmt;

use protocol::{FailureType, StreamDescriptor, TraceError};

/// The result of everything in the kit.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who has to act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The user: config, permissions, data.
    Config,
    /// Nobody: trying again may help.
    Transient,
    /// Us: a bug, or an answer nobody expected.
    System,
    /// Nothing failed: a signal or a closed pipe asked us to end.
    Stopped,
}

/// What went wrong. The message is a sentence that says what to do next; it holds no
/// row values and no secrets. Causes go into [`with_source`](Self::with_source).
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    stream: Option<StreamDescriptor>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), stream: None, source: None }
    }

    /// The user has to change something.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// Trying again may help.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Transient, message)
    }

    /// A bug, or an answer nobody expected.
    pub fn system(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::System, message)
    }

    /// We were asked to end.
    #[must_use]
    pub fn stopped() -> Self {
        Self::new(ErrorKind::Stopped, "The run was asked to stop.")
    }

    /// Attaches the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Names the stream it concerns, unless one is named already.
    #[must_use]
    pub fn for_stream(mut self, stream: &StreamDescriptor) -> Self {
        self.stream.get_or_insert_with(|| stream.clone());
        self
    }

    /// Who has to act.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The sentence for the person.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The stream it concerns.
    #[must_use]
    pub fn stream(&self) -> Option<&StreamDescriptor> {
        self.stream.as_ref()
    }

    /// The chain of causes, joined by colons; `None` when there is none.
    #[must_use]
    pub fn causes(&self) -> Option<String> {
        let mut parts = Vec::new();
        let mut cause: Option<&dyn StdError> = self.source();
        while let Some(error) = cause {
            parts.push(error.to_string());
            cause = error.source();
        }
        (!parts.is_empty()).then(|| parts.join(": "))
    }

    pub(crate) fn to_trace(&self) -> TraceError {
        TraceError {
            message: self.message.clone(),
            internal_message: self.causes(),
            stack_trace: None,
            failure_type: Some(match self.kind {
                ErrorKind::Config => FailureType::ConfigError,
                ErrorKind::Transient => FailureType::TransientError,
                ErrorKind::System | ErrorKind::Stopped => FailureType::SystemError,
            }),
            stream_descriptor: self.stream.clone(),
            extra: serde_json::Map::new(),
        }
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
