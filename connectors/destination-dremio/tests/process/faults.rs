//! Answers that are lost, servers that are busy, tokens that expire: nothing is lost and nothing is there twice.

use std::collections::HashSet;
use std::time::Duration;

use crate::harness::{STATE, Site, generation, many, owned, rows, states, status, stream};
use serde_json::{Value, json};
use testkit::Signal;
use testkit_dremio::{Code, Dremio, Fault, Stage};

const INSERT: &str = "INSERT INTO \"lake\".\"production\".\"s\"";
/// Longer than `lost_answer_wait_secs` of these tests' config would not be found out by waiting alone.
const LATE: Duration = Duration::from_millis(3_000);

fn lost() -> [(&'static str, Fault); 3] {
    [
        ("before it ran", Fault::CutBefore),
        ("after it ran", Fault::CutAfter),
        ("while it runs on", Fault::CutThenRun(LATE)),
    ]
}

fn each_once(site: &Site, rows: i64) {
    let found = site
        .server
        .query("SELECT COUNT(*), COUNT(DISTINCT id), COUNT(DISTINCT _airbyte_raw_id) FROM lake.production.s");
    assert_eq!(found, [vec![json!(rows); 3]], "{:?}", site.server.met());
}

#[test]
fn dw_01_an_insert_whose_answer_is_lost_is_done_once() {
    for (when, fault) in lost() {
        let mut site = Site::new();
        site.config["insert_size_kb"] = 8.into();
        // The first, one in the middle and the one after it.
        site.server.faults(INSERT, Stage::Run, fault.clone(), 0, 1);
        site.server.faults(INSERT, Stage::Run, fault, 2, 2);
        let output = site.sync(stream("append"), &(many(0..300, 100) + STATE));
        assert_eq!((site.server.met(), states(&output)), (3, 1), "{when}: {output}");
        each_once(&site, 300);
        // It looked, and so never sent again what had arrived.
        let inserts: Vec<String> =
            site.server.statements().into_iter().filter(|sql| sql.starts_with(INSERT)).collect();
        let distinct: HashSet<&String> = inserts.iter().collect();
        assert_eq!(distinct.len(), inserts.len(), "{when}");
    }
}

#[test]
fn dw_01_a_merge_whose_answer_is_lost_is_done_once() {
    for (when, fault) in lost() {
        let site = Site::new();
        site.sync(stream("append_dedup"), &(rows(&[(1, "old"), (2, "two")]) + STATE));
        site.server.fault("MERGE INTO", fault);
        let output = site.sync(stream("append_dedup"), &(rows(&[(1, "new"), (3, "three")]) + STATE));
        assert_eq!((site.server.met(), states(&output)), (1, 1), "{when}: {output}");
        assert_eq!(site.rows(), owned(&[(1, "new"), (2, "two"), (3, "three")]), "{when}");
        assert_eq!(site.ran("MERGE INTO"), 2, "{when}: one for each sync");
    }
}

#[test]
fn dw_01_a_switch_whose_answer_is_lost_is_done() {
    for (when, fault) in lost() {
        let site = Site::new();
        site.sync(stream("overwrite"), &(rows(&[(1, "old")]) + STATE + &status("COMPLETE")));
        site.server.fault("CREATE OR REPLACE VIEW", fault);
        let output = site.sync(stream("overwrite"), &(rows(&[(2, "new")]) + STATE + &status("COMPLETE")));
        assert_eq!((site.server.met(), states(&output)), (1, 1), "{when}: {output}");
        assert_eq!(site.rows(), owned(&[(2, "new")]), "{when}");
    }
}

#[test]
fn dw_01_every_statement_may_lose_its_answer() {
    for mode in ["overwrite", "append", "append_dedup"] {
        for (when, fault) in lost().into_iter().take(2) {
            let mut site = Site::new();
            site.config["dataset"] = "store.production".into();
            // None of them runs late here, and every wait would be a full one.
            site.config["lost_answer_wait_secs"] = 0.into();
            for start in
                ["CREATE TABLE", "INSERT INTO", "DELETE FROM", "DROP TABLE", "SELECT COUNT", "MERGE INTO"]
            {
                site.server.faults(start, Stage::Run, fault.clone(), 0, 1);
            }
            let output = site.sync(generation(mode, 1, 1), &(many(0..20, 10) + STATE + &status("COMPLETE")));
            assert!(site.server.met() > 2, "{mode}, {when}: {output}");
            let found = site.server.query("SELECT COUNT(*), COUNT(DISTINCT id) FROM store.production.s");
            assert_eq!(found, [vec![json!(20), json!(20)]], "{mode}, {when}");
        }
    }
}

#[test]
fn dw_01_without_a_list_of_jobs_the_connector_waits_before_it_looks() {
    let site = Site::new();
    site.server.faults("sys.jobs_recent", Stage::Planned, Fault::denied("SELECT", "sys.jobs_recent"), 0, 999);
    // Sooner than the wait: it is found done, and not sent again.
    site.server.fault(INSERT, Fault::CutThenRun(Duration::from_millis(300)));
    let output = site.sync(stream("append"), &(many(0..10, 10) + STATE));
    each_once(&site, 10);
    assert_eq!(site.ran(INSERT), 1, "{output}");
}

#[test]
fn dw_01_an_insert_that_comes_late_after_all_is_taken_out() {
    let site = Site::new();
    site.server.faults("sys.jobs_recent", Stage::Planned, Fault::denied("SELECT", "sys.jobs_recent"), 0, 999);
    // Nobody can know of it, so it is sent again after two seconds; both are there when the second one answers.
    site.server.fault(INSERT, Fault::CutThenRun(LATE));
    site.server.fault(INSERT, Fault::Wakes(LATE));
    let output = site.sync(stream("append"), &(many(0..10, 10) + STATE));
    assert!(site.ran(INSERT) >= 3, "{output}");
    each_once(&site, 10);
}

#[test]
fn dw_01_a_connection_cut_while_a_statement_is_planned_costs_nothing() {
    for start in ["SELECT", "CREATE TABLE", INSERT] {
        let site = Site::new();
        site.server.faults(start, Stage::Planned, Fault::CutBefore, 0, 2);
        let output = site.sync(stream("append"), &(many(0..10, 10) + STATE));
        assert_eq!((site.server.met(), site.ran(INSERT)), (2, 1), "{start}: {output}");
        each_once(&site, 10);
    }
}

#[test]
fn dw_02_what_a_killed_attempt_has_gathered_is_never_shown() {
    for mode in ["append_dedup", "overwrite"] {
        let site = Site::new();
        site.sync(stream(mode), &(rows(&[(1, "a")]) + STATE + &status("COMPLETE")));
        // Its rows are gathered, or put into a table aside, and there it ends.
        let last = if mode == "overwrite" { "CREATE OR REPLACE VIEW" } else { "MERGE INTO" };
        site.server.fault(last, Fault::Hold);
        let input = rows(&[(1, "never"), (7, "never")]) + STATE + &status("COMPLETE");
        let running = site.invocation(&[stream(mode)], &input).start();
        site.server.wait_held();
        running.signal(Signal::KILL);
        let _ = running.wait();
        site.server.release();
        assert_eq!(site.rows(), owned(&[(1, "a")]), "{mode}");
        site.sync(stream(mode), &(rows(&[(1, "a"), (2, "b")]) + STATE + &status("COMPLETE")));
        assert_eq!(site.rows(), owned(&[(1, "a"), (2, "b")]), "{mode}");
    }
}

#[test]
fn dw_04_a_server_that_cannot_be_read_is_asked_again_and_nothing_is_made() {
    let mut site = Site::new();
    site.server.faults("SELECT", Stage::Planned, Fault::unavailable(), 0, 3);
    site.sync(stream("append"), &(rows(&[(1, "a")]) + STATE));
    assert_eq!((site.rows(), site.server.met()), (owned(&[(1, "a")]), 3));
    let before = site.server.statements().len();
    site.config["busy_wait_secs"] = 1.into();
    site.server.faults("SELECT", Stage::Planned, Fault::unavailable(), 0, 9_999);
    let output = site.write(stream("overwrite"), &(rows(&[(2, "b")]) + STATE + &status("COMPLETE")));
    let error = output.failed();
    assert!(error.message.contains("busy_wait_secs"), "{}", error.message);
    assert_eq!(
        (site.server.statements().len(), states(&output)),
        (before, 0),
        "{:?}",
        site.server.statements()
    );
    site.server.clear_faults();
    assert_eq!(site.rows(), owned(&[(1, "a")]));
}

#[test]
fn dw_08_a_token_that_expires_in_the_middle_is_replaced() {
    let mut site = Site::with(Dremio::options().demand_cookies());
    site.config["insert_size_kb"] = 4.into();
    site.server.token_lifetime(Some(7));
    let output = site.sync(stream("append"), &(many(0..200, 100) + STATE));
    assert!(site.server.logins() > 3, "{} log-ins: {output}", site.server.logins());
    each_once(&site, 200);
    // A password that is changed meanwhile cannot be helped, and is named.
    site.server.token_lifetime(Some(0));
    let message = site.failure(stream("append"), &(rows(&[(1, "a")]) + STATE));
    assert!(message.contains("password"), "{message}");
}

#[test]
fn dw_09_an_engine_that_starts_is_waited_for_and_the_wait_has_an_end() {
    let mut site = Site::new();
    for fault in [Fault::asleep(), Fault::quota(), Fault::Wakes(Duration::from_secs(1))] {
        site.server.fault(INSERT, fault);
    }
    let output = site.sync(stream("append"), &(rows(&[(1, "a")]) + STATE));
    assert_eq!((site.server.met(), site.rows()), (3, owned(&[(1, "a")])), "{output}");
    site.config["busy_wait_secs"] = 1.into();
    site.server.faults(INSERT, Stage::Planned, Fault::quota(), 0, 9_999);
    let output = site.write(stream("append"), &(rows(&[(2, "b")]) + STATE));
    let message = &output.failed().message;
    assert!(message.contains("busy_wait_secs") && states(&output) == 0, "{message}");
    assert_eq!(site.rows(), owned(&[(1, "a")]));
}

#[test]
fn dw_12_a_commit_that_conflicts_is_tried_again_and_done_once() {
    for mode in ["append", "append_dedup", "overwrite"] {
        let site = Site::new();
        site.sync(stream(mode), &(rows(&[(1, "old"), (2, "two")]) + STATE + &status("COMPLETE")));
        for start in ["INSERT INTO", "MERGE INTO", "TRUNCATE"] {
            site.server.faults(start, Stage::Run, Fault::conflict(), 0, 2);
        }
        let output =
            site.sync(stream(mode), &(rows(&[(1, "new"), (3, "three")]) + STATE + &status("COMPLETE")));
        let expected = match mode {
            "append" => owned(&[(1, "new"), (1, "old"), (2, "two"), (3, "three")]),
            "append_dedup" => owned(&[(1, "new"), (2, "two"), (3, "three")]),
            _ => owned(&[(1, "new"), (3, "three")]),
        };
        assert!(site.server.met() >= 2, "{mode}: {output}");
        assert_eq!(site.rows(), expected, "{mode}");
    }
}

#[test]
fn a_refused_insert_fails_with_one_sentence_without_values() {
    let site = Site::new();
    site.sync(stream("append"), &(rows(&[(1, "a")]) + STATE));
    site.server.faults(INSERT, Stage::Planned, Fault::denied("INSERT", "lake.production.s"), 0, 99);
    let output = site.write(stream("append"), &(rows(&[(2, "a value that nobody may see")]) + STATE));
    let message = &output.failed().message;
    assert!(message.contains("INSERT") && message.contains("privilege"), "{message}");
    site.server.clear_faults();
    // As Dremio does, the server repeats the whole statement in its message.
    let text = "Something about 'a value that nobody may see'.\n\nSQL Query INSERT INTO t VALUES ('a value that nobody may see')";
    site.server.fault(INSERT, Fault::Answer(Code::Internal, format!("SYSTEM ERROR: {text}")));
    let output2 = site.write(stream("append"), &(rows(&[(2, "a value that nobody may see")]) + STATE));
    let _ = output2.failed();
    for output in [&output, &output2] {
        assert!(!output.to_string().contains("INSERT INTO t VALUES"), "{output}");
        assert_eq!(states(output), 0);
    }
    assert_eq!(site.rows(), owned(&[(1, "a")]));
}

#[test]
fn the_connector_can_be_killed_at_any_insert_and_the_next_run_repeats_no_key() {
    let mut site = Site::new();
    site.config["insert_size_kb"] = 4.into();
    for (attempt, skip) in [0, 1, 3].into_iter().enumerate() {
        site.server.faults("INSERT INTO", Stage::Run, Fault::HoldThenRun, skip, 1);
        let running = site.invocation(&[stream("append_dedup")], &(many(0..200, 100) + STATE)).start();
        site.server.wait_held();
        running.signal(Signal::KILL);
        let _ = running.wait();
        site.server.release();
        assert_eq!(site.server.met(), attempt + 1);
    }
    site.sync(stream("append_dedup"), &(many(0..200, 100) + STATE));
    each_once(&site, 200);
    let row: Vec<Value> = site.server.query("SELECT v FROM lake.production.s WHERE id = 7").remove(0);
    assert_eq!(row, [json!(format!("{:0100}", 7))]);
}
