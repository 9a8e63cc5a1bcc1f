//! The client against two servers: roapi, which has nothing of ours, and the one that takes what Dremio documents.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use connector_kit::Secret;
use flight_kit::{Client, Fault, Login, Settings, Tls};
use serde_json::json;
use tempfile::TempDir;
use testkit::services::free_port;
use testkit_dremio::{Code, Dremio, Fault as Trouble, Stage};

fn settings(port: u16, user: &str, password: &str) -> Settings {
    Settings {
        host: "127.0.0.1".into(),
        port,
        tls: Tls::Off,
        login: Login::Password { user: user.into(), password: Secret::from(password.to_owned()) },
        properties: Vec::new(),
        connect_timeout: Duration::from_secs(20),
        statement_timeout: Duration::from_secs(60),
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn fault<T: std::fmt::Debug>(result: Result<T, flight_kit::Error>) -> Fault {
    result.unwrap_err().fault()
}

struct Roapi {
    port: u16,
    process: Child,
    _folder: TempDir,
}

impl Roapi {
    const USER: &'static str = "somebody";
    const PASSWORD: &'static str = "known to this test only";

    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("t.csv"), "id,name\n1,one\n2,two\n").unwrap();
        let port = free_port();
        let at = |port: u16| format!("127.0.0.1:{port}");
        let config = json!({
            // All three, or it takes its defaults, PostgreSQL's port among them.
            "addr": {"http": at(free_port()), "postgres": at(free_port()), "flight_sql": at(port)},
            "flight_sql_config": {"auth_basic": {"username": Self::USER, "password": Self::PASSWORD}},
            "tables": [{"name": "t", "uri": folder.path().join("t.csv")}],
        });
        let path = folder.path().join("roapi.yml");
        std::fs::write(&path, config.to_string()).unwrap();
        let mut command = Command::new(testkit::python().join("bin/roapi"));
        command.arg("-c").arg(path).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = command.spawn().expect("roapi, which `cargo xtask test` installs");
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let is_up = process.try_wait().unwrap().is_none();
            assert!(is_up && began.elapsed() < Duration::from_secs(60), "roapi did not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { port, process, _folder: folder }
    }
}

impl Drop for Roapi {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_server_that_has_nothing_of_ours_lets_us_in_and_runs_statements() {
    let server = Roapi::start();
    block_on(async {
        let wrong = Client::connect(settings(server.port, Roapi::USER, "wrong")).await;
        assert_eq!(fault(wrong), Fault::Login);
        let client = Client::connect(settings(server.port, Roapi::USER, Roapi::PASSWORD)).await.unwrap();
        assert_eq!(client.run("SELECT name FROM t ORDER BY id").await.unwrap().texts(0), ["one", "two"]);
        client.run("CREATE TABLE u (id BIGINT, \"Value\" VARCHAR)").await.unwrap();
        client
            .run("INSERT INTO u VALUES (CAST(1 AS BIGINT), CAST('it''s' AS VARCHAR)), (2, NULL)")
            .await
            .unwrap();
        let rows = client.run("SELECT \"Value\", id FROM u ORDER BY id").await.unwrap();
        assert_eq!((rows.rows(), rows.texts(0)), (2, vec!["it's".to_owned(), String::new()]));
        assert_eq!(client.run("SELECT COUNT(*) FROM u").await.unwrap().number(), Some(2));
        let columns = client.columns("SELECT * FROM u").await.unwrap();
        assert_eq!(columns.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(), ["id", "Value"]);
        assert!(!fault(client.run("SELECT nonsense FROM nowhere").await).may_pass());
    });
}

#[test]
fn a_session_that_has_run_out_is_renewed_and_a_token_is_not() {
    let server = Dremio::options().demand_cookies().start();
    block_on(async {
        let client = Client::connect(settings(server.port, Dremio::USER, Dremio::PASSWORD)).await.unwrap();
        client.run("SELECT 1").await.unwrap();
        server.expire_tokens();
        assert_eq!(client.run("SELECT 1").await.unwrap().number(), Some(1));
        assert_eq!(server.logins(), 2);
        let login = Login::Token(Secret::from(Dremio::TOKEN.to_owned()));
        let token = Settings { login, ..settings(server.port, "", "") };
        assert_eq!(Client::connect(token).await.unwrap().run("SELECT 1").await.unwrap().number(), Some(1));
        let login = Login::Token(Secret::from("another".to_owned()));
        let client = Client::connect(Settings { login, ..settings(server.port, "", "") }).await.unwrap();
        assert_eq!(fault(client.run("SELECT 1").await), Fault::Login);
    });
}

#[test]
fn dw_08_a_token_that_expires_in_the_middle_of_a_load_is_renewed() {
    let server = Dremio::start();
    server.token_lifetime(Some(3));
    block_on(async {
        let client = Client::connect(settings(server.port, Dremio::USER, Dremio::PASSWORD)).await.unwrap();
        for _ in 0..10 {
            assert_eq!(client.run("SELECT 1").await.unwrap().number(), Some(1));
        }
        assert!(server.logins() > 3, "{}", server.logins());
    });
}

#[test]
fn an_error_says_whether_the_statement_may_have_run() {
    let server = Dremio::start();
    block_on(async {
        let client = Client::connect(settings(server.port, Dremio::USER, Dremio::PASSWORD)).await.unwrap();
        for (trouble, expected) in [
            (Trouble::CutBefore, Fault::Lost),
            (Trouble::CutAfter, Fault::Lost),
            (Trouble::unavailable(), Fault::Busy),
            (Trouble::conflict(), Fault::Busy),
            (Trouble::asleep(), Fault::Busy),
            (Trouble::quota(), Fault::Busy),
            (Trouble::denied("INSERT", "lake.t"), Fault::Denied),
            (Trouble::Answer(Code::Internal, "it broke".into()), Fault::Failed),
        ] {
            server.faults("SELECT 1", Stage::Run, trouble.clone(), 0, 1);
            assert_eq!(fault(client.run("SELECT 1").await), expected, "{trouble:?}");
            assert_eq!(client.run("SELECT 1").await.unwrap().number(), Some(1), "after {trouble:?}");
        }
        assert_eq!(fault(client.run("SELECT * FROM lake.nothing").await), Fault::Missing);
        assert_eq!(fault(client.run("NONSENSE").await), Fault::Refused);
        let port = server.port;
        drop(server);
        let gone = Client::connect(settings(port, Dremio::USER, Dremio::PASSWORD)).await.unwrap_err();
        assert_eq!(gone.fault(), Fault::NotSent, "{gone}");
        assert!(!gone.fault().may_have_run());
    });
}

#[test]
fn a_statement_that_takes_too_long_is_given_up() {
    let server = Dremio::start();
    server.fault("SELECT 1", Trouble::Hold);
    block_on(async {
        let short = Settings {
            statement_timeout: Duration::from_millis(500),
            ..settings(server.port, Dremio::USER, Dremio::PASSWORD)
        };
        let client = Client::connect(short).await.unwrap();
        let began = Instant::now();
        assert_eq!(fault(client.run("SELECT 1").await), Fault::Lost);
        assert!(began.elapsed() < Duration::from_secs(30));
        server.release();
    });
}

#[test]
fn only_a_certificate_that_is_trusted_is_accepted() {
    let server = Dremio::options().tls().start();
    block_on(async {
        let with = |tls| Settings { tls, ..settings(server.port, Dremio::USER, Dremio::PASSWORD) };
        for tls in [Tls::Verified(Some(server.ca_certificate())), Tls::Unverified] {
            let client = Client::connect(with(tls)).await.unwrap();
            assert_eq!(client.run("SELECT 1").await.unwrap().number(), Some(1));
        }
        let stranger = testkit::services::Authority::new();
        let foreign = std::fs::read_to_string(stranger.certificate()).unwrap();
        let error = Client::connect(with(Tls::Verified(Some(foreign)))).await.unwrap_err();
        assert!(error.message().contains("ca_certificate"), "{error}");
        let plain = Client::connect(with(Tls::Off)).await.unwrap_err();
        assert!(plain.fault().may_pass(), "{plain}");
    });
    let plain = Dremio::start();
    block_on(async {
        let tls = Settings { tls: Tls::Unverified, ..settings(plain.port, Dremio::USER, Dremio::PASSWORD) };
        let error = Client::connect(tls).await.unwrap_err();
        assert!(error.message().contains("`ssl`"), "{error}");
    });
}
