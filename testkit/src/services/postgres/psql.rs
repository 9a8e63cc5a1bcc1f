//! Statements through `psql`, another reader of the server than ours.

use std::io::{BufRead, BufReader, Write, pipe};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::{Postgres, install};

/// Longer than any statement of a test takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// What ends an answer; no test prints it.
const END: &str = "-- that was all --";

impl Postgres {
    /// Runs statements in the database `postgres`, one transaction each, and returns what
    /// they print: a line a row, columns parted by `|`, nothing around them.
    ///
    /// # Panics
    /// When one fails.
    pub fn psql(&self, sql: &str) -> String {
        self.psql_in("postgres", sql)
    }

    /// The same in another database.
    ///
    /// # Panics
    /// When one fails.
    pub fn psql_in(&self, database: &str, sql: &str) -> String {
        self.try_psql_in(database, sql).unwrap_or_else(|e| panic!("psql: {e}\nafter: {sql}"))
    }

    /// The same, with the client's complaint when a statement fails.
    ///
    /// # Errors
    /// What psql says.
    ///
    /// # Panics
    /// When psql cannot be run or takes too long.
    pub fn try_psql_in(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut psql = self.client("psql", database);
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-"]);
        psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = psql.spawn().expect("psql is not installed; `cargo xtask test` installs it");
        let mut stdin = child.stdin.take().expect("a pipe");
        let sql = sql.to_owned();
        let feeder = std::thread::spawn(move || {
            // It stops reading at the first statement that fails.
            let _ = stdin.write_all(sql.as_bytes());
        });
        let (done, output) = channel();
        let pid = child.id();
        std::thread::spawn(move || done.send(child.wait_with_output()));
        let Ok(output) = output.recv_timeout(PATIENCE) else {
            panic!("psql (process {pid}) has not ended within {PATIENCE:?}")
        };
        let _ = feeder.join();
        let output = output.expect("psql's output");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// A program of the client package (`psql`, `pg_recvlogical`), told where the server is
    /// through its environment.
    #[must_use]
    pub fn client(&self, program: &str, database: &str) -> Command {
        let mut command = Command::new(install::debian().join(program));
        command
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", Self::USER)
            .env("PGPASSWORD", Self::PASSWORD)
            .env("PGDATABASE", database)
            .env("PGSSLMODE", "disable")
            .env("PGCLIENTENCODING", "UTF8")
            .env("PGOPTIONS", "-c client_min_messages=warning")
            .env("LC_ALL", "C");
        command
    }

    /// A connection that stays, for transactions that a test holds open.
    ///
    /// # Panics
    /// When psql cannot be started.
    #[must_use]
    pub fn session(&self, database: &str) -> Session {
        let (reader, writer) = pipe().expect("a pipe");
        let mut psql = self.client("psql", database);
        psql.args(["-X", "-A", "-t", "-q", "-f", "-"]).stdin(Stdio::piped());
        psql.stdout(writer.try_clone().expect("a pipe")).stderr(writer);
        let mut child = psql.spawn().expect("psql is not installed; `cargo xtask test` installs it");
        // It holds the writing ends.
        drop(psql);
        let (say, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                if say.send(line).is_err() {
                    return;
                }
            }
        });
        Session { stdin: child.stdin.take().expect("a pipe"), child, lines }
    }
}

/// A connection that stays.
#[derive(Debug)]
pub struct Session {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Session {
    /// Runs statements and returns what they print.
    ///
    /// # Panics
    /// When one fails, or takes too long.
    pub fn run(&mut self, sql: &str) -> String {
        self.send(sql);
        let said = self.wait();
        assert!(!said.contains("ERROR:") && !said.contains("FATAL:"), "psql: {said}\nafter: {sql}");
        said
    }

    /// Sends statements without waiting for them.
    ///
    /// # Panics
    /// When psql has ended.
    pub fn send(&mut self, sql: &str) {
        // A shell's echo comes after everything psql has printed; its own does not.
        let end = format!("{sql}\n;\n\\! echo '{END}'\n");
        self.stdin.write_all(end.as_bytes()).expect("psql has ended");
        self.stdin.flush().expect("psql has ended");
    }

    /// Waits for what one [`Self::send`] has started; complaints are part of what it returns.
    ///
    /// # Panics
    /// When it takes too long.
    pub fn wait(&mut self) -> String {
        let until = Instant::now() + PATIENCE;
        let mut said: Vec<String> = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line == END => return said.join("\n"),
                Ok(line) => said.push(line),
                Err(_) => panic!("psql has not answered, or has ended: {}", said.join("\n")),
            }
        }
    }

    /// The server process behind it.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn backend_pid(&mut self) -> i32 {
        self.run("SELECT pg_backend_pid();").trim().parse().expect("a process id")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
