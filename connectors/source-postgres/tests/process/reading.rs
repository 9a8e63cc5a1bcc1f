//! Reading tables whole, by cursor and by transaction.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::services::{Postgres, Version};
use testkit::{Exit, Signal};

use crate::harness::stream;
use crate::replay::{Replay, configured, records};

fn xmin(server: &Postgres) -> Value {
    let mut config = server.config_json("postgres");
    config["replication_method"] = json!({"method": "Xmin"});
    config
}

fn with_connections(mut config: Value, connections: u32) -> Value {
    config["max_db_connections"] = connections.into();
    config
}

/// One stream of the database.
fn replay(config: &Value, name: &str, mode: &str, destination: &str, cursor: Option<&str>) -> Replay {
    Replay::new(config, &[configured(&stream(config, name), mode, destination, cursor)])
}

/// `key=rest` of each row as the server sees it.
fn table(server: &Postgres, sql: &str) -> Vec<String> {
    server.psql(sql).lines().map(str::to_owned).collect()
}

/// A table of some ranges of blocks.
fn big(server: &Postgres, rows: u32) {
    server.psql(&format!(
        "CREATE TABLE big (id int PRIMARY KEY, v text); \
         INSERT INTO big SELECT i, repeat(md5(i::text), 12) FROM generate_series(1, {rows}) i; \
         VACUUM ANALYZE big"
    ));
}

fn big_as_read(replay: &Replay) -> Vec<String> {
    let rows = replay.latest("public.big", "id");
    let mut rows: Vec<_> =
        rows.values().map(|r| (r["id"].as_i64().unwrap(), r["v"].as_str().unwrap())).collect();
    rows.sort_unstable();
    rows.into_iter().map(|(id, v)| format!("{id}|{v}")).collect()
}

const BIG: &str = "SELECT id, v FROM big ORDER BY id";

#[test]
fn a_full_refresh_is_the_table_over_any_number_of_connections() {
    for version in [Version::V15, Version::V18] {
        let server = Postgres::start(version);
        big(&server, 25_000);
        for connections in if version == Version::V15 { 1..=2 } else { 5..=5 } {
            let config = with_connections(server.config_json("postgres"), connections);
            let mut replay = replay(&config, "public.big", "full_refresh", "overwrite", None);
            let output = replay.sync();
            assert_eq!(replay.count("public.big"), 25_000, "{version:?} {connections}");
            assert_eq!(big_as_read(&replay), table(&server, BIG), "{version:?} {connections}");
            assert!(output.log().contains("DO NO HARM"), "{output}");
            let again = replay.sync();
            assert_eq!(again.records().count(), 25_000, "a full refresh that ended starts over");
        }
    }
}

#[test]
fn pg_01_a_killed_first_read_goes_on_from_its_finished_blocks_and_loses_no_row_that_moved() {
    let server = Postgres::start(Version::V15);
    big(&server, 100_000);
    let mut replay = replay(&server.config_json("postgres"), "public.big", "full_refresh", "append", None);
    // A state is due after five seconds: held up that long in the middle of the table, the run says one.
    let mut run = replay.read().pausing_stdout_after(8 << 20).start();
    std::thread::sleep(Duration::from_millis(5500));
    run.go_on_reading();
    run.wait_for("\"ctid\"");
    run.signal(Signal::KILL);
    let output = run.wait();
    assert_eq!(output.exit, Exit::Signal(9));
    replay.take_confirmed(&output);
    let confirmed = replay.count("public.big");
    assert!((1..100_000).contains(&confirmed), "{confirmed}");
    // Rows of the unread part move into the part already read, and the other way round.
    server.psql("DELETE FROM big WHERE id <= 5000; UPDATE big SET v = 'moved' WHERE id > 99000");
    server.psql("VACUUM big");
    server.psql("UPDATE big SET v = 'moved again' WHERE id > 99500 OR id BETWEEN 6000 AND 6100; INSERT INTO big VALUES (200000, 'new')");
    let output = replay.sync();
    assert!(output.records().count() < 100_000 - confirmed + 20_000, "the finished blocks were read again");
    let read: HashSet<_> = big_as_read(&replay).into_iter().collect();
    let missing: Vec<_> = table(&server, BIG).into_iter().filter(|row| !read.contains(row)).take(5).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_run_that_is_asked_to_stop_states_where_it_is_and_the_next_goes_on_there() {
    let server = Postgres::start(Version::V18);
    big(&server, 30_000);
    let mut replay = replay(&server.config_json("postgres"), "public.big", "full_refresh", "append", None);
    let mut run = replay.read().pausing_stdout_after(4 << 20).start();
    run.wait_for("\"RUNNING\"");
    run.signal(Signal::TERM);
    run.go_on_reading();
    let output = run.wait();
    assert_eq!(output.exit, Exit::Signal(15), "{output}");
    replay.take(&output);
    let first = replay.count("public.big");
    assert!((1..30_000).contains(&first), "{first}");
    replay.sync();
    assert_eq!(replay.count("public.big"), 30_000, "nothing is sent twice after an orderly stop");
    assert_eq!(big_as_read(&replay), table(&server, BIG));
}

#[test]
fn pg_08_rows_that_share_a_cursor_value_all_arrive_wherever_the_run_ends() {
    let server = Postgres::start(Version::V15);
    server.psql(
        "CREATE TABLE t (id int PRIMARY KEY, at timestamp NOT NULL, v text); CREATE INDEX ON t (at); \
         INSERT INTO t VALUES (0, '2024-01-01', '')",
    );
    let config = server.config_json("postgres");
    for stop_after in [1 << 20, 3 << 20, 5 << 20] {
        let mut replay = replay(&config, "public.t", "incremental", "append", Some("at"));
        server.psql("DELETE FROM t WHERE id > 0");
        replay.sync();
        // 4,000 single values, 1,000 rows of one value, 4,000 single values: 1 KiB a row.
        server.psql(
            "INSERT INTO t SELECT i, timestamp '2024-02-01' + CASE WHEN i <= 4000 THEN i WHEN i <= 5000 THEN 4500 \
             ELSE i END * interval '1 second', repeat('x', 1000) FROM generate_series(1, 9000) i",
        );
        let mut run = replay.read().pausing_stdout_after(stop_after).start();
        run.wait_for("\"RUNNING\"");
        std::thread::sleep(Duration::from_millis(300));
        run.signal(Signal::TERM);
        run.go_on_reading();
        let output = run.wait();
        replay.take_confirmed(&output);
        replay.sync();
        assert_eq!(replay.latest("public.t", "id").len(), 9001, "stopped after {stop_after}: {output}");
    }
}

#[test]
fn pg_09_a_row_committed_late_with_an_older_time_arrives_in_the_next_sync() {
    for version in [Version::V15, Version::V18] {
        let server = Postgres::start(version);
        server.psql("CREATE TABLE t (id int PRIMARY KEY, at timestamptz); INSERT INTO t VALUES (1, '2024-01-01 10:00Z')");
        let mut replay =
            replay(&server.config_json("postgres"), "public.t", "incremental", "append", Some("at"));
        let mut late = server.session("postgres");
        late.run("BEGIN; INSERT INTO t VALUES (2, '2024-01-01 10:01Z'); SAVEPOINT s; INSERT INTO t VALUES (3, '2024-01-01 10:02Z');");
        server.psql("INSERT INTO t VALUES (4, '2024-01-01 10:05Z')");
        replay.sync();
        assert_eq!(replay.count("public.t"), 2);
        late.run("COMMIT;");
        let sent = records(&replay.sync());
        let ids: Vec<_> = sent.iter().map(|r| r["id"].as_i64().unwrap()).collect();
        assert!(ids.contains(&2) && ids.contains(&3), "{ids:?}");
        assert_eq!(replay.latest("public.t", "id").len(), 4);
        let sent = records(&replay.sync());
        assert!(sent.is_empty(), "{sent:?}");
    }
}

#[test]
fn pg_10_without_new_rows_nothing_is_sent_and_the_state_stays() {
    let server = Postgres::start(Version::V15);
    server.psql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 10)");
    for (config, cursor) in [(server.config_json("postgres"), Some("id")), (xmin(&server), None)] {
        let mut replay = replay(&config, "public.t", "incremental", "append", cursor);
        replay.sync();
        let before = replay.states.clone();
        server.psql("SELECT txid_current()");
        let output = replay.sync();
        assert_eq!(output.records().count(), 0);
        let content = |states: &[Value]| states[0]["stream"]["stream_state"].clone();
        assert_eq!(content(&replay.states), content(&before));
    }
}

#[test]
fn pg_11_rows_without_a_cursor_value_are_read_by_their_transaction_or_reported() {
    let server = Postgres::start(Version::V18);
    server.psql(
        "CREATE TABLE t (id int PRIMARY KEY, at date); CREATE VIEW v AS SELECT * FROM t; \
         INSERT INTO t VALUES (1, NULL), (2, '2024-01-01')",
    );
    let config = server.config_json("postgres");
    let mut tables = replay(&config, "public.t", "incremental", "append", Some("at"));
    let mut view = replay(&config, "public.v", "incremental", "append", Some("at"));
    tables.sync();
    view.sync();
    assert_eq!((tables.count("public.t"), view.count("public.v")), (2, 2));
    server.psql("INSERT INTO t VALUES (3, NULL), (4, '2024-01-02'), (5, '2024-01-01')");
    let output = tables.sync();
    assert_eq!(tables.latest("public.t", "id").len(), 5);
    assert!(output.log().contains("1 new or changed rows have no value in cursor \"at\""), "{output}");
    let output = view.sync();
    assert!(output.log().contains("2 rows have no value in cursor \"at\""), "{output}");
    assert_eq!(
        view.latest("public.v", "id").len(),
        4,
        "the boundary value is read again, where rows were added to it"
    );
}

#[test]
fn states_of_airbyte_go_on_without_loss() {
    let server = Postgres::start(Version::V15);
    server.psql("CREATE TABLE t (id int, at timestamp); INSERT INTO t SELECT i, timestamp '2024-01-01' + i * interval '1 day' FROM generate_series(0, 9) i");
    let config = server.config_json("postgres");
    let descriptor = json!({"name": "t", "namespace": "public"});
    let state = |content: Value| {
        vec![json!({"type": "STREAM", "stream": {"stream_descriptor": descriptor, "stream_state": content}})]
    };
    for (cursor, content, expected) in [
        (
            "id",
            json!({"version": 2, "state_type": "cursor_based", "stream_name": "t", "stream_namespace": "public", "cursor_field": ["id"], "cursor": "6", "cursor_record_count": 1}),
            3,
        ),
        (
            "id",
            json!({"version": 2, "state_type": "cursor_based", "stream_name": "t", "stream_namespace": "public", "cursor_field": ["id"], "cursor": "6", "cursor_record_count": 2}),
            4,
        ),
        (
            "at",
            json!({"version": 2, "state_type": "cursor_based", "stream_name": "t", "stream_namespace": "public", "cursor_field": ["at"], "cursor": "2024-01-08T00:00:00.000000", "cursor_record_count": 1}),
            2,
        ),
        ("id", json!({"version": 3, "state_type": "cursor_based", "cursors": {"id": 6}}), 4),
        // Without knowing what the earlier read saw, half a table cannot be gone on with.
        (
            "id",
            json!({"version": 2, "state_type": "ctid", "ctid": "(0,3)", "relation_filenode": 1, "incremental_state": {"version": 2, "state_type": "cursor_based", "cursor_field": ["id"], "cursor": "9"}}),
            10,
        ),
    ] {
        let mut replay = replay(&config, "public.t", "incremental", "append", Some(cursor));
        replay.states = state(content.clone());
        let output = replay.sync();
        assert_eq!(output.records().count(), expected, "{content}");
        assert_eq!(replay.sync().records().count(), 0, "{content}");
    }
    let mut wrong = replay(&config, "public.t", "incremental", "append", Some("at"));
    wrong.states = state(
        json!({"version": 2, "state_type": "xmin", "num_wraparound": 0, "xmin_xid_value": 5, "xmin_raw_value": 5}),
    );
    let output = wrong.read().output();
    assert!(output.failed().message.contains("Clear the stream's state"), "{output}");
}

#[test]
fn xmin_finds_updates_and_late_commits_and_no_cursor_is_needed() {
    let server = Postgres::start(Version::V15);
    server.psql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, '' FROM generate_series(1, 50) i");
    let mut replay = replay(&xmin(&server), "public.t", "incremental", "append_dedup", None);
    let mut late = server.session("postgres");
    late.run("BEGIN; UPDATE t SET v = 'late' WHERE id = 7;");
    replay.sync();
    server.psql("UPDATE t SET v = 'new' WHERE id = 9");
    late.run("COMMIT;");
    replay.sync();
    let rows = replay.latest("public.t", "id");
    assert_eq!((rows["7"]["v"].as_str(), rows["9"]["v"].as_str()), (Some("late"), Some("new")));
    assert_eq!(rows.len(), 50);
}

#[test]
fn pg_24_names_of_any_kind_are_read_and_touch_nothing_else() {
    let server = Postgres::start(Version::V15);
    server.psql("CREATE TABLE canary (id int); INSERT INTO canary VALUES (1)");
    let long = "ü".repeat(31) + "x";
    let names = [
        "with space",
        "q\"uote",
        "it's",
        "do.t",
        "😀",
        "SELECT",
        "Upper",
        "a\\b",
        "x\"; DROP TABLE canary; --",
        "%s%d",
        long.as_str(),
    ];
    for name in names {
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        server.psql(&format!("CREATE SCHEMA {quoted}; CREATE TABLE {quoted}.{quoted} ({quoted} int PRIMARY KEY); INSERT INTO {quoted}.{quoted} VALUES (1), (2)"));
    }
    let mut config = server.config_json("postgres");
    config["schemas"] = json!([]);
    for method in ["Standard", "Xmin"] {
        config["replication_method"] = json!({ "method": method });
        for name in names {
            let full = format!("{name}.{name}");
            let mut replay = replay(&config, &full, "incremental", "append", Some(name));
            replay.sync();
            let quoted = format!("\"{}\"", name.replace('"', "\"\""));
            server.psql(&format!(
                "INSERT INTO {quoted}.{quoted} SELECT max({quoted}) + 1 FROM {quoted}.{quoted}"
            ));
            let sent = records(&replay.sync());
            assert_eq!(sent.len(), 1, "{method} {name}");
            assert!(sent[0].get(name).is_some_and(Value::is_i64), "{method} {name}: {sent:?}");
        }
    }
    assert_eq!(server.psql("SELECT count(*) FROM canary").trim(), "1");
}

#[test]
fn pg_25_values_that_json_cannot_say_are_null_and_noted_and_no_digit_is_lost() {
    let server = Postgres::start(Version::V18);
    let digits = "9".repeat(900) + "." + &"1".repeat(90);
    server.psql(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, n numeric, f float8, d date, ts timestamp, tz timestamptz, c time); \
         INSERT INTO t VALUES (1, 'NaN', 'Infinity', 'infinity', '-infinity', '0044-03-15 12:00:00+00 BC', '24:00'), \
         (2, {digits}, 0.1, '0044-03-15 BC', '10000-01-01', 'infinity', '23:59:59.999999')"
    ));
    let replay = replay(&server.config_json("postgres"), "public.t", "full_refresh", "append", None);
    // A thousand digits are more than the reader of the other tests takes.
    let output = replay.read().output().succeeded();
    let lines: Vec<_> = output.records().map(|r| r.data.get().to_owned()).collect();
    assert!(lines[1].contains(&format!("\"n\":{digits},")), "{}", lines[1]);
    let rows: Vec<Value> =
        [&lines[0], &lines[1].replace(&digits, "1")].map(|l| serde_json::from_str(l).unwrap()).to_vec();
    assert_eq!((&rows[0]["n"], &rows[0]["f"]), (&Value::Null, &Value::Null));
    let changes = serde_json::to_value(output.records().next().unwrap().meta.clone()).unwrap().to_string();
    assert!(
        changes.contains("\"n\"") && changes.contains("\"f\"") && changes.contains("NULLED"),
        "{changes}"
    );
    assert_eq!(rows[0]["d"], "Infinity");
    assert_eq!(rows[1]["d"], "0044-03-15 BC");
    assert_eq!(rows[0]["c"], "23:59:59.999999999");
}

#[test]
fn pg_26_bytes_that_are_no_utf_8_lose_their_value_and_not_their_row() {
    let server = Postgres::options(Version::V15).encoding("SQL_ASCII", "C").start();
    server.psql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'good'), (2, E'b\\xe9d'), (3, 'good too')");
    let mut replay = replay(&server.config_json("postgres"), "public.t", "full_refresh", "append", None);
    let output = replay.sync();
    let values: Vec<_> = records(&output).iter().map(|r| r["v"].clone()).collect();
    assert_eq!(values, [json!("good"), Value::Null, json!("good too")]);
    let noted = output.records().filter(|r| r.meta.is_some()).count();
    assert_eq!(noted, 1, "{output}");
    let latin = Postgres::options(Version::V15).encoding("LATIN1", "C").start();
    latin.psql("CREATE TABLE t (v text); INSERT INTO t VALUES (convert_from('\\x6ce962'::bytea, 'LATIN1'))");
    let mut replay = self::replay(&latin.config_json("postgres"), "public.t", "full_refresh", "append", None);
    assert_eq!(records(&replay.sync())[0]["v"], "léb");
}

#[test]
fn pg_27_a_read_survives_the_loss_of_its_connections() {
    let server = Postgres::start(Version::V15);
    big(&server, 120_000);
    for connections in [1, 2] {
        let config = with_connections(server.config_json("postgres"), connections);
        let mut replay = replay(&config, "public.big", "full_refresh", "append_dedup", None);
        let mut run = replay.read().pausing_stdout_after(1 << 20).start();
        run.wait_for("\"RUNNING\"");
        let mut killed = 0;
        let began = Instant::now();
        while killed < 10 && began.elapsed() < Duration::from_secs(20) {
            let said = server.psql(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                 WHERE application_name = 'ferrybyte' AND state = 'active' AND query LIKE 'COPY%'",
            );
            killed += said.trim().parse::<u32>().unwrap();
            if killed > 0 {
                run.go_on_reading();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let output = run.wait().succeeded();
        replay.take(&output);
        assert!(killed > 0);
        assert_eq!(big_as_read(&replay), table(&server, BIG), "{connections} connections, {killed} killed");
    }
}

#[test]
fn an_overwrite_that_loses_its_view_fails_rather_than_sending_rows_twice() {
    let server = Postgres::start(Version::V15);
    big(&server, 30_000);
    let replay = replay(&server.config_json("postgres"), "public.big", "full_refresh", "overwrite", None);
    let mut run = replay.read().pausing_stdout_after(1 << 20).start();
    run.wait_for("\"RUNNING\"");
    std::thread::sleep(Duration::from_millis(200));
    server
        .psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ferrybyte'");
    run.go_on_reading();
    let output = run.wait();
    assert_eq!(format!("{:?}", output.failed().failure_type), "Some(TransientError)", "{output}");
}

#[test]
fn pg_30_a_conflict_on_a_standby_is_retried_under_one_view_at_a_time() {
    let primary = Postgres::options(Version::V15).setting("wal_keep_size = 256").start();
    big(&primary, 30_000);
    let standby = Postgres::options(Version::V15)
        .setting("max_standby_streaming_delay = 0")
        .standby_of(&primary)
        .start();
    let mut replay =
        replay(&standby.config_json("postgres"), "public.big", "full_refresh", "append_dedup", None);
    let mut run = replay.read().pausing_stdout_after(4 << 20).start();
    run.wait_for("\"RUNNING\"");
    primary.psql("UPDATE big SET v = 'changed' WHERE id % 2 = 0");
    primary.psql("VACUUM big");
    // The vacuum reaches the standby and cancels the read there.
    for _ in 0..100 {
        if standby
            .psql("SELECT confl_snapshot FROM pg_stat_database_conflicts WHERE datname = 'postgres'")
            .trim()
            != "0"
        {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    run.go_on_reading();
    let output = run.wait().succeeded();
    replay.take(&output);
    assert!(output.log().contains("Going on from"), "no conflict happened: {output}");
    assert_eq!(big_as_read(&replay), table(&primary, BIG));
}

#[test]
fn pg_34_vacuum_full_waits_for_a_read_and_a_table_rewritten_between_two_starts_over() {
    let server = Postgres::start(Version::V15);
    big(&server, 30_000);
    let mut replay = replay(&server.config_json("postgres"), "public.big", "full_refresh", "append", None);
    let mut run = replay.read().pausing_stdout_after(1 << 20).start();
    run.wait_for("\"RUNNING\"");
    let mut vacuum = server.session("postgres");
    vacuum.send("VACUUM FULL big;");
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'VACUUM FULL%'";
    for _ in 0..200 {
        if server.psql(waiting).trim() == "1" {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.psql(waiting).trim(), "1", "VACUUM FULL did not wait for the read");
    run.signal(Signal::TERM);
    run.go_on_reading();
    let output = run.wait();
    replay.take(&output);
    assert!(replay.count("public.big") < 30_000);
    vacuum.wait();
    let output = replay.sync();
    assert!(output.log().contains("rewritten"), "{output}");
    assert_eq!(output.records().count(), 30_000);
    assert_eq!(big_as_read(&replay), table(&server, BIG));
}

#[test]
fn pg_35_xmin_reads_right_after_the_transaction_counter_has_wrapped_around() {
    let mut server = Postgres::start(Version::V15);
    server.psql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 20)");
    server.stop_cleanly();
    server.reset_wal(&["-e", "3"]);
    server.start_again();
    let mut replay = replay(&xmin(&server), "public.t", "incremental", "append", None);
    replay.sync();
    assert_eq!(replay.states[0]["stream"]["stream_state"]["num_wraparound"], 3, "{:?}", replay.states);
    server.psql("INSERT INTO t VALUES (21)");
    assert_eq!(records(&replay.sync()).len(), 1);
    assert_eq!(replay.latest("public.t", "id").len(), 21);
    // A state from before the wrap: half the circle and more lies between.
    for counter in ["num_wraparound", "xmin_raw_value"] {
        replay.states[0]["stream"]["stream_state"][counter] = 0.into();
    }
    let output = replay.sync();
    assert!(output.log().contains("xid wraparound"), "{output}");
    assert_eq!(output.records().count(), 21);
}

#[test]
fn pg_18_a_value_of_200_mb_arrives_and_one_beyond_a_line_is_null_and_noted() {
    let server = Postgres::start(Version::V15);
    server.psql(
        "CREATE TABLE giant (id int PRIMARY KEY, v text, j jsonb); \
         ALTER TABLE giant ALTER v SET STORAGE EXTERNAL, ALTER j SET STORAGE EXTERNAL; \
         INSERT INTO giant VALUES (1, repeat('x', 200 << 20), '1'), (2, 'small', '2'); \
         INSERT INTO giant SELECT 3, 'beside', to_jsonb(repeat('y', (255 << 20) - 16))",
    );
    let replay = replay(&server.config_json("postgres"), "public.giant", "full_refresh", "append", None);
    let output = replay.read().patience(Duration::from_secs(200)).output().succeeded();
    let rows: Vec<_> = output.records().map(|r| (r.data.get(), r.meta.is_some())).collect();
    let noted: Vec<_> = rows.iter().map(|(_, noted)| *noted).collect();
    assert_eq!(noted, [false, false, true], "{}", output.log());
    let whole: Value = serde_json::from_str(rows[0].0).unwrap();
    assert_eq!(whole["v"].as_str().map(str::len), Some(200 << 20));
    assert_eq!(rows[2].0, r#"{"id":3,"v":"beside","j":null}"#);
    let meta = serde_json::to_string(&output.records().last().unwrap().meta).unwrap();
    assert!(
        meta.contains(r#""field":"j","change":"NULLED","reason":"SOURCE_RECORD_SIZE_LIMITATION""#),
        "{meta}"
    );
    assert!(output.peak_kib < 1 << 20, "{} KiB", output.peak_kib);
}
