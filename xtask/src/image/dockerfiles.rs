//! `Dockerfiles/` and `cargo xtask image` make images of the same kind; these tests keep it so. A build takes too long
//! for a test, so they read the instructions.

use std::collections::{BTreeMap, BTreeSet};

use super::archive::ACCOUNT;
use super::layers::WRITABLE;
use super::{FOR_STATES, home, settings};
use crate::metadata;
use crate::shell::root;

/// The instructions of a Dockerfile's last stage, with the values of its arguments put in.
struct Stage {
    base: String,
    instructions: Vec<(String, String)>,
}

impl Stage {
    fn last(file: &str, arguments: &[(&str, &str)]) -> Self {
        let text = std::fs::read_to_string(root().join("Dockerfiles").join(file)).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let mut values: BTreeMap<String, String> = BTreeMap::new();
        let mut stage = Self { base: String::new(), instructions: Vec::new() };
        for line in lines.join("\n").replace("\\\n", " ").lines().filter(|line| !line.is_empty()) {
            let (word, rest) = line.split_once(' ').unwrap();
            let mut rest = rest.trim().to_owned();
            for (name, value) in &values {
                rest = rest.replace(&format!("${{{name}}}"), value);
            }
            match word {
                "ARG" => {
                    let (name, default) = rest.split_once('=').unwrap_or((&rest, ""));
                    let given = arguments.iter().find(|(known, _)| *known == name);
                    let value = given.map_or(default.trim_matches('"'), |(_, value)| value);
                    values.insert(name.to_owned(), value.to_owned());
                }
                "FROM" => stage = Self { base: rest, instructions: Vec::new() },
                _ => stage.instructions.push((word.to_owned(), rest)),
            }
        }
        stage
    }

    fn all(&self, word: &str) -> Vec<&str> {
        self.instructions.iter().filter(|(known, _)| known == word).map(|(_, rest)| rest.as_str()).collect()
    }

    fn one(&self, word: &str) -> &str {
        let all = self.all(word);
        assert_eq!(all.len(), 1, "{word}: {all:?}");
        all[0]
    }

    /// The folders that `mkdir -p` makes.
    fn folders(&self) -> BTreeSet<String> {
        let made = self.one("RUN").split("mkdir -p ").nth(1).unwrap();
        made.split_whitespace().take_while(|word| *word != "&&").map(str::to_owned).collect()
    }

    /// `LABEL`'s pairs.
    fn labels(&self) -> BTreeMap<String, String> {
        let mut pairs = self.one("LABEL").split('"');
        let mut labels = BTreeMap::new();
        while let (Some(name), Some(value)) = (pairs.next(), pairs.next()) {
            labels.insert(name.trim().trim_end_matches('=').to_owned(), value.to_owned());
        }
        labels
    }
}

fn said_the_same(stage: &Stage, name: &str) {
    let ours = settings(name, None).unwrap();
    let labels: BTreeMap<String, String> =
        ours.labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    assert_eq!(stage.labels(), labels);
    assert_eq!(stage.one("USER"), ACCOUNT);
    assert_eq!(stage.one("WORKDIR"), ours.folder);
    let account = format!("airbyte:x:{ACCOUNT}::{}:/bin/sh", ours.folder);
    assert!(stage.one("RUN").contains(&account), "{account}");
    assert!(stage.all("COPY").contains(&format!("--from=build /out/ /{}/", home(name)).as_str()));
}

#[test]
fn a_connectors_dockerfile_says_what_its_written_image_says() {
    for name in metadata::connectors().unwrap() {
        let stage = Stage::last("connector.Dockerfile", &[("CONNECTOR", &name)]);
        said_the_same(&stage, &name);
        let ours = settings(&name, None).unwrap();
        let variables: Vec<String> = stage.all("ENV").iter().map(|pair| pair.replace('"', "")).collect();
        // The path is the base image's own.
        let wanted: Vec<&String> =
            ours.environment.iter().filter(|pair| !pair.starts_with("PATH=")).collect();
        assert_eq!(variables.iter().collect::<Vec<_>>(), wanted);
        // A link to what ours starts: the instruction takes no arguments.
        assert_eq!(stage.one("ENTRYPOINT"), "[\"/airbyte/connector\"]");
        let folders: BTreeSet<String> = WRITABLE.iter().map(|path| format!("/{path}")).collect();
        let mut made = stage.folders();
        // Made on the way.
        made.insert("/staging".to_owned());
        assert_eq!(made, folders);
    }
}

#[test]
fn the_dockerfile_of_ferry_says_what_its_written_image_says() {
    let stage = Stage::last("ferry.Dockerfile", &[]);
    said_the_same(&stage, "ferry");
    let ours = settings("ferry", None).unwrap();
    assert_eq!(stage.one("ENTRYPOINT"), format!("[\"{}\"]", ours.entrypoint));
    assert_eq!(stage.folders(), BTreeSet::from([format!("/{FOR_STATES}")]));
}

#[test]
fn both_dockerfiles_build_on_the_same_images_with_the_compiler_that_the_workspace_wants() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let wanted = manifest.split("rust-version = \"").nth(1).unwrap().split('"').next().unwrap();
    let minor = wanted.rsplit_once('.').unwrap().0;
    let mut bases = BTreeSet::new();
    for file in ["connector.Dockerfile", "ferry.Dockerfile"] {
        let text = std::fs::read_to_string(root().join("Dockerfiles").join(file)).unwrap();
        let builder = format!("ARG BUILDER=docker.io/library/rust:{minor}-bookworm\n");
        assert!(text.contains(&builder), "{file}: {builder}");
        bases.insert(Stage::last(file, &[("CONNECTOR", "source-faker")]).base);
    }
    assert_eq!(bases, BTreeSet::from(["docker.io/library/debian:bookworm-slim".to_owned()]));
}

#[test]
fn what_git_leaves_out_is_no_part_of_a_build_either() {
    let lines = |file: &str| -> Vec<String> {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    let left_out = lines(".dockerignore");
    for pattern in lines(".gitignore") {
        // There a name alone means every folder, here only the top one.
        let name = pattern.trim_matches('/').rsplit('/').next().unwrap().to_owned();
        let covered = [pattern.trim_matches('/').to_owned(), format!("**/{name}")];
        assert!(left_out.iter().any(|known| covered.contains(known)), "{pattern}");
    }
}
