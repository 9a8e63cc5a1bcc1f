//! Reads the files of a bucket, each once, as streams that globs choose.

mod block_on;
mod config;
mod discover;
mod file;
mod format;
mod globs;
mod history;
mod legacy;
mod listing;
mod ranges;
mod read;
mod schema;
mod source;
mod time;
mod windows;

fn main() -> std::process::ExitCode {
    connector_kit::source_main::<source::SourceS3>()
}
