//! Makes a prepared directory the published one in a single step, so that readers see the
//! old files or the new ones and never a mix; and takes the old one away.

use std::collections::HashSet;

use connector_kit::tracing;
use connector_kit::{Error, Result};

use crate::dir::{Dir, copy};
use crate::error::io_error;
use crate::manifest::{DataFile, MANIFEST, Manifest};
use crate::place::Place;

impl Place {
    /// Publishes the staged directory with exactly these files. Files that are not in it
    /// yet come from the published one, as hard links.
    pub(crate) fn publish(&mut self, files: Vec<DataFile>) -> Result<()> {
        let generation = self.live_manifest.generation;
        let Some((staging, mut manifest)) = self.staging.take() else {
            return Err(Error::system("Nothing is staged to be published."));
        };
        for name in files.iter().flat_map(DataFile::names) {
            if !staging.has(&name) {
                bring(&self.live, &staging, &name)?;
            }
        }
        for entry in self.live.list()? {
            if entry.is_file && !self.live_manifest.is_ours(&entry.name) {
                self.live.link(&entry.name, &staging)?;
            }
        }
        // From here on a crash is finished by the next run; until here it changes nothing.
        manifest.generation = manifest.generation.max(generation);
        manifest.files = files;
        manifest.ready = true;
        staging.sync()?;
        manifest.store(&staging)?;
        self.staging = Some((staging, manifest));
        self.exchange()
    }

    /// Swaps the ready staged directory with the published one.
    pub(crate) fn exchange(&mut self) -> Result<()> {
        let Some((staging, manifest)) = self.staging.take() else {
            return Err(Error::system("Nothing is staged to be published."));
        };
        self.sweep(&staging, &manifest)?;
        let staged = self.staging_name();
        let old = std::mem::replace(&mut self.live, staging);
        if self.hidden.exchange(&staged, &self.parent, &self.name)? {
            self.settle()?;
            self.live_manifest = manifest;
            self.reopen()?;
            return self.retire(&staged, &old);
        }
        // Without exchange there is a moment without the directory; the next run mends it.
        let retired = self.retired_name();
        self.parent.rename_to(&self.name, &self.hidden, &retired)?;
        self.hidden.rename_to(&staged, &self.parent, &self.name)?;
        self.settle()?;
        self.live_manifest = manifest;
        self.reopen()?;
        self.retire(&retired, &old)
    }

    /// Removes what is neither listed nor somebody else's from a directory about to be
    /// published: files whose rows went into copies. A run may have died just before.
    fn sweep(&self, staging: &Dir, manifest: &Manifest) -> Result<()> {
        let listed: HashSet<String> = manifest.files.iter().flat_map(DataFile::names).collect();
        for entry in staging.list()? {
            let foreign = self.live.has(&entry.name) && !self.live_manifest.is_ours(&entry.name);
            if entry.is_file && entry.name != MANIFEST && !listed.contains(&entry.name) && !foreign {
                staging.remove(&entry.name)?;
            }
        }
        staging.sync()
    }

    fn settle(&self) -> Result<()> {
        self.parent.sync()?;
        self.hidden.sync()
    }

    /// The directory under its new name, so that later messages name the right path.
    fn reopen(&mut self) -> Result<()> {
        self.live = self.parent.child(&self.name)?;
        self.live_manifest.ready = false;
        Ok(())
    }

    /// Takes a replaced directory away. What is not ours moves into the published one.
    pub(crate) fn retire(&self, name: &str, old: &Dir) -> Result<()> {
        let manifest = Manifest::load(old)?.unwrap_or_default();
        let mut manifest_there = false;
        for entry in old.list()? {
            if entry.name == MANIFEST {
                manifest_there = true;
            } else if manifest.is_ours(&entry.name) || entry.is_file && self.live.has(&entry.name) {
                old.remove(&entry.name)?;
            } else if !self.live.has(&entry.name) {
                old.rename_to(&entry.name, &self.live, &entry.name)?;
            }
        }
        // Last, or a crash above would make strangers of our files.
        if manifest_there {
            old.remove(MANIFEST)?;
        }
        if !self.hidden.remove_dir(name)? {
            tracing::warn!("{} is not empty and stays; look at what is in it.", old.path().display());
        }
        Ok(())
    }
}

/// One of our files in another directory: linked, or copied where links do not exist.
fn bring(from: &Dir, to: &Dir, name: &str) -> Result<()> {
    if from.link(name, to)? {
        return Ok(());
    }
    let Some(file) = from.open(name)? else {
        return Err(Error::system(format!("{} is gone; sync the stream anew.", from.join(name).display())));
    };
    let temp = format!("{}{name}", crate::manifest::TEMP);
    to.remove(&temp)?;
    let mut target = to.create(&temp)?;
    copy(file, &mut target)
        .and_then(|_| target.sync_all())
        .map_err(|e| io_error("write", &to.join(name), e))?;
    to.rename(&temp, name)
}
