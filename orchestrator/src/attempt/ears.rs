//! Listens: to what the source says beside records and states, and to the destination.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use protocol::{
    EstimateKind, LineReader, Lines, LogLevel, Message, StreamDescriptor, StreamStatusKind, Trace,
    TraceError, parse_message,
};

use super::activity::Activity;
use crate::error::{Failure, Origin};
use crate::job_log::JobLog;
use crate::progress::Live;
use crate::pump::{Observer, Tally};
use crate::receipts::{Expected, Receipts};

/// More lines that are no messages than this are only counted.
const NOISE_LINES: u64 = 100;

/// More errors than this are only logged.
const ERRORS: usize = 20;

/// What both ends said.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The last status of each stream.
    pub(super) statuses: Vec<Option<StreamStatusKind>>,
    /// When each stream's last status came.
    pub(super) ended: Vec<Option<Instant>>,
    pub(super) source_errors: Vec<TraceError>,
    pub(super) destination_errors: Vec<TraceError>,
    pub(super) global_state: bool,
    noise: u64,
}

impl Heard {
    /// Nothing yet, of so many streams.
    pub(super) fn of(streams: usize) -> Self {
        Self { statuses: vec![None; streams], ended: vec![None; streams], ..Self::default() }
    }
}

/// Locks, whatever happened to another thread meanwhile.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pump's observer.
#[derive(Debug)]
pub(super) struct SourceEars {
    pub(super) streams: HashMap<StreamDescriptor, usize>,
    pub(super) receipts: Arc<Mutex<Receipts>>,
    pub(super) heard: Arc<Mutex<Heard>>,
    pub(super) live: Arc<Vec<Live>>,
    pub(super) log: JobLog,
}

impl Observer for SourceEars {
    fn expect(&mut self, expected: Expected) {
        if expected.scope.is_none() {
            lock(&self.heard).global_state = true;
        }
        lock(&self.receipts).expect(expected);
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Trace(trace) => self.trace(trace),
            Message::Log(entry) => self.log.line(&format!("source {}", level(entry.level)), &entry.message),
            Message::Control(control) => self.log.line(
                "ferry",
                &format!(
                    "the source sent a CONTROL message ({}); ferry does not change sync files, so edit the config there if it asks for it",
                    control.kind
                ),
            ),
            other => self.log.line("ferry", &format!("ignored a {} message of the source", other.kind())),
        }
    }

    fn noise(&mut self, line: u64, text: &[u8], why: &str) {
        let mut heard = lock(&self.heard);
        heard.noise += 1;
        if heard.noise <= NOISE_LINES {
            let shown = self.log.excerpt(text);
            self.log.line("ferry", &format!("line {line} of the source is no message ({why}): {shown}"));
        } else if heard.noise == NOISE_LINES + 1 {
            self.log.line("ferry", "more lines of the source are no messages; they are not logged");
        }
    }

    fn progress(&mut self, tallies: &[Tally]) {
        for (live, tally) in self.live.iter().zip(tallies) {
            live.records.store(tally.read.records(), std::sync::atomic::Ordering::Relaxed);
            live.bytes.store(tally.bytes, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

impl SourceEars {
    fn trace(&mut self, trace: Trace) {
        let index = |d: &StreamDescriptor| self.streams.get(d).copied();
        if let Some(error) = trace.error {
            self.log.line("source ERROR", &error.message);
            if let Some(detail) = &error.internal_message {
                self.log.line("source ERROR", detail);
            }
            let mut heard = lock(&self.heard);
            if heard.source_errors.len() < ERRORS {
                heard.source_errors.push(error);
            }
        }
        if let Some(status) = trace.stream_status {
            // Some sources write "" for no namespace.
            let stream = StreamDescriptor::new(
                status.stream_descriptor.namespace.as_deref(),
                &status.stream_descriptor.name,
            );
            match index(&stream) {
                Some(i) => {
                    let mut heard = lock(&self.heard);
                    heard.statuses[i] = Some(status.status);
                    heard.ended[i] = Some(Instant::now());
                    drop(heard);
                    self.log.line("source", &format!("stream {stream}: {:?}", status.status));
                }
                None => {
                    self.log.line("ferry", &format!("a status of stream {stream}, which was not asked for"))
                }
            }
        }
        if let Some(estimate) = trace.estimate {
            let stream = StreamDescriptor::new(estimate.namespace.as_deref(), &estimate.name);
            if let (EstimateKind::Stream, Some(i)) = (estimate.kind, index(&stream)) {
                self.live[i].estimate(&estimate);
            }
        }
    }
}

/// Reads the destination's stdout to its end. A receipt that does not hold ends up in
/// `broken`, once; the reading goes on, so that the destination never blocks.
pub(super) fn hear_destination(
    output: impl Read,
    receipts: &Mutex<Receipts>,
    heard: &Mutex<Heard>,
    activity: &Activity,
    log: &JobLog,
    mut broken: impl FnMut(Failure),
) {
    let mut reader = LineReader::new(output);
    let mut noise = 0_u64;
    loop {
        let block = match reader.next_block() {
            Ok(Some(block)) => block,
            Ok(None) => return,
            Err(error) => {
                broken(Failure::fatal(
                    Origin::Destination,
                    format!("its output cannot be read: {}", crate::error::chain(&error)),
                ));
                return;
            }
        };
        activity.destination_spoke();
        for line in Lines::of(block) {
            match parse_message(line) {
                Ok(Message::State(state)) => {
                    // The guard must be gone before `broken` runs.
                    let result = lock(receipts).echoed(&state);
                    if let Err(failure) = result {
                        broken(failure);
                    }
                }
                Ok(Message::Log(entry)) => {
                    log.line(&format!("destination {}", level(entry.level)), &entry.message);
                }
                Ok(Message::Trace(Trace { error: Some(error), .. })) => {
                    log.line("destination ERROR", &error.message);
                    if let Some(detail) = &error.internal_message {
                        log.line("destination ERROR", detail);
                    }
                    let mut heard = lock(heard);
                    if heard.destination_errors.len() < ERRORS {
                        heard.destination_errors.push(error);
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    if memchr::memmem::find(line, b"\"STATE\"").is_some() {
                        broken(
                            Failure::fatal(
                                Origin::Destination,
                                "echoed a line that looks like a STATE but cannot be read",
                            )
                            .because(error.to_string()),
                        );
                    }
                    noise += 1;
                    if noise <= NOISE_LINES {
                        let shown = log.excerpt(line);
                        log.line(
                            "ferry",
                            &format!("a line of the destination is no message ({error}): {shown}"),
                        );
                    }
                }
            }
        }
    }
}

fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Fatal => "FATAL",
        LogLevel::Error => "ERROR",
        LogLevel::Warn => "WARN",
        LogLevel::Info => "INFO",
        LogLevel::Debug => "DEBUG",
        LogLevel::Trace => "TRACE",
    }
}
