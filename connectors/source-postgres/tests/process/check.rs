//! What check says of the way to the server, the user, and what the user may read.

use serde_json::{Value, json};
use testkit::services::{Postgres, Version, free_port};

use crate::harness::{accepted, as_user, create_user, refused, statement};

fn start(version: Version) -> Postgres {
    let server = Postgres::start(version);
    server.psql("CREATE TABLE t (id int PRIMARY KEY)");
    server
}

#[test]
fn a_right_config_is_accepted_without_a_warning() {
    for version in [Version::V15, Version::V18] {
        let server = start(version);
        for config in [server.config_json("postgres"), server.config_json_verify_full("postgres")] {
            assert_eq!(accepted(&config), "", "{version:?}");
        }
    }
}

#[test]
fn pg_31_each_mistake_in_the_way_to_the_server_is_told_apart() {
    for version in [Version::V15, Version::V18] {
        let server = start(version);
        let with = |key: &str, value: Value| {
            let mut config = server.config_json("postgres");
            config[key] = value;
            config
        };
        let mut said = Vec::new();
        for (config, names) in [
            (with("host", "no-such-host.invalid".into()), "`host`"),
            (with("port", free_port().into()), "`port`"),
            (with("database", "absent".into()), "`database`"),
            (with("password", "Mallory's guess".into()), "`password`"),
        ] {
            let message = refused(&config);
            assert!(message.contains(names), "{message}");
            assert!(!message.contains("Mallory"), "{message}");
            said.push(message);
        }
        // Servers do not say whether the user or the password was wrong.
        assert!(refused(&with("username", "absent".into())).contains("`username`"));
        said.sort();
        said.dedup();
        assert_eq!(said.len(), 4, "two mistakes have one message: {said:?}");
    }
}

#[test]
fn a_user_whom_the_server_does_not_let_in_is_told_of_pg_hba_conf() {
    let server = Postgres::options(Version::V15)
        .access_line("host postgres postgres 127.0.0.1/32 scram-sha-256")
        .start();
    server.psql(&create_user("reader", ""));
    let message = refused(&as_user(server.config_json("postgres"), "reader"));
    assert!(message.contains("pg_hba.conf"), "{message}");
}

#[test]
fn a_schema_that_is_not_there_is_named_and_its_likely_spelling_too() {
    let server = start(Version::V15);
    let mut config = server.config_json("postgres");
    config["schemas"] = json!(["public", "Sales"]);
    let message = refused(&config);
    assert!(message.contains("no schema \"Sales\""), "{message}");
    server.psql("CREATE SCHEMA sales; CREATE TABLE sales.t (id int)");
    let message = refused(&config);
    assert!(message.contains("Did you mean \"sales\""), "{message}");
    config["schemas"] = json!(["public", "sales"]);
    accepted(&config);
}

#[test]
fn a_database_without_tables_is_no_success() {
    let server = Postgres::start(Version::V15);
    let mut config = server.config_json("postgres");
    let message = refused(&config);
    assert!(message.contains("no table in schema \"public\""), "{message}");
    config["schemas"] = json!([]);
    assert!(refused(&config).contains("may read no table"), "{}", refused(&config));
}

#[test]
fn pg_31_a_missing_select_names_the_table_and_the_grant_that_mends_it() {
    let server = Postgres::start(Version::V15);
    server.psql(&format!("CREATE TABLE \"Order lines\" (id int PRIMARY KEY); {}", create_user("reader", "")));
    let config = as_user(server.config_json("postgres"), "reader");
    let message = refused(&config);
    assert!(message.contains("SELECT from any of the tables in schema \"public\""), "{message}");
    let grant = statement(&message);
    assert_eq!(grant, "GRANT SELECT ON public.\"Order lines\" TO \"reader\"");
    server.psql(&grant);
    assert_eq!(accepted(&config), "");
    server.psql("CREATE TABLE other (id int)");
    let warning = accepted(&config);
    assert!(warning.contains("may not read public.other"), "{warning}");
    server.psql(&statement(&warning));
    assert_eq!(accepted(&config), "");
}

#[test]
fn a_schema_that_may_not_be_used_is_told_with_its_grant() {
    let server = Postgres::start(Version::V15);
    server.psql(&format!(
        "CREATE SCHEMA \"Sales\"; CREATE TABLE \"Sales\".t (id int); {} GRANT SELECT ON \"Sales\".t TO reader;",
        create_user("reader", "")
    ));
    let mut config = as_user(server.config_json("postgres"), "reader");
    config["schemas"] = json!(["Sales"]);
    let message = refused(&config);
    assert_eq!(statement(&message), "GRANT USAGE ON SCHEMA \"Sales\" TO \"reader\"");
    server.psql(&statement(&message));
    accepted(&config);
}

#[test]
fn privileges_are_not_looked_at_when_the_config_says_so() {
    let server = start(Version::V15);
    server.psql(&create_user("reader", ""));
    let mut config = as_user(server.config_json("postgres"), "reader");
    refused(&config);
    config["check_privileges"] = false.into();
    accepted(&config);
}

#[test]
fn columns_and_rows_that_the_user_may_not_see_are_warned_of() {
    let server = Postgres::start(Version::V15);
    server.psql(&format!(
        "CREATE TABLE partly (id int, secret text); CREATE TABLE guarded (id int); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
         {} GRANT SELECT (id) ON partly TO reader; GRANT SELECT ON guarded TO reader;",
        create_user("reader", "")
    ));
    let warning = accepted(&as_user(server.config_json("postgres"), "reader"));
    assert!(warning.contains("only some columns of public.partly"), "{warning}");
    assert!(warning.contains("Row-level security applies to public.guarded"), "{warning}");
}

#[test]
fn a_long_list_of_tables_is_cut_short() {
    let server = start(Version::V15);
    server.psql(&create_user("reader", ""));
    server.psql("CREATE SCHEMA many");
    for n in 0..12 {
        server.psql(&format!("CREATE TABLE many.t{n:02} (id int)"));
    }
    server.psql("GRANT USAGE ON SCHEMA many TO reader");
    let mut config = as_user(server.config_json("postgres"), "reader");
    config["schemas"] = json!(["many"]);
    let message = refused(&config);
    assert!(message.contains("\"many\".t04 and 7 more"), "{message}");
}

#[test]
fn what_the_config_cannot_mean_is_refused_before_anything_is_opened() {
    let server = start(Version::V15);
    let with = |key: &str, value: Value| {
        let mut config = server.config_json("postgres");
        config[key] = value;
        config
    };
    for (config, names) in [
        (with("jdbc_url_params", "no-pair".into()), "jdbc_url_params"),
        (with("jdbc_url_params", "sslmode=disable".into()), "`ssl_mode`"),
        (with("entra_service_principal_auth", true.into()), "entra_service_principal_auth"),
        (with("port", 70_000.into()), "$.port"),
        (
            with("replication_method", json!({"method": "CDC", "replication_slot": "s"})),
            "$.replication_method",
        ),
    ] {
        let message = refused(&config);
        assert!(message.contains(names), "{message}");
    }
}

#[test]
fn configs_of_both_generations_of_airbytes_source_are_read() {
    let server = start(Version::V15);
    let mut config = server.config_json_verify_full("postgres");
    config["ssl_mode"]["mode"] = "verify_full".into();
    config["is_test"] = true.into();
    config["sync_checkpoint_records"] = 10.into();
    config["max_db_connections"] = 4.into();
    config["_ab_internal"] = json!({});
    let log = accepted(&config);
    assert!(log.contains("\"is_test\"") && log.contains("\"sync_checkpoint_records\""), "{log}");
}
