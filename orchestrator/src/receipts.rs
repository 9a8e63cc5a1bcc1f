//! Receipts: what was sent against what the destination says it has committed.
//!
//! Every state that goes out is expected back exactly once, in order within its scope
//! (a stream, or all of them), with a count and, where both ends are ours, a digest
//! that agree with what the pump sent. Anything else fails the sync, and the state of
//! before stays.

use std::collections::{BTreeMap, HashMap, VecDeque};

use protocol::{RecordDigest, State, StateScope, StateStats, StreamDescriptor};
use serde::Serialize;

use crate::error::{Failure, Origin};

/// A state on its way.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Its number, unique in the attempt.
    pub id: i64,
    /// The stream's index, or `None` for a state that all streams share.
    pub scope: Option<usize>,
    /// The records that it covers, as the destination got them.
    pub sent: RecordDigest,
    /// How far each covered stream is with it, from the attempt's start.
    pub covers: Vec<Covered>,
    /// What to keep once it comes back.
    pub saved: Saved,
    /// Whether the source gave a digest, and it agreed.
    pub source_digest: bool,
}

/// One stream's totals at a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// The stream's index.
    pub index: usize,
    /// Records since the attempt's start.
    pub records: u64,
    /// Bytes of data since then.
    pub bytes: u64,
}

/// The part of a state that outlives the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// One stream's content; `None` is a reset.
    Stream {
        /// The stream's index.
        index: usize,
        /// JSON text as the source wrote it.
        state: Option<String>,
    },
    /// The whole state, as one element of a state file.
    Global(String),
    /// Made up by ferry so that counts can be confirmed; not kept.
    Nothing,
    /// Was let go for want of memory; the echo's own content is kept instead.
    InEcho,
}

/// How much a stream's receipt proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// The destination confirmed the state and gave no numbers.
    Echo,
    /// The counts agree.
    Count,
    /// The counts and the digests of source, pump and destination agree.
    Digest,
}

/// The receipts of one attempt.
#[derive(Debug)]
pub struct Receipts {
    streams: Vec<StreamDescriptor>,
    targets: HashMap<StreamDescriptor, usize>,
    /// By scope; the last one is the scope of all streams.
    scopes: Vec<Scope>,
    committed: Vec<Committed>,
    /// States confirmed and not yet in the store, by scope.
    unsaved: BTreeMap<Option<usize>, Saved>,
    last_sent: i64,
    /// Bytes of state text held for states on their way.
    held: usize,
    hold_at_most: usize,
    broken: bool,
}

#[derive(Debug, Default)]
struct Scope {
    on_their_way: VecDeque<Expected>,
    last_echoed: i64,
}

/// What the destination confirmed of one stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Committed {
    /// Records, from the attempt's start.
    pub records: u64,
    /// Bytes of their data.
    pub bytes: u64,
    /// Records that the destination refused.
    pub rejected: u64,
    /// How many states were confirmed.
    pub checkpoints: u64,
    /// The weakest proof among them.
    pub proof: Option<Proof>,
}

/// Beyond this much state text on its way, the echo's content serves.
const HOLD_AT_MOST: usize = 4 << 20;

impl Receipts {
    /// Receipts for streams with these names at source and destination.
    #[must_use]
    pub fn new(streams: Vec<StreamDescriptor>, targets: Vec<StreamDescriptor>) -> Self {
        let scopes = (0..=streams.len()).map(|_| Scope::default()).collect();
        let committed = vec![Committed::default(); streams.len()];
        let targets = targets.into_iter().enumerate().map(|(i, t)| (t, i)).collect();
        Self {
            streams,
            targets,
            scopes,
            committed,
            unsaved: BTreeMap::new(),
            last_sent: 0,
            held: 0,
            hold_at_most: HOLD_AT_MOST,
            broken: false,
        }
    }

    /// Notes a state that is about to be sent.
    pub fn expect(&mut self, mut expected: Expected) {
        let size = expected.saved.size();
        if self.held + size > self.hold_at_most && size > 0 {
            expected.saved = Saved::InEcho;
        } else {
            self.held += size;
        }
        self.last_sent = self.last_sent.max(expected.id);
        let slot = self.slot(expected.scope);
        self.scopes[slot].on_their_way.push_back(expected);
    }

    /// Takes an echo.
    ///
    /// # Errors
    /// When it is of no state that was sent, comes twice or out of order, or its numbers
    /// disagree. From then on no echo counts.
    pub fn echoed(&mut self, echo: &State) -> Result<(), Failure> {
        if self.broken {
            return Ok(());
        }
        let result = self.take(echo);
        self.broken = result.is_err();
        result
    }

    fn take(&mut self, echo: &State) -> Result<(), Failure> {
        let Some(id) = echo.id else {
            return Err(broken(
                "echoed a state without its id; a destination must echo the line it received",
            ));
        };
        let (scope, what) = match &echo.scope {
            StateScope::Stream(stream) => match self.targets.get(&stream.descriptor) {
                Some(index) => (Some(*index), format!("stream {}", self.streams[*index])),
                None => {
                    return Err(broken(format!(
                        "echoed a state of stream {}, which was never sent",
                        stream.descriptor
                    )));
                }
            },
            StateScope::Global { .. } => (None, "all streams".to_owned()),
            StateScope::Legacy(_) => {
                return Err(broken("echoed a state of the LEGACY form, which was never sent"));
            }
        };
        let slot = self.slot(scope);
        let Some(position) = self.scopes[slot].on_their_way.iter().position(|e| e.id == id) else {
            let last = self.scopes[slot].last_echoed;
            let elsewhere = self.scopes.iter().any(|s| s.on_their_way.iter().any(|e| e.id == id));
            return Err(broken(if elsewhere {
                format!("{what}: echoed state {id}, which was sent for another stream")
            } else if id == last {
                format!("{what}: echoed state {id} twice")
            } else if id < last && id > 0 {
                format!("{what}: echoed state {id} out of order, after state {last}")
            } else {
                format!(
                    "{what}: echoed state {id}, which was never sent (the last one sent is {})",
                    self.last_sent
                )
            }));
        };
        // A later state vouches for those before it; their records must then be in its count.
        let mut sent = RecordDigest::default();
        let mut source_digest = true;
        let taken: Vec<Expected> = self.scopes[slot].on_their_way.drain(..=position).collect();
        for expected in &taken {
            sent.merge(expected.sent);
            source_digest &= expected.source_digest;
            self.held = self.held.saturating_sub(expected.saved.size());
        }
        let Some(expected) = taken.into_iter().next_back() else { return Ok(()) };
        self.scopes[slot].last_echoed = id;
        let stats = echo.destination_stats.clone().unwrap_or_default();
        let proof = agree(&what, id, sent, &stats, source_digest).map_err(|failure| match scope {
            Some(index) => failure.on(&self.streams[index]),
            None => failure,
        })?;
        for covered in &expected.covers {
            let committed = &mut self.committed[covered.index];
            committed.records = covered.records;
            committed.bytes = covered.bytes;
            committed.checkpoints += 1;
            committed.proof = Some(committed.proof.map_or(proof, |p| p.min(proof)));
        }
        if let Some(index) = scope.or(if self.streams.is_empty() { None } else { Some(0) }) {
            self.committed[index].rejected += stats.rejected.unwrap_or(0);
        }
        match expected.saved {
            Saved::Nothing => {}
            Saved::InEcho => {
                self.unsaved.insert(scope, from_echo(echo, scope));
            }
            saved => {
                self.unsaved.insert(scope, saved);
            }
        }
        Ok(())
    }

    /// The states confirmed since the last call, newest of each scope.
    pub fn take_unsaved(&mut self) -> Vec<Saved> {
        std::mem::take(&mut self.unsaved).into_values().collect()
    }

    /// What was confirmed, stream by stream.
    #[must_use]
    pub fn committed(&self) -> &[Committed] {
        &self.committed
    }

    /// How many states of a stream, its own or shared, have not come back.
    #[must_use]
    pub fn outstanding(&self, index: usize) -> usize {
        self.scopes[index].on_their_way.len() + self.scopes[self.streams.len()].on_their_way.len()
    }

    /// The number of the last state that was sent.
    #[must_use]
    pub fn last_sent(&self) -> i64 {
        self.last_sent
    }

    fn slot(&self, scope: Option<usize>) -> usize {
        scope.unwrap_or(self.streams.len())
    }
}

impl Saved {
    fn size(&self) -> usize {
        match self {
            Self::Stream { state, .. } => state.as_ref().map_or(0, String::len),
            Self::Global(text) => text.len(),
            Self::Nothing | Self::InEcho => 0,
        }
    }
}

fn from_echo(echo: &State, scope: Option<usize>) -> Saved {
    match (&echo.scope, scope) {
        (StateScope::Stream(stream), Some(index)) => {
            Saved::Stream { index, state: stream.state.as_ref().map(|s| s.get().to_owned()) }
        }
        _ => {
            let bare = State { source_stats: None, destination_stats: None, id: None, ..echo.clone() };
            Saved::Global(serde_json::to_string(&bare).unwrap_or_default())
        }
    }
}

fn agree(
    what: &str,
    id: i64,
    sent: RecordDigest,
    stats: &StateStats,
    source_digest: bool,
) -> Result<Proof, Failure> {
    let Some(records) = stats.records else { return Ok(Proof::Echo) };
    let rejected = stats.rejected.unwrap_or(0);
    if records.checked_add(rejected) != Some(sent.records()) {
        let refused = if rejected > 0 { format!(" and refused {rejected}") } else { String::new() };
        return Err(broken(format!(
            "{what}: for state {id} ferry sent {} records, the destination committed {records}{refused}; the state is not kept. Run the sync again; if it repeats, the destination loses or doubles rows",
            sent.records()
        )));
    }
    match stats.digest.as_deref() {
        // Rows that were refused are in our digest and not in theirs.
        Some(_) if rejected > 0 => Ok(Proof::Count),
        Some(digest) if digest != sent.hex() => Err(broken(format!(
            "{what}: for state {id} the counts agree ({records} records) but the digests do not: ferry sent {}, the destination committed {digest}; a row was altered, or one lost and one doubled, and the state is not kept",
            sent.hex()
        ))),
        Some(_) if source_digest => Ok(Proof::Digest),
        _ => Ok(Proof::Count),
    }
}

fn broken(message: impl Into<String>) -> Failure {
    Failure::fatal(Origin::Destination, message)
}

#[cfg(test)]
mod tests;
