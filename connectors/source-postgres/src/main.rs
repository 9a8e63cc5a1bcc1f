//! source-postgres.
fn main() {}
