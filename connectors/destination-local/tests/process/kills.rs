//! Kills at any moment: readers see one whole version of the rows, never a mix.

use std::collections::HashSet;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::{Site, generation, rows_in, stream};

const RUNS: i64 = 40;
const ROWS: i64 = 300;

/// Every run sends all keys with its own number as the value, so each visible version is
/// told from the others. Kills are spread evenly over twice the time of a whole run.
fn kill_at_every_moment(mode: &str) {
    let site = Site::parquet();
    let input =
        |run: i64| (0..ROWS).map(|id| crate::harness::row(id, &format!("{run:04}"))).collect::<String>();
    let started = Instant::now();
    site.sync(stream(mode), &input(0));
    let whole = started.elapsed();
    let (mut last, mut killed) = (0, 0);
    for run in 1..=RUNS {
        let catalog = if mode == "overwrite" { generation(mode, run, run) } else { stream(mode) };
        let mut child = site
            .command(&[catalog])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input(run).as_bytes()).unwrap();
        std::thread::sleep(whole.mul_f64(run as f64 * 2.0 / RUNS as f64).min(Duration::from_secs(1)));
        let finished = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        killed += i64::from(!finished);
        let rows = rows_in(&site.root().join("s"));
        let versions: HashSet<&str> = rows.iter().map(|(_, v)| v.as_str()).collect();
        assert_eq!((rows.len() as i64, versions.len()), (ROWS, 1), "{mode}, run {run}: {versions:?}");
        let version: i64 = rows[0].1.parse().unwrap();
        assert!(
            version >= last && version <= run && (!finished || version == run),
            "{mode}: {version} after {last}"
        );
        last = version;
    }
    assert!(killed > 0, "no run was killed, so nothing was tested");
    site.sync(stream(mode), &input(RUNS + 1));
    assert_eq!(site.rows()[0].1, format!("{:04}", RUNS + 1));
    let left: Vec<_> =
        std::fs::read_dir(site.root().join(".ferry")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["s.lock"], "the last run cleared up after the others");
}

#[test]
fn df_01_an_overwrite_shows_the_old_rows_or_the_new_ones_whenever_it_is_killed() {
    kill_at_every_moment("overwrite");
}

#[test]
fn df_01_a_merge_shows_one_row_per_key_whenever_it_is_killed() {
    kill_at_every_moment("append_dedup");
}
