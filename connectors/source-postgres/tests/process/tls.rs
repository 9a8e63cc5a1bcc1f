//! Encryption that is not as the config wants it.

use serde_json::{Value, json};
use testkit::services::{Authority, Postgres, Version};

use crate::harness::{accepted, refused};

fn config(server: &Postgres, host: &str, ssl_mode: Value) -> Value {
    let mut config = server.config_json("postgres");
    config["host"] = host.into();
    config["ssl_mode"] = ssl_mode;
    config
}

/// TLS connections that the server has seen, this one aside.
fn encrypted(server: &Postgres) -> bool {
    server.log().contains("SSL enabled")
}

fn start(options: testkit::services::Options) -> Postgres {
    let server = options.setting("log_connections = on").start();
    server.psql("CREATE TABLE t (id int)");
    server
}

#[test]
fn pg_32_a_server_without_tls_is_refused_by_every_mode_that_insists() {
    for version in [Version::V15, Version::V18] {
        let server = start(Postgres::options(version).setting("ssl = off"));
        let ca = server.ca_certificate();
        for mode in [
            json!({"mode": "require"}),
            json!({"mode": "verify-ca", "ca_certificate": ca}),
            json!({"mode": "verify-full", "ca_certificate": ca}),
        ] {
            let before = server.log().matches("connection authorized").count();
            let message = refused(&config(&server, "localhost", mode.clone()));
            assert!(message.contains("TLS") && message.contains("ssl_mode"), "{mode}: {message}");
            assert_eq!(server.log().matches("connection authorized").count(), before, "{mode} fell back");
        }
        for mode in ["disable", "allow", "prefer"] {
            accepted(&config(&server, "localhost", json!({"mode": mode})));
        }
    }
}

#[test]
fn pg_32_a_certificate_of_an_unknown_authority_is_refused_by_the_modes_that_verify() {
    let server = start(Postgres::options(Version::V15));
    let stranger = std::fs::read_to_string(Authority::new().certificate()).unwrap();
    for mode in ["verify-ca", "verify-full"] {
        let message =
            refused(&config(&server, "localhost", json!({"mode": mode, "ca_certificate": stranger})));
        assert!(message.contains("ca_certificate"), "{mode}: {message}");
    }
    accepted(&config(&server, "localhost", json!({"mode": "require"})));
}

#[test]
fn pg_32_a_certificate_for_another_host_is_refused_by_verify_full_alone() {
    let server = start(Postgres::options(Version::V15).certificate_names("DNS:db.example.com"));
    let ca = server.ca_certificate();
    let message =
        refused(&config(&server, "localhost", json!({"mode": "verify-full", "ca_certificate": ca})));
    assert!(message.contains("localhost") && message.contains("certificate"), "{message}");
    accepted(&config(&server, "localhost", json!({"mode": "verify-ca", "ca_certificate": ca})));
    accepted(&config(&server, "localhost", json!({"mode": "require"})));
}

#[test]
fn pg_32_what_is_no_certificate_is_told_of_before_anything_is_sent() {
    let server = start(Postgres::options(Version::V15));
    let message = refused(&config(
        &server,
        "localhost",
        json!({"mode": "verify-full", "ca_certificate": "PEM, surely"}),
    ));
    assert!(message.contains("ca_certificate") && !message.contains("surely"), "{message}");
    assert!(!encrypted(&server));
}

#[test]
fn pg_32_a_server_that_wants_tls_is_reached_by_every_mode_but_disable() {
    let server = Postgres::options(Version::V15)
        .setting("log_connections = on")
        .access_line("hostssl all all 127.0.0.1/32 scram-sha-256")
        .start();
    let mut psql = server.client("psql", "postgres");
    let made = psql.env("PGSSLMODE", "require").args(["-Xc", "CREATE TABLE t (id int)"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let message = refused(&config(&server, "127.0.0.1", json!({"mode": "disable"})));
    assert!(message.contains("ssl_mode"), "{message}");
    let ca = server.ca_certificate();
    for mode in [
        json!({"mode": "allow"}),
        json!({"mode": "prefer"}),
        json!({"mode": "require"}),
        json!({"mode": "verify-ca", "ca_certificate": ca}),
        json!({"mode": "verify-full", "ca_certificate": ca}),
    ] {
        accepted(&config(&server, "127.0.0.1", mode));
    }
    let mut config = server.config_json("postgres");
    config.as_object_mut().unwrap().remove("ssl_mode");
    accepted(&config);
    assert!(encrypted(&server));
}
