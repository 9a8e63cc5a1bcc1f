//! Directories held open, so that every step below the destination path is taken by name
//! inside a directory already checked: no symbolic link is followed, nothing is swapped
//! under our feet.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use connector_kit::Result;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::error::io_error;

const DIR: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::RDONLY);
/// Made with 0777 and 0666, which the umask narrows.
const DIR_MODE: Mode = Mode::RWXU.union(Mode::RWXG).union(Mode::RWXO);
const FILE_MODE: Mode =
    Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP).union(Mode::WGRP).union(Mode::ROTH).union(Mode::WOTH);

/// An open directory. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Dir {
    fd: Arc<OwnedFd>,
    path: PathBuf,
}

impl Dir {
    /// Opens the directory the user named, making it when missing. Links in the user's own
    /// path are the user's.
    pub(crate) fn root(path: &Path) -> Result<Self> {
        let missing = path.ancestors().take_while(|p| !p.exists()).count();
        std::fs::create_dir_all(path).map_err(|e| io_error("make the directory", path, e))?;
        for parent in path.ancestors().skip(1).take(missing).filter(|p| !p.as_os_str().is_empty()) {
            // Parents that we may not read were not made by us.
            let _ = File::open(parent).and_then(|dir| dir.sync_all());
        }
        let fd = rustix::fs::openat(CWD, path, DIR, Mode::empty())
            .map_err(|e| io_error("open the directory", path, e))?;
        Ok(Self { fd: Arc::new(fd), path: path.to_owned() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The directory `name` in this one, made when missing.
    pub(crate) fn child(&self, name: &str) -> Result<Self> {
        if let Some(dir) = self.existing(name)? {
            return Ok(dir);
        }
        match rustix::fs::mkdirat(&*self.fd, name, DIR_MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(io_error("make the directory", &self.join(name), e)),
        }
        self.sync()?;
        let fd = rustix::fs::openat(&*self.fd, name, DIR | OFlags::NOFOLLOW, Mode::empty())
            .map_err(|e| io_error("open the directory", &self.join(name), e))?;
        Ok(Self { fd: Arc::new(fd), path: self.join(name) })
    }

    /// The directory `name`, if there is one.
    pub(crate) fn existing(&self, name: &str) -> Result<Option<Self>> {
        match rustix::fs::openat(&*self.fd, name, DIR | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd: Arc::new(fd), path: self.join(name) })),
            Err(Errno::NOENT) => Ok(None),
            // With NOFOLLOW and DIRECTORY, Linux says "not a directory" of a link.
            Err(Errno::NOTDIR) if self.is_link(name) => {
                Err(io_error("open the directory", &self.join(name), Errno::LOOP))
            }
            Err(e) => Err(io_error("open the directory", &self.join(name), e)),
        }
    }

    fn is_link(&self, name: &str) -> bool {
        rustix::fs::statat(&*self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Symlink)
    }

    /// Whether anything is called `name` here.
    pub(crate) fn has(&self, name: &str) -> bool {
        rustix::fs::statat(&*self.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// A new file, for writing and reading; there must be none.
    pub(crate) fn create(&self, name: &str) -> Result<File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(&*self.fd, name, flags, FILE_MODE)
            .map_err(|e| io_error("make the file", &self.join(name), e))?;
        Ok(File::from(fd))
    }

    /// A file to hold a lock on, made when missing.
    pub(crate) fn lock_file(&self, name: &str) -> Result<File> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(&*self.fd, name, flags, FILE_MODE)
            .map_err(|e| io_error("open the lock file", &self.join(name), e))?;
        Ok(File::from(fd))
    }

    /// The file `name` for reading, if there is one.
    pub(crate) fn open(&self, name: &str) -> Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        match rustix::fs::openat(&*self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(io_error("open", &self.join(name), e)),
        }
    }

    /// The whole of a small file.
    pub(crate) fn read(&self, name: &str, cap: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(cap).read_to_end(&mut bytes).map_err(|e| io_error("read", &self.join(name), e))?;
        Ok(Some(bytes))
    }

    /// Writes a small file whole or not at all.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let temp = format!(".ferry-tmp-{}", name.trim_start_matches('.'));
        self.remove(&temp)?;
        let mut file = self.create(&temp)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        if let Err(error) = written {
            let _ = self.remove(&temp);
            return Err(io_error("write", &self.join(name), error));
        }
        self.rename(&temp, name)?;
        self.sync()
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.rename_to(from, self, to)
    }

    pub(crate) fn rename_to(&self, from: &str, other: &Self, to: &str) -> Result<()> {
        rustix::fs::renameat(&*self.fd, from, &*other.fd, to)
            .map_err(|e| io_error("rename a file to", &other.join(to), e))
    }

    /// Swaps two entries in one step. `false` when the file system cannot.
    pub(crate) fn exchange(&self, from: &str, other: &Self, to: &str) -> Result<bool> {
        match rustix::fs::renameat_with(&*self.fd, from, &*other.fd, to, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(true),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
            Err(e) => Err(io_error("exchange the directory", &other.join(to), e)),
        }
    }

    /// The same file under the same name in `other`. `false` when the file system has no hard links.
    pub(crate) fn link(&self, name: &str, other: &Self) -> Result<bool> {
        match rustix::fs::linkat(&*self.fd, name, &*other.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => Ok(true),
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK | Errno::NOSYS) => Ok(false),
            Err(e) => Err(io_error("link", &other.join(name), e)),
        }
    }

    /// Removes a file; one that is not there is fine.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        match rustix::fs::unlinkat(&*self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(io_error("remove", &self.join(name), e)),
        }
    }

    /// Removes an empty directory. `false` when it is not empty.
    pub(crate) fn remove_dir(&self, name: &str) -> Result<bool> {
        match rustix::fs::unlinkat(&*self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(e) => Err(io_error("remove the directory", &self.join(name), e)),
        }
    }

    /// Makes names durable.
    pub(crate) fn sync(&self) -> Result<()> {
        match rustix::fs::fsync(&*self.fd) {
            // Some network file systems cannot sync a directory and need not.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(e) => Err(io_error("make durable", &self.path, e)),
        }
    }

    /// The names here, and whether each is a plain file; names that are not UTF-8 cannot be ours.
    pub(crate) fn list(&self) -> Result<Vec<Entry>> {
        let fail = |e: Errno| io_error("list", &self.path, e);
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&*self.fd).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name != "." && name != ".." {
                let is_file = match entry.file_type() {
                    FileType::Unknown => rustix::fs::statat(&*self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
                        .is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::RegularFile),
                    kind => kind == FileType::RegularFile,
                };
                entries.push(Entry { name: name.to_owned(), is_file });
            }
        }
        Ok(entries)
    }
}

/// One name in a directory.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) is_file: bool,
}

/// Copies what is left of `from`.
pub(crate) fn copy(mut from: File, to: &mut File) -> io::Result<u64> {
    io::copy(&mut from, to)
}
