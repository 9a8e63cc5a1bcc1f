//! `ferry` or `destination-dremio` killed at every statement of a sync; after another run every row is there once, in append
//! mode too, though Dremio has no transactions.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::services::{ObjectStore, StoreKind};
use testkit::{Connector, Descendant, Exit, Folder, Invocation, Running, Signal, binary};
use testkit_dremio::{Dremio, Fault, Source, Stage};

const ROWS: u64 = 400;
const STEP: u64 = 100;
/// Makes the rows before the first state larger than a commit, so that they are committed then and not only at the end.
const WIDE: u64 = 12 << 10;
/// More statements than any of these syncs has, and fewer.
const MOST_STEPS: usize = 120;
const FEWEST_STEPS: usize = 24;
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Ferry,
    Destination,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Append,
    /// Two streams with states that they share.
    Shared,
    /// The whole stream, added.
    AppendWhole,
    /// By way of files in a store.
    Staged,
    /// The whole stream, instead of what is there.
    Overwrite,
    /// By the key.
    Merged,
}

impl Mode {
    fn streams(self) -> &'static [&'static str] {
        if self == Self::Shared { &["counted", "again"] } else { &["counted"] }
    }
}

/// A server, and syncs to it.
struct Site {
    server: Dremio,
    store: Option<ObjectStore>,
    source: Folder,
    mode: Mode,
}

/// One sync's files, and its folder on the server.
struct Sync<'a> {
    site: &'a Site,
    folder: Folder,
    place: String,
}

impl Site {
    fn new(mode: Mode) -> Self {
        let source = Folder::new();
        let path = source.write("source-counting", include_str!("counting_source.py"));
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let store = (mode == Mode::Staged).then(|| ObjectStore::start(StoreKind::Strict));
        let mut options = Dremio::options();
        if let Some(store) = &store {
            options = options.source("minio", Source::Store(store.files(ObjectStore::BUCKET)));
        }
        Self { server: options.start(), store, source, mode }
    }

    fn sync(&self, place: String) -> Sync<'_> {
        Sync { site: self, folder: Folder::new(), place }
    }

    /// Kills the victim at this statement, and at each second, third … one after it.
    fn kill_at_statements(&self, victim: Victim, fault: &Fault, first: usize, step: usize) {
        for at in (first..MOST_STEPS).step_by(step) {
            if !self.sync(format!("at{at}")).kill_and_repeat(victim, fault, at) {
                assert!(at >= FEWEST_STEPS, "{:?}: only {at} statements were run", self.mode);
                return;
            }
        }
        panic!("a sync has more than {MOST_STEPS} statements");
    }
}

impl Sync<'_> {
    fn set_up(&self, rows: u64) {
        let mode = self.site.mode;
        let (read, write) = match mode {
            Mode::Append | Mode::Shared | Mode::Staged => ("incremental", "append"),
            Mode::AppendWhole => ("full_refresh", "append"),
            Mode::Overwrite => ("full_refresh", "overwrite"),
            Mode::Merged => ("incremental", "append_dedup"),
        };
        let mut destination = self.site.server.destination();
        for (key, value) in [
            ("password", "${DREMIO_PASSWORD}".into()),
            ("dataset", format!("lake.{}", self.place).into()),
            ("commit_size_mb", 1.into()),
            ("insert_size_kb", 512.into()),
            // As short as a busy machine allows.
            ("lost_answer_wait_secs", 1.into()),
            ("busy_wait_secs", 20.into()),
        ] {
            destination[key] = value;
        }
        if let Some(store) = &self.site.store {
            destination["staging"] = json!({
                "location": "minio/staging", "s3_bucket_name": ObjectStore::BUCKET, "s3_bucket_path": "staging",
                "s3_bucket_region": "us-east-1", "s3_endpoint": store.endpoint(),
                "access_key_id": ObjectStore::ACCESS_KEY, "secret_access_key": "${S3_SECRET}",
            });
        }
        let stream = |name: &&str| {
            let mut stream = json!({"name": name, "sync_mode": read, "destination_sync_mode": write});
            if read == "incremental" {
                stream["cursor_field"] = "id".into();
            }
            if mode == Mode::Merged {
                stream["primary_key"] = json!([["id"]]);
            }
            stream
        };
        let streams: Vec<Value> = mode.streams().iter().map(stream).collect();
        let wide = if read == "full_refresh" { 0 } else { WIDE };
        self.folder.json(
            "sync.json",
            &json!({
                "source": {"connector": Path::new(self.site.source.path()).join("source-counting"),
                    "config": {"rows": rows, "step": STEP, "keys": 7, "pad": 0, "wide": wide, "global": mode == Mode::Shared}},
                "destination": {"connector": binary("destination-dremio"), "config": destination},
                "streams": streams,
            }),
        );
    }

    fn ferry(&self) -> Invocation {
        Connector::new(binary("ferry"))
            .command(["sync", "sync.json", "--attempts", "1", "--output", "json"])
            .in_folder(self.folder.path())
            .env("DREMIO_PASSWORD", Dremio::PASSWORD)
            .env("S3_SECRET", ObjectStore::SECRET_KEY)
    }

    fn succeeds(&self, what: &str) {
        let output = self.ferry().output();
        assert!(output.exit == Exit::Code(0), "{what}: {output}");
    }

    /// Starts a sync and has it stand still at a statement, if it has so many.
    fn held_at(&self, fault: &Fault, at: usize) -> (Running, bool) {
        let server = &self.site.server;
        let before = server.met();
        server.faults("", Stage::Run, fault.clone(), at, 1);
        let mut running = self.ferry().start();
        let until = Instant::now() + PATIENCE;
        while server.met() == before && !running.has_ended() {
            assert!(Instant::now() < until, "the sync neither ends nor comes to statement {at}");
            std::thread::sleep(Duration::from_millis(5));
        }
        let met = server.met() > before;
        if met {
            server.wait_held();
        }
        server.clear_faults();
        (running, met)
    }

    /// Kills at the statement and syncs again. False when there are fewer statements.
    fn kill_and_repeat(&self, victim: Victim, fault: &Fault, at: usize) -> bool {
        let what = format!("{:?}, {victim:?} killed at statement {at}, {fault:?}", self.site.mode);
        self.set_up(ROWS);
        let (running, met) = self.held_at(fault, at);
        if !met {
            let output = running.wait();
            assert!(output.exit == Exit::Code(0), "{what}: {output}");
            return false;
        }
        match victim {
            Victim::Ferry => running.signal(Signal::KILL),
            Victim::Destination => self.destination().kill(),
        }
        self.site.server.release();
        let output = running.wait();
        assert!(victim == Victim::Ferry || output.exit == Exit::Code(1), "{what}: {output}");
        self.destination().wait_for_end();
        // A job that adds a whole stream is meant to add it again, if the one that was killed has.
        let complete = self.site.mode == Mode::AppendWhole && self.is_complete();
        self.succeeds(&what);
        self.has_every_row(if complete { 2 } else { 1 }, &what);
        true
    }

    fn has_every_row(&self, times: u64, what: &str) {
        for stream in self.site.mode.streams() {
            let sql = format!(
                "SELECT COUNT(*), COUNT(DISTINCT id), MIN(id), MAX(id) FROM lake.{}.{stream}",
                self.place
            );
            let found = self.site.server.query(&sql);
            let expected = [vec![json!(ROWS * times), json!(ROWS), json!(0), json!(ROWS - 1)]];
            assert_eq!(found, expected, "{what}: {stream}");
        }
    }

    /// Whether the log says that a stream was written whole.
    fn is_complete(&self) -> bool {
        let folder = format!("lake.{}", self.place);
        let tables = self.site.server.query(&format!(
            "SELECT TABLE_NAME FROM INFORMATION_SCHEMA.\"TABLES\" WHERE TABLE_SCHEMA = '{folder}' AND TABLE_NAME = '__ferry_commits'"
        ));
        !tables.is_empty()
            && !self
                .site
                .server
                .query(&format!(
                    "SELECT \"run\" FROM {folder}.__ferry_commits WHERE entry LIKE '%\"complete\":true%'"
                ))
                .is_empty()
    }

    /// The destination of this sync. That of a ferry that was killed ends by itself.
    fn destination(&self) -> Descendant {
        Descendant::of("destination-dremio", self.folder.path())
    }
}

#[test]
fn dw_14_appended_rows_are_there_once_wherever_the_destination_is_killed() {
    Site::new(Mode::Append).kill_at_statements(Victim::Destination, &Fault::Hold, 0, 3);
}

#[test]
fn dw_14_appended_rows_are_there_once_though_the_last_statement_comes_late() {
    Site::new(Mode::Append).kill_at_statements(Victim::Destination, &Fault::HoldThenRun, 1, 3);
}

#[test]
fn dw_14_appended_rows_are_there_once_wherever_ferry_is_killed() {
    Site::new(Mode::Append).kill_at_statements(Victim::Ferry, &Fault::Hold, 2, 3);
}

#[test]
fn dw_14_staged_rows_are_there_once_wherever_the_destination_is_killed() {
    Site::new(Mode::Staged).kill_at_statements(Victim::Destination, &Fault::HoldThenRun, 2, 4);
}

#[test]
fn dw_14_streams_that_share_their_states_are_committed_together() {
    Site::new(Mode::Shared).kill_at_statements(Victim::Destination, &Fault::HoldThenRun, 3, 8);
}

#[test]
fn dw_14_a_stream_added_whole_is_there_whole_and_once() {
    Site::new(Mode::AppendWhole).kill_at_statements(Victim::Destination, &Fault::Hold, 0, 3);
}

#[test]
fn dw_14_a_process_that_lives_on_commits_nothing_and_its_rows_go() {
    let site = Site::new(Mode::Append);
    let mut held = 0;
    for at in (8..MOST_STEPS).step_by(5) {
        let sync = site.sync(format!("at{at}"));
        let what = format!("held at statement {at}");
        sync.set_up(ROWS);
        let (running, met) = sync.held_at(&Fault::Hold, at);
        if !met {
            let _ = running.wait();
            break;
        }
        running.signal(Signal::KILL);
        let _ = running.wait();
        // Another one does it all while the first stands still.
        sync.succeeds(&what);
        site.server.release();
        sync.destination().wait_for_end();
        sync.succeeds(&what);
        sync.has_every_row(1, &what);
        held += 1;
    }
    assert!(held > 3, "{held}");
}

#[test]
fn dw_14_an_overwrite_is_whole_wherever_the_destination_is_killed() {
    Site::new(Mode::Overwrite).kill_at_statements(Victim::Destination, &Fault::Hold, 1, 4);
}

#[test]
fn dw_14_merged_rows_are_there_once_wherever_the_destination_is_killed() {
    Site::new(Mode::Merged).kill_at_statements(Victim::Destination, &Fault::HoldThenRun, 3, 4);
}
