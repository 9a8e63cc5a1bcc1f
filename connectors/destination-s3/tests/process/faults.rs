//! Stores that fail, lose answers, know us no longer, or are written by two.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use testkit::services::{Action, Asked, FaultyStore, StoreKind};

use crate::harness::{ROOT, STATE, Site, finish, generation, noise, owned, row, rows, status, stream};

fn behind(site: &mut Site, rule: impl Fn(&Asked) -> Action + Send + Sync + 'static) -> FaultyStore {
    let proxy = FaultyStore::before(site.server.port, rule);
    site.config["s3_endpoint"] = proxy.endpoint().into();
    proxy
}

#[test]
fn df_02_an_answer_that_is_lost_at_any_step_makes_no_second_object() {
    for mode in ["append", "overwrite"] {
        // Each request in turn is done by the store while its answer is replaced by a failure.
        for lost in 0..40 {
            let mut site = Site::jsonl();
            site.sync(stream(mode), &row(0, "before"));
            let proxy = behind(&mut site, move |asked| {
                if asked.number == lost { Action::Swallow(500, "InternalError") } else { Action::Pass }
            });
            let run = site.write(stream(mode), &[rows(&[(1, "a"), (2, "b")]), STATE.to_owned()].concat());
            assert!(run.ok && run.states() == 1, "{mode}, request {lost}: {}", run.text);
            let mut expected = owned(&[(1, "a"), (2, "b")]);
            if mode == "append" {
                expected.insert(0, (0, "before".into()));
            }
            assert_eq!(site.rows(), expected, "{mode}, request {lost}");
            if proxy.seen().len() <= lost {
                assert!(lost > 5, "a sync has more steps than {lost}");
                break;
            }
        }
    }
}

#[test]
fn df_08_a_store_that_is_busy_now_and_then_is_asked_again() {
    let mut site = Site::jsonl();
    let proxy = behind(&mut site, |asked| match asked.number % 4 {
        1 => Action::Answer(503, "SlowDown"),
        3 => Action::Refuse,
        _ => Action::Pass,
    });
    let input: String = (0..150).map(|id| row(id, &noise(id as u64, 64 << 10))).collect();
    site.sync(stream("append"), &input);
    assert_eq!(site.rows().len(), 150);
    assert!(proxy.seen().len() > 8);
}

#[test]
fn df_08_credentials_that_expire_are_named_and_what_was_confirmed_stays() {
    let mut site = Site::jsonl();
    site.sync(stream("append"), &row(0, "before"));
    for step in ["uploads", "partNumber=", "uploadId="] {
        let _proxy = behind(&mut site, move |asked| {
            if asked.method != "GET" && asked.target.contains(step) {
                Action::Answer(400, "ExpiredToken")
            } else {
                Action::Pass
            }
        });
        let run = site.write(stream("append"), &[row(1, "a"), STATE.to_owned()].concat());
        assert_eq!(run.states(), 0);
        assert!(run.error().contains("have expired"), "{step}: {}", run.error());
        site.config["s3_endpoint"] = site.server.endpoint().into();
        assert_eq!(site.rows(), owned(&[(0, "before")]), "{step}");
    }
    site.sync(stream("append"), &row(2, "after"));
    assert_eq!(site.rows(), owned(&[(0, "before"), (2, "after")]));
}

#[test]
fn rows_that_were_published_and_never_confirmed_are_taken_back_and_come_once() {
    let mut site = Site::jsonl();
    let lists = AtomicUsize::new(0);
    // The list is written when the run begins and before the objects appear; the third time says that they did.
    let proxy = behind(&mut site, move |asked| {
        let list = asked.is("PUT", &["_ferry/s.json"]);
        if list && lists.fetch_add(1, Ordering::SeqCst) >= 2 {
            Action::Answer(403, "AccessDenied")
        } else {
            Action::Pass
        }
    });
    let run = site.write(stream("append"), &[row(1, "a"), STATE.to_owned()].concat());
    assert!(run.error().contains("denied") && run.states() == 0, "{}", run.text);
    drop(proxy);
    site.config["s3_endpoint"] = site.server.endpoint().into();
    assert_eq!(site.rows(), owned(&[(1, "a")]), "the object is there, though nobody was told");
    site.sync(stream("append"), &row(1, "a"));
    assert_eq!(site.rows(), owned(&[(1, "a")]), "once");
}

#[test]
fn df_12_of_two_writers_the_first_ends_with_an_error_and_no_confirmed_row_is_lost() {
    let site = Site::jsonl();
    let mut first = site
        .command(&[stream("append")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = first.stdin.take().unwrap();
    stdin.write_all([row(1, "a"), STATE.to_owned(), status("COMPLETE")].concat().as_bytes()).unwrap();
    let mut out = BufReader::new(first.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"STATE\"") {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0);
    }
    assert_eq!(site.sync(stream("append"), &[row(2, "b"), STATE.to_owned()].concat()).states(), 1);
    stdin.write_all([row(3, "c"), STATE.to_owned()].concat().as_bytes()).unwrap();
    drop(stdin);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(!finish(first).ok);
    assert!(rest.contains("Another sync has begun") && !rest.contains("\"type\":\"STATE\""), "{rest}");
    assert_eq!(site.rows(), owned(&[(1, "a"), (2, "b")]));
    assert_eq!(site.unfinished(), [""; 0]);
}

#[test]
fn a_store_without_conditions_is_written_all_the_same() {
    let mut site = Site::jsonl();
    // As some stores do: what should be refused is said to be done.
    let proxy = behind(&mut site, |asked| {
        if asked.is("PUT", &["_ferry/.conditions.json"]) { Action::Answer(200, "None") } else { Action::Pass }
    });
    for (id, v) in [(1, "a"), (2, "b")] {
        let run = site.sync(stream("append"), &row(id, v));
        assert!(run.text.contains("does not keep to conditions"), "{}", run.text);
    }
    let lists: Vec<_> = proxy.seen().into_iter().filter(|a| a.is("PUT", &["_ferry/s.json"])).collect();
    assert!(lists.len() >= 4 && lists.iter().all(|a| !a.headers.to_ascii_lowercase().contains("if-match")));
    assert_eq!(site.rows(), owned(&[(1, "a"), (2, "b")]));
}

#[test]
fn uploads_that_a_rule_of_the_bucket_dropped_before_an_overwrite_appeared_leave_the_old_rows() {
    let mut site = Site::jsonl();
    site.sync(generation("overwrite", 1, 1), &row(1, "old"));
    let completions = AtomicUsize::new(0);
    let _proxy = behind(&mut site, move |asked| {
        if asked.is("POST", &["uploadId="]) && completions.fetch_add(1, Ordering::SeqCst) < 2 {
            Action::Answer(404, "NoSuchUpload")
        } else {
            Action::Pass
        }
    });
    assert!(!site.write(generation("overwrite", 2, 2), &row(2, "new")).ok);
    assert_eq!(site.rows(), owned(&[(1, "old")]));
    let broken = [status("STARTED"), row(3, "x"), status("INCOMPLETE")].concat();
    let run = site.sync(generation("overwrite", 3, 3), &broken);
    assert!(run.text.contains("uploads are gone"), "{}", run.text);
    assert_eq!(site.rows(), owned(&[(1, "old")]), "the old rows stay");
    site.sync(generation("overwrite", 4, 4), &row(4, "newer"));
    assert_eq!(site.rows(), owned(&[(4, "newer")]));
}

#[test]
fn a_list_that_is_damaged_or_anothers_stops_the_sync_before_anything_is_written() {
    let site = Site::jsonl();
    site.sync(stream("append"), &row(1, "a"));
    let good = site.list().to_string();
    for (text, said) in [
        ("{", "damaged"),
        (&good.replace("\"stream\":\"s\"", "\"stream\":\"t\""), "another stream"),
        (&good.replace("\"version\":1", "\"version\":2"), "newer version"),
    ] {
        site.put(&format!("{ROOT}/_ferry/s.json"), text);
        let error = site.write(stream("append"), &row(2, "b")).error();
        assert!(error.contains(said) && error.contains("_ferry/s.json"), "{error}");
        assert_eq!(site.rows(), owned(&[(1, "a")]));
    }
}

#[test]
fn df_06_names_of_streams_cannot_lead_out_of_the_path() {
    for name in ["..", "../../etc", "a/b", "a\u{0}b", "${YEAR}", "_ferry", "con", &"x".repeat(300), "é 🦀"]
    {
        // The strict one does not tell how it spells keys in lists.
        let site = Site::new(
            StoreKind::Quick,
            json!({"format_type": "JSONL", "flattening": "Root level flattening"}),
        );
        let mut hostile = stream("append");
        hostile["stream"]["name"] = name.into();
        hostile["stream"]["namespace"] = "..".into();
        let data = crate::harness::record(name, r#"{"id":1,"v":"a"}"#);
        let data = data.replace("\"stream\":", "\"namespace\":\"..\",\"stream\":");
        site.sync(hostile, &data);
        let keys: Vec<String> = site.objects().into_keys().collect();
        assert!(keys.len() == 1 && keys[0].starts_with(&format!("{ROOT}/%2E%2E/")), "{name:?}: {keys:?}");
        assert_eq!(keys[0].matches('/').count(), 4, "{keys:?}");
    }
}
