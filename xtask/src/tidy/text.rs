//! What may not stand in any file, and how long a file may be.

use std::path::Path;

use crate::Result;
use crate::shell::{command, output, root};

/// Longer files need a reason here.
const MOST_LINES: usize = 600;
const LONG_FILES: &[(&str, &str)] =
    &[("protocol/src/json.rs", "one scanner: its parts share their character classes and their tests")];

/// Not ours to judge: written by tools, or data.
const SKIPPED: &[&str] = &["Cargo.lock", "fuzz/Cargo.lock", "fuzz/corpus/"];

/// A word that may not stand in the tree. Written in two halves, so that this file may.
struct Word {
    halves: (&'static str, &'static str),
    only_in: Option<&'static str>,
    instead: &'static str,
}

const WORDS: &[Word] = &[
    Word { halves: ("todo", "!("), only_in: Some("rs"), instead: "finish it or leave it out" },
    Word { halves: ("unimplemented", "!("), only_in: Some("rs"), instead: "finish it or leave it out" },
    Word { halves: ("dbg", "!("), only_in: Some("rs"), instead: "use tracing" },
    Word { halves: ("#[igno", "re"), only_in: Some("rs"), instead: "a test that does not run is no test" },
    Word { halves: ("FIX", "ME"), only_in: None, instead: "mend it or write an issue" },
    Word { halves: (" /wor", "k/"), only_in: None, instead: "no paths of one machine" },
    Word { halves: ("\"/wor", "k/"), only_in: None, instead: "no paths of one machine" },
    Word { halves: ("/root/.", "cargo"), only_in: None, instead: "no paths of one machine" },
    Word {
        halves: ("index.crates", ".io"),
        only_in: None,
        instead: "name the package, not the registry's host",
    },
    Word {
        halves: ("static.crates", ".io"),
        only_in: None,
        instead: "name the package, not the registry's host",
    },
    Word { halves: ("pypi", ".org"), only_in: None, instead: "name the package, not the registry's host" },
    Word {
        halves: ("pythonhosted", ".org"),
        only_in: None,
        instead: "name the package, not the registry's host",
    },
    Word {
        halves: ("registry.npmjs", ".org"),
        only_in: None,
        instead: "name the package, not the registry's host",
    },
    Word {
        halves: ("deb.debian", ".org"),
        only_in: None,
        instead: "name the package, not the registry's host",
    },
];

pub(crate) fn check(faults: &mut Vec<String>) -> Result {
    let listed =
        output(command("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
    for name in listed.split('\0').filter(|n| !n.is_empty()) {
        if SKIPPED.iter().any(|s| name.starts_with(s)) {
            continue;
        }
        // Data that is not text is nobody's prose; a file removed but still listed is not there.
        let Ok(text) = std::fs::read_to_string(root().join(name)) else { continue };
        judge(name, &text, faults);
    }
    Ok(())
}

fn judge(name: &str, text: &str, faults: &mut Vec<String>) {
    let kind = Path::new(name).extension().and_then(|e| e.to_str());
    for (index, line) in text.lines().enumerate() {
        let at = format!("{name}:{}", index + 1);
        for word in WORDS {
            let whole = format!("{}{}", word.halves.0, word.halves.1);
            if word.only_in.is_none_or(|k| kind == Some(k)) && line.contains(&whole) {
                faults.push(format!("{at}: {:?}: {}", whole.trim(), word.instead));
            }
        }
        if kind == Some("rs") && prints(line) && !may_print(name, text) {
            faults.push(format!("{at}: prints: only the kit's emitter writes to stdout; use tracing"));
        }
    }
    let lines = text.lines().count();
    if kind == Some("rs") && lines > MOST_LINES && !LONG_FILES.iter().any(|(path, _)| *path == name) {
        faults.push(format!("{name}: {lines} lines; split it, or give a reason in xtask/src/tidy/text.rs"));
    }
    if kind == Some("rs") && !text.trim_start().starts_with("//!") && is_module(name) {
        faults.push(format!("{name}: begin with `//!`: what lives here, what does not"));
    }
}

fn prints(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    ["println!", "eprintln!", " print!", " eprint!"].iter().any(|p| code.contains(p))
}

/// Tools for people, and what says so itself with a reason.
fn may_print(name: &str, text: &str) -> bool {
    name.starts_with("xtask/")
        || name.starts_with("benches/")
        || name.contains("/tests/")
        || name.contains("/benches/")
        || text.contains("clippy::print_stdout")
        || text.contains("clippy::print_stderr")
}

fn is_module(name: &str) -> bool {
    // A `tests.rs` beside its module is explained by the module.
    name.contains("/src/") && !name.ends_with("/main.rs") && !name.ends_with("/tests.rs")
}

#[cfg(test)]
mod tests {
    use super::judge;

    fn faults(name: &str, text: &str) -> usize {
        let mut faults = Vec::new();
        judge(name, text, &mut faults);
        faults.len()
    }

    #[test]
    fn printing_is_for_tools_only() {
        let text = "//! x\nfn f() { println!(\"x\") }\n";
        assert_eq!(faults("connectors/source-a/src/read.rs", text), 1);
        assert_eq!(faults("xtask/src/read.rs", text), 0);
        assert_eq!(faults("connectors/source-a/src/read.rs", "//! x\n// no println! here\n"), 0);
    }

    #[test]
    fn long_files_and_unfinished_code_are_found() {
        assert_eq!(faults("a/src/b.rs", &"//! x\n".repeat(601)), 1);
        assert_eq!(faults("a/src/b.rs", &format!("//! x\n{}{}\n", "todo", "!()")), 1);
        assert_eq!(faults("README.md", &format!("see {}{}data\n", "/wor", "k/")), 1);
    }

    #[test]
    fn a_module_says_what_lives_in_it() {
        assert_eq!(faults("a/src/b.rs", "use std::fs;\n"), 1);
    }
}
