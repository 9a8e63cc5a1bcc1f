//! Statements, settings, cancelling, and what a config can have wrong.

use connector_kit::{ErrorKind, Secret};
use postgres_kit::{Params, Purpose, server_error};
use testkit::services::{Postgres, Version, free_port};

use crate::{endpoint, run, shown};

#[test]
fn statements_return_their_rows_and_errors_leave_the_connection_usable() {
    let server = Postgres::start(Version::V15);
    run(async {
        let mut connection = endpoint(&server).connect(Purpose::Ordinary).await.unwrap();
        assert!((150_000..160_000).contains(&connection.server_version()));
        let rows = connection.query("SELECT 1, NULL, 'ü', true; SELECT pg_backend_pid()").await.unwrap();
        assert_eq!((rows[0].int(0).unwrap(), rows[0].get(1), rows[0].get(2)), (1, None, Some("ü")));
        assert!(rows[0].flag(3).unwrap());
        assert_eq!(rows[1].int(0).unwrap(), i64::from(connection.backend_pid()));
        connection.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (7)").await.unwrap();
        let error = connection.query("SELECT a FROM t; SELECT 'x'::int").await.unwrap_err();
        assert_eq!(server_error(&error).unwrap().code, "22P02");
        assert_eq!(connection.execute("SELECT '\0'").await.unwrap_err().kind(), ErrorKind::Config);
        assert!(connection.query("").await.unwrap().is_empty());
        assert_eq!(connection.query("SELECT a FROM t").await.unwrap()[0].int(0).unwrap(), 7);
    });
}

#[test]
fn sessions_of_both_purposes_have_the_same_settings_whatever_the_roles_own() {
    let server = Postgres::start(Version::V15);
    server.psql(
        "ALTER ROLE postgres SET DateStyle = 'German'; ALTER ROLE postgres SET client_encoding = 'LATIN1';
         ALTER ROLE postgres SET bytea_output = 'escape'; ALTER ROLE postgres SET TimeZone = 'Asia/Tokyo';
         ALTER ROLE postgres SET IntervalStyle = 'iso_8601'; ALTER ROLE postgres SET extra_float_digits = -1;
         CREATE SCHEMA \"Odd, one\"",
    );
    let mut endpoint = endpoint(&server);
    endpoint.params = Params::parse(
        "ApplicationName=my%20sync&options=-c%20statement_timeout=77000&currentSchema=a,public",
    )
    .unwrap();
    run(async {
        for purpose in [Purpose::Ordinary, Purpose::Replication] {
            let mut connection = endpoint.connect(purpose).await.unwrap();
            for (name, value) in [
                ("client_encoding", "UTF8"),
                ("DateStyle", "ISO"),
                ("IntervalStyle", "postgres"),
                ("TimeZone", "UTC"),
                ("extra_float_digits", "3"),
                ("bytea_output", "hex"),
                ("application_name", "my sync"),
                ("statement_timeout", "77s"),
            ] {
                let rows = connection.query(&format!("SHOW {name}")).await.unwrap();
                assert!(rows[0].text(0).unwrap().starts_with(value), "{purpose:?} {name}: {rows:?}");
            }
            let rows = connection.query("SHOW search_path").await.unwrap();
            assert_eq!(rows[0].text(0).unwrap().replace(['"', ' '], ""), "a,public", "{purpose:?}");
        }
    });
}

#[test]
fn a_command_is_ended_from_elsewhere_over_any_channel() {
    let server = Postgres::start(Version::V15);
    for ssl in [postgres_kit::SslMode::Disable, postgres_kit::SslMode::Require] {
        let mut endpoint = endpoint(&server);
        endpoint.ssl = ssl;
        run(async {
            let mut connection = endpoint.connect(Purpose::Ordinary).await.unwrap();
            let token = connection.cancel_token();
            let cancel = async {
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                token.cancel().await.unwrap();
            };
            let (error, ()) = tokio::join!(connection.query("SELECT pg_sleep(90)"), cancel);
            assert_eq!(server_error(&error.unwrap_err()).unwrap().code, "57014");
            assert_eq!(connection.query("SELECT 1").await.unwrap()[0].int(0).unwrap(), 1);
        });
    }
}

#[test]
fn each_mistake_in_a_config_is_named_by_its_key() {
    let server = Postgres::start(Version::V15);
    run(async {
        let right = endpoint(&server);
        let mut wrong = Vec::new();
        let mut with = |change: &dyn Fn(&mut postgres_kit::Endpoint), key: &'static str| {
            let mut endpoint = right.clone();
            change(&mut endpoint);
            wrong.push((endpoint, key));
        };
        with(&|e| e.host = "no-such-host.invalid".into(), "`host`");
        with(&|e| e.port = free_port(), "`port`");
        with(&|e| e.database = "nowhere".into(), "`database`");
        with(&|e| e.user = "nobody".into(), "`username`");
        with(&|e| e.password = Some(Secret::from("wr0ng-one".to_owned())), "`password`");
        with(&|e| e.password = None, "`password`");
        with(&|e| e.database = "a\0b".into(), "`database`");
        for (endpoint, key) in wrong {
            let error = endpoint.connect(Purpose::Ordinary).await.unwrap_err();
            let shown = shown(&error);
            assert!(shown.contains(key) && !shown.contains("wr0ng-one"), "{shown}");
            // Without a resolver a wrong name and a resolver that is away look the same.
            assert!(error.kind() == ErrorKind::Config || key == "`host`", "{shown}");
        }
    });
}

#[test]
fn a_server_that_dies_is_worth_another_try() {
    let mut server = Postgres::start(Version::V15);
    let endpoint = endpoint(&server);
    run(async {
        let mut connection = endpoint.connect(Purpose::Ordinary).await.unwrap();
        server.stop_immediate();
        for _ in 0..2 {
            let error = connection.query("SELECT 1").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Transient, "{}", shown(&error));
        }
        // Nothing listens now, which is what a wrong port looks like.
        assert_eq!(endpoint.connect(Purpose::Ordinary).await.unwrap_err().kind(), ErrorKind::Config);
        server.start_again();
        endpoint.connect(Purpose::Ordinary).await.unwrap();
    });
}

#[test]
fn the_server_of_the_next_major_versions_is_understood_as_well() {
    let server = Postgres::start(Version::V18);
    let mut endpoint = endpoint(&server);
    endpoint.ssl = postgres_kit::SslMode::Require;
    run(async {
        let mut connection = endpoint.connect(Purpose::Ordinary).await.unwrap();
        assert!((180_000..190_000).contains(&connection.server_version()));
        assert_eq!(connection.query("SELECT 18").await.unwrap()[0].int(0).unwrap(), 18);
    });
}
