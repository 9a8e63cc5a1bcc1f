//! source-faker: invented users, products and purchases.

mod config;
mod products;
mod purchases;
mod random;
mod source;
mod users;
mod words;

fn main() -> std::process::ExitCode {
    connector_kit::source_main::<source::SourceFaker>()
}
