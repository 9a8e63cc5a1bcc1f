//! A job: everything between `ferry sync FILE` and its report.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use protocol::{ConfiguredCatalog, StreamDescriptor, SyncMode};
use serde_json::Value;

use crate::attempt::{Attempt, Limits, Outcome};
use crate::catalog::{self, Selected};
use crate::committed;
use crate::connector::{Asker, Patience, PrivateDir};
use crate::ends::Ends;
use crate::error::{Error, Failure, Origin};
use crate::interrupt::Interrupt;
use crate::job_log::JobLog;
use crate::launch::Call;
use crate::mapping::Mapping;
use crate::progress::{Style, say};
use crate::receipts::Saved;
use crate::report::{Receipt, Report, StreamReport};
use crate::retry::{Retries, RetryPolicy};
use crate::store::lock::SyncLock;
use crate::store::{JobStatus, SavedState, Store, StoredGeneration, StreamRow};
use crate::sync_file::SyncFile;

/// What a run is told beside its sync file.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where jobs and states are kept; `.ferry` beside the sync file when `None`.
    pub data_dir: Option<PathBuf>,
    /// Waits of an attempt; its time-outs come from the sync file.
    pub limits: Limits,
    /// When to try again.
    pub retry: RetryPolicy,
    /// How long one-shot commands may take.
    pub patience: Patience,
    /// How to show progress.
    pub progress: Style,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data_dir: None,
            limits: Limits::default(),
            retry: RetryPolicy::default(),
            patience: Patience::default(),
            progress: Style::Auto,
        }
    }
}

impl Options {
    /// The directory of jobs and states for a sync file.
    #[must_use]
    pub fn data_dir(&self, file: &SyncFile) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| file.directory().join(".ferry"))
    }
}

/// Runs a sync.
///
/// # Errors
/// When it could not begin; once it has begun, what went wrong is in the report.
pub fn sync(file: &SyncFile, options: &Options, interrupt: &Interrupt) -> Result<Report, Error> {
    let started = Instant::now();
    let connection_name = file.connection();
    // Absolute, so that the log's path in the report holds from anywhere.
    let given = options.data_dir(file);
    let directory = std::path::absolute(&given).unwrap_or(given);
    let mut store = Store::open(&directory)?;
    let _lock = SyncLock::take(&directory, &connection_name)?;
    let connection = store.connection(&connection_name)?;
    if store.end_orphans(connection)? > 0 {
        store.event(connection, None, "sync_orphaned", "a job was left running by a ferry that ended")?;
    }
    sweep(&directory, connection);
    let job = store.begin_job(connection, &file.source.connector, &file.destination.connector)?;
    store.event(connection, Some(job), "sync_started", "")?;
    let result = Job { file, options, interrupt, connection, connection_name, job, started }.run(&mut store);
    match &result {
        Ok(report) => {
            let why = report.failures.first().map(ToString::to_string);
            store.end_job(job, report.status, why.as_deref())?;
            store.event(
                connection,
                Some(job),
                &format!("sync_{}", report.status.word()),
                &why.unwrap_or_default(),
            )?;
        }
        Err(error) => {
            store.end_job(job, JobStatus::Failed, Some(&error.to_string()))?;
            store.event(connection, Some(job), "sync_failed", &error.to_string())?;
        }
    }
    result
}

/// How many jobs' logs are kept.
const LOGS: i64 = 100;

/// Removes the logs of jobs long past.
fn forget_logs(directory: &Path, job: i64) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let number =
            name.strip_prefix("job-").and_then(|n| n.split('.').next()).and_then(|n| n.parse::<i64>().ok());
        if number.is_some_and(|number| number <= job - LOGS) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Removes configs that a killed ferry left; the lock says that nobody uses them.
fn sweep(directory: &Path, connection: i64) {
    let prefix = format!("sync-{connection}-");
    for entry in std::fs::read_dir(directory.join("tmp")).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

struct Job<'a> {
    file: &'a SyncFile,
    options: &'a Options,
    interrupt: &'a Interrupt,
    connection: i64,
    connection_name: String,
    job: i64,
    started: Instant,
}

impl Job<'_> {
    fn run(self, store: &mut Store) -> Result<Report, Error> {
        let label = label(store.directory(), self.connection);
        let ends = Ends::open(self.file, Some(&label), self.options.patience, self.interrupt)?;
        if self.options.progress == Style::Auto {
            ends.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
        }
        let log_path = self.log_path(store)?;
        let log = JobLog::create(&log_path, ends.masker.clone()).map_err(|e| {
            Failure::config(Origin::Ferry, format!("cannot write the log {}: {e}", log_path.display()))
        })?;
        store.describe_job(self.job, Some(&log_path.to_string_lossy()), None)?;
        ends.warnings.iter().for_each(|warning| log.line("ferry", warning));
        let result = self.prepared(store, &ends, &log, &log_path);
        if let Err(error) = &result {
            log.line("ferry ERROR", &error.to_string());
        }
        log.flush();
        result.map_err(|error| mask_error(error, &log))
    }

    fn log_path(&self, store: &Store) -> Result<PathBuf, Failure> {
        let directory = store.directory().join("logs").join(&self.connection_name);
        std::fs::create_dir_all(&directory).map_err(|e| {
            Failure::config(Origin::Ferry, format!("cannot make {}: {e}", directory.display()))
        })?;
        forget_logs(&directory, self.job);
        Ok(directory.join(format!("job-{}.log", self.job)))
    }

    fn prepared(
        &self,
        store: &mut Store,
        ends: &Ends,
        log: &JobLog,
        log_path: &Path,
    ) -> Result<Report, Error> {
        let configs =
            PrivateDir::create(Some(&store.directory().join("tmp")), &format!("sync-{}-", self.connection))?;
        let source_config = configs.config("source-config.json", &ends.source_config)?;
        let destination_config = configs.config("destination-config.json", &ends.destination_config)?;
        let asker = Asker {
            connector: &ends.source,
            origin: Origin::Source,
            log,
            interrupt: self.interrupt,
            patience: self.options.patience,
        };
        let discovered = asker.discover(&source_config)?;
        let mapping = Mapping::new(self.file.namespace.clone(), &self.file.prefix);
        let streams = catalog::select(
            &discovered,
            self.file.streams.as_deref(),
            &mapping,
            ends.destination_spec.supported_destination_sync_modes.as_deref(),
        )?;
        drop(discovered);
        self.attempts(store, ends, &streams, log, log_path, &configs, (&source_config, &destination_config))
    }

    #[allow(clippy::too_many_arguments, reason = "one caller; a struct would only rename them")]
    fn attempts(
        &self,
        store: &mut Store,
        ends: &Ends,
        streams: &[Selected],
        log: &JobLog,
        log_path: &Path,
        configs: &PrivateDir,
        (source_config, destination_config): (&Path, &Path),
    ) -> Result<Report, Error> {
        let mut reports: Vec<StreamReport> = streams.iter().map(StreamReport::untouched).collect();
        let mut retries = Retries::default();
        let mut number = 0;
        loop {
            let pending: Vec<usize> = (0..streams.len()).filter(|i| !reports[*i].complete).collect();
            let selected: Vec<&Selected> = pending.iter().map(|i| &streams[*i]).collect();
            let generations = self.generations(store, &selected, number == 0)?;
            let (source_catalog, destination_catalog) =
                self.catalogs(store, &selected, &generations, configs, number == 0)?;
            let run = self.identity(store, &ends.source.name, number)?;
            if committed::keeps_states(&ends.destination_spec) {
                let asked = (destination_config, destination_catalog.as_path());
                self.catch_up(store, ends, &selected, log, asked, &run)?;
            }
            let state = match self.state_file(store, &selected, &ends.source.name)? {
                Some(states) => Some(configs.write("state.json", states.as_bytes())?),
                None => None,
            };
            let mut files = vec![("--config", source_config), ("--catalog", source_catalog.as_path())];
            files.extend(state.as_deref().map(|state| ("--state", state)));
            let told = told(&run);
            let read = Call { verb: "read", files, environment: &told, stdin: false };
            let files = vec![("--config", destination_config), ("--catalog", destination_catalog.as_path())];
            let write = Call { verb: "write", files, environment: &told, stdin: true };
            let source = read.launch(&ends.source.program, &ends.source.placement, Origin::Source)?;
            let destination =
                write.launch(&ends.destination.program, &ends.destination.placement, Origin::Destination)?;
            log.line("ferry", &format!("attempt {number} begins with {} streams", selected.len()));
            store.begin_attempt(self.job, number)?;
            let mut limits = self.options.limits;
            limits.timeouts = self.file.timeouts;
            let attempt = Attempt {
                streams: &selected,
                source,
                destination,
                log,
                interrupt: self.interrupt,
                limits,
                progress: self.options.progress,
            };
            let outcome = attempt.run(&mut |saved| {
                let states = named_states(saved, &selected);
                store.save_states(self.connection, &ends.source.name, self.job, &states)
            });
            for (position, index) in pending.iter().enumerate() {
                let generation = generations.get(&streams[*index].descriptor()).copied().unwrap_or_default();
                reports[*index].add(&outcome.streams[position], generation, streams[*index].resumes());
            }
            let all = reports.iter().all(|r| r.complete);
            let status = status_of(&outcome);
            let rows = stream_rows(&selected, &outcome, &generations);
            let failures = serde_json::to_string(&outcome.failures).ok();
            store.end_attempt(self.job, number, status, failures.as_deref(), &rows)?;
            number += 1;

            let mut next = None;
            if !all && !outcome.cancelled && self.interrupt.count() == 0 {
                let progress = outcome.streams.iter().any(|s| s.complete || s.committed.records > 0);
                next = retries.after_failure(&self.options.retry, progress);
                store.save_retries(self.job, retries.complete, retries.partial)?;
                if !outcome.failures.iter().all(|f| f.retryable) {
                    next = None;
                }
            }
            if let Some(wait) = next {
                if outcome.global_state {
                    // One state covers all streams, so all are read again.
                    reports.iter_mut().for_each(|r| r.complete = false);
                }
                let why = outcome.failures.first().map(ToString::to_string).unwrap_or_default();
                let text =
                    format!("attempt {number} failed ({why}); trying again in {:.0} s", wait.as_secs_f32());
                log.line("ferry", &text);
                if self.options.progress == Style::Auto {
                    say(&text);
                }
                if self.interrupt.sleep(wait) {
                    continue;
                }
            }
            let some = reports.iter().any(|r| r.complete);
            let cancelled = outcome.cancelled || (self.interrupt.count() > 0 && !all);
            let status = match (all, cancelled, some) {
                (true, _, _) => JobStatus::Succeeded,
                (_, true, _) => JobStatus::Cancelled,
                (_, _, true) => JobStatus::Partial,
                _ => JobStatus::Failed,
            };
            return Ok(Report {
                connection: self.connection_name.clone(),
                job: self.job,
                status,
                attempts: number,
                seconds: self.started.elapsed().as_secs_f64(),
                streams: reports,
                failures: if all { Vec::new() } else { outcome.failures },
                warnings: ends.warnings.clone(),
                log: log_path.display().to_string(),
            });
        }
    }

    /// Writes the two catalogs; their trees go before the attempt begins.
    fn catalogs(
        &self,
        store: &Store,
        streams: &[&Selected],
        generations: &HashMap<StreamDescriptor, StoredGeneration>,
        configs: &PrivateDir,
        first: bool,
    ) -> Result<(PathBuf, PathBuf), Failure> {
        let (for_source, for_destination) = catalog::configured(streams, generations, self.job);
        let text = |catalog: &ConfiguredCatalog| {
            serde_json::to_vec(catalog)
                .map_err(|e| Failure::fatal(Origin::Ferry, format!("a catalog cannot be written: {e}")))
        };
        let for_source = text(&for_source)?;
        if first {
            store.describe_job(self.job, None, Some(&String::from_utf8_lossy(&for_source)))?;
        }
        let source = configs.write("source-catalog.json", &for_source)?;
        Ok((source, configs.write("destination-catalog.json", &text(&for_destination)?)?))
    }

    /// What connectors are told of the run through their environment.
    fn identity(&self, store: &Store, source: &str, attempt: u32) -> Result<RunIdentity, Failure> {
        Ok(vec![
            ("FERRY_CONNECTION", store.uuid(self.connection, source)?),
            ("WORKER_JOB_ID", self.job.to_string()),
            ("WORKER_JOB_ATTEMPT", attempt.to_string()),
        ])
    }

    /// Saves what the destination has committed and ferry was not told of.
    fn catch_up(
        &self,
        store: &mut Store,
        ends: &Ends,
        streams: &[&Selected],
        log: &JobLog,
        (config, catalog): (&Path, &Path),
        run: &RunIdentity,
    ) -> Result<(), Error> {
        let asker = Asker {
            connector: &ends.destination,
            origin: Origin::Destination,
            log,
            interrupt: self.interrupt,
            patience: self.options.patience,
        };
        let mut retries = Retries::default();
        let lines = loop {
            let failure = match asker.committed(config, catalog, run) {
                Ok(lines) => break lines,
                Err(failure) => failure,
            };
            let wait = retries.after_failure(&self.options.retry, false).filter(|_| failure.retryable);
            let Some(wait) = wait else { return Err(failure.into()) };
            log.line("ferry", &format!("{failure}; asking again in {:.0} s", wait.as_secs_f32()));
            if !self.interrupt.sleep(wait) {
                return Err(failure.into());
            }
        };
        for news in committed::news(&lines, streams, &store.states(self.connection)?)? {
            let what = news.stream.as_ref().map_or("all streams".to_owned(), |s| format!("stream {s}"));
            log.line(
                "ferry",
                &format!(
                    "{what}: the destination has committed a state in job {} that was not saved; it is saved now",
                    news.job
                ),
            );
            store.save_states(self.connection, &ends.source.name, news.job, &[(news.stream, news.state)])?;
        }
        Ok(())
    }

    fn generations(
        &self,
        store: &mut Store,
        streams: &[&Selected],
        first: bool,
    ) -> Result<HashMap<StreamDescriptor, StoredGeneration>, Failure> {
        let mut generations = Vec::with_capacity(streams.len());
        for stream in streams {
            let name = stream.descriptor();
            let stored = store.generation(self.connection, &name)?;
            generations.push((name, catalog::generation(stream, stored, first)));
        }
        store.save_generations(self.connection, &generations)?;
        Ok(generations.into_iter().collect())
    }

    /// The `--state` file: incremental streams go on, and so do full refreshes that this
    /// very job began and that can be resumed.
    fn state_file(
        &self,
        store: &Store,
        streams: &[&Selected],
        source: &str,
    ) -> Result<Option<String>, Error> {
        let saved = store.states(self.connection)?;
        let incremental = |s: &&&Selected| s.configured.sync_mode == SyncMode::Incremental;
        let goes_on = |state: &SavedState| match &state.stream {
            Some(name) => streams
                .iter()
                .find(|s| s.descriptor() == *name)
                .is_some_and(|s| incremental(&s) || (state.job == self.job && s.resumes())),
            None => state.job == self.job || streams.iter().any(|s| incremental(&s)),
        };
        let mut elements = Vec::new();
        for state in saved.iter().filter(|s| goes_on(s)) {
            if state.source != source {
                return Err(Error::Usage(format!(
                    "the saved state was written by {}, but the source is now {source}, which cannot read it; run \"ferry state reset {}\" to start over",
                    state.source,
                    self.file.path.display()
                )));
            }
            match (&state.stream, &state.state) {
                (None, Some(text)) => elements.push(text.clone()),
                (Some(stream), Some(text)) => elements.push(format!(
                    r#"{{"type":"STREAM","stream":{{"stream_descriptor":{},"stream_state":{text}}}}}"#,
                    serde_json::to_string(stream).unwrap_or_default()
                )),
                (_, None) => {}
            }
        }
        Ok((!elements.is_empty()).then(|| format!("[{}]", elements.join(","))))
    }
}

type RunIdentity = Vec<(&'static str, String)>;

/// The environment of a read or a write.
fn told(run: &RunIdentity) -> RunIdentity {
    let constant = [
        ("USE_STREAM_CAPABLE_STATE", "true"),
        ("DATA_CHANNEL_MEDIUM", "STDIO"),
        ("DATA_CHANNEL_FORMAT", "JSONL"),
    ];
    let constant = constant.into_iter().map(|(name, value)| (name, value.to_owned()));
    run.iter().cloned().chain(constant).collect()
}

/// What tells the containers of one sync from all others, were several machines to share a daemon.
fn label(directory: &Path, connection: i64) -> String {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{machine}:{}:{connection}", directory.display())
}

fn mask_error(error: Error, log: &JobLog) -> Error {
    match error {
        Error::Usage(text) => Error::Usage(log.mask(&text)),
        Error::Failed(mut failure) => {
            failure.message = log.mask(&failure.message);
            failure.detail = failure.detail.as_deref().map(|d| log.mask(d));
            Error::Failed(failure)
        }
    }
}

fn named_states(saved: Vec<Saved>, streams: &[&Selected]) -> Vec<(Option<StreamDescriptor>, Option<String>)> {
    saved
        .into_iter()
        .filter_map(|saved| match saved {
            Saved::Stream { index, state } => Some((Some(streams[index].descriptor()), state)),
            Saved::Global(text) => Some((None, Some(text))),
            Saved::Nothing | Saved::InEcho => None,
        })
        .collect()
}

fn status_of(outcome: &Outcome) -> JobStatus {
    let complete: HashSet<bool> = outcome.streams.iter().map(|s| s.complete).collect();
    match (complete.contains(&true), complete.contains(&false)) {
        (_, false) => JobStatus::Succeeded,
        _ if outcome.cancelled => JobStatus::Cancelled,
        (true, true) => JobStatus::Partial,
        (false, true) => JobStatus::Failed,
    }
}

fn stream_rows(
    streams: &[&Selected],
    outcome: &Outcome,
    generations: &HashMap<StreamDescriptor, StoredGeneration>,
) -> Vec<(StreamDescriptor, StreamRow)> {
    let row = |(selected, stream): (&&Selected, &crate::attempt::StreamOutcome)| {
        let name = selected.descriptor();
        let why = outcome.failures.iter().find(|f| f.stream.as_ref() == Some(&name));
        let proof = stream.committed.proof.and_then(|p| match serde_json::to_value(p) {
            Ok(Value::String(word)) => Some(word),
            _ => None,
        });
        let row = StreamRow {
            status: if stream.complete { "complete" } else { "incomplete" }.to_owned(),
            records_read: stream.read.records(),
            bytes_read: stream.bytes,
            records_committed: stream.committed.records,
            bytes_committed: stream.committed.bytes,
            records_rejected: stream.committed.rejected,
            checkpoints: stream.committed.checkpoints,
            proof,
            digest: Some(stream.read.hex()),
            estimated_records: stream.estimate.0,
            estimated_bytes: stream.estimate.1,
            generation_id: generations.get(&name).map(|g| g.generation),
            failure: why.map(|f| f.message.clone()),
        };
        (name, row)
    };
    streams.iter().zip(&outcome.streams).map(row).collect()
}

impl StreamReport {
    fn untouched(stream: &Selected) -> Self {
        Self {
            stream: stream.descriptor(),
            target: stream.target.clone(),
            complete: false,
            read: 0,
            committed: 0,
            rejected: 0,
            bytes: 0,
            committed_bytes: 0,
            seconds: 0.0,
            receipt: Receipt::default(),
            generation_id: 0,
        }
    }

    /// Adds an attempt; one that began from the start takes the place of those before.
    fn add(&mut self, outcome: &crate::attempt::StreamOutcome, generation: StoredGeneration, resumes: bool) {
        if !resumes {
            let seconds = self.seconds;
            *self = Self {
                seconds,
                receipt: Receipt::default(),
                read: 0,
                committed: 0,
                rejected: 0,
                bytes: 0,
                committed_bytes: 0,
                ..self.clone()
            };
        }
        // What an earlier attempt read and did not see confirmed is read again.
        match &mut self.receipt.digest {
            Some(digest) if self.read == self.committed => digest.merge(outcome.read),
            digest => *digest = None,
        }
        self.complete = outcome.complete;
        self.read = self.committed + outcome.read.records();
        self.bytes = self.committed_bytes + outcome.bytes;
        self.committed_bytes += outcome.committed.bytes;
        self.committed += outcome.committed.records;
        self.rejected += outcome.committed.rejected;
        self.seconds += outcome.seconds;
        self.generation_id = generation.generation;
        self.receipt.checkpoints += outcome.committed.checkpoints;
        self.receipt.proof = match (self.receipt.proof, outcome.committed.proof) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}
