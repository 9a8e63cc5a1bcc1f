//! Servers in trouble: full disks, locks and time-outs.

use std::time::Duration;

use connector_kit::protocol::FailureType;
use serde_json::json;
use testkit::Signal;
use testkit::conformance::feed::{Feed, in_mode};

use crate::harness::{Site, by_ferry, incremental};

/// What a server whose disk is full says: a trigger says it for it.
const FULL: &str = "
    CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'could not extend file \"base/5/1\": No space left on device' USING ERRCODE = '53100';
    END $$;
    CREATE TRIGGER full_disk BEFORE INSERT ON users FOR EACH ROW WHEN (NEW.id > 5) EXECUTE FUNCTION full_disk();
";

#[test]
fn dp_03_a_full_disk_is_named_and_the_next_run_goes_on_once_there_is_room() {
    let site = Site::new();
    let stream = [incremental(in_mode("users", "append"))];
    let run = |feed: Feed| by_ferry(site.writing(&stream, feed), "c", 1, 0).output();
    let _ = run(Feed::new().rows("users", 0, 2).state("users", 1)).succeeded();
    site.psql(FULL);
    let feed = || Feed::new().rows("users", 2, 5).state("users", 2).rows("users", 5, 9).state("users", 3);
    let output = run(feed());
    let error = output.failed();
    assert_eq!(error.failure_type, Some(FailureType::TransientError), "{output}");
    assert!(error.message.contains("No space left on device"), "{output}");
    assert_eq!(site.ids("users"), "0,1,2,3,4", "what was marked before it is kept: {output}");
    assert_eq!(site.committed("c", &stream).states().count(), 1);
    site.psql("DROP TRIGGER full_disk ON users");
    let _ = run(Feed::new().rows("users", 5, 9).state("users", 3)).succeeded();
    assert_eq!(site.ids("users"), "0,1,2,3,4,5,6,7,8");
}

#[test]
fn dp_04_locks_of_others_are_waited_out_at_the_start_of_a_load_and_at_a_merge() {
    let mut site = Site::new();
    // The time-outs are the user's.
    site.more = json!({"jdbc_url_params": "options=-c lock_timeout%3D200ms"});
    for mode in ["append", "append_dedup"] {
        let stream = [incremental(in_mode(mode, mode))];
        let _ = site.sync(&stream, Feed::new().rows(mode, 0, 2).state(mode, 1));
        let mut other = site.server.session("postgres");
        // The columns are looked at and written in different modes of locking.
        other.run(&format!("BEGIN; LOCK TABLE {mode} IN EXCLUSIVE MODE"));
        let sync = site.writing(&stream, Feed::new().rows(mode, 2, 4).state(mode, 2)).start();
        sync.wait_for("Trying again");
        other.run("COMMIT");
        let _ = sync.wait().succeeded();
        assert_eq!(site.ids(mode), "0,1,2,3");
    }
}

#[test]
fn dp_04_time_outs_of_the_role_do_not_end_a_load() {
    let mut site = Site::new();
    site.psql("CREATE ROLE hasty LOGIN PASSWORD 'pw-of-hasty'; GRANT CREATE, TEMPORARY ON DATABASE postgres TO hasty;");
    site.psql("ALTER ROLE hasty SET statement_timeout = '300ms'; ALTER ROLE hasty SET idle_in_transaction_session_timeout = '300ms'");
    site.psql("ALTER ROLE hasty SET synchronous_commit = off");
    site.psql("ALTER ROLE hasty SET default_transaction_isolation = 'serializable'");
    site.psql("CREATE SCHEMA own AUTHORIZATION hasty");
    site.more = json!({"username": "hasty", "password": "pw-of-hasty", "schema": "own"});
    let stream = [incremental(in_mode("users", "append"))];
    let mut slow = site.writing(&stream, Feed::new().rows("users", 0, 2)).holding_stdin_open().start();
    slow.wait_until_input_is_taken();
    std::thread::sleep(Duration::from_millis(1200));
    slow.send(Feed::new().rows("users", 2, 3).state("users", 1).bytes());
    slow.wait_until_input_is_taken();
    std::thread::sleep(Duration::from_millis(300));
    slow.signal(Signal::TERM);
    let output = slow.wait_holding_stdin();
    assert_eq!(output.states().count(), 1, "{output}");
    assert_eq!(site.ids("own.users"), "0,1,2");
}
