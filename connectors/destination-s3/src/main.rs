//! Writes streams to S3, MinIO and other object stores as Parquet, JSONL or CSV.

mod book;
mod config;
mod destination;
mod encode;
mod formats;
mod keys;
mod manifest;
mod part_sink;
mod publish;
mod recover;
mod time;
mod write;

fn main() -> std::process::ExitCode {
    connector_kit::destination_main::<destination::S3>()
}
