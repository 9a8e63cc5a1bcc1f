//! Where one stream lives: its published directory, the hidden one beside it in which the
//! next state is prepared, and the lock that keeps a second writer out.
//!
//! ```text
//! <destination_path>/<namespace>/<stream>/            files, .ferry-manifest.json
//! <destination_path>/<namespace>/.ferry/<stream>.lock
//! <destination_path>/<namespace>/.ferry/<stream>.staging/   the same shape, not yet published
//! ```

use std::fs::File;
use std::io::{Read, Seek, Write};

use connector_kit::protocol::DestinationSyncMode;
use connector_kit::tracing;
use connector_kit::{Error, Result, SelectedStream};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::dir::Dir;
use crate::error::io_error;
use crate::manifest::{DataFile, KeySpec, MANIFEST, Manifest, TEMP};
use columnar::encode_name as encode;

const HIDDEN: &str = ".ferry";

/// How a run's rows become visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// With each flush.
    Direct,
    /// All at once at the end, together with the published files of this generation or
    /// later; with none of them when it is `None`.
    Staged { keep_from: Option<i64> },
}

/// One stream's directories.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) parent: Dir,
    pub(crate) hidden: Dir,
    /// The stream's name as a directory's name.
    pub(crate) name: String,
    pub(crate) live: Dir,
    pub(crate) live_manifest: Manifest,
    pub(crate) staging: Option<(Dir, Manifest)>,
    pub(crate) plan: Plan,
    generation: i64,
    _lock: File,
}

impl Place {
    /// Opens a stream's directories, finishes what a crash left half done, and decides how
    /// this run publishes.
    pub(crate) fn open(root: &Dir, stream: &SelectedStream, key: Option<&KeySpec>) -> Result<Self> {
        let name = encode(&stream.descriptor.name);
        let parent = match &stream.descriptor.namespace {
            Some(namespace) => {
                let parent = root.child(&encode(namespace))?;
                if parent.has(MANIFEST) {
                    return Err(both_kinds(namespace));
                }
                parent
            }
            None => root.clone(),
        };
        let hidden = parent.child(HIDDEN)?;
        let lock = lock(&hidden, &name, stream)?;
        let blank = Manifest {
            version: 1,
            stream: stream.descriptor.name.clone(),
            namespace: stream.descriptor.namespace.clone(),
            ..Manifest::default()
        };
        let (live, live_manifest) = open_live(&parent, &hidden, &name, &blank)?;
        if live.has(HIDDEN) {
            return Err(both_kinds(&stream.descriptor.name));
        }
        let generation = stream.generation.map_or(0, |g| g.id);
        let plan = Plan::Direct;
        let mut place =
            Self { parent, hidden, name, live, live_manifest, staging: None, plan, generation, _lock: lock };
        place.recover_staging()?;
        place.decide(stream)?;
        place.check_keys(key)?;
        Ok(place)
    }

    /// What a run of this mode does with what is there, published and staged.
    fn decide(&mut self, stream: &SelectedStream) -> Result<()> {
        let minimum = stream.generation.map_or(0, |g| g.minimum);
        let overwrite = stream.destination_sync_mode == DestinationSyncMode::Overwrite;
        if let Some((dir, mut staged)) = self.staging.take() {
            let same_generation = stream.generation.is_some_and(|g| g.id == staged.generation);
            // Staged rows of an overwrite are never taken over: some may be durable although
            // their state was not echoed, and then come again. A truncating refresh in append
            // mode is the platform's own way to go on, at least once.
            let keep = !overwrite && (!staged.replaces || same_generation);
            staged.files.retain(|f| keep && f.generation >= minimum);
            if staged.files.is_empty() {
                self.discard(&dir)?;
            } else {
                tracing::info!(
                    "{} rows that an interrupted run left in {} are taken over.",
                    staged.rows(),
                    dir.path().display()
                );
                staged.replaces = overwrite;
                staged.generation = self.generation;
                self.staging = Some((dir, staged));
            }
        }
        let outdated = self.live_manifest.files.iter().any(|f| f.generation < minimum);
        let dedup = stream.destination_sync_mode == DestinationSyncMode::AppendDedup;
        self.plan = if overwrite {
            Plan::Staged { keep_from: None }
        } else if dedup || outdated || self.staging.is_some() {
            Plan::Staged { keep_from: Some(minimum) }
        } else {
            Plan::Direct
        };
        Ok(())
    }

    /// Keys can be read back from typed files; CSV does not say what was text.
    fn check_keys(&self, key: Option<&KeySpec>) -> Result<()> {
        let Some(key) = key else { return Ok(()) };
        let staged = self.staging.iter().flat_map(|(_, m)| &m.files);
        let mut kept = self.kept().into_iter().chain(staged);
        match kept.find(|f| f.rows > 0 && f.key.as_ref() != Some(key) && f.name.contains(".csv")) {
            None => Ok(()),
            Some(file) => Err(Error::config(format!(
                "{} was written without append_dedup or with another key, and keys cannot be read back from CSV. \
                 Run one truncating refresh of the stream, or write to an empty directory.",
                self.live.join(&file.name).display()
            ))),
        }
    }

    /// The published files that stay when this run is published.
    pub(crate) fn kept(&self) -> Vec<&DataFile> {
        match self.plan {
            Plan::Direct => self.live_manifest.files.iter().collect(),
            Plan::Staged { keep_from: None } => Vec::new(),
            Plan::Staged { keep_from: Some(from) } => {
                self.live_manifest.files.iter().filter(|f| f.generation >= from).collect()
            }
        }
    }

    /// Where this run's files go, and the list that names them.
    pub(crate) fn target(&mut self) -> Result<(&Dir, &mut Manifest)> {
        match self.plan {
            Plan::Direct => Ok((&self.live, &mut self.live_manifest)),
            Plan::Staged { keep_from } => {
                if self.staging.is_none() {
                    let dir = self.hidden.child(&self.staging_name())?;
                    let live = &self.live_manifest;
                    let manifest = Manifest {
                        epoch: live.epoch + 1,
                        files: Vec::new(),
                        replaces: keep_from.is_none(),
                        generation: self.generation,
                        ..live.clone()
                    };
                    manifest.store(&dir)?;
                    self.staging = Some((dir, manifest));
                }
                match &mut self.staging {
                    Some((dir, manifest)) => Ok((dir, manifest)),
                    None => Err(Error::system("The staging directory is gone.")),
                }
            }
        }
    }

    /// A name that no other file of the stream has or had.
    pub(crate) fn next_name(&mut self, run: u32, extension: &str) -> Result<String> {
        let before = self.live_manifest.next_file;
        let (_, manifest) = self.target()?;
        manifest.next_file = manifest.next_file.max(before) + 1;
        Ok(format!("{:08}-{run:08x}.{extension}", manifest.next_file))
    }

    pub(crate) fn staging_name(&self) -> String {
        format!("{}.staging", self.name)
    }

    pub(crate) fn retired_name(&self) -> String {
        format!("{}.old", self.name)
    }

    /// Removes a staged directory that never was published.
    pub(crate) fn discard(&self, dir: &Dir) -> Result<()> {
        dir.list()?.into_iter().filter(|e| e.is_file).try_for_each(|e| dir.remove(&e.name))?;
        self.hidden.remove_dir(&self.staging_name())?;
        Ok(())
    }

    /// Looks at what stands in the staging directory: the next state, unfinished or ready,
    /// or the last one, on its way out.
    fn recover_staging(&mut self) -> Result<()> {
        if let Some(old) = self.hidden.existing(&self.retired_name())? {
            self.retire(&self.retired_name(), &old)?;
        }
        let Some(dir) = self.hidden.existing(&self.staging_name())? else { return Ok(()) };
        match Manifest::load(&dir)? {
            None => self.discard(&dir),
            Some(manifest) if manifest.epoch <= self.live_manifest.epoch => {
                self.retire(&self.staging_name(), &dir)
            }
            Some(manifest) if manifest.ready => {
                tracing::info!(
                    "The last run ended just before {} was published; publishing it now.",
                    self.live.path().display()
                );
                self.staging = Some((dir, manifest));
                self.exchange()
            }
            Some(mut manifest) => {
                clean(&dir, &mut manifest)?;
                self.staging = Some((dir, manifest));
                Ok(())
            }
        }
    }
}

/// Opens the published directory, making an empty one when there is none.
fn open_live(parent: &Dir, hidden: &Dir, name: &str, blank: &Manifest) -> Result<(Dir, Manifest)> {
    let retired = format!("{name}.old");
    if !parent.has(name) && hidden.has(&retired) {
        // A run without atomic exchange died between its two renames.
        hidden.rename_to(&retired, parent, name)?;
        parent.sync()?;
    }
    let live = parent.child(name)?;
    match Manifest::load(&live)? {
        Some(mut manifest) => {
            if (&manifest.stream, &manifest.namespace) != (&blank.stream, &blank.namespace) {
                return Err(Error::config(format!(
                    "The directory {} belongs to another stream, {:?}; choose another destination_path.",
                    live.path().display(),
                    manifest.stream
                )));
            }
            (manifest.ready, manifest.replaces) = (false, false);
            clean(&live, &mut manifest)?;
            Ok((live, manifest))
        }
        None => {
            blank.store(&live)?;
            Ok((live, blank.clone()))
        }
    }
}

/// Removes what a crash left between listing a file and naming it, and forgets files that
/// somebody removed.
fn clean(dir: &Dir, manifest: &mut Manifest) -> Result<()> {
    let before = manifest.files.clone();
    manifest.files.retain(|file| {
        let there = dir.has(&file.name);
        // Its temporary file says that we died before naming it: no state was echoed for it.
        if !there && !dir.has(&format!("{TEMP}{}", file.name)) {
            tracing::warn!("{} is gone; somebody removed it.", dir.join(&file.name).display());
        }
        there
    });
    for file in &mut manifest.files {
        if !file.names().all(|name| dir.has(&name)) {
            // Its keys were removed; they can be read back from it.
            (file.key, file.merged) = (None, false);
        }
    }
    let expected: std::collections::HashSet<String> =
        manifest.files.iter().flat_map(DataFile::names).collect();
    for entry in dir.list()? {
        let hidden = entry.name.starts_with(crate::manifest::OURS) && entry.name != MANIFEST;
        if entry.is_file && hidden && !expected.contains(&entry.name) {
            dir.remove(&entry.name)?;
        }
    }
    if manifest.files != before { manifest.store(dir) } else { Ok(()) }
}

fn both_kinds(name: &str) -> Error {
    Error::config(format!(
        "{name:?} is a stream without a namespace and a namespace at once, so both need the same directory; \
         give the stream a namespace or another name."
    ))
}

/// Takes the stream's lock for as long as the file stays open.
fn lock(hidden: &Dir, name: &str, stream: &SelectedStream) -> Result<File> {
    let name = format!("{name}.lock");
    let mut file = hidden.lock_file(&name)?;
    let path = hidden.join(&name);
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let _ = Read::take(&mut file, 200).read_to_string(&mut holder);
            return Err(Error::transient(format!(
                "Stream {} is being written by {}. Wait until it has ended, or write to another destination_path.",
                stream.descriptor,
                if holder.is_empty() { "another process" } else { holder.trim() }
            )));
        }
        Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK) => {
            tracing::warn!(
                "{} cannot be locked on this file system; let no two syncs write there at once.",
                path.display()
            );
        }
        Err(e) => return Err(io_error("lock", &path, e)),
    }
    let holder = format!("process {}\n", std::process::id());
    let said = file.rewind().and_then(|()| file.set_len(0)).and_then(|()| file.write_all(holder.as_bytes()));
    // A full disk shows itself soon enough; the lock holds without its text.
    drop(said);
    Ok(file)
}
