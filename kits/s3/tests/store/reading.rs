//! Listing and reading, whole and interrupted.

use std::io::Read;

use s3_kit::{Bytes, Condition, Fault, Store};
use testkit::services::{Action, FaultyStore, ObjectStore, StoreKind};

use crate::{run, store};

async fn put(store: &Store, key: &str, bytes: impl Into<Bytes>) {
    store.put(key, "text/plain", bytes.into(), Condition::Any, &[]).await.unwrap();
}

async fn keys(store: &Store, prefix: &str) -> Vec<String> {
    let mut listing = store.list(prefix, None);
    let mut keys = Vec::new();
    while let Some(page) = listing.next_page().await.unwrap() {
        keys.extend(page.into_iter().map(|o| o.key));
    }
    keys
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i % 251) as u8).collect()
}

#[test]
fn what_was_written_is_listed_and_read_back_whole_and_in_ranges() {
    for kind in [StoreKind::Strict, StoreKind::Quick] {
        let server = ObjectStore::start(kind);
        let store = store(&server.endpoint());
        run(async {
            let body = pattern(300_000);
            for key in ["a/1.txt", "a/2.txt", "a-1/3.txt", "b"] {
                put(&store, key, body.clone()).await;
            }
            assert_eq!(keys(&store, "a/").await, ["a/1.txt", "a/2.txt"], "{kind:?}");
            let mut listing = store.list("", Some("a/1.txt"));
            let page = listing.next_page().await.unwrap().unwrap();
            assert_eq!(page.iter().map(|o| o.key.as_str()).collect::<Vec<_>>(), ["a/2.txt", "b"]);
            assert!(page.iter().all(|o| o.size == 300_000 && o.modified > 1_700_000_000_000_000));
            let head = store.head("b").await.unwrap().unwrap();
            // The strict one lists no ETags.
            assert!(head.size == 300_000 && (page[1].etag.is_empty() || page[1].etag == head.etag));
            assert!(store.head("nothing").await.unwrap().is_none());
            for (start, end) in
                [(0, None), (100, None), (0, Some(10)), (299_990, Some(400_000)), (7, Some(7))]
            {
                let mut body_of = store.read("b", Some(&head.etag), start, end).await.unwrap();
                let mut read = Vec::new();
                body_of.read_to_end(&mut read).unwrap();
                let upto = end.map_or(body.len(), |e| (e as usize).min(body.len()));
                assert_eq!(read, &body[start as usize..upto], "{kind:?} {start} {end:?}");
                assert_eq!(body_of.size(), read.len() as u64);
            }
        });
    }
}

#[test]
fn s3_07_keys_of_any_spelling_come_back_as_they_were_named() {
    let server = ObjectStore::start(StoreKind::Quick);
    let store = store(&server.endpoint());
    let odd =
        ["a b.csv", "a+b.csv", "a%2Fb.csv", "caf\u{e9}.csv", "cafe\u{301}.csv", "q?x=1&y#z.csv", "🦀.csv"];
    run(async {
        for key in odd {
            put(&store, key, key.as_bytes().to_vec()).await;
        }
        let mut listed = keys(&store, "").await;
        listed.sort();
        let mut expected = odd.map(str::to_owned);
        expected.sort();
        assert_eq!(listed, expected);
        for key in odd {
            assert_eq!(store.get(key, 1000).await.unwrap().unwrap().0, key.as_bytes(), "{key}");
        }
    });
}

#[test]
fn a_listing_of_many_pages_has_every_key_once_though_one_page_fails() {
    let server = ObjectStore::start(StoreKind::Quick);
    let direct = store(&server.endpoint());
    run(async {
        for number in 0..1_050 {
            put(&direct, &format!("k/{number:05}"), "").await;
        }
    });
    // The second page fails once, for good as the client sees it.
    let faulty = FaultyStore::before(server.port, |asked| {
        if asked.is("GET", &["continuation-token"]) && asked.number < 2 {
            Action::Answer(403, "AccessDenied")
        } else {
            Action::Pass
        }
    });
    let store = store(&faulty.endpoint());
    run(async {
        let mut listing = store.list("k/", None);
        let mut keys = listing.next_page().await.unwrap().unwrap();
        assert_eq!(keys.len(), 1_000);
        listing.next_page().await.unwrap_err();
        while let Some(page) = listing.next_page().await.unwrap() {
            keys.extend(page);
        }
        let names: Vec<_> = keys.into_iter().map(|o| o.key).collect();
        assert!(names == (0..1_050).map(|n| format!("k/{n:05}")).collect::<Vec<_>>(), "{} keys", names.len());
    });
}

#[test]
fn s3_05_busy_failing_cut_and_truncated_answers_are_read_on_from_where_they_ended() {
    let server = ObjectStore::start(StoreKind::Strict);
    let body = pattern(3_000_000);
    run(put(&store(&server.endpoint()), "big", body.clone()));
    let faulty = FaultyStore::before(server.port, |asked| match asked.number {
        0 => Action::Answer(503, "SlowDown"),
        1 => Action::Answer(500, "InternalError"),
        2 => Action::Refuse,
        3 => Action::Cut(1_000_000),
        4 => Action::Cut(1_500_000),
        _ => Action::Pass,
    });
    let store = store(&faulty.endpoint());
    run(async {
        let mut read = Vec::new();
        store.read("big", None, 0, None).await.unwrap().read_to_end(&mut read).unwrap();
        assert!(read == body, "{} bytes", read.len());
    });
    let seen = faulty.seen();
    assert_eq!(seen.len(), 6);
    assert!(seen[4].headers.contains("bytes=1000000-2999999"), "{}", seen[4].headers);
    assert!(seen[5].headers.contains("bytes=2500000-2999999"), "{}", seen[5].headers);
}

#[test]
fn a_body_that_always_ends_early_is_an_error_and_not_the_end() {
    let server = ObjectStore::start(StoreKind::Strict);
    run(put(&store(&server.endpoint()), "big", pattern(1_000_000)));
    let faulty = FaultyStore::before(server.port, |asked| {
        if asked.number == 0 { Action::Cut(500_000) } else { Action::Cut(0) }
    });
    let store = store(&faulty.endpoint());
    run(async {
        let mut read = Vec::new();
        let error =
            store.read("big", None, 0, None).await.unwrap().read_to_end(&mut read).unwrap_err().to_string();
        assert!(error.contains("s3://lake/big") && error.contains("try again"), "{error}");
        assert_eq!(read.len(), 500_000);
    });
}

#[test]
fn s3_02_an_object_that_is_replaced_while_it_is_read_is_never_a_mix() {
    let server = ObjectStore::start(StoreKind::Strict);
    let direct = store(&server.endpoint());
    run(put(&direct, "o", pattern(2_000_000)));
    let faulty = FaultyStore::before(server.port, |asked| {
        if asked.number == 0 { Action::Cut(1_000_000) } else { Action::Pass }
    });
    let store = store(&faulty.endpoint());
    run(async {
        let mut body = store.read("o", None, 0, None).await.unwrap();
        put(&direct, "o", vec![7; 2_000_000]).await;
        let mut read = Vec::new();
        let error = body.read_to_end(&mut read).unwrap_err();
        let cause = error.get_ref().and_then(|e| e.downcast_ref::<s3_kit::Error>()).unwrap();
        assert_eq!(cause.fault(), Fault::Changed, "{cause}");
        assert!(pattern(2_000_000).starts_with(&read), "only bytes of the first version");
    });
}

#[test]
fn s3_03_an_object_that_is_gone_is_told_from_other_errors() {
    let server = ObjectStore::start(StoreKind::Strict);
    let store = store(&server.endpoint());
    run(async {
        let error = store.read("gone", None, 0, None).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Missing, "{error}");
        assert!(store.get("gone", 10).await.unwrap().is_none());
    });
}

#[test]
fn a_reader_that_goes_away_ends_the_download() {
    let server = ObjectStore::start(StoreKind::Strict);
    let store = store(&server.endpoint());
    run(async {
        put(&store, "big", pattern(20_000_000)).await;
        for _ in 0..20 {
            let mut body = store.read("big", None, 0, None).await.unwrap();
            let mut some = [0; 10];
            body.read_exact(&mut some).unwrap();
        }
        // All of them together would have filled the queue of connections by now.
        assert_eq!(store.head("big").await.unwrap().unwrap().size, 20_000_000);
    });
}
