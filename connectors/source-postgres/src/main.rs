//! source-postgres: see the library.

fn main() -> std::process::ExitCode {
    source_postgres::main()
}
