//! Stores that fail, and objects that change while they are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use testkit::Exit;
use testkit::services::{Action, Authority, FaultyStore, Nginx};

use crate::harness::{Lake, put};

/// Some megabytes: several ranges.
fn large(mark: &str) -> String {
    let mut text = String::from("id,text\n");
    for n in 0..70_000 {
        text += &format!("{n},{mark} and some more text to make the row longer - of number {n}\n");
    }
    text
}

fn is_range(asked: &testkit::services::Asked) -> bool {
    asked.is("GET", &["big.csv"]) && asked.headers.to_ascii_lowercase().contains("range: bytes=")
}

#[test]
fn s3_05_busy_stores_lost_connections_and_cut_bodies_cost_nothing_but_time() {
    let lake = Lake::csv();
    lake.put("big.csv", large("x"), 0);
    let count = AtomicUsize::new(0);
    let proxy = FaultyStore::before(lake.store.port, move |asked| {
        if !asked.is("GET", &["big.csv"]) {
            return Action::Pass;
        }
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => Action::Answer(503, "SlowDown"),
            1 => Action::Answer(500, "InternalError"),
            2 => Action::Refuse,
            // The length announced is longer than what comes.
            3 => Action::Cut(700_000),
            5 => Action::Cut(1),
            _ => Action::Pass,
        }
    });
    let lake = lake.through(&proxy).stream("input_schema", json!(r#"{"id": "integer"}"#));
    let run = lake.read();
    let rows = run.ok().rows();
    assert_eq!(rows.len(), 70_000);
    assert!(rows.iter().enumerate().all(|(n, row)| *row == format!("{{\"id\":{n}}}")));
    assert!(run.logged("was interrupted at byte"));
}

#[test]
fn s3_02_an_object_that_is_replaced_while_read_is_read_anew_and_versions_never_mix() {
    let lake = Lake::csv();
    lake.put("big.csv", large("old"), 0);
    let stream = lake.found();
    let path = lake.path("big.csv");
    let ranges = AtomicUsize::new(0);
    let proxy = FaultyStore::before(lake.store.port, move |asked| {
        if is_range(asked) && ranges.fetch_add(1, Ordering::SeqCst) == 2 {
            put(&path, large("new").as_bytes(), 500);
        }
        Action::Pass
    });
    let lake = lake.through(&proxy);
    let run = lake.sync(&stream, None);
    let rows = run.ok().rows();
    let new = rows.iter().position(|r| r.contains("\"new and")).expect("rows of the new version");
    assert!(rows[..new].iter().all(|r| r.contains("\"old and")));
    assert_eq!(rows.len() - new, 70_000);
    assert!(
        rows[new..]
            .iter()
            .enumerate()
            .all(|(n, r)| r.starts_with(&format!("{{\"id\":\"{n}\",\"text\":\"new")))
    );
    assert!(run.logged("was replaced while it was read"));
    assert_eq!(run.state_value()["history"]["big.csv"], "2026-01-01T00:08:20.000000Z");
}

#[test]
fn s3_03_an_object_that_is_removed_before_it_is_read_is_left_out_and_counted() {
    let lake = Lake::csv();
    for n in 0..3 {
        lake.put(&format!("{n}.csv"), format!("id\n{n}\n"), n);
    }
    let stream = lake.found();
    let path = lake.path("1.csv");
    let proxy = FaultyStore::before(lake.store.port, move |asked| {
        if asked.is("GET", &["0.csv"]) {
            let _ = std::fs::remove_file(&path);
        }
        Action::Pass
    });
    let run = lake.through(&proxy).sync(&stream, None);
    assert_eq!(run.ok().files(), ["0.csv", "2.csv"]);
    assert!(run.logged("1.csv was removed before it was read") && run.logged("1 files were removed"));
}

#[test]
fn s3_06_credentials_that_expire_in_the_middle_are_named_and_the_next_sync_goes_on() {
    let lake = Lake::csv();
    for n in 0..4 {
        lake.put(&format!("{n}.csv"), format!("id\n{n}\n"), n);
    }
    let stream = lake.found();
    let expired = Arc::new(AtomicUsize::new(1));
    let flag = Arc::clone(&expired);
    let proxy = FaultyStore::before(lake.store.port, move |asked| {
        if flag.load(Ordering::SeqCst) == 1 && asked.is("GET", &["2.csv"]) {
            Action::Answer(400, "ExpiredToken")
        } else {
            Action::Pass
        }
    });
    let lake = lake.through(&proxy);
    let run = lake.sync(&stream, None);
    assert_ne!(run.output.exit, Exit::Code(0));
    assert!(run.error().contains("expired"), "{}", run.error());
    assert_eq!(run.files(), ["0.csv", "1.csv"]);
    expired.store(0, Ordering::SeqCst);
    let next = lake.sync(&stream, Some(&run.state()));
    assert_eq!(next.ok().files(), ["2.csv", "3.csv"]);
}

#[test]
fn a_store_that_stays_away_ends_the_sync_with_what_to_check() {
    let lake = Lake::csv();
    lake.put("a.csv", "id\n1\n", 0);
    let stream = lake.found();
    let proxy = FaultyStore::before(lake.store.port, |asked| {
        if asked.is("GET", &["a.csv"]) { Action::Answer(403, "AccessDenied") } else { Action::Pass }
    });
    let run = lake.through(&proxy).sync(&stream, None);
    assert_ne!(run.output.exit, Exit::Code(0));
    assert!(run.error().contains("denied"), "{}", run.error());
}

#[test]
fn s3_17_a_store_behind_tls_is_believed_only_with_a_certificate_that_is_trusted_and_its_own() {
    let mut lake = Lake::csv();
    lake.put("a.csv", "id\n1\n", 0);
    let authority = Authority::new();
    let pass = format!(
        "location / {{ proxy_pass http://127.0.0.1:{}; proxy_set_header Host $http_host; proxy_http_version 1.1; }}",
        lake.store.port
    );
    let server = Nginx::start(authority.issue("DNS:localhost"), &pass);
    lake.config["endpoint"] = format!("https://localhost:{}", server.port).into();
    let error = lake.check().error();
    assert!(error.contains("cannot prove who it is"), "{error}");
    lake.authority = Some(authority.certificate());
    assert_eq!(lake.read().ok().rows(), [r#"{"id":"1"}"#]);
    lake.config["endpoint"] = format!("https://127.0.0.1:{}", server.port).into();
    let error = lake.check().error();
    assert!(error.contains("cannot prove who it is"), "{error}");
}
