//! The PostgreSQL servers that tests start.

use testkit::services::{Postgres, Version};

const BOTH: [Version; 2] = [Version::V15, Version::V18];

#[test]
fn each_version_answers_psql_and_forgets_nothing_when_it_loses_power() {
    for version in BOTH {
        let mut server = Postgres::start(version);
        assert_eq!(
            server.psql("SHOW server_version_num")[..2],
            version.major().to_string(),
            "{version:?}: {}",
            server.log()
        );
        assert_eq!(server.psql("SHOW wal_level; SHOW fsync; SHOW ssl"), "logical\noff\non");
        server.psql("CREATE TABLE t (n int); INSERT INTO t SELECT generate_series(1, 1000)");
        server.stop_immediate();
        assert!(server.try_psql_in("postgres", "SELECT 1").is_err());
        server.start_again();
        assert_eq!(server.psql("SELECT count(*) FROM t"), "1000");
        server.restart();
        assert_eq!(server.psql("SELECT sum(n), count(*) FROM t"), "500500|1000");
    }
}

#[test]
fn has_the_extensions_whose_types_connectors_read() {
    for version in BOTH {
        let server = Postgres::start(version);
        assert_eq!(
            server.psql("CREATE EXTENSION hstore; CREATE EXTENSION citext; SELECT 'a=>1'::hstore -> 'a'"),
            "1"
        );
    }
}

#[test]
fn a_certificate_and_a_wrong_password_are_what_they_say() {
    let server = Postgres::start(Version::V15);
    let mut psql = server.client("psql", "postgres");
    psql.args(["-X", "-A", "-t", "-c", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"]);
    psql.env("PGHOST", "localhost").env("PGSSLMODE", "verify-full");
    psql.env("PGSSLROOTCERT", server.authority.certificate());
    let output = psql.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "t", "{output:?}");
    psql.env("PGPASSWORD", "another");
    let output = psql.output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("password authentication failed"), "{output:?}");
}

#[test]
fn settings_access_and_encoding_are_those_asked_for() {
    let server = Postgres::options(Version::V15)
        .setting("wal_level = replica")
        .encoding("SQL_ASCII", "C")
        .access_line("hostssl all all 127.0.0.1/32 scram-sha-256")
        .start();
    let plain = server.try_psql_in("postgres", "SELECT 1").unwrap_err();
    assert!(plain.contains("no pg_hba.conf entry"), "{plain}");
    let mut psql = server.client("psql", "postgres");
    let output = psql
        .env("PGSSLMODE", "require")
        .args(["-XAtc", "SELECT current_setting('wal_level'), current_setting('server_encoding')"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "replica|SQL_ASCII", "{output:?}");
}

#[test]
fn a_session_holds_its_transaction_open() {
    let server = Postgres::start(Version::V15);
    server.psql("CREATE TABLE t (n int)");
    let mut session = server.session("postgres");
    session.run("BEGIN; INSERT INTO t VALUES (1);");
    assert_eq!(session.run("SELECT count(*) FROM t;"), "1");
    assert_eq!(server.psql("SELECT count(*) FROM t"), "0");
    session.run("COMMIT;");
    assert_eq!(server.psql("SELECT count(*) FROM t"), "1");
}

#[test]
fn a_standby_follows() {
    let primary = Postgres::start(Version::V15);
    primary.psql("CREATE TABLE t AS SELECT 1 AS n");
    let standby = Postgres::options(Version::V15).standby_of(&primary).start();
    assert_eq!(standby.psql("SELECT pg_is_in_recovery(), n FROM t"), "t|1");
}

#[test]
fn two_servers_are_copies_of_one_folder_that_was_made_once() {
    let identity = || Postgres::start(Version::V15).psql("SELECT system_identifier FROM pg_control_system()");
    assert_eq!(identity(), identity());
}
