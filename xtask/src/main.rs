//! `cargo xtask TASK`: the project's chores, so that nobody has to remember commands.
//!
//! What lives here: running cargo and other tools, and the rules that no compiler checks.
//! What does not: anything that a connector or the orchestrator needs at run time.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its user")]

mod bench;
mod demo;
mod image;
mod metadata;
mod new_connector;
mod python;
mod registry;
mod release;
mod servers;
mod shell;
mod test;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask TASK

  demo                       build ferry and sync a public data set into Parquet
  test [NAME]                every test; with a NAME only the Rust tests whose name holds it
  servers                    install the servers that tests start, and nothing else
  tidy                       the rules that no compiler checks
  bench [NAME]               the benchmarks; results are discussed in docs/benchmarks/
  image NAME [OPTION …]      a container image from built binaries; alone for its options
  publish --registry HOST    images into a registry
  registry                   the file by which a platform lists the connectors
  release [NAME …]           a static archive of ferry and of each connector
  new-connector NAME         lay out source-NAME or destination-NAME, compiling
  ready                      what has to be green before a change is handed in:
                             formatting, clippy, tidy, test
";

/// What went wrong, as one sentence; the tool that failed has said more by itself.
type Result<T = (), E = String> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["demo"] => demo::demo(),
        ["test"] => test::everything(),
        ["test", rest @ ..] => test::rust(rest),
        ["servers"] => servers::install(),
        ["tidy"] => tidy::tidy(),
        ["bench", rest @ ..] => bench::bench(rest),
        ["image", rest @ ..] => image::image(rest),
        ["publish", rest @ ..] => image::publish(rest),
        ["registry", rest @ ..] => registry::registry(rest),
        ["release", rest @ ..] => release::release(rest),
        ["new-connector", name] => new_connector::new_connector(name),
        ["ready"] => ready(),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(format!("unknown task: {}\n\n{HELP}", words.join(" "))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ready() -> Result {
    shell::cargo(&["fmt", "--all", "--check"])?;
    shell::cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    test::everything()
}
