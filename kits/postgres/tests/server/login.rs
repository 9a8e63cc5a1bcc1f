//! Every way in that a server may ask for.

use connector_kit::{ErrorKind, Secret};
use postgres_kit::{Purpose, SslMode};
use testkit::services::{Postgres, Version};

use crate::{endpoint, run, shown};

#[test]
fn every_kind_of_password_is_accepted_where_it_is_safe() {
    let server = Postgres::options(Version::V15)
        .access_line("host all postgres 127.0.0.1/32 scram-sha-256")
        .access_line("host all old 127.0.0.1/32 md5")
        .access_line("host all open 127.0.0.1/32 password")
        .access_line("host all trusted 127.0.0.1/32 trust")
        .access_line("host all abroad 127.0.0.1/32 scram-sha-256")
        .access_line("host all rejected 127.0.0.1/32 reject")
        .start();
    server.psql(
        "SET password_encryption = 'md5'; CREATE ROLE old LOGIN PASSWORD 'an old one';
         SET password_encryption = 'scram-sha-256'; CREATE ROLE open LOGIN PASSWORD 'an open one';
         CREATE ROLE trusted LOGIN; CREATE ROLE rejected LOGIN; CREATE ROLE abroad LOGIN PASSWORD 'Ⅸ\u{a0}Grüße ☃'",
    );
    run(async {
        for ssl in [SslMode::Disable, SslMode::Prefer, SslMode::Require] {
            for (user, password) in [
                ("old", Some("an old one")),
                ("open", Some("an open one")),
                ("trusted", None),
                ("abroad", Some("Ⅸ\u{a0}Grüße ☃")),
            ] {
                let mut endpoint = endpoint(&server);
                endpoint.user = user.into();
                endpoint.password = password.map(|p| Secret::from(p.to_owned()));
                endpoint.ssl = ssl.clone();
                let mut connection = endpoint.connect(Purpose::Ordinary).await.unwrap();
                let rows = connection.query("SELECT current_user").await.unwrap();
                assert_eq!(rows[0].text(0).unwrap(), user);
                if let Some(password) = password {
                    endpoint.password = Some(Secret::from(format!("{password}!")));
                    let error = endpoint.connect(Purpose::Ordinary).await.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Config);
                    assert!(shown(&error).contains("`password`"), "{}", shown(&error));
                }
            }
        }
        let mut endpoint = endpoint(&server);
        endpoint.user = "rejected".into();
        let error = endpoint.connect(Purpose::Ordinary).await.unwrap_err();
        assert!(
            error.kind() == ErrorKind::Config && shown(&error).contains("pg_hba.conf"),
            "{}",
            shown(&error)
        );
    });
}
