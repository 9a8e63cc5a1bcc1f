//! What is in the bucket: streamed page by page, and where an order is needed, sorted in
//! runs that are kept on disk, so that a million keys take no more memory than a thousand.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use connector_kit::{Error, Result, Stop};
use s3_kit::{Object, Store};

use crate::block_on::Asked;
use crate::globs::Globs;

/// Entries sorted in memory at a time.
const RUN: usize = 20_000;

/// A file to read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// Microseconds since 1970. First, because files are read in this order.
    pub(crate) modified: i64,
    pub(crate) key: String,
    pub(crate) size: u64,
    pub(crate) etag: String,
}

/// Objects that are none of a stream's files, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub(crate) empty: u64,
    pub(crate) archived: u64,
}

/// Calls `f` with each file that the globs match until it returns `false`, in the order of keys.
pub(crate) fn each(
    store: &Store,
    globs: &Globs,
    within: &str,
    stop: &Stop,
    mut f: impl FnMut(Object) -> Result<bool>,
) -> Result<Skipped> {
    let mut skipped = Skipped::default();
    for prefix in globs.prefixes(within) {
        let mut listing = store.list(&prefix, None);
        loop {
            if stop.requested() {
                return Err(Error::stopped());
            }
            let (page, rest) = Asked::send(async move {
                let page = listing.next_page().await;
                (page, listing)
            })
            .wait();
            listing = rest;
            let Some(page) = page? else { break };
            for object in page {
                // Consoles make such keys to show empty folders.
                if object.key.ends_with('/') || !globs.matches(&object.key) {
                    continue;
                }
                if object.size == 0 {
                    skipped.empty += 1;
                } else if is_archived(&object) {
                    skipped.archived += 1;
                } else if !f(object)? {
                    return Ok(skipped);
                }
            }
        }
    }
    Ok(skipped)
}

fn is_archived(object: &Object) -> bool {
    matches!(object.storage_class.as_deref(), Some("GLACIER" | "DEEP_ARCHIVE"))
}

/// Entries on their way into order.
#[derive(Debug, Default)]
pub(crate) struct Sorter {
    run: Vec<Entry>,
    runs: Vec<File>,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

impl Sorter {
    pub(crate) fn push(&mut self, entry: Entry) -> Result<()> {
        self.files += 1;
        self.bytes += entry.size;
        self.run.push(entry);
        if self.run.len() >= RUN { self.spill().map_err(disk) } else { Ok(()) }
    }

    fn spill(&mut self) -> io::Result<()> {
        self.run.sort_unstable();
        let mut file = tempfile::tempfile()?;
        let mut out = BufWriter::new(&mut file);
        for entry in self.run.drain(..) {
            write(&mut out, &entry)?;
        }
        out.flush()?;
        drop(out);
        file.seek(SeekFrom::Start(0))?;
        self.runs.push(file);
        Ok(())
    }

    /// The entries, oldest first, by key where the time is the same.
    pub(crate) fn sorted(mut self) -> Result<Sorted> {
        self.run.sort_unstable();
        self.run.reverse();
        let mut sorted = Sorted {
            runs: self.runs.into_iter().map(|f| BufReader::with_capacity(16 << 10, f)).collect(),
            heads: BinaryHeap::new(),
            last: self.run,
        };
        for n in 0..sorted.runs.len() {
            sorted.advance(n)?;
        }
        let memory = sorted.runs.len();
        if let Some(entry) = sorted.last.pop() {
            sorted.heads.push(Reverse((entry, memory)));
        }
        Ok(sorted)
    }
}

/// Runs being merged.
#[derive(Debug)]
pub(crate) struct Sorted {
    runs: Vec<BufReader<File>>,
    heads: BinaryHeap<Reverse<(Entry, usize)>>,
    /// The run that stayed in memory, its first entry last.
    last: Vec<Entry>,
}

impl Sorted {
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        let Some(Reverse((entry, run))) = self.heads.pop() else { return Ok(None) };
        if run < self.runs.len() {
            self.advance(run)?;
        } else if let Some(next) = self.last.pop() {
            self.heads.push(Reverse((next, run)));
        }
        Ok(Some(entry))
    }

    fn advance(&mut self, run: usize) -> Result<()> {
        if let Some(entry) = read(&mut self.runs[run]).map_err(disk)? {
            self.heads.push(Reverse((entry, run)));
        }
        Ok(())
    }
}

fn disk(e: io::Error) -> Error {
    Error::transient("The list of files cannot be kept on disk meanwhile; make room in the folder for temporary files (TMPDIR).")
        .with_source(e)
}

fn write(out: &mut impl Write, entry: &Entry) -> io::Result<()> {
    out.write_all(&entry.modified.to_le_bytes())?;
    out.write_all(&entry.size.to_le_bytes())?;
    for text in [&entry.key, &entry.etag] {
        let length = u32::try_from(text.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        out.write_all(&length.to_le_bytes())?;
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}

fn read(input: &mut impl Read) -> io::Result<Option<Entry>> {
    let mut head = [0; 16];
    match input.read_exact(&mut head) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let [a, b] = [0, 8].map(|at| head[at..].first_chunk::<8>().copied().unwrap_or_default());
    let mut text = || {
        let mut length = [0; 4];
        input.read_exact(&mut length)?;
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        input.read_exact(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
    };
    let (key, etag) = (text()?, text()?);
    Ok(Some(Entry { modified: i64::from_le_bytes(a), size: u64::from_le_bytes(b), key, etag }))
}

#[cfg(test)]
mod tests {
    use super::{Entry, RUN, Sorter};

    #[test]
    fn files_come_in_the_order_of_their_time_however_many_there_are() {
        let many = RUN * 3 + 77;
        let mut sorter = Sorter::default();
        for n in 0..many {
            // A walk through all residues: no order of its own.
            let modified = i64::try_from(n * 7_919 % many / 2).unwrap();
            sorter.push(Entry { modified, key: format!("k{n:06}é"), size: 1, etag: "\"e\"".into() }).unwrap();
        }
        assert_eq!((sorter.files, sorter.bytes), (many as u64, many as u64));
        let mut sorted = sorter.sorted().unwrap();
        let (mut count, mut last) = (0, None);
        while let Some(entry) = sorted.next().unwrap() {
            assert!(last.as_ref().is_none_or(|l| *l < entry), "{last:?} {entry:?}");
            count += 1;
            last = Some(entry);
        }
        assert_eq!(count, many);
    }
}
