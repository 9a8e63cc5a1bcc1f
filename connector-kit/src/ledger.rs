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
    waiting_bytes: usize,
    next: u64,
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
    pub(crate) fn new(streams: usize) -> Self {
        Self {
            streams: vec![StreamLedger::default(); streams],
            shared: RecordDigest::default(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            next: 0,
        }
    }

    /// The writer took a batch.
    pub(crate) fn took(&mut self, stream: usize, digest: RecordDigest, bytes: usize) {
        let entry = &mut self.streams[stream];
        entry.taken.merge(digest);
        entry.unflushed = true;
        entry.unflushed_bytes += bytes as u64;
    }

    /// A state arrived; it covers the rows taken since the one before of its scope.
    pub(crate) fn state(&mut self, stream: Option<usize>, line: Vec<u8>) {
        let stats = match stream {
            Some(index) => {
                let entry = &mut self.streams[index];
                let since = entry.taken.since(entry.at_state);
                entry.at_state = entry.taken;
                since
            }
            None => {
                let mut all = RecordDigest::default();
                self.streams.iter().for_each(|s| all.merge(s.taken));
                let since = all.since(self.shared);
                self.shared = all;
                since
            }
        };
        self.next += 1;
        self.waiting_bytes += line.len();
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

    /// The streams to flush now so that waiting states can be echoed; each at most once.
    pub(crate) fn due(&self, policy: &FlushPolicy) -> Vec<usize> {
        let too_much = self.waiting_bytes >= WAITING_BYTES;
        let mut due = Vec::new();
        for waiting in &self.waiting {
            let old = too_much || waiting.since.elapsed() >= policy.age;
            let scope = waiting.stream.map_or(0..self.streams.len(), |s| s..s + 1);
            due.extend(scope.filter(|s| {
                self.streams[*s].unflushed && (old || self.streams[*s].unflushed_bytes >= policy.bytes)
            }));
        }
        due.sort_unstable();
        due.dedup();
        due
    }

    pub(crate) fn has_unflushed(&self, stream: usize) -> bool {
        self.streams[stream].unflushed
    }

    /// Takes the states that are safe to echo, oldest first, as lines. A state is returned once.
    pub(crate) fn take_durable(&mut self) -> Result<Vec<Vec<u8>>> {
        let streams = &self.streams;
        let any_unflushed = streams.iter().any(|s| s.unflushed);
        let mut durable = Vec::new();
        self.waiting.retain_mut(|w| {
            let blocked = w.stream.map_or(any_unflushed, |s| streams[s].unflushed);
            if !blocked {
                self.waiting_bytes -= w.line.len();
                durable.push((w.order, std::mem::take(&mut w.line), std::mem::take(&mut w.stats)));
            }
            blocked
        });
        durable.sort_by_key(|(order, ..)| *order);
        durable
            .into_iter()
            .map(|(_, line, stats)| {
                let mut echo = State::echo(&line, &stats)
                    .map_err(|e| Error::system("A state cannot be echoed.").with_source(e))?;
                echo.push(b'\n');
                Ok(echo)
            })
            .collect()
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
        ledger.take_durable().unwrap().into_iter().map(|l| String::from_utf8(l).unwrap()).collect()
    }

    #[test]
    fn a_state_waits_for_its_own_streams_rows_only() {
        let mut ledger = Ledger::new(2);
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
        let mut ledger = Ledger::new(2);
        ledger.took(0, rows(2), 10);
        ledger.took(1, rows(3), 10);
        ledger.state(None, state("g"));
        ledger.flushed(0);
        assert!(durable(&mut ledger).is_empty());
        ledger.flushed(1);
        assert!(durable(&mut ledger)[0].contains("\"recordCount\":5.0"));
    }

    #[test]
    fn rows_after_a_state_hold_it_back_until_the_next_flush() {
        let mut ledger = Ledger::new(1);
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
}
