//! destination-postgres: see the library.

fn main() -> std::process::ExitCode {
    destination_postgres::main()
}
