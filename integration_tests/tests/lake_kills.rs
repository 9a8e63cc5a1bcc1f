//! `ferry` or `destination-s3` killed before every request of a sync to the store; after another run every row is there
//! once, in append mode too.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::services::{Action, FaultyStore, ObjectStore, StoreKind};
use testkit::{Connector, Descendant, Exit, Folder, Invocation, Signal, binary};

const ROWS: u64 = 400;
const STEP: u64 = 100;
/// Makes the rows before the first state larger than an object, so that they are committed then and not only at the end.
const WIDE: u64 = 12 << 10;
/// More requests than any of these syncs makes.
const MOST_STEPS: usize = 60;
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
    Overwrite,
}

impl Mode {
    fn streams(self) -> &'static [&'static str] {
        if self == Self::Shared { &["counted", "again"] } else { &["counted"] }
    }
}

/// A store, and syncs to it.
struct Site {
    store: ObjectStore,
    source: Folder,
}

/// One sync's files, and its folder in the bucket.
struct Sync<'a> {
    site: &'a Site,
    folder: Folder,
    mode: Mode,
    place: String,
}

impl Site {
    fn new() -> Self {
        let source = Folder::new();
        let path = source.write("source-counting", include_str!("counting_source.py"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { store: ObjectStore::start(StoreKind::Strict), source }
    }

    fn sync(&self, mode: Mode, place: String) -> Sync<'_> {
        Sync { site: self, folder: Folder::new(), mode, place }
    }

    /// Kills the victim before each request in turn, or before each second, third … one.
    fn kill_before_requests(&self, mode: Mode, victim: Victim, step: usize, fewest: usize) {
        for at in (0..MOST_STEPS).step_by(step) {
            let sync = self.sync(mode, format!("at{at}"));
            if !sync.kill_and_repeat(victim, at) {
                assert!(at >= fewest, "{mode:?}: only {at} requests were made");
                return;
            }
        }
        panic!("a sync makes more than {MOST_STEPS} requests");
    }
}

impl Sync<'_> {
    fn set_up(&self, endpoint: &str, rows: u64, wide: u64) {
        let (read, write) = match self.mode {
            Mode::Append | Mode::Shared => ("incremental", "append"),
            Mode::AppendWhole => ("full_refresh", "append"),
            Mode::Overwrite => ("full_refresh", "overwrite"),
        };
        let mut destination = self.site.store.destination();
        for (key, value) in [
            ("s3_endpoint", endpoint.into()),
            ("secret_access_key", "${S3_SECRET}".into()),
            ("s3_bucket_path", self.place.as_str().into()),
            ("s3_path_format", "$${STREAM_NAME}/".into()),
            ("object_size_mb", 1.into()),
            ("format", json!({"format_type": "JSONL", "flattening": "Root level flattening"})),
        ] {
            destination[key] = value;
        }
        let stream = |name: &&str| {
            let mut stream = json!({"name": name, "sync_mode": read, "destination_sync_mode": write});
            if read == "incremental" {
                stream["cursor_field"] = "id".into();
            }
            stream
        };
        let streams: Vec<Value> = self.mode.streams().iter().map(stream).collect();
        self.folder.json(
            "sync.json",
            &json!({
                "source": {"connector": Path::new(self.site.source.path()).join("source-counting"),
                    "config": {"rows": rows, "step": STEP, "keys": 7, "pad": 0, "wide": wide, "global": self.mode == Mode::Shared}},
                "destination": {"connector": binary("destination-s3"), "config": destination},
                "streams": streams,
            }),
        );
    }

    fn ferry(&self, attempts: &str) -> Invocation {
        let args = ["sync", "sync.json", "--attempts", attempts, "--output", "json"];
        Connector::new(binary("ferry"))
            .command(args)
            .in_folder(self.folder.path())
            .env("S3_SECRET", ObjectStore::SECRET_KEY)
    }

    fn succeeds(&self, what: &str) {
        let output = self.ferry("1").output();
        assert!(output.exit == Exit::Code(0), "{what}: {output}");
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.site.store.files(ObjectStore::BUCKET).join(&self.place).join(path)
    }

    /// How often each id of a stream is seen.
    fn seen(&self, stream: &str) -> BTreeMap<u64, usize> {
        let mut ids = BTreeMap::new();
        for entry in std::fs::read_dir(self.at(stream)).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|e| e == "jsonl") {
                for line in std::fs::read_to_string(entry.path()).unwrap().lines() {
                    let row: Value = serde_json::from_str(line).unwrap();
                    *ids.entry(row["id"].as_u64().unwrap()).or_insert(0) += 1;
                }
            }
        }
        ids
    }

    /// The states that the store says are committed.
    fn committed(&self) -> Vec<Value> {
        let records = std::fs::read_dir(self.at("_ferry/.commits")).into_iter().flatten().flatten();
        let mut states = Vec::new();
        for record in records.filter(|r| r.path().extension().is_some_and(|e| e == "json")) {
            let record: Value = serde_json::from_slice(&std::fs::read(record.path()).unwrap()).unwrap();
            states.extend(record["states"].as_array().unwrap().iter().cloned());
        }
        states
    }

    /// Kills at the request, looks, and syncs again. False when there are fewer requests.
    fn kill_and_repeat(&self, victim: Victim, at: usize) -> bool {
        let what = format!("{:?}, {victim:?} killed before request {at}", self.mode);
        let direct = self.site.store.endpoint();
        let wide = if matches!(self.mode, Mode::Append | Mode::Shared) { WIDE } else { 0 };
        if self.mode == Mode::Overwrite {
            self.set_up(&direct, STEP, 0);
            self.succeeds(&what);
        }
        let gate = Gate::before(&self.site.store, at);
        self.set_up(&gate.proxy.endpoint(), ROWS, wide);
        let mut running = self.ferry("1").start();
        let reached = gate.wait(|| running.has_ended());
        if !reached {
            let output = running.wait();
            assert!(output.exit == Exit::Code(0), "{what}: {output}");
            return false;
        }
        match victim {
            Victim::Ferry => running.signal(Signal::KILL),
            Victim::Destination => self.destination().kill(),
        }
        // What is left of the sync goes on, or is gone: nothing of it has been asked of the store.
        gate.open(victim == Victim::Ferry);
        let output = running.wait();
        assert!(victim == Victim::Ferry || output.exit == Exit::Code(1), "{what}: {output}");
        self.destination().wait_for_end();
        let complete = self.committed().iter().any(|state| state["complete"] == true);
        self.readers_see_no_part(&what);
        self.set_up(&direct, ROWS, wide);
        self.succeeds(&what);
        // A job that adds a whole stream is meant to add it again: the one that was killed has, or has not.
        let times = if self.mode == Mode::AppendWhole && complete { 2 } else { 1 };
        for stream in self.mode.streams() {
            let expected: BTreeMap<_, _> = (0..ROWS).map(|id| (id, times)).collect();
            assert_eq!(self.seen(stream), expected, "{what}: {stream}");
            let list = std::fs::read(self.at(&format!("_ferry/{stream}.json"))).unwrap();
            let list: Value = serde_json::from_slice(&list).unwrap();
            let left = [&list["intent"], &list["uploads"], &list["removing"]];
            assert!(left.iter().all(|l| l.is_null()), "{what}: {list}");
        }
        true
    }

    fn readers_see_no_part(&self, what: &str) {
        for stream in self.mode.streams() {
            let seen = self.seen(stream);
            let rows = seen.len() as u64;
            // Old objects go once the new ones are all there.
            let once = self.mode == Mode::Overwrite || seen.values().all(|times| *times == 1);
            assert!(once, "{what}: {stream} has rows twice");
            let whole = match self.mode {
                // Objects of one commit appear one after the other.
                Mode::Append | Mode::Shared => true,
                Mode::AppendWhole => [0, ROWS].contains(&rows),
                Mode::Overwrite => [STEP, ROWS].contains(&rows),
            };
            assert!(whole, "{what}: {rows} rows of {stream} are seen");
        }
    }

    /// The destination of this sync. That of a ferry that was killed ends by itself.
    fn destination(&self) -> Descendant {
        Descendant::of("destination-s3", self.folder.path())
    }
}

/// A way to the store that stops before a request until it is opened.
struct Gate {
    proxy: FaultyStore,
    met: Receiver<()>,
    answer: Sender<bool>,
}

impl Gate {
    fn before(store: &ObjectStore, at: usize) -> Self {
        let (meet, met) = channel();
        let (answer, answers) = channel();
        let (meet, answers) = (Mutex::new(meet), Arc::new(Mutex::new((answers, None))));
        let rule = move |asked: &testkit::services::Asked| {
            if asked.number < at {
                return Action::Pass;
            }
            if asked.number == at {
                let _ = meet.lock().unwrap().send(());
            }
            // Later ones wait for the same answer.
            let (answers, known): &mut (Receiver<bool>, Option<bool>) = &mut answers.lock().unwrap();
            let pass = *known.get_or_insert_with(|| answers.recv_timeout(PATIENCE).unwrap_or(false));
            if pass { Action::Pass } else { Action::Refuse }
        };
        Self { proxy: FaultyStore::before(store.port, rule), met, answer }
    }

    /// Whether the request was made before the sync ended.
    fn wait(&self, mut over: impl FnMut() -> bool) -> bool {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if self.met.recv_timeout(Duration::from_millis(20)).is_ok() {
                return true;
            }
            if over() {
                return self.met.try_recv().is_ok();
            }
        }
        panic!("the sync neither ends nor asks the store");
    }

    fn open(&self, pass: bool) {
        let _ = self.answer.send(pass);
    }
}

#[test]
fn df_01_appended_rows_are_there_once_wherever_the_destination_is_killed() {
    Site::new().kill_before_requests(Mode::Append, Victim::Destination, 1, 20);
}

#[test]
fn df_01_appended_rows_are_there_once_wherever_ferry_is_killed() {
    Site::new().kill_before_requests(Mode::Append, Victim::Ferry, 2, 20);
}

#[test]
fn df_01_streams_that_share_their_states_are_committed_together() {
    Site::new().kill_before_requests(Mode::Shared, Victim::Destination, 2, 20);
}

#[test]
fn df_01_a_stream_added_whole_is_seen_whole_or_not_at_all() {
    Site::new().kill_before_requests(Mode::AppendWhole, Victim::Destination, 1, 12);
}

#[test]
fn df_01_an_overwrite_shows_the_old_rows_or_the_new_ones() {
    Site::new().kill_before_requests(Mode::Overwrite, Victim::Destination, 1, 12);
}
