//! Change data capture: what goes wrong around slot, position and connection.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::services::{Postgres, Version};

use crate::replica::{Replica, count, on_both};

const ONE: &str = "CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'x'); CREATE PUBLICATION p FOR TABLE t";

#[test]
fn pg_05_a_dropped_slot_is_named_and_never_made_anew_by_itself() {
    on_both(|version| {
        let mut replica = Replica::new(version, ONE);
        replica.sync();
        replica.sql("SELECT pg_drop_replication_slot('s'); INSERT INTO t VALUES (2, 'lost')");
        let (message, _) = replica.sync_fails();
        assert!(
            message.contains("no replication slot \"s\"")
                && message.contains("pg_create_logical_replication_slot"),
            "{message}"
        );
        assert_eq!(replica.sql("SELECT count(*) FROM pg_replication_slots"), "0");
        // The user makes it anew: what happened in between is not in it.
        replica.sql("SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
        let (message, _) = replica.sync_fails();
        assert!(message.contains("beyond the state's LSN") && message.contains("Re-sync data"), "{message}");
        replica.set("invalid_cdc_cursor_position_behavior", json!("Re-sync data"));
        let output = replica.sync();
        assert!(output.log().contains("every table is read anew"), "{}", output.log());
        replica.equals("t");
    });
}

#[test]
fn pg_06_a_slot_whose_log_is_gone_is_named_and_a_new_one_works_with_a_resync() {
    on_both(|version| {
        let server = Postgres::options(version).setting("max_slot_wal_keep_size = '1MB'").start();
        let mut replica = Replica::on(server, ONE);
        replica.sync();
        replica.sql("CREATE TABLE noise AS SELECT repeat('x', 1000) FROM generate_series(1, 40000)");
        for _ in 0..4 {
            replica.sql("INSERT INTO t SELECT max(id) + 1, 'n' FROM t; SELECT pg_switch_wal(); CHECKPOINT");
        }
        assert_eq!(replica.sql("SELECT wal_status FROM pg_replication_slots"), "lost");
        let (message, _) = replica.sync_fails();
        assert!(message.contains("is lost") && message.contains("max_slot_wal_keep_size"), "{message}");
        replica.sql("SELECT pg_drop_replication_slot('s'); SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
        replica.set("invalid_cdc_cursor_position_behavior", json!("Re-sync data"));
        replica.sync();
        replica.equals("t");
    });
}

#[test]
fn pg_07_a_slot_in_use_is_named_with_its_reader_and_waited_for() {
    on_both(|version| {
        let mut replica = Replica::new(version, ONE);
        replica.sync();
        let other = |replica: &Replica| {
            let mut command = replica.server.client("pg_recvlogical", "postgres");
            command.args([
                "--dbname",
                "postgres",
                "--slot",
                "s",
                "--start",
                "-o",
                "proto_version=1",
                "-o",
                "publication_names=p",
                "-f",
                "/dev/null",
            ]);
            let child = command.spawn().expect("pg_recvlogical");
            let began = Instant::now();
            while replica.sql("SELECT active FROM pg_replication_slots") != "t" {
                assert!(began.elapsed() < Duration::from_secs(20), "the other reader never began");
                std::thread::sleep(Duration::from_millis(20));
            }
            child
        };
        let mut reader = other(&replica);
        let pid = replica.sql("SELECT active_pid FROM pg_replication_slots");
        let (message, output) = replica.sync_fails();
        assert!(
            message.contains(&format!("process {pid}")) && message.contains("pg_recvlogical"),
            "{message}"
        );
        assert_eq!(format!("{:?}", output.failed().failure_type), "Some(TransientError)");
        // Once it has gone, a sync that is waiting goes on.
        let waiting = replica.read().start();
        waiting.wait_for("Looking again");
        let _ = reader.kill();
        let _ = reader.wait();
        let output = waiting.wait().succeeded();
        replica.take(&output);
        replica.equals("t");
    });
}

#[test]
fn pg_27_ten_connections_killed_at_random_lose_and_double_nothing() {
    on_both(|version| {
        let mut replica = Replica::new(version, ONE);
        replica.sync();
        replica.sql("BEGIN; INSERT INTO t SELECT i, repeat('v', 200) FROM generate_series(10, 150000) i; COMMIT; UPDATE t SET a = 'w' WHERE id % 10 = 0");
        let running = replica.read().start();
        let mut killed = 0;
        let began = Instant::now();
        while killed < 5 && began.elapsed() < Duration::from_secs(20) {
            let done = replica.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'walsender'");
            killed += done.parse::<u32>().unwrap();
            std::thread::sleep(Duration::from_millis(60));
        }
        let output = running.wait().succeeded();
        assert!(killed > 0, "no connection was there to be killed");
        assert!(output.log().contains("Going on at"), "{}", output.log());
        assert_eq!(count(&output, "t"), 149_991 + 15_000, "rows were lost or doubled");
        replica.take(&output);
        replica.equals("t");
    });
}

#[test]
fn pg_28_the_slot_follows_the_states_though_only_other_tables_are_busy() {
    on_both(|version| {
        let mut replica = Replica::new(version, &format!("{ONE}; CREATE TABLE busy (id int PRIMARY KEY)"));
        replica.sync();
        let mut confirmed = replica.lsn("confirmed_flush_lsn");
        for round in 1..=3 {
            replica.sql(&format!(
                "INSERT INTO busy SELECT generate_series({round} * 100000, {round} * 100000 + 20000)"
            ));
            let state = replica.position();
            let output = replica.sync();
            assert_eq!(output.records().count(), 0);
            assert!(replica.position() > state + 1_000_000, "the state stands still");
            let now = replica.lsn("confirmed_flush_lsn");
            assert_eq!(now, state, "the slot is not where the last confirmed state is");
            assert!(now >= confirmed);
            confirmed = now;
        }
        // A reader of another kind: the slot moves with the states of the run.
        replica.set("lsn_commit_behaviour", json!("While reading Data"));
        replica.sync();
        assert_eq!(replica.lsn("confirmed_flush_lsn"), replica.position());
    });
}

#[test]
fn the_slot_never_passes_a_state_that_nobody_has_confirmed() {
    on_both(|version| {
        let mut replica = Replica::new(version, ONE);
        let at_first = replica.lsn("confirmed_flush_lsn");
        replica.sync();
        assert_eq!(replica.lsn("confirmed_flush_lsn"), at_first, "before any state was handed back");
        replica.sql("INSERT INTO t VALUES (2, 'y')");
        let kept = replica.state.clone();
        // Two runs whose states get lost.
        for _ in 0..2 {
            let output = replica.read().output().succeeded();
            assert_eq!(count(&output, "t"), 1);
        }
        assert_eq!(replica.lsn("confirmed_flush_lsn"), replica.position());
        assert_eq!(replica.state, kept);
        replica.sync();
        replica.equals("t");
    });
}

#[test]
fn pg_29_after_a_failover_without_the_slot_the_error_names_it() {
    let mut replica = Replica::new(Version::V15, ONE);
    replica.sync();
    let standby = Postgres::options(Version::V15).standby_of(&replica.server).start();
    standby.psql("SELECT pg_promote()");
    replica.config["port"] = standby.port.into();
    let (message, _) = replica.sync_fails();
    assert!(message.contains("no replication slot \"s\""), "{message}");
    // Made by hand there, it knows nothing of what came between.
    standby.psql("SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
    let (message, _) = replica.sync_fails();
    assert!(message.contains("beyond the state's LSN"), "{message}");
}

#[test]
fn pg_29_a_state_of_another_server_or_from_beyond_the_log_is_refused() {
    on_both(|version| {
        let mut replica = Replica::new(version, ONE);
        replica.sync();
        let own = replica.state.clone().unwrap();
        let text = own.to_string();
        let lsn = replica.position();
        replica.state = Some(
            serde_json::from_str(&text.replace(&lsn.to_string(), &(lsn + (1 << 40)).to_string())).unwrap(),
        );
        let (message, _) = replica.sync_fails();
        assert!(message.contains("restored from a backup"), "{message}");
        let system = replica.sql("SELECT system_identifier FROM pg_control_system()");
        replica.state = Some(serde_json::from_str(&text.replace(&system, "1234")).unwrap());
        let (message, _) = replica.sync_fails();
        assert!(message.contains("belongs to another server"), "{message}");
        // A state of Airbyte's does not say whose it is.
        let mut foreign = own;
        foreign["global"]["shared_state"].as_object_mut().unwrap().remove("ferrybyte");
        replica.state = Some(foreign);
        replica.sync();
        replica.equals("t");
    });
}

#[test]
fn the_heartbeat_query_runs() {
    on_both(|version| {
        let mut replica = Replica::new(
            version,
            &format!("{ONE}; CREATE TABLE beat (id int PRIMARY KEY, n int); INSERT INTO beat VALUES (1, 0)"),
        );
        replica.set("heartbeat_action_query", json!("UPDATE beat SET n = n + 1"));
        replica.sync();
        assert_eq!(replica.sql("SELECT n FROM beat"), "1");
        replica.set("heartbeat_action_query", json!("UPDATE nowhere SET n = n + 1"));
        let output = replica.sync();
        assert!(output.log().contains("heartbeat_action_query failed"), "{}", output.log());
    });
}
