//! The framework every connector is written on.
//!
//! A connector author writes a config type, `discover` and `read` (or `open` and a
//! [`StreamWriter`]) and a type table; everything else is here: the command line,
//! config loading and the spec, stdout and stdin, rows and batches, states, counts and
//! digests, stream status, errors, signals. `examples/toy_source.rs` is a whole source.
//!
//! What does not live here: database and HTTP drivers, Arrow (see the `columnar` kit),
//! and anything that only one connector needs.

#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod changes;
mod cli;
mod config;
mod context;
mod decode;
mod emitter;
mod error;
mod intake;
mod ledger;
mod logging;
mod oversize;
mod read;
mod retry;
mod row;
mod schema;
mod secret;
mod spec;
mod stamp;
mod stream;
mod text;
mod traits;
mod transaction;
mod transactional;
pub mod values;
mod write;

pub use changes::{ChangeEmitter, ChangeOutput, ChangeStream};
pub use cli::{change_source_main, destination_main, source_main, transactional_destination_main};
pub use context::{Context, RunIdentity, Stop};
pub use decode::{DecodeError, RowDecoder, RowSink};
pub use emitter::StreamEmitter;
pub use error::{Error, ErrorKind, Result};
pub use intake::{BatchRow, RecordBatch};
pub use protocol;
pub use retry::{Backoff, retry};
pub use row::Row;
pub use schema::{Column, FieldType};
pub use secret::Secret;
pub use spec::config_schema;
pub use stamp::{Changes, EXTRACTED_AT, GENERATION_ID, META, RAW_ID, Stamp};
pub use stream::{Generation, SelectedStream, Streams};
pub use text::{write_date, write_time, write_timestamp};
pub use traits::{
    ChangeSource, Connector, Destination, FlushPolicy, Outcome, Source, StreamOutput, StreamWriter,
};
pub use transactional::{Checkpoint, Committed, MarkPolicy, TransactionalDestination};

pub use schemars;
pub use tracing;
