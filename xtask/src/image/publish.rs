//! `cargo xtask publish`: images into a registry, signed when there is a key.

use super::{Wish, build, load, runtime, too_large};
use crate::Result;
use crate::metadata;
use crate::shell::{command, have, output, run};

const HELP: &str = "\
cargo xtask publish --registry HOST[:PORT] [OPTION …] [NAME …]

  --profile NAME   which build's binaries: release (default), dist, dev
  --key FILE       sign with this key by cosign
  --plain-http     the registry speaks no TLS
  --any-size       do not insist on 30 MB over the base and 60 MB in all

Without a NAME all connectors. Log in to the registry with podman or docker before.
";

/// Builds, loads, pushes and signs.
pub(crate) fn publish(words: &[&str]) -> Result {
    let (mut host, mut key, mut plain, mut any_size, mut profile) = (None, None, false, false, None);
    let mut names: Vec<String> = Vec::new();
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value\n\n{HELP}"));
        match word {
            "--registry" => host = Some(value()?),
            "--profile" => profile = Some(value()?),
            "--key" => key = Some(value()?),
            "--plain-http" => plain = true,
            "--any-size" => any_size = true,
            name if !name.starts_with('-') => names.push(name.to_owned()),
            other => return Err(format!("{other} is not known here\n\n{HELP}")),
        }
    }
    let host = host.ok_or_else(|| format!("which registry?\n\n{HELP}"))?.trim_end_matches('/');
    if key.is_some() && !have("cosign") {
        // Before anything is pushed: an unsigned image is not what was asked for.
        return Err("--key needs cosign, which is not installed; install it, or leave --key out".to_owned());
    }
    if names.is_empty() {
        names = metadata::connectors()?;
    }
    let runtime = runtime()?;
    for name in &names {
        let data = metadata::load(name)?.data;
        let reference = format!("{host}/{}:{}", data.docker_repository, data.docker_image_tag);
        let wish = Wish { name, profile, tag: Some(&reference), ..Wish::default() };
        let built = build(&wish)?;
        if !any_size && too_large(&built) {
            return Err(format!("{reference} is larger than an image may be; is it an optimised build?"));
        }
        load(&built)?;
        let mut push = command(&runtime);
        push.arg("push");
        // Docker keeps that in its daemon's settings, and needs none for loopback.
        if plain && runtime.ends_with("podman") {
            push.arg("--tls-verify=false");
        }
        run(push.arg(&reference))?;
        println!("{reference} {}", built.image.id);
        if let Some(key) = key {
            sign(&runtime, &reference, key)?;
        }
    }
    if key.is_none() {
        println!("Pushed without signatures; --key FILE signs them.");
    }
    Ok(())
}

/// Signs what a reference means now, by its digest: a tag could move in between.
fn sign(runtime: &str, reference: &str, key: &str) -> Result {
    let format = "{{index .RepoDigests 0}}";
    let digest = output(command(runtime).args(["image", "inspect", "--format", format, reference]))?;
    run(command("cosign").args(["sign", "--yes", "--key", key, digest.trim()]))
}
