//! Finds connectors by name, path, image or beside ferry, and asks them `spec`, `check` and
//! `discover`. Reading and writing is the attempt's.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use protocol::{
    Catalog, ConnectionStatus, ConnectorSpecification, FailureType, LineReader, Lines, Message, TraceError,
    parse_message,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::error::{Error, Failure, Origin};
use crate::interrupt::Interrupt;
use crate::job_log::JobLog;
use crate::launch::{Call, Fence, Image, Placement, Program, container};
use crate::process::Process;
use crate::suggest;

/// A connector that exists and can be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connector {
    /// What it is called in the sync file.
    pub name: String,
    /// The executable or the image.
    pub program: Program,
    /// Where and within which limits it runs.
    pub placement: Placement,
}

impl Connector {
    /// Finds a connector: a path (with a slash, from `directory`), an image (see [`container`]), a name beside ferry, a
    /// name on PATH. An image that this machine lacks is fetched.
    ///
    /// # Errors
    /// [`Error::Usage`] saying where it was looked for.
    pub fn find(
        name: &str,
        directory: &Path,
        placement: &Placement,
        interrupt: &Interrupt,
    ) -> Result<Self, Error> {
        let program = match Self::executable(name, directory)? {
            Some(path) => Program::File(path, Fence::choose(&placement.resources).0),
            None => Program::Image(Image::find(name, placement, interrupt)?),
        };
        let name = match &program {
            Program::Image(image) => container::plain_name(&image.reference),
            Program::File(..) => name,
        };
        Ok(Self { name: name.to_owned(), program, placement: placement.clone() })
    }

    /// What is to be known of how it runs: limits that cannot be kept.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        match &self.program {
            Program::File(..) => Fence::choose(&self.placement.resources).1,
            Program::Image(image) => image.unkept(&self.placement.resources),
        }
    }

    /// The executable of that name; `None` for a name that is an image's.
    fn executable(name: &str, directory: &Path) -> Result<Option<PathBuf>, Error> {
        if name.contains('/') {
            let path = directory.join(name);
            if path.is_file() {
                let path = std::fs::canonicalize(&path).unwrap_or(path);
                return if executable(&path) {
                    Ok(Some(path))
                } else {
                    Err(Error::Usage(format!(
                        "connector {name}: the file is not executable; run chmod +x on it"
                    )))
                };
            }
            if container::is_image(name) {
                return Ok(None);
            }
            return Err(Error::Usage(format!("connector {name}: there is no such file")));
        }
        if container::is_image(name) {
            return Ok(None);
        }
        for directory in search_path() {
            let path = directory.join(name);
            if path.is_file() && executable(&path) {
                return Ok(Some(path));
            }
        }
        let known = list();
        let hint = suggest::hint(name, known.iter().map(|(name, _)| name.as_str()));
        Err(Error::Usage(format!(
            "connector {name} is neither beside ferry nor on PATH{hint}; \"ferry connectors\" lists those that are"
        )))
    }
}

/// Beside ferry first, so that a release's parts belong together; then PATH.
fn search_path() -> Vec<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside.into_iter().chain(std::env::split_paths(&path)).collect()
}

fn executable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Every executable called `source-…` or `destination-…` beside ferry and on PATH.
#[must_use]
pub fn list() -> Vec<(String, PathBuf)> {
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    for directory in search_path() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let fits =
                (name.starts_with("source-") || name.starts_with("destination-")) && !name.contains('.');
            if fits && executable(&entry.path()) && found.iter().all(|(known, _)| *known != name) {
                found.push((name, entry.path()));
            }
        }
    }
    found.sort();
    found
}

/// How long a one-shot command may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For `spec`.
    pub spec: Duration,
    /// For `check`.
    pub check: Duration,
    /// For `discover`.
    pub discover: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            spec: Duration::from_secs(60),
            check: Duration::from_secs(600),
            discover: Duration::from_secs(1800),
        }
    }
}

/// Asks one connector.
#[derive(Debug)]
pub struct Asker<'a> {
    /// Whom.
    pub connector: &'a Connector,
    /// Which end of the sync it is.
    pub origin: Origin,
    /// Where its stderr and LOG lines go.
    pub log: &'a JobLog,
    /// Stops the question when ferry is stopped.
    pub interrupt: &'a Interrupt,
    /// For how long.
    pub patience: Patience,
}

impl Asker<'_> {
    /// Its specification.
    ///
    /// # Errors
    /// When it gives none.
    pub fn spec(&self) -> Result<ConnectorSpecification, Failure> {
        self.ask("spec", None, self.patience.spec, |m| match m {
            Message::Spec(spec) => Some(spec),
            _ => None,
        })
    }

    /// Whether a config works.
    ///
    /// # Errors
    /// When it gives no answer; that it does not work is an answer.
    pub fn check(&self, config: &Path) -> Result<ConnectionStatus, Failure> {
        self.ask("check", Some(config), self.patience.check, |m| match m {
            Message::ConnectionStatus(status) => Some(status),
            _ => None,
        })
    }

    /// The streams it offers.
    ///
    /// # Errors
    /// When it gives no catalog.
    pub fn discover(&self, config: &Path) -> Result<Catalog, Failure> {
        self.ask("discover", Some(config), self.patience.discover, |m| match m {
            Message::Catalog(catalog) => Some(catalog),
            _ => None,
        })
    }

    /// The lines of all states that it says it has committed; see [`crate::committed`].
    ///
    /// # Errors
    /// When it does not come to a good end: half of the states may be older than the other half.
    pub fn committed(
        &self,
        config: &Path,
        catalog: &Path,
        run: &[(&'static str, String)],
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let files = vec![("--config", config), ("--catalog", catalog)];
        let call = Call { verb: "committed", files, environment: run, stdin: false };
        let hear = |lines: &mut Vec<Vec<u8>>, message: Message, line: &[u8]| {
            if matches!(message, Message::State(_)) {
                lines.push(line.to_vec());
            }
        };
        let told = self.converse(&call, self.patience.check, hear)?;
        let well = told.status.is_some_and(|status| status.success()) && told.error.is_none();
        if well { Ok(told.heard) } else { Err(self.no_answer(call.verb, told)) }
    }

    fn ask<T: Send + 'static>(
        &self,
        verb: &str,
        config: Option<&Path>,
        limit: Duration,
        pick: impl Fn(Message) -> Option<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let hear = move |answer: &mut Option<T>, message: Message, _: &[u8]| {
            if answer.is_none() {
                *answer = pick(message);
            }
        };
        let files = config.into_iter().map(|config| ("--config", config)).collect();
        let mut told = self.converse(&Call { verb, files, environment: &[], stdin: false }, limit, hear)?;
        // The first answer counts, whatever the exit code.
        told.heard.take().ok_or_else(|| self.no_answer(verb, told))
    }

    /// Runs a command to its end and takes in what it says.
    fn converse<T: Default + Send + 'static>(
        &self,
        call: &Call<'_>,
        limit: Duration,
        hear: impl FnMut(&mut T, Message, &[u8]) + Send + 'static,
    ) -> Result<Told<T>, Failure> {
        let (origin, name) = (self.origin, &self.connector.name);
        let mut launch = call.launch(&self.connector.program, &self.connector.placement, origin)?;
        launch.command.stdin(Stdio::null());
        let mut process = Process::start(launch, origin, &origin.to_string(), self.log)?;
        let watched = self.interrupt.watch(process.group());
        let (sender, answer) = sync_channel(1);
        if let Some(stdout) = process.take_stdout() {
            let log = self.log.clone();
            std::thread::spawn(move || {
                let _ = sender.send(listen(LineReader::new(stdout), origin, &log, hear));
            });
        }
        let start = Instant::now();
        let (heard, error) = match answer.recv_timeout(limit) {
            Ok(heard) => heard,
            Err(RecvTimeoutError::Disconnected) => (T::default(), None),
            Err(RecvTimeoutError::Timeout) => {
                process.group().signal(Signal::KILL);
                process.reap();
                return Err(Failure::passing(
                    origin,
                    format!(
                        "{name} {} gave no answer within {} s and was stopped",
                        call.verb,
                        start.elapsed().as_secs()
                    ),
                ));
            }
        };
        // Its output has ended, so it is about to; one that is not must not hold ferry up.
        let status = process.reap_within(Duration::from_secs(10));
        drop(watched);
        if self.interrupt.count() > 0 {
            return Err(Failure::fatal(Origin::Ferry, "stopped by a signal"));
        }
        Ok(Told { heard, error, status, how: process.ending(), tail: process.stderr_tail() })
    }

    fn no_answer<T>(&self, command: &str, told: Told<T>) -> Failure {
        let refused = told.status.is_some_and(|status| matches!(status.code(), Some(125..=127)));
        if refused && told.error.is_none() && matches!(self.connector.program, Program::Image(_)) {
            // What the runtime has to say is the reason.
            let why = told.tail.lines().last().map(|line| format!(": {line}")).unwrap_or_default();
            let text = format!("{} {command} {}{why}", self.connector.name, told.how);
            return Failure::config(self.origin, text).because(told.tail);
        }
        let mut failure = match told.error {
            Some(error) => from_trace(self.origin, &error, self.log),
            None => Failure::fatal(
                self.origin,
                format!(
                    "{} {command} {} without an answer; is it a connector that speaks the Airbyte protocol?",
                    self.connector.name, told.how
                ),
            ),
        };
        if failure.detail.is_none() && !told.tail.is_empty() {
            failure.detail = Some(told.tail);
        }
        failure
    }
}

/// What a command said, and how it ended.
#[derive(Debug)]
struct Told<T> {
    heard: T,
    error: Option<TraceError>,
    status: Option<ExitStatus>,
    how: String,
    tail: String,
}

/// Reads to the end, so that the process never blocks on a full pipe.
fn listen<T: Default>(
    mut reader: LineReader<impl std::io::Read>,
    origin: Origin,
    log: &JobLog,
    mut hear: impl FnMut(&mut T, Message, &[u8]),
) -> (T, Option<TraceError>) {
    let (mut heard, mut first) = (T::default(), None);
    let who = origin.to_string();
    while let Ok(Some(block)) = reader.next_block() {
        for line in Lines::of(block) {
            match parse_message(line) {
                Ok(Message::Log(entry)) => log.line(&who, &entry.message),
                Ok(Message::Trace(trace)) => {
                    if let Some(error) = trace.error {
                        log.line(&who, &error.message);
                        first.get_or_insert(error);
                    }
                }
                Ok(message) => hear(&mut heard, message, line),
                Err(_) => log.line(&who, &log.excerpt(line)),
            }
        }
    }
    (heard, first)
}

/// A connector's own words, masked.
pub(crate) fn from_trace(origin: Origin, error: &TraceError, log: &JobLog) -> Failure {
    let failure_type = error.failure_type.unwrap_or(FailureType::SystemError);
    Failure {
        origin,
        failure_type,
        stream: error.stream_descriptor.clone(),
        message: log.mask(&error.message),
        detail: error.internal_message.as_deref().filter(|m| *m != error.message).map(|m| log.mask(m)),
        retryable: failure_type != FailureType::ConfigError,
    }
}

/// A directory for the files that hold configs: only its owner may look, and it goes with the value.
#[derive(Debug)]
pub struct PrivateDir(tempfile::TempDir);

impl PrivateDir {
    /// Makes one below `parent`, or in the system's place for temporary files.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(parent: Option<&Path>, prefix: &str) -> Result<Self, Failure> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(prefix).permissions(std::fs::Permissions::from_mode(0o700));
        let made = match parent {
            Some(parent) => builder.tempdir_in(parent),
            None => builder.tempdir(),
        };
        made.map(Self)
            .map_err(|e| Failure::config(Origin::Ferry, format!("cannot make a directory for configs: {e}")))
    }

    /// Writes a file that only its owner can read, and gives its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf, Failure> {
        let path = self.0.path().join(name);
        let write = |path: &Path| {
            let mut file: File =
                File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
            file.write_all(content)
        };
        match write(&path) {
            Ok(()) => Ok(path),
            Err(e) => Err(Failure::config(Origin::Ferry, format!("cannot write {}: {e}", path.display()))),
        }
    }

    /// Writes a config.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn config(&self, name: &str, config: &Value) -> Result<PathBuf, Failure> {
        self.write(name, config.to_string().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::{Connector, PrivateDir};
    use crate::interrupt::Interrupt;
    use crate::launch::Placement;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    #[test]
    fn finds_by_path_and_on_the_search_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("source-x");
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        let find =
            |name: &str| Connector::find(name, dir.path(), &Placement::default(), &Interrupt::default());
        let error = find("./source-x").unwrap_err().to_string();
        assert!(error.contains("chmod +x"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(find("./source-x").is_ok());
        assert_eq!(find("sh").unwrap().name, "sh");
    }

    #[test]
    fn says_what_to_do_about_unknown_names() {
        let find = |name: &str| {
            let placement = Placement { runtime: Some("no-such-runtime".into()), ..Placement::default() };
            Connector::find(name, Path::new("/"), &placement, &Interrupt::default()).unwrap_err().to_string()
        };
        assert!(find("airbyte/source-postgres:3.1").contains("no-such-runtime"));
        assert!(find("source-of-nothing").contains("ferry connectors"));
        assert!(find("./no/such").contains("no such file"));
    }

    #[test]
    fn config_files_are_private() {
        let dir = PrivateDir::create(None, "t").unwrap();
        let path = dir.write("c", b"{}").unwrap();
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }
}
