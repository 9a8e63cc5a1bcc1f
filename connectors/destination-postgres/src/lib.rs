//! Writes PostgreSQL: typed tables, rows and the state that they belong to in one transaction.
//! A library so that benches reach its hot path; the program is `main.rs`.

#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod check;
mod checkpoints;
mod column_type;
mod config;
mod destination;
mod lane;
mod merge;
mod names;
mod normalize;
mod plan;
mod raw;
mod rows;
mod swap;
mod table;
mod writer;

/// The program.
#[must_use]
pub fn main() -> std::process::ExitCode {
    connector_kit::transactional_destination_main::<destination::DestinationPostgres>()
}
