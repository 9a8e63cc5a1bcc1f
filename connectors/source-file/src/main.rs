//! Reads one file, here or on the web, as one stream.

mod addresses;
mod body;
mod config;
mod http;
mod open;
mod options;
mod sftp;
mod signature;
mod source;

fn main() -> std::process::ExitCode {
    connector_kit::source_main::<source::SourceFile>()
}
