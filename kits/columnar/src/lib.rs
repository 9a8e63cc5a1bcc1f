//! From records to Arrow arrays, Parquet and Avro files, and to text files, for every destination that writes files.
//!
//! What lives here: the typed buffers that records are decoded into ([`RowBuffer`]), Parquet files whose
//! open row groups share one memory budget ([`ParquetFile`], [`Budget`]), Avro files ([`AvroFile`]), JSONL and CSV files ([`TextFile`]), and
//! names of streams as names of files ([`encode_name`]). Arrow and Parquet types
//! stay behind this crate, except for readers in [`read`].
//! What does not: where files go, what they are called, and when they become visible.

mod avro;
mod budget;
mod buffer;
mod column;
mod names;
mod nested;
mod parquet_file;
pub mod read;
mod schema;
mod shape;
mod text_file;

pub use avro::{AvroCodec, AvroFile, AvroStyle};
pub use budget::Budget;
pub use buffer::RowBuffer;
pub use names::encode as encode_name;
pub use parquet_file::{Codec, ParquetFile, ParquetOptions, Rows};
pub use schema::{Layout, ReservedName};
pub use text_file::{DATA, TextFile, TextFormat, TextOut, TextStyle};

/// Why rows cannot become columns.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A string is not UTF-8.
    #[error("a string is not UTF-8 (line {line} of stdin, field {field})")]
    NotUtf8 {
        /// The line of stdin.
        line: u64,
        /// The field.
        field: String,
    },
    /// A record's `data` is not an object.
    #[error("the record's data cannot be read (line {line} of stdin)")]
    Data {
        /// The line of stdin.
        line: u64,
        /// What is wrong with it.
        source: connector_kit::DecodeError,
    },
    /// A record's `meta` is not what the protocol says.
    #[error("the record's meta cannot be read (line {line} of stdin)")]
    Meta {
        /// The line of stdin.
        line: u64,
    },
    /// Writing failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Parquet refused what it was given, or what it read.
    #[error("parquet: {0}")]
    Parquet(String),
}

impl From<parquet::errors::ParquetError> for Error {
    fn from(error: parquet::errors::ParquetError) -> Self {
        // An I/O error keeps its number: a full disk must be named as one.
        match error {
            parquet::errors::ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
                Ok(io) => Self::Io(*io),
                Err(other) => Self::Parquet(other.to_string()),
            },
            other => Self::Parquet(other.to_string()),
        }
    }
}

impl From<arrow_schema::ArrowError> for Error {
    fn from(error: arrow_schema::ArrowError) -> Self {
        Self::Parquet(error.to_string())
    }
}
