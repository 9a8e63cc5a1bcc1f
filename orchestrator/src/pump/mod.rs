//! The hot path: lines from the source, in blocks, to the destination.
//!
//! A record that needs no change is never copied: neighbouring ones go out in one
//! write. Every record's `data` is counted and digested on the way; the digests are the
//! pump's part of a receipt. Only RECORD and STATE pass; what else the source says goes
//! to the [`Observer`]. Processes, threads and time-outs live elsewhere: the pump works
//! over any `Read` and `Write`.

mod splice;
mod state_line;

use std::collections::HashSet;
use std::io::{self, Read, Write};

use protocol::{
    LineError, LineReader, Message, RecordDigest, RecordScanner, Scanned, ScannedRecord, StreamDescriptor,
    parse_message,
};

use crate::error::{Failure, Origin};
use crate::receipts::Expected;
use splice::Splice;

/// What the pump does to one stream.
#[derive(Clone, Debug)]
pub struct StreamPlan {
    /// The name in the source's lines.
    pub source: StreamDescriptor,
    /// The name that the destination sees.
    pub target: StreamDescriptor,
    /// Top-level fields to keep; `None` keeps all.
    pub fields: Option<HashSet<String>>,
}

/// What was counted of one stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Records as the source wrote them.
    pub read: RecordDigest,
    /// Records as the destination gets them; equal to `read` without a field selection.
    pub sent: RecordDigest,
    /// Bytes of `data` read.
    pub bytes: u64,
    /// `read` and `sent` at the stream's last state.
    pub(crate) at_state: (RecordDigest, RecordDigest),
    /// Whether the source sent a state that covers this stream.
    pub had_state: bool,
}

/// What the pump tells while it runs.
pub trait Observer {
    /// A state is about to be sent; its echo must match.
    fn expect(&mut self, expected: Expected);
    /// The source said something that does not travel: LOG, TRACE, CONTROL, an unknown kind.
    fn message(&mut self, message: Message);
    /// A line that is no message.
    fn noise(&mut self, line: u64, text: &[u8], why: &str);
    /// Called after each block.
    fn progress(&mut self, tallies: &[Tally]);
}

/// Why the pump stopped before the source's end.
#[derive(Debug)]
pub enum Stop {
    /// The source broke a rule or could not be read.
    Source(Box<Failure>),
    /// The destination takes no more.
    Destination(io::Error),
}

/// See the module text.
#[derive(Debug)]
pub struct Pump<W, O> {
    out: W,
    observer: O,
    scanner: RecordScanner,
    streams: Vec<Stream>,
    tallies: Vec<Tally>,
    last_state_id: i64,
    /// Lines that were changed, waiting for the end of their block.
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    line: u64,
}

#[derive(Debug)]
struct Stream {
    plan: StreamPlan,
    /// `None`: lines pass unchanged.
    splice: Option<Splice>,
}

impl<W: Write, O: Observer> Pump<W, O> {
    /// A pump for these streams, and no others.
    pub fn new(plans: Vec<StreamPlan>, out: W, observer: O) -> Self {
        let mut scanner = RecordScanner::new();
        for plan in &plans {
            scanner.intern(plan.source.namespace.as_deref(), &plan.source.name);
        }
        let tallies = vec![Tally::default(); plans.len()];
        let streams = plans.into_iter().map(|plan| Stream { splice: Splice::of(&plan), plan }).collect();
        Self {
            out,
            observer,
            scanner,
            streams,
            tallies,
            last_state_id: 0,
            buffer: Vec::new(),
            scratch: Vec::new(),
            line: 0,
        }
    }

    /// Sends lines of ferry's own ahead of the source's.
    ///
    /// # Errors
    /// When the destination takes none.
    pub fn greet(&mut self, lines: &[u8]) -> Result<(), Stop> {
        self.out.write_all(lines).map_err(Stop::Destination)
    }

    /// Moves everything up to the source's end.
    ///
    /// # Errors
    /// See [`Stop`]. What was read before the fault has been sent.
    pub fn run<R: Read>(&mut self, reader: &mut LineReader<R>) -> Result<(), Stop> {
        loop {
            match reader.next_block() {
                Ok(Some(block)) => {
                    let result = self.block(block);
                    self.observer.progress(&self.tallies);
                    result?;
                }
                Ok(None) => return Ok(()),
                Err(LineError::TooLong { line, cap }) => {
                    return Err(fatal(format!(
                        "line {line} of its output is longer than {} MiB; a record that large cannot be synced, leave its largest field out",
                        cap >> 20
                    )));
                }
                Err(error @ LineError::Io { .. }) => {
                    let failure = Failure::passing(Origin::Source, "its output cannot be read any further");
                    return Err(Stop::Source(Box::new(failure.because(crate::error::chain(&error)))));
                }
            }
        }
    }

    /// What was counted so far, stream by stream in the order of the plans.
    pub fn tallies(&self) -> &[Tally] {
        &self.tallies
    }

    /// The number of the last state that was sent.
    pub fn last_state_id(&self) -> i64 {
        self.last_state_id
    }

    /// Gives the output back.
    pub fn into_output(self) -> (W, O, Vec<Tally>) {
        (self.out, self.observer, self.tallies)
    }

    fn block(&mut self, block: &[u8]) -> Result<(), Stop> {
        // One pass for the whole block; only when it fails is the line looked for.
        let all_utf8 = std::str::from_utf8(block).is_ok();
        let (mut at, mut run) = (0, 0);
        let mut outcome = Ok(());
        while at < block.len() {
            let newline = memchr::memchr(b'\n', &block[at..]).map(|n| at + n);
            let (end, next) = newline.map_or((block.len(), block.len()), |n| (n, n + 1));
            let line = &block[at..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            self.line += 1;
            let scanned = self.scanner.scan(line);
            let unchanged = match &scanned {
                Ok(Scanned::Record(record)) if all_utf8 || std::str::from_utf8(line).is_ok() => {
                    match self.count(line, record) {
                        Ok(unchanged) => unchanged,
                        Err(stop) => {
                            outcome = Err(stop);
                            self.pass(&block[run..at])?;
                            run = block.len();
                            break;
                        }
                    }
                }
                _ => false,
            };
            if !unchanged {
                self.pass(&block[run..at])?;
                run = next;
                let result = match scanned {
                    Ok(Scanned::Record(record)) => match std::str::from_utf8(line) {
                        _ if all_utf8 => self.splice(line, &record),
                        Ok(_) => self.splice(line, &record),
                        Err(e) => Err(self.not_utf8(&record, e.valid_up_to())),
                    },
                    Ok(Scanned::Other(kind)) => self.other(line, &kind),
                    Err(error) => self.unreadable(line, newline.is_some(), &error.to_string()),
                };
                if result.is_err() {
                    // Nothing after the fault travels.
                    outcome = result;
                    run = block.len();
                    break;
                }
            }
            at = next;
        }
        self.pass(&block[run..])?;
        if run < block.len() && !block.ends_with(b"\n") {
            self.pass(b"\n")?;
        }
        self.flush_buffer()?;
        outcome
    }

    /// Counts a record. Says whether its line passes as it is.
    #[inline]
    fn count(&mut self, line: &[u8], record: &ScannedRecord) -> Result<bool, Stop> {
        let index = record.stream.index();
        let Some(tally) = self.tallies.get_mut(index) else {
            let (namespace, name) = self.scanner.descriptor(record.stream);
            let stream = StreamDescriptor::new(namespace, name);
            return Err(fatal(format!(
                "line {} is a record of stream {stream}, which was not asked for; nothing can be done with it",
                self.line
            )));
        };
        let data = &line[record.data.clone()];
        tally.read.add(data);
        tally.bytes += data.len() as u64;
        let stream = &self.streams[index];
        if stream.splice.is_none() {
            tally.sent = tally.read;
            return Ok(true);
        }
        Ok(false)
    }

    #[cold]
    fn not_utf8(&self, record: &ScannedRecord, byte: usize) -> Stop {
        let (namespace, name) = self.scanner.descriptor(record.stream);
        let stream = StreamDescriptor::new(namespace, name);
        Stop::Source(Box::new(
            Failure::fatal(
                Origin::Source,
                format!(
                    "line {}, a record of stream {stream}, is not UTF-8 at byte {byte}; check the encoding that the source reads its data in",
                    self.line
                ),
            )
            .on(&stream),
        ))
    }

    fn splice(&mut self, line: &[u8], record: &ScannedRecord) -> Result<(), Stop> {
        let index = record.stream.index();
        let Some(splice) = &mut self.streams[index].splice else { return Ok(()) };
        let before = self.buffer.len();
        let data = splice.write(line, record, &mut self.buffer, &mut self.scratch);
        match data {
            Ok(extent) => {
                let tally = &mut self.tallies[index];
                tally.sent.add(&self.buffer[extent]);
            }
            Err(error) => {
                self.buffer.truncate(before);
                let stream = &self.streams[index].plan.source;
                return Err(Stop::Source(Box::new(
                    Failure::fatal(
                        Origin::Source,
                        format!("line {} is a record of stream {stream} that is not valid JSON", self.line),
                    )
                    .on(stream)
                    .because(error.to_string()),
                )));
            }
        }
        if self.buffer.len() >= 256 << 10 { self.flush_buffer() } else { Ok(()) }
    }

    fn other(&mut self, line: &[u8], kind: &str) -> Result<(), Stop> {
        match kind {
            "STATE" => self.state(line),
            _ => {
                match parse_message(line) {
                    Ok(message) => self.observer.message(message),
                    Err(error) => self.observer.noise(self.line, line, &error.to_string()),
                }
                Ok(())
            }
        }
    }

    #[cold]
    fn unreadable(&mut self, line: &[u8], whole: bool, why: &str) -> Result<(), Stop> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let has = |needle: &[u8]| memchr::memmem::find(line, needle).is_some();
        if !whole && line.trim_ascii_start().starts_with(b"{") {
            // Its exit code says why; another attempt starts it afresh.
            let text = format!(
                "its output ends in the middle of line {}; it stopped while it was writing",
                self.line
            );
            return Err(Stop::Source(Box::new(Failure::passing(Origin::Source, text).because(why))));
        }
        for kind in ["RECORD", "STATE"] {
            if has(format!("\"{kind}\"").as_bytes()) {
                return Err(Stop::Source(Box::new(
                    Failure::fatal(
                        Origin::Source,
                        format!(
                            "line {} looks like a {kind} but cannot be read; dropping it could lose data, so the sync stops",
                            self.line
                        ),
                    )
                    .because(why),
                )));
            }
        }
        self.observer.noise(self.line, line, why);
        Ok(())
    }

    /// Sends bytes as they are, after what is buffered.
    fn pass(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        if bytes.is_empty() {
            return Ok(());
        }
        if !self.buffer.is_empty() && bytes.len() < 16 << 10 {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.flush_buffer()?;
        self.out.write_all(bytes).map_err(Stop::Destination)
    }

    fn flush_buffer(&mut self) -> Result<(), Stop> {
        if !self.buffer.is_empty() {
            self.out.write_all(&self.buffer).map_err(Stop::Destination)?;
            self.buffer.clear();
            if self.buffer.capacity() > 1 << 20 {
                // One long record must not raise the memory of the rest of the run.
                self.buffer = Vec::new();
            }
        }
        Ok(())
    }
}

fn fatal(message: String) -> Stop {
    Stop::Source(Box::new(Failure::fatal(Origin::Source, message)))
}

#[cfg(test)]
mod tests;
