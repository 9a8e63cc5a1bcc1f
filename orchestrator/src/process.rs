//! A connector as a process: its own group, its stderr drained, its end told in words,
//! nothing of it left behind.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::error::{Failure, Origin};
use crate::job_log::{self, JobLog};
use crate::launch::{Cage, Container, Launch};
use crate::resources;

/// A running connector. Dropping it kills its whole group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    origin: Origin,
    group: Group,
    cage: Option<Cage>,
    memory: Option<u64>,
    stderr: Option<JoinHandle<String>>,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts a command in a process group of its own. Its stderr goes to the log.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(launch: Launch, origin: Origin, who: &str, log: &JobLog) -> Result<Self, Failure> {
        let Launch { mut command, container, cage, memory } = launch;
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: the terminal's Ctrl-C reaches ferry alone, which then decides.
            .process_group(0)
            .spawn()
            .map_err(|e| {
                Failure::config(
                    origin,
                    format!(
                        "{program} cannot be started: {e}; check that it is an executable for this machine"
                    ),
                )
            })?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Failure::fatal(origin, "the system gave no process id"))?;
        let group = Group { pid, container };
        let stderr = child.stderr.take().map(|stderr| {
            let (who, log) = (format!("{who} stderr"), log.clone());
            std::thread::spawn(move || job_log::drain(stderr, &who, &log))
        });
        Ok(Self { child, origin, group, cage, memory, stderr, ended: None })
    }

    /// Its standard output, once.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Its process group.
    #[must_use]
    pub fn group(&self) -> Group {
        self.group.clone()
    }

    /// Waits for its end and ends what it may have left behind.
    pub fn reap(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.group.wait_for_leader();
            // The leader is dead but not yet reaped, so the group's number is still its own.
            self.group.signal_processes(Signal::KILL);
            self.ended = self.child.wait().ok();
            if let Some(container) = &self.group.container {
                if self.ended.is_none_or(|status| status.code().is_none()) {
                    // The client was ended; its container was not.
                    container.remove();
                }
                container.settle();
            }
        }
        self.ended
    }

    /// As [`reap`](Self::reap), but a process that has not ended after `grace` is killed.
    pub fn reap_within(&mut self, grace: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + grace;
        let mut pause = Duration::from_micros(200);
        while self.ended.is_none() && !self.group.leader_has_ended() {
            if Instant::now() >= end {
                self.group.signal(Signal::KILL);
                break;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
        self.reap()
    }

    /// How it ended, in words. Call after [`reap`](Self::reap).
    #[must_use]
    pub fn ending(&self) -> String {
        let limit = self.memory.map(resources::shown);
        let in_container = self.group.container.is_some();
        let out_of_memory = in_container || self.cage.as_ref().is_some_and(Cage::ran_out_of_memory);
        match (&limit, self.ended) {
            (Some(limit), Some(status)) if self.killed() && out_of_memory => format!(
                "was killed for want of memory ({}): its memory_limit is {limit}; raise resources.{}.memory_limit",
                plain(status),
                self.origin
            ),
            (Some(limit), Some(status)) if ABORTED.contains(&code_or_signal(status)) => format!(
                "{}; an allocation that its memory_limit of {limit} refused ends like this",
                ending(Some(status))
            ),
            (_, Some(status)) if in_container && matches!(status.code(), Some(125..=127)) => {
                format!("could not be started in a container ({})", plain(status))
            }
            (_, status) => ending(status),
        }
    }

    /// Whether it was killed, or its container was.
    #[must_use]
    pub fn killed(&self) -> bool {
        self.ended.is_some_and(|status| {
            code_or_signal(status) == KILLED && (status.code().is_none() || self.group.container.is_some())
        })
    }

    /// The last lines of its stderr, masked. Call after [`reap`](Self::reap).
    pub fn stderr_tail(&mut self) -> String {
        self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.group.signal(Signal::KILL);
            let _ = self.child.wait();
            if let Some(container) = &self.group.container {
                container.settle();
            }
        }
    }
}

/// What SIGKILL leaves behind, as a shell counts, and what `abort` does.
const KILLED: i32 = 128 + 9;
const ABORTED: [i32; 2] = [128 + 6, 128 + 11];

fn code_or_signal(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn plain(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => format!("signal {}", status.signal().unwrap_or_default()),
    }
}

/// A process group that can be signalled from any thread while its process is not reaped.
#[derive(Clone, Debug)]
pub struct Group {
    pid: Pid,
    container: Option<Arc<Container>>,
}

impl PartialEq for Group {
    fn eq(&self, other: &Self) -> bool {
        self.pid == other.pid
    }
}

impl Group {
    /// Sends a signal to every process of the group. A container's client passes on what it can catch; what it
    /// cannot takes its container along.
    pub fn signal(&self, signal: Signal) {
        if let Some(container) = self.container.as_ref().filter(|_| signal == Signal::KILL) {
            container.remove();
        }
        self.signal_processes(signal);
    }

    fn signal_processes(&self, signal: Signal) {
        // None left is what we want.
        let _ = kill_process_group(self.pid, signal);
    }

    /// Whether the group's first process has ended; it stays to be reaped.
    fn leader_has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        !matches!(waitid(WaitId::Pid(self.pid), options), Ok(None) | Err(rustix::io::Errno::INTR))
    }

    /// Blocks until the group's first process has ended; it stays to be reaped.
    pub fn wait_for_leader(&self) {
        loop {
            match waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Err(rustix::io::Errno::INTR) => continue,
                _ => return,
            }
        }
    }
}

/// How a process ended, in words: `exited with code 3`, `was killed by signal 9 (SIGKILL; …)`.
#[must_use]
pub fn ending(status: Option<ExitStatus>) -> String {
    let Some(status) = status else { return "ended in a way the system does not tell".to_owned() };
    if let Some(code) = status.code() {
        return match code {
            126 | 127 => format!("exited with code {code} (a command that it runs was not found)"),
            code if code > 128 && code < 160 => {
                format!("exited with code {code} (as after signal {})", signal_name(code - 128))
            }
            code => format!("exited with code {code}"),
        };
    }
    let signal = status.signal().unwrap_or_default();
    let hint = match signal {
        9 => "; the system may have run out of memory",
        11 => "; it crashed",
        _ => "",
    };
    format!("was killed by signal {signal} ({}{hint})", signal_name(signal))
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => "an unnamed signal",
    }
}

#[cfg(test)]
mod tests {
    use super::{Process, ending};
    use crate::error::Origin;
    use crate::job_log::JobLog;
    use crate::masker::Masker;
    use std::io::Read;
    use std::process::Command;
    use std::time::{Duration, Instant};

    #[test]
    fn a_process_that_does_not_end_is_killed_after_the_grace() {
        let start = Instant::now();
        let status = shell("exec sleep 60").reap_within(Duration::from_millis(50));
        assert!(ending(status).contains("SIGKILL") && start.elapsed() < Duration::from_secs(20));
        assert_eq!(ending(shell("exit 5").reap_within(Duration::from_secs(20))), "exited with code 5");
    }

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        Process::start(command.into(), Origin::Source, "source", &JobLog::nowhere(Masker::default())).unwrap()
    }

    #[test]
    fn tells_codes_and_signals_by_name() {
        assert_eq!(ending(shell("exit 3").reap()), "exited with code 3");
        let killed = ending(shell("kill -KILL $$").reap());
        assert!(killed.contains("signal 9 (SIGKILL; the system may have run out of memory)"), "{killed}");
    }

    #[test]
    fn leaves_no_grandchild_behind() {
        let mut process = shell("sleep 60 & echo $!");
        let mut out = process.take_stdout().unwrap();
        let start = Instant::now();
        process.reap();
        // The grandchild held the pipe open; its end closes it.
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        assert!(start.elapsed() < Duration::from_secs(10));
        // Its pipes close a moment before it is gone.
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", text.trim())).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z") {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{stat}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn keeps_the_end_of_stderr() {
        let mut process = shell("echo lost on the way >&2; exit 1");
        process.reap();
        assert_eq!(process.stderr_tail(), "lost on the way");
    }
}
