//! Rows and the states that cover them, committed together for a connection that asks again.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use testkit::services::{Action, FaultyStore};

use crate::harness::{BINARY, ROOT, Run, STATE, Site, finish, noise, owned, row, rows, run, status, stream};

/// As ferry says which run it is.
fn of_connection(command: &mut Command, connection: &str, job: &str) {
    command.env("FERRY_CONNECTION", connection).env("WORKER_JOB_ID", job).env("WORKER_JOB_ATTEMPT", "0");
}

fn write(site: &Site, streams: &[Value], connection: &str, job: &str, input: &str) -> Run {
    let mut command = site.command(streams);
    of_connection(&mut command, connection, job);
    run(&mut command, input)
}

fn committed(site: &Site, streams: &[Value], connection: &str) -> Vec<Value> {
    let config = site.folder.json("config.json", &site.config);
    let catalog = site.folder.json("catalog.json", &json!({"streams": streams}));
    let mut command = Command::new(BINARY);
    command.args(["committed", "--config", &config, "--catalog", &catalog]);
    of_connection(&mut command, connection, "9");
    let run = run(&mut command, "");
    assert!(run.ok, "{}", run.text);
    run.of_kind("STATE").into_iter().map(|line| line["state"].clone()).collect()
}

fn state(n: u64) -> String {
    STATE.replace("{\"n\":1}", &format!("{{\"n\":{n}}}"))
}

/// All of it, as a source says it that has come to its end.
fn whole(input: &[String]) -> String {
    [&[status("STARTED")], input, &[status("COMPLETE")]].concat().concat()
}

#[test]
fn the_last_state_of_a_connection_is_found_beside_its_rows() {
    let site = Site::jsonl();
    let append = [stream("append")];
    assert_eq!(committed(&site, &append, "c"), [Value::Null; 0]);
    let input = whole(&[row(1, "a"), state(1), row(2, "b"), state(2)]);
    let run = write(&site, &append, "c", "7", &input);
    assert!(run.ok && run.states() == 2, "{}", run.text);
    let found = committed(&site, &append, "c");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["stream"]["stream_state"], json!({"n": 2}));
    assert_eq!(found[0]["ferrybyte"], json!({"job": 7, "attempt": 0}));
    assert_eq!(committed(&site, &append, "another"), [Value::Null; 0]);
    let mut elsewhere = stream("append");
    elsewhere["stream"]["name"] = "t".into();
    assert_eq!(committed(&site, &[elsewhere], "c"), [Value::Null; 0], "of the streams that are asked for");
    assert_eq!(site.rows(), owned(&[(1, "a"), (2, "b")]));
}

#[test]
fn rows_after_the_last_state_of_a_source_that_failed_are_dropped_and_come_once() {
    let site = Site::jsonl();
    let append = [stream("append")];
    assert!(write(&site, &append, "c", "1", &whole(&[row(1, "a"), state(1)])).ok);
    let broken = [status("STARTED"), row(2, "b"), status("INCOMPLETE")].concat();
    assert!(write(&site, &append, "c", "2", &broken).ok);
    assert_eq!(site.rows(), owned(&[(1, "a")]));
    assert!(write(&site, &append, "c", "3", &whole(&[row(2, "b"), state(2)])).ok);
    assert_eq!(site.rows(), owned(&[(1, "a"), (2, "b")]));
    assert_eq!(site.unfinished(), [""; 0]);
}

#[test]
fn a_stream_that_is_complete_stays_when_a_later_one_fails_in_the_middle() {
    let site = Site::jsonl();
    let mut second = stream("append");
    second["stream"]["name"] = "t".into();
    let of_second = |text: String| text.replace("\"s\"", "\"t\"");
    let input = [
        whole(&[row(1, "a"), state(1)]),
        of_second([status("STARTED"), row(1, "x"), state(1), row(2, "y"), status("INCOMPLETE")].concat()),
    ];
    let run = write(&site, &[stream("append"), second.clone()], "c", "1", &input.concat());
    assert!(run.ok, "{}", run.text);
    assert!(!run.text.contains("mixes its streams"), "{}", run.text);
    assert_eq!(site.rows(), owned(&[(1, "a")]));
    let found = committed(&site, &[stream("append"), second], "c");
    assert!(found.iter().any(|s| s["stream"]["stream_descriptor"]["name"] == "s"), "{found:?}");
}

#[test]
fn an_earlier_process_cannot_commit_once_somebody_has_asked_what_is_committed() {
    let site = Site::jsonl();
    let append = [stream("append")];
    let mut first = site.command(&append);
    of_connection(&mut first, "c", "1");
    let mut first =
        first.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = first.stdin.take().unwrap();
    stdin.write_all([row(1, "a"), state(1)].concat().as_bytes()).unwrap();
    // It lives, and has the stream.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !site.everything().contains_key(&format!("{ROOT}/_ferry/s.json")) {
        assert!(std::time::Instant::now() < until, "it never began");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(committed(&site, &append, "c"), [Value::Null; 0]);
    drop(stdin);
    let mut said = String::new();
    BufReader::new(first.stdout.take().unwrap()).read_to_string(&mut said).unwrap();
    assert!(!finish(first).ok);
    assert!(said.contains("has taken over") && !said.contains("\"type\":\"STATE\""), "{said}");
    assert!(write(&site, &append, "c", "2", &whole(&[row(1, "a"), state(1)])).ok);
    assert_eq!(site.rows(), owned(&[(1, "a")]));
    assert_eq!(site.unfinished(), [""; 0]);
}

#[test]
fn a_second_attempt_at_a_job_adds_a_whole_stream_once_and_another_job_adds_it_again() {
    let site = Site::jsonl();
    let mut stream = stream("append");
    stream["sync_mode"] = "full_refresh".into();
    let input = whole(&[row(1, "a"), state(1)]);
    for (job, copies) in [("1", 1), ("1", 1), ("2", 2)] {
        let run = write(&site, std::slice::from_ref(&stream), "c", job, &input);
        assert!(run.ok && run.states() == 1, "{}", run.text);
        assert_eq!(site.rows().len(), copies, "job {job}");
    }
    let broken = [status("STARTED"), row(2, "b"), state(1), status("INCOMPLETE")].concat();
    assert_eq!(write(&site, &[stream], "c", "3", &broken).states(), 0, "held until it is complete");
    assert_eq!(site.rows().len(), 2);
}

#[test]
fn a_stream_that_is_complete_takes_no_room_from_those_that_follow() {
    const STREAMS: usize = 45;
    let site = Site::jsonl();
    let (mut streams, mut input) = (Vec::new(), String::new());
    for n in 0..STREAMS {
        let mut overwrite = stream("overwrite");
        overwrite["sync_mode"] = "full_refresh".into();
        overwrite["stream"]["name"] = format!("s{n}").into();
        streams.push(overwrite);
        // Together more than may wait to be sent; the last one is large.
        let count = if n + 1 < STREAMS { 14 } else { 75 };
        let rows = (0..count).map(|id| row(id, &noise(id as u64, 64 << 10)));
        input += &whole(&[rows.collect(), state(1)]).replace("\"s\"", &format!("\"s{n}\""));
    }
    let run = write(&site, &streams, "c", "1", &input);
    assert!(run.ok && run.states() == STREAMS, "{}", &run.text[..run.text.len().min(2_000)]);
    assert_eq!(site.objects().len(), STREAMS, "one for each");
}

/// A run of `connection` whose commit is reached while its objects are not completed, or is not reached.
fn interrupted(site: &mut Site, connection: &str, reached: bool) {
    let puts = AtomicUsize::new(0);
    let proxy = FaultyStore::before(site.server.port, move |asked| {
        // The record is written when the run begins and for the commit.
        let record = asked.is("PUT", &["/.commits/"]) && puts.fetch_add(1, Ordering::SeqCst) == 1;
        let ends = asked.is("POST", &["uploadId="]);
        if record && !reached || ends { Action::Answer(403, "AccessDenied") } else { Action::Pass }
    });
    site.config["s3_endpoint"] = proxy.endpoint().into();
    let run = write(site, &[stream("append")], connection, "1", &whole(&[row(1, "a"), state(1)]));
    assert!(run.error().contains("denied") && run.states() == 0, "{}", run.text);
    site.config["s3_endpoint"] = site.server.endpoint().into();
    assert_eq!(site.rows(), owned(&[]));
    assert!(site.list()["intent"]["commit"].is_object());
}

#[test]
fn a_commit_that_was_reached_is_ended_by_whoever_writes_the_stream_next_and_another_is_taken_back() {
    for (next, reached) in [("c", true), ("c", false), ("d", true), ("d", false), ("", true), ("", false)] {
        let mut site = Site::jsonl();
        interrupted(&mut site, "c", reached);
        assert_eq!(committed(&site, &[stream("append")], "c").len(), usize::from(reached));
        let more = whole(&[row(2, "b"), state(2)]);
        if next.is_empty() {
            site.sync(stream("append"), &more);
        } else {
            assert!(write(&site, &[stream("append")], next, "2", &more).ok);
        }
        let expected: &[_] = if reached { &[(1, "a"), (2, "b")] } else { &[(2, "b")] };
        assert_eq!(site.rows(), owned(expected), "{next:?}, reached: {reached}");
        assert_eq!(site.unfinished(), [""; 0]);
    }
}

#[test]
fn a_stream_that_is_no_longer_written_is_settled_before_the_next_commit() {
    for reached in [true, false] {
        let mut site = Site::jsonl();
        interrupted(&mut site, "c", reached);
        let mut other = stream("append");
        other["stream"]["name"] = "t".into();
        let input = whole(&[row(5, "x"), state(1)]).replace("\"s\"", "\"t\"");
        assert!(write(&site, &[other], "c", "2", &input).ok);
        let expected: &[_] = if reached { &[(1, "a")] } else { &[] };
        assert_eq!(site.rows(), owned(expected), "reached: {reached}");
        assert!(site.list()["intent"].is_null());
        site.sync(stream("append"), &rows(&[(3, "c")]));
        assert_eq!(site.rows().len(), expected.len() + 1, "reached: {reached}");
    }
}

#[test]
fn committed_rows_that_a_rule_of_the_bucket_dropped_are_named_with_what_to_do() {
    let mut site = Site::jsonl();
    interrupted(&mut site, "c", true);
    let proxy = FaultyStore::before(site.server.port, |asked| {
        let ends = asked.is("POST", &["uploadId="]);
        if ends { Action::Answer(404, "NoSuchUpload") } else { Action::Pass }
    });
    site.config["s3_endpoint"] = proxy.endpoint().into();
    for _ in 0..2 {
        let error = write(&site, &[stream("append")], "c", "2", "").error();
        assert!(error.contains("ferry state reset"), "{error}");
    }
    site.config["s3_endpoint"] = site.server.endpoint().into();
}

#[test]
fn a_list_that_is_gone_stops_a_stream_that_goes_on_from_its_state() {
    let site = Site::jsonl();
    let append = [stream("append")];
    assert!(write(&site, &append, "c", "1", &whole(&[row(1, "a"), state(1)])).ok);
    std::fs::remove_file(
        site.server.files(testkit::services::ObjectStore::BUCKET).join(ROOT).join("_ferry/s.json"),
    )
    .unwrap();
    let error = write(&site, &append, "c", "2", &whole(&[row(2, "b"), state(2)])).error();
    assert!(error.contains("_ferry/s.json") && error.contains("ferry state reset"), "{error}");
    assert!(write(&site, &append, "after-a-reset", "3", &whole(&[row(2, "b"), state(2)])).ok);
}

#[test]
fn a_run_whose_connection_nobody_names_keeps_no_states() {
    let site = Site::jsonl();
    site.sync(stream("append"), &whole(&[row(1, "a"), state(1)]));
    assert!(site.everything().keys().all(|key| !key.contains(".commits")), "{:?}", site.everything().keys());
    let mut first = site.command(&[stream("append")]);
    let mut first = first.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = first.stdin.take().unwrap();
    // Each stream is flushed by itself, as soon as it is complete.
    stdin.write_all([row(2, "b"), state(2), status("COMPLETE")].concat().as_bytes()).unwrap();
    let mut out = BufReader::new(first.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"STATE\"") {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0);
    }
    drop(stdin);
    assert!(first.wait().unwrap().success());
}
