//! `cargo xtask test`: installs what the tests need, then runs all of them.

use crate::shell::{self, cargo, command};
use crate::{Result, python, tidy};

/// Everything: tidy, documentation examples, the clients written in Python, and last, so
/// that its summary is the last thing printed, the Rust tests.
pub(crate) fn everything() -> Result {
    install_servers()?;
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

/// Debian packages that tests start as servers on the loopback address: (program, package).
const SERVERS: [(&str, &str); 2] = [("/usr/sbin/nginx", "nginx-light"), ("/usr/bin/openssl", "openssl")];

fn install_servers() -> Result {
    let missing: Vec<&str> = SERVERS
        .iter()
        .filter(|(program, _)| !std::path::Path::new(program).exists())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !shell::have("apt-get") {
        println!("Not a Debian system: install {} by hand for the tests that need it.", missing.join(", "));
        return Ok(());
    }
    apt(&missing)
}

/// Installs Debian packages, with sudo when we are not root.
pub(crate) fn apt(packages: &[&str]) -> Result {
    println!("› apt-get install {}", packages.join(" "));
    let root = shell::output(command("id").arg("-u"))?.trim() == "0";
    let apt = || {
        let mut apt = command(if root { "apt-get" } else { "sudo" });
        if !root {
            apt.args(["-n", "apt-get"]);
        }
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    shell::run(apt().args(["update", "-qq"]))?;
    shell::run(apt().args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages))
        .map_err(|e| format!("{e}; install {} by hand and try again", packages.join(" ")))
}
