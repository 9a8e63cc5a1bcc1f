//! The supervisor: starts, listens, watches the clock, stops, and ends.

use std::io::{self, PipeWriter, Write};
use std::os::fd::AsFd;
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use protocol::LineReader;
use rustix::process::Signal;

use super::activity::{Activity, FromSource, ToDestination, Waiting};
use super::ears::{Heard, SourceEars, hear_destination, lock};
use super::{Attempt, Limits, Outcome, verdict};
use crate::error::{Failure, Origin};
use crate::process::{Group, Process};
use crate::progress::{Live, Progress};
use crate::pump::{Pump, Stop, Tally};
use crate::receipts::{Receipts, Saved};

/// What the threads tell the supervisor.
#[derive(Debug)]
enum Event {
    PumpEnded { result: Result<(), Stop>, tallies: Vec<Tally> },
    InputClosed(io::Result<()>),
    ReceiptBroken(Failure),
    DestinationSilent,
    Exited(Origin),
}

/// How often the clock is looked at when nothing happens.
const TICK: Duration = Duration::from_millis(100);

/// Confirmed states are kept at least so often.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// How long what a dead process left behind may keep its pipes open.
const ORPHAN_GRACE: Duration = Duration::from_secs(1);

/// One of the two processes, as the supervisor sees it.
#[derive(Debug)]
pub(super) struct Side {
    process: Process,
    group: Group,
    pub(super) origin: Origin,
    pub(super) exited: bool,
    exited_at: Option<Instant>,
    pub(super) status: Option<ExitStatus>,
    /// Ferry told it to stop.
    pub(super) stopped: bool,
    kill_at: Option<Instant>,
    must_exit_by: Option<Instant>,
}

impl Side {
    fn new(process: Process, origin: Origin) -> Self {
        let group = process.group();
        Self {
            process,
            group,
            origin,
            exited: false,
            exited_at: None,
            status: None,
            stopped: false,
            kill_at: None,
            must_exit_by: None,
        }
    }

    /// SIGTERM now, SIGKILL after the grace.
    fn stop(&mut self, grace: Duration) {
        if !self.exited && !self.stopped {
            self.stopped = true;
            self.group.signal(Signal::TERM);
            self.kill_at = Some(Instant::now() + grace);
        }
    }

    fn kill(&mut self) {
        self.stopped = true;
        if self.status.is_none() {
            self.group.signal(Signal::KILL);
        }
    }

    fn reap(&mut self) {
        if self.status.is_none() {
            self.status = self.process.reap();
        }
    }

    /// How it ended, in words.
    pub(super) fn ending(&self) -> String {
        self.process.ending()
    }

    /// It was killed, by the system or by somebody.
    pub(super) fn killed(&self) -> bool {
        self.process.killed()
    }

    pub(super) fn stderr_tail(&mut self) -> String {
        self.process.stderr_tail()
    }
}

/// Everything the supervisor knows.
#[derive(Debug)]
pub(super) struct Run {
    limits: Limits,
    pub(super) source: Side,
    pub(super) destination: Side,
    pub(super) failures: Vec<Failure>,
    pub(super) pump: Option<Result<(), Stop>>,
    pub(super) tallies: Vec<Tally>,
    last_words: Option<SyncSender<Vec<u8>>>,
    input_closed: bool,
    input_closed_at: Option<Instant>,
    destination_silent: bool,
    pub(super) receipt_broken: bool,
    pub(super) cancelled: bool,
    /// It ended before its input did.
    pub(super) left_early: bool,
    timed_out: bool,
    drain_by: Option<Instant>,
    give_up_at: Option<Instant>,
}

/// Gives the destination a pipe for its input that already holds the first line of
/// `words`. Returns our end, and what is still to be said.
fn greeted_pipe(destination: &mut Command, mut words: Vec<u8>) -> Result<(PipeWriter, Vec<u8>), Failure> {
    let failed = |e: std::io::Error| {
        Failure::fatal(Origin::Destination, "its input could not be prepared").because(e.to_string())
    };
    let (from, mut to) = std::io::pipe().map_err(failed)?;
    let line = words.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1);
    // Nobody reads yet: more than a pipe holds would wait for ever.
    if line <= HELD_BY_EVERY_PIPE {
        to.write_all(&words[..line]).map_err(failed)?;
        words.drain(..line);
    }
    widen(&to);
    destination.stdin(from);
    Ok((to, words))
}

/// Linux shrinks the pipes of a user with many to one page.
const HELD_BY_EVERY_PIPE: usize = 4096;
/// What the pipes of records are asked to hold. With the usual 64 KiB both sides wake each other fifteen thousand times a gigabyte.
const RECORD_PIPE_BYTES: usize = 512 << 10;

/// Lets a pipe hold more. Where Linux refuses, because the user has many pipes, it works as it is.
fn widen(pipe: impl AsFd) {
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, RECORD_PIPE_BYTES);
}

pub(super) fn run(
    mut attempt: Attempt<'_>,
    save: &mut dyn FnMut(Vec<Saved>) -> Result<(), Failure>,
) -> Outcome {
    let started = Instant::now();
    let count = attempt.streams.len();
    let names: Vec<_> = attempt.streams.iter().map(|s| s.descriptor()).collect();
    let targets: Vec<_> = attempt.streams.iter().map(|s| s.target.clone()).collect();
    let receipts = Arc::new(Mutex::new(Receipts::new(names.clone(), targets)));
    let heard = Arc::new(Mutex::new(Heard::of(count)));
    let live: Arc<Vec<Live>> = Arc::new((0..count).map(|_| Live::default()).collect());
    let activity = Arc::new(Activity::new());
    let (events, inbox) = sync_channel(64);

    attempt.source.command.stdin(std::process::Stdio::null());
    let log = attempt.log;
    // The first STARTED is in the pipe before the destination lives: were ferry killed at
    // any moment, the end of its input alone must never look like completion.
    let first_words = verdict::first_words(attempt.streams);
    let (to, first_words) = match greeted_pipe(&mut attempt.destination.command, first_words) {
        Ok(greeted) => greeted,
        Err(failure) => return Outcome::unstarted(count, failure),
    };
    // The destination first: a source must not read before someone can take it.
    let mut destination = match Process::start(attempt.destination, Origin::Destination, "destination", log) {
        Ok(process) => process,
        Err(failure) => return Outcome::unstarted(count, failure),
    };
    let mut source = match Process::start(attempt.source, Origin::Source, "source", log) {
        Ok(process) => process,
        Err(failure) => return Outcome::unstarted(count, failure),
    };
    let (last_words, hear_last_words) = sync_channel::<Vec<u8>>(1);
    if let Some(from) = source.take_stdout() {
        widen(&from);
        let ears = SourceEars {
            streams: names.iter().cloned().enumerate().map(|(i, name)| (name, i)).collect(),
            receipts: Arc::clone(&receipts),
            heard: Arc::clone(&heard),
            live: Arc::clone(&live),
            log: log.clone(),
        };
        let mut reader =
            LineReader::with_cap(FromSource(from, Arc::clone(&activity)), attempt.limits.line_bytes);
        let plans = attempt.streams.iter().map(|s| s.plan()).collect();
        let mut pump = Pump::new(plans, ToDestination(to, Arc::clone(&activity)), ears);
        let events = events.clone();
        named("pump", move || {
            let result = match pump.greet(&first_words) {
                Ok(()) => pump.run(&mut reader),
                Err(stop) => Err(stop),
            };
            // A source that still writes gets a broken pipe.
            drop(reader);
            let (mut out, _, tallies) = pump.into_output();
            let _ = events.send(Event::PumpEnded { result, tallies });
            let written = match hear_last_words.recv() {
                Ok(words) => out.write_all(&words),
                Err(_) => Ok(()),
            };
            drop(out);
            let _ = events.send(Event::InputClosed(written));
        });
    }
    if let Some(output) = destination.take_stdout() {
        let (receipts, heard) = (Arc::clone(&receipts), Arc::clone(&heard));
        let (activity, log, events) = (Arc::clone(&activity), log.clone(), events.clone());
        named("destination-output", move || {
            hear_destination(output, &receipts, &heard, &activity, &log, |failure| {
                let _ = events.send(Event::ReceiptBroken(failure));
            });
            let _ = events.send(Event::DestinationSilent);
        });
    }
    for (group, origin) in [(source.group(), Origin::Source), (destination.group(), Origin::Destination)] {
        let events = events.clone();
        named("wait", move || {
            group.wait_for_leader();
            let _ = events.send(Event::Exited(origin));
        });
    }
    drop(events);

    let mut run = Run {
        limits: attempt.limits,
        source: Side::new(source, Origin::Source),
        destination: Side::new(destination, Origin::Destination),
        failures: Vec::new(),
        pump: None,
        tallies: vec![Tally::default(); count],
        last_words: Some(last_words),
        input_closed: false,
        input_closed_at: None,
        destination_silent: false,
        receipt_broken: false,
        cancelled: false,
        left_early: false,
        timed_out: false,
        drain_by: None,
        give_up_at: None,
    };
    let progress = Progress::start(&names, attempt.progress);
    let mut saved_at = Instant::now();
    let mut keep = |run: &mut Run, saved_at: &mut Instant| {
        *saved_at = Instant::now();
        let states = lock(&receipts).take_unsaved();
        if !states.is_empty()
            && let Err(failure) = save(states)
        {
            run.failures.push(failure);
            run.stop_all();
        }
    };
    while !run.over() {
        run.step(&inbox);
        run.speak_last_words(attempt.streams, &receipts, &heard);
        run.watch_the_clock(&activity, attempt.interrupt.count());
        if saved_at.elapsed() >= SAVE_EVERY {
            keep(&mut run, &mut saved_at);
            log.flush();
        }
        progress.show(&live);
        if run.give_up_at.is_some_and(|at| Instant::now() >= at) {
            break;
        }
    }
    keep(&mut run, &mut saved_at);
    progress.finish();
    run.source.reap();
    run.destination.reap();
    let outcome =
        verdict::outcome(run, attempt.streams, &lock(&receipts), &lock(&heard), &live, started, log);
    log.flush();
    outcome
}

fn named(name: &str, work: impl FnOnce() + Send + 'static) {
    // Without threads there is no attempt; the supervisor then sees closed channels.
    let _ = std::thread::Builder::new().name(name.to_owned()).spawn(work);
}

impl Run {
    fn over(&self) -> bool {
        self.pump.is_some()
            && self.input_closed
            && self.destination_silent
            && self.source.exited
            && self.destination.exited
    }

    fn stop_all(&mut self) {
        let grace = self.limits.stop_grace;
        self.source.stop(grace);
        self.destination.stop(grace);
    }

    fn step(&mut self, inbox: &Receiver<Event>) {
        let event = match inbox.recv_timeout(TICK) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => return,
            Err(RecvTimeoutError::Disconnected) => {
                // Every thread has ended; nothing more can be told.
                self.give_up_at = Some(Instant::now());
                return;
            }
        };
        let now = Instant::now();
        let (grace, exit_grace) = (self.limits.stop_grace, self.limits.exit_grace);
        match event {
            Event::PumpEnded { result, tallies } => {
                match &result {
                    Ok(()) => self.source.must_exit_by = Some(now + exit_grace),
                    Err(Stop::Source(failure)) => {
                        self.failures.push((**failure).clone());
                        self.source.stop(grace);
                    }
                    Err(Stop::Destination(_)) => {
                        self.destination.must_exit_by = Some(now + exit_grace);
                        self.source.stop(grace);
                        // No last words: there is nobody to hear them.
                        self.last_words = None;
                    }
                }
                self.pump = Some(result);
                self.tallies = tallies;
            }
            Event::InputClosed(result) => {
                self.input_closed = true;
                self.input_closed_at = Some(now);
                if result.is_err() && !self.destination.exited {
                    self.destination.must_exit_by = Some(now + exit_grace);
                }
            }
            Event::ReceiptBroken(failure) => {
                if !self.receipt_broken {
                    self.failures.insert(0, failure);
                    self.receipt_broken = true;
                }
                self.stop_all();
            }
            Event::DestinationSilent => {
                self.destination_silent = true;
                self.destination.must_exit_by = Some(now + exit_grace);
            }
            Event::Exited(origin) => {
                let side = if origin == Origin::Source { &mut self.source } else { &mut self.destination };
                side.exited = true;
                side.exited_at = Some(now);
                if origin == Origin::Destination && !self.input_closed {
                    // Nobody takes the records any more.
                    self.left_early |= !self.destination.stopped;
                    self.source.stop(grace);
                }
            }
        }
    }

    /// Once the source has ended, tells the destination which streams are complete, and closes its input.
    fn speak_last_words(
        &mut self,
        streams: &[&crate::catalog::Selected],
        receipts: &Mutex<Receipts>,
        heard: &Mutex<Heard>,
    ) {
        if self.pump.is_none() || !self.source.exited {
            return;
        }
        self.source.reap();
        let Some(sender) = self.last_words.take() else { return };
        let heard = lock(heard);
        let words = verdict::last_words(self, streams, &mut lock(receipts), &heard);
        let _ = sender.send(words);
    }

    fn watch_the_clock(&mut self, activity: &Activity, interrupts: u32) {
        let now = Instant::now();
        if interrupts > 0 && !self.cancelled {
            self.cancelled = true;
            // The destination needs the rest of the time for its own end.
            self.source.stop(self.limits.drain.mul_f32(0.6));
            self.drain_by = Some(now + self.limits.drain);
        }
        if interrupts > 1 || self.drain_by.is_some_and(|by| now >= by) {
            self.source.kill();
            self.destination.kill();
        }
        if !self.timed_out {
            self.watch_for_silence(activity);
        }
        for side in [&mut self.source, &mut self.destination] {
            if !side.exited && side.must_exit_by.is_some_and(|by| now >= by) && !side.stopped {
                side.must_exit_by = None;
                self.failures.push(Failure::passing(
                    side.origin,
                    format!(
                        "closed its pipes and did not exit within {} s",
                        self.limits.exit_grace.as_secs_f32()
                    ),
                ));
                side.stop(self.limits.stop_grace);
            }
            if side.kill_at.is_some_and(|at| now >= at) {
                side.kill_at = None;
                side.kill();
            }
        }
        let orphans = |side: &Side| side.exited_at.is_some_and(|at| at.elapsed() >= ORPHAN_GRACE);
        if self.pump.is_none() && orphans(&self.source) && self.source.status.is_none() {
            // What it started still holds its output open.
            self.source.group.signal(Signal::KILL);
        }
        if !self.destination_silent && orphans(&self.destination) && self.destination.status.is_none() {
            self.destination.group.signal(Signal::KILL);
        }
        let dead = self.source.exited && self.destination.exited;
        if self.give_up_at.is_none() && dead && !self.over() {
            // A process outside the group may hold a pipe for ever.
            self.give_up_at = Some(now + Duration::from_secs(5).max(self.limits.exit_grace));
        }
    }

    fn watch_for_silence(&mut self, activity: &Activity) {
        let timeouts = self.limits.timeouts;
        let (waiting, since) = activity.waiting();
        let stalled = match (&self.pump, waiting) {
            (None, Waiting::Source) if since > timeouts.source_silence => {
                self.failures.push(Failure::passing(
                    Origin::Source,
                    format!(
                        "sent nothing for {} s, the limit of timeouts.source_silence_secs; raise it if the source may be silent for so long",
                        timeouts.source_silence.as_secs()
                    ),
                ));
                self.timed_out = true;
                self.source.stop(self.limits.stop_grace);
                return;
            }
            (_, Waiting::Destination) => since > timeouts.destination_stall,
            _ => {
                let closed = self.input_closed_at.map(|at| at.elapsed());
                !self.destination.exited
                    && closed
                        .is_some_and(|e| e.min(activity.destination_silence()) > timeouts.destination_stall)
            }
        };
        if stalled {
            let what =
                if self.input_closed { "gave no sign after the end of its input" } else { "took no input" };
            self.failures.push(Failure::passing(
                Origin::Destination,
                format!(
                    "{what} for {} s, the limit of timeouts.destination_stall_secs; raise it if the destination may need so long",
                    timeouts.destination_stall.as_secs()
                ),
            ));
            self.timed_out = true;
            self.stop_all();
        }
    }
}
