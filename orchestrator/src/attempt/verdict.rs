//! Which streams are complete, what the destination is told of it, and what went wrong.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Instant;

use protocol::{
    Message, RecordDigest, State, StateScope, StateStats, StreamState, StreamStatusKind, SyncMode, Trace,
};
use serde_json::value::RawValue;

use super::ears::Heard;
use super::supervise::{Run, Side};
use super::{Outcome, StreamOutcome};
use crate::catalog::Selected;
use crate::clock;
use crate::connector::from_trace;
use crate::error::{Failure, Origin};
use crate::job_log::JobLog;
use crate::progress::Live;
use crate::pump::Stop;
use crate::receipts::{Committed, Covered, Expected, Receipts, Saved};

impl Outcome {
    pub(super) fn unstarted(streams: usize, failure: Failure) -> Self {
        let stream = StreamOutcome {
            complete: false,
            read: RecordDigest::default(),
            bytes: 0,
            committed: Committed::default(),
            estimate: (None, None),
            seconds: 0.0,
        };
        Self {
            streams: vec![stream; streams],
            failures: vec![failure],
            cancelled: false,
            global_state: false,
        }
    }
}

/// Whether the source finished a stream: it said so, and its end bears it out.
///
/// An exit code other than 0 is how a source says that *some* stream failed; those that
/// it called complete before are. When it called all complete, or was killed, its word
/// is not taken for any.
fn source_finished(run: &Run, heard: &Heard, index: usize) -> bool {
    let complete = |status: &Option<StreamStatusKind>| *status == Some(StreamStatusKind::Complete);
    let pumped = matches!(run.pump, Some(Ok(()))) && !run.receipt_broken;
    let well = run.source.status.is_some_and(|s| s.success());
    let in_order = run.source.status.and_then(|s| s.code()).is_some_and(|code| code < 128)
        && !heard.statuses.iter().all(complete);
    pumped && complete(&heard.statuses[index]) && (well || in_order)
}

/// STARTED for every stream. It tells the destination that statuses are in use, so that
/// the end of its input alone, as when ferry is killed, is never taken for completion.
pub(super) fn first_words(streams: &[&Selected]) -> Vec<u8> {
    let mut words = Vec::new();
    for stream in streams {
        let status = Trace::status(clock::now_ms(), stream.target.clone(), StreamStatusKind::Started);
        words.extend_from_slice(&Message::Trace(status).to_line());
    }
    words
}

/// A status for every stream, after states made up where the source gave none.
pub(super) fn last_words(
    run: &Run,
    streams: &[&Selected],
    receipts: &mut Receipts,
    heard: &Heard,
) -> Vec<u8> {
    let mut words = Vec::new();
    for (index, stream) in streams.iter().enumerate() {
        let finished = source_finished(run, heard, index);
        let tally = &run.tallies[index];
        let full = stream.configured.sync_mode == SyncMode::FullRefresh;
        if finished && full && !tally.had_state {
            // Without any state nothing could be confirmed. It is not kept.
            let id = receipts.last_sent() + 1;
            let stats = StateStats { records: Some(tally.sent.records()), ..StateStats::default() };
            let empty = RawValue::from_string("{}".to_owned()).ok();
            let scope = StateScope::Stream(StreamState { descriptor: stream.target.clone(), state: empty });
            receipts.expect(Expected {
                id,
                scope: Some(index),
                sent: tally.sent,
                covers: vec![Covered { index, records: tally.read.records(), bytes: tally.bytes }],
                saved: Saved::Nothing,
                source_digest: false,
            });
            let state = State { scope, source_stats: Some(stats), destination_stats: None, id: Some(id) };
            words.extend_from_slice(&Message::State(state).to_line());
        }
        let kind = if finished { StreamStatusKind::Complete } else { StreamStatusKind::Incomplete };
        let status = Trace::status(clock::now_ms(), stream.target.clone(), kind);
        words.extend_from_slice(&Message::Trace(status).to_line());
    }
    words
}

pub(super) fn outcome(
    mut run: Run,
    streams: &[&Selected],
    receipts: &Receipts,
    heard: &Heard,
    live: &[Live],
    started: Instant,
    log: &JobLog,
) -> Outcome {
    let destination_well = run.destination.status.is_some_and(|s| s.success()) && !run.receipt_broken;
    let mut outcomes = Vec::with_capacity(streams.len());
    for (index, live) in live.iter().enumerate() {
        let tally = &run.tallies[index];
        let committed = receipts.committed()[index];
        let confirmed = receipts.outstanding(index) == 0 && committed.records == tally.read.records();
        let estimate = |n: u64| (n > 0).then(|| i64::try_from(n).unwrap_or(i64::MAX));
        outcomes.push(StreamOutcome {
            complete: source_finished(&run, heard, index) && destination_well && confirmed,
            read: tally.read,
            bytes: tally.bytes,
            committed,
            estimate: (
                estimate(live.expected_records.load(Ordering::Relaxed)),
                estimate(live.expected_bytes.load(Ordering::Relaxed)),
            ),
            seconds: heard.ended[index].unwrap_or_else(Instant::now).duration_since(started).as_secs_f64(),
        });
    }
    let all = outcomes.iter().all(|o| o.complete);
    let mut failures = std::mem::take(&mut run.failures);
    if !all {
        add_source_failures(&mut run, heard, log, &mut failures);
        add_destination_failures(&mut run, heard, log, &mut failures);
        add_stream_failures(&run, streams, receipts, heard, &outcomes, &mut failures);
        if run.cancelled {
            failures = vec![Failure::fatal(
                Origin::Ferry,
                "stopped by a signal; what was confirmed is kept and the next run goes on from there",
            )];
        }
    }
    for failure in &mut failures {
        failure.message = log.mask(&failure.message);
        failure.detail = failure.detail.as_deref().map(|d| log.mask(d));
        log.line("ferry ERROR", &failure.to_string());
        if let Some(detail) = &failure.detail {
            log.line("ferry ERROR", detail);
        }
    }
    Outcome {
        streams: outcomes,
        failures,
        cancelled: run.cancelled && !all,
        global_state: heard.global_state,
    }
}

fn add_source_failures(run: &mut Run, heard: &Heard, log: &JobLog, failures: &mut Vec<Failure>) {
    for error in &heard.source_errors {
        failures.push(from_trace(Origin::Source, error, log));
    }
    let said_why = failures.iter().any(|f| f.origin == Origin::Source);
    if !run.source.stopped && !run.source.status.is_some_and(|s| s.success()) {
        let tail = run.source.stderr_tail();
        let by_signal = run.source.status.is_some_and(|s| s.code().is_none()) || run.source.killed();
        if !said_why || by_signal {
            let failure = Failure::passing(Origin::Source, format!("it {}", run.source.ending()));
            let at = failures.iter().position(|f| f.origin == Origin::Source).unwrap_or(failures.len());
            failures.insert(at, with_tail(failure, &tail));
        }
    }
}

fn add_destination_failures(run: &mut Run, heard: &Heard, log: &JobLog, failures: &mut Vec<Failure>) {
    for error in &heard.destination_errors {
        failures.push(from_trace(Origin::Destination, error, log));
    }
    let said_why = failures.iter().any(|f| f.origin == Origin::Destination);
    let refused = match &run.pump {
        Some(Err(Stop::Destination(error))) => Some(describe(error)),
        _ if run.left_early => Some("it ended"),
        _ => None,
    };
    let side: &mut Side = &mut run.destination;
    if said_why || (side.stopped && refused.is_none()) {
        return;
    }
    let well = side.status.is_some_and(|s| s.success());
    let how = side.ending();
    if let Some(refused) = refused {
        let tail = side.stderr_tail();
        let text = format!("{refused} before all records were sent; it {how}");
        failures.insert(0, with_tail(Failure::passing(Origin::Destination, text), &tail));
    } else if !well {
        let tail = side.stderr_tail();
        failures.push(with_tail(Failure::passing(Origin::Destination, format!("it {how}")), &tail));
    }
}

fn add_stream_failures(
    run: &Run,
    streams: &[&Selected],
    receipts: &Receipts,
    heard: &Heard,
    outcomes: &[StreamOutcome],
    failures: &mut Vec<Failure>,
) {
    let source_well = run.source.status.is_some_and(|s| s.success()) && matches!(run.pump, Some(Ok(())));
    let destination_well = run.destination.status.is_some_and(|s| s.success()) && !run.receipt_broken;
    for (index, stream) in streams.iter().enumerate().filter(|(i, _)| !outcomes[*i].complete) {
        let name = stream.descriptor();
        if failures.iter().any(|f| f.stream.as_ref() == Some(&name)) {
            continue;
        }
        let (read, committed) = (run.tallies[index].read.records(), outcomes[index].committed.records);
        if source_finished(run, heard, index) && destination_well {
            let failure = if receipts.outstanding(index) > 0 {
                Failure::passing(
                    Origin::Destination,
                    format!(
                        "stream {name}: it ended without confirming {} states; {read} records were sent, {committed} confirmed",
                        receipts.outstanding(index)
                    ),
                )
            } else {
                Failure::fatal(
                    Origin::Source,
                    format!(
                        "stream {name}: it sent {} records after its last state, which no receipt covers; {read} were sent, {committed} confirmed",
                        read - committed
                    ),
                )
            };
            failures.push(failure.on(&name));
        } else if source_well && heard.statuses[index] != Some(StreamStatusKind::Complete) {
            let last = match heard.statuses[index] {
                Some(StreamStatusKind::Incomplete) => "said INCOMPLETE",
                _ => "never said COMPLETE",
            };
            failures.push(
                Failure::fatal(
                    Origin::Source,
                    format!("stream {name}: the source exited with code 0 but {last} for it, so it counts as unfinished"),
                )
                .on(&name),
            );
        }
    }
    if failures.is_empty() {
        let text = "the source exited with an error after it called every stream complete; nothing is taken for complete";
        failures.push(Failure::passing(Origin::Source, text));
    }
}

fn describe(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::BrokenPipe => "it closed its input",
        _ => "its input could not be written",
    }
}

fn with_tail(failure: Failure, tail: &str) -> Failure {
    if tail.is_empty() { failure } else { failure.because(tail) }
}
