//! `ferry`, `destination-postgres` or the server killed at every step of loading, merging, swapping, normalizing and
//! committing; after another run the table holds what the source has, once.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;
use testkit::services::{Cut, Postgres, Proxy, Version};
use testkit::{Connector, Descendant, Exit, Folder, Invocation, Signal, binary};

const ROWS: u64 = 400;
const KEYS: u64 = 37;
/// More than a destination keeps waiting, so that it commits at the first state and not only at the end.
const PAD: u64 = 9 << 20;

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Ferry,
    Destination,
    Server,
}

/// How the stream is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Append,
    /// The whole stream, added.
    AppendWhole,
    Dedup,
    Overwrite,
    Normalized,
}

/// A server, a way to it that can be held, and syncs.
struct Site {
    server: Postgres,
    proxy: Proxy,
    source: Folder,
}

impl Site {
    fn new() -> Self {
        let server = Postgres::start(Version::V15);
        let proxy = Proxy::to(server.port);
        let source = Folder::new();
        let path = source.write("source-counting", include_str!("counting_source.py"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { server, proxy, source }
    }

    /// Writes a sync file that writes so many rows of the source to this schema.
    fn set_up(&self, folder: &Folder, schema: &str, mode: Mode, rows: u64, pad: u64) {
        let (read, write) = match mode {
            Mode::Append | Mode::Normalized => ("incremental", "append"),
            Mode::AppendWhole => ("full_refresh", "append"),
            Mode::Dedup => ("incremental", "append_dedup"),
            Mode::Overwrite => ("full_refresh", "overwrite"),
        };
        let mut destination = json!({
            "host": "127.0.0.1", "port": self.proxy.port, "database": "postgres", "schema": schema,
            "username": Postgres::USER, "password": "${PGPASSWORD}", "ssl_mode": {"mode": "disable"},
        });
        if mode == Mode::Normalized {
            destination["normalization"] = json!({"mode": "basic"});
        }
        let mut stream = json!({"name": "counted", "sync_mode": read, "destination_sync_mode": write});
        if read == "incremental" {
            stream["cursor_field"] = json!("id");
        }
        if mode == Mode::Dedup {
            stream["primary_key"] = json!(["key"]);
        }
        folder.json(
            "sync.json",
            &json!({
                "source": {"connector": Path::new(self.source.path()).join("source-counting"),
                    "config": {"rows": rows, "step": ROWS / 4, "keys": KEYS, "pad": pad}},
                "destination": {"connector": binary("destination-postgres"), "config": destination},
                "streams": [stream],
            }),
        );
    }

    fn ferry(&self, folder: &Folder) -> Invocation {
        let args = ["sync", "sync.json", "--attempts", "1", "--output", "json"];
        Connector::new(binary("ferry"))
            .command(args)
            .in_folder(folder.path())
            .env("PGPASSWORD", Postgres::PASSWORD)
    }

    fn synced(&self, folder: &Folder, what: &str) {
        let output = self.ferry(folder).output();
        assert!(output.exit == Exit::Code(0), "{what}: {output}");
    }

    /// `rows|ids|sum of ids|rows of a generation other than the most`, or nothing where there is no such table.
    fn seen(&self, schema: &str) -> String {
        if self.server.psql(&format!("SELECT to_regclass('{schema}.counted') IS NULL")) == "t" {
            return String::new();
        }
        self.server
            .psql(&format!("SELECT count(*) || '|' || count(DISTINCT id) || '|' || coalesce(sum(id), 0) FROM {schema}.counted"))
    }

    /// Kills at that point of a sync, looks, and syncs again.
    fn try_out(&mut self, case: usize, mode: Mode, victim: Victim, (text, cut, pass): (&str, Cut, usize)) {
        let what = format!("{mode:?}, {victim:?} killed {cut:?} {text:?} (after {pass})");
        let schema = format!("s{case}");
        let folder = Folder::new();
        let whole = expected(mode, ROWS);
        // A table that is there is merged into, and left alone by an overwrite until that is complete.
        if matches!(mode, Mode::Overwrite | Mode::Dedup) {
            self.set_up(&folder, &schema, mode, ROWS / 4, 0);
            self.synced(&folder, &what);
        }
        // Only what is looked for after a commit needs one in between.
        self.set_up(&folder, &schema, mode, ROWS, if pass > 0 { PAD } else { 0 });
        self.proxy.hold(text, cut, pass);
        let running = self.ferry(&folder).start();
        self.proxy.wait_held();
        match victim {
            Victim::Ferry => running.signal(Signal::KILL),
            Victim::Destination => destination(&folder).kill(),
            Victim::Server => self.server.stop_immediate(),
        }
        if victim == Victim::Server {
            self.server.start_again();
        }
        self.proxy.release();
        let output = running.wait();
        if victim == Victim::Destination {
            assert!(output.exit == Exit::Code(1), "{what}: {output}");
        }
        if victim == Victim::Ferry {
            destination(&folder).wait_for_end();
        }
        // What readers see meanwhile.
        let seen = self.seen(&schema);
        let fine = match mode {
            Mode::Append => (0..=4).any(|n| seen == expected(mode, n * ROWS / 4)),
            Mode::Dedup => (0..=4).any(|n| seen == expected(mode, n * ROWS / 4)),
            Mode::Overwrite => seen == expected(mode, ROWS / 4) || seen == whole,
            Mode::AppendWhole | Mode::Normalized => seen == expected(mode, 0) || seen == whole,
        };
        assert!(fine || seen.is_empty(), "{what}: readers see {seen}");
        self.synced(&folder, &what);
        let published = mode == Mode::AppendWhole && seen == whole;
        // A job that appends a whole stream is meant to add it again; one that was killed has, or has not.
        let whole =
            if published { format!("{}|{ROWS}|{}", 2 * ROWS, (0..ROWS).sum::<u64>() * 2) } else { whole };
        assert_eq!(self.seen(&schema), whole, "{what}");
        let left = format!(
            "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = '{schema}'::regnamespace"
        );
        let tables = if mode == Mode::Normalized { "_airbyte_raw_counted,counted" } else { "counted" };
        assert_eq!(self.server.psql(&left), tables, "{what}: nothing is left behind");
        // Nothing is new, so nothing comes twice.
        if case == 0 && matches!(mode, Mode::Append | Mode::Dedup | Mode::Normalized) {
            self.synced(&folder, &what);
            assert_eq!(self.seen(&schema), whole, "{what}, once more");
        }
    }

    fn try_all(&mut self, mode: Mode, victims: &[Victim], points: &[(&str, &[usize])]) {
        let mut case = 0;
        for (text, passes) in points {
            for pass in *passes {
                for cut in [Cut::Before, Cut::After] {
                    // One after the other, or every point would take a kill of each.
                    let victim = victims[case % victims.len()];
                    self.try_out(case, mode, victim, (text, cut, *pass));
                    case += 1;
                }
            }
        }
    }
}

/// What a table holds of the first `rows`.
fn expected(mode: Mode, rows: u64) -> String {
    let ids: Vec<u64> = match mode {
        Mode::Dedup => (0..rows).filter(|id| id + KEYS >= rows).collect(),
        _ => (0..rows).collect(),
    };
    format!("{0}|{0}|{1}", ids.len(), ids.iter().sum::<u64>())
}

/// The destination that a sync of this folder runs. That of a ferry that was killed ends by itself.
fn destination(folder: &Folder) -> Descendant {
    Descendant::of("destination-postgres", folder.path())
}

/// As the whole of a statement.
const COMMIT: &str = "COMMIT\0";
use Victim::{Destination, Ferry, Server};

#[test]
fn dp_02_appended_rows_are_there_once_wherever_the_destination_is_killed() {
    let points: &[(&str, &[usize])] =
        &[("COPY ", &[0]), ("SAVEPOINT ferrybyte_mark", &[0]), ("AS c (connection", &[0]), (COMMIT, &[0, 1])];
    Site::new().try_all(Mode::Append, &[Destination], points);
}

#[test]
fn dp_02_appended_rows_are_there_once_wherever_ferry_is_killed() {
    let points: &[(&str, &[usize])] = &[("COPY ", &[0]), (COMMIT, &[0])];
    Site::new().try_all(Mode::Append, &[Ferry], points);
}

#[test]
fn dp_02_appended_rows_are_there_once_wherever_the_server_crashes() {
    let points: &[(&str, &[usize])] = &[("COPY ", &[0]), (COMMIT, &[0])];
    Site::new().try_all(Mode::Append, &[Server], points);
}

#[test]
fn a_stream_added_whole_is_seen_whole_or_not_at_all() {
    let points: &[(&str, &[usize])] = &[("COPY ", &[0]), ("RENAME TO", &[0]), (COMMIT, &[0])];
    Site::new().try_all(Mode::AppendWhole, &[Destination, Server, Ferry, Destination], points);
}

#[test]
fn dp_02_a_merge_is_whole_or_undone() {
    let points: &[(&str, &[usize])] =
        &[("COPY ", &[0]), ("SAVEPOINT ferrybyte_upsert", &[0]), ("TRUNCATE pg_temp", &[0]), (COMMIT, &[0])];
    Site::new().try_all(Mode::Dedup, &[Destination, Destination, Server, Ferry], points);
}

#[test]
fn dp_10_an_overwrite_shows_the_old_rows_or_the_new_ones() {
    let points: &[(&str, &[usize])] =
        &[("COPY ", &[0]), ("DROP TABLE", &[0]), ("RENAME TO", &[0]), ("CREATE INDEX", &[0]), (COMMIT, &[0])];
    Site::new().try_all(Mode::Overwrite, &[Destination, Destination, Server, Ferry], points);
}

#[test]
fn normalized_tables_are_those_of_the_raw_one() {
    let points: &[(&str, &[usize])] =
        &[("COPY ", &[0]), ("SAVEPOINT ferrybyte_normalize", &[0]), ("RENAME TO", &[0]), (COMMIT, &[0])];
    Site::new().try_all(Mode::Normalized, &[Destination, Destination, Server, Ferry], points);
}

#[test]
fn a_large_state_is_committed_before_the_end() {
    let (site, folder) = (Site::new(), Folder::new());
    site.set_up(&folder, "plain", Mode::Append, ROWS, PAD);
    site.synced(&folder, "undisturbed");
    let commits = "SELECT split_part(commit, '-', 2)::int + 1 FROM airbyte_internal._ferrybyte_checkpoints";
    assert_eq!(site.server.psql(commits), "2");
    assert_eq!(site.seen("plain"), expected(Mode::Append, ROWS));
}
