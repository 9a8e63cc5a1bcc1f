//! The Airbyte protocol as it travels: one JSON object per line.
//!
//! What lives here: the messages, owned for writing ([`Message`]) and borrowed for
//! reading ([`RecordScanner`]); catalogs; states and the state file in every shape
//! clients write; the line reader with its caps; the digest of the receipts.
//! What does not: threads, async, logging, the command line (see `connector-kit`),
//! and the pump (see `orchestrator`).
//!
//! Type names drop the protocol's `Airbyte` prefix; `AirbyteRecordMessage` is
//! [`Record`], and the docs search finds both.

mod catalog;
mod digest;
pub mod edit;
pub mod json;
mod line;
mod message;
mod parse;
mod record;
mod simd;
mod spec;
mod state;
mod trace;

pub use catalog::{
    Catalog, CatalogError, ConfiguredCatalog, ConfiguredStream, DestinationCatalog, DestinationSyncMode,
    FieldPath, Stream, StreamDescriptor, SyncMode,
};
pub use digest::RecordDigest;
pub use line::{LineError, LineReader, Lines, MAX_LINE_BYTES};
pub use message::{
    ChangeKind, ChangeReason, ConnectionStatus, ConnectionStatusKind, ConnectorConfig, Control, Log,
    LogLevel, Message, Record, RecordMeta, RecordMetaChange,
};
pub use parse::{ParseError, parse_message};
pub use record::{RecordScanner, Scanned, ScannedRecord, StreamId};
pub use spec::ConnectorSpecification;
pub use state::{State, StateFile, StateFileError, StateScope, StateStats, StreamState};
pub use trace::{
    Analytics, Estimate, EstimateKind, FailureType, StatusReason, StreamStatus, StreamStatusKind, Trace,
    TraceError, TraceKind,
};
