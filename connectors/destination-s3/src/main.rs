//! Writes streams to S3, MinIO and other object stores as Parquet, Avro, JSONL or CSV.

mod book;
mod commits;
mod config;
mod destination;
mod document;
mod encode;
mod formats;
mod keys;
mod manifest;
mod part_sink;
mod publish;
mod recover;
mod time;
mod together;
mod write;
mod writer;

fn main() -> std::process::ExitCode {
    connector_kit::transactional_destination_main::<destination::S3>()
}
