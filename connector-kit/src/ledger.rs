//! What was received, what is durable, and which states may therefore be echoed.

use std::time::Instant;

use protocol::{RecordDigest, State, StateStats};

use crate::error::{Error, Result};
use crate::traits::FlushPolicy;

/// Keeps states until the rows before them are durable, and their counts.
#[derive(Debug)]
pub(crate) struct Ledger {
    streams: Vec<StreamLedger>,
    /// What all streams had taken when the last shared state came.
    shared: RecordDigest,
    waiting: Vec<Waiting>,
    next: u64,
    /// The last state before the last mark.
    marked: u64,
}

/// A state that is safe to echo, with its counts.
#[derive(Debug)]
pub(crate) struct Durable {
    order: u64,
    /// Its stream, or `None` when all share it.
    pub(crate) stream: Option<usize>,
    /// The line as it came.
    pub(crate) line: Vec<u8>,
    pub(crate) stats: StateStats,
}

impl Durable {
    /// The line that says so, newline and all.
    pub(crate) fn echo(&self) -> Result<Vec<u8>> {
        let mut echo = State::echo(&self.line, &self.stats)
            .map_err(|e| Error::system("A state cannot be echoed.").with_source(e))?;
        echo.push(b'\n');
        Ok(echo)
    }
}

/// States that wait are kept whole; this many bytes of them force a flush.
const WAITING_BYTES: usize = 8 << 20;

#[derive(Clone, Debug, Default)]
struct StreamLedger {
    /// All rows the writer took.
    taken: RecordDigest,
    /// The same, when the stream's last state came.
    at_state: RecordDigest,
    /// Rows taken since the last flush.
    unflushed: bool,
    unflushed_bytes: u64,
    /// The rows are seen only once the stream is published, and are dropped if it is not:
    /// until then none of its states may be echoed.
    held: bool,
    /// It took rows that no state covers yet.
    beyond: bool,
    /// It took rows since the last mark.
    unmarked: bool,
}

impl StreamLedger {
    fn blocks(&self) -> bool {
        self.unflushed || self.held
    }
}

#[derive(Debug)]
struct Waiting {
    order: u64,
    stream: Option<usize>,
    line: Vec<u8>,
    stats: StateStats,
    since: Instant,
}

impl Ledger {
    /// `held` says of each stream whether its states wait for [`published`](Self::published).
    pub(crate) fn new(held: impl IntoIterator<Item = bool>) -> Self {
        let streams = held.into_iter().map(|held| StreamLedger { held, ..StreamLedger::default() });
        Self {
            streams: streams.collect(),
            shared: RecordDigest::default(),
            waiting: Vec::new(),
            next: 0,
            marked: 0,
        }
    }

    /// The writer took a batch.
    pub(crate) fn took(&mut self, stream: usize, digest: RecordDigest, bytes: usize) {
        let entry = &mut self.streams[stream];
        entry.taken.merge(digest);
        entry.unflushed = true;
        entry.unflushed_bytes += bytes as u64;
        (entry.beyond, entry.unmarked) = (true, true);
    }

    /// A state arrived; it covers the rows taken since the one before of its scope.
    pub(crate) fn state(&mut self, stream: Option<usize>, line: Vec<u8>) {
        let stats = match stream {
            Some(index) => {
                self.boundary(index);
                let entry = &mut self.streams[index];
                let since = entry.taken.since(entry.at_state);
                entry.at_state = entry.taken;
                since
            }
            None => {
                self.streams.iter_mut().for_each(|s| s.beyond = false);
                let mut all = RecordDigest::default();
                self.streams.iter().for_each(|s| all.merge(s.taken));
                let since = all.since(self.shared);
                self.shared = all;
                since
            }
        };
        self.next += 1;
        self.waiting.push(Waiting {
            order: self.next,
            stream,
            line,
            stats: StateStats::of(stats),
            since: Instant::now(),
        });
    }

    /// Everything the stream's writer took is durable.
    pub(crate) fn flushed(&mut self, stream: usize) {
        let entry = &mut self.streams[stream];
        entry.unflushed = false;
        entry.unflushed_bytes = 0;
    }

    /// The stream's writer published its rows.
    pub(crate) fn published(&mut self, stream: usize) {
        self.streams[stream].held = false;
    }

    /// The stream's writer could not publish: none of its states will ever be echoed.
    pub(crate) fn lost(&mut self, stream: usize) {
        self.streams[stream].held = true;
    }

    /// The stream stands where a later run would go on.
    pub(crate) fn boundary(&mut self, stream: usize) {
        self.streams[stream].beyond = false;
    }

    /// Whether no stream has rows that a source going on from the last states would send again. Held
    /// streams do not count: they begin anew.
    pub(crate) fn aligned(&self) -> bool {
        !(0..self.streams.len()).any(|s| self.is_beyond(s))
    }

    /// Whether this one has such rows.
    pub(crate) fn is_beyond(&self, stream: usize) -> bool {
        self.streams[stream].beyond && !self.streams[stream].held
    }

    /// Whether the stream's states wait until it is published.
    pub(crate) fn is_held(&self, stream: usize) -> bool {
        self.streams[stream].held
    }

    /// Everything taken so far would survive a return to here.
    pub(crate) fn mark(&mut self) {
        self.marked = self.next;
        self.streams.iter_mut().for_each(|s| s.unmarked = false);
    }

    /// Whether rows of the stream came after the last mark.
    pub(crate) fn is_unmarked(&self, stream: usize) -> bool {
        self.streams[stream].unmarked
    }

    /// Rows that came after the last mark are gone, and so are the states that did.
    pub(crate) fn back_to_mark(&mut self) {
        let marked = self.marked;
        self.waiting.retain(|w| w.order <= marked);
        self.streams.iter_mut().for_each(|s| (s.beyond, s.unmarked) = (false, false));
    }

    /// Whether all streams together are to be made durable now so that waiting states can be echoed.
    /// `patience` says how many times more than the policy is still fine.
    pub(crate) fn all_due(&self, policy: &FlushPolicy, patience: u32) -> bool {
        let can_be_echoed = |w: &&Waiting| match w.stream {
            Some(stream) => !self.streams[stream].held,
            None => !self.streams.iter().any(|s| s.held),
        };
        let lines: usize = self.waiting.iter().filter(can_be_echoed).map(|w| w.line.len()).sum();
        let Some(oldest) = self.waiting.iter().filter(can_be_echoed).map(|w| w.since).min() else {
            return false;
        };
        let bytes: u64 = self.streams.iter().filter(|s| !s.held).map(|s| s.unflushed_bytes).sum();
        lines >= WAITING_BYTES * patience as usize
            || bytes >= policy.bytes.saturating_mul(patience.into())
            || oldest.elapsed() >= policy.age.saturating_mul(patience)
    }

    /// The streams to flush now so that waiting states can be echoed; each at most once.
    pub(crate) fn due(&self, policy: &FlushPolicy) -> Vec<usize> {
        let scope = |w: &Waiting| w.stream.map_or(0..self.streams.len(), |s| s..s + 1);
        let can_be_echoed = |w: &&Waiting| !scope(w).any(|s| self.streams[s].held);
        let bytes: usize = self.waiting.iter().filter(can_be_echoed).map(|w| w.line.len()).sum();
        let mut due = Vec::new();
        for waiting in self.waiting.iter().filter(can_be_echoed) {
            let old = bytes >= WAITING_BYTES || waiting.since.elapsed() >= policy.age;
            let wanted = |s: &usize| {
                self.streams[*s].unflushed && (old || self.streams[*s].unflushed_bytes >= policy.bytes)
            };
            due.extend(scope(waiting).filter(wanted));
        }
        due.sort_unstable();
        due.dedup();
        due
    }

    pub(crate) fn has_unflushed(&self, stream: usize) -> bool {
        self.streams[stream].unflushed
    }

    /// Takes the states that are safe to echo, oldest first. A state is returned once.
    pub(crate) fn take_durable(&mut self) -> Vec<Durable> {
        let streams = &self.streams;
        let any_blocks = streams.iter().any(StreamLedger::blocks);
        let mut durable = Vec::new();
        self.waiting.retain_mut(|w| {
            let blocked = w.stream.map_or(any_blocks, |s| streams[s].blocks());
            if !blocked {
                let (line, stats) = (std::mem::take(&mut w.line), std::mem::take(&mut w.stats));
                durable.push(Durable { order: w.order, stream: w.stream, line, stats });
            }
            blocked
        });
        durable.sort_by_key(|d| d.order);
        durable
    }
}

#[cfg(test)]
mod tests {
    use super::{FlushPolicy, Ledger};
    use protocol::RecordDigest;
    use std::time::Duration;

    fn rows(n: u8) -> RecordDigest {
        let mut digest = RecordDigest::default();
        (0..n).for_each(|i| digest.add(&[i]));
        digest
    }

    fn state(name: &str) -> Vec<u8> {
        format!(r#"{{"type":"STATE","state":{{"type":"STREAM","n":"{name}"}}}}"#).into_bytes()
    }

    fn durable(ledger: &mut Ledger) -> Vec<String> {
        let durable = ledger.take_durable();
        durable.iter().map(|d| String::from_utf8(d.echo().unwrap()).unwrap()).collect()
    }

    #[test]
    fn a_state_waits_for_its_own_streams_rows_only() {
        let mut ledger = Ledger::new([false; 2]);
        ledger.took(0, rows(2), 10);
        ledger.took(1, rows(3), 10);
        ledger.state(Some(0), state("a"));
        ledger.state(Some(1), state("b"));
        assert!(durable(&mut ledger).is_empty());
        ledger.flushed(1);
        let echoed = durable(&mut ledger);
        assert!(
            echoed.len() == 1 && echoed[0].contains("\"b\"") && echoed[0].contains("\"recordCount\":3.0"),
            "{echoed:?}"
        );
        assert!(durable(&mut ledger).is_empty(), "a state is returned once");
    }

    #[test]
    fn a_shared_state_waits_for_every_stream_and_counts_them_all() {
        let mut ledger = Ledger::new([false; 2]);
        ledger.took(0, rows(2), 10);
        ledger.took(1, rows(3), 10);
        ledger.state(None, state("g"));
        ledger.flushed(0);
        assert!(durable(&mut ledger).is_empty());
        ledger.flushed(1);
        assert!(durable(&mut ledger)[0].contains("\"recordCount\":5.0"));
    }

    #[test]
    fn a_stream_that_is_published_at_the_end_has_its_states_held_until_then() {
        let mut ledger = Ledger::new([true, false]);
        ledger.took(0, rows(1), 10);
        ledger.state(Some(0), state("a"));
        ledger.state(None, state("g"));
        let always = FlushPolicy { bytes: 0, age: Duration::ZERO };
        assert!(ledger.due(&always).is_empty(), "a flush could free nothing");
        ledger.flushed(0);
        assert!(durable(&mut ledger).is_empty());
        ledger.published(0);
        assert_eq!(durable(&mut ledger).len(), 2);
        ledger.lost(1);
        ledger.state(Some(1), state("b"));
        assert!(durable(&mut ledger).is_empty());
    }

    #[test]
    fn rows_after_a_state_hold_it_back_until_the_next_flush() {
        let mut ledger = Ledger::new([false]);
        ledger.state(Some(0), state("a"));
        assert_eq!(durable(&mut ledger).len(), 1);
        ledger.took(0, rows(1), 10);
        ledger.state(Some(0), state("b"));
        assert!(durable(&mut ledger).is_empty());
        let never = FlushPolicy { bytes: u64::MAX, age: Duration::from_secs(3600) };
        assert!(ledger.due(&never).is_empty());
        assert_eq!(ledger.due(&FlushPolicy { bytes: 10, ..never }), [0]);
        assert_eq!(ledger.due(&FlushPolicy { age: Duration::ZERO, ..never }), [0]);
    }

    #[test]
    fn all_are_due_together_only_when_a_state_waits_that_can_be_echoed() {
        let mut ledger = Ledger::new([true, false]);
        let now = FlushPolicy { bytes: u64::MAX, age: Duration::ZERO };
        ledger.took(0, rows(1), 10);
        ledger.state(Some(0), state("held"));
        ledger.state(None, state("shared with a held one"));
        assert!(!ledger.all_due(&now, 1));
        ledger.took(1, rows(1), 10);
        ledger.state(Some(1), state("b"));
        assert!(ledger.all_due(&now, 1));
        let bytes = FlushPolicy { bytes: 5, age: Duration::from_secs(3600) };
        assert!(ledger.all_due(&bytes, 2) && !ledger.all_due(&bytes, 4));
    }

    #[test]
    fn streams_are_aligned_at_states_and_what_came_after_a_mark_can_be_forgotten() {
        let mut ledger = Ledger::new([false, false, true]);
        ledger.took(0, rows(1), 10);
        ledger.took(2, rows(1), 10);
        assert!(!ledger.aligned());
        ledger.state(Some(0), state("a"));
        assert!(ledger.aligned(), "a held stream begins anew anyway");
        ledger.mark();
        ledger.took(0, rows(1), 10);
        ledger.took(1, rows(1), 10);
        ledger.state(Some(0), state("after"));
        assert!(!ledger.aligned() && ledger.is_beyond(1) && ledger.is_unmarked(0) && !ledger.is_unmarked(2));
        ledger.back_to_mark();
        assert!(ledger.aligned() && !ledger.is_unmarked(0));
        (0..2).for_each(|s| ledger.flushed(s));
        let echoed = durable(&mut ledger);
        assert!(echoed.len() == 1 && echoed[0].contains("\"a\""), "{echoed:?}");
        ledger.took(0, rows(1), 10);
        ledger.took(1, rows(1), 10);
        ledger.state(None, state("g"));
        assert!(ledger.aligned());
    }
}
