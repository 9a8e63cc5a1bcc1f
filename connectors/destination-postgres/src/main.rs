//! destination-postgres: see the library.

fn main() {}
