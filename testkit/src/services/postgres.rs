//! PostgreSQL, as Debian has it and as npm has it: started from a copy of a data folder that
//! is made once, because making one takes a second and copying it a tenth of that.

mod install;
mod options;
mod psql;

pub use install::Version;
pub use options::Options;
pub use psql::Session;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Authority, free_port, run};
use install::Account;

/// Longer than a start or a stop takes on a busy machine, crash recovery included.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server. It speaks TLS and plain TCP on 127.0.0.1 and wants a password for everything.
#[derive(Debug)]
pub struct Postgres {
    /// Where it listens.
    pub port: u16,
    /// Who has signed its certificate.
    pub authority: Authority,
    version: Version,
    account: Account,
    folder: TempDir,
    process: Option<Child>,
}

impl Postgres {
    /// The superuser's name.
    pub const USER: &'static str = "postgres";
    /// Its password: long enough that a search for it in any output finds nothing else.
    pub const PASSWORD: &'static str = "the superuser's: p&ssw%rd";

    /// Starts it with `wal_level=logical` and no other wishes.
    #[must_use]
    pub fn start(version: Version) -> Self {
        Self::options(version).start()
    }

    /// Wishes, before [`Options::start`].
    #[must_use]
    pub fn options(version: Version) -> Options {
        Options::new(version)
    }

    fn with(options: &Options) -> Self {
        let account = Account::of_servers();
        let folder = TempDir::new().expect("a folder");
        open_to_all(folder.path());
        let authority = Authority::new();
        let mut server =
            Self { port: free_port(), authority, version: options.version, account, folder, process: None };
        match &options.copy_of {
            Some(primary) => server.copy_from(primary),
            None => {
                let template = install::template(options.version, &options.initdb, &server.account);
                run(Command::new("cp").arg("-a").arg(template).arg(server.data()));
            }
        }
        let (certificate, key) = server.authority.issue(&options.names);
        server.put("server.crt", &fs::read(certificate).expect("a certificate"));
        server.put("server.key", &fs::read(key).expect("a key"));
        server.put("ca.crt", &fs::read(server.authority.certificate()).expect("a certificate"));
        server.put("pg_hba.conf", options.access().as_bytes());
        let from_template = fs::read_to_string(server.data().join("postgresql.conf")).expect("its settings");
        // A port that was free may be taken by the time the server asks for it.
        for attempt in 1.. {
            let settings = options.settings(server.port);
            server.put("postgresql.conf", format!("{from_template}\n{settings}").as_bytes());
            match server.try_start() {
                Ok(()) => break,
                Err(log) if log.contains("could not bind") && attempt < 5 => server.port = free_port(),
                Err(log) => panic!("PostgreSQL did not come up: {log}"),
            }
        }
        server
    }

    fn copy_from(&self, primary: &options::Primary) {
        run(Command::new(install::debian().join("pg_basebackup"))
            .args(["-X", "stream", "-R", "-c", "fast", "-D"])
            .arg(self.data())
            .args(["-h", "127.0.0.1", "-U", Self::USER, "-p", &primary.port.to_string()])
            .env("PGPASSWORD", Self::PASSWORD));
        self.account.give(&self.data());
    }

    /// Which one it is.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.folder.path().join("log"))
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// The authority's certificate, as configs hold it.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn ca_certificate(&self) -> String {
        fs::read_to_string(self.authority.certificate()).expect("a certificate")
    }

    /// A connector's config for a database, without TLS.
    #[must_use]
    pub fn config_json(&self, database: &str) -> Value {
        json!({
            "host": "127.0.0.1",
            "port": self.port,
            "database": database,
            "username": Self::USER,
            "password": Self::PASSWORD,
            "ssl_mode": {"mode": "disable"},
            "replication_method": {"method": "Standard"},
            "tunnel_method": {"tunnel_method": "NO_TUNNEL"}
        })
    }

    /// The same with TLS, the server's name and signature verified.
    #[must_use]
    pub fn config_json_verify_full(&self, database: &str) -> Value {
        let mut config = self.config_json(database);
        config["host"] = "localhost".into();
        config["ssl_mode"] = json!({"mode": "verify-full", "ca_certificate": self.ca_certificate()});
        config
    }

    /// Stops it in an orderly way and starts it again.
    pub fn restart(&mut self) {
        self.stop(Signal::INT);
        self.start_again();
    }

    /// Ends it at once, as a machine that loses power: it recovers when started again.
    pub fn stop_immediate(&mut self) {
        self.stop(Signal::QUIT);
    }

    /// Stops it in an orderly way.
    pub fn stop_cleanly(&mut self) {
        self.stop(Signal::INT);
    }

    /// Runs pg_resetwal on the stopped server: for tests of what takes years to happen.
    ///
    /// # Panics
    /// When it refuses.
    pub fn reset_wal(&self, args: &[&str]) {
        run(self.account.command(self.version.program("pg_resetwal")).args(args).arg("-D").arg(self.data()));
    }

    /// Starts it after it was stopped, on the same port.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_again(&mut self) {
        if let Err(log) = self.try_start() {
            panic!("PostgreSQL did not come up again: {log}");
        }
    }

    fn try_start(&mut self) -> Result<(), String> {
        let log = fs::File::options().create(true).append(true).open(self.folder.path().join("log"));
        let log = log.expect("a log");
        let process = self
            .account
            .command(self.version.program("postgres"))
            .arg("-D")
            .arg(self.data())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("PostgreSQL cannot be started; `cargo xtask test` installs it");
        let process = self.process.insert(process);
        let began = Instant::now();
        loop {
            // The server says in the eighth line whether it takes connections.
            let state =
                fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap_or_default();
            if matches!(state.lines().nth(7).map(str::trim), Some("ready" | "standby")) {
                return Ok(());
            }
            let ended = process.try_wait().expect("its status").is_some();
            if ended || began.elapsed() > PATIENCE {
                let _ = process.kill();
                let _ = process.wait();
                self.process = None;
                return Err(self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn stop(&mut self, signal: Signal) {
        let Some(mut process) = self.process.take() else { return };
        if let Some(pid) = i32::try_from(process.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
        let began = Instant::now();
        while process.try_wait().is_ok_and(|status| status.is_none()) {
            if began.elapsed() > PATIENCE {
                let _ = process.kill();
                let _ = process.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A file in the data folder, readable by the server only: it insists for keys.
    fn put(&self, name: &str, content: &[u8]) {
        let path = self.data().join(name);
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its permissions");
        self.account.give(&path);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop(Signal::QUIT);
    }
}

/// The account that runs the server has to pass through.
fn open_to_all(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("its permissions");
}

impl Account {
    /// A command run by that account, from a folder that it may enter.
    fn command(&self, program: PathBuf) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").env("LC_ALL", "C");
        if let Some((user, group)) = self.ids {
            command.uid(user).gid(group);
        }
        command
    }
}
