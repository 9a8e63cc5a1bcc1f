//! Reads PostgreSQL: every table, every type, every change. A library so that benches
//! reach its hot path; the program is `main.rs`.

#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod blocks;
mod changes;
mod check;
mod config;
mod cursor;
mod discover;
mod first_read;
mod meter;
mod ranges;
mod read;
mod row;
mod selection;
mod slots;
mod snapshot;
mod source;
mod state;
mod tables;
mod together;
mod types;
mod xmin;

/// The program.
#[must_use]
pub fn main() -> std::process::ExitCode {
    connector_kit::change_source_main::<source::SourcePostgres>()
}
