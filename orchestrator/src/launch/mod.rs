//! How a connector is started: the same question put to an executable or to an image, within limits.
//!
//! What lives here: where a connector is to run ([`Placement`]), the command for one start ([`Launch`]), and what
//! has to be taken down after it. What does not: finding connectors, and what happens while they run.

mod cage;
pub mod container;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::error::{Failure, Origin};
use crate::resources::Resources;
pub use cage::{Cage, Fence};
pub use container::{Container, Image};

/// Where and within which limits a connector runs, as the sync file has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// `podman`, `docker` or a path; found by itself when absent.
    pub runtime: Option<String>,
    /// The container's network; the runtime's own choice when absent.
    pub network: Option<String>,
    /// Folders that the container sees.
    pub mounts: Vec<Mount>,
    /// How much it may use.
    pub resources: Resources,
    /// Marks the containers of one sync, so that a later run finds what a killed one left.
    pub label: Option<String>,
}

/// A folder or file of this machine inside a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Here.
    pub host: PathBuf,
    /// There.
    pub inside: String,
    /// It may not be written.
    pub read_only: bool,
}

/// What a connector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// An executable, and how its limits are kept.
    File(PathBuf, Fence),
    /// An image, known by its id.
    Image(Image),
}

/// One question to a connector, or one read or write.
#[derive(Debug)]
pub struct Call<'a> {
    /// `spec`, `check` …
    pub verb: &'a str,
    /// Options that name files.
    pub files: Vec<(&'a str, &'a Path)>,
    /// What it is told of the run; no secrets.
    pub environment: &'a [(&'static str, String)],
    /// Whether it is given something to read.
    pub stdin: bool,
}

/// A command that is ready to start, and what goes with it.
#[derive(Debug)]
pub struct Launch {
    /// The process to start.
    pub command: Command,
    /// The container that it is the client of.
    pub container: Option<Arc<Container>>,
    /// The group that keeps its limits.
    pub cage: Option<Cage>,
    /// The memory limit in force.
    pub memory: Option<u64>,
}

impl From<Command> for Launch {
    fn from(command: Command) -> Self {
        Self { command, container: None, cage: None, memory: None }
    }
}

impl Call<'_> {
    /// The command that puts this to a program.
    ///
    /// # Errors
    /// When a limit or a file cannot be prepared.
    pub fn launch(&self, program: &Program, placed: &Placement, origin: Origin) -> Result<Launch, Failure> {
        match program {
            Program::Image(image) => image.launch(self, placed, origin),
            Program::File(path, fence) => {
                let (mut command, cage) = fence.command(path, &placed.resources, origin)?;
                command.arg(self.verb);
                for (option, file) in &self.files {
                    command.arg(option).arg(file);
                }
                command.envs(self.environment.iter().map(|(name, value)| (name, value)));
                let memory = placed.resources.memory.filter(|_| *fence != Fence::Nothing);
                Ok(Launch { command, container: None, cage, memory })
            }
        }
    }
}
