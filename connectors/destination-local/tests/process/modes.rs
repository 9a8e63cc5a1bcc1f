//! What each sync mode leaves behind, whole runs and broken ones.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{STATE, Site, finish, generation, owned, row, rows, status, stream, visible};

fn formats() -> Vec<Value> {
    vec![
        json!({"format_type": "parquet"}),
        json!({"format_type": "parquet", "compression_codec": "zstd"}),
        json!({"format_type": "jsonl"}),
        json!({"format_type": "jsonl", "compression": "gzip"}),
        json!({"format_type": "csv"}),
        json!({"format_type": "csv", "compression": "gzip"}),
    ]
}

#[test]
fn every_mode_in_every_format_ends_with_the_right_rows() {
    for format in formats() {
        for (mode, expected) in [
            ("overwrite", vec![(2, "c"), (3, "d\n\"x\"")]),
            ("append", vec![(1, "a"), (2, "b"), (2, "c"), (3, "d\n\"x\"")]),
            ("append_dedup", vec![(1, "a"), (2, "c"), (3, "d\n\"x\"")]),
        ] {
            let site = Site::new(format.clone());
            site.sync(stream(mode), &rows(&[(1, "a"), (2, "b")]));
            site.sync(stream(mode), &rows(&[(2, "c"), (3, "d\\n\\\"x\\\"")]));
            assert_eq!(site.rows(), owned(&expected), "{mode} {format}");
        }
    }
}

#[test]
fn an_overwrite_that_the_source_did_not_finish_changes_nothing() {
    let site = Site::parquet();
    site.sync(stream("overwrite"), &row(1, "old"));
    let before = visible(&site.root().join("s"));
    for end in [String::new(), status("INCOMPLETE")] {
        let run = site.write(stream("overwrite"), &[status("STARTED"), row(2, "new"), end].concat());
        assert!(run.ok, "{run:?}");
        assert_eq!(visible(&site.root().join("s")), before);
    }
    site.sync(stream("overwrite"), &[status("STARTED"), row(3, "newer"), status("COMPLETE")].concat());
    assert_eq!(site.rows(), owned(&[(3, "newer")]), "rows of the broken runs are not taken over");
}

#[test]
fn a_truncating_refresh_that_is_resumed_keeps_its_rows_and_drops_the_old_ones_at_the_end() {
    for mode in ["append", "append_dedup"] {
        let site = Site::jsonl();
        site.sync(generation(mode, 1, 0), &rows(&[(1, "old"), (9, "old")]));
        let broken = [status("STARTED"), row(1, "x"), STATE.to_owned(), status("INCOMPLETE")].concat();
        let run = site.write(generation(mode, 2, 2), &broken);
        assert!(run.ok && run.states() == 1, "{run:?}");
        assert_eq!(site.rows(), owned(&[(1, "old"), (9, "old")]), "{mode}: the old rows stay in view");
        site.sync(generation(mode, 2, 2), &[status("STARTED"), row(2, "y"), status("COMPLETE")].concat());
        assert_eq!(site.rows(), owned(&[(1, "x"), (2, "y")]), "{mode}");
    }
}

#[test]
fn an_interrupted_overwrite_echoes_nothing_and_starts_over() {
    let site = Site::jsonl();
    site.sync(generation("overwrite", 1, 1), &row(1, "old"));
    let broken = [status("STARTED"), row(2, "x"), STATE.to_owned(), status("INCOMPLETE")].concat();
    let run = site.write(generation("overwrite", 2, 2), &broken);
    assert!(run.ok && run.states() == 0, "the row will not survive, so its state is not echoed: {run:?}");
    assert_eq!(site.rows(), owned(&[(1, "old")]));
    let whole = [status("STARTED"), row(2, "x"), row(3, "y"), STATE.to_owned(), status("COMPLETE")].concat();
    let run = site.write(generation("overwrite", 2, 2), &whole);
    assert!(run.ok && run.states() == 1, "{run:?}");
    assert_eq!(site.rows(), owned(&[(2, "x"), (3, "y")]), "row 2 stands once");
}

#[test]
fn another_generation_does_not_take_over_what_an_overwrite_left() {
    let site = Site::jsonl();
    site.sync(generation("overwrite", 1, 1), &row(1, "old"));
    let broken = [status("STARTED"), row(2, "x"), STATE.to_owned(), status("INCOMPLETE")].concat();
    site.sync(generation("overwrite", 2, 2), &broken);
    site.sync(generation("overwrite", 3, 3), &row(3, "z"));
    assert_eq!(site.rows(), owned(&[(3, "z")]));
}

#[test]
fn a_client_that_always_says_generation_one_appends_and_replaces_as_it_asks() {
    let site = Site::parquet();
    site.sync(generation("append", 1, 1), &row(1, "a"));
    site.sync(generation("append", 1, 1), &row(2, "b"));
    assert_eq!(site.rows(), owned(&[(1, "a"), (2, "b")]), "generation 1 is not below 1");
    let site = Site::parquet();
    site.sync(generation("overwrite", 1, 1), &row(1, "a"));
    site.sync(generation("overwrite", 1, 1), &row(2, "b"));
    assert_eq!(site.rows(), owned(&[(2, "b")]), "a published generation is closed");
}

#[test]
fn df_05_an_empty_stream_is_an_empty_valid_file_and_replaces_rows() {
    for format in formats() {
        for mode in ["overwrite", "append", "append_dedup"] {
            let site = Site::new(format.clone());
            site.sync(stream(mode), "");
            assert_eq!(visible(&site.root().join("s")).len(), 1, "{mode} {format}");
            assert_eq!(site.rows(), []);
            site.sync(stream(mode), &row(1, "a"));
            assert_eq!(site.rows(), owned(&[(1, "a")]), "{mode} {format}");
            site.sync(stream(mode), "");
            assert_eq!(site.rows().len(), usize::from(mode != "overwrite"), "{mode} {format}");
        }
    }
}

#[test]
fn df_01_rows_whose_state_was_echoed_survive_a_kill() {
    for mode in ["append", "append_dedup"] {
        let site = Site::jsonl();
        let mut child = site
            .command(&[generation(mode, 1, 0)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A COMPLETE makes the kit flush, and then echo.
        stdin.write_all([row(1, "a"), STATE.to_owned(), status("COMPLETE")].concat().as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("STATE"), "{line}");
        child.kill().unwrap();
        child.wait().unwrap();
        site.sync(generation(mode, 1, 0), &row(2, "b"));
        assert_eq!(site.rows(), owned(&[(1, "a"), (2, "b")]), "{mode}");
    }
}

#[test]
fn a_directory_that_was_ready_when_the_run_died_is_published_by_the_next() {
    let site = Site::jsonl();
    site.sync(generation("overwrite", 1, 1), &row(1, "old"));
    site.sync(generation("append", 2, 2), &[status("STARTED"), row(2, "new"), STATE.to_owned()].concat());
    let manifest = site.root().join(".ferry/s.staging/.ferry-manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    assert!(text.contains("\"ready\":false"), "{text}");
    fs::write(&manifest, text.replace("\"ready\":false", "\"ready\":true")).unwrap();
    // A file whose rows went into a copy, and one of somebody else that was linked already.
    fs::write(manifest.with_file_name("00000001-0badcafe.jsonl"), "{\"id\":1,\"v\":\"copied\"}\n").unwrap();
    fs::write(manifest.with_file_name("notes.txt"), "mine").unwrap();
    fs::write(site.root().join("s/notes.txt"), "mine").unwrap();
    site.sync(generation("append", 2, 0), &row(3, "more"));
    assert!(!site.root().join(".ferry/s.staging").exists());
    assert_eq!(fs::read_to_string(site.root().join("s/notes.txt")).unwrap(), "mine");
    fs::remove_file(site.root().join("s/notes.txt")).unwrap();
    assert_eq!(site.rows(), owned(&[(2, "new"), (3, "more")]));
}

#[test]
fn df_03_what_a_kill_left_half_written_is_cleared_and_files_of_others_stay() {
    let site = Site::jsonl();
    site.sync(stream("append"), &row(1, "a"));
    let dir = site.root().join("s");
    fs::write(dir.join(".ferry-tmp-00000007-00000000.jsonl"), "half").unwrap();
    fs::write(dir.join("notes.txt"), "mine").unwrap();
    fs::write(dir.join(".hidden"), "mine").unwrap();
    fs::create_dir(dir.join("sub")).unwrap();
    fs::write(dir.join("sub/file"), "mine").unwrap();
    site.sync(stream("overwrite"), &row(2, "b"));
    for (name, content) in [("notes.txt", "mine"), (".hidden", "mine"), ("sub/file", "mine")] {
        assert_eq!(fs::read_to_string(dir.join(name)).unwrap(), content, "{name}");
    }
    let files: Vec<_> = visible(&dir).into_iter().filter(|n| n.ends_with(".jsonl")).collect();
    assert_eq!(files.len(), 1);
    assert!(!dir.join(".ferry-tmp-00000007-00000000.jsonl").exists());
    assert!(fs::read_to_string(dir.join(&files[0])).unwrap().contains("\"id\":2"));
    assert_eq!(fs::read_dir(site.root().join(".ferry")).unwrap().count(), 1, "only the lock file is left");
}

#[test]
fn df_12_a_second_writer_of_the_same_stream_is_refused_and_told_who_holds_it() {
    let site = Site::jsonl();
    let mut first = site
        .command(&[stream("append")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = first.stdin.take().unwrap();
    stdin.write_all([row(1, "a"), STATE.to_owned(), status("COMPLETE")].concat().as_bytes()).unwrap();
    let mut out = BufReader::new(first.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let error = site.write(stream("append"), &row(2, "b")).error();
    assert!(error.contains(&format!("process {}", first.id())), "{error}");
    drop(stdin);
    assert!(finish(first).ok);
    assert_eq!(site.rows(), owned(&[(1, "a")]));
}

#[test]
fn df_04_a_schema_that_grows_gives_new_files_the_new_columns() {
    let site = Site::jsonl();
    site.sync(stream("append"), &row(1, "a"));
    let mut wider = stream("append");
    wider["stream"]["json_schema"]["properties"]["extra"] = json!({"type": "boolean"});
    site.sync(wider, &crate::harness::record("s", r#"{"id":2,"v":"b","extra":true}"#));
    let dir = site.root().join("s");
    let texts: Vec<_> = visible(&dir).iter().map(|n| fs::read_to_string(dir.join(n)).unwrap()).collect();
    assert!(!texts[0].contains("\"extra\"") && texts[1].contains("\"extra\":true"), "{texts:?}");
    assert_eq!(site.rows(), owned(&[(1, "a"), (2, "b")]));
}
