//! What can go wrong, as ferry tells it: one sentence for the person, who has to act,
//! and whether trying again may help.

use protocol::{FailureType, StreamDescriptor};
use serde::Serialize;

/// Which part of a sync failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The source connector.
    Source,
    /// The destination connector.
    Destination,
    /// Ferry itself, or what it was asked to do.
    Ferry,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Ferry => "ferry",
        })
    }
}

/// One failure of a sync, its secrets already masked when it leaves the library.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// Who failed.
    pub origin: Origin,
    /// Who has to act.
    pub failure_type: FailureType,
    /// The stream, when it concerns one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamDescriptor>,
    /// What happened and what to do.
    pub message: String,
    /// The chain of causes, for the engineer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Whether another attempt may go better.
    pub retryable: bool,
}

impl Failure {
    /// A failure that will repeat itself: bad input, a broken rule of the protocol.
    pub fn fatal(origin: Origin, message: impl Into<String>) -> Self {
        Self {
            origin,
            failure_type: FailureType::SystemError,
            stream: None,
            message: message.into(),
            detail: None,
            retryable: false,
        }
    }

    /// A failure that another attempt may not meet.
    pub fn passing(origin: Origin, message: impl Into<String>) -> Self {
        Self { retryable: true, ..Self::fatal(origin, message) }
    }

    /// A failure that the user has to mend in the sync file or the system behind a connector.
    pub fn config(origin: Origin, message: impl Into<String>) -> Self {
        Self { failure_type: FailureType::ConfigError, ..Self::fatal(origin, message) }
    }

    /// The same failure, tied to a stream.
    #[must_use]
    pub fn on(mut self, stream: &StreamDescriptor) -> Self {
        self.stream = Some(stream.clone());
        self
    }

    /// The same failure with the engineer's part.
    #[must_use]
    pub fn because(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.origin != Origin::Ferry {
            write!(f, "{}: ", self.origin)?;
        }
        if let Some(stream) = &self.stream
            && !self.message.contains(&stream.name)
        {
            write!(f, "stream {stream}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line or the sync file is wrong; nothing was started.
    #[error("{0}")]
    Usage(String),
    /// Something failed while running.
    #[error("{0}")]
    Failed(Box<Failure>),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
