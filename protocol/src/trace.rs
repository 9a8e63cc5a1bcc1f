//! TRACE messages: errors, estimates, stream status, analytics.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::catalog::StreamDescriptor;

/// A TRACE message.
#[doc(alias = "AirbyteTraceMessage")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Which of the members below is set.
    #[serde(rename = "type")]
    pub kind: TraceKind,
    /// Milliseconds since 1970, a float by contract.
    #[serde(default, deserialize_with = "crate::catalog::null_as_default")]
    pub emitted_at: f64,
    /// With [`TraceKind::Error`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TraceError>,
    /// With [`TraceKind::Estimate`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// With [`TraceKind::StreamStatus`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_status: Option<StreamStatus>,
    /// With [`TraceKind::Analytics`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analytics: Option<Analytics>,
    /// Members this version does not know; kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Trace {
    fn empty(kind: TraceKind, emitted_at_ms: i64) -> Self {
        let emitted_at = emitted_at_ms as f64;
        Self {
            kind,
            emitted_at,
            error: None,
            estimate: None,
            stream_status: None,
            analytics: None,
            extra: Map::new(),
        }
    }

    /// An error trace.
    #[must_use]
    pub fn error(emitted_at_ms: i64, error: TraceError) -> Self {
        Self { error: Some(error), ..Self::empty(TraceKind::Error, emitted_at_ms) }
    }

    /// An estimate trace.
    #[must_use]
    pub fn estimate(emitted_at_ms: i64, estimate: Estimate) -> Self {
        Self { estimate: Some(estimate), ..Self::empty(TraceKind::Estimate, emitted_at_ms) }
    }

    /// A stream status trace without reasons.
    #[must_use]
    pub fn status(emitted_at_ms: i64, stream: StreamDescriptor, status: StreamStatusKind) -> Self {
        let status =
            StreamStatus { stream_descriptor: stream, status, reasons: Vec::new(), extra: Map::new() };
        Self { stream_status: Some(status), ..Self::empty(TraceKind::StreamStatus, emitted_at_ms) }
    }
}

/// The kinds of TRACE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TraceKind {
    /// Something failed.
    Error,
    /// How much is to come.
    Estimate,
    /// A stream started, runs, or ended.
    StreamStatus,
    /// A counted event.
    Analytics,
}

/// Who has to act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureType {
    /// Ours: a bug or an unexpected answer.
    SystemError,
    /// The user's: config, permissions, data.
    ConfigError,
    /// Nobody's: trying again may help.
    TransientError,
}

/// What failed.
#[doc(alias = "AirbyteErrorTraceMessage")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceError {
    /// For the person: what happened and what to do.
    pub message: String,
    /// For the engineer: the chain of causes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal_message: Option<String>,
    /// For the engineer: where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack_trace: Option<String>,
    /// Absent means [`FailureType::SystemError`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_type: Option<FailureType>,
    /// The stream, when it concerns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_descriptor: Option<StreamDescriptor>,
    /// Members this version does not know; kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What an estimate covers. One run must not mix the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EstimateKind {
    /// One stream.
    Stream,
    /// The whole run.
    Sync,
}

/// How much is to come.
#[doc(alias = "AirbyteEstimateTraceMessage")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The stream's name.
    pub name: String,
    /// What it covers.
    #[serde(rename = "type")]
    pub kind: EstimateKind,
    /// The stream's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Rows in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_estimate: Option<i64>,
    /// Bytes in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub byte_estimate: Option<i64>,
    /// Members this version does not know; kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Where a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StreamStatusKind {
    /// The source turned to it.
    Started,
    /// Records flow.
    Running,
    /// Every record was sent, and the last state.
    Complete,
    /// It failed or was stopped.
    Incomplete,
}

/// A stream's status.
#[doc(alias = "AirbyteStreamStatusTraceMessage")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamStatus {
    /// The stream.
    pub stream_descriptor: StreamDescriptor,
    /// Where it stands.
    pub status: StreamStatusKind,
    /// Why; platforms look at it with RUNNING only.
    #[serde(
        default,
        deserialize_with = "crate::catalog::null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub reasons: Vec<StatusReason>,
    /// Members this version does not know; kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Why a stream stands where it does; `RATE_LIMITED` is the only kind known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusReason {
    /// The kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// Further members, e.g. `rate_limited.quota_reset` in milliseconds.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A counted event.
#[doc(alias = "AirbyteAnalyticsTraceMessage")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analytics {
    /// The event's fixed name.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Members this version does not know; kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}
