//! A connector as a process: its own group, its stderr drained, its end told in words,
//! nothing of it left behind.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::error::{Failure, Origin};
use crate::job_log::{self, JobLog};

/// A running connector. Dropping it kills its whole group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Pid,
    stderr: Option<JoinHandle<String>>,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts a command in a process group of its own. Its stderr goes to the log.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command, origin: Origin, who: &str, log: &JobLog) -> Result<Self, Failure> {
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
        let group = pid.ok_or_else(|| Failure::fatal(origin, "the system gave no process id"))?;
        let stderr = child.stderr.take().map(|stderr| {
            let (who, log) = (format!("{who} stderr"), log.clone());
            std::thread::spawn(move || job_log::drain(stderr, &who, &log))
        });
        Ok(Self { child, group, stderr, ended: None })
    }

    /// Its standard output, once.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Its process group.
    #[must_use]
    pub fn group(&self) -> Group {
        Group(self.group)
    }

    /// Waits for its end and ends what it may have left behind.
    pub fn reap(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.group().wait_for_leader();
            // The leader is dead but not yet reaped, so the group's number is still its own.
            self.group().signal(Signal::KILL);
            self.ended = self.child.wait().ok();
        }
        self.ended
    }

    /// As [`reap`](Self::reap), but a process that has not ended after `grace` is killed.
    pub fn reap_within(&mut self, grace: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + grace;
        let mut pause = Duration::from_micros(200);
        while self.ended.is_none() && !self.group().leader_has_ended() {
            if Instant::now() >= end {
                self.group().signal(Signal::KILL);
                break;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
        self.reap()
    }

    /// The last lines of its stderr, masked. Call after [`reap`](Self::reap).
    pub fn stderr_tail(&mut self) -> String {
        self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.group().signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// A process group that can be signalled from any thread while its process is not reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group(Pid);

impl Group {
    /// Sends a signal to every process of the group.
    pub fn signal(self, signal: Signal) {
        // None left is what we want.
        let _ = kill_process_group(self.0, signal);
    }

    /// Whether the group's first process has ended; it stays to be reaped.
    fn leader_has_ended(self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        !matches!(waitid(WaitId::Pid(self.0), options), Ok(None) | Err(rustix::io::Errno::INTR))
    }

    /// Blocks until the group's first process has ended; it stays to be reaped.
    pub fn wait_for_leader(self) {
        loop {
            match waitid(WaitId::Pid(self.0), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
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
        Process::start(command, Origin::Source, "source", &JobLog::nowhere(Masker::default())).unwrap()
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
