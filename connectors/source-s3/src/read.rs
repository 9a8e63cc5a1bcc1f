//! A stream's new files, oldest first, each from its first row to its last.

use std::collections::{BTreeSet, VecDeque};
use std::error::Error as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use connector_kit::protocol::SyncMode;
use connector_kit::{Error, ErrorKind, Result, SelectedStream, Stop, StreamEmitter, tracing};
use files_kit::{DoesNotFit, Options};
use s3_kit::{Fault, Store};

use crate::block_on::Asked;
use crate::config::StreamConfig;
use crate::discover;
use crate::file::{Ahead, Failure, Reader};
use crate::globs::Globs;
use crate::history::{Cursor, History};
use crate::listing::{self, Entry, Sorter};

/// A state may be a megabyte: it is made at most once in this time.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// A file that is replaced while it is read is begun again so many times.
const MOST_VERSIONS: u32 = 5;
const SECOND: i64 = 1_000_000;
/// Files whose first bytes are asked for while the one before them is read.
const FILES_AHEAD: usize = 6;
/// Files that are named in the error at the end.
const NAMED: usize = 3;

/// What a stream is read with.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) store: &'a Store,
    pub(crate) config: &'a StreamConfig,
    pub(crate) options: &'a Options,
    /// Only files of this time or later.
    pub(crate) start: Option<i64>,
    pub(crate) stop: &'a Stop,
}

/// How a file ended.
enum Done {
    /// Read whole, in the version of this time.
    Read(i64),
    Gone,
    Bad(Error),
}

impl Job<'_> {
    pub(crate) fn run(
        &self,
        stream: &SelectedStream,
        resume: Option<Cursor>,
        out: &mut StreamEmitter<Cursor>,
    ) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
        let mut history = History::new(resume, self.config.days_to_sync_if_history_is_full, now)?;
        let sorter = self.list(&mut history)?;
        out.estimate(None, i64::try_from(sorter.bytes).ok())?;
        let mut files = sorter.sorted()?;
        let reader = Reader {
            store: self.store,
            format: &self.config.format,
            options: self.options,
            schemaless: self.config.schemaless,
        };
        let (mut gone, mut bad) = (0_u64, 0_u64);
        let mut faults: Vec<Error> = Vec::new();
        let mut said = Instant::now();
        let mut ahead = VecDeque::new();
        loop {
            while ahead.len() <= FILES_AHEAD
                && let Some(entry) = files.next()?
            {
                ahead.push_back(reader.ahead(entry));
            }
            let Some(file) = ahead.pop_front() else { break };
            let entry = file.entry.clone();
            let done = match self.file(&reader, file, stream, out) {
                Ok(done) => done,
                Err(error) => {
                    // What was read so far was read for good. Asked to stop, this says it, too.
                    let said = out.checkpoint_now(&history.cursor());
                    return Err(if error.kind() == ErrorKind::Stopped {
                        error
                    } else {
                        said.err().unwrap_or(error)
                    });
                }
            };
            match done {
                Done::Read(modified) => history.add(&entry.key, modified),
                Done::Gone => {
                    gone += 1;
                    history.forget(&entry.key);
                    tracing::warn!(
                        "{} was removed before it was read; it was left out.",
                        self.store.url(&entry.key)
                    );
                }
                Done::Bad(fault) => {
                    bad += 1;
                    history.fail(&entry.key, entry.modified);
                    tracing::error!("{fault} The other files are read.");
                    if faults.len() < NAMED {
                        faults.push(fault);
                    }
                }
            }
            if said.elapsed() >= CHECKPOINT_EVERY || self.stop.requested() {
                out.checkpoint(&history.cursor())?;
                said = Instant::now();
            }
        }
        if gone > 0 {
            tracing::warn!("{gone} files were removed before they were read.");
        }
        if bad == 0 && stream.sync_mode == SyncMode::FullRefresh {
            return out.checkpoint(&Cursor::complete());
        }
        if bad == 0 {
            return out.checkpoint(&history.cursor());
        }
        out.checkpoint_now(&history.cursor())?;
        Err(summary(bad, faults))
    }

    /// What there is to read.
    fn list(&self, history: &mut History) -> Result<Sorter> {
        let mut sorter = Sorter::default();
        let mut still_unread = BTreeSet::new();
        let (mut known, mut early) = (0_u64, 0_u64);
        let globs = Globs::new(&self.config.globs);
        let skipped =
            listing::each(self.store, &globs, discover::prefix(self.config), self.stop, |object| {
                if history.is_unread(&object.key) {
                    still_unread.insert(object.key.clone());
                }
                if self.start.is_some_and(|start| object.modified < start) {
                    early += 1;
                } else if history.wants(&object.key, object.modified) {
                    sorter.push(Entry::of(object))?;
                } else {
                    known += 1;
                }
                Ok(true)
            })?;
        history.keep_unread(&still_unread);
        tracing::info!(
            "Stream {}: {} files of {} bytes to read, {known} read before, {early} older than start_date.",
            self.config.name,
            sorter.files,
            sorter.bytes
        );
        if skipped.empty > 0 {
            tracing::warn!("{} empty objects were left out: they hold no records.", skipped.empty);
        }
        if skipped.archived > 0 {
            tracing::warn!(
                "{} objects were left out because they lie in an archive (Glacier); restore them to have them read.",
                skipped.archived
            );
        }
        Ok(sorter)
    }

    /// The file as it is now.
    fn look(&self, entry: &Entry) -> Result<Option<Entry>> {
        let (store, key) = (self.store.clone(), entry.key.clone());
        let head = Asked::send(async move { store.head(&key).await }).wait()?;
        // Listings tell the time more exactly than heads, which have whole seconds.
        let same = |head: &s3_kit::Head| head.modified / SECOND == entry.modified / SECOND;
        Ok(head.map(|head| Entry {
            modified: if same(&head) { entry.modified } else { head.modified },
            size: head.size,
            etag: head.etag,
            key: entry.key.clone(),
        }))
    }

    /// Reads one file, and what takes its place meanwhile.
    fn file(
        &self,
        reader: &Reader<'_>,
        mut file: Ahead,
        stream: &SelectedStream,
        out: &mut StreamEmitter<Cursor>,
    ) -> Result<Done> {
        if file.entry.etag.is_empty() {
            // Some stores leave it out of listings.
            match self.look(&file.entry)? {
                Some(known) => file = reader.ahead(known),
                None => return Ok(Done::Gone),
            }
        }
        let mut entry = file.entry.clone();
        for _ in 0..MOST_VERSIONS {
            let error = match reader.send(file, stream, out) {
                Ok(()) => return Ok(Done::Read(entry.modified)),
                Err(Failure::Content(e)) if e.source().is_some_and(|s| s.is::<DoesNotFit>()) => {
                    return Err(e);
                }
                Err(Failure::Content(e)) => return Ok(Done::Bad(e)),
                Err(Failure::Fatal(e)) => return Err(e),
                Err(Failure::Store(e)) => e,
            };
            match error.fault() {
                Fault::Missing => return Ok(Done::Gone),
                Fault::Archived => return Ok(Done::Bad(error.into())),
                Fault::Changed => {}
                Fault::Unsupported | Fault::Other => return Err(error.into()),
            }
            let Some(now) = self.look(&entry)? else { return Ok(Done::Gone) };
            tracing::warn!(
                "{} was replaced while it was read; the new version is read from its beginning. Rows of the old version may have been sent.",
                self.store.url(&entry.key)
            );
            entry = now.clone();
            file = reader.ahead(now);
        }
        Err(Error::transient(format!(
            "{} was replaced {MOST_VERSIONS} times while it was read; try again once its writer has finished.",
            self.store.url(&entry.key)
        )))
    }
}

fn summary(bad: u64, faults: Vec<Error>) -> Error {
    let named: Vec<String> = faults.iter().map(|e| e.message().trim_end_matches('.').to_owned()).collect();
    let more = if bad > faults.len() as u64 { ", and others that the log names" } else { "" };
    Error::config(format!(
        "{bad} files could not be read; all others were, and these are tried again in every sync: {}{more}. Mend or remove them, or leave them out in globs.",
        named.join("; ")
    ))
}
