//! The `ferry` binary; everything is in the library.

fn main() -> std::process::ExitCode {
    orchestrator::cli::main()
}
