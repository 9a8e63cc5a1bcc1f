//! Reads one file, here or on the web, as one stream.

mod addresses;
mod cells;
mod compression;
mod config;
mod csv;
mod discover;
mod encoding;
mod error;
mod http;
mod infer;
mod json;
mod open;
mod options;
mod parquet;
mod read;
mod source;
mod table;
mod values;

fn main() -> std::process::ExitCode {
    connector_kit::source_main::<source::SourceFile>()
}
