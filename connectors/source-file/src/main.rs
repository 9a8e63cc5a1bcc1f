//! Reads one file, here or on the web, as one stream.

mod addresses;
mod config;
mod http;
mod open;
mod options;
mod source;

fn main() -> std::process::ExitCode {
    connector_kit::source_main::<source::SourceFile>()
}
