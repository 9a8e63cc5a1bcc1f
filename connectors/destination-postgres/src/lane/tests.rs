//! The lane against a real server, through a connection that breaks.

use std::time::Duration;

use connector_kit::protocol::StreamDescriptor;
use connector_kit::{ErrorKind, Secret, Stop};
use postgres_kit::{Endpoint, Params, SslMode, TunnelMethod};
use testkit::services::{Cut, Postgres, Proxy, Version};

use super::{CopyTarget, Lane};

fn endpoint(port: u16) -> Endpoint {
    Endpoint {
        host: "127.0.0.1".into(),
        port,
        database: "postgres".into(),
        user: Postgres::USER.into(),
        password: Some(Secret::from(Postgres::PASSWORD.to_owned())),
        ssl: SslMode::Disable,
        tunnel: TunnelMethod::NoTunnel,
        params: Params::default(),
    }
}

/// Runs a test's conversation with a server; one that hangs fails.
fn talk(port: u16, f: impl AsyncFnOnce(Lane)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let conversation = async { f(Lane::connect(&endpoint(port), &Stop::default()).await.unwrap()).await };
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(100), conversation).await })
        .expect("it hangs");
}

fn target(id: usize, table: &str) -> CopyTarget {
    CopyTarget {
        id,
        stream: StreamDescriptor::new(None, table),
        sql: format!("COPY {table} (id) FROM STDIN (FORMAT binary)"),
    }
}

/// Rows of one bigint.
fn tuples(ids: std::ops::Range<i64>) -> Vec<u8> {
    ids.flat_map(|id| [&1_i16.to_be_bytes()[..], &8_i32.to_be_bytes(), &id.to_be_bytes()].concat()).collect()
}

fn server() -> Postgres {
    let server = Postgres::start(Version::V15);
    server
        .psql("CREATE TABLE a (id bigint); CREATE TABLE b (id bigint UNIQUE DEFERRABLE INITIALLY DEFERRED);");
    server
}

fn counts(server: &Postgres) -> String {
    server.psql("SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)")
}

#[test]
fn rows_of_two_tables_are_seen_together_at_the_commit() {
    let server = server();
    talk(server.port, async |mut lane| {
        for round in 0..3 {
            lane.copy(&target(0, "a"), &tuples(round * 10..round * 10 + 10)).await.unwrap();
            lane.copy(&target(0, "a"), &tuples(0..5)).await.unwrap();
            lane.copy(&target(1, "b"), &tuples(round..round + 1)).await.unwrap();
        }
        assert_eq!(counts(&server), "0|0");
        lane.commit().await.unwrap();
        assert_eq!(counts(&server), "45|3");
        lane.commit().await.unwrap();
        // More than one message holds.
        lane.copy(&target(0, "a"), &tuples(0..50_000)).await.unwrap();
        lane.rollback().await.unwrap();
        assert_eq!(counts(&server), "45|3");
        assert!(!lane.is_open());
    });
}

#[test]
fn a_rollback_to_a_mark_drops_what_came_after_it_and_heals_a_failure() {
    let server = server();
    talk(server.port, async |mut lane| {
        lane.copy(&target(0, "a"), &tuples(0..2)).await.unwrap();
        lane.mark().await.unwrap();
        lane.copy(&target(0, "a"), &tuples(0..1)).await.unwrap();
        lane.mark().await.unwrap();
        lane.copy(&target(1, "b"), &tuples(0..100)).await.unwrap();
        lane.rollback_to_mark().await.unwrap();
        // A row of two fields, which shows only when the COPY is ended.
        let odd = [&2_i16.to_be_bytes()[..], &[0; 16]].concat();
        lane.copy(&target(1, "b"), &odd).await.unwrap();
        let error = lane.mark().await.unwrap_err();
        assert_eq!(error.stream(), Some(&StreamDescriptor::new(None, "b")));
        assert!(lane.commit().await.is_err(), "a transaction in which a statement failed is not committed");
        lane.rollback_to_mark().await.unwrap();
        lane.rollback_to_mark().await.unwrap();
        lane.commit().await.unwrap();
        assert_eq!(counts(&server), "3|0");
    });
}

#[test]
fn a_statement_that_fails_for_good_leaves_the_transaction_as_it_was() {
    let server = server();
    talk(server.port, async |mut lane| {
        lane.copy(&target(0, "a"), &tuples(0..2)).await.unwrap();
        let failing = "INSERT INTO a VALUES (9); SELECT 1 / (SELECT count(*) FROM b)";
        assert!(lane.execute_patiently(failing).await.is_err());
        lane.execute_patiently("INSERT INTO a VALUES (9)").await.unwrap();
        lane.commit().await.unwrap();
        assert_eq!(counts(&server), "3|0");
        assert!(lane.execute_patiently(failing).await.is_err());
        assert_eq!(counts(&server), "3|0");
    });
}

#[test]
fn dp_04_locks_that_last_too_long_and_deadlocks_are_waited_out() {
    let server = server();
    let mut other = server.session("postgres");
    other.run("BEGIN; LOCK TABLE b");
    talk(server.port, async |mut lane| {
        lane.copy(&target(0, "a"), &tuples(0..2)).await.unwrap();
        // The other session now waits for ours, and ours is about to wait for it.
        lane.execute("SET deadlock_timeout = '50ms'; LOCK TABLE a IN SHARE ROW EXCLUSIVE MODE")
            .await
            .unwrap();
        other.send("SET deadlock_timeout = '1h'; LOCK TABLE a; COMMIT");
        let waits =
            || server.psql("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'a'::regclass");
        while waits() != "1" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // A failed statement gives nothing back that was locked before it; so what is tried again can
        // succeed only once the other gives up.
        let pid = server.psql("SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'a'::regclass");
        let release = async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            server.psql(&format!("SELECT pg_terminate_backend({pid})"));
        };
        let (done, ()) = tokio::join!(lane.execute_patiently("INSERT INTO b VALUES (1)"), release);
        done.unwrap();
        lane.commit().await.unwrap();
        assert!(server.log().contains("deadlock detected"));
    });
    assert_eq!(counts(&server), "2|1");

    let mut other = server.session("postgres");
    other.run("BEGIN; LOCK TABLE a");
    talk(server.port, async |mut lane| {
        lane.execute("SET lock_timeout = '30ms'").await.unwrap();
        let free = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            other.send("COMMIT");
        };
        let (to, row) = (target(0, "a"), tuples(5..6));
        let (done, ()) = tokio::join!(lane.copy(&to, &row), free);
        done.unwrap();
        lane.commit().await.unwrap();
    });
    assert_eq!(counts(&server), "3|1");
}

#[test]
fn dp_01_a_commit_whose_answer_is_lost_is_cleared_up_either_way() {
    let server = server();
    let proxy = Proxy::to(server.port);
    server.psql("CREATE TABLE proofs (token text)");
    for (round, (cut, proven)) in
        [(Cut::After, true), (Cut::After, false), (Cut::Before, true), (Cut::Before, false)]
            .into_iter()
            .enumerate()
    {
        talk(proxy.port, async |mut lane| {
            lane.session("CREATE TEMP TABLE mine (id bigint)").await.unwrap();
            assert_eq!(lane.lock("one table", Duration::ZERO).await.unwrap(), None);
            let before = lane.backend_pid();
            lane.copy(&target(0, "a"), &tuples(0..7)).await.unwrap();
            lane.execute(&format!("INSERT INTO proofs VALUES ('{round}')")).await.unwrap();
            proxy.cut("COMMIT\0", cut, 0);
            let proof = format!("SELECT 1 FROM proofs WHERE token = '{round}'");
            let committed = lane.commit_proven(proven.then_some(proof.as_str())).await;
            match cut {
                Cut::Before => assert_eq!(committed.unwrap_err().kind(), ErrorKind::Transient),
                Cut::After => {
                    committed.unwrap();
                    assert_ne!(lane.backend_pid(), before);
                    // The session is as it was.
                    lane.execute("INSERT INTO mine VALUES (1)").await.unwrap();
                    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";
                    assert_eq!(server.psql(held), "1");
                }
            }
        });
        let rows = if round < 2 { 7 * (round + 1) } else { 14 };
        assert_eq!(counts(&server), format!("{rows}|0"), "{cut:?} {proven}");
    }
    assert_eq!(proxy.cuts(), 4);
}

#[test]
fn a_server_that_crashes_during_the_commit_is_asked_again_once_it_is_back() {
    let mut server = server();
    let proxy = Proxy::to(server.port);
    talk(proxy.port, async |mut lane| {
        lane.copy(&target(0, "a"), &tuples(0..7)).await.unwrap();
        proxy.cut("COMMIT\0", Cut::After, 0);
        let crash = async {
            while proxy.cuts() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            server.stop_immediate();
            server.start_again();
        };
        let (committed, ()) = tokio::join!(lane.commit(), crash);
        let kept = counts(&server) == "7|0";
        assert_eq!(committed.is_ok(), kept, "{committed:?}");
    });
}

#[test]
fn a_constraint_that_fails_at_the_commit_is_an_error_and_nothing_is_kept() {
    let server = server();
    talk(server.port, async |mut lane| {
        lane.copy(&target(0, "a"), &tuples(0..7)).await.unwrap();
        lane.copy(&target(1, "b"), &[tuples(1..2), tuples(1..2)].concat()).await.unwrap();
        let error = lane.commit().await.unwrap_err();
        assert_eq!(postgres_kit::server_error(&error).unwrap().code, "23505");
        assert_eq!(counts(&server), "0|0");
        lane.copy(&target(0, "a"), &tuples(0..1)).await.unwrap();
        lane.commit().await.unwrap();
        assert_eq!(counts(&server), "1|0");
    });
}

#[test]
fn a_lock_that_another_lane_holds_is_told_with_its_process() {
    let server = server();
    talk(server.port, async |mut first| {
        assert_eq!(first.lock("t", Duration::ZERO).await.unwrap(), None);
        assert_eq!(first.lock("t", Duration::ZERO).await.unwrap(), None);
        let mut second = Lane::connect(&endpoint(server.port), &Stop::default()).await.unwrap();
        let holder = second.lock("t", Duration::from_millis(50)).await.unwrap();
        assert_eq!(holder, Some(first.backend_pid()));
        assert_eq!(second.lock("u", Duration::ZERO).await.unwrap(), None);
        drop(first);
        assert_eq!(second.lock("t", Duration::from_secs(20)).await.unwrap(), None);
    });
}
