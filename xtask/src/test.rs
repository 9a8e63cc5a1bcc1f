//! `cargo xtask test`: installs what the tests need, then runs all of them.

use crate::shell::{self, cargo};
use crate::{Result, python, servers, tidy};

/// Everything: tidy, documentation examples, the clients written in Python, and last, so
/// that its summary is the last thing printed, the Rust tests.
pub(crate) fn everything() -> Result {
    servers::install()?;
    tidy::tidy()?;
    // Tests that cross crates start the binaries of others; cargo builds only their own.
    cargo(&["build", "--workspace", "--bins"])?;
    cargo(&["test", "--workspace", "--doc", "--quiet"])?;
    python::tests()?;
    rust(&[])
}

/// The Rust tests, by cargo-nextest where it can be had.
pub(crate) fn rust(filter: &[&str]) -> Result {
    if have_nextest() {
        let profile = if std::env::var_os("CI").is_some() { "ci" } else { "default" };
        let mut args = vec!["nextest", "run", "--workspace", "--profile", profile];
        args.extend(filter);
        cargo(&args)
    } else {
        let mut args = vec!["test", "--workspace", "--all-targets", "--no-fail-fast", "--"];
        args.extend(filter);
        cargo(&args)
    }
}

fn have_nextest() -> bool {
    if shell::have("cargo-nextest") {
        return true;
    }
    println!("cargo-nextest is not installed; installing it once.");
    let installed = cargo(&["install", "cargo-nextest", "--locked"]).is_ok();
    if !installed {
        println!("It cannot be installed here; plain `cargo test` does as well, only slower.");
    }
    installed
}
