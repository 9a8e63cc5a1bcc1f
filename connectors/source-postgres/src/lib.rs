//! Reads PostgreSQL: every table, every type, every change. A library so that benches
//! reach its hot path; the program is `main.rs`.

#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod changes;
mod check;
mod config;
mod discover;
mod row;
mod slots;
mod source;
mod tables;
mod types;

/// The program.
#[must_use]
pub fn main() -> std::process::ExitCode {
    connector_kit::source_main::<source::SourcePostgres>()
}
