//! `cargo xtask image NAME`: the container image of a connector, or of `ferry`, from binaries that
//! are built already. The same binaries give the same image, to the last byte.

mod archive;
#[cfg(test)]
mod dockerfiles;
mod layers;
mod publish;
pub(crate) mod tar;

use std::path::PathBuf;

use crate::Result;
use crate::metadata::{self, Metadata};
use crate::shell::{command, run, target};
use archive::Settings;
pub(crate) use archive::hex;
pub(crate) use layers::stripped;
pub(crate) use publish::publish;
use tar::{Tree, USER};

/// What an image may weigh above what all share, for each binary in it, and in all.
const MOST_ABOVE_BASE: usize = 30_000_000;
const MOST_IN_ALL: usize = 60_000_000;

/// The folder of `ferry`'s image that a volume is laid over.
const FOR_STATES: &str = "airbyte/.ferry";

pub(crate) const HELP: &str = "\
cargo xtask image NAME [OPTION …]

  --profile NAME   which build's binaries: release (default), dist, dev
  --binary FILE    this binary instead
  --with A,B       for ferry: connectors that go into its image
  --tag REF        repository:tag; as metadata.yaml has it when left out
  --archive FILE   write an OCI archive and load it nowhere
  --any-size       do not insist on 30 MB over the base and 60 MB in all
";

/// What `cargo xtask image` was asked.
#[derive(Debug, Default)]
pub(crate) struct Wish<'a> {
    name: &'a str,
    profile: Option<&'a str>,
    binary: Option<&'a str>,
    with: Vec<&'a str>,
    tag: Option<&'a str>,
    archive: Option<&'a str>,
    any_size: bool,
}

impl<'a> Wish<'a> {
    fn parse(words: &[&'a str]) -> Result<Self> {
        let mut wish = Self::default();
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value\n\n{HELP}"));
            match word {
                "--profile" => wish.profile = Some(value()?),
                "--binary" => wish.binary = Some(value()?),
                "--with" => wish.with = value()?.split(',').collect(),
                "--tag" => wish.tag = Some(value()?),
                "--archive" => wish.archive = Some(value()?),
                "--any-size" => wish.any_size = true,
                name if wish.name.is_empty() && !name.starts_with('-') => wish.name = name,
                other => return Err(format!("{other} is not known here\n\n{HELP}")),
            }
        }
        match wish.name {
            "" => Err(format!("which one?\n\n{HELP}")),
            "ferry" => Ok(wish),
            _ if wish.with.is_empty() => Ok(wish),
            name => Err(format!("{name} takes no connectors along; only ferry does")),
        }
    }

    fn binary_of(&self, name: &str) -> Result<PathBuf> {
        if let Some(binary) = self.binary.filter(|_| name == self.name) {
            return Ok(binary.into());
        }
        let profile = self.profile.unwrap_or("release");
        let folder = if profile == "dev" { "debug" } else { profile };
        let path = target().join(folder).join(name);
        if path.exists() {
            return Ok(path);
        }
        let package = if name == "ferry" { "orchestrator" } else { name };
        Err(format!(
            "{} is not built; run `cargo build --profile {profile} --package {package}` first",
            path.display()
        ))
    }
}

/// Builds an image, and loads it into podman or docker unless an archive was asked for.
pub(crate) fn image(words: &[&str]) -> Result {
    let wish = Wish::parse(words)?;
    let built = build(&wish)?;
    println!(
        "{}: {} {:.1} MB over the base, {:.1} MB in all",
        built.reference,
        built.image.id,
        built.above_base as f64 / 1e6,
        built.in_all as f64 / 1e6
    );
    if !wish.any_size && too_large(&built) {
        return Err(format!(
            "{} is too large: at most {} MB over the base and {} MB in all; is it an optimised build?",
            built.reference,
            MOST_ABOVE_BASE / 1_000_000,
            MOST_IN_ALL / 1_000_000
        ));
    }
    match wish.archive {
        Some(path) => {
            std::fs::write(path, &built.image.archive).map_err(|e| format!("cannot write {path}: {e}"))
        }
        None => load(&built),
    }
}

fn too_large(built: &Built) -> bool {
    built.above_base > MOST_ABOVE_BASE * built.binaries || built.in_all > MOST_IN_ALL
}

struct Built {
    reference: String,
    image: archive::Image,
    binaries: usize,
    above_base: usize,
    in_all: usize,
}

/// What is said of an image, whatever is in it.
fn settings(name: &str, tag: Option<&str>) -> Result<Settings> {
    let of_ferry = name == "ferry";
    let (repository, version) = if of_ferry {
        ("ferrybyte/ferry".to_owned(), metadata::workspace_version()?)
    } else {
        let Metadata { data } = metadata::load(name)?;
        (data.docker_repository, data.docker_image_tag)
    };
    let entrypoint = format!("/{}/{name}", home(name));
    let mut environment = vec!["PATH=/usr/local/bin:/bin".to_owned()];
    if !of_ferry {
        environment.push(format!("AIRBYTE_ENTRYPOINT={entrypoint}"));
    }
    Ok(Settings {
        reference: tag.map_or_else(|| format!("{repository}:{version}"), str::to_owned),
        entrypoint,
        folder: "/airbyte",
        environment,
        labels: vec![
            ("io.airbyte.name", repository),
            ("io.airbyte.version", version.clone()),
            ("org.opencontainers.image.licenses", "MIT OR Apache-2.0".to_owned()),
            ("org.opencontainers.image.title", name.to_owned()),
            ("org.opencontainers.image.version", version),
        ],
    })
}

/// Where the binaries of an image are.
fn home(name: &str) -> &'static str {
    if name == "ferry" { "usr/local/bin" } else { "airbyte" }
}

fn build(wish: &Wish<'_>) -> Result<Built> {
    let settings = settings(wish.name, wish.tag)?;
    let mut paths = vec![wish.binary_of(wish.name)?];
    for connector in &wish.with {
        paths.push(wish.binary_of(connector)?);
    }
    let names: Vec<&str> = std::iter::once(wish.name).chain(wish.with.iter().copied()).collect();
    let mut own = Tree::default();
    // An upper layer's word on a folder is the last one.
    own.folder("airbyte", USER, 0o755);
    if wish.name == "ferry" {
        // Where a volume for states goes; it takes its owner from here.
        own.folder(FOR_STATES, USER, 0o755);
    }
    let mut processor = "";
    for (name, path) in names.iter().zip(&paths) {
        let binary = layers::stripped(path)?;
        processor = layers::architecture(&binary).map_err(|e| format!("{}: {e}", path.display()))?;
        own.file(&format!("{}/{name}", home(wish.name)), 0o755, binary);
    }
    let (base, libraries) = (layers::base()?, layers::libraries(&paths)?);
    let (above_base, base_size) = (own.size() + libraries.size(), base.size());
    let mut packed = vec![("shell, authorities, time zones", base.to_tar()?)];
    if libraries.size() > 0 {
        packed.push(("the C library", libraries.to_tar()?));
    }
    packed.push((wish.name, own.to_tar()?));
    let image = archive::pack(&packed, processor, &settings)?;
    let in_all = above_base + base_size;
    Ok(Built { reference: settings.reference, image, binaries: paths.len(), above_base, in_all })
}

/// podman or docker, whichever is there.
pub(crate) fn runtime() -> Result<String> {
    if let Some(named) = std::env::var("FERRY_CONTAINER_RUNTIME").ok().filter(|name| !name.is_empty()) {
        return Ok(named);
    }
    // A docker without its daemon is of no use.
    ["podman", "docker"]
        .into_iter()
        .find(|name| command(name).arg("info").output().is_ok_and(|told| told.status.success()))
        .map(str::to_owned)
        .ok_or_else(|| "neither podman nor docker works here; install one, or use --archive FILE".to_owned())
}

fn load(built: &Built) -> Result {
    let runtime = runtime()?;
    let path = std::env::temp_dir().join(format!("ferrybyte-image-{}.tar", std::process::id()));
    std::fs::write(&path, &built.image.archive)
        .map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    let loaded = run(command(runtime).args(["load", "--quiet", "--input"]).arg(&path));
    let _ = std::fs::remove_file(&path);
    loaded
}

#[cfg(test)]
mod tests {
    use super::{Wish, build};
    use crate::image::archive::hex;

    #[test]
    fn options_are_read_in_any_order_and_unknown_ones_refused() {
        let wish = Wish::parse(&["--profile", "dev", "ferry", "--with", "source-a,source-b"]).unwrap();
        assert_eq!((wish.name, wish.profile, wish.with.len()), ("ferry", Some("dev"), 2));
        for bad in [&["--profile"][..], &["--no-such"], &[], &["source-a", "--with", "source-b"]] {
            assert!(Wish::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn two_builds_of_one_binary_are_the_same_image_and_another_binary_is_another() {
        let own = std::env::current_exe().unwrap();
        let of = |binary: &str| {
            let wish = Wish { name: "source-faker", binary: Some(binary), ..Wish::default() };
            build(&wish).unwrap().image
        };
        let (one, two) = (of(own.to_str().unwrap()), of(own.to_str().unwrap()));
        assert_eq!((&one.id, hex(&one.archive)), (&two.id, hex(&two.archive)));
        assert_ne!(one.id, of("/bin/sh").id);
    }
}
