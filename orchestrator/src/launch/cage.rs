//! Limits of plain processes. Best a control group of the connector's own; where none may be made, a limit of its data
//! segment, which it meets as an allocation that fails. What cannot be limited here is said, not passed over.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Failure, Origin};
use crate::resources::Resources;

/// How the limits of an executable are kept on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fence {
    /// There are none.
    #[default]
    Nothing,
    /// In a group below this one, of cgroup version 2.
    Unified(PathBuf),
    /// In groups below these, of cgroup version 1.
    Split {
        /// Of the memory controller.
        memory: Option<PathBuf>,
        /// Of the processor controller.
        cpu: Option<PathBuf>,
    },
    /// By `ulimit -d`: memory only.
    DataSegment,
}

/// Where control groups are mounted.
const MOUNTED: &str = "/sys/fs/cgroup";

/// Moves itself into the groups whose lists come first, then becomes the command after `--`.
const ENTER: &str = r#"while [ "$1" != -- ]; do echo $$ > "$1" || exit 125; shift; done; shift; exec "$@""#;
/// Limits itself to the kibibytes that come first, then becomes the command after them.
const LIMIT: &str = r#"ulimit -d "$1" || exit 125; shift; exec "$@""#;

impl Fence {
    /// What is possible here for these limits, and what has to be said about it.
    #[must_use]
    pub fn choose(resources: &Resources) -> (Self, Option<String>) {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::below(Path::new(MOUNTED), &own, resources)
    }

    fn below(mounted: &Path, own: &str, resources: &Resources) -> (Self, Option<String>) {
        if !resources.any() {
            return (Self::Nothing, None);
        }
        if let Some(fence) = unified(mounted, own, resources).or_else(|| split(mounted, own, resources)) {
            return (fence, None);
        }
        let no_cpu = "resources: no control group may be made here, so cpu_limit does not hold; run ferry as root or the connector as an image";
        let data = "resources: no control group may be made here, so memory_limit bounds the connector's data segment (ulimit -d) instead of all its memory";
        match (resources.memory, resources.cpu_millis) {
            (Some(_), None) => (Self::DataSegment, Some(data.to_owned())),
            (Some(_), Some(_)) => (Self::DataSegment, Some(format!("{data}; cpu_limit does not hold"))),
            (None, _) => (Self::Nothing, Some(no_cpu.to_owned())),
        }
    }

    /// A command that runs `program` within the limits, to which its arguments are still to be added.
    pub(super) fn command(
        &self,
        program: &Path,
        resources: &Resources,
        origin: Origin,
    ) -> Result<(Command, Option<Cage>), Failure> {
        let cage = match self {
            Self::Nothing => return Ok((Command::new(program), None)),
            Self::DataSegment => {
                let mut command = Command::new("sh");
                let kib = resources.memory.unwrap_or(u64::MAX) / 1024;
                command.args(["-c", LIMIT, "sh", &kib.to_string()]).arg(program);
                return Ok((command, None));
            }
            Self::Unified(parent) => Cage::unified(parent, resources),
            Self::Split { memory, cpu } => Cage::split(memory.as_deref(), cpu.as_deref(), resources),
        };
        let cage = cage.map_err(|e| {
            Failure::config(origin, "the control group for resources cannot be made; leave resources out, or run the connector as an image")
                .because(e.to_string())
        })?;
        let mut command = Command::new("sh");
        command.args(["-c", ENTER, "sh"]);
        command.args(cage.folders.iter().map(|folder| folder.join("cgroup.procs")));
        command.arg("--").arg(program);
        Ok((command, Some(cage)))
    }
}

/// The parent of ferry's own group: a group that holds processes cannot have groups with limits below it.
fn unified(mounted: &Path, own: &str, resources: &Resources) -> Option<Fence> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let parent = mounted.join(path.rsplit_once('/').map_or("", |(parent, _)| parent));
    let controllers = fs::read_to_string(parent.join("cgroup.subtree_control")).ok()?;
    let has = |name: &str| controllers.split_whitespace().any(|c| c == name);
    let enough =
        (resources.memory.is_none() || has("memory")) && (resources.cpu_millis.is_none() || has("cpu"));
    (enough && can_make_groups(&parent)).then_some(Fence::Unified(parent))
}

fn split(mounted: &Path, own: &str, resources: &Resources) -> Option<Fence> {
    let find = |controller: &str| {
        let path = own.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(":/")?;
            controllers.split(',').any(|c| c == controller).then_some(path)
        })?;
        let folder = mounted.join(controller).join(path);
        can_make_groups(&folder).then_some(folder)
    };
    let memory = resources.memory.and_then(|_| find("memory"));
    let cpu = resources.cpu_millis.and_then(|_| find("cpu"));
    let enough =
        resources.memory.is_some() == memory.is_some() && resources.cpu_millis.is_some() == cpu.is_some();
    enough.then_some(Fence::Split { memory, cpu })
}

fn can_make_groups(parent: &Path) -> bool {
    let trial = parent.join(fresh_name());
    fs::create_dir(&trial).is_ok_and(|()| fs::remove_dir(&trial).is_ok())
}

fn fresh_name() -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    format!("ferry-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed))
}

/// Groups of one process. They go when this is dropped, after the process has.
#[derive(Debug)]
pub struct Cage {
    folders: Vec<PathBuf>,
}

impl Cage {
    fn unified(parent: &Path, resources: &Resources) -> std::io::Result<Self> {
        let mut cage = Self { folders: Vec::new() };
        let folder = cage.make(parent)?;
        if let Some(bytes) = resources.memory {
            fs::write(folder.join("memory.max"), bytes.to_string())?;
            // Without swap, or the limit would only make it slow. Not every kernel accounts for swap.
            let _ = fs::write(folder.join("memory.swap.max"), "0");
        }
        if let Some(millis) = resources.cpu_millis {
            fs::write(folder.join("cpu.max"), format!("{} 100000", millis * 100))?;
        }
        Ok(cage)
    }

    fn split(memory: Option<&Path>, cpu: Option<&Path>, resources: &Resources) -> std::io::Result<Self> {
        let mut cage = Self { folders: Vec::new() };
        if let (Some(parent), Some(bytes)) = (memory, resources.memory) {
            let folder = cage.make(parent)?;
            fs::write(folder.join("memory.limit_in_bytes"), bytes.to_string())?;
            let _ = fs::write(folder.join("memory.memsw.limit_in_bytes"), bytes.to_string());
        }
        if let (Some(parent), Some(millis)) = (cpu, resources.cpu_millis) {
            let folder = cage.make(parent)?;
            fs::write(folder.join("cpu.cfs_period_us"), "100000")?;
            fs::write(folder.join("cpu.cfs_quota_us"), (millis * 100).to_string())?;
        }
        Ok(cage)
    }

    fn make(&mut self, parent: &Path) -> std::io::Result<PathBuf> {
        sweep(parent);
        let folder = parent.join(fresh_name());
        fs::create_dir(&folder)?;
        self.folders.push(folder.clone());
        Ok(folder)
    }

    /// Whether the kernel killed for want of memory in here.
    #[must_use]
    pub fn ran_out_of_memory(&self) -> bool {
        let killed = |path: PathBuf| {
            let text = fs::read_to_string(path).unwrap_or_default();
            text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|n| n.trim() != "0"))
        };
        self.folders.iter().any(|f| killed(f.join("memory.events")) || killed(f.join("memory.oom_control")))
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        for folder in &self.folders {
            // The last process may have ended a moment ago only.
            for _ in 0..50 {
                match fs::remove_dir(folder) {
                    Err(e) if e.kind() == std::io::ErrorKind::ResourceBusy => {
                        std::thread::sleep(std::time::Duration::from_millis(2));
                    }
                    _ => break,
                }
            }
        }
    }
}

/// Removes groups that a killed ferry left. One that still has processes stays.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name.strip_prefix("ferry-").and_then(|rest| rest.split('-').next());
        if maker.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cage, Fence};
    use crate::error::Origin;
    use crate::resources::Resources;
    use std::fs;
    use std::path::Path;

    const BOTH: Resources = Resources { cpu_millis: Some(1500), memory: Some(64 << 20) };

    #[test]
    fn the_group_is_made_beside_ferrys_own_where_its_controllers_are_given_on() {
        let mounted = tempfile::tempdir().unwrap();
        let slice = mounted.path().join("app.slice");
        fs::create_dir_all(slice.join("ferry.scope")).unwrap();
        let own = "0::/app.slice/ferry.scope\n";
        fs::write(slice.join("cgroup.subtree_control"), "memory pids\n").unwrap();
        let choose = |resources: &Resources| Fence::below(mounted.path(), own, resources);
        assert_eq!(choose(&BOTH).0, Fence::DataSegment, "there is no cpu controller");
        let memory = Resources { cpu_millis: None, ..BOTH };
        assert_eq!(choose(&memory), (Fence::Unified(slice.clone()), None));
        fs::write(slice.join("cgroup.subtree_control"), "cpu memory pids\n").unwrap();
        assert_eq!(choose(&BOTH), (Fence::Unified(slice.clone()), None));

        let cage = Cage::unified(&slice, &BOTH).unwrap();
        let read = |name: &str| fs::read_to_string(cage.folders[0].join(name)).unwrap();
        assert_eq!([read("memory.max"), read("cpu.max")], ["67108864", "150000 100000"]);
        assert!(!cage.ran_out_of_memory());
        fs::write(cage.folders[0].join("memory.events"), "max 5\noom 1\noom_kill 1\n").unwrap();
        assert!(cage.ran_out_of_memory());
    }

    #[test]
    fn older_groups_are_made_below_ferrys_own() {
        let mounted = tempfile::tempdir().unwrap();
        for folder in ["memory/a", "cpu/b"] {
            fs::create_dir_all(mounted.path().join(folder)).unwrap();
        }
        let own = "4:memory:/a\n1:cpu,cpuacct:/b\n0::/\n";
        let (fence, said) = Fence::below(mounted.path(), own, &BOTH);
        let (memory, cpu) = (mounted.path().join("memory/a"), mounted.path().join("cpu/b"));
        assert_eq!(
            (&fence, said),
            (&Fence::Split { memory: Some(memory.clone()), cpu: Some(cpu.clone()) }, None)
        );
        let cage = Cage::split(Some(&memory), Some(&cpu), &BOTH).unwrap();
        let read = |at: usize, name: &str| fs::read_to_string(cage.folders[at].join(name)).unwrap();
        assert_eq!([read(0, "memory.limit_in_bytes"), read(1, "cpu.cfs_quota_us")], ["67108864", "150000"]);
    }

    #[test]
    fn where_no_group_may_be_made_it_is_said_what_holds_and_what_does_not() {
        let nowhere = Path::new("/nonexistent");
        let choose = |resources: &Resources| Fence::below(nowhere, "0::/x\n", resources);
        assert_eq!(choose(&Resources::default()), (Fence::Nothing, None));
        let (fence, said) = choose(&BOTH);
        assert_eq!(fence, Fence::DataSegment);
        assert!(said.is_some_and(|s| s.contains("ulimit -d") && s.contains("cpu_limit does not hold")));
        let (fence, said) = choose(&Resources { memory: None, ..BOTH });
        assert!(fence == Fence::Nothing && said.is_some_and(|s| s.contains("cpu_limit does not hold")));
    }

    #[test]
    fn a_process_with_a_limited_data_segment_knows_it() {
        let (mut command, cage) = Fence::DataSegment.command(Path::new("sh"), &BOTH, Origin::Source).unwrap();
        let told = command.args(["-c", "ulimit -d"]).output().unwrap();
        assert!(cage.is_none());
        assert_eq!(String::from_utf8_lossy(&told.stdout).trim(), "65536");
    }
}
