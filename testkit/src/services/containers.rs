//! Containers without a daemon: podman with a store of its own, and a registry to push to.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{free_port, run};
use crate::workspace::binary;

/// Longer than a registry takes to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A place for images and containers that no other test sees. What still runs is removed when it is dropped.
#[derive(Debug)]
pub struct Containers {
    folder: TempDir,
}

impl Default for Containers {
    fn default() -> Self {
        Self::new()
    }
}

impl Containers {
    /// An empty one.
    ///
    /// # Panics
    /// When podman is not installed or does not work.
    #[must_use]
    pub fn new() -> Self {
        let containers = Self { folder: TempDir::new().expect("a folder") };
        // Where temporary files are on an overlay themselves, another one on top is refused.
        containers.configure("overlay");
        let works = containers.podman(["info"]).output();
        let works = works.expect("podman cannot be run; `cargo xtask servers` installs it");
        if !works.status.success() {
            containers.configure("vfs");
            run(&mut containers.podman(["info"]));
        }
        containers
    }

    fn configure(&self, driver: &str) {
        let home = self.folder.path().display();
        self.write(
            "storage.conf",
            &format!(
                "[storage]\ndriver = \"{driver}\"\ngraphroot = \"{home}/graph\"\nrunroot = \"{home}/run\"\n"
            ),
        );
        // File locks, since those in shared memory would be shared with every other store of the machine. The limits,
        // since some machines do not let even root raise them. runc, since crun refuses machines that mount cgroups of both
        // versions.
        self.write(
            "containers.conf",
            &format!(
                "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\nlog_driver = \"none\"\n\
                 [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n\
                 lock_type = \"file\"\ntmp_dir = \"{home}/tmp\"\n\
                 [network]\nnetwork_backend = \"netavark\"\n"
            ),
        );
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).expect("a file in a temporary folder");
    }

    /// What tells podman, and who starts it, where this is.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        vec![
            ("CONTAINERS_STORAGE_CONF", file("storage.conf")),
            ("CONTAINERS_CONF", file("containers.conf")),
            ("FERRY_CONTAINER_RUNTIME", "podman".to_owned()),
        ]
    }

    /// A podman command here.
    pub fn podman<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new("podman");
        command.args(args).envs(self.environment()).stdin(Stdio::null());
        command
    }

    /// Runs podman and returns what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> String {
        run(&mut self.podman(args))
    }

    /// Builds a connector's image from its built binary and loads it here, as a user would with `cargo xtask image`.
    /// Returns its name.
    ///
    /// # Panics
    /// When it cannot be built.
    #[must_use]
    pub fn image(&self, name: &str) -> String {
        let built = run(Command::new(binary("xtask"))
            .args(["image", name, "--any-size", "--binary"])
            .arg(binary(name))
            .envs(self.environment()));
        let reference = built.split_once(": ").expect("the image's name comes first").0;
        reference.to_owned()
    }

    /// The names of the containers there are, running or not.
    #[must_use]
    pub fn list(&self) -> Vec<String> {
        self.run(["ps", "--all", "--format", "{{.Names}}"]).lines().map(str::to_owned).collect()
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        let _ = self.podman(["rm", "--all", "--force", "--time", "0"]).output();
        // Its own storage stays mounted otherwise, and could not be removed.
        let graph = self.folder.path().join("graph");
        let _ = Command::new("umount").arg(graph.join("overlay")).stderr(Stdio::null()).status();
    }
}

/// A registry on a free port of loopback, empty, without TLS.
#[derive(Debug)]
pub struct Registry {
    /// Where it listens.
    pub port: u16,
    _folder: TempDir,
    process: Child,
}

impl Registry {
    /// Starts it.
    ///
    /// # Panics
    /// When it is not installed or does not come up.
    #[must_use]
    pub fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        for attempt in 1.. {
            let port = free_port();
            let mut process = serve(folder.path(), port);
            let began = Instant::now();
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                let ended = process.try_wait().expect("its status").is_some();
                assert!(
                    (!ended || attempt < 5) && began.elapsed() < PATIENCE,
                    "the registry did not come up"
                );
                if ended {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            if process.try_wait().expect("its status").is_none() {
                return Self { port, _folder: folder, process };
            }
        }
        unreachable!("the attempts end in a panic or a registry")
    }

    /// Its name in references.
    #[must_use]
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }
}

fn serve(folder: &Path, port: u16) -> Child {
    let settings = folder.join("registry.yml");
    let data = folder.join("data").display().to_string();
    fs::write(
        &settings,
        format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"127.0.0.1:{port}\"}}\n"
        ),
    )
    .expect("its settings");
    Command::new("docker-registry")
        .arg("serve")
        .arg(settings)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("docker-registry cannot be run; `cargo xtask servers` installs it")
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
