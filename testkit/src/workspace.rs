//! Where the other crates' binaries are, for tests that need more than their own, and what
//! `cargo xtask test` has installed.

use std::path::{Path, PathBuf};

/// The built binary of another crate of this workspace.
///
/// # Panics
/// When it is not built yet: cargo builds only a test's own crate.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let path = profile().join(name);
    assert!(
        path.exists(),
        "{} is not built; run `cargo build --workspace --bins` first, or `cargo xtask test`",
        path.display()
    );
    path
}

/// The folder for servers that no package manager installs, and for what starting them
/// leaves to be used again.
pub(crate) fn servers() -> PathBuf {
    profile().parent().expect("a profile's folder is inside the target folder").join("servers")
}

/// The environment of servers and clients written in Python.
///
/// # Panics
/// When this is not a test of this workspace.
#[must_use]
pub fn python() -> PathBuf {
    profile().parent().expect("a profile's folder is inside the target folder").join("python")
}

/// A test runs from `<target>/<profile>/deps`.
fn profile() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.parent().and_then(Path::parent).expect("a test runs inside the target folder").to_path_buf()
}
