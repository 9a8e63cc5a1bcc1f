//! What is in an image: a base made of this machine's packages (a shell, authorities, time zones), the
//! libraries that the binary asks for, and the binary. No network and no other image is needed.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::tar::{ROOT, Tree, USER};
use crate::Result;
use crate::shell::{command, have};

const BUSYBOX: &str = "/bin/busybox";
const AUTHORITIES: &str = "/usr/share/ca-certificates/mozilla";
const TIME_ZONES: &str = "/usr/share/zoneinfo";

/// What the platform's start script calls, and what people look around with.
const COMMANDS: [&str; 30] = [
    "basename", "cat", "chmod", "cp", "cut", "date", "dirname", "echo", "env", "expr", "false", "grep",
    "head", "id", "kill", "ls", "mkdir", "mkfifo", "mv", "printf", "rm", "sed", "sh", "sleep", "sort",
    "tail", "test", "touch", "true", "wc",
];

/// Where Airbyte's platform and its tests put files, and where its own images may write.
pub(super) const WRITABLE: [&str; 9] =
    ["airbyte", "config", "custom_cache", "dest", "local", "secrets", "source", "staging", "staging/files"];

/// The packages whose files are copied, for the terms they come under.
const PACKAGES: [&str; 5] = ["busybox-static", "ca-certificates", "libc6", "libgcc-s1", "tzdata"];

/// The layer that all images share.
pub(super) fn base() -> Result<Tree> {
    let mut tree = Tree::default();
    tree.file("bin/busybox", 0o755, busybox()?);
    COMMANDS.iter().for_each(|name| tree.link(&format!("bin/{name}"), "busybox"));
    tree.link("usr/bin", "../bin");
    WRITABLE.iter().for_each(|path| tree.folder(path, USER, 0o755));
    tree.folder("tmp", ROOT, 0o1777);
    tree.file("etc/passwd", 0o644, "root:x:0:0:root:/:/bin/sh\nairbyte:x:1000:1000::/airbyte:/bin/sh\n");
    tree.file("etc/group", 0o644, "root:x:0:\nairbyte:x:1000:\n");
    // Without it the C library would look for modules that are not here.
    tree.file("etc/nsswitch.conf", 0o644, "passwd: files\ngroup: files\nhosts: files dns\n");
    tree.file("etc/ssl/certs/ca-certificates.crt", 0o644, authorities()?);
    time_zones(&mut tree, Path::new(TIME_ZONES))?;
    for package in PACKAGES {
        let path = format!("usr/share/doc/{package}/copyright");
        // Another distribution keeps them elsewhere.
        if let Ok(terms) = std::fs::read(Path::new("/").join(&path)) {
            tree.file(&path, 0o644, terms);
        }
    }
    Ok(tree)
}

fn busybox() -> Result<Vec<u8>> {
    let missing = |why: &str| format!("{BUSYBOX} {why}; install the package busybox-static");
    if !libraries_of(Path::new(BUSYBOX)).map_err(|_| missing("is not there"))?.is_empty() {
        return Err(missing("needs libraries"));
    }
    std::fs::read(BUSYBOX).map_err(|e| missing(&format!("cannot be read ({e})")))
}

/// The package's own list, not the machine's, to which its owner may have added some.
fn authorities() -> Result<Vec<u8>> {
    let missing = |e| format!("cannot read {AUTHORITIES}: {e}; install the package ca-certificates");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(AUTHORITIES).map_err(missing)? {
        files.push(entry.map_err(missing)?.path());
    }
    files.sort();
    let mut bundle = Vec::new();
    for file in files {
        bundle.extend(std::fs::read(&file).map_err(missing)?);
        if !bundle.ends_with(b"\n") {
            bundle.push(b'\n');
        }
    }
    if bundle.is_empty() {
        return Err(format!("{AUTHORITIES} is empty; install the package ca-certificates"));
    }
    Ok(bundle)
}

fn time_zones(tree: &mut Tree, folder: &Path) -> Result {
    let missing = |e| format!("cannot read {}: {e}; install the package tzdata", folder.display());
    for entry in std::fs::read_dir(folder).map_err(missing)? {
        let entry = entry.map_err(missing)?;
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().map_err(missing)?;
        let at = path.strip_prefix("/").unwrap_or(&path).to_string_lossy().into_owned();
        if kind.is_symlink() {
            let target = std::fs::read_link(&path).map_err(missing)?;
            // The machine's own zone is none of the image's business.
            if !target.starts_with("/etc") {
                tree.link(&at, target.to_string_lossy());
            }
        } else if kind.is_dir() {
            // The same zones once more, with other ideas of leap seconds.
            if name != "posix" && name != "right" {
                time_zones(tree, &path)?;
            }
        } else {
            tree.file(&at, 0o644, std::fs::read(&path).map_err(missing)?);
        }
    }
    Ok(())
}

/// The libraries that binaries ask for, at the paths where they look for them.
pub(super) fn libraries(binaries: &[PathBuf]) -> Result<Tree> {
    let mut tree = Tree::default();
    for binary in binaries {
        for library in libraries_of(binary)? {
            let read =
                |path: &Path| std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()));
            tree.file(&library.to_string_lossy(), 0o755, read(&library)?);
            // Before 2.34 the C library found names with these; since then it does so by itself.
            if library.file_name().is_some_and(|name| name == "libc.so.6") {
                for module in ["libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"] {
                    let module = library.with_file_name(module);
                    if module.exists() {
                        tree.file(&module.to_string_lossy(), 0o644, read(&module)?);
                    }
                }
            }
        }
    }
    Ok(tree)
}

/// What `ldd` says; nothing for a binary that needs none.
fn libraries_of(binary: &Path) -> Result<Vec<PathBuf>> {
    let shown = binary.display();
    if !binary.exists() {
        return Err(format!("{shown} is not there"));
    }
    let told = command("ldd").arg(binary).stderr(Stdio::piped()).output();
    let told = told.map_err(|e| format!("cannot run ldd, which tells what {shown} needs: {e}"))?;
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&told.stderr);
    if text.contains("statically linked") || complaint.contains("not a dynamic executable") {
        return Ok(Vec::new());
    }
    if !told.status.success() {
        return Err(format!("ldd {shown} failed: {}", complaint.trim()));
    }
    parse(&text).map_err(|name| format!("{shown} needs {name}, which this machine does not have"))
}

/// The paths in the output of `ldd`, or the name of a library that is missing.
fn parse(text: &str) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for line in text.lines().map(str::trim) {
        let path = line.split_once(" => ").map_or(line, |(_, path)| path);
        if path.starts_with("not found") {
            return Err(line.split_whitespace().next().unwrap_or_default().to_owned());
        }
        // What the kernel itself provides has no path.
        if let Some(path) = path.split_whitespace().next().filter(|p| p.starts_with('/')) {
            paths.push(PathBuf::from(path));
        }
    }
    Ok(paths)
}

/// A binary without what only debuggers need.
pub(crate) fn stripped(binary: &Path) -> Result<Vec<u8>> {
    let read = |path: &Path| std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()));
    if !have("strip") {
        return read(binary);
    }
    let name = binary.file_name().unwrap_or_default().to_string_lossy();
    let copy = std::env::temp_dir().join(format!("ferrybyte-{}-{name}", std::process::id()));
    let done =
        crate::shell::run(command("strip").arg("-o").arg(&copy).arg(binary)).and_then(|()| read(&copy));
    let _ = std::fs::remove_file(&copy);
    done
}

/// The processor that a binary is made for, as OCI names it.
pub(super) fn architecture(binary: &[u8]) -> Result<&'static str> {
    match (binary.get(..4), binary.get(18..20)) {
        (Some(b"\x7fELF"), Some([0x3e, 0])) => Ok("amd64"),
        (Some(b"\x7fELF"), Some([0xb7, 0])) => Ok("arm64"),
        _ => Err("the binary is not one of Linux for x86-64 or ARM64".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{architecture, parse};
    use std::path::PathBuf;

    #[test]
    fn libraries_are_taken_from_where_the_loader_finds_them() {
        let text =
            "\tlinux-vdso.so.1 (0x7f)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x7f)\n\t/lib64/ld.so.2 (0x7f)\n";
        assert_eq!(parse(text), Ok(vec![PathBuf::from("/lib/x/libc.so.6"), "/lib64/ld.so.2".into()]));
        assert_eq!(parse("\tlibx.so.1 => not found\n"), Err("libx.so.1".to_owned()));
    }

    #[test]
    fn what_is_no_binary_is_refused() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let expected = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        assert_eq!(architecture(&own), Ok(expected));
        assert!(architecture(b"#!/bin/sh\n").is_err() && architecture(b"").is_err());
    }
}
