//! Uploads, conditions and removals.

use s3_kit::{Bytes, Condition, Fault, Room, Store};
use testkit::services::{Action, FaultyStore, ObjectStore, StoreKind};

use crate::{run, settings, store};

const PART: usize = 5 << 20;

fn room() -> std::sync::Arc<Room> {
    Room::new(4 * PART)
}

async fn whole(store: &Store, key: &str) -> Option<Bytes> {
    store.get(key, 100 << 20).await.unwrap().map(|(bytes, _)| bytes)
}

fn part(byte: u8) -> Bytes {
    vec![byte; PART].into()
}

#[test]
fn an_upload_is_seen_once_it_is_completed_and_completing_again_is_no_error() {
    for kind in [StoreKind::Strict, StoreKind::Quick] {
        let server = ObjectStore::start(kind);
        let store = store(&server.endpoint());
        run(async {
            let metadata = vec![("ab-generation-id".to_owned(), "7".to_owned())];
            let mut upload = store.upload("x/y", "token-1", "text/plain", metadata, &room());
            upload.send(part(1)).unwrap();
            upload.send(part(2)).unwrap();
            upload.send(Bytes::from_static(b"end")).unwrap();
            let done = upload.finish().await.unwrap();
            assert!(whole(&store, "x/y").await.is_none(), "{kind:?}: not there before it is completed");
            let written = store.complete(&done).await.unwrap();
            let bytes = whole(&store, "x/y").await.unwrap();
            assert!(bytes[..PART] == part(1) && bytes.ends_with(b"end") && bytes.len() == 2 * PART + 3);
            assert_eq!(store.complete(&done).await.unwrap(), written, "{kind:?}");
            let head = store.head("x/y").await.unwrap().unwrap();
            assert_eq!(head.metadata.get("ab-generation-id").map(String::as_str), Some("7"), "{kind:?}");
        });
    }
}

#[test]
fn df_02_a_completion_that_succeeded_though_the_store_said_otherwise_is_recognised() {
    for (status, code) in [(500, "InternalError"), (503, "SlowDown"), (403, "AccessDenied")] {
        let server = ObjectStore::start(StoreKind::Strict);
        let faulty = FaultyStore::before(server.port, move |asked| {
            if asked.is("POST", &["uploadId="]) { Action::Swallow(status, code) } else { Action::Pass }
        });
        let store = store(&faulty.endpoint());
        run(async {
            let mut upload = store.upload("k", "mine", "text/plain", Vec::new(), &room());
            upload.send(Bytes::from_static(b"rows")).unwrap();
            let done = upload.finish().await.unwrap();
            store.complete(&done).await.unwrap();
            assert_eq!(whole(&store, "k").await.unwrap(), "rows", "{code}");
        });
    }
}

#[test]
fn a_completion_that_failed_is_not_taken_for_one_though_another_object_has_the_key() {
    let server = ObjectStore::start(StoreKind::Strict);
    let faulty = FaultyStore::before(server.port, |asked| {
        if asked.is("POST", &["uploadId="]) { Action::Answer(403, "AccessDenied") } else { Action::Pass }
    });
    let store = store(&faulty.endpoint());
    run(async {
        store.put("k", "text/plain", Bytes::from_static(b"theirs"), Condition::Any, &[]).await.unwrap();
        let mut upload = store.upload("k", "mine", "text/plain", Vec::new(), &room());
        upload.send(Bytes::from_static(b"rows")).unwrap();
        let done = upload.finish().await.unwrap();
        let error = store.complete(&done).await.unwrap_err();
        assert!(error.to_string().contains("denied"), "{error}");
        assert_eq!(whole(&store, "k").await.unwrap(), "theirs");
    });
}

#[test]
fn df_08_a_busy_store_is_asked_again_and_a_part_is_not_doubled() {
    let server = ObjectStore::start(StoreKind::Strict);
    let faulty = FaultyStore::before(server.port, |asked| match asked.number {
        0 => Action::Answer(503, "SlowDown"),
        2 => Action::Swallow(500, "InternalError"),
        4 => Action::Refuse,
        _ => Action::Pass,
    });
    let store = store(&faulty.endpoint());
    run(async {
        let mut upload = store.upload("k", "mine", "text/plain", Vec::new(), &room());
        upload.send(part(1)).unwrap();
        upload.send(part(2)).unwrap();
        let done = upload.finish().await.unwrap();
        store.complete(&done).await.unwrap();
        let bytes = whole(&store, "k").await.unwrap();
        assert!(bytes[..PART] == part(1) && bytes[PART..] == part(2));
    });
}

#[test]
fn df_08_a_clock_that_is_wrong_is_corrected_by_the_stores_and_named_when_that_does_not_help() {
    let server = ObjectStore::start(StoreKind::Strict);
    let once = FaultyStore::before(server.port, |asked| match asked.number {
        0 => Action::Answer(403, "RequestTimeTooSkewed"),
        _ => Action::Pass,
    });
    let always = FaultyStore::before(server.port, |_| Action::Answer(403, "RequestTimeTooSkewed"));
    let put = |endpoint: String| {
        let store = store(&endpoint);
        run(async move { store.put("k", "text/plain", Bytes::from_static(b"x"), Condition::Any, &[]).await })
    };
    let second = put(always.endpoint()).unwrap_err().to_string();
    assert!(second.contains("clock"), "{second}");
    let _ = put(once.endpoint());
    assert!(!once.seen().is_empty());
}

#[test]
fn df_08_expired_unknown_and_wrong_credentials_are_named() {
    let server = ObjectStore::start(StoreKind::Strict);
    let faulty = FaultyStore::before(server.port, |_| Action::Answer(400, "ExpiredToken"));
    let put = |settings: s3_kit::Settings| {
        let store = Store::new(settings).unwrap();
        run(async move { store.put("k", "text/plain", Bytes::from_static(b"x"), Condition::Any, &[]).await })
            .unwrap_err()
            .to_string()
    };
    let expired = put(settings(&faulty.endpoint()));
    assert!(expired.contains("have expired") && expired.contains("secret_access_key"), "{expired}");
    let mut wrong = settings(&server.endpoint());
    wrong.credentials = s3_kit::Credentials::Static {
        id: ObjectStore::ACCESS_KEY.to_owned().into(),
        secret: "wrong".to_owned().into(),
    };
    let wrong = put(wrong);
    assert!(wrong.contains("secret_access_key"), "{wrong}");
    // The strict one makes buckets as they are named.
    let quick = ObjectStore::start(StoreKind::Quick);
    let mut elsewhere = settings(&quick.endpoint());
    elsewhere.bucket = "nowhere".into();
    let elsewhere = put(elsewhere);
    assert!(elsewhere.contains("there is no bucket nowhere"), "{elsewhere}");
    let nobody = put(settings("http://127.0.0.1:9"));
    assert!(nobody.contains("s3_endpoint"), "{nobody}");
}

#[test]
fn an_aborted_upload_leaves_nothing_and_aborting_again_is_no_error() {
    // The strict one denies access to uploads it does not know.
    let server = ObjectStore::start(StoreKind::Quick);
    let store = store(&server.endpoint());
    run(async {
        let mut upload = store.upload("k", "mine", "text/plain", Vec::new(), &room());
        upload.send(part(1)).unwrap();
        let done = upload.finish().await.unwrap();
        upload.abort().await.unwrap();
        store.abort("k", &done.upload_id).await.unwrap();
        store.complete(&done).await.unwrap_err();
        assert!(whole(&store, "k").await.is_none());
    });
}

#[test]
fn conditions_hold_at_the_strict_store() {
    let server = ObjectStore::start(StoreKind::Strict);
    let store = store(&server.endpoint());
    run(async {
        let put = |condition| store.put("k", "application/json", Bytes::from_static(b"{}"), condition, &[]);
        let first = put(Condition::Absent).await.unwrap();
        assert_eq!(put(Condition::Absent).await.unwrap_err().fault(), Fault::Changed);
        put(Condition::Version(first.etag)).await.unwrap();
        assert_eq!(put(Condition::Version("\"0\"".into())).await.unwrap_err().fault(), Fault::Changed);
        store.delete(&["k".to_owned(), "never there".to_owned()]).await.unwrap();
        let gone = put(Condition::Version("\"0\"".into())).await.unwrap_err();
        assert_eq!(gone.fault(), Fault::Changed, "{gone}");
    });
}
