//! What a sync did: the table at its end, and the same as JSON.

use protocol::{RecordDigest, StreamDescriptor};
use serde::{Serialize, Serializer};

use crate::error::Failure;
use crate::progress::{grouped, human_bytes};
use crate::receipts::Proof;
use crate::store::JobStatus;

/// A finished sync.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The sync file's name.
    pub connection: String,
    /// The job's number.
    pub job: i64,
    /// How it ended.
    pub status: JobStatus,
    /// How many attempts it took.
    pub attempts: u32,
    /// From start to end.
    pub seconds: f64,
    /// Each stream, in the catalog's order.
    pub streams: Vec<StreamReport>,
    /// What went wrong in the last attempt, most telling first.
    pub failures: Vec<Failure>,
    /// What should be mended although it worked.
    pub warnings: Vec<String>,
    /// The job's log.
    pub log: String,
}

/// One stream of a finished sync.
#[derive(Clone, Debug, Serialize)]
pub struct StreamReport {
    /// Its name at the source.
    pub stream: StreamDescriptor,
    /// Its name at the destination.
    pub target: StreamDescriptor,
    /// `complete` or `incomplete`.
    #[serde(serialize_with = "status_word", rename = "status")]
    pub complete: bool,
    /// Records read, those left out that an earlier attempt read in vain.
    pub read: u64,
    /// Records that the destination confirmed.
    pub committed: u64,
    /// Records that the destination refused.
    pub rejected: u64,
    /// Bytes of data read.
    pub bytes: u64,
    /// Bytes of data confirmed.
    #[serde(skip)]
    pub(crate) committed_bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// What its receipt proves.
    pub receipt: Receipt,
    /// The generation that its rows carry.
    pub generation_id: i64,
}

/// The proof that what was read has arrived.
#[derive(Clone, Debug, Serialize)]
pub struct Receipt {
    /// The weakest proof of its checkpoints; `None` when nothing was confirmed.
    pub proof: Option<Proof>,
    /// How many states were confirmed.
    pub checkpoints: u64,
    /// The digest of all records read: a sum, so it does not depend on their order.
    /// `None` when attempts overlap, so that no run of records is the whole.
    #[serde(serialize_with = "digest_hex")]
    pub digest: Option<RecordDigest>,
}

impl Default for Receipt {
    fn default() -> Self {
        Self { proof: None, checkpoints: 0, digest: Some(RecordDigest::default()) }
    }
}

fn status_word<S: Serializer>(complete: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *complete { "complete" } else { "incomplete" })
}

fn digest_hex<S: Serializer>(digest: &Option<RecordDigest>, serializer: S) -> Result<S::Ok, S::Error> {
    digest.map(|d| d.hex()).serialize(serializer)
}

impl Receipt {
    fn words(&self) -> String {
        let proof = match self.proof {
            None => return "none".to_owned(),
            Some(Proof::Echo) => "echo only",
            Some(Proof::Count) => "counts agree",
            Some(Proof::Digest) => "counts and digests agree",
        };
        format!("{proof} ({})", self.checkpoints)
    }
}

impl Report {
    /// The table, for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut rows = vec![vec![
            "stream".to_owned(),
            "status".into(),
            "read".into(),
            "committed".into(),
            "bytes".into(),
            "seconds".into(),
            "rows/s".into(),
            "receipt (checkpoints)".into(),
        ]];
        for s in &self.streams {
            let rate = if s.seconds > 0.0 { (s.read as f64 / s.seconds) as u64 } else { 0 };
            rows.push(vec![
                s.stream.to_string(),
                if s.complete { "complete" } else { "INCOMPLETE" }.to_owned(),
                grouped(s.read),
                grouped(s.committed),
                human_bytes(s.bytes),
                format!("{:.1}", s.seconds),
                grouped(rate),
                s.receipt.words(),
            ]);
        }
        let mut text = columns(&rows, &[2, 3, 4, 5, 6]);
        for s in self.streams.iter().filter(|s| s.rejected > 0) {
            text.push_str(&format!(
                "{}: the destination refused {} rows; see its log lines\n",
                s.stream, s.rejected
            ));
        }
        text.push('\n');
        text.push_str(&format!(
            "{}: job {} {} in {:.1} s, {} attempt{}, log {}\n",
            self.connection,
            self.job,
            self.status.word(),
            self.seconds,
            self.attempts,
            if self.attempts == 1 { "" } else { "s" },
            self.log
        ));
        text
    }

    /// The failures, for people: each once.
    #[must_use]
    pub fn problems(&self) -> String {
        let mut text = String::new();
        for (i, failure) in self.failures.iter().enumerate() {
            let line = format!("error: {failure}\n");
            if !self.failures[..i].iter().any(|f| f.to_string() == failure.to_string()) {
                text.push_str(&line);
                if let Some(detail) = &failure.detail {
                    detail.lines().for_each(|l| text.push_str(&format!("       {l}\n")));
                }
            }
        }
        text
    }
}

/// Lines up columns; those in `right` to the right.
#[must_use]
pub fn columns(rows: &[Vec<String>], right: &[usize]) -> String {
    let width = |column: usize| {
        rows.iter().filter_map(|r| r.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let gap = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
            if right.contains(&column) {
                line.push_str(&gap);
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.push_str(&gap);
            }
            line.push_str("  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::columns;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "10".into()], vec!["été".into(), "7".into()]];
        assert_eq!(columns(&rows, &[1]), "a    10\nété   7\n");
    }
}
