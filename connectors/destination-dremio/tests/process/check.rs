//! What `check` finds and how it says so.

use crate::harness::{Site, messages};
use testkit::Output;
use testkit_dremio::{Dremio, Fault, Stage};

fn without(site: &mut Site, key: &str) {
    site.config.as_object_mut().unwrap().remove(key);
}

fn succeeded(output: &Output) {
    let line = messages(output, "CONNECTION_STATUS");
    assert_eq!(line[0]["connectionStatus"]["status"], "SUCCEEDED", "{output}");
}

#[test]
fn a_check_creates_inserts_selects_and_drops_and_leaves_nothing() {
    let site = Site::new();
    succeeded(&site.check());
    assert!(site.tables().is_empty(), "{:?}", site.tables());
    for start in ["CREATE TABLE", "INSERT INTO", "SELECT", "DROP TABLE"] {
        assert!(site.ran(start) > 0, "{start}: {:?}", site.server.statements());
    }
}

#[test]
fn a_token_logs_in_alone_or_as_a_password() {
    let mut site = Site::new();
    site.config["password"] = Dremio::TOKEN.into();
    succeeded(&site.check());
    for key in ["username", "password"] {
        without(&mut site, key);
    }
    site.config["personal_access_token"] = Dremio::TOKEN.into();
    let logins = site.server.logins();
    succeeded(&site.check());
    assert_eq!(site.server.logins(), logins, "a token needs no log-in");
}

#[test]
fn cookies_are_kept_and_a_handshake_may_say_nothing() {
    let site = Site::with(Dremio::options().demand_cookies().silent_handshake());
    succeeded(&site.check());
    assert_eq!(site.server.logins(), 1, "one session");
}

#[test]
fn a_wrong_password_or_token_is_named_and_not_repeated() {
    let mut site = Site::new();
    site.config["password"] = "not the right one".into();
    let message = site.failed_check();
    assert!(message.contains("password") && !message.contains("not the right one"), "{message}");
    without(&mut site, "password");
    site.config["personal_access_token"] = "no such token".into();
    let message = site.failed_check();
    assert!(message.contains("personal_access_token") && !message.contains("no such token"), "{message}");
}

#[test]
fn dw_13_a_place_where_no_table_can_be_is_named() {
    let mut site = Site::new();
    for (dataset, names) in [("nowhere.production", "nowhere"), ("space.folder", "space")] {
        site.config["dataset"] = dataset.into();
        let message = site.failed_check();
        assert!(message.contains(names) && message.contains("dataset"), "{message}");
    }
}

#[test]
fn each_missing_privilege_is_named() {
    for (statement, privilege) in [
        ("CREATE TABLE", "create"),
        ("INSERT INTO", "insert"),
        ("SELECT COUNT", "select"),
        ("DROP TABLE", "drop"),
    ] {
        let site = Site::new();
        site.server.faults(
            statement,
            Stage::Planned,
            Fault::denied(&privilege.to_uppercase(), "lake.production"),
            0,
            99,
        );
        let message = site.failed_check();
        assert!(message.contains(privilege) && message.contains("lake"), "{message}");
        site.server.clear_faults();
        let left = site.tables();
        assert!(left.is_empty() || privilege == "drop" && message.contains(&left[0]), "{left:?}: {message}");
    }
}

#[test]
fn tls_is_verified_by_the_authority_that_the_config_names() {
    let mut site = Site::with(Dremio::options().tls());
    let message = site.failed_check();
    assert!(message.contains("ssl"), "plain to a server that speaks TLS: {message}");
    site.config["ssl"] = true.into();
    let message = site.failed_check();
    assert!(message.contains("ca_certificate"), "nobody vouches for it: {message}");
    site.config["ca_certificate"] = site.server.ca_certificate().into();
    succeeded(&site.check());
    site.config["host"] = "localhost".into();
    succeeded(&site.check());
    site.config["ca_certificate"] = Dremio::start().ca_certificate().into();
    let message = site.failed_check();
    assert!(message.contains("ca_certificate"), "another authority: {message}");
    without(&mut site, "ca_certificate");
    site.config["disable_certificate_verification"] = true.into();
    succeeded(&site.check());
}

#[test]
fn tls_to_a_server_without_it_names_the_key() {
    let mut site = Site::new();
    site.config["ssl"] = true.into();
    site.config["busy_wait_secs"] = 1.into();
    let message = site.failed_check();
    assert!(message.contains("ssl"), "{message}");
}

#[test]
fn a_port_where_nobody_listens_is_named() {
    let mut site = Site::new();
    site.config["port"] = testkit::services::free_port().into();
    site.config["busy_wait_secs"] = 1.into();
    let message = site.failed_check();
    assert!(message.contains("port") || message.contains("reach"), "{message}");
}
