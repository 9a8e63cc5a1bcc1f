//! Iceberg tables of a Dremio lakehouse, over Arrow Flight SQL.

mod check;
mod config;
mod destination;
mod insert;
mod literals;
mod merge;
mod names;
mod publish;
mod rows;
mod session;
mod table;
mod types;
mod write;

fn main() -> std::process::ExitCode {
    connector_kit::destination_main::<destination::DestinationDremio>()
}
