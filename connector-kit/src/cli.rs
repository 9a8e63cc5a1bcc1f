//! The command line, and what every command has in common: stdout, logs, signals, errors,
//! exit codes.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use clap::{Parser, Subcommand};
use protocol::{ConnectionStatus, ConnectionStatusKind, Message, Trace};

use crate::config::{parse_config, read_config};
use crate::context::{Context, RunIdentity, Stop};
use crate::emitter::Emitter;
use crate::error::{Error, ErrorKind, Result};
use crate::logging;
use crate::row::now_ms;
use crate::secret::Masker;
use crate::spec::{config_schema, specification};
use crate::traits::{ChangeSource, Connector, Destination, Source};
use crate::transactional::TransactionalDestination;
use crate::{read, transaction, write};

/// How long a run that was asked to stop may take to reach a safe point.
const STOP_GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, Parser)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log more.
    #[arg(long, global = true)]
    debug: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print how the connector is configured.
    Spec,
    /// Try the config out.
    Check(ConfigFile),
    /// List the streams.
    Discover(ConfigFile),
    /// Read the streams of a catalog to stdout.
    Read {
        #[command(flatten)]
        config: ConfigFile,
        /// The configured catalog, a JSON file.
        #[arg(long)]
        catalog: PathBuf,
        /// The state of an earlier run, a JSON file.
        #[arg(long)]
        state: Option<PathBuf>,
    },
    /// Print the states that the last run of this connection has committed with their rows.
    #[command(hide = true)]
    Committed {
        #[command(flatten)]
        config: ConfigFile,
        /// The configured catalog, a JSON file.
        #[arg(long)]
        catalog: PathBuf,
    },
    /// Write the records on stdin.
    Write {
        #[command(flatten)]
        config: ConfigFile,
        /// The configured catalog, a JSON file.
        #[arg(long)]
        catalog: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The config, a JSON file.
    #[arg(long)]
    config: PathBuf,
}

/// The `main` of a source. Exit code 0: done; 1: failed, after one TRACE ERROR; 2: the
/// command line is wrong; 141: nobody reads stdout any more. SIGTERM and SIGINT end the run
/// at a durable state, by the signal itself.
#[must_use]
pub fn source_main<S: Source>() -> ExitCode {
    run::<S, SourceCommands>()
}

/// The `main` of a source whose streams can share a position; see [`source_main`].
#[must_use]
pub fn change_source_main<S: ChangeSource>() -> ExitCode {
    run::<S, ChangeSourceCommands>()
}

/// The `main` of a destination; see [`source_main`].
#[must_use]
pub fn destination_main<D: Destination>() -> ExitCode {
    run::<D, DestinationCommands>()
}

/// The `main` of a destination whose writers share one transaction; see [`source_main`].
#[must_use]
pub fn transactional_destination_main<D: TransactionalDestination>() -> ExitCode {
    run::<D, TransactionalCommands>()
}

/// What only sources, or only destinations, can do.
trait Commands<C: Connector> {
    fn spec() -> Message;
    fn discover(connector: &C) -> impl Future<Output = Result<Vec<u8>>>;
    fn transfer(
        connector: &C,
        command: &Command,
        out: &Emitter,
        stop: &Stop,
    ) -> impl Future<Output = Result<()>>;
}

enum SourceCommands {}

impl<S: Source> Commands<S> for SourceCommands {
    fn spec() -> Message {
        Message::Spec(specification::<S::Config>(S::NAME, None))
    }
    async fn discover(source: &S) -> Result<Vec<u8>> {
        source.discover().await?.into_line()
    }
    async fn transfer(source: &S, command: &Command, out: &Emitter, stop: &Stop) -> Result<()> {
        match command {
            Command::Read { catalog, state, .. } => {
                read::read(source, catalog, state.as_deref(), out, stop).await
            }
            Command::Committed { .. } => {
                Err(Error::config(format!("{} is a source: it has no `committed`.", S::NAME)))
            }
            _ => Err(Error::config(format!("{} is a source: it has no `write`; use `read`.", S::NAME))),
        }
    }
}

enum ChangeSourceCommands {}

impl<S: ChangeSource> Commands<S> for ChangeSourceCommands {
    fn spec() -> Message {
        <SourceCommands as Commands<S>>::spec()
    }
    async fn discover(source: &S) -> Result<Vec<u8>> {
        <SourceCommands as Commands<S>>::discover(source).await
    }
    async fn transfer(source: &S, command: &Command, out: &Emitter, stop: &Stop) -> Result<()> {
        match command {
            Command::Read { catalog, state, .. } => {
                read::read_changes(source, catalog, state.as_deref(), out, stop).await
            }
            other => <SourceCommands as Commands<S>>::transfer(source, other, out, stop).await,
        }
    }
}

enum DestinationCommands {}

impl<D: Destination> Commands<D> for DestinationCommands {
    fn spec() -> Message {
        Message::Spec(specification::<D::Config>(D::NAME, Some(D::SYNC_MODES)))
    }
    async fn discover(_: &D) -> Result<Vec<u8>> {
        Err(Error::config(format!("{} is a destination: it has no streams to discover.", D::NAME)))
    }
    async fn transfer(destination: &D, command: &Command, out: &Emitter, stop: &Stop) -> Result<()> {
        match command {
            Command::Write { catalog, .. } => {
                let stdin = duplicate(std::io::stdin().as_fd())?;
                write::write(destination, catalog, stdin, out, stop).await
            }
            Command::Committed { .. } => Err(Error::config(format!(
                "{} keeps no states beside its rows: it has no `committed`.",
                D::NAME
            ))),
            _ => Err(Error::config(format!("{} is a destination: it has no `read`; use `write`.", D::NAME))),
        }
    }
}

enum TransactionalCommands {}

impl<D: TransactionalDestination> Commands<D> for TransactionalCommands {
    fn spec() -> Message {
        let mut spec = specification::<D::Config>(D::NAME, Some(D::SYNC_MODES));
        spec.extra.insert("ferrybyte".into(), serde_json::json!({"committed_states": true}));
        Message::Spec(spec)
    }
    async fn discover(destination: &D) -> Result<Vec<u8>> {
        <DestinationCommands as Commands<D>>::discover(destination).await
    }
    async fn transfer(destination: &D, command: &Command, out: &Emitter, stop: &Stop) -> Result<()> {
        match command {
            Command::Write { catalog, .. } => {
                let stdin = duplicate(std::io::stdin().as_fd())?;
                if destination.transacts() {
                    transaction::write(destination, catalog, stdin, out, stop).await
                } else {
                    write::write(destination, catalog, stdin, out, stop).await
                }
            }
            Command::Committed { catalog, .. } => transaction::committed(destination, catalog, out).await,
            other => <DestinationCommands as Commands<D>>::transfer(destination, other, out, stop).await,
        }
    }
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<File> {
    // Not std's handle: its line buffer would split our chunks.
    fd.try_clone_to_owned()
        .map(File::from)
        .map_err(|e| Error::system("A standard stream is closed.").with_source(e))
}

/// Where a panic happened; the hook writes it, the error trace reads it.
static PANIC: OnceLock<Mutex<Option<String>>> = OnceLock::new();

fn remember_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        if let Ok(mut slot) = PANIC.get_or_init(Mutex::default).lock() {
            slot.get_or_insert(format!("{} at {place}", payload_text(info.payload())));
        }
    }));
}

fn payload_text(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic")
}

fn run<C: Connector, K: Commands<C>>() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap knows whether this is help (stdout, 0) or a mistake (stderr, 2).
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    remember_panics();
    let stop = Stop::default();
    let started = duplicate(std::io::stdout().as_fd()).and_then(|out| Emitter::start(out, stop.clone()));
    let Ok((out, stdout)) = started else { return ExitCode::FAILURE };
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| execute::<C, K>(&cli, &out, &stop)));
    let masker = MASKER.get().cloned().unwrap_or_default();
    let error = match result {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error),
        Err(_) => {
            let place = PANIC.get().and_then(|p| p.lock().ok()?.clone()).unwrap_or_default();
            Some(
                Error::system(format!("{} met a fault of its own and stopped; please report it.", C::NAME))
                    .with_source(place),
            )
        }
    };
    let code = match &error {
        None => 0,
        // Closed stdout, unless a signal is behind it: nobody is left to tell.
        Some(error) if error.kind() == ErrorKind::Stopped => CLOSED_STDOUT,
        Some(error) => {
            let mut trace = error.to_trace();
            trace.message = masker.mask(&trace.message);
            trace.internal_message = trace.internal_message.map(|m| masker.mask(&m));
            let _ = out.message(&Message::Trace(Trace::error(now_ms(), trace)));
            1
        }
    };
    drop(out);
    finish(stdout.join(), code, &stop)
}

/// What a shell reports for a program that SIGPIPE ended.
const CLOSED_STDOUT: u8 = 128 + 13;

/// Ends the process by a signal: that tells every kind of parent the truth, a shell sees 128 + n, a
/// process library sees the signal. The first process of a container cannot be ended so; it gets the
/// code to exit with.
fn end_by(signal: i32) -> i32 {
    if std::process::id() != 1 {
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
    128 + signal
}

fn finish(written: std::io::Result<()>, code: u8, stop: &Stop) -> ExitCode {
    if let (Some(signal), CLOSED_STDOUT) = (stop.signal(), code) {
        return ExitCode::from(u8::try_from(end_by(signal)).unwrap_or(u8::MAX));
    }
    match written {
        Ok(()) => ExitCode::from(code),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::from(CLOSED_STDOUT),
        Err(_) => ExitCode::FAILURE,
    }
}

static MASKER: OnceLock<Masker> = OnceLock::new();

fn execute<C: Connector, K: Commands<C>>(cli: &Cli, out: &Emitter, stop: &Stop) -> Result<()> {
    let path = match &cli.command {
        Command::Spec => return out.message(&K::spec()),
        Command::Check(config) | Command::Discover(config) => &config.config,
        Command::Read { config, .. } | Command::Write { config, .. } | Command::Committed { config, .. } => {
            // The short commands hold nothing that a signal's default could hurt.
            watch_signals(stop.clone())?;
            &config.config
        }
    };
    let schema = config_schema::<C::Config>();
    let mut config = match read_config(path) {
        Err(error) if matches!(cli.command, Command::Check(_)) => {
            return out.message(&failed(error.message()));
        }
        config => config?,
    };
    C::adapt(&mut config);
    let masker = MASKER.get_or_init(|| Masker::from_config(&schema, &config)).clone();
    let subscriber = logging::subscriber(out.clone(), masker.clone(), cli.debug);
    tracing::subscriber::with_default(subscriber, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Error::system("Cannot start the runtime.").with_source(e))?;
        let result = runtime.block_on(command::<C, K>(cli, &schema, &config, &masker, out, stop));
        runtime.shutdown_background();
        result
    })
}

async fn command<C: Connector, K: Commands<C>>(
    cli: &Cli,
    schema: &serde_json::Value,
    config: &serde_json::Value,
    masker: &Masker,
    out: &Emitter,
    stop: &Stop,
) -> Result<()> {
    let context = Context { stop: stop.clone(), run: RunIdentity::of_environment() };
    let connect = async {
        let config = parse_config::<C::Config>(schema, config)?;
        C::connect(config, &context).await
    };
    match &cli.command {
        Command::Spec => Ok(()),
        Command::Check(_) => {
            let checked = async { connect.await?.check().await }.await;
            match checked {
                Ok(()) => out.message(&Message::ConnectionStatus(ConnectionStatus {
                    status: ConnectionStatusKind::Succeeded,
                    message: None,
                    extra: serde_json::Map::new(),
                })),
                Err(error) if matches!(error.kind(), ErrorKind::Config | ErrorKind::Transient) => {
                    if let Some(causes) = error.causes() {
                        tracing::info!("check failed: {causes}");
                    }
                    out.message(&failed(&masker.mask(error.message())))
                }
                Err(error) => Err(error),
            }
        }
        Command::Discover(_) => out.send(K::discover(&connect.await?).await?),
        Command::Read { .. } | Command::Write { .. } | Command::Committed { .. } => {
            K::transfer(&connect.await?, &cli.command, out, stop).await
        }
    }
}

fn failed(message: &str) -> Message {
    Message::ConnectionStatus(ConnectionStatus {
        status: ConnectionStatusKind::Failed,
        message: Some(message.to_owned()),
        extra: serde_json::Map::new(),
    })
}

/// SIGTERM and SIGINT ask for a safe stop; a second one, or the end of the grace, ends at once.
fn watch_signals(stop: Stop) -> Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])
        .map_err(|e| Error::system("Cannot watch for signals.").with_source(e))?;
    let watch = move || {
        let mut pending = signals.forever();
        let Some(first) = pending.next() else { return };
        stop.request(first);
        let end = move || std::process::exit(end_by(first));
        let _ = std::thread::Builder::new().name("grace".into()).spawn(move || {
            std::thread::sleep(STOP_GRACE);
            end();
        });
        if pending.next().is_some() {
            end();
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(watch)
        .map(drop)
        .map_err(|e| Error::system("Cannot start a thread.").with_source(e))
}
