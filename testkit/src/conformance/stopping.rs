//! Trials of being stopped: by a signal, and by a reader that leaves.

use std::time::Duration;

use protocol::{StreamStatusKind, SyncMode};

use super::reading::account;
use super::states::{identities, keys};
use super::{ReadFiles, SourceSuite, Suite, configured, final_state};
use crate::folder::Folder;
use crate::output::{Exit, Output};
use crate::process::Signal;

/// Long enough for a busy machine, shorter than the platform's patience.
const SOON: Duration = Duration::from_secs(12);
/// By then a stream's rows flow, and the pipe is full when nobody reads on.
const MIDDLE: usize = 256 << 10;

pub(crate) fn ended_by(output: &Output, signal: Signal) -> bool {
    let number = signal.as_raw();
    matches!(output.exit, Exit::Signal(s) if s == number) || output.exit == Exit::Code(128 + number)
}

fn interrupted(suite: &SourceSuite, folder: &Folder, signal: Signal) -> Output {
    let catalog = configured(&suite.discover(folder, &suite.large), SyncMode::Incremental);
    let files = ReadFiles::new(folder, &suite.large, &catalog, None);
    let mut running = suite.connector.command(files.args()).pausing_stdout_after(MIDDLE).start();
    running.wait_for("\"RECORD\"");
    running.signal(signal);
    running.go_on_reading();
    running.wait()
}

pub fn sigterm_ends_a_read_soon_with_a_state_and_a_whole_line(suite: &SourceSuite) {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = Folder::new();
        let output = interrupted(suite, &folder, signal).wrote_only_messages();
        assert!(ended_by(&output, signal), "expected {signal:?} or its code: {output}");
        assert!(output.elapsed < SOON, "{output}");
        let complete = output.statuses().filter(|(_, s)| *s == StreamStatusKind::Complete).count();
        let streams = suite.discover(&folder, &suite.large).streams.len();
        assert!(complete < streams, "it was done before the signal came; `large` is too small: {output}");
        assert!(output.errors().count() == 0, "being stopped is no error: {output}");
        account(&output);
    }
}

/// Invariant: what was stated before the stop and what a later run sends is everything.
pub fn a_read_that_was_stopped_goes_on_without_losing_a_row(suite: &SourceSuite) {
    let folder = Folder::new();
    let stopped = interrupted(suite, &folder, Signal::TERM);
    let resumed =
        suite.read(&folder, &suite.large, SyncMode::Incremental, Some(&final_state(&stopped))).succeeded();
    let whole = suite.read(&folder, &suite.large, SyncMode::Incremental, None).succeeded();
    let keys = keys(suite, &folder, &suite.large);
    // Only rows that a state vouches for count as sent.
    let vouched = stopped.lines.iter().rposition(|l| matches!(l.message, Ok(protocol::Message::State(_))));
    let mut together = vouched.map(|index| identities(&stopped.cut_after(index), &keys)).unwrap_or_default();
    together.extend(identities(&resumed, &keys));
    let lost = identities(&whole, &keys).difference(&together).count();
    assert_eq!(lost, 0, "{lost} rows are lost");
}

pub fn a_reader_that_leaves_ends_a_read_quietly(suite: &SourceSuite) {
    let folder = Folder::new();
    let catalog = configured(&suite.discover(&folder, &suite.large), SyncMode::FullRefresh);
    let files = ReadFiles::new(&folder, &suite.large, &catalog, None);
    let output = suite.connector.command(files.args()).closing_stdout_after(MIDDLE).output();
    assert!(output.stderr.is_empty(), "{output}");
    assert!(output.elapsed < SOON, "{output}");
    assert!(!matches!(output.exit, Exit::Signal(s) if s != Signal::PIPE.as_raw()), "{output}");
}

pub fn a_reader_that_leaves_ends_the_short_commands_quietly(suite: &impl Suite) {
    let folder = Folder::new();
    let config = folder.json("config.json", &suite.config(&folder));
    for args in [&["spec"][..], &["check", "--config", &config]] {
        let output = suite.connector().command(args.iter().copied()).closing_stdout_after(0).output();
        assert!(output.stderr.is_empty(), "{args:?}: {output}");
        assert!(!matches!(output.exit, Exit::Signal(s) if s != Signal::PIPE.as_raw()), "{args:?}: {output}");
    }
}
