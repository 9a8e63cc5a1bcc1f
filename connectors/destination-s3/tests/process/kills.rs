//! kill -9 at every step of an upload and of an overwrite, and a rerun.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use testkit::services::{Action, FaultyStore};

use crate::harness::{STATE, Site, noise, row, status, stream};

/// Longer than a request takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Rows of the run that is killed: enough for more than one part.
const ROWS: usize = 84;
/// Rows of the others.
const FEW: usize = 3;

fn input(version: &str, count: usize) -> String {
    let row = |id| row(id as i64, &format!("{version}{}", noise(id as u64, 64 << 10)));
    let rows: String = (0..count).map(row).collect();
    [status("STARTED"), rows, STATE.to_owned(), status("COMPLETE")].concat()
}

/// Kills the run when it makes its request `at`, which the store does, or does not do, all the same. False when it
/// makes fewer.
fn killed_at(site: &mut Site, mode: &str, at: usize, done: bool) -> bool {
    let (met, meet) = channel();
    let met = Mutex::new(met);
    let proxy = FaultyStore::before(site.server.port, move |asked| {
        if asked.number < at {
            return Action::Pass;
        }
        let _ = met.lock().unwrap().send(());
        if asked.number == at && done { Action::Swallow(500, "InternalError") } else { Action::Refuse }
    });
    site.config["s3_endpoint"] = proxy.endpoint().into();
    let mut child = site
        .command(&[stream(mode)])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let text = input("b", ROWS);
    let feeder = std::thread::spawn(move || {
        let _ = stdin.write_all(text.as_bytes());
    });
    let reached = loop {
        if meet.recv_timeout(Duration::from_millis(20)).is_ok() {
            // No later request of ours reaches the store.
            let until = Instant::now() + PATIENCE;
            while done && proxy.swallowed() == 0 {
                assert!(Instant::now() < until, "the store does not answer");
                std::thread::sleep(Duration::from_millis(1));
            }
            break true;
        }
        if child.try_wait().unwrap().is_some() {
            break false;
        }
    };
    let _ = child.kill();
    child.wait().unwrap();
    feeder.join().unwrap();
    site.config["s3_endpoint"] = site.server.endpoint().into();
    reached
}

/// How many rows of each version are seen.
fn versions(site: &Site) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (_, v) in site.rows() {
        *counts.entry(v[..1].to_owned()).or_insert(0) += 1;
    }
    counts
}

fn kill_at_every_step(mode: &str, done: bool, after: &[(&str, usize)]) {
    let mut steps = 0;
    for at in 0..60 {
        let mut site = Site::jsonl();
        site.sync(stream(mode), &input("a", FEW));
        if !killed_at(&mut site, mode, at, done) {
            break;
        }
        steps += 1;
        // Never part of an object; and old rows only go once the new ones are all there.
        let seen = versions(&site);
        assert!(
            seen.iter().all(|(v, rows)| *rows == if v == "b" { ROWS } else { FEW }),
            "{mode}, killed at {at}: {seen:?}"
        );
        assert!(mode == "overwrite" || seen.contains_key("a"), "{mode}, killed at {at}: {seen:?}");
        site.sync(stream(mode), &input("c", FEW));
        let mut seen = versions(&site);
        // Rows of a run that was killed after it had confirmed them stay; no others do.
        let confirmed = seen.remove("b");
        assert!(mode == "append" || confirmed.is_none(), "{mode}, killed at {at}");
        let expected: BTreeMap<_, _> = after.iter().map(|(v, n)| ((*v).to_owned(), *n)).collect();
        assert_eq!(seen, expected, "{mode}, killed at {at}");
        assert_eq!(site.list()["objects"].as_array().unwrap().len(), site.objects().len());
    }
    assert!(steps >= 8, "{mode}: only {steps} steps were tried");
}

#[test]
fn df_01_an_append_that_is_killed_before_any_step_leaves_nothing_by_halves() {
    kill_at_every_step("append", false, &[("a", FEW), ("c", FEW)]);
}

#[test]
fn df_01_an_append_that_is_killed_after_any_step_leaves_nothing_by_halves() {
    kill_at_every_step("append", true, &[("a", FEW), ("c", FEW)]);
}

#[test]
fn df_01_an_overwrite_that_is_killed_before_any_step_leaves_the_old_rows_or_the_new_ones() {
    kill_at_every_step("overwrite", false, &[("c", FEW)]);
}

#[test]
fn df_01_an_overwrite_that_is_killed_after_any_step_leaves_the_old_rows_or_the_new_ones() {
    kill_at_every_step("overwrite", true, &[("c", FEW)]);
}
