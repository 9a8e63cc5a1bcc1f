//! STATE lines: numbered, counted, compared with the source's own count, renamed.

use std::io::Write;

use protocol::edit;
use protocol::json::{self, JsonError};
use protocol::{RecordDigest, State, StateScope, StateStats, StreamDescriptor};

use super::{Observer, Pump, Stop, fatal};
use crate::error::{Failure, Origin};
use crate::receipts::{Covered, Expected, Saved};

impl<W: Write, O: Observer> Pump<W, O> {
    pub(super) fn state(&mut self, line: &[u8]) -> Result<(), Stop> {
        let unreadable = |detail: String, at: u64| {
            Stop::Source(Box::new(
                Failure::fatal(Origin::Source, format!("the STATE on line {at} cannot be read"))
                    .because(detail),
            ))
        };
        let state = match protocol::parse_message(line) {
            Ok(protocol::Message::State(state)) => state,
            Ok(_) => return Err(unreadable("not a state".into(), self.line)),
            Err(error) => return Err(unreadable(error.to_string(), self.line)),
        };
        let (scope, saved) = match &state.scope {
            StateScope::Stream(stream) => {
                let index = self.index_of(&stream.descriptor).ok_or_else(|| {
                    fatal(format!(
                        "line {} is a state of stream {}, which was not asked for",
                        self.line, stream.descriptor
                    ))
                })?;
                (
                    Some(index),
                    Saved::Stream { index, state: stream.state.as_ref().map(|s| s.get().to_owned()) },
                )
            }
            StateScope::Global { .. } => {
                let bare = State { source_stats: None, destination_stats: None, id: None, ..state.clone() };
                (None, Saved::Global(serde_json::to_string(&bare).unwrap_or_default()))
            }
            StateScope::Legacy(_) => {
                return Err(fatal(format!(
                    "line {} is a state of the LEGACY form, which cannot be tied to streams; use a newer version of this connector",
                    self.line
                )));
            }
        };
        let (read, sent, covers) = self.take_counts(scope);
        self.compare(scope, read, state.source_stats.as_ref())?;
        self.last_state_id += 1;
        let line = self
            .numbered(line, &state, scope, read, sent)
            .map_err(|error| unreadable(error.to_string(), self.line))?;
        let source_digest = state.source_stats.as_ref().is_some_and(|s| s.digest.is_some());
        self.observer.expect(Expected { id: self.last_state_id, scope, sent, covers, saved, source_digest });
        self.buffer.extend_from_slice(&line);
        self.buffer.push(b'\n');
        Ok(())
    }

    /// The scanner numbers streams too; it was told those of the plans first.
    fn index_of(&mut self, descriptor: &StreamDescriptor) -> Option<usize> {
        let id = self.scanner.intern(descriptor.namespace.as_deref(), &descriptor.name);
        Some(id.index()).filter(|index| *index < self.streams.len())
    }

    /// The records since the previous state of this scope, which this state covers.
    fn take_counts(&mut self, scope: Option<usize>) -> (RecordDigest, RecordDigest, Vec<Covered>) {
        let (mut read, mut sent) = (RecordDigest::default(), RecordDigest::default());
        let mut covers = Vec::new();
        let from = scope.unwrap_or(0);
        let to = scope.map_or(self.tallies.len(), |index| index + 1);
        for (tally, index) in self.tallies[from..to].iter_mut().zip(from..) {
            read.merge(tally.read.since(tally.at_state.0));
            sent.merge(tally.sent.since(tally.at_state.1));
            tally.at_state = (tally.read, tally.sent);
            tally.had_state = true;
            covers.push(Covered { index, records: tally.read.records(), bytes: tally.bytes });
        }
        (read, sent, covers)
    }

    fn compare(
        &self,
        scope: Option<usize>,
        read: RecordDigest,
        own: Option<&StateStats>,
    ) -> Result<(), Stop> {
        let Some(own) = own else { return Ok(()) };
        let what = match scope {
            Some(index) => format!("stream {}", self.streams[index].plan.source),
            None => "all streams".to_owned(),
        };
        let problem = match (own.records, own.digest.as_deref()) {
            (Some(count), _) if count != read.records() => format!(
                "{what}: the source counted {count} records for the state on line {}, ferry received {}; the state is not kept",
                self.line,
                read.records()
            ),
            (_, Some(digest)) if digest != read.hex() => format!(
                "{what}: for the state on line {} the counts agree ({} records) but the digests do not: the source has {digest}, ferry {}; a record was altered on the way and the state is not kept",
                self.line,
                read.records(),
                read.hex()
            ),
            _ => return Ok(()),
        };
        let failure = Failure::fatal(Origin::Source, problem);
        Err(Stop::Source(Box::new(match scope {
            Some(index) => failure.on(&self.streams[index].plan.source),
            None => failure,
        })))
    }

    /// The line with its number, the counts filled in, and the stream renamed.
    fn numbered(
        &self,
        line: &[u8],
        state: &State,
        scope: Option<usize>,
        read: RecordDigest,
        sent: RecordDigest,
    ) -> Result<Vec<u8>, JsonError> {
        let id = self.last_state_id.to_string();
        let mut changes: Vec<(&str, Option<&[u8]>)> = vec![("id", Some(id.as_bytes()))];
        let stats = state.source_stats.clone().unwrap_or_default();
        // The destination compares with what it gets, so the digest must be that of the kept fields.
        let digest = stats.digest.as_ref().map(|own| if read == sent { own.clone() } else { sent.hex() });
        let filled = StateStats { records: Some(sent.records()), digest, ..stats.clone() };
        let filled = (filled != stats).then(|| serde_json::to_vec(&filled).unwrap_or_default());
        if let Some(filled) = &filled {
            changes.push(("sourceStats", Some(filled)));
        }
        let mut out = edit::set_members(line, &["state"], &changes)?;
        if let Some(plan) = scope.map(|index| &self.streams[index].plan).filter(|p| p.source != p.target) {
            let (mut name, mut namespace) = (Vec::new(), Vec::new());
            json::write_str(&mut name, &plan.target.name);
            let namespace = plan.target.namespace.as_deref().map(|n| {
                json::write_str(&mut namespace, n);
                namespace.as_slice()
            });
            let path = ["state", "stream", "stream_descriptor"];
            out = edit::set_members(&out, &path, &[("name", Some(&name)), ("namespace", namespace)])?;
        }
        Ok(out)
    }
}
