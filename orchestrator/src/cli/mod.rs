//! The command line: what can be asked, and the exit codes.

mod commands;
mod manual;
mod new;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::job::Options;
use crate::progress::{Style, say};
use crate::retry::RetryPolicy;

/// Moves data from a source to a destination, and proves that it arrived.
#[derive(Debug, Parser)]
#[command(name = "ferry", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Ask,
    /// How to print the answer.
    #[arg(long, global = true, value_enum, default_value = "text")]
    output: Output,
    /// Where jobs, states and logs are kept. Default: .ferry beside the sync file.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
A sync file says what to move:

  source:      {connector: source-file, config: {…}}
  destination: {connector: destination-local, config: {…}}

Begin with one made for your two connectors, then run it:

  ferry connectors
  ferry new source-file destination-local > sync.yaml
  ferry check sync.yaml
  ferry sync sync.yaml

Exit codes: 0 everything done, 1 failed, 2 the command or the sync file is wrong, 3 some streams failed.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// One JSON value on stdout.
    Json,
}

#[derive(Debug, Subcommand)]
enum Ask {
    /// Run a sync file: read, write, compare, keep the state.
    Sync(SyncArgs),
    /// Ask both connectors of a sync file whether their configs work.
    Check {
        /// The sync file.
        file: PathBuf,
    },
    /// Show the streams that the source of a sync file offers.
    Discover {
        /// The sync file.
        file: PathBuf,
    },
    /// Show how a connector wants to be configured.
    Spec {
        /// A connector's name or path, or an image.
        connector: String,
    },
    /// Print a commented sync file for two connectors.
    New {
        /// A source's name or path, or an image.
        source: String,
        /// A destination's name or path, or an image.
        destination: String,
    },
    /// Show or forget how far a sync has come.
    State {
        #[command(subcommand)]
        command: StateAsk,
    },
    /// Show the last jobs of a sync.
    History {
        /// The sync file.
        file: PathBuf,
        /// How many jobs.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// List the connectors beside ferry and on PATH.
    Connectors,
    /// Print a shell's completions of this command.
    Completions {
        /// bash, elvish, fish, powershell or zsh.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, to be read by man.
    Man {
        /// The page of this command instead.
        command: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum StateAsk {
    /// Show the saved states.
    Show {
        /// The sync file.
        file: PathBuf,
    },
    /// Forget them, so that the next sync reads everything again.
    Reset {
        /// The sync file.
        file: PathBuf,
        /// Only this stream.
        #[arg(long)]
        stream: Option<String>,
        /// The stream's namespace.
        #[arg(long, requires = "stream")]
        namespace: Option<String>,
    },
}

#[derive(Debug, Args)]
struct SyncArgs {
    /// The sync file, YAML or JSON.
    file: PathBuf,
    /// Give up after this many attempts. 1 never tries again.
    #[arg(long, value_name = "N")]
    attempts: Option<u32>,
    /// Show no progress, only the result.
    #[arg(long)]
    quiet: bool,
    /// The first wait between attempts, in milliseconds.
    #[arg(long, hide = true)]
    backoff_ms: Option<u64>,
    /// Between SIGTERM and SIGKILL, and for an exit, in milliseconds.
    #[arg(long, hide = true)]
    grace_ms: Option<u64>,
}

impl SyncArgs {
    fn options(&self, cli_data_dir: Option<PathBuf>, output: Output) -> Options {
        let mut options = Options { data_dir: cli_data_dir, ..Options::default() };
        if self.quiet || output == Output::Json {
            options.progress = Style::Quiet;
        }
        let policy = RetryPolicy::default();
        options.retry = RetryPolicy {
            attempts: self.attempts.unwrap_or(policy.attempts).max(1),
            backoff: self.backoff_ms.map_or(policy.backoff, Duration::from_millis),
            ..policy
        };
        if let Some(grace) = self.grace_ms.map(Duration::from_millis) {
            options.limits.stop_grace = grace;
            options.limits.exit_grace = grace;
        }
        options
    }
}

/// The answer to a command.
#[derive(Debug)]
struct Answer {
    /// For people.
    text: String,
    /// The same for programs: JSON text, since a state may hold more digits than a number can.
    json: String,
    /// What went wrong, for stderr.
    problems: String,
    /// 0 everything done, 1 failed, 3 some streams failed.
    code: u8,
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// Runs the command that the process was given.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = cli.output;
    let answer = Interrupt::from_signals()
        .map_err(|e| Error::Usage(format!("cannot listen for signals: {e}")))
        .and_then(|interrupt| run(cli, &interrupt));
    match answer {
        Ok(answer) => {
            let text = match output {
                Output::Text => answer.text,
                Output::Json => answer.json,
            };
            print(&text);
            if !answer.problems.is_empty() && output == Output::Text {
                say(answer.problems.trim_end());
            }
            ExitCode::from(answer.code)
        }
        Err(error) => {
            let (kind, code) = match &error {
                Error::Usage(_) => ("usage", 2),
                Error::Failed(_) => ("failed", 1),
            };
            match output {
                Output::Text => {
                    say(&format!("error: {error}"));
                    if let Error::Failed(failure) = &error
                        && let Some(detail) = &failure.detail
                    {
                        detail.lines().for_each(|line| say(&format!("       {line}")));
                    }
                }
                Output::Json => {
                    let failure = match &error {
                        Error::Failed(failure) => serde_json::to_value(failure).unwrap_or_default(),
                        Error::Usage(_) => serde_json::Value::Null,
                    };
                    let json = serde_json::json!({"error": {"kind": kind, "message": error.to_string(), "failure": failure}});
                    print(&pretty(&json));
                }
            }
            ExitCode::from(code)
        }
    }
}

fn run(cli: Cli, interrupt: &Interrupt) -> Result<Answer, Error> {
    let options = Options { data_dir: cli.data_dir.clone(), ..Options::default() };
    match cli.command {
        Ask::Sync(args) => commands::sync(&args.file, &args.options(cli.data_dir, cli.output), interrupt),
        Ask::Check { file } => commands::check(&file, &options, interrupt),
        Ask::Discover { file } => commands::discover(&file, &options, interrupt),
        Ask::Spec { connector } => commands::spec(&connector, &options, interrupt),
        Ask::New { source, destination } => new::new(&source, &destination, &options, interrupt),
        Ask::State { command: StateAsk::Show { file } } => commands::state_show(&file, &options),
        Ask::State { command: StateAsk::Reset { file, stream, namespace } } => {
            commands::state_reset(&file, &options, stream.as_deref(), namespace.as_deref())
        }
        Ask::History { file, limit } => commands::history(&file, &options, limit),
        Ask::Connectors => Ok(commands::connectors()),
        Ask::Completions { shell } => Ok(manual::completions(shell)),
        Ask::Man { command } => manual::page(command.as_deref()),
    }
}

#[allow(clippy::print_stdout, reason = "the command line's answer")]
fn print(text: &str) {
    use std::io::Write;
    // A reader that went away, as with `| head`, is no error.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent_and_its_help_names_the_exit_codes() {
        Cli::command().debug_assert();
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("Exit codes: 0") && help.contains("history"), "{help}");
    }
}
