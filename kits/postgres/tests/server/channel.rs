//! TLS in all six modes, with good, bad and no certificates on either side.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use connector_kit::{ErrorKind, Secret};
use postgres_kit::{Connection, Endpoint, Purpose, SslMode, server_error};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use testkit::services::{Authority, Postgres, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{endpoint, run, shown};

fn verify_ca(ca: &str) -> SslMode {
    SslMode::VerifyCa {
        ca_certificate: Secret::from(ca.to_owned()),
        client_certificate: None,
        client_key: None,
        client_key_password: None,
    }
}

fn verify_full(ca: &str) -> SslMode {
    with_client(ca, None, None, None)
}

fn with_client(ca: &str, certificate: Option<&str>, key: Option<&str>, password: Option<&str>) -> SslMode {
    let secret = |text: &str| Secret::from(text.to_owned());
    SslMode::VerifyFull {
        ca_certificate: secret(ca),
        client_certificate: certificate.map(secret),
        client_key: key.map(secret),
        client_key_password: password.map(secret),
    }
}

fn by(server: &Postgres, host: &str, ssl: SslMode) -> Endpoint {
    Endpoint { host: host.into(), ssl, ..endpoint(server) }
}

async fn is_encrypted(endpoint: &Endpoint) -> bool {
    let mut connection = endpoint.connect(Purpose::Ordinary).await.unwrap();
    let rows = connection.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").await.unwrap();
    rows[0].flag(0).unwrap()
}

async fn refused(endpoint: &Endpoint) -> String {
    let result: connector_kit::Result<Connection> = endpoint.connect(Purpose::Ordinary).await;
    let error = result.unwrap_err();
    let shown = shown(&error);
    assert_eq!(error.kind(), ErrorKind::Config, "{shown}");
    shown
}

fn openssl(folder: &Path, args: &str) {
    let mut openssl = Command::new("openssl");
    let output = openssl.args(args.split(' ')).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn each_mode_encrypts_as_it_says_where_the_server_leaves_the_choice() {
    let server = Postgres::start(Version::V15);
    let ca = server.ca_certificate();
    run(async {
        for (mode, encrypted) in [
            (SslMode::Disable, false),
            (SslMode::Allow, false),
            (SslMode::Prefer, true),
            (SslMode::Require, true),
            (verify_ca(&ca), true),
            (verify_full(&ca), true),
        ] {
            for host in ["127.0.0.1", "localhost"] {
                assert_eq!(
                    is_encrypted(&by(&server, host, mode.clone())).await,
                    encrypted,
                    "{mode:?} {host}"
                );
            }
        }
    });
}

#[test]
fn each_mode_bends_only_as_far_as_it_says_to_what_the_server_lets_in() {
    let encrypted_only =
        Postgres::options(Version::V15).access_line("hostssl all all 127.0.0.1/32 scram-sha-256").start();
    let plain_only =
        Postgres::options(Version::V15).access_line("hostnossl all all 127.0.0.1/32 scram-sha-256").start();
    run(async {
        let (to, from) = (&encrypted_only, "127.0.0.1");
        assert!(refused(&by(to, from, SslMode::Disable)).await.contains("`ssl_mode`"));
        for mode in [SslMode::Allow, SslMode::Prefer, SslMode::Require] {
            assert!(is_encrypted(&by(to, from, mode)).await);
        }
        let to = &plain_only;
        for mode in [SslMode::Disable, SslMode::Allow, SslMode::Prefer] {
            assert!(!is_encrypted(&by(to, from, mode)).await);
        }
        for mode in [SslMode::Require, verify_ca(&to.ca_certificate()), verify_full(&to.ca_certificate())] {
            assert!(refused(&by(to, from, mode)).await.contains("pg_hba.conf"));
        }
        // A wrong password is sent once, not once more over a worse channel.
        let mut wrong = by(&encrypted_only, from, SslMode::Prefer);
        wrong.password = Some(Secret::from("not this one".to_owned()));
        assert!(refused(&wrong).await.contains("`password`"));
        assert_eq!(encrypted_only.log().matches("password authentication failed").count(), 1);
    });
}

#[test]
fn a_server_without_tls_is_refused_by_the_modes_that_want_it() {
    let server = Postgres::options(Version::V15).setting("ssl = off").start();
    let ca = server.ca_certificate();
    run(async {
        for mode in [SslMode::Require, verify_ca(&ca), verify_full(&ca)] {
            assert!(refused(&by(&server, "127.0.0.1", mode)).await.contains("does not speak TLS"));
        }
        for mode in [SslMode::Disable, SslMode::Allow, SslMode::Prefer] {
            assert!(!is_encrypted(&by(&server, "127.0.0.1", mode)).await);
        }
        let mut wrong = by(&server, "127.0.0.1", SslMode::Allow);
        wrong.database = "nowhere".into();
        assert!(refused(&wrong).await.contains("`database`"));
    });
}

#[test]
fn certificates_are_verified_as_far_as_the_mode_says() {
    let server = Postgres::options(Version::V15).certificate_names("DNS:elsewhere.example").start();
    let ca = server.ca_certificate();
    let stranger = fs::read_to_string(Authority::new().certificate()).unwrap();
    run(async {
        assert!(is_encrypted(&by(&server, "localhost", verify_ca(&ca))).await);
        for host in ["localhost", "127.0.0.1"] {
            assert!(refused(&by(&server, host, verify_full(&ca))).await.contains("another host name"));
        }
        for mode in [verify_ca(&stranger), verify_full(&stranger)] {
            assert!(refused(&by(&server, "localhost", mode)).await.contains("not signed by the authority"));
        }
        for mode in [verify_ca("nonsense"), verify_full("")] {
            assert!(refused(&by(&server, "localhost", mode)).await.contains("`ca_certificate`"));
        }
    });
}

#[test]
fn certificates_that_are_expired_or_old_fashioned_are_told_apart() {
    let server = Postgres::start(Version::V15);
    let folder = tempfile::tempdir().unwrap();
    let ca = server.ca_certificate();
    let ca_path = server.authority.certificate();
    let (certificate, key) = server.authority.issue("DNS:localhost");
    fs::copy(certificate.with_extension("csr"), folder.path().join("server.csr")).unwrap();
    fs::copy(&ca_path, folder.path().join("ca.crt")).unwrap();
    fs::copy(ca_path.with_extension("key"), folder.path().join("ca.key")).unwrap();
    let install = |name: &str, key: &Path| {
        // Written over, so that the owner and the permissions stay.
        fs::write(server.data().join("server.crt"), fs::read(folder.path().join(name)).unwrap()).unwrap();
        fs::write(server.data().join("server.key"), fs::read(key).unwrap()).unwrap();
        server.psql("SELECT pg_reload_conf()");
        // The signal passes through the postmaster.
        std::thread::sleep(std::time::Duration::from_millis(500));
    };
    let sign = "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial";
    run(async {
        fs::write(folder.path().join("names"), "subjectAltName=DNS:localhost\n").unwrap();
        openssl(folder.path(), &format!("{sign} -days -1 -extfile names -out expired.crt"));
        install("expired.crt", &key);
        for mode in [verify_ca(&ca), verify_full(&ca)] {
            assert!(refused(&by(&server, "localhost", mode)).await.contains("expired"));
        }
        assert!(is_encrypted(&by(&server, "localhost", SslMode::Require)).await);

        // Without extensions it is of version 1, which today's verifiers do not read.
        openssl(folder.path(), &format!("{sign} -days 2 -out old.crt"));
        install("old.crt", &key);
        assert!(refused(&by(&server, "localhost", verify_full(&ca))).await.contains("version 1"));
        assert!(is_encrypted(&by(&server, "localhost", SslMode::Require)).await);

        // Its own authority, as `openssl req -x509` makes it for many a small server.
        let own = "req -x509 -newkey rsa:2048 -sha512 -nodes -days 2 -subj /CN=localhost -keyout own.key -out own.crt";
        openssl(folder.path(), &format!("{own} -addext subjectAltName=DNS:localhost"));
        install("own.crt", &folder.path().join("own.key"));
        let own = fs::read_to_string(folder.path().join("own.crt")).unwrap();
        for mode in [SslMode::Require, verify_ca(&own), verify_full(&own)] {
            assert!(is_encrypted(&by(&server, "localhost", mode)).await);
        }
        assert!(refused(&by(&server, "127.0.0.1", verify_full(&own))).await.contains("another host name"));
        assert!(refused(&by(&server, "localhost", verify_full(&ca))).await.contains("not signed by"));

        // The same without names, as PostgreSQL's manual makes it: its subject is the host's name.
        let own = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout cn.key -out cn.crt";
        openssl(folder.path(), own);
        install("cn.crt", &folder.path().join("cn.key"));
        let own = fs::read_to_string(folder.path().join("cn.crt")).unwrap();
        assert!(is_encrypted(&by(&server, "localhost", verify_full(&own))).await);
        assert!(refused(&by(&server, "127.0.0.1", verify_full(&own))).await.contains("another host name"));
    });
}

#[test]
fn client_certificates_are_shown_in_every_form_their_keys_come_in() {
    let server = Postgres::options(Version::V15)
        .access_line("hostssl all postgres 127.0.0.1/32 cert")
        .access_line("host all all 127.0.0.1/32 scram-sha-256")
        .start();
    let ca = server.ca_certificate();
    let (certificate, key) = server.authority.issue_to("postgres", "DNS:client");
    let certificate = fs::read_to_string(certificate).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::copy(key, folder.path().join("pkcs8")).unwrap();
    openssl(folder.path(), "ec -in pkcs8 -out sec1");
    openssl(folder.path(), "pkcs8 -topk8 -v2 aes-256-cbc -passout pass:opensesame -in pkcs8 -out encrypted");
    openssl(folder.path(), "ec -aes128 -passout pass:opensesame -in pkcs8 -out old");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let with = |key: Option<&str>, password: Option<&str>| {
        by(&server, "localhost", with_client(&ca, Some(&certificate), key.map(read).as_deref(), password))
    };
    run(async {
        for endpoint in
            [with(Some("pkcs8"), None), with(Some("sec1"), None), with(Some("encrypted"), Some("opensesame"))]
        {
            assert!(is_encrypted(&endpoint).await);
        }
        for (endpoint, names) in [
            (with(Some("encrypted"), Some("open barley")), "`client_key_password` does not open"),
            (with(Some("encrypted"), None), "set `client_key_password`"),
            (with(Some("old"), Some("opensesame")), "openssl pkcs8"),
            (with(None, None), "without `client_key`"),
            (by(&server, "localhost", verify_full(&ca)), "`client_certificate`"),
            (
                by(&server, "localhost", with_client(&ca, None, Some(&read("sec1")), None)),
                "without `client_cert",
            ),
            (
                by(&server, "localhost", with_client(&ca, Some(&certificate), Some("junk"), None)),
                "`client_key`",
            ),
        ] {
            let shown = refused(&endpoint).await;
            assert!(shown.contains(names) && !shown.contains("open barley"), "{shown}");
        }
        let stranger = Authority::new();
        let (certificate, key) = stranger.issue_to("postgres", "DNS:client");
        let (certificate, key) = (fs::read_to_string(certificate).unwrap(), fs::read_to_string(key).unwrap());
        let foreign = by(&server, "localhost", with_client(&ca, Some(&certificate), Some(&key), None));
        assert!(refused(&foreign).await.contains("refused our client certificate"));
        let mixed = by(&server, "localhost", with_client(&ca, Some(&certificate), Some(&read("sec1")), None));
        assert!(refused(&mixed).await.contains("does not belong to"));
    });
}

#[test]
fn rsa_keys_of_clients_are_read_in_their_old_form_as_well() {
    let server =
        Postgres::options(Version::V15).access_line("hostssl all postgres 127.0.0.1/32 cert").start();
    let folder = tempfile::tempdir().unwrap();
    fs::copy(server.authority.certificate(), folder.path().join("ca.crt")).unwrap();
    fs::copy(server.authority.certificate().with_extension("key"), folder.path().join("ca.key")).unwrap();
    openssl(folder.path(), "req -newkey rsa:2048 -nodes -subj /CN=postgres -keyout key -out csr");
    fs::write(folder.path().join("names"), "subjectAltName=DNS:client\n").unwrap();
    openssl(
        folder.path(),
        "x509 -req -in csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out crt",
    );
    openssl(folder.path(), "rsa -traditional -in key -out pkcs1");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(read("pkcs1").contains("BEGIN RSA PRIVATE KEY"));
    run(async {
        let mode = with_client(&server.ca_certificate(), Some(&read("crt")), Some(&read("pkcs1")), None);
        let mut connection = by(&server, "localhost", mode).connect(Purpose::Ordinary).await.unwrap();
        assert_eq!(connection.query("SELECT 1").await.unwrap().len(), 1);
    });
}

/// Somebody in between, who shows a certificate of their own and passes on what they read.
async fn eavesdrop(listener: TcpListener, server_port: u16, authority: &Authority) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (certificate, key) = authority.issue("DNS:localhost");
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.certificate()).unwrap()).unwrap();
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut request = [0; 8];
        client.read_exact(&mut request).await.unwrap();
        let mut server = TcpStream::connect(("127.0.0.1", server_port)).await.unwrap();
        server.write_all(&request).await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'S');
        client.write_all(b"S").await.unwrap();
        let onward = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let onward = tokio_rustls::TlsConnector::from(Arc::new(onward)).connect(name, server).await;
        let (Ok(mut server), Ok(mut client)) =
            (onward, tokio_rustls::TlsAcceptor::from(Arc::clone(&config)).accept(client).await)
        else {
            continue;
        };
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}

#[test]
fn somebody_in_between_is_found_out_by_scram_even_where_no_certificate_is_verified() {
    let server = Postgres::start(Version::V15);
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut endpoint = by(&server, "127.0.0.1", SslMode::Require);
        assert!(is_encrypted(&endpoint).await);
        endpoint.port = listener.local_addr().unwrap().port();
        let error = tokio::select! {
            () = eavesdrop(listener, server.port, &server.authority) => unreachable!(),
            result = endpoint.connect(Purpose::Ordinary) => result.unwrap_err(),
        };
        let found = server_error(&error).unwrap();
        assert!(found.message.contains("channel binding"), "{}", shown(&error));
    });
}
