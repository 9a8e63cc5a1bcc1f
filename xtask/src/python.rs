//! The clients and servers written in Python that tests use, in an environment of their own
//! under `target/`.

use std::path::PathBuf;

use crate::Result;
use crate::servers::apt;
use crate::shell::{self, command, root, run, target};

const REQUIREMENTS: &str = "integration_tests/python/requirements.txt";

/// Runs `integration_tests/python` with pytest.
pub(crate) fn tests() -> Result {
    let python = environment()?;
    println!("› pytest integration_tests/python");
    run(command(python)
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "integration_tests/python"])
        // The built binaries, and no word to anybody outside this machine.
        .env("FERRYBYTE_BIN", target().join("debug"))
        .env("FERRYBYTE_ROOT", root())
        .env("AIRBYTE_OFFLINE_MODE", "1")
        .env("DO_NOT_TRACK", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1"))
}

/// A Python with `requirements.txt` installed; made anew when that file changes.
pub(crate) fn environment() -> Result<PathBuf> {
    let home = target().join("python");
    let python = home.join("bin/python");
    let stamp = home.join("requirements.installed");
    let wanted = std::fs::read_to_string(root().join(REQUIREMENTS))
        .map_err(|e| format!("cannot read {REQUIREMENTS}: {e}"))?;
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(python);
    }
    println!("› installing {REQUIREMENTS} under {}", home.display());
    let base = base_python()?;
    let make = || run(command(base).args(["-m", "venv"]).arg(&home));
    if make().is_err() {
        // Debian ships Python without venv.
        apt(&["python3-venv"])?;
        make()?;
    }
    run(command(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(REQUIREMENTS))?;
    std::fs::write(&stamp, wanted).map_err(|e| format!("cannot write {}: {e}", stamp.display()))?;
    Ok(python)
}

/// PyAirbyte needs Python 3.10 to 3.12.
fn base_python() -> Result<&'static str> {
    const CHECK: &str = "import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))";
    let fits = |name: &str| {
        shell::have(name) && command(name).args(["-c", CHECK]).status().is_ok_and(|s| s.success())
    };
    let names = ["python3", "python3.12", "python3.11", "python3.10"];
    if let Some(name) = names.into_iter().find(|name| fits(name)) {
        return Ok(name);
    }
    if shell::have("apt-get") {
        apt(&["python3", "python3-venv"])?;
    }
    names
        .into_iter()
        .find(|name| fits(name))
        .ok_or_else(|| "the client tests need Python 3.10, 3.11 or 3.12; install one".into())
}
