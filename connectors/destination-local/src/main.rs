//! Writes streams to a directory of Parquet, JSONL or CSV files.

mod config;
mod dedup;
mod destination;
mod dir;
mod early;
mod encode;
mod error;
mod keys;
mod manifest;
mod merge;
mod place;
mod publish;
mod rewrite;
mod text;
mod write;

fn main() -> std::process::ExitCode {
    connector_kit::destination_main::<destination::Local>()
}
