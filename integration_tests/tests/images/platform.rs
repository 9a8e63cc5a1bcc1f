//! Runs images as Airbyte's platform runs them in its pods: a shell instead of the entrypoint, its folders, file
//! names, FIFOs and environment, user 1000 without capabilities. Stricter in that the root file system is read-only.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::Folder;
use testkit::services::Containers;

/// Starts the connector in the background, ends it when a file called TERMINATED appears, and leaves its exit code in a
/// file. The platform looks for that file every ten seconds; nobody here waits that long.
const SCRIPT: &str = r#"
if [ -z "$AIRBYTE_ENTRYPOINT" ]; then echo "AIRBYTE_ENTRYPOINT is not set"; exit 127; fi
(eval "$AIRBYTE_ENTRYPOINT $COMMAND") &
connector=$!
(while [ ! -f TERMINATED ]; do sleep 1; done; kill $connector) &
wait $connector
code=$?
echo $code > exitCode.tmp
mv exitCode.tmp exitCode.txt
exit $code
"#;

/// Seconds after which a container that hangs is ended.
const LONGEST: &str = "120";

/// A connector's image, with what it is to be given.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) image: String,
    pub(crate) config: Value,
    /// A folder of the host that it sees as /local.
    pub(crate) local: Option<PathBuf>,
}

/// A synchronisation's outcome, as the platform keeps it.
#[derive(Debug, Default)]
pub(crate) struct Synced {
    pub(crate) records: usize,
    /// The last state of each stream that came back from the destination.
    pub(crate) states: Vec<Value>,
    pub(crate) source_code: String,
    pub(crate) destination_code: String,
    /// Everything either said that is neither a record nor a state.
    pub(crate) said: String,
}

pub(crate) struct Platform<'a> {
    pub(crate) containers: &'a Containers,
}

impl Platform<'_> {
    /// The answer to `spec`, `check` or `discover`: the first message of that type, and the exit code.
    pub(crate) fn ask(&self, end: &End, verb: &str, answer: &str) -> (Value, String) {
        let folder = mounted("config");
        let file = "/config/connectionConfiguration.json";
        let command = if verb == "spec" { verb.to_owned() } else { format!("{verb} --config {file}") };
        give(&folder, "connectionConfiguration.json", &end.config);
        let mut pod = self.pod(end, folder.path(), "/config", &format!("{command} > /config/jobOutput.json"));
        pod.args(["--env", &format!("OPERATION_TYPE={}", verb.to_uppercase()), "--env", "WORKLOAD_ID=w"]);
        let told = started(&mut pod, end).wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&told.stderr).into_owned();
        let output = fs::read_to_string(folder.path().join("jobOutput.json")).unwrap_or_default();
        let code = code_in(&folder);
        let messages = output.lines().map(|line| {
            serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{}: {e}: {line}", end.image))
        });
        let found = messages.into_iter().find(|m| m["type"] == answer);
        let found = found.unwrap_or_else(|| panic!("{} {verb}: no {answer}: {output}{errors}", end.image));
        assert_eq!(errors, "", "{} {verb}", end.image);
        (found, code)
    }

    /// Both ends at once, with the platform between them.
    pub(crate) fn sync(&self, from: &End, to: &End, catalog: &Value, states: &[Value]) -> Synced {
        let (source, dest) = (mounted("source"), mounted("dest"));
        give(&source, "connectorConfig.json", &from.config);
        give(&source, "catalog.json", catalog);
        give(&dest, "connectorConfig.json", &to.config);
        give(&dest, "catalog.json", catalog);
        let mut read = "read --config /source/connectorConfig.json --catalog /source/catalog.json".to_owned();
        if !states.is_empty() {
            give(&source, "inputState.json", &json!(states));
            read.push_str(" --state /source/inputState.json");
        }
        let write = "write --config /dest/connectorConfig.json --catalog /dest/catalog.json";
        let pipes = [
            ("stdout", &source),
            ("stderr", &source),
            ("stdin", &dest),
            ("stdout", &dest),
            ("stderr", &dest),
        ];
        // Held open for both directions, so that nobody waits for another to open his end.
        let mut held: Vec<File> =
            pipes.iter().map(|(name, folder)| fifo(&folder.path().join(name))).collect();
        let read = format!("{read} > /source/stdout 2> /source/stderr");
        let write = format!("{write} < /dest/stdin > /dest/stdout 2> /dest/stderr");
        let mut destination = started(self.pod(to, dest.path(), "/dest", &write).args(replication(to)), to);
        let mut origin =
            started(self.pod(from, source.path(), "/source", &read).args(replication(from)), from);

        let from_source = reader(&source.path().join("stdout"));
        let mut stdin = held[2].try_clone().unwrap();
        let forward: JoinHandle<(usize, String)> =
            std::thread::spawn(move || forward(BufReader::new(from_source), &mut stdin));
        let from_destination = reader(&dest.path().join("stdout"));
        let echoes = std::thread::spawn(move || text(from_destination));
        let errors = [&source, &dest].map(|folder| {
            let errors = reader(&folder.path().join("stderr"));
            std::thread::spawn(move || text(errors))
        });

        let _ = origin.wait().unwrap();
        held.drain(..2);
        let (records, mut said) = forward.join().unwrap();
        let source_code = code_in(&source);
        if source_code == "0" {
            // The platform says for the source what the source has said to it.
            let mut stdin = held[0].try_clone().unwrap();
            for stream in catalog["streams"].as_array().unwrap() {
                let status = json!({"type": "TRACE", "trace": {"type": "STREAM_STATUS", "emitted_at": 1.0,
                    "stream_status": {"stream_descriptor": {"name": stream["stream"]["name"],
                    "namespace": stream["stream"]["namespace"]}, "status": "COMPLETE"}}});
                writeln!(stdin, "{status}").unwrap();
            }
        }
        // The end of the destination's input, once it has come to read: a FIFO that nobody has opened forgets what was written, and
        // whoever opens it later waits for another writer.
        while rustix::io::ioctl_fionread(&held[0]).unwrap() > 0 && destination.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(10));
        }
        held.remove(0);
        let _ = destination.wait().unwrap();
        held.clear();
        let mut synced =
            Synced { records, source_code, destination_code: code_in(&dest), ..Synced::default() };
        for line in echoes.join().unwrap().lines() {
            let message: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            if message["type"] == "STATE" {
                let state = message["state"].clone();
                assert!(state["id"].is_u64(), "the platform's id comes back: {line}");
                let stream = state["stream"]["stream_descriptor"].clone();
                synced.states.retain(|known| known["stream"]["stream_descriptor"] != stream);
                synced.states.push(state);
            } else {
                said.push_str(line);
            }
        }
        errors.into_iter().for_each(|error| said.push_str(&error.join().unwrap()));
        synced.said = said;
        synced
    }

    /// A source that would read for hours, told to end by a file. Its exit code.
    pub(crate) fn terminated(&self, from: &End, catalog: &Value) -> String {
        let source = mounted("source");
        give(&source, "connectorConfig.json", &from.config);
        give(&source, "catalog.json", catalog);
        let held = [fifo(&source.path().join("stdout")), fifo(&source.path().join("stderr"))];
        let read = "read --config /source/connectorConfig.json --catalog /source/catalog.json \
                    > /source/stdout 2> /source/stderr";
        let mut origin =
            started(self.pod(from, source.path(), "/source", read).args(replication(from)), from);
        let mut stdout = reader(&source.path().join("stdout"));
        let mut some = [0; 1 << 16];
        stdout.read_exact(&mut some).unwrap();
        let rest = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()).unwrap());
        source.write("TERMINATED", "");
        let _ = origin.wait().unwrap();
        drop(held);
        rest.join().unwrap();
        code_in(&source)
    }

    /// The container of a pod, without its image.
    fn pod(&self, end: &End, folder: &Path, at: &str, command: &str) -> Command {
        let mut pod = self.containers.podman(["run", "--rm", "--network=host", "--timeout", LONGEST]);
        pod.args(["--user=1000:1000", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only"]);
        pod.args(["--workdir", at, "--volume", &format!("{}:{at}", folder.display())]);
        if let Some(local) = &end.local {
            pod.args(["--volume", &format!("{}:/local", local.display())]);
        }
        pod.args(["--entrypoint", "sh", "--env", &format!("COMMAND={command}")]);
        pod.stdout(Stdio::piped()).stderr(Stdio::piped());
        pod
    }
}

/// The environment of a read or a write.
fn replication(end: &End) -> Vec<String> {
    let variables = [
        "AIRBYTE_EDITION=COMMUNITY".to_owned(),
        "AIRBYTE_VERSION=2.0.0".to_owned(),
        "DEPLOYMENT_MODE=OSS".to_owned(),
        format!("WORKER_CONNECTOR_IMAGE={}", end.image),
        "WORKER_JOB_ID=7".to_owned(),
        "WORKER_JOB_ATTEMPT=0".to_owned(),
        "DATA_CHANNEL_MEDIUM=STDIO".to_owned(),
        "DATA_CHANNEL_FORMAT=JSONL".to_owned(),
        "USE_STREAM_CAPABLE_STATE=true".to_owned(),
        "USE_FILE_TRANSFER=false".to_owned(),
        "AIRBYTE_STAGING_DIRECTORY=/staging/files".to_owned(),
        "CONCURRENT_SOURCE_STREAM_READ=false".to_owned(),
        "LOG_LEVEL=INFO".to_owned(),
        "JAVA_OPTS=-XX:MaxRAMPercentage=75.0".to_owned(),
    ];
    variables.into_iter().flat_map(|variable| ["--env".to_owned(), variable]).collect()
}

fn started(pod: &mut Command, end: &End) -> Child {
    pod.args([end.image.as_str(), "-c", SCRIPT]).spawn().unwrap()
}

/// Records and states go on, states with a number; everything else the platform keeps to itself.
fn forward(from: impl BufRead, to: &mut impl Write) -> (usize, String) {
    let (mut records, mut id, mut said) = (0, 0, String::new());
    for line in from.lines() {
        let line = line.unwrap();
        let mut message: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        match message["type"].as_str() {
            Some("RECORD") => {
                records += 1;
                writeln!(to, "{line}").unwrap();
            }
            Some("STATE") => {
                id += 1;
                message["state"]["id"] = id.into();
                writeln!(to, "{message}").unwrap();
            }
            _ => said.push_str(&line),
        }
    }
    (records, said)
}

/// A folder as the platform mounts it: the group of user 1000 may write there.
fn mounted(name: &str) -> Folder {
    let folder = Folder::new();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    folder
}

fn give(folder: &Folder, name: &str, content: &Value) {
    let path = folder.json(name, content);
    // Only root can, and only then is it needed.
    if chown(&path, Some(1000), Some(1000)).is_ok() {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    }
}

fn fifo(path: &Path) -> File {
    assert!(Command::new("mkfifo").args(["-m", "666"]).arg(path).status().unwrap().success());
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

fn reader(path: &Path) -> File {
    File::open(path).unwrap()
}

fn text(mut file: File) -> String {
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

fn code_in(folder: &Folder) -> String {
    let code = fs::read_to_string(folder.path().join("exitCode.txt"));
    code.map(|code| code.trim().to_owned()).unwrap_or_else(|_| "none".to_owned())
}
