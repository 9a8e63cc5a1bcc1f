//! `ferry` with images for connectors, as a user runs it: what arrives, what is left behind, and what is said when a
//! container dies.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::services::Containers;
use testkit::{Connector, Exit, Folder, Invocation, Output, Signal, binary};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(100);

fn ferry(containers: &Containers, folder: &Folder, args: &[&str]) -> Invocation {
    let mut run = Connector::new(binary("ferry")).command(args.iter().copied()).in_folder(folder.path());
    for (name, value) in containers.environment() {
        run = run.env(name, &value);
    }
    run.patience(PATIENCE)
}

fn sync(containers: &Containers, folder: &Folder, file: &Value, code: i32) -> Output {
    folder.json("sync.yaml", file);
    let output = ferry(containers, folder, &["sync", "sync.yaml", "--attempts", "1"]).output();
    assert!(output.exit == Exit::Code(code), "{output}");
    output
}

/// A folder with another inside into which the images' user may write.
fn with_lake() -> Folder {
    let folder = Folder::new();
    fs::set_permissions(folder.folder("lake"), fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

fn file(source: &Value, destination: &str, mode: &str) -> Value {
    json!({
        "source": source,
        "destination": {"connector": destination, "mounts": ["./lake:/local"],
            "config": {"destination_path": "/local", "format": {"format_type": "jsonl"}}},
        "streams": [{"name": "users", "sync_mode": mode, "destination_sync_mode": "append"}],
        "containers": {"network": "none"},
    })
}

fn faker(image: &str, count: u64) -> Value {
    json!({"connector": image, "config": {"count": count, "always_updated": false, "seed": 7}})
}

fn rows(folder: &Folder) -> usize {
    let files = folder.files().into_iter().filter(|f| {
        let name = f.file_name().unwrap().to_string_lossy();
        name.ends_with(".jsonl") && !name.starts_with('.')
    });
    files.map(|f| fs::read_to_string(folder.path().join(f)).unwrap().lines().count()).sum()
}

/// An image whose `read` is a script; the rest is the faker's.
fn scripted(containers: &Containers, faker: &str, script: &str) -> String {
    let text =
        format!("#!/bin/sh\nif [ $1 != read ]; then exec /airbyte/source-faker \"$@\"; fi\n{script}\n");
    let install = "printf '%s' \"$TEXT\" > /airbyte/scripted && chmod +x /airbyte/scripted";
    let text = format!("TEXT={text}");
    containers.run([
        "run",
        "--name=made",
        "--network=none",
        "--env",
        &text,
        "--entrypoint=sh",
        faker,
        "-c",
        install,
    ]);
    containers.run([
        "commit",
        "--quiet",
        "--change",
        "ENTRYPOINT [\"/airbyte/scripted\"]",
        "made",
        "test/source-scripted:1",
    ]);
    containers.run(["rm", "made"]);
    "test/source-scripted:1".to_owned()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Specs and catalogs are asked of containers too.
fn both_run(containers: &Containers) -> bool {
    let commands = containers.run(["ps", "--format", "{{.Command}}"]);
    ["read", "write"].iter().all(|verb| commands.lines().any(|line| line.starts_with(verb)))
}

#[test]
fn images_bring_what_is_new_and_leave_no_container() {
    let containers = Containers::new();
    let (source, destination) = (containers.image("source-faker"), containers.image("destination-local"));
    let folder = with_lake();
    for count in [100, 130] {
        let mut file = file(&faker(&source, count), &destination, "incremental");
        file["resources"] = json!({"source": {"cpu_limit": "500m", "memory_limit": "256Mi"}, "destination": {"memory_limit": "256Mi"}});
        let output = sync(&containers, &folder, &file, 0);
        assert!(format!("{output}").contains("counts and digests agree"), "{output}");
        assert_eq!(rows(&folder), count as usize);
    }
    // The state belongs to the connector, not to a place from which it came.
    let moved =
        sync(&containers, &folder, &file(&faker("source-faker", 150), &destination, "incremental"), 0);
    assert_eq!(rows(&folder), 150, "{moved}");
    assert_eq!(containers.list(), Vec::<String>::new());
    let left = fs::read_dir(folder.path().join(".ferry/tmp")).unwrap().count();
    assert_eq!(left, 0, "configs are gone");
}

#[test]
fn every_command_takes_an_image() {
    let containers = Containers::new();
    let (source, destination) = (containers.image("source-faker"), containers.image("destination-local"));
    let folder = with_lake();
    folder.json("sync.yaml", &file(&faker(&source, 10), &destination, "full_refresh"));
    let said = |args: &[&str]| {
        let output = ferry(&containers, &folder, args).output();
        assert!(output.exit == Exit::Code(0), "{output}");
        let lines: Vec<_> = output.lines.iter().map(|line| String::from_utf8_lossy(&line.raw)).collect();
        lines.join("\n")
    };
    assert!(said(&["check", "sync.yaml"]).contains("destination destination-local: works"));
    assert!(said(&["discover", "sync.yaml"]).contains("purchases"));
    assert!(said(&["spec", &source]).contains("records_per_slice"));
    let new = said(&["new", &source, &destination]);
    assert!(new.contains(&source) && new.contains(&destination) && new.contains("destination_path"), "{new}");
    assert_eq!(containers.list(), Vec::<String>::new());
}

#[test]
fn a_container_that_outgrows_its_memory_is_said_to_have_and_the_key_is_named() {
    let containers = Containers::new();
    let (source, destination) = (containers.image("source-faker"), containers.image("destination-local"));
    let hungry = scripted(&containers, &source, "tail -c 1000000000 /dev/zero");
    // As the first process, so that its end is the container's.
    let direct = scripted_directly(&containers, &hungry);
    for image in [&hungry, &direct] {
        let folder = with_lake();
        let mut file = file(&faker(image, 10), &destination, "full_refresh");
        file["resources"] = json!({"source": {"memory_limit": "64Mi"}});
        let output = sync(&containers, &folder, &file, 1);
        if image == &direct {
            for expected in
                ["killed for want of memory", "memory_limit is 64 MiB", "resources.source.memory_limit"]
            {
                assert!(output.stderr.contains(expected), "{expected}: {output}");
            }
        }
    }
    assert_eq!(containers.list(), Vec::<String>::new());
}

fn scripted_directly(containers: &Containers, from: &str) -> String {
    let install = "sed -i 's/^tail/exec tail/' /airbyte/scripted";
    containers.run(["run", "--name=made", "--network=none", "--entrypoint=sh", from, "-c", install]);
    let entry = "ENTRYPOINT [\"/airbyte/scripted\"]";
    containers.run(["commit", "--quiet", "--change", entry, "made", "test/source-hungry:1"]);
    containers.run(["rm", "made"]);
    "test/source-hungry:1".to_owned()
}

#[test]
fn a_container_that_does_not_listen_is_removed_all_the_same() {
    let containers = Containers::new();
    let (source, destination) = (containers.image("source-faker"), containers.image("destination-local"));
    let deaf = scripted(&containers, &source, "trap '' TERM INT; while true; do sleep 1; done");
    let folder = with_lake();
    let mut file = file(&faker(&deaf, 10), &destination, "full_refresh");
    file["timeouts"] = json!({"source_silence_secs": 2});
    folder.json("sync.yaml", &file);
    let args = ["sync", "sync.yaml", "--attempts", "1", "--grace-ms", "1500"];
    let output = ferry(&containers, &folder, &args).output();
    assert!(output.exit == Exit::Code(1) && output.stderr.contains("sent nothing for 2 s"), "{output}");
    assert_eq!(containers.list(), Vec::<String>::new());
}

#[test]
fn a_signal_ends_both_containers_at_a_durable_state() {
    let containers = Containers::new();
    let (source, destination) = (containers.image("source-faker"), containers.image("destination-local"));
    let folder = with_lake();
    folder.json("sync.yaml", &file(&faker(&source, 3_000_000), &destination, "incremental"));
    let running = ferry(&containers, &folder, &["sync", "sync.yaml", "--attempts", "1"]).start();
    // The destination's folder is there before the source has begun, and a source that has not begun has no state.
    let holds_rows = |file: &PathBuf| {
        file.to_string_lossy().contains("users")
            && fs::metadata(folder.path().join(file)).is_ok_and(|m| m.len() > 65_536)
    };
    wait_until("rows arrive", || folder.files().iter().any(holds_rows));
    running.signal(Signal::TERM);
    let output = running.wait();
    assert!(output.exit == Exit::Code(1) && output.stderr.contains("stopped by a signal"), "{output}");
    assert_eq!(containers.list(), Vec::<String>::new());
    let shown = ferry(&containers, &folder, &["state", "show", "sync.yaml"]).output();
    assert!(format!("{shown}").contains("users"), "a state was reached: {shown}");
}

#[test]
fn what_a_killed_ferry_left_is_removed_by_the_next_run() {
    let containers = Containers::new();
    let (source, destination) = (containers.image("source-faker"), containers.image("destination-local"));
    let deaf = scripted(&containers, &source, "trap '' TERM INT PIPE; while true; do sleep 1; done");
    let folder = with_lake();
    folder.json("sync.yaml", &file(&faker(&deaf, 10), &destination, "incremental"));
    let running = ferry(&containers, &folder, &["sync", "sync.yaml"]).start();
    wait_until("both run", || both_run(&containers));
    running.signal(Signal::KILL);
    let _ = running.wait();
    wait_until("the destination sees the end of its input", || containers.list().len() == 1);
    let output = sync(&containers, &folder, &file(&faker(&source, 20), &destination, "incremental"), 0);
    assert_eq!((rows(&folder), containers.list()), (20, Vec::new()), "{output}");
}

#[test]
fn an_image_or_a_runtime_that_is_not_there_is_said_with_what_to_do() {
    let containers = Containers::new();
    let folder = with_lake();
    // A name that leads to nowhere, without a look at any registry.
    folder.json(
        "sync.yaml",
        &file(&faker("localhost:1/org/source-nothing:1", 1), "destination-local", "incremental"),
    );
    let output = ferry(&containers, &folder, &["sync", "sync.yaml"]).output();
    assert!(
        output.exit == Exit::Code(2) && output.stderr.contains("podman pull localhost:1/org"),
        "{output}"
    );
    // An image that has nothing to start.
    let image = containers.image("source-faker");
    let entry = "ENTRYPOINT [\"/airbyte/nothing\"]";
    containers.run(["run", "--name=made", "--network=none", "--entrypoint=true", &image]);
    containers.run(["commit", "--quiet", "--change", entry, "made", "test/source-empty:1"]);
    let output = ferry(&containers, &folder, &["spec", "test/source-empty:1"]).output();
    let said = ["source-empty spec could not be started in a container", "/airbyte/nothing"];
    assert!(output.exit == Exit::Code(1) && said.iter().all(|s| output.stderr.contains(s)), "{output}");

    let run = ferry(&containers, &folder, &["sync", "sync.yaml"]);
    let output = run.env("FERRY_CONTAINER_RUNTIME", "/nonexistent/podman").output();
    assert!(output.exit == Exit::Code(2) && output.stderr.contains("FERRY_CONTAINER_RUNTIME"), "{output}");
}

#[test]
fn a_secret_is_in_no_argument_and_no_environment_of_a_container() {
    let containers = Containers::new();
    let (source, destination) = (containers.image("source-faker"), containers.image("destination-local"));
    let waiting = scripted(&containers, &source, "while true; do sleep 1; done");
    let folder = with_lake();
    let mut file = file(&faker(&waiting, 10), &destination, "full_refresh");
    file["source"]["config"]["seed"] = json!(76_543_210_123_u64);
    folder.json("sync.yaml", &file);
    let running =
        ferry(&containers, &folder, &["sync", "sync.yaml", "--attempts", "1", "--grace-ms", "500"]).start();
    wait_until("both run", || both_run(&containers));
    let names = containers.list();
    let mut told = containers.run(["inspect", &names[0], &names[1]]);
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        for part in ["cmdline", "environ"] {
            told.push_str(&String::from_utf8_lossy(&fs::read(entry.path().join(part)).unwrap_or_default()));
        }
    }
    assert!(told.contains("source-config.json") && !told.contains("76543210123"));
    running.signal(Signal::TERM);
    running.signal(Signal::TERM);
    let _ = running.wait();
    wait_until("both are gone", || containers.list().is_empty());
}

#[test]
fn a_plain_process_is_kept_within_its_memory_too() {
    let containers = Containers::new();
    let folder = Folder::new();
    let script = format!(
        "#!/bin/sh\nif [ $1 != read ]; then exec {} \"$@\"; fi\nexec dd if=/dev/zero of=/dev/null bs=1000000000 count=1\n",
        binary("source-faker").display()
    );
    let path = folder.write("source-hungry", script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let file = json!({"source": faker("./source-hungry", 10),
        "destination": {"connector": "destination-local", "config": {"destination_path": "lake"}},
        "resources": {"source": {"memory_limit": "64Mi"}}});
    let output = sync(&containers, &folder, &file, 1);
    // Root may make a control group, others get a limit of the data segment.
    let killed = output.stderr.contains("killed for want of memory") && output.stderr.contains("64 MiB");
    assert!(killed || output.stderr.contains("memory exhausted"), "{output}");
}
