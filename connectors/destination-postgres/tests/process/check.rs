//! What check says of the way to the server and of what the user may do there.

use serde_json::{Value, json};
use testkit::services::{Postgres, Version, free_port};

use crate::harness::Site;

/// What the check failed with; none if it succeeded.
fn refused(site: &Site, config: &Value) -> Option<String> {
    let output = site.check(config).succeeded();
    let status = output.lines.iter().find_map(|line| {
        let message: Value = serde_json::from_slice(&line.raw).ok()?;
        message.get("connectionStatus").cloned()
    });
    let status = status.unwrap_or_else(|| panic!("no connection status: {output}"));
    match status["status"].as_str() {
        Some("SUCCEEDED") => None,
        _ => Some(status["message"].as_str().unwrap().to_owned()),
    }
}

/// The statement that a message tells to run.
fn statement(message: &str) -> &str {
    message.split_once("Run ").unwrap_or_else(|| panic!("{message}")).1.split_once(';').unwrap().0
}

fn schemas(site: &Site) -> String {
    site.psql("SELECT string_agg(nspname, ' ' ORDER BY nspname) FROM pg_namespace WHERE nspname !~ '^pg_'")
}

#[test]
fn a_right_config_is_accepted_and_leaves_nothing_behind() {
    for version in [Version::V15, Version::V18] {
        let site = Site::of(version);
        let before = schemas(&site);
        assert_eq!(refused(&site, &site.config()), None);
        let mut elsewhere = site.config();
        elsewhere["schema"] = "not there yet".into();
        assert_eq!(refused(&site, &elsewhere), None);
        assert_eq!(schemas(&site), before);
        assert_eq!(site.psql("SELECT count(*) FROM pg_class WHERE relname LIKE '\\_ferrybyte%'"), "0");
    }
}

#[test]
fn each_mistake_in_the_way_to_the_server_is_told_apart() {
    let site = Site::new();
    for (key, value, names) in [
        ("host", "no-such-host.invalid".into(), "`host`"),
        ("port", free_port().into(), "`port`"),
        ("database", "absent".into(), "`database`"),
        ("password", "Mallory's guess".into(), "`password`"),
        ("username", "absent".into(), "`username`"),
        ("jdbc_url_params", "no-pair".into(), "jdbc_url_params"),
        ("schema", "".into(), "schema is empty"),
        ("normalization", json!({"mode": "advanced"}), "normalization"),
    ] {
        let mut config = site.config();
        config[key] = value;
        let message = refused(&site, &config).unwrap();
        assert!(message.contains(names) && !message.contains("Mallory"), "{message}");
    }
}

#[test]
fn dp_14_each_missing_privilege_is_told_with_the_statement_that_grants_it() {
    for version in [Version::V15, Version::V18] {
        let site = Site::of(version);
        site.psql(
            "CREATE ROLE \"Writer\" LOGIN PASSWORD 'pw of Writer'; CREATE SCHEMA \"Sales\"; REVOKE TEMPORARY ON DATABASE postgres FROM PUBLIC",
        );
        let mut config = site.config();
        config["username"] = "Writer".into();
        config["password"] = "pw of Writer".into();
        config["schema"] = "Sales".into();
        for expected in [
            "GRANT TEMPORARY ON DATABASE postgres TO \"Writer\"",
            "GRANT USAGE, CREATE ON SCHEMA \"Sales\" TO \"Writer\"",
            "GRANT CREATE ON DATABASE postgres TO \"Writer\"",
        ] {
            let message = refused(&site, &config).expect(expected);
            assert_eq!(statement(&message), expected, "{message}");
            site.psql(statement(&message));
        }
        assert_eq!(refused(&site, &config), None);
    }
}

#[test]
fn dp_14_a_role_that_may_only_read_is_told_so() {
    let site = Site::new();
    site.psql(
        "CREATE ROLE r SUPERUSER LOGIN PASSWORD 'r'; ALTER ROLE r SET default_transaction_read_only = on",
    );
    let mut config = site.config();
    config["username"] = "r".into();
    config["password"] = "r".into();
    let message = refused(&site, &config).unwrap();
    assert_eq!(statement(&message), "ALTER ROLE r SET default_transaction_read_only = off", "{message}");
    site.psql(statement(&message));
    assert_eq!(refused(&site, &config), None);
}

#[test]
fn dp_14_a_standby_is_told_from_a_primary() {
    let primary = Postgres::start(Version::V15);
    let standby = Postgres::options(Version::V15).standby_of(&primary).start();
    let site = Site::on(standby);
    let message = refused(&site, &site.config()).unwrap();
    assert!(message.contains("standby") && message.contains("primary"), "{message}");
}
