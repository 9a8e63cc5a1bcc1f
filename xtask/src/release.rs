//! `cargo xtask release`: an archive per binary that runs on any Linux of its processor, with nothing to install.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};

use crate::Result;
use crate::image::tar::Tree;
use crate::image::{hex, stripped};
use crate::metadata;
use crate::shell::{cargo_command, command, output, root, run, target};

const HELP: &str = "\
cargo xtask release [OPTION …] [NAME …]

  --from FOLDER   archive the binaries there instead of building static ones
  --out FOLDER    target/releases when left out

Without a NAME ferry and all connectors.
";

const SHELLS: [(&str, &str); 3] = [("bash", "ferry.bash"), ("fish", "ferry.fish"), ("zsh", "_ferry")];

/// Builds and packs.
pub(crate) fn release(words: &[&str]) -> Result {
    let (mut from, mut out) = (None, None);
    let mut names: Vec<String> = Vec::new();
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value\n\n{HELP}"));
        match word {
            "--from" => from = Some(PathBuf::from(value()?)),
            "--out" => out = Some(PathBuf::from(value()?)),
            name if !name.starts_with('-') => names.push(name.to_owned()),
            other => return Err(format!("{other} is not known here\n\n{HELP}")),
        }
    }
    if names.is_empty() {
        names = metadata::connectors()?;
        names.insert(0, "ferry".to_owned());
    }
    let folder = match from {
        Some(folder) => folder,
        None => build(&names)?,
    };
    let out = out.unwrap_or_else(|| target().join("releases"));
    std::fs::create_dir_all(&out).map_err(|e| format!("cannot make {}: {e}", out.display()))?;
    let version = metadata::workspace_version()?;
    for name in &names {
        let stem = format!("{name}-{version}-{}-linux", std::env::consts::ARCH);
        let archive = zipped(&pack(name, &stem, &folder)?.to_tar()?)?;
        let write = |file: String, content: &[u8]| {
            let path = out.join(file);
            std::fs::write(&path, content).map_err(|e| format!("cannot write {}: {e}", path.display()))
        };
        let sum = hex(&archive);
        write(format!("{stem}.tar.gz.sha256"), format!("{sum}  {stem}.tar.gz\n").as_bytes())?;
        write(format!("{stem}.tar.gz"), &archive)?;
        println!("{stem}.tar.gz {:.1} MB {sum}", archive.len() as f64 / 1e6);
    }
    Ok(())
}

/// Binaries without a dynamic part. The target is named, or the flags would go to build scripts and macros too.
fn build(names: &[String]) -> Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut build = cargo_command();
    build.args(["build", "--locked", "--profile", "dist", "--target", &triple]);
    for name in names {
        build.args(["--package", if name == "ferry" { "orchestrator" } else { name }]);
    }
    run(build.env("RUSTFLAGS", "-C target-feature=+crt-static"))?;
    Ok(target().join(triple).join("dist"))
}

fn pack(name: &str, stem: &str, folder: &Path) -> Result<Tree> {
    let read =
        |path: PathBuf| std::fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()));
    let mut tree = Tree::default();
    let binary = folder.join(name);
    tree.file(&format!("{stem}/{name}"), 0o755, stripped(&binary)?);
    let home =
        if name == "ferry" { root().join("orchestrator") } else { root().join("connectors").join(name) };
    tree.file(&format!("{stem}/README.md"), 0o644, read(home.join("README.md"))?);
    for terms in ["LICENSE-APACHE", "LICENSE-MIT"] {
        tree.file(&format!("{stem}/{terms}"), 0o644, read(root().join(terms))?);
    }
    if name == "ferry" {
        for (shell, file) in SHELLS {
            let script = output(command(&binary).args(["completions", shell]))?;
            tree.file(&format!("{stem}/completions/{file}"), 0o644, script);
        }
        tree.file(&format!("{stem}/man/ferry.1"), 0o644, output(command(&binary).arg("man"))?);
        for verb in ["sync", "check", "discover", "spec", "new", "state", "history", "connectors"] {
            let page = output(command(&binary).args(["man", verb]))?;
            tree.file(&format!("{stem}/man/ferry-{verb}.1"), 0o644, page);
        }
    } else {
        let example = format!("secrets.example/{name}.json");
        tree.file(&format!("{stem}/config.example.json"), 0o644, read(root().join(example))?);
    }
    Ok(tree)
}

/// Compressed without a word on when and under which name.
fn zipped(archive: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    encoder.write_all(archive).and_then(|()| encoder.finish()).map_err(|e| format!("cannot compress: {e}"))
}
