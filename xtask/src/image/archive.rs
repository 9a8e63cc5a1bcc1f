//! An image as a file: an OCI image layout that `docker load` of any version, `podman load` and
//! `skopeo` read. Written here rather than by a builder, so that the image's id is the same wherever it is built.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::tar::Tree;
use crate::Result;

/// As a number, so that platforms that allow no root can see that it is none.
pub(crate) const ACCOUNT: &str = "1000:1000";

/// What an image is beside its files.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `repository:tag`.
    pub(crate) reference: String,
    pub(crate) entrypoint: String,
    pub(crate) folder: &'static str,
    pub(crate) environment: Vec<String>,
    pub(crate) labels: Vec<(&'static str, String)>,
}

/// An image, ready to be written to a file.
pub(crate) struct Image {
    /// As `podman images` shows it: the digest of its settings and layers.
    pub(crate) id: String,
    pub(crate) archive: Vec<u8>,
}

/// Packs layers, the lowest first, each with a word on what it holds, for a processor as OCI names it.
pub(crate) fn pack(layers: &[(&str, Vec<u8>)], architecture: &str, settings: &Settings) -> Result<Image> {
    let mut tree = Tree::default();
    let mut blob = |content: Vec<u8>| {
        let digest = hex(&content);
        let size = content.len();
        tree.file(&format!("blobs/sha256/{digest}"), 0o644, content);
        (digest, size)
    };
    let packed: Vec<(String, usize)> = layers.iter().map(|(_, layer)| blob(layer.clone())).collect();
    let config = config(layers, &packed, architecture, settings).to_string().into_bytes();
    let (id, config_size) = blob(config);
    let described: Vec<Value> = packed
        .iter()
        .map(|(digest, size)| descriptor("application/vnd.oci.image.layer.v1.tar", digest, *size))
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &id, config_size),
        "layers": described,
    });
    let (manifest, manifest_size) = blob(manifest.to_string().into_bytes());
    let mut listed = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest, manifest_size);
    let tag = settings.reference.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    listed["annotations"] = json!({
        "io.containerd.image.name": settings.reference,
        "org.opencontainers.image.ref.name": tag,
    });
    tree.file("index.json", 0o644, json!({"schemaVersion": 2, "manifests": [listed]}).to_string());
    tree.file("oci-layout", 0o644, json!({"imageLayoutVersion": "1.0.0"}).to_string());
    // What Docker read before it knew OCI layouts.
    let paths: Vec<String> = packed.iter().map(|(digest, _)| format!("blobs/sha256/{digest}")).collect();
    let older = json!([{
        "Config": format!("blobs/sha256/{id}"),
        "RepoTags": [settings.reference],
        "Layers": paths,
    }]);
    tree.file("manifest.json", 0o644, older.to_string());
    Ok(Image { id, archive: tree.to_tar()? })
}

fn config(
    layers: &[(&str, Vec<u8>)],
    packed: &[(String, usize)],
    architecture: &str,
    settings: &Settings,
) -> Value {
    const CREATED: &str = "1970-01-01T00:00:00Z";
    let labels: serde_json::Map<String, Value> =
        settings.labels.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
    let digests: Vec<String> = packed.iter().map(|(digest, _)| format!("sha256:{digest}")).collect();
    let history: Vec<Value> =
        layers.iter().map(|(what, _)| json!({"created": CREATED, "created_by": what})).collect();
    json!({
        "created": CREATED,
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": ACCOUNT,
            "Env": settings.environment,
            "Entrypoint": [settings.entrypoint],
            "WorkingDir": settings.folder,
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": digests},
        "history": history,
    })
}

fn descriptor(kind: &str, digest: &str, size: usize) -> Value {
    json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": size})
}

/// The SHA-256 of some bytes, as people write it.
pub(crate) fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
