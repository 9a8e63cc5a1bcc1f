//! Disks that fail in the middle and machines that lose power: system calls answered with errors, and watched.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::{BINARY, Run, STATE, Site, owned, row, run, status, stream};

/// The connector below a tracer with these arguments; what it saw goes to `log`.
fn traced(site: &Site, mode: &str, options: &[&str], log: &str) -> Command {
    let inner = site.command(&[stream(mode)]);
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-y", "-s", "4000", "-o", log])
        .args(options)
        .arg(BINARY)
        .args(inner.get_args());
    command
}

fn log_of(site: &Site) -> String {
    site.temp.path().join("calls").to_string_lossy().into_owned()
}

#[test]
fn df_09_a_disk_that_fails_to_keep_what_it_took_is_named_and_no_state_passes() {
    for (inject, said) in [
        ("fsync:error=EIO", "input/output error"),
        ("fsync,fdatasync:error=EDQUOT", "quota"),
        ("fsync:error=ENOSPC", "full"),
        ("renameat,renameat2,linkat:error=EROFS", "read-only"),
    ] {
        for mode in ["append", "overwrite"] {
            let site = Site::jsonl();
            site.sync(stream(mode), &row(1, "old"));
            let calls = format!("inject={inject}:when=1+");
            let trace = format!("trace={}", inject.split(':').next().unwrap());
            let mut command = traced(&site, mode, &["-e", &trace, "-e", &calls], &log_of(&site));
            let run = run(&mut command, &[row(2, "new"), STATE.to_owned()].concat());
            assert_eq!(run.states(), 0, "{mode}, {inject}: no state is echoed");
            let error = run.error();
            assert!(error.contains(said), "{mode}, {inject}: {error}");
            assert_eq!(site.rows(), owned(&[(1, "old")]), "{mode}, {inject}");
            site.sync(stream(mode), &row(3, "later"));
            assert!(site.rows().contains(&(3, "later".into())), "{mode}, {inject}: it goes on afterwards");
        }
    }
}

/// What a power cut would take away, followed call by call.
#[derive(Default)]
struct Disk {
    /// Files with bytes that were written and not synced.
    dirty: HashSet<String>,
    /// Folders with names that were changed and not synced, and what was changed.
    unsynced: HashMap<String, String>,
}

impl Disk {
    fn folder(path: &str) -> String {
        path.rsplit_once('/').map_or(".", |(folder, _)| folder).to_owned()
    }

    /// Follows one line of the log. True when a state was echoed by it.
    fn follow(&mut self, line: &str, root: &str) -> bool {
        let call = line.split_once(' ').map_or(line, |(_, call)| call.trim_start());
        if call.contains(" = -1 ") {
            return false;
        }
        let path =
            |text: &str| text.split_once('<').and_then(|(_, p)| p.split_once('>')).map(|(p, _)| p.to_owned());
        let name = call.split('(').next().unwrap_or_default();
        match name {
            "write" if path(call).is_some_and(|p| p.starts_with("pipe:")) => {
                return call.contains("\\\"type\\\":\\\"STATE\\\"");
            }
            "write" | "pwrite64" | "writev" => {
                // A lock's content says who holds it now; after a cut nobody does.
                let counts = |p: &String| p.starts_with(root) && !p.ends_with(".lock");
                self.dirty.extend(path(call).filter(counts));
            }
            "fsync" | "fdatasync" => {
                if let Some(path) = path(call) {
                    self.dirty.remove(&path);
                    self.unsynced.remove(&path);
                }
            }
            "renameat" | "renameat2" | "linkat" => {
                // renameat(5</folder>, "from", 6</folder>, "to"): the file goes by its new name.
                let quoted: Vec<&str> = call.split('"').skip(1).step_by(2).collect();
                let folders: Vec<String> = call
                    .split('<')
                    .skip(1)
                    .filter_map(|p| p.split_once('>'))
                    .map(|(p, _)| p.to_owned())
                    .collect();
                if let ([from, to], [first, .., last]) = (&quoted[..], &folders[..]) {
                    let (from, to) = (format!("{first}/{from}"), format!("{last}/{to}"));
                    let inside = format!("{from}/");
                    let bare = self.dirty.iter().any(|file| *file == from || file.starts_with(&inside));
                    assert!(!bare, "{to} would be there without its content: {line}");
                    self.unsynced.insert(Self::folder(&to), line.to_owned());
                }
            }
            _ => {}
        }
        false
    }
}

/// The calls of a log in the order in which they count: a tracer breaks a line in two where another thread speaks in
/// between. A write counts from its beginning, since its reader may have it before the call returns; all else when it
/// has been answered.
fn in_order(log: &str) -> Vec<String> {
    let (mut calls, mut begun) = (Vec::new(), HashMap::new());
    for line in log.lines() {
        let (thread, call) = line.split_once(' ').unwrap_or(("", line));
        if let Some(start) = call.strip_suffix(" <unfinished ...>") {
            if start.trim_start().starts_with("write") {
                calls.push(line.to_owned());
            } else {
                begun.insert(thread, start);
            }
        } else if let Some((_, rest)) = call.split_once(" resumed>") {
            calls.extend(begun.remove(thread).map(|start| format!("{thread} {start}{rest}")));
        } else {
            calls.push(line.to_owned());
        }
    }
    calls
}

/// Closes stdin only once so many states are back: what the end of a run does to the disk then comes after their
/// echoes, and not while another thread is at them.
fn run_until_echoed(command: &mut Command, input: &str, states: usize) -> Run {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take();
    stdin.as_mut().unwrap().write_all(input.as_bytes()).unwrap();
    let mut seen = Run { ok: false, lines: Vec::new() };
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    loop {
        if seen.states() >= states {
            stdin = None;
        }
        let Some(line) = lines.next() else { break };
        seen.lines.push(serde_json::from_str(&line.unwrap()).unwrap());
    }
    drop(stdin);
    seen.ok = child.wait().unwrap().success();
    seen
}

#[test]
fn df_10_a_state_is_echoed_only_after_all_it_covers_would_survive_a_power_cut() {
    for format in ["jsonl", "csv", "parquet"] {
        for mode in ["append", "overwrite", "append_dedup"] {
            let site = Site::new(json!({"format_type": format}));
            site.sync(stream(mode), &row(1, "old"));
            let log = log_of(&site);
            let calls = "trace=write,pwrite64,writev,fsync,fdatasync,renameat,renameat2,linkat";
            let mut command = traced(&site, mode, &["-e", calls], &log);
            let input = [row(2, "a"), STATE.to_owned(), row(3, "b"), STATE.to_owned(), status("COMPLETE")];
            // An overwrite confirms nothing before its end.
            let before_the_end = if mode == "overwrite" { 0 } else { 2 };
            let run = run_until_echoed(&mut command, &input.concat(), before_the_end);
            assert!(run.ok && run.states() == 2, "{run:?}");
            let root = fs::canonicalize(site.root()).unwrap().to_string_lossy().into_owned();
            let (mut disk, mut renames, mut syncs, mut echoes) = (Disk::default(), 0, 0, 0);
            for line in in_order(&fs::read_to_string(&log).unwrap()) {
                renames += usize::from(line.contains("renameat") || line.contains("linkat"));
                syncs += usize::from(line.contains("sync("));
                if disk.follow(&line, &root) {
                    echoes += 1;
                    assert!(
                        disk.dirty.is_empty(),
                        "{format}, {mode}: not synced at an echo: {:?}",
                        disk.dirty
                    );
                    assert!(
                        disk.unsynced.is_empty(),
                        "{format}, {mode}: names not synced: {:?}",
                        disk.unsynced
                    );
                }
            }
            assert!(renames > 0 && syncs > 1 && echoes > 0, "{format}, {mode}: {renames}, {syncs}, {echoes}");
        }
    }
}
