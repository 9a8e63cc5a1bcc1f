//! Objects of a bucket and files on an SSH server; and which addresses no provider goes to.

use std::fs;
use std::net::TcpListener;

use serde_json::{Value, json};
use testkit::services::{ObjectStore, Sshd, StoreKind};

use crate::harness::Case;

fn object(store: &ObjectStore, url: &str) -> Case {
    let provider = json!({
        "storage": "S3",
        "aws_access_key_id": ObjectStore::ACCESS_KEY,
        "aws_secret_access_key": ObjectStore::SECRET_KEY,
        "endpoint": store.endpoint(),
        "allow_private_addresses": true,
    });
    Case::csv("").set("provider", provider).set("url", url.into())
}

#[test]
fn an_object_is_read_with_a_signature_that_the_store_accepts() {
    let store = ObjectStore::start(StoreKind::Strict);
    let folder = store.files(ObjectStore::BUCKET).join("in 2026");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("ü+1.csv"), "id,n\n1,x\n2,y\n").unwrap();
    for url in ["lake/in 2026/ü+1.csv", "s3://lake/in 2026/ü+1.csv"] {
        let case = object(&store, url);
        assert!(case.check().passed());
        assert_eq!(case.read().rows(), [r#"{"id":1,"n":"x"}"#, r#"{"id":2,"n":"y"}"#]);
    }
    let error = object(&store, "lake/absent.csv").check().error();
    assert!(error.contains("s3://lake/absent.csv") && error.contains("404"), "{error}");
    let mut wrong = object(&store, "lake/in 2026/ü+1.csv");
    wrong.config["provider"]["aws_secret_access_key"] = "another".into();
    let error = wrong.check().error();
    assert!(error.contains("aws_secret_access_key"), "{error}");
    let half = object(&store, "lake/x.csv");
    let mut provider = half.config["provider"].clone();
    provider.as_object_mut().unwrap().remove("aws_secret_access_key");
    assert!(half.set("provider", provider).check().error().contains("go together"));
}

#[test]
fn what_is_no_bucket_and_key_is_refused() {
    let store = ObjectStore::start(StoreKind::Strict);
    for url in ["lake", "s3://lake/", "la/x.csv", "lake/../other/x.csv"] {
        let error = object(&store, url).check().error();
        assert!(error.contains("bucket and the key") || error.contains("dots for folders"), "{url}: {error}");
    }
}

fn sftp(server: &Sshd, path: &std::path::Path, key: &str) -> Case {
    let provider = json!({
        "storage": "SFTP", "host": "127.0.0.1", "port": server.port.to_string(), "user": server.user(),
        "private_key": key, "allow_private_addresses": true, "host_key": server.fingerprint(),
    });
    Case::csv("").set("provider", provider).set("url", json!(path))
}

#[test]
fn a_file_on_an_ssh_server_is_read_whole() {
    let server = Sshd::start();
    let folder = testkit::Folder::new();
    let rows: String = (0..50_000).map(|n| format!("{n},row {n}\n")).collect();
    folder.write("f.csv", format!("n,t\n{rows}"));
    let path = folder.path().join("f.csv");
    let case = sftp(&server, &path, &server.key());
    let run = case.read();
    assert_eq!((run.count(), run.rows()[49_999].as_str()), (50_000, r#"{"n":49999,"t":"row 49999"}"#));

    let missing = sftp(&server, &folder.path().join("absent.csv"), &server.key()).check().error();
    assert!(missing.contains("no file of that path"), "{missing}");
    let directory = sftp(&server, folder.path(), &server.key()).check().error();
    assert!(directory.contains("directory"), "{directory}");
}

#[test]
fn an_ssh_server_that_is_another_or_does_not_know_us_is_refused() {
    let server = Sshd::start();
    let folder = testkit::Folder::new();
    folder.write("f.csv", "n\n1\n");
    let path = folder.path().join("f.csv");
    let mut case = sftp(&server, &path, &server.key());
    case.config["provider"]["host_key"] = "SHA256:somebodyelse".into();
    let error = case.check().error();
    assert!(error.contains("host_key is another"), "{error}");
    let stranger = Sshd::start();
    let error = sftp(&server, &path, &stranger.key()).check().error();
    assert!(error.contains("did not accept the user"), "{error}");
    let error = sftp(&server, &path, "not a key").check().error();
    assert!(error.contains("private_key"), "{error}");
}

#[test]
fn s3_16_no_provider_asks_a_private_address_unless_allowed() {
    // Whoever connects is seen.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let s3 = |host: &str, scheme: &str| {
        json!({"storage": "S3", "aws_access_key_id": "a", "aws_secret_access_key": "b",
            "endpoint": format!("{scheme}://{host}:{port}")})
    };
    let ssh = |host: &str| json!({"storage": "SSH", "host": host, "port": port.to_string(), "user": "u", "password": "p"});
    let https = json!({"storage": "HTTPS"});
    let web = |host: &str| format!("https://{host}:{port}/f.csv");
    let tried: Vec<(Value, String)> = vec![
        (https.clone(), web("127.0.0.1")),
        (https.clone(), web("localhost")),
        (https.clone(), web("[::1]")),
        (https.clone(), web("0x7f000001")),
        (https.clone(), web("2130706433")),
        (https.clone(), web("[::ffff:127.0.0.1]")),
        (https.clone(), "https://169.254.169.254/latest/meta-data".into()),
        (https.clone(), format!("http://localhost:{port}/f.csv")),
        (https.clone(), format!("ftp://localhost:{port}/f.csv")),
        (https, "file:///etc/passwd".into()),
        (s3("127.0.0.1", "https"), "lake/f.csv".into()),
        (s3("localhost", "http"), "lake/f.csv".into()),
        (s3("localhost", "file"), "lake/f.csv".into()),
        (ssh("127.0.0.1"), "/f.csv".into()),
        (ssh("localhost"), "/f.csv".into()),
        (ssh("::1"), "/f.csv".into()),
    ];
    for (provider, url) in tried {
        let error =
            Case::csv("").set("provider", provider.clone()).set("url", url.as_str().into()).check().error();
        let named = ["allow_private_addresses", "use https", "not supported"];
        assert!(named.iter().any(|part| error.contains(part)), "{provider} {url}: {error}");
    }
    assert!(listener.accept().is_err(), "somebody connected");
}
