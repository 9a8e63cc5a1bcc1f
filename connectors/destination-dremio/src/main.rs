//! Iceberg tables of a Dremio lakehouse, over Arrow Flight SQL.

mod cells;
mod check;
mod commits;
mod config;
mod destination;
mod insert;
mod literals;
mod load;
mod merge;
mod names;
mod publish;
mod room;
mod rows;
mod session;
mod staged;
mod staging;
mod table;
mod together;
mod types;
mod values;
mod write;

fn main() -> std::process::ExitCode {
    connector_kit::transactional_destination_main::<destination::DestinationDremio>()
}
