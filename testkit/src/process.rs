//! Starts a connector, feeds it, listens to it, and ends it when it takes too long.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::output::{Exit, Output};

pub use rustix::process::Signal;

/// Longer than any trial needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An executable that speaks the protocol.
#[derive(Clone, Debug)]
pub struct Connector {
    path: PathBuf,
    env: Vec<(String, String)>,
}

impl Connector {
    /// The executable at `path`, e.g. `env!("CARGO_BIN_EXE_source-x")`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), env: Vec::new() }
    }

    /// Every run of it has this variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// A run of it, not yet started.
    pub fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Invocation {
        Invocation {
            path: self.path.clone(),
            args: args.into_iter().map(str::to_owned).collect(),
            stdin: Vec::new(),
            hold_stdin: false,
            pause_after: None,
            close_after: None,
            patience: PATIENCE,
            folder: None,
            env: self.env.clone(),
        }
    }

    /// Runs it to its end with nothing on stdin.
    pub fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Output {
        self.command(args).output()
    }
}

/// How a connector is to be run.
#[derive(Clone, Debug)]
pub struct Invocation {
    path: PathBuf,
    args: Vec<String>,
    stdin: Vec<u8>,
    hold_stdin: bool,
    pause_after: Option<usize>,
    close_after: Option<usize>,
    patience: Duration,
    folder: Option<PathBuf>,
    env: Vec<(String, String)>,
}

impl Invocation {
    /// What it finds on stdin.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Leaves stdin open after those bytes, until [`Running::finish_input`] or the end.
    #[must_use]
    pub fn holding_stdin_open(mut self) -> Self {
        self.hold_stdin = true;
        self
    }

    /// Stops reading its stdout after so many bytes, until [`Running::go_on_reading`].
    #[must_use]
    pub fn pausing_stdout_after(mut self, bytes: usize) -> Self {
        self.pause_after = Some(bytes);
        self
    }

    /// Closes its stdout after so many bytes, as a client that has seen enough.
    #[must_use]
    pub fn closing_stdout_after(mut self, bytes: usize) -> Self {
        self.close_after = Some(bytes);
        self
    }

    /// How long it may take.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Where it runs.
    #[must_use]
    pub fn in_folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_path_buf());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs it to its end.
    #[must_use]
    pub fn output(self) -> Output {
        self.start().wait()
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(self) -> Running {
        let mut command = Command::new(&self.path);
        command.args(&self.args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let started = Instant::now();
        let shown = format!("{} {}", self.path.display(), self.args.join(" "));
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start `{shown}`: {e}"));
        let (feed, food) = channel::<Vec<u8>>();
        let stdin = child.stdin.take().expect("stdin is a pipe");
        let taken = Arc::new(AtomicUsize::new(0));
        let theirs = self.hold_stdin.then(|| Arc::clone(&taken));
        let feeder = std::thread::spawn(move || hand_over(stdin, food, theirs.as_deref()));
        let _ = feed.send(self.stdin);
        let stdout = Gathered::default();
        let stderr = Gathered::default();
        let (resume, paused) = channel();
        let listeners = vec![
            stdout.listen(
                child.stdout.take().expect("stdout is a pipe"),
                self.close_after,
                self.pause_after,
                paused,
            ),
            stderr.listen(child.stderr.take().expect("stderr is a pipe"), None, None, channel().1),
        ];
        Running {
            shown,
            child,
            feed: self.hold_stdin.then_some(feed),
            feeder: Some(feeder),
            sent: 1,
            taken,
            resume: Some(resume),
            stdout,
            stderr,
            listeners,
            started,
            deadline: started + self.patience,
            peak_kib: 0,
        }
    }
}

/// Hands over what is sent, and counts how many of these the connector has taken out of the pipe to their last byte.
fn hand_over(mut stdin: ChildStdin, food: Receiver<Vec<u8>>, taken: Option<&AtomicUsize>) {
    for bytes in food {
        // A connector that ends without reading everything is no fault here.
        if stdin.write_all(&bytes).is_err() {
            return;
        }
        if let Some(taken) = taken {
            while rustix::io::ioctl_fionread(&stdin).is_ok_and(|left| left > 0) && has_reader(&stdin) {
                std::thread::sleep(Duration::from_millis(1));
            }
            taken.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A pipe without a reader shows an error at once.
fn has_reader(pipe: &ChildStdin) -> bool {
    let mut pipe = [PollFd::new(pipe, PollFlags::empty())];
    poll(&mut pipe, Some(&Timespec::default())).is_ok() && pipe[0].revents().is_empty()
}

/// What a pipe has brought so far, and whether it has ended.
#[derive(Debug, Default)]
struct Heard {
    bytes: Vec<u8>,
    ended: bool,
}

/// What a listening thread shares with whoever waits.
#[derive(Clone, Debug, Default)]
struct Gathered(Arc<(Mutex<Heard>, Condvar)>);

impl Gathered {
    fn listen(
        &self,
        mut pipe: impl Read + Send + 'static,
        close_after: Option<usize>,
        pause_after: Option<usize>,
        paused: Receiver<()>,
    ) -> JoinHandle<()> {
        let this = self.clone();
        std::thread::spawn(move || {
            let mut chunk = [0; 64 << 10];
            let (mut total, mut pause) = (0, pause_after);
            let (lock, changed) = &*this.0;
            loop {
                if pause.is_some_and(|limit| total >= limit) {
                    pause = None;
                    let _ = paused.recv();
                }
                let room = [close_after, pause].into_iter().flatten().map(|limit| limit - total).min();
                let room = room.unwrap_or(chunk.len()).min(chunk.len());
                let read = if room == 0 { 0 } else { pipe.read(&mut chunk[..room]).unwrap_or(0) };
                total += read;
                let mut gathered = lock.lock().expect("a listener does not panic");
                gathered.bytes.extend_from_slice(&chunk[..read]);
                gathered.ended |= read == 0;
                changed.notify_all();
                if read == 0 {
                    return;
                }
            }
        })
    }

    /// Waits until `wanted` holds for the text so far; false when the pipe ended first.
    fn wait_until(&self, deadline: Instant, wanted: impl Fn(&[u8]) -> bool) -> Result<bool, ()> {
        let (lock, changed) = &*self.0;
        let mut gathered = lock.lock().expect("a listener does not panic");
        loop {
            if wanted(&gathered.bytes) {
                return Ok(true);
            }
            if gathered.ended {
                return Ok(false);
            }
            let left = deadline.checked_duration_since(Instant::now()).ok_or(())?;
            gathered = changed.wait_timeout(gathered, left).expect("a listener does not panic").0;
        }
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.0.lock().expect("a listener does not panic").bytes)
    }
}

/// A connector at work.
#[derive(Debug)]
pub struct Running {
    shown: String,
    child: Child,
    feed: Option<Sender<Vec<u8>>>,
    feeder: Option<JoinHandle<()>>,
    sent: usize,
    taken: Arc<AtomicUsize>,
    resume: Option<Sender<()>>,
    stdout: Gathered,
    stderr: Gathered,
    listeners: Vec<JoinHandle<()>>,
    started: Instant,
    deadline: Instant,
    peak_kib: u64,
}

impl Running {
    /// Waits until its stdout holds `text`.
    ///
    /// # Panics
    /// When it ends, or the time is up, without having said it.
    pub fn wait_for(&self, text: &str) {
        let found = self.stdout.wait_until(self.deadline, |out| contains(out, text.as_bytes()));
        assert!(found == Ok(true), "`{}` never said {text:?}; {}", self.shown, self.said());
    }

    /// More for its stdin.
    ///
    /// # Panics
    /// Unless it was started with [`Invocation::holding_stdin_open`].
    pub fn send(&mut self, bytes: impl Into<Vec<u8>>) {
        let feed = self.feed.as_ref().expect("stdin was not held open");
        let _ = feed.send(bytes.into());
        self.sent += 1;
    }

    /// Waits until it has read all that was sent to its stdin so far.
    ///
    /// # Panics
    /// When the time is up before that.
    pub fn wait_until_input_is_taken(&self) {
        while self.taken.load(Ordering::Relaxed) < self.sent {
            assert!(Instant::now() < self.deadline, "`{}` does not read; {}", self.shown, self.said());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Closes its stdin.
    pub fn finish_input(&mut self) {
        self.feed = None;
    }

    /// Reads its stdout again after [`Invocation::pausing_stdout_after`].
    pub fn go_on_reading(&mut self) {
        self.resume = None;
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        // It may have ended by itself; then the trial sees that at its exit.
        let _ = rustix::process::kill_process(pid.expect("a child has a process id"), signal);
    }

    /// Whether it has ended by now.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When the time is up; it is killed then.
    #[must_use]
    pub fn wait(mut self) -> Output {
        self.finish_input();
        self.wait_holding_stdin()
    }

    /// Waits for its end without closing its stdin.
    ///
    /// # Panics
    /// When the time is up; it is killed then.
    #[must_use]
    pub fn wait_holding_stdin(mut self) -> Output {
        self.go_on_reading();
        let status = loop {
            self.look_at_memory();
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            if Instant::now() > self.deadline {
                let _ = self.child.kill();
                panic!(
                    "`{}` did not end within {:?}; {}",
                    self.shown,
                    self.deadline - self.started,
                    self.said()
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let elapsed = self.started.elapsed();
        self.feed = None;
        for listener in std::mem::take(&mut self.listeners) {
            let _ = listener.join();
        }
        if let Some(feeder) = self.feeder.take() {
            let _ = feeder.join();
        }
        Output::new(
            std::mem::take(&mut self.shown),
            &self.stdout.take(),
            String::from_utf8_lossy(&self.stderr.take()).into_owned(),
            Exit::of(status),
            self.peak_kib,
            elapsed,
        )
    }

    /// The kernel keeps the peak of a living process only, and one taken with `wait4` would
    /// include the moment before `exec`, when it was still a copy of the test.
    fn look_at_memory(&mut self) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|p| p.trim().strip_suffix(" kB")?.trim().parse().ok());
        self.peak_kib = self.peak_kib.max(kib.unwrap_or(0));
    }

    fn said(&self) -> String {
        let tail = |gathered: &Gathered| {
            let text = gathered.0.0.lock().map(|g| g.bytes.clone()).unwrap_or_default();
            String::from_utf8_lossy(&text[text.len().saturating_sub(2000)..]).into_owned()
        };
        format!("stdout ends: {}\nstderr ends: {}", tail(&self.stdout), tail(&self.stderr))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A failed assertion must not leave a process behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}
