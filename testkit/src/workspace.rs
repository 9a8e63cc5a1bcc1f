//! Where the other crates' binaries are, for tests that need more than their own.

use std::path::PathBuf;

/// The built binary of another crate of this workspace.
///
/// # Panics
/// When it is not built yet: cargo builds only a test's own crate.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    // A test runs from <target>/<profile>/deps.
    let test = std::env::current_exe().expect("a test has a path");
    let profile = test.parent().and_then(|deps| deps.parent()).expect("a test runs inside the target folder");
    let path = profile.join(name);
    assert!(
        path.exists(),
        "{} is not built; run `cargo build --workspace --bins` first, or `cargo xtask test`",
        path.display()
    );
    path
}
