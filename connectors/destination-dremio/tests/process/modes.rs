//! Overwrite, append, deduplication, generations, and tables that change.

use crate::harness::{STATE, Site, generation, owned, record, rows, states, status, stream};
use serde_json::json;
use testkit_dremio::{Dremio, Fault, Stage};

fn complete(input: &str) -> String {
    input.to_owned() + STATE + &status("COMPLETE")
}

#[test]
fn an_overwrite_switches_a_view_and_leaves_one_table() {
    let site = Site::new();
    site.sync(stream("overwrite"), &complete(&rows(&[(1, "a"), (2, "b")])));
    assert_eq!(site.rows(), owned(&[(1, "a"), (2, "b")]));
    site.sync(stream("overwrite"), &complete(&rows(&[(3, "c")])));
    assert_eq!(site.rows(), owned(&[(3, "c")]));
    assert_eq!(site.tables(), ["s (view)", "s__ferry_b"]);
    site.sync(stream("overwrite"), &complete(""));
    assert!(site.rows().is_empty());
}

#[test]
fn an_overwrite_that_was_not_completed_keeps_the_old_rows() {
    let site = Site::new();
    site.sync(stream("overwrite"), &complete(&rows(&[(1, "a")])));
    let output = site.write(stream("overwrite"), &(rows(&[(2, "b")]) + STATE + &status("INCOMPLETE")));
    assert_eq!((states(&output), site.rows()), (0, owned(&[(1, "a")])), "{output}");
    assert_eq!(site.tables(), ["s (view)", "s__ferry_a"]);
}

#[test]
fn without_views_an_overwrite_fills_the_table_and_then_deletes_the_old_rows() {
    let mut site = Site::new();
    site.config["dataset"] = "store.production".into();
    for (input, expected) in [(vec![(1, "a"), (2, "b")], 2), (vec![(3, "c")], 1)] {
        site.sync(stream("overwrite"), &complete(&rows(&input)));
        let found = site.server.query("SELECT id, v FROM store.production.s ORDER BY id");
        assert_eq!(found.len(), expected);
        assert_eq!(found[0], vec![json!(input[0].0), json!(input[0].1)]);
        assert_eq!(site.tables(), ["s"]);
    }
    let sql = site.server.statements();
    let last = |start: &str| sql.iter().rposition(|s| s.starts_with(start)).unwrap();
    assert!(
        last("INSERT INTO \"store\".\"production\".\"s\" ")
            < last("DELETE FROM \"store\".\"production\".\"s\" "),
        "the new rows come first: {sql:?}"
    );
}

#[test]
fn append_adds_to_a_table_and_to_what_an_overwrite_left() {
    let site = Site::new();
    site.sync(stream("overwrite"), &complete(&rows(&[(1, "a")])));
    let output = site.sync(stream("append"), &(rows(&[(1, "a"), (2, "b")]) + STATE));
    assert_eq!((states(&output), site.rows()), (1, owned(&[(1, "a"), (1, "a"), (2, "b")])));
}

#[test]
fn dw_07_of_two_rows_with_one_key_the_newest_stays() {
    Site::both().iter().for_each(the_newest_stays);
}

fn the_newest_stays(site: &Site) {
    let at = |id: i64, v: &str, at: &str| record(&json!({"id": id, "v": v, "at": at}));
    let first = at(1, "newest", "2024-01-03T00:00:00Z")
        + &at(1, "oldest", "2024-01-01T00:00:00Z")
        + &at(2, "x", "2024-01-01T00:00:00Z")
        + &at(2, "tie", "2024-01-01T00:00:00Z")
        + STATE;
    site.sync(stream("append_dedup"), &first);
    assert_eq!(site.rows(), owned(&[(1, "newest"), (2, "tie")]));
    let second = at(1, "too late", "2024-01-02T00:00:00Z")
        + &at(2, "later", "2024-01-02T00:00:00Z")
        + &at(3, "y", "2024-01-01T00:00:00Z");
    site.sync(stream("append_dedup"), &(second + STATE));
    assert_eq!(site.rows(), owned(&[(1, "newest"), (2, "later"), (3, "y")]));
    assert_eq!(site.tables(), ["s"]);
}

#[test]
fn deleted_rows_are_removed_or_kept_as_the_config_says() {
    for (mode, left) in [("Hard delete", vec![(2, "b")]), ("Soft delete", vec![(1, "a"), (2, "b")])] {
        let mut site = Site::new();
        site.config["cdc_deletion_mode"] = mode.into();
        let row = |id: i64, v: &str, at: &str, deleted: Option<&str>| {
            record(&json!({"id": id, "v": v, "at": at, "_ab_cdc_deleted_at": deleted}))
        };
        let first = row(1, "a", "2024-01-01T00:00:00Z", None) + &row(2, "b", "2024-01-01T00:00:00Z", None);
        site.sync(stream("append_dedup"), &(first + STATE));
        let second = row(1, "a", "2024-01-02T00:00:00Z", Some("2024-01-02T00:00:00Z"))
            // Made and deleted between two syncs.
            + &row(3, "c", "2024-01-01T00:00:00Z", None)
            + &row(3, "c", "2024-01-02T00:00:00Z", Some("2024-01-02T00:00:00Z"));
        site.sync(stream("append_dedup"), &(second + STATE));
        let rows: Vec<_> = site.rows().into_iter().filter(|(id, _)| *id < 3).collect();
        assert_eq!(rows, owned(&left), "{mode}");
        assert_eq!(site.rows().len() - rows.len(), usize::from(mode == "Soft delete"), "{mode}");
    }
}

#[test]
fn dw_06_only_rows_of_the_newest_generations_stay_whatever_their_numbers() {
    for mode in ["append", "append_dedup"] {
        let site = Site::new();
        site.sync(generation(mode, 3, 0), &complete(&rows(&[(1, "a"), (2, "b")])));
        site.sync(generation(mode, 4, 0), &complete(&rows(&[(3, "c")])));
        assert_eq!(site.rows().len(), 3, "{mode}");
        site.sync(generation(mode, 9, 9), &complete(&rows(&[(2, "new"), (4, "d")])));
        assert_eq!(site.rows(), owned(&[(2, "new"), (4, "d")]), "{mode}");
        let output = site.write(generation(mode, 12, 12), &(rows(&[(5, "e")]) + &status("INCOMPLETE")));
        assert!(site.rows().iter().any(|row| row.0 == 4), "{mode}: the old ones stay: {output}");
    }
}

#[test]
fn new_fields_become_columns_and_old_rows_have_nulls() {
    for mode in ["append", "append_dedup", "overwrite"] {
        let site = Site::new();
        site.sync(stream(mode), &complete(&rows(&[(1, "a")])));
        let mut wider = stream("append");
        wider["stream"]["json_schema"]["properties"]["New"] = json!({"type": "integer"});
        site.sync(wider, &(record(&json!({"id": 2, "v": "b", "New": 7})) + STATE));
        let found = site.server.query("SELECT id, \"new\" FROM lake.production.s ORDER BY id");
        assert_eq!(found, [vec![json!(1), json!(null)], vec![json!(2), json!(7)]], "{mode}");
        // A field that is gone leaves its column.
        site.sync(stream("append"), &(rows(&[(3, "c")]) + STATE));
        assert_eq!(
            site.server.query("SELECT COUNT(*) FROM lake.production.s WHERE \"New\" IS NULL")[0][0],
            2
        );
    }
}

#[test]
fn a_table_that_somebody_else_made_is_left_alone() {
    let site = Site::new();
    site.server.execute("CREATE TABLE lake.production.s (id BIGINT, v VARCHAR)");
    for mode in ["append", "append_dedup"] {
        let message = site.failure(stream(mode), &(rows(&[(1, "a")]) + STATE));
        assert!(message.contains("lake.production.s") && message.contains("did not make"), "{message}");
    }
    assert!(site.rows().is_empty());
}

#[test]
fn a_type_that_changed_is_named() {
    let site = Site::new();
    site.sync(stream("append"), &(rows(&[(1, "a")]) + STATE));
    let mut changed = stream("append");
    changed["stream"]["json_schema"]["properties"]["v"] = json!({"type": "integer"});
    let message = site.failure(changed, &(record(&json!({"id": 2, "v": 2})) + STATE));
    assert!(message.contains("\"v\"") && message.contains("BIGINT"), "{message}");
    assert_eq!(site.rows(), owned(&[(1, "a")]));
}

#[test]
fn a_namespace_is_a_folder() {
    let site = Site::new();
    let mut stream = stream("append");
    stream["stream"]["namespace"] = "shop".into();
    let input = rows(&[(1, "a")]).replace("\"stream\":\"s\"", "\"stream\":\"s\",\"namespace\":\"shop\"");
    site.sync(stream, &input);
    assert_eq!(site.server.query("SELECT id FROM lake.production.shop.s"), [vec![json!(1)]]);
}

#[test]
fn folders_that_are_not_there_are_made() {
    let mut site = Site::with(Dremio::options().folders_first());
    site.config["dataset"] = "lake.raw.shop".into();
    let mut stream = stream("overwrite");
    stream["stream"]["namespace"] = "eu".into();
    let named = |text: String| {
        text.replace("\"stream\":\"s\"", "\"stream\":\"s\",\"namespace\":\"eu\"")
            .replace("\"name\":\"s\"", "\"name\":\"s\",\"namespace\":\"eu\"")
    };
    for id in [1, 2] {
        site.sync(stream.clone(), &named(complete(&rows(&[(id, "a")]))));
        assert_eq!(site.server.query("SELECT id FROM lake.raw.shop.eu.s"), [vec![json!(id)]]);
    }
    // A check needs the folder, too.
    let mut site = Site::with(Dremio::options().folders_first());
    site.config["dataset"] = "lake.raw.shop".into();
    let output = site.check();
    assert!(
        output.lines.iter().any(|line| String::from_utf8_lossy(&line.raw).contains("SUCCEEDED")),
        "{output}"
    );
}

#[test]
fn an_overwrite_of_a_table_that_append_made_replaces_its_rows() {
    let site = Site::new();
    site.sync(stream("append"), &(rows(&[(1, "a"), (2, "b")]) + STATE));
    site.sync(stream("overwrite"), &complete(&rows(&[(2, "new")])));
    assert_eq!((site.rows(), site.tables()), (owned(&[(2, "new")]), vec!["s".to_owned()]));
    // And one whose type has changed.
    let mut changed = stream("overwrite");
    changed["stream"]["json_schema"]["properties"]["v"] = json!({"type": "integer"});
    site.sync(changed, &complete(&record(&json!({"id": 3, "v": 7}))));
    assert_eq!(site.server.query("SELECT id, v FROM lake.production.s"), [vec![json!(3), json!(7)]]);
}

#[test]
fn an_overwrite_takes_changed_types_behind_its_view() {
    let site = Site::new();
    site.sync(stream("overwrite"), &complete(&rows(&[(1, "a")])));
    let mut changed = stream("overwrite");
    changed["stream"]["json_schema"]["properties"]["v"] = json!({"type": "boolean"});
    site.sync(changed, &complete(&record(&json!({"id": 3, "v": true}))));
    assert_eq!(site.server.query("SELECT id, v FROM lake.production.s"), [vec![json!(3), json!(true)]]);
}

#[test]
fn dw_05_an_attempt_after_one_that_had_switched_keeps_the_full_table() {
    let site = Site::new();
    site.sync(generation("overwrite", 1, 1), &complete(&rows(&[(1, "old")])));
    // The switch is done; dropping the old table, and all that follows, fails.
    let input = complete(&rows(&[(2, "b"), (3, "c")]));
    site.server.faults(
        "DROP TABLE IF EXISTS \"lake\".\"production\".\"s__ferry_a\"",
        Stage::Run,
        Fault::Hold,
        0,
        1,
    );
    let running = site.invocation(&[generation("overwrite", 2, 2)], &input).start();
    site.server.wait_held();
    assert_eq!(site.rows(), owned(&[(2, "b"), (3, "c")]), "it has switched");
    running.signal(testkit::Signal::KILL);
    let _ = running.wait();
    site.server.release();
    assert_eq!(site.rows(), owned(&[(2, "b"), (3, "c")]));
    site.sync(generation("overwrite", 2, 2), &input);
    assert_eq!(site.rows(), owned(&[(2, "b"), (3, "c")]));
    assert_eq!(site.tables().len(), 2, "{:?}", site.tables());
}
