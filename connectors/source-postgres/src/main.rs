//! source-postgres: see the library.
fn main() {}
