//! Writes one stream: rows into hidden files, files into the stream's list, the list into view.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use columnar::{Budget, Layout};
use connector_kit::protocol::DestinationSyncMode;
use connector_kit::{Error, Outcome, RecordBatch, Result, RowDecoder, SelectedStream, Stamp, StreamWriter};

use crate::dir::Dir;
use crate::encode::{FileWriter, Keys, Style};
use crate::error::{columnar_error, io_error};
use crate::keys::{KeyTaker, KeyWriter, key_spec};
use crate::manifest::{DataFile, KeySpec, TEMP};
use crate::merge::{Keyed, merge};
use crate::place::{Place, Plan};

/// Writes one stream.
#[derive(Debug)]
pub(crate) struct LocalWriter {
    place: Place,
    style: Style,
    layout: Arc<Layout>,
    decoder: RowDecoder,
    budget: Arc<Budget>,
    max_bytes: u64,
    stamp: Option<Stamp>,
    /// Tells this run's files from those of any other.
    run: u32,
    sync_id: Option<i64>,
    generation: i64,
    /// The staged rows are of use to the next attempt.
    resumable: bool,
    keys: Option<(KeySpec, KeyTaker)>,
    open: Option<OpenFile>,
    /// Whole and durable, but not yet in the list.
    finished: Vec<DataFile>,
}

#[derive(Debug)]
struct OpenFile {
    name: String,
    dir: Dir,
    writer: FileWriter,
    keys: Option<KeyWriter>,
}

impl LocalWriter {
    pub(crate) fn new(
        root: &Dir,
        stream: &SelectedStream,
        style: &Style,
        budget: &Arc<Budget>,
        max_bytes: u64,
    ) -> Result<Self> {
        let layout = Layout::new(&stream.columns)
            .map_err(|e| Error::config(format!("Stream {}: {e}.", stream.descriptor)))?;
        let dedup = stream.destination_sync_mode == DestinationSyncMode::AppendDedup;
        let spec = dedup.then(|| key_spec(stream));
        let place = Place::open(root, stream, spec.as_ref())?;
        Ok(Self {
            decoder: RowDecoder::new(layout.names()),
            layout: Arc::new(layout),
            style: style.clone(),
            budget: Arc::clone(budget),
            max_bytes,
            stamp: Some(Stamp::new(stream.sync_id, stream.generation.map(|g| g.id))),
            run: run_tag(),
            sync_id: stream.sync_id,
            generation: stream.generation.map_or(0, |g| g.id),
            resumable: stream.destination_sync_mode != DestinationSyncMode::Overwrite,
            keys: spec.map(|spec| (spec.clone(), KeyTaker::new(stream, &spec))),
            place,
            open: None,
            finished: Vec::new(),
        })
    }

    fn open_file(&mut self) -> Result<()> {
        if self.open.is_some() {
            return Ok(());
        }
        let name = self.place.next_name(self.run, self.style.extension())?;
        let dir = self.place.target()?.0.clone();
        let keys = match &self.keys {
            Some((spec, _)) => {
                let file = dir.create(&format!("{TEMP}{}", spec.file_name(&name)))?;
                Some(KeyWriter::new(file).map_err(|e| io_error("write to", &dir.join(&name), e))?)
            }
            None => None,
        };
        let file = dir.create(&format!("{TEMP}{name}"))?;
        let stamp = self.stamp.take().ok_or_else(|| Error::system("A file was begun after an error."))?;
        let writer = FileWriter::new(&self.style, file, &self.layout, stamp, &self.budget)
            .map_err(|e| io_error("write to", &dir.join(&name), e))?;
        self.open = Some(OpenFile { name, dir, writer, keys });
        Ok(())
    }

    /// Ends the open file and makes it durable, still hidden.
    fn close_file(&mut self) -> Result<()> {
        let Some(OpenFile { name, dir, writer, keys }) = self.open.take() else { return Ok(()) };
        let file = DataFile {
            name,
            rows: 0,
            bytes: 0,
            generation: self.generation,
            sync_id: self.sync_id,
            key: self.keys.as_ref().map(|(spec, _)| spec.clone()),
            merged: false,
        };
        let path = dir.join(&file.name);
        // Listed first, so that it is removed when closing fails.
        self.finished.push(file);
        let (handle, rows, stamp) = writer.close().map_err(|e| columnar_error(&path, e))?;
        let durable = handle.sync_all().and_then(|()| handle.metadata()).map(|m| m.len());
        let bytes = durable.map_err(|e| io_error("write to", &path, e))?;
        if let Some(keys) = keys {
            keys.close().map_err(|e| io_error("write to", &path, e))?;
        }
        if let Some(file) = self.finished.last_mut() {
            (file.rows, file.bytes) = (rows, bytes);
        }
        self.stamp = Some(stamp);
        Ok(())
    }

    /// Puts the finished files into the list and gives them their names.
    fn publish_finished(&mut self) -> Result<()> {
        self.close_file()?;
        if self.finished.is_empty() {
            return Ok(());
        }
        let generation = self.generation;
        let (dir, manifest) = self.place.target()?;
        let dir = dir.clone();
        // Listed before they are named: a crash between leaves names that the next run drops,
        // never a file that nobody knows.
        let mut listed = manifest.clone();
        listed.files.extend(self.finished.iter().cloned());
        listed.generation = generation;
        listed.store(&dir)?;
        *manifest = listed;
        for file in std::mem::take(&mut self.finished) {
            for name in file.names() {
                dir.rename(&format!("{TEMP}{name}"), &name)?;
            }
        }
        dir.sync()
    }

    /// A file without rows, so that an empty stream can be read.
    fn write_empty(&mut self) -> Result<()> {
        self.open_file()?;
        self.publish_finished()
    }

    fn complete(&mut self) -> Result<()> {
        self.publish_finished()?;
        if self.place.plan == Plan::Direct {
            return if self.place.live_manifest.files.is_empty() { self.write_empty() } else { Ok(()) };
        }
        let kept: Vec<DataFile> = self.place.kept().into_iter().cloned().collect();
        let dropped = self.place.live_manifest.files.len() - kept.len();
        if self.place.staging.is_none()
            && dropped == 0
            && kept.iter().any(|f| f.rows > 0)
            && self.all_merged(&kept)
        {
            return Ok(());
        }
        let staged = self.place.target()?.1.files.clone();
        let mut files = match &mut self.keys {
            Some((spec, taker)) => {
                let keyed = Keyed { spec, taker, decoder: &mut self.decoder, layout: &self.layout };
                merge(&mut self.place, keyed, kept, staged, self.run, &self.style)?
            }
            None => [kept, staged].concat(),
        };
        files.retain(|f| f.rows > 0);
        if files.is_empty() {
            self.write_empty()?;
            files.extend(self.place.target()?.1.files.last().cloned());
        }
        self.place.publish(files)
    }

    fn all_merged(&self, files: &[DataFile]) -> bool {
        self.keys
            .as_ref()
            .is_none_or(|(spec, _)| files.iter().all(|f| f.merged && f.key.as_ref() == Some(spec)))
    }

    /// Removes what was not listed; keeps staged rows only where the next attempt can use them.
    fn give_up(&mut self) -> Result<()> {
        let open = self.open.take().map(|open| open.name);
        let names: Vec<String> = self.finished.drain(..).map(|f| f.name).chain(open).collect();
        if !names.is_empty() {
            let dir = self.place.target()?.0.clone();
            for name in names {
                dir.remove(&format!("{TEMP}{name}"))?;
                if let Some((spec, _)) = &self.keys {
                    dir.remove(&format!("{TEMP}{}", spec.file_name(&name)))?;
                }
            }
        }
        match self.place.staging.take() {
            Some((dir, manifest)) if !self.resumable || manifest.files.is_empty() => self.place.discard(&dir),
            _ => Ok(()),
        }
    }
}

fn run_tag() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    xxhash_rust::xxh3::xxh3_64(format!("{now} {}", std::process::id()).as_bytes()) as u32
}

impl StreamWriter for LocalWriter {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.open_file()?;
        let Some(OpenFile { name, dir, writer, keys }) = &mut self.open else { return Ok(()) };
        let keys = match (&mut self.keys, keys) {
            (Some((_, taker)), Some(out)) => Some(Keys { taker, out }),
            _ => None,
        };
        writer.write(batch, &mut self.decoder, keys).map_err(|e| columnar_error(&dir.join(name), e))?;
        if writer.size() >= self.max_bytes { self.close_file() } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<()> {
        self.publish_finished()
    }

    async fn finish(mut self, outcome: Outcome) -> Result<()> {
        match outcome {
            Outcome::Complete => {
                self.complete()?;
                // Published: whatever is staged from here on is another run's.
                self.place.staging = None;
                Ok(())
            }
            Outcome::Incomplete => self.give_up(),
        }
    }
}

/// However a run ends, it leaves nothing half written.
impl Drop for LocalWriter {
    fn drop(&mut self) {
        // The error that ended the run is the one to tell.
        let _ = self.give_up();
    }
}
