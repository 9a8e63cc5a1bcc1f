//! Tar archives whose bytes depend on their content alone: sorted, at time zero, with the
//! owners that they are told. Enough of the format for images and releases, no more.

use std::collections::BTreeMap;

use crate::Result;

const BLOCK: usize = 512;
/// Root, and the user that connectors run as.
pub(crate) const ROOT: u32 = 0;
pub(crate) const USER: u32 = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Folder,
    File(Vec<u8>),
    Link(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    kind: Kind,
    mode: u32,
    owner: u32,
}

/// Files by their path, which has no slash in front.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree(BTreeMap<String, Entry>);

impl Tree {
    /// A folder of a given owner. Others on the way to a file are made as they are needed.
    pub(crate) fn folder(&mut self, path: &str, owner: u32, mode: u32) {
        self.put(path, Entry { kind: Kind::Folder, mode, owner });
    }

    /// A file that belongs to root.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) {
        self.put(path, Entry { kind: Kind::File(content.into()), mode, owner: ROOT });
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: impl Into<String>) {
        self.put(path, Entry { kind: Kind::Link(target.into()), mode: 0o777, owner: ROOT });
    }

    fn put(&mut self, path: &str, entry: Entry) {
        let path = path.trim_matches('/');
        for (at, _) in path.match_indices('/') {
            let above = Entry { kind: Kind::Folder, mode: 0o755, owner: ROOT };
            self.0.entry(path[..at].to_owned()).or_insert(above);
        }
        self.0.insert(path.to_owned(), entry);
    }

    /// The bytes of all files.
    pub(crate) fn size(&self) -> usize {
        let size = |entry: &Entry| if let Kind::File(content) = &entry.kind { content.len() } else { 0 };
        self.0.values().map(size).sum()
    }

    /// The archive.
    pub(crate) fn to_tar(&self) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(self.size() + self.0.len() * 2 * BLOCK + 2 * BLOCK);
        for (path, entry) in &self.0 {
            out.extend_from_slice(&header(path, entry)?);
            if let Kind::File(content) = &entry.kind {
                out.extend_from_slice(content);
                out.resize(out.len().next_multiple_of(BLOCK), 0);
            }
        }
        out.resize(out.len() + 2 * BLOCK, 0);
        Ok(out)
    }
}

fn header(path: &str, entry: &Entry) -> Result<[u8; BLOCK]> {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    let (flag, size, target) = match &entry.kind {
        Kind::Folder => (b'5', 0, ""),
        Kind::File(content) => (b'0', content.len(), ""),
        Kind::Link(target) => (b'2', 0, target.as_str()),
    };
    let full = if flag == b'5' { format!("{path}/") } else { path.to_owned() };
    let (before, name) = halves(&full).ok_or_else(|| format!("{path}: too long a path for an archive"))?;
    if target.len() > 100 {
        return Err(format!("{path}: leads to too long a path for an archive"));
    }
    let octal = |width: usize, number: u64| format!("{number:0width$o}").into_bytes();
    put(0, name.as_bytes());
    put(100, &octal(7, entry.mode.into()));
    put(108, &octal(7, entry.owner.into()));
    put(116, &octal(7, entry.owner.into()));
    put(124, &octal(11, size as u64));
    put(136, &octal(11, 0));
    put(148, b"        ");
    put(156, &[flag]);
    put(157, target.as_bytes());
    put(257, b"ustar\x0000");
    put(345, before.as_bytes());
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}

/// A path as the format keeps it: up to 155 bytes before a slash, up to 100 after it.
fn halves(path: &str) -> Option<(&str, &str)> {
    if path.len() <= 100 {
        return Some(("", path));
    }
    let fits = |at: &usize| *at <= 155 && (1..=100).contains(&(path.len() - at - 1));
    let at = path.match_indices('/').map(|(at, _)| at).find(fits)?;
    Some((&path[..at], &path[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::{Tree, USER, halves};
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn the_systems_tar_reads_what_is_written_whatever_the_order_of_writing() {
        let long = format!("{}/{}", "d".repeat(90), "f".repeat(80));
        let mut one = Tree::default();
        one.file("bin/x", 0o755, "hello");
        one.link("bin/y", "x");
        one.folder("home", USER, 0o700);
        one.file(&long, 0o644, vec![7; 1000]);
        let mut other = Tree::default();
        other.file(&long, 0o644, vec![7; 1000]);
        other.folder("home", USER, 0o700);
        other.link("bin/y", "x");
        other.file("bin/x", 0o755, "hello");
        let archive = one.to_tar().unwrap();
        assert_eq!(archive, other.to_tar().unwrap());
        let mut tar = Command::new("tar")
            .args(["--numeric-owner", "-tvf", "-"])
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(&archive).unwrap();
        let listed = tar.wait_with_output().unwrap();
        assert!(listed.status.success());
        let listed = String::from_utf8(listed.stdout).unwrap();
        let lines: Vec<Vec<&str>> = listed.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["-rwxr-xr-x", "0/0", "5", "1970-01-01", "00:00", "bin/x"]);
        assert_eq!(lines[2][5..], ["bin/y", "->", "x"]);
        assert_eq!((lines[4][2], lines[4][5]), ("1000", long.as_str()));
        assert_eq!(lines[5], ["drwx------", "1000/1000", "0", "1970-01-01", "00:00", "home/"]);
    }

    #[test]
    fn a_path_is_split_where_both_parts_fit_or_refused() {
        assert_eq!(halves("a/b"), Some(("", "a/b")));
        assert_eq!(halves(&"x".repeat(101)), None);
        assert!(Tree::default().to_tar().is_ok_and(|empty| empty.len() == 1024));
    }
}
