//! Live numbers: counted by the pump, confirmed by the destination, shown as bars on a
//! terminal and as plain lines elsewhere. Always on stderr.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use protocol::{Estimate, StreamDescriptor};

/// One stream's live numbers.
#[derive(Debug, Default)]
pub struct Live {
    /// Records read.
    pub records: AtomicU64,
    /// Bytes of their data.
    pub bytes: AtomicU64,
    /// The source's estimate of all records; 0 when unknown.
    pub expected_records: AtomicU64,
    /// The source's estimate of all bytes; 0 when unknown.
    pub expected_bytes: AtomicU64,
}

impl Live {
    /// Takes an estimate.
    pub fn estimate(&self, estimate: &Estimate) {
        let positive = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
        if let Some(rows) = positive(estimate.row_estimate) {
            self.expected_records.store(rows, Ordering::Relaxed);
        }
        if let Some(bytes) = positive(estimate.byte_estimate) {
            self.expected_bytes.store(bytes, Ordering::Relaxed);
        }
    }
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Bars if stderr is a terminal, lines if not.
    Auto,
    /// Nothing.
    Quiet,
}

/// More bars than this would scroll; the rest share one.
const BARS: usize = 16;

/// Between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows live numbers.
#[derive(Debug)]
pub struct Progress {
    bars: Option<(MultiProgress, Vec<ProgressBar>)>,
    lines: bool,
    names: Vec<String>,
    started: Instant,
    last_line: Mutex<Instant>,
}

impl Progress {
    /// Begins to show the streams of an attempt.
    #[must_use]
    pub fn start(streams: &[StreamDescriptor], style: Style) -> Self {
        let names: Vec<String> = streams.iter().map(ToString::to_string).collect();
        let terminal = style == Style::Auto && std::io::stderr().is_terminal();
        let bars = terminal.then(|| {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
            let width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0).clamp(6, 32);
            let style = ProgressStyle::with_template(&format!("{{prefix:{width}!}}  {{msg}}"))
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let shown = names.len().min(BARS) + usize::from(names.len() > BARS);
            let bars = (0..shown)
                .map(|i| {
                    let bar = all.add(ProgressBar::new(0).with_style(style.clone()));
                    bar.set_prefix(if i < BARS {
                        names[i].clone()
                    } else {
                        format!("{} more", names.len() - BARS)
                    });
                    bar
                })
                .collect();
            (all, bars)
        });
        let now = Instant::now();
        Self {
            bars,
            lines: style == Style::Auto && !terminal,
            names,
            started: now,
            last_line: Mutex::new(now),
        }
    }

    /// Shows the numbers as they are now.
    pub fn show(&self, live: &[Live]) {
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        if let Some((_, bars)) = &self.bars {
            for (i, bar) in bars.iter().enumerate() {
                let part = if i < BARS { &live[i..=i] } else { &live[BARS..] };
                let sum = |f: fn(&Live) -> &AtomicU64| {
                    part.iter().map(|l| f(l).load(Ordering::Relaxed)).sum::<u64>()
                };
                let (records, bytes) = (sum(|l| &l.records), sum(|l| &l.bytes));
                let (rows, all_bytes) = (sum(|l| &l.expected_records), sum(|l| &l.expected_bytes));
                let (done, all) = if rows > 0 { (records, rows) } else { (bytes, all_bytes) };
                bar.set_message(format!(
                    "{}{}",
                    gauge(done, all),
                    summary(records, bytes, seconds, done, all)
                ));
                bar.tick();
            }
        }
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if self.lines && last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            for (name, live) in self.names.iter().zip(live) {
                let (records, bytes) =
                    (live.records.load(Ordering::Relaxed), live.bytes.load(Ordering::Relaxed));
                if records > 0 {
                    let all = live.expected_records.load(Ordering::Relaxed);
                    say(&format!("{name}: {}", summary(records, bytes, seconds, records, all)));
                }
            }
        }
    }

    /// Takes the bars away.
    pub fn finish(&self) {
        if let Some((all, bars)) = &self.bars {
            bars.iter().for_each(ProgressBar::finish_and_clear);
            let _ = all.clear();
        }
    }
}

/// One line to the person at the terminal.
#[allow(clippy::print_stderr, reason = "the command line's own voice")]
pub fn say(text: &str) {
    eprintln!("{text}");
}

/// A bar of how much is done, where it is known how much there is.
fn gauge(done: u64, all: u64) -> String {
    const WIDTH: u64 = 20;
    if all == 0 {
        return String::new();
    }
    let full = (u128::from(done.min(all)) * u128::from(WIDTH) / u128::from(all)) as usize;
    let percent = u128::from(done.min(all)) * 100 / u128::from(all);
    format!("{}{} {percent:3} %  ", "█".repeat(full), "░".repeat(WIDTH as usize - full))
}

fn summary(records: u64, bytes: u64, seconds: f64, done: u64, all: u64) -> String {
    let rate = records as f64 / seconds;
    let mut text = format!(
        "{} rows, {}, {} rows/s, {}",
        grouped(records),
        human_bytes(bytes),
        grouped(rate as u64),
        clock(seconds)
    );
    if all > done && done > 0 {
        let left = seconds * (all - done) as f64 / done as f64;
        text.push_str(&format!(", about {} left", clock(left)));
    }
    text
}

/// `1,234,567`.
#[must_use]
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `12.3 MB`.
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

fn clock(seconds: f64) -> String {
    let s = seconds as u64;
    if s >= 3600 {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    } else {
        format!("{}:{:02}", s / 60, s % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::{gauge, grouped, human_bytes, summary};

    #[test]
    fn a_bar_is_full_only_at_the_end_and_absent_without_an_estimate() {
        assert_eq!(gauge(50, 0), "");
        assert_eq!(gauge(50, 100), "██████████░░░░░░░░░░  50 %  ");
        assert_eq!(gauge(120, 100), "████████████████████ 100 %  ");
        assert!(gauge(99, 100).contains('░'));
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!((grouped(7).as_str(), grouped(1_234_567).as_str()), ("7", "1,234,567"));
        assert_eq!((human_bytes(999).as_str(), human_bytes(590_000_000).as_str()), ("999 B", "590.0 MB"));
        assert_eq!(summary(500, 2000, 10.0, 500, 1500), "500 rows, 2.0 kB, 50 rows/s, 0:10, about 0:20 left");
    }
}
