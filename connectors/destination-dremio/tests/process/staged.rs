//! Rows that are staged as Parquet and copied: what is lost, left over or refused on that way.

use std::time::Duration;

use crate::harness::{STATE, Site, generation, many, messages, owned, rows, states, status, stream};
use serde_json::json;
use testkit::Signal;
use testkit_dremio::{Fault, Stage};

#[test]
fn a_check_copies_a_file_and_leaves_none() {
    let site = Site::staged();
    let output = site.check();
    assert_eq!(
        messages(&output, "CONNECTION_STATUS")[0]["connectionStatus"]["status"],
        "SUCCEEDED",
        "{output}"
    );
    assert_eq!(site.ran("COPY INTO"), 1);
    assert!(site.staged_files().is_empty() && site.tables().is_empty());
}

#[test]
fn dw_13_a_staging_place_that_dremio_has_not_is_named() {
    let mut site = Site::staged();
    for (key, value) in [
        ("location", "nowhere/staging"),
        ("location", "minio/elsewhere"),
        ("s3_bucket_name", "no-such-bucket"),
        ("secret_access_key", "not the right one"),
    ] {
        let right = site.config["staging"][key].clone();
        site.config["staging"][key] = value.into();
        let message = site.failed_check();
        assert!(message.contains("staging") && !message.contains("not the right one"), "{value}: {message}");
        site.config["staging"][key] = right;
    }
    assert!(site.tables().is_empty(), "{:?}", site.tables());
}

#[test]
fn dw_01_a_copy_whose_answer_is_lost_is_done_once() {
    for (when, fault) in [
        ("before it ran", Fault::CutBefore),
        ("after it ran", Fault::CutAfter),
        ("while it runs on", Fault::CutThenRun(Duration::from_secs(3))),
    ] {
        let site = Site::staged();
        site.server.fault("COPY INTO", fault);
        let output = site.sync(stream("append"), &(many(0..300, 100) + STATE));
        assert_eq!((site.server.met(), states(&output)), (1, 1), "{when}: {output}");
        let found = site.server.query("SELECT COUNT(*), COUNT(DISTINCT id) FROM lake.production.s");
        assert_eq!(found, [vec![json!(300), json!(300)]], "{when}");
        assert!(site.staged_files().is_empty(), "{when}: {:?}", site.staged_files());
        assert_eq!((site.ran("COPY INTO"), site.ran("INSERT INTO")), (1, 0), "{when}");
    }
}

#[test]
fn dw_02_files_of_a_killed_attempt_are_never_copied() {
    for mode in ["append", "append_dedup", "overwrite"] {
        let site = Site::staged();
        site.server.fault("COPY INTO", Fault::Hold);
        let input = rows(&[(1, "never")]) + STATE + &status("COMPLETE");
        let running = site.invocation(&[stream(mode)], &input).start();
        site.server.wait_held();
        running.signal(Signal::KILL);
        let _ = running.wait();
        site.server.release();
        let left = site.staged_files();
        assert!(!left.is_empty(), "{mode}: there is something to be left alone");
        site.sync(stream(mode), &(rows(&[(2, "b")]) + STATE + &status("COMPLETE")));
        assert_eq!(site.rows(), owned(&[(2, "b")]), "{mode}");
        assert_eq!(site.staged_files(), left, "{mode}: its own files are removed, and no others");
    }
}

#[test]
fn dw_12_a_copy_that_conflicts_is_tried_again_and_done_once() {
    let site = Site::staged();
    site.server.faults("COPY INTO", Stage::Run, Fault::conflict(), 0, 2);
    let output = site.sync(generation("append", 1, 0), &(many(0..100, 100) + STATE));
    assert_eq!(site.server.met(), 2, "{output}");
    let found = site.server.query("SELECT COUNT(*), COUNT(DISTINCT id) FROM lake.production.s");
    assert_eq!(found, [vec![json!(100), json!(100)]]);
}

#[test]
fn a_refused_copy_is_an_error_and_leaves_no_file() {
    let site = Site::staged();
    site.server.faults("COPY INTO", Stage::Planned, Fault::denied("SELECT", "minio"), 0, 99);
    let message = site.failure(stream("append"), &(rows(&[(1, "a")]) + STATE));
    assert!(message.contains("privilege"), "{message}");
    assert!(site.rows().is_empty() && site.staged_files().is_empty(), "{:?}", site.staged_files());
}
