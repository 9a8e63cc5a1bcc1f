//! The log of one job: masked, one file, capped.
//!
//! When the file is full it becomes `….1` and a new one begins, so the log holds the
//! newest lines and never more than twice the cap.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock;
use crate::masker::Masker;

/// One of a log's two files.
pub const LOG_CAP_BYTES: u64 = 32 << 20;

/// Longer lines are cut, and say so.
const LINE_CAP_BYTES: usize = 8 << 10;

/// How much of a line an error shows.
const EXCERPT_BYTES: usize = 500;

/// A handle to the log; clones write to the same file.
#[derive(Clone, Debug)]
pub struct JobLog {
    inner: Arc<Mutex<Inner>>,
    masker: Arc<Masker>,
}

#[derive(Debug)]
struct Inner {
    /// `None`: lines are masked and dropped (commands without a job).
    file: Option<BufWriter<File>>,
    path: PathBuf,
    written: u64,
    cap: u64,
}

impl JobLog {
    /// A log in a new file at `path`, readable by its owner only.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path, masker: Masker) -> io::Result<Self> {
        Self::with_cap(path, masker, LOG_CAP_BYTES)
    }

    /// A log with another cap.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn with_cap(path: &Path, masker: Masker, cap: u64) -> io::Result<Self> {
        let file = Some(open(path)?);
        let inner = Inner { file, path: path.to_owned(), written: 0, cap };
        Ok(Self { inner: Arc::new(Mutex::new(inner)), masker: Arc::new(masker) })
    }

    /// A log that keeps nothing.
    #[must_use]
    pub fn nowhere(masker: Masker) -> Self {
        let inner = Inner { file: None, path: PathBuf::new(), written: 0, cap: 0 };
        Self { inner: Arc::new(Mutex::new(inner)), masker: Arc::new(masker) }
    }

    /// Hides the secrets in `text`.
    #[must_use]
    pub fn mask(&self, text: &str) -> String {
        self.masker.mask(text)
    }

    /// The beginning of a text for an error or a log line, masked before it is cut, so that
    /// no half of a secret is left at the cut.
    #[must_use]
    pub fn excerpt(&self, text: &[u8]) -> String {
        let text = String::from_utf8_lossy(&text[..text.len().min(2 * LINE_CAP_BYTES)]);
        let mut masked = self.masker.mask(&text);
        masked.truncate(boundary(&masked, EXCERPT_BYTES));
        masked
    }

    /// Writes one line: time, who says it, and the text.
    pub fn line(&self, who: &str, text: &str) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.file.is_none() {
            return;
        }
        let mut text = self.masker.mask(text);
        if text.len() > LINE_CAP_BYTES {
            let cut = boundary(&text, LINE_CAP_BYTES);
            let rest = text.len() - cut;
            text.truncate(cut);
            text.push_str(&format!(" … ({rest} bytes more)"));
        }
        let line = format!("{} {who}: {}\n", clock::utc(clock::now_ms()), text.replace('\n', "\n    "));
        inner.write(line.as_bytes());
    }

    /// Puts what is buffered into the file.
    pub fn flush(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &mut inner.file {
            // A log that cannot be written must not stop the sync.
            let _ = file.flush();
        }
    }
}

impl Inner {
    fn write(&mut self, line: &[u8]) {
        if self.written + line.len() as u64 > self.cap {
            if let Some(file) = &mut self.file {
                let _ = file.flush();
            }
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            if std::fs::rename(&self.path, old).is_ok()
                && let Ok(file) = open(&self.path)
            {
                self.file = Some(file);
                self.written = 0;
            } else {
                return;
            }
        }
        if let Some(file) = &mut self.file {
            let _ = file.write_all(line);
            self.written += line.len() as u64;
        }
    }
}

/// The last place at or before `at` where a text may be cut.
fn boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn open(path: &Path) -> io::Result<BufWriter<File>> {
    let file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    Ok(BufWriter::with_capacity(16 << 10, file))
}

/// How many of the last lines on stderr are kept for an error's detail.
const TAIL_LINES: usize = 12;

/// Reads a stderr to its end into the log; lines are cut, never collected. Returns the
/// last lines, masked.
pub fn drain(mut input: impl Read, who: &str, log: &JobLog) -> String {
    let mut tail: VecDeque<String> = VecDeque::new();
    let mut line: Vec<u8> = Vec::new();
    let mut chunk = [0_u8; 8 << 10];
    let mut end_line = |line: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        if !text.is_empty() {
            log.line(who, text);
            if tail.len() == TAIL_LINES {
                tail.pop_front();
            }
            tail.push_back(log.excerpt(text.as_bytes()));
        }
        line.clear();
    };
    loop {
        let n = match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for part in chunk[..n].split_inclusive(|b| *b == b'\n') {
            let room = (LINE_CAP_BYTES * 2).saturating_sub(line.len());
            line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                end_line(&mut line);
            }
        }
    }
    end_line(&mut line);
    log.flush();
    tail.into_iter().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::{JobLog, drain};
    use crate::masker::Masker;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn masks_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        let log = JobLog::create(&path, Masker::new(["hunter2"])).unwrap();
        assert_eq!(drain(&b"a hunter2\nlast"[..], "source", &log), "a ****\nlast");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("source: a ****\n") && text.contains("source: last\n"), "{text}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_flood_of_lines_keeps_the_newest_within_the_cap() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        let log = JobLog::with_cap(&path, Masker::default(), 4096).unwrap();
        (0..1000).for_each(|i| log.line("source", &format!("line {i}")));
        log.line("source", &"x".repeat(20_000));
        log.line("source", "the end");
        log.flush();
        let sizes: u64 =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(sizes < 8192 + 9000, "{sizes}");
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("the end\n"));
    }

    #[test]
    fn a_secret_at_the_cut_leaves_no_half() {
        let log = JobLog::nowhere(Masker::new(["hunter2hunter2"]));
        for lead in 480..500 {
            let text = "x".repeat(lead) + "hunter2hunter2";
            assert!(!log.excerpt(text.as_bytes()).contains("hun"), "{lead}");
        }
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let log = JobLog::nowhere(Masker::default());
        let tail = drain(std::io::Read::take(std::io::repeat(b'x'), 1 << 22), "source", &log);
        assert_eq!(tail.len(), 500);
    }
}
