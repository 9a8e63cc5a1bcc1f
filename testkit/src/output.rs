//! What a run of a connector gave back.

use std::collections::HashMap;
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use protocol::{
    Message, Record, RecordDigest, State, StreamDescriptor, StreamStatusKind, TraceError, TraceKind,
    parse_message,
};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    pub(crate) fn of(status: ExitStatus) -> Self {
        status.code().map_or_else(|| Self::Signal(status.signal().unwrap_or_default()), Self::Code)
    }
}

/// One line of stdout.
#[derive(Clone, Debug)]
pub struct Line {
    /// As it stood, without its newline.
    pub raw: Vec<u8>,
    /// What it says, or why it says nothing.
    pub message: Result<Message, String>,
}

/// What a run of a connector gave back.
#[derive(Debug)]
pub struct Output {
    shown: String,
    /// Its stdout, line by line.
    pub lines: Vec<Line>,
    /// Whether the last byte of stdout was a newline (or there was none).
    pub ends_on_a_whole_line: bool,
    /// Its stderr.
    pub stderr: String,
    /// How it ended.
    pub exit: Exit,
    /// The most memory it held, as sampled every 2 ms.
    pub peak_kib: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Output {
    pub(crate) fn new(
        shown: String,
        stdout: &[u8],
        stderr: String,
        exit: Exit,
        peak_kib: u64,
        elapsed: Duration,
    ) -> Self {
        let ends_on_a_whole_line = stdout.last().is_none_or(|b| *b == b'\n');
        let body = stdout.strip_suffix(b"\n").unwrap_or(stdout);
        let lines = body.split(|b| *b == b'\n').filter(|_| !stdout.is_empty());
        let lines = lines
            .map(|raw| Line { raw: raw.to_vec(), message: parse_message(raw).map_err(|e| e.to_string()) })
            .collect();
        Self { shown, lines, ends_on_a_whole_line, stderr, exit, peak_kib, elapsed }
    }

    /// Everything it said that is a message, in order.
    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        self.lines.iter().filter_map(|line| line.message.as_ref().ok())
    }

    /// The rows.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.messages().filter_map(|m| if let Message::Record(r) = m { Some(r) } else { None })
    }

    /// The states.
    pub fn states(&self) -> impl Iterator<Item = &State> {
        self.messages().filter_map(|m| if let Message::State(s) = m { Some(s) } else { None })
    }

    /// The lines of the states, as they stood.
    pub fn state_lines(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().filter(|l| matches!(l.message, Ok(Message::State(_)))).map(|l| l.raw.as_slice())
    }

    /// The errors it reported.
    pub fn errors(&self) -> impl Iterator<Item = &TraceError> {
        self.messages().filter_map(|m| match m {
            Message::Trace(trace) if trace.kind == TraceKind::Error => trace.error.as_ref(),
            _ => None,
        })
    }

    /// What it said about each stream, in order.
    pub fn statuses(&self) -> impl Iterator<Item = (&StreamDescriptor, StreamStatusKind)> {
        self.messages().filter_map(|m| match m {
            Message::Trace(trace) => trace.stream_status.as_ref().map(|s| (&s.stream_descriptor, s.status)),
            _ => None,
        })
    }

    /// The text of its LOG messages, one a line.
    #[must_use]
    pub fn log(&self) -> String {
        let texts = self
            .messages()
            .filter_map(|m| if let Message::Log(l) = m { Some(l.message.as_str()) } else { None });
        texts.collect::<Vec<_>>().join("\n")
    }

    /// Count and digest of each stream's rows, computed here from the bytes on the lines.
    #[must_use]
    pub fn digests(&self) -> HashMap<StreamDescriptor, RecordDigest> {
        let mut digests = HashMap::<_, RecordDigest>::new();
        for record in self.records() {
            digests.entry(descriptor(record)).or_default().add(record.data.get().as_bytes());
        }
        digests
    }

    /// As if the run had died right after the line of this index.
    #[must_use]
    pub fn cut_after(&self, index: usize) -> Self {
        Self {
            shown: self.shown.clone(),
            lines: self.lines[..=index].to_vec(),
            stderr: String::new(),
            ends_on_a_whole_line: true,
            ..*self
        }
    }

    /// Asserts that it ended well and returns itself.
    ///
    /// # Panics
    /// When it did not.
    pub fn succeeded(self) -> Self {
        assert!(self.exit == Exit::Code(0), "expected exit code 0: {self}");
        self.wrote_only_messages()
    }

    /// Asserts that it ended with exactly one error and code 1, and returns the error.
    ///
    /// # Panics
    /// When it did not.
    pub fn failed(&self) -> &TraceError {
        assert!(self.exit == Exit::Code(1), "expected exit code 1: {self}");
        let errors: Vec<_> = self.errors().collect();
        assert!(errors.len() == 1, "expected exactly one TRACE ERROR, found {}: {self}", errors.len());
        errors[0]
    }

    /// Asserts that stdout holds whole messages and nothing else, and stderr nothing.
    ///
    /// # Panics
    /// When it does.
    pub fn wrote_only_messages(self) -> Self {
        for (number, line) in (1..).zip(&self.lines) {
            assert!(line.message.is_ok(), "line {number} of stdout is not a message: {self}");
        }
        assert!(self.ends_on_a_whole_line, "stdout ends inside a line: {self}");
        assert!(self.stderr.is_empty(), "stderr is not empty: {self}");
        self
    }
}

/// Where a record belongs.
pub(crate) fn descriptor(record: &Record) -> StreamDescriptor {
    StreamDescriptor::new(record.namespace.as_deref(), &record.stream)
}

/// For the text of a failed assertion: the ends of everything.
impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "`{}` ended with {:?} after {:?}", self.shown, self.exit, self.elapsed)?;
        let shown = 12;
        if self.lines.len() > shown {
            writeln!(f, "stdout: {} lines, the last {shown}:", self.lines.len())?;
        }
        for line in &self.lines[self.lines.len().saturating_sub(shown)..] {
            let text = String::from_utf8_lossy(&line.raw);
            let cut: String = text.chars().take(600).collect();
            writeln!(f, "  {cut}")?;
            if let Err(reason) = &line.message {
                writeln!(f, "    ↑ {reason}")?;
            }
        }
        write!(f, "stderr: {}", self.stderr.chars().take(2000).collect::<String>())
    }
}
