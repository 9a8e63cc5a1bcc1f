//! source-file against nginx with TLS.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::services::{Authority, Nginx};
use testkit::{Connector, Folder};

const LOCATIONS: &str = "
    location = /moved { return 302 /f.csv; }
    location = /busy { return 503; }
    location = /cut { return 444; }
    location = /metadata { return 302 https://169.254.169.254/latest; }
    location = /slow.csv { limit_rate 200k; }";

struct Files {
    authority: Authority,
    server: Nginx,
    folder: Folder,
}

impl Files {
    fn new(names: &str) -> Self {
        let authority = Authority::new();
        let server = Nginx::start(authority.issue(names), LOCATIONS);
        fs::write(server.root().join("f.csv"), rows(50_000)).unwrap();
        fs::write(server.root().join("slow.csv"), rows(50_000)).unwrap();
        Self { authority, server, folder: Folder::new() }
    }

    fn config(&self, url: &str, format: &str, private: bool) -> String {
        let provider = json!({"storage": "HTTPS", "allow_private_addresses": private});
        self.folder.json(
            "config.json",
            &json!({"dataset_name": "s", "format": format, "url": url, "provider": provider}),
        )
    }

    fn run(&self, command: &str, url: &str, private: bool, trust: bool) -> testkit::Output {
        let config = self.config(url, "csv", private);
        let catalog = self.folder.json(
            "catalog.json",
            &json!({"streams": [{
                "stream": {"name": "s", "supported_sync_modes": ["full_refresh"],
                    "json_schema": {"type": "object", "properties": {"n": {"type": "integer"}, "t": {"type": "string"}}}},
                "sync_mode": "full_refresh", "destination_sync_mode": "overwrite"}]}),
        );
        let mut args = vec![command, "--config", &config];
        if command == "read" {
            args.extend(["--catalog", &catalog]);
        }
        let mut invocation =
            Connector::new(testkit::binary("source-file")).command(args).patience(Duration::from_secs(90));
        if trust {
            invocation = invocation.env("SSL_CERT_FILE", &self.authority.certificate().display().to_string());
        }
        invocation.output()
    }

    /// What a failed check says.
    fn fault(&self, url: &str, private: bool, trust: bool) -> String {
        let output = self.run("check", url, private, trust).succeeded();
        let status: Value = output
            .lines
            .iter()
            .find_map(|l| {
                let value: Value = serde_json::from_slice(&l.raw).ok()?;
                value.get("connectionStatus").cloned()
            })
            .expect("a status");
        assert_eq!(status["status"], "FAILED", "{url}");
        status["message"].as_str().unwrap().to_owned()
    }
}

fn rows(count: u32) -> String {
    (0..count).fold("n,t\n".to_owned(), |text, n| text + &format!("{n},row {n}\n"))
}

#[test]
fn files_are_read_whole_over_tls_plain_compressed_redirected_and_slow() {
    let files = Files::new("DNS:localhost");
    let packed = files.server.root().join("packed.csv");
    fs::copy(files.server.root().join("f.csv"), &packed).unwrap();
    assert!(Command::new("gzip").arg(&packed).status().unwrap().success());
    for path in ["f.csv", "packed.csv.gz", "moved", "slow.csv"] {
        let output = files.run("read", &files.server.url(path), true, true).succeeded();
        assert_eq!(output.records().count(), 50_000, "{path}");
    }
}

#[test]
fn s3_17_a_certificate_that_is_not_trusted_or_for_another_name_is_refused() {
    let files = Files::new("DNS:localhost");
    let untrusted = files.fault(&files.server.url("f.csv"), true, false);
    assert!(untrusted.contains("cannot prove who it is"), "{untrusted}");
    let other_name = files.fault(&format!("https://127.0.0.1:{}/f.csv", files.server.port), true, true);
    assert!(other_name.contains("cannot prove who it is"), "{other_name}");
}

#[test]
fn s3_16_private_addresses_are_refused_unless_allowed() {
    let files = Files::new("DNS:localhost");
    let refused = files.fault(&files.server.url("f.csv"), false, true);
    assert!(refused.contains("allow_private_addresses"), "{refused}");
}

#[test]
fn a_server_that_stays_busy_or_cuts_the_line_is_given_up_with_its_answer() {
    let files = Files::new("DNS:localhost");
    let busy = files.fault(&files.server.url("busy"), true, true);
    assert!(busy.contains("503"), "{busy}");
    let cut = files.fault(&files.server.url("cut"), true, true);
    assert!(cut.contains("the connection failed"), "{cut}");
    let missing = files.fault(&files.server.url("absent.csv"), true, true);
    assert!(missing.contains("404"), "{missing}");
}
