//! The messages, owned, for writing. For reading records see [`crate::RecordScanner`].

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::catalog::{Catalog, DestinationCatalog};
use crate::spec::ConnectorSpecification;
use crate::state::State;
use crate::trace::Trace;

/// One line of the protocol.
#[doc(alias = "AirbyteMessage")]
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "messages live one at a time; a box would only hide that")]
pub enum Message {
    /// A row.
    Record(Record),
    /// How far the records before it go.
    State(State),
    /// Text for the log.
    Log(Log),
    /// Answer to `spec`.
    Spec(ConnectorSpecification),
    /// Answer to `check`.
    ConnectionStatus(ConnectionStatus),
    /// Answer to `discover`.
    Catalog(Catalog),
    /// Errors, estimates, status.
    Trace(Trace),
    /// A request to the platform.
    Control(Control),
    /// Answer to a destination's `discover`.
    DestinationCatalog(DestinationCatalog),
    /// A kind this version does not know, with the whole message.
    Unknown {
        /// The `type` member.
        kind: String,
        /// The whole message as it stood.
        raw: Box<RawValue>,
    },
}

impl Message {
    /// The message as a line, newline included.
    ///
    /// # Panics
    /// Never: every member serializes to JSON.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// The `type` member.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::Record(_) => "RECORD",
            Self::State(_) => "STATE",
            Self::Log(_) => "LOG",
            Self::Spec(_) => "SPEC",
            Self::ConnectionStatus(_) => "CONNECTION_STATUS",
            Self::Catalog(_) => "CATALOG",
            Self::Trace(_) => "TRACE",
            Self::Control(_) => "CONTROL",
            Self::DestinationCatalog(_) => "DESTINATION_CATALOG",
            Self::Unknown { kind, .. } => kind,
        }
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Self::Unknown { raw, .. } = self {
            return raw.serialize(serializer);
        }
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("type", self.kind())?;
        match self {
            Self::Record(m) => map.serialize_entry("record", m)?,
            Self::State(m) => map.serialize_entry("state", m)?,
            Self::Log(m) => map.serialize_entry("log", m)?,
            Self::Spec(m) => map.serialize_entry("spec", m)?,
            Self::ConnectionStatus(m) => map.serialize_entry("connectionStatus", m)?,
            Self::Catalog(m) => map.serialize_entry("catalog", m)?,
            Self::Trace(m) => map.serialize_entry("trace", m)?,
            Self::Control(m) => map.serialize_entry("control", m)?,
            Self::DestinationCatalog(m) => map.serialize_entry("destination_catalog", m)?,
            Self::Unknown { .. } => {}
        }
        map.end()
    }
}

/// A row. `data` is JSON text, so that its digits and order stay as written.
#[doc(alias = "AirbyteRecordMessage")]
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// The stream's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The stream's name.
    pub stream: String,
    /// Milliseconds since 1970.
    pub emitted_at: i64,
    /// The row: a JSON object.
    pub data: Box<RawValue>,
    /// What was changed on the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<RecordMeta>,
    /// Members this version does not know (`file_reference`, `partition_id`, …); kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What was changed in a record on the way.
#[doc(alias = "AirbyteRecordMessageMeta")]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecordMeta {
    /// One entry per changed field.
    #[serde(default, deserialize_with = "crate::catalog::null_as_default")]
    pub changes: Vec<RecordMetaChange>,
    /// Members this version does not know; kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One changed field.
#[doc(alias = "AirbyteRecordMessageMetaChange")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordMetaChange {
    /// The field's name.
    pub field: String,
    /// What was done to it.
    pub change: ChangeKind,
    /// Why.
    pub reason: ChangeReason,
}

/// What was done to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ChangeKind {
    /// The value is now null.
    Nulled,
    /// The value was shortened.
    Truncated,
}

/// Why a field was changed, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "the names are the protocol's and say it all")]
pub enum ChangeReason {
    SourceRecordSizeLimitation,
    DestinationRecordSizeLimitation,
    PlatformRecordSizeLimitation,
    SourceFieldSizeLimitation,
    DestinationFieldSizeLimitation,
    PlatformFieldSizeLimitation,
    SourceSerializationError,
    DestinationSerializationError,
    PlatformSerializationError,
    SourceRetrievalError,
    DestinationTypecastError,
}

/// A line for the log.
#[doc(alias = "AirbyteLogMessage")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// How loud.
    pub level: LogLevel,
    /// The text.
    pub message: String,
    /// Where it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack_trace: Option<String>,
    /// Members this version does not know; kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Log levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "the usual levels")]
pub enum LogLevel {
    Fatal,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Answer to `check`.
#[doc(alias = "AirbyteConnectionStatus")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// Whether it works.
    pub status: ConnectionStatusKind,
    /// If not, why, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Members this version does not know; kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The outcomes of `check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConnectionStatusKind {
    /// It works.
    Succeeded,
    /// It does not.
    Failed,
}

/// A request to the platform.
#[doc(alias = "AirbyteControlMessage")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// Only `CONNECTOR_CONFIG` is known.
    #[serde(rename = "type")]
    pub kind: String,
    /// Milliseconds since 1970, a float by contract.
    #[serde(default, deserialize_with = "crate::catalog::null_as_default")]
    pub emitted_at: f64,
    /// With `CONNECTOR_CONFIG`.
    #[serde(rename = "connectorConfig", default, skip_serializing_if = "Option::is_none")]
    pub connector_config: Option<ConnectorConfig>,
    /// Members this version does not know; kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A config that the platform is asked to store in place of the present one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectorConfig {
    /// The whole config.
    pub config: Value,
}
