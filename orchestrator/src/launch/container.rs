//! Connectors in containers: images found and fetched, the command that runs one, and its removal whatever happens.
//!
//! A config never is an argument or an environment variable: its file is mounted read-only. The file has to be readable by
//! the image's user, so it is made so; who else may look at it is decided by its folder, which is closed to all.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Call, Launch, Placement};
use crate::error::{Error, Failure, Origin};
use crate::interrupt::Interrupt;
use crate::job_log::JobLog;
use crate::masker::Masker;
use crate::process::Process;
use crate::progress::say;
use crate::resources::Resources;

/// Names the program that runs containers, unless the sync file does.
const RUNTIME: &str = "FERRY_CONTAINER_RUNTIME";

/// On every container of a sync.
const LABEL: &str = "io.ferrybyte.sync";

/// Where a connector finds its files.
const INSIDE: &str = "/secrets";

/// How long an image may take to arrive.
const PULL: Duration = Duration::from_secs(1800);

/// An image that is on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    runtime: PathBuf,
    /// As it was asked for.
    pub reference: String,
    /// What that meant when it was found; a tag that moves during a job changes nothing.
    pub id: String,
    /// The container can hold our pipes themselves.
    direct: bool,
    /// What the runtime limits, of what the sync file asks.
    kept: Kept,
}

/// Which limits a runtime keeps: without rights of its own it may keep none, and then only mentions it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    memory: bool,
    cpu: bool,
}

/// Whether a connector's name is an image's: with a tag, or with a slash and not a path.
pub(crate) fn is_image(name: &str) -> bool {
    let path = name.starts_with(['/', '.', '~']);
    !path && (name.contains('/') || name.contains(':'))
}

/// `source-x` for `host:5000/org/source-x:1.0`: what the connector is, wherever its image comes from.
pub(crate) fn plain_name(reference: &str) -> &str {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    last.split(['@', ':']).next().unwrap_or(last)
}

impl Image {
    /// Finds an image, and fetches it when this machine does not have it yet.
    ///
    /// # Errors
    /// When there is no runtime or no such image.
    pub fn find(reference: &str, placed: &Placement, interrupt: &Interrupt) -> Result<Self, Error> {
        let runtime = runtime(placed.runtime.as_deref())?;
        let usage = |text: String| Error::Usage(format!("connector {reference}: {text}"));
        if reference.starts_with('-') || reference.bytes().any(|b| b.is_ascii_whitespace()) {
            return Err(usage("is no name of an image; write it as org/source-x:1.0".into()));
        }
        // At once: each takes its time.
        let (id, direct, kept) = std::thread::scope(|scope| {
            let direct = scope.spawn(|| hands_on_pipes(&runtime));
            let kept = scope.spawn(|| Kept::of(&runtime, &placed.resources));
            let id = id_of(&runtime, reference);
            (id, direct.join().unwrap_or(false), kept.join().unwrap_or(Kept::ALL))
        });
        let found = |runtime, id| Self { runtime, reference: reference.to_owned(), id, direct, kept };
        if let Some(id) = id {
            return Ok(found(runtime, id));
        }
        say(&format!("{reference} is not on this machine; fetching it"));
        let mut pull = Command::new(&runtime);
        pull.args(["pull", "--quiet", reference]).stdin(Stdio::null());
        let log = JobLog::nowhere(Masker::default());
        let mut process = Process::start(pull.into(), Origin::Ferry, "pull", &log)?;
        let watched = interrupt.watch(process.group());
        drop(process.take_stdout());
        let well = process.reap_within(PULL).is_some_and(|status| status.success());
        drop(watched);
        if interrupt.count() > 0 {
            return Err(Failure::fatal(Origin::Ferry, "stopped by a signal").into());
        }
        match id_of(&runtime, reference) {
            Some(id) => Ok(found(runtime, id)),
            None => {
                let tail = if well { String::new() } else { format!(": {}", process.stderr_tail()) };
                let name = runtime.display();
                Err(usage(format!(
                    "{name} neither has this image nor can fetch it{tail}; try \"{name} pull {reference}\""
                )))
            }
        }
    }

    pub(super) fn launch(
        &self,
        call: &Call<'_>,
        placed: &Placement,
        origin: Origin,
    ) -> Result<Launch, Failure> {
        let container =
            Container { runtime: self.runtime.clone(), name: fresh_name(), removal: Mutex::default() };
        let mut command = Command::new(&self.runtime);
        // Its output goes to us alone: runtimes keep a copy of it otherwise, of every row. At best they do not even
        // pass it on, and the container has our pipes for its own.
        let driver = if self.direct { "--log-driver=passthrough" } else { "--log-driver=none" };
        command.args(["run", "--rm", driver, "--name", &container.name]);
        if call.stdin {
            command.arg("--interactive");
        }
        command.args(["--cap-drop=ALL", "--security-opt=no-new-privileges"]);
        if let Some(label) = &placed.label {
            command.args(["--label", &format!("{LABEL}={label}")]);
        }
        // A specification is asked for before anything is known of the connector.
        match (call.verb, &placed.network) {
            ("spec", _) => command.arg("--network=none"),
            (_, Some(network)) => command.args(["--network", network]),
            (_, None) => &mut command,
        };
        let resources = &placed.resources;
        if let Some(millis) = resources.cpu_millis {
            command.args(["--cpus", &format!("{}.{:03}", millis / 1000, millis % 1000)]);
        }
        if let Some(bytes) = resources.memory {
            // The same for both: no swapping instead.
            command.args(["--memory", &bytes.to_string(), "--memory-swap", &bytes.to_string()]);
        }
        for mount in &placed.mounts {
            let mode = if mount.read_only { ":ro" } else { "" };
            command.arg("--volume").arg(volume(&mount.host, &mount.inside, mode, origin)?);
        }
        let mut options = Vec::new();
        for (option, file) in &call.files {
            let inside = format!("{INSIDE}/{}.json", option.trim_start_matches('-'));
            let readable = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(file, readable)
                .map_err(|e| Failure::config(origin, format!("cannot prepare {}: {e}", file.display())))?;
            command.arg("--volume").arg(volume(file, &inside, ":ro,Z", origin)?);
            options.extend([(*option).to_owned(), inside]);
        }
        for (name, value) in call.environment {
            command.args(["--env", &format!("{name}={value}")]);
        }
        command.arg(&self.id).arg(call.verb).args(options);
        Ok(Launch {
            command,
            container: Some(std::sync::Arc::new(container)),
            cage: None,
            memory: resources.memory.filter(|_| self.kept.memory),
        })
    }

    /// What has to be said of limits that the runtime does not keep.
    #[must_use]
    pub fn unkept(&self, resources: &Resources) -> Option<String> {
        let memory = resources.memory.filter(|_| !self.kept.memory).map(|_| "memory_limit");
        let cpu = resources.cpu_millis.filter(|_| !self.kept.cpu).map(|_| "cpu_limit");
        let names: Vec<&str> = memory.into_iter().chain(cpu).collect();
        let verb = if names.len() == 1 { "does" } else { "do" };
        (!names.is_empty()).then(|| {
            format!(
                "resources: {} has no control group for it here, so {} {verb} not hold; run ferry as root, or in a session that systemd gives the controllers to",
                self.runtime.display(),
                names.join(" and ")
            )
        })
    }

    /// The program that runs it.
    #[must_use]
    pub fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// Removes containers that an earlier run of the same sync left: killed, it could not.
    pub fn sweep(&self, label: &str) {
        let listed = Command::new(&self.runtime)
            .args(["ps", "--all", "--quiet", "--filter", &format!("label={LABEL}={label}")])
            .stdin(Stdio::null())
            .output();
        let Ok(listed) = listed else { return };
        for id in String::from_utf8_lossy(&listed.stdout).split_whitespace() {
            remove(&self.runtime, id);
        }
    }
}

/// The program that runs containers.
fn runtime(named: Option<&str>) -> Result<PathBuf, Error> {
    let from_environment = std::env::var(RUNTIME).ok().filter(|name| !name.is_empty());
    if let Some(name) = from_environment.as_deref().or(named) {
        return on_path(name).ok_or_else(|| {
            Error::Usage(format!(
                "the container runtime {name} is not there; name podman, docker or a path in {RUNTIME} or containers.runtime"
            ))
        });
    }
    let missing = || {
        Error::Usage(format!(
            "neither podman nor docker is installed, and images need one; install one, name another in {RUNTIME}, or use the connector's executable"
        ))
    };
    let mut found = ["podman", "docker"].into_iter().filter_map(on_path);
    let first = found.next().ok_or_else(missing)?;
    // With both installed, the first that works.
    match found.next() {
        Some(other) if !works(&first) && works(&other) => Ok(other),
        _ => Ok(first),
    }
}

fn works(runtime: &Path) -> bool {
    let told = Command::new(runtime).args(["ps", "--quiet"]).stdin(Stdio::null()).output();
    told.is_ok_and(|told| told.status.success())
}

impl Kept {
    const ALL: Self = Self { memory: true, cpu: true };

    /// Asks the runtime, when there is anything to keep.
    fn of(runtime: &Path, resources: &Resources) -> Self {
        // podman's word, then Docker's; either fails where the other is asked.
        let formats = ["{{.Host.CgroupControllers}}", "{{.MemoryLimit}} {{.CPUCfsQuota}}"];
        let ask = |format: &&str| {
            let told = Command::new(runtime).args(["info", "--format", format]).stdin(Stdio::null()).output();
            told.ok().filter(|told| told.status.success()).map(|told| told.stdout)
        };
        let told = if resources.any() { formats.iter().find_map(ask) } else { None };
        told.map_or(Self::ALL, |told| Self::told(&String::from_utf8_lossy(&told)))
    }

    fn told(text: &str) -> Self {
        let text = text.trim();
        match text.strip_prefix('[').and_then(|list| list.strip_suffix(']')) {
            Some(list) => {
                let has = |name: &str| list.split_whitespace().any(|known| known == name);
                Self { memory: has("memory"), cpu: has("cpu") }
            }
            // What is not understood is no reason to warn.
            None => {
                let mut words = text.split_whitespace().map(|word| word != "false");
                Self { memory: words.next().unwrap_or(true), cpu: words.next().unwrap_or(true) }
            }
        }
    }
}

/// podman on this very machine can give a container the pipes that it was started with; others copy every byte through
/// two or three processes.
fn hands_on_pipes(runtime: &Path) -> bool {
    // A server besides the client: it is not podman, or not here.
    let format = "{{.Client.Version}} {{if .Server}}remote{{end}}";
    let told = Command::new(runtime).args(["version", "--format", format]).stdin(Stdio::null()).output();
    told.is_ok_and(|told| told.status.success() && knows_passthrough(&String::from_utf8_lossy(&told.stdout)))
}

fn knows_passthrough(told: &str) -> bool {
    let major = told.trim().split('.').next().and_then(|major| major.parse::<u32>().ok());
    !told.contains("remote") && major.is_some_and(|major| major >= 4)
}

fn on_path(name: &str) -> Option<PathBuf> {
    let is_there = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(is_there);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(is_there)
}

fn id_of(runtime: &Path, reference: &str) -> Option<String> {
    let told = Command::new(runtime)
        .args(["image", "inspect", "--format", "{{.Id}}", reference])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let id = String::from_utf8_lossy(&told.stdout).trim().to_owned();
    (told.status.success() && !id.is_empty()).then_some(id)
}

fn volume(host: &Path, inside: &str, mode: &str, origin: Origin) -> Result<String, Failure> {
    let host = std::path::absolute(host).unwrap_or_else(|_| host.to_owned());
    match host.to_str() {
        Some(text) if !text.contains(':') => Ok(format!("{text}:{inside}{mode}")),
        _ => Err(Failure::config(
            origin,
            format!(
                "{} cannot be mounted into a container: its name holds a colon or is not UTF-8; move it, or choose another --data-dir",
                host.display()
            ),
        )),
    }
}

/// A name that no other container of this machine has.
fn fresh_name() -> String {
    static STARTED: AtomicU64 = AtomicU64::new(0);
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("ferry-{}-{}-{number}", std::process::id(), now.as_millis())
}

/// A container that was started, or is about to be.
#[derive(Debug)]
pub struct Container {
    runtime: PathBuf,
    name: String,
    removal: Mutex<Option<JoinHandle<()>>>,
}

impl Container {
    /// Kills and removes it, without waiting. Once is enough.
    pub fn remove(&self) {
        let mut removal = self.removal.lock().unwrap_or_else(PoisonError::into_inner);
        if removal.is_none() {
            let (runtime, name) = (self.runtime.clone(), self.name.clone());
            *removal =
                std::thread::Builder::new().name("remove".into()).spawn(move || remove(&runtime, &name)).ok();
        }
    }

    /// Waits until it is removed, if it is to be.
    pub fn settle(&self) {
        let removal = self.removal.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = removal {
            let _ = thread.join();
        }
    }
}

fn remove(runtime: &Path, name: &str) {
    // Removing alone would let it run on for ten seconds first, by some runtimes.
    for arguments in [["kill", name].as_slice(), &["rm", "--force", name]] {
        let _ = Command::new(runtime)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

#[cfg(test)]
mod tests {
    use super::{Image, Kept, is_image, knows_passthrough, plain_name, runtime, volume};
    use crate::error::Origin;
    use crate::launch::{Call, Mount, Placement};
    use crate::resources::Resources;
    use std::path::Path;

    #[test]
    fn a_name_with_a_tag_or_a_slash_is_an_image_and_a_path_is_not() {
        for name in
            ["org/source-x:1.0", "source-x:1.0", "localhost:5000/org/source-x", "org/source-x@sha256:ab"]
        {
            assert!(is_image(name), "{name}");
            assert_eq!(plain_name(name), "source-x");
        }
        for name in ["source-x", "./source-x", "/opt/source-x", "../a/source-x:1", "~/source-x"] {
            assert!(!is_image(name), "{name}");
        }
    }

    #[test]
    fn a_config_is_mounted_read_only_and_is_no_argument() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("source-config.json");
        std::fs::write(&config, r#"{"password": "sesame"}"#).unwrap();
        let mut image = Image {
            runtime: "podman".into(),
            reference: "o/s:1".into(),
            id: "abc".into(),
            direct: false,
            kept: Kept::ALL,
        };
        let placed = Placement {
            network: Some("host".into()),
            mounts: vec![Mount { host: "/data".into(), inside: "/local".into(), read_only: true }],
            resources: Resources { cpu_millis: Some(1500), memory: Some(64 << 20) },
            label: Some("x".into()),
            ..Placement::default()
        };
        let environment = [("WORKER_JOB_ID", "7".to_owned())];
        let call = Call {
            verb: "write",
            files: vec![("--config", &config)],
            environment: &environment,
            stdin: true,
        };
        let launch = image.launch(&call, &placed, Origin::Destination).unwrap();
        let words: Vec<_> = launch.command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        let line = words.join(" ");
        for expected in [
            "run --rm --log-driver=none --name ferry-",
            " --interactive ",
            " --cap-drop=ALL --security-opt=no-new-privileges --label io.ferrybyte.sync=x --network host ",
            " --cpus 1.500 --memory 67108864 --memory-swap 67108864 --volume /data:/local:ro ",
            "source-config.json:/secrets/config.json:ro,Z --env WORKER_JOB_ID=7 abc write --config /secrets/config.json",
        ] {
            assert!(line.contains(expected), "{expected}: {line}");
        }
        assert!(!line.contains("sesame"));
        image.direct = true;
        let spec = Call { verb: "spec", files: vec![], environment: &[], stdin: false };
        let launch = image.launch(&spec, &placed, Origin::Source).unwrap();
        for expected in ["--network=none", "--log-driver=passthrough"] {
            assert!(launch.command.get_args().any(|a| a == expected), "{expected}");
        }
        assert!(!launch.command.get_args().any(|a| a == "--interactive" || a == "host"));
    }

    #[test]
    fn limits_that_a_runtime_does_not_keep_are_said_and_not_blamed() {
        let image = |kept| Image {
            runtime: "podman".into(),
            reference: "o/s:1".into(),
            id: "abc".into(),
            direct: false,
            kept,
        };
        let resources = Resources { cpu_millis: Some(1500), memory: Some(64 << 20) };
        for (told, memory, cpu) in [
            // podman as root, with nothing given on, and with what systemd gives on.
            ("[cpuset cpu cpuacct blkio memory pids]\n", true, true),
            ("[]\n", false, false),
            ("[memory pids]\n", true, false),
            // Docker, and something else.
            ("true true\n", true, true),
            ("false true\n", false, true),
            ("", true, true),
        ] {
            let kept = Kept::told(told);
            assert_eq!(kept, Kept { memory, cpu }, "{told}");
            let said = image(kept).unkept(&resources).unwrap_or_default();
            assert_eq!(
                (!said.contains("memory_limit"), !said.contains("cpu_limit")),
                (memory, cpu),
                "{said}"
            );
            assert_eq!(image(kept).unkept(&Resources::default()), None);
            let call = Call { verb: "read", files: vec![], environment: &[], stdin: false };
            let placed = Placement { resources, ..Placement::default() };
            let launch = image(kept).launch(&call, &placed, Origin::Source).unwrap();
            assert_eq!(launch.memory.is_some(), memory);
        }
    }

    #[test]
    fn pipes_are_handed_on_by_a_podman_of_this_machine_only() {
        assert!(knows_passthrough("4.3.1 \n") && knows_passthrough("10.0.0-rc1 \n"));
        // Another machine's, too old a one, and Docker, which knows no such word.
        for other in ["5.0.0 remote\n", "3.4.4 \n", "28.1.1 remote\n", "<no value>\n", ""] {
            assert!(!knows_passthrough(other), "{other}");
        }
    }

    #[test]
    fn a_runtime_that_is_not_there_and_a_path_that_cannot_be_mounted_are_said() {
        let error = runtime(Some("no-such-runtime")).unwrap_err().to_string();
        assert!(error.contains("no-such-runtime") && error.contains("containers.runtime"), "{error}");
        let error = volume(Path::new("/a:b"), "/x", "", Origin::Source).unwrap_err().to_string();
        assert!(error.contains("colon") && error.contains("--data-dir"), "{error}");
    }
}
