//! Files of rows, wherever they are kept: what sources of files share.
//!
//! What lives here: [compression], [zip], [encoding], CSV ([`Table`], [`rows`]), JSON ([`json`]), Parquet
//! ([`Parquet`]) and Avro ([`Avro`]), each as a sample that tells the columns ([`sample`]) and as rows sent to a stream ([`Target`]).
//! What does not: where files are and how their bytes are had, what configs call the options (they
//! become [`Options`]), states.

mod avro;
mod cells;
pub mod compression;
mod csv;
pub mod encoding;
pub mod error;
mod form;
mod infer;
pub mod json;
pub mod options;
mod parquet;
pub mod rows;
pub mod sample;
mod table;
mod target;
mod values;
pub mod zip;

use std::io::{self, Read};

pub use avro::Avro;
pub use csv::{BlockError, Blocks};
pub use options::{Keys, Options};
pub use parquet::{Parquet, Unwatched, Watch};
pub use table::Table;
pub use target::{DoesNotFit, Misfits, Target, nothing_in};

/// A text file's content as UTF-8, decompressed, in blocks. `name` is used for messages.
///
/// # Errors
/// When its first bytes cannot be had, or are not what `options` says.
pub fn open_text<R: Read + 'static>(raw: R, name: &str, options: &Options) -> io::Result<Blocks> {
    let plain = compression::decompress(raw, name, options)?;
    Ok(Blocks::new(encoding::to_utf8(plain, options)?, options.max_record))
}
