//! `cargo xtask new-connector`: lays out a connector that compiles and passes the
//! conformance suite, to be filled with life.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::Result;
use crate::metadata;
use crate::shell::{cargo, root};

struct Template {
    path: &'static str,
    source: &'static str,
    destination: &'static str,
}

macro_rules! template {
    ($path:literal, $source:literal, $destination:literal) => {
        Template {
            path: $path,
            source: include_str!(concat!("../templates/", $source)),
            destination: include_str!(concat!("../templates/", $destination)),
        }
    };
}

const FILES: &[Template] = &[
    template!("Cargo.toml", "Cargo.toml.in", "Cargo.toml.in"),
    template!("metadata.yaml", "metadata.yaml.in", "metadata.yaml.in"),
    template!("README.md", "README.md.in", "README.md.in"),
    template!("src/main.rs", "source/main.rs.in", "destination/main.rs.in"),
    template!("src/config.rs", "source/config.rs.in", "destination/config.rs.in"),
    template!("tests/conformance.rs", "source/conformance.rs.in", "destination/conformance.rs.in"),
];
const SOURCE: &str = include_str!("../templates/source/source.rs.in");
const DESTINATION: &str = include_str!("../templates/destination/destination.rs.in");

pub(crate) fn new_connector(name: &str) -> Result {
    let is_source = is_source(name)?;
    let id = fresh_id()?;
    let version = metadata::workspace_version()?;
    let home = root().join("connectors").join(name);
    if home.exists() {
        return Err(format!("connectors/{name} exists already"));
    }
    let write = |path: &Path, text: &str| -> Result {
        let shown = path.display();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
        }
        std::fs::write(path, fill(text, name).replace("{{uuid}}", &id).replace("{{version}}", &version))
            .map_err(|e| format!("cannot write {shown}: {e}"))
    };
    for file in FILES {
        write(&home.join(file.path), if is_source { file.source } else { file.destination })?;
    }
    let (path, text) =
        if is_source { ("src/source.rs", SOURCE) } else { ("src/destination.rs", DESTINATION) };
    write(&home.join(path), text)?;
    write(&root().join(format!("secrets.example/{name}.json")), "{\"path\": \"example\"}\n")?;

    let manifest = root().join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).map_err(|e| format!("cannot read Cargo.toml: {e}"))?;
    std::fs::write(&manifest, with_member(&text, name)?)
        .map_err(|e| format!("cannot write Cargo.toml: {e}"))?;
    cargo(&["fmt", "--package", name])?;
    cargo(&["check", "--package", name, "--all-targets"])?;
    println!(
        "connectors/{name} compiles. Next: its row in README.md, then CONTRIBUTING.md, \"A connector is done when\"."
    );
    Ok(())
}

fn is_source(name: &str) -> Result<bool> {
    let plain = |rest: &str| {
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    match (name.strip_prefix("source-"), name.strip_prefix("destination-")) {
        (Some(rest), _) if plain(rest) => Ok(true),
        (_, Some(rest)) if plain(rest) => Ok(false),
        _ => Err(format!("{name}: a connector is called source-x or destination-x, in lower case")),
    }
}

fn fill(text: &str, name: &str) -> String {
    let words = |join: &str| {
        let capital = |word: &str| {
            let mut letters = word.chars();
            letters.next().map(|c| c.to_uppercase().chain(letters).collect::<String>()).unwrap_or_default()
        };
        name.split('-').map(capital).collect::<Vec<_>>().join(join)
    };
    text.replace("{{name}}", name)
        .replace("{{Type}}", &words(""))
        .replace("{{Title}}", &words(" "))
        .replace("{{kind}}", name.split('-').next().unwrap_or_default())
}

/// A random UUID: the id by which platforms know the connector for ever.
fn fresh_id() -> Result<String> {
    let mut random = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .map_err(|e| format!("cannot read /dev/urandom: {e}"))?;
    // Version 4, variant 1.
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

/// The workspace's manifest with one member more.
fn with_member(manifest: &str, name: &str) -> Result<String> {
    if manifest.contains("\"connectors/*\"") {
        return Ok(manifest.to_owned());
    }
    let start = manifest.find("members = [").ok_or("Cargo.toml has no list of members")?;
    let end = start + manifest[start..].find(']').ok_or("the list of members in Cargo.toml does not end")?;
    let before = manifest[..end].trim_end().trim_end_matches(',');
    Ok(format!("{before}, \"connectors/{name}\"{}", &manifest[end..]))
}

#[cfg(test)]
mod tests {
    use super::{DESTINATION, FILES, SOURCE, fill, fresh_id, is_source, with_member};

    #[test]
    fn no_placeholder_is_left() {
        let texts = FILES.iter().flat_map(|f| [f.source, f.destination]).chain([SOURCE, DESTINATION]);
        for text in texts {
            let filled = fill(text, "source-two-words");
            let left = filled.replace("{{uuid}}", "").replace("{{version}}", "");
            assert!(!left.contains("{{"), "{filled}");
        }
        assert_eq!(fill("{{Type}}", "source-two-words"), "SourceTwoWords");
    }

    #[test]
    fn an_id_is_a_new_uuid_each_time() {
        let (one, other) = (fresh_id().unwrap(), fresh_id().unwrap());
        assert!(one != other && one.len() == 36 && one.as_bytes()[14] == b'4', "{one} {other}");
    }

    #[test]
    fn names_that_are_no_connector_are_refused() {
        assert_eq!(is_source("source-x"), Ok(true));
        assert_eq!(is_source("destination-x2"), Ok(false));
        for name in ["x", "source-", "source-../x", "Source-X"] {
            assert!(is_source(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_member_is_added_once_to_the_list() {
        let text = "[workspace]\nmembers = [\"a\", \"b\"]\nexclude = []\n";
        assert_eq!(
            with_member(text, "source-x").unwrap(),
            "[workspace]\nmembers = [\"a\", \"b\", \"connectors/source-x\"]\nexclude = []\n"
        );
    }
}
