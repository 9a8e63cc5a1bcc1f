//! Processes that a run of a test has started in turn, found by their command lines.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longer than any of them needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program whose command line names something in a folder of the test's own: the destination that `ferry` runs, say.
#[derive(Debug)]
pub struct Descendant {
    program: String,
    folder: PathBuf,
}

impl Descendant {
    /// The process of this program, by its file's name, with files in this folder.
    #[must_use]
    pub fn of(program: &str, folder: &Path) -> Self {
        Self { program: program.to_owned(), folder: folder.to_owned() }
    }

    fn pid(&self) -> Option<Pid> {
        let (program, folder) = (format!("{}\0", self.program), self.folder.to_string_lossy());
        std::fs::read_dir("/proc").expect("/proc").flatten().find_map(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line);
            let pid = entry.file_name().to_string_lossy().parse().ok()?;
            if line.contains(&*folder) && line.contains(&program) { Pid::from_raw(pid) } else { None }
        })
    }

    /// Kills it.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&self) {
        let pid = self.pid().unwrap_or_else(|| panic!("{} does not run", self.program));
        kill_process(pid, Signal::KILL).expect("it may be killed");
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_for_end(&self) {
        let until = Instant::now() + PATIENCE;
        while self.pid().is_some() {
            assert!(Instant::now() < until, "{} does not end", self.program);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
