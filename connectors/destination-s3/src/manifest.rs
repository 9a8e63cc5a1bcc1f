//! The list of one stream's objects. What it does not list is somebody else's and stays.
//!
//! It says what is done, and what is about to be done: whatever a crash interrupts, the next run
//! finds here and ends or takes back.

use serde::{Deserialize, Serialize};

/// What is known of one stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Raised by incompatible changes only.
    pub(crate) version: u32,
    /// The stream's names, unencoded.
    pub(crate) stream: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    /// Grows with every change.
    pub(crate) serial: u64,
    /// Who may change it. Another run that takes over names itself here, and this one can do no more.
    pub(crate) writer: Writer,
    /// Grows with every object.
    pub(crate) next_part: u64,
    /// The stream's rows, as readers see them.
    pub(crate) objects: Vec<Object>,
    /// About to become objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) intent: Option<Intent>,
    /// Uploads under way; when their run is over, they are dropped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) uploads: Vec<Begun>,
    /// Replaced, and about to be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) removing: Vec<String>,
}

/// A run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Writer {
    pub(crate) token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sync_id: Option<i64>,
    /// Milliseconds since 1970. A second attempt at the same sync takes it over, so that objects get the same names.
    pub(crate) began: i64,
}

/// One of our objects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Object {
    pub(crate) key: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) generation: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sync_id: Option<i64>,
    /// Of its records, as they came; see the protocol's digest.
    pub(crate) digest: String,
}

/// What is to become visible together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// Whether the next run ends what was begun, or takes it back: rows whose state was never confirmed come again.
    pub(crate) forward: bool,
    /// The commit that decides it instead, where there is one: ended once it was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) commit: Option<CommitOf>,
    pub(crate) objects: Vec<Pending>,
    /// What they replace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) replaces: Vec<String>,
}

/// A commit of a connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CommitOf {
    pub(crate) connection: String,
    pub(crate) number: u64,
}

/// An object whose parts are all with the store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pending {
    #[serde(flatten)]
    pub(crate) object: Object,
    pub(crate) upload_id: String,
    pub(crate) token: String,
    pub(crate) parts: Vec<PendingPart>,
}

/// One part of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PendingPart {
    pub(crate) etag: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) crc32: Option<String>,
}

/// An upload under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Begun {
    pub(crate) key: String,
    pub(crate) upload_id: String,
}

impl Manifest {
    /// Whether an object with this key is, was just now, or is about to be ours.
    pub(crate) fn knows(&self, key: &str) -> bool {
        let pending = self.intent.iter().flat_map(|i| &i.objects).map(|p| &p.object.key);
        self.objects.iter().map(|o| &o.key).chain(&self.removing).chain(pending).any(|k| k == key)
    }
}

impl Pending {
    pub(crate) fn completion(&self) -> s3_kit::Completion {
        let part = |part: &PendingPart| s3_kit::Part { etag: part.etag.clone(), crc32: part.crc32.clone() };
        s3_kit::Completion {
            key: self.object.key.clone(),
            upload_id: self.upload_id.clone(),
            token: self.token.clone(),
            parts: self.parts.iter().map(part).collect(),
        }
    }

    pub(crate) fn new(object: Object, done: s3_kit::Completion) -> Self {
        let parts = done.parts.into_iter().map(|p| PendingPart { etag: p.etag, crc32: p.crc32 });
        Self { object, upload_id: done.upload_id, token: done.token, parts: parts.collect() }
    }
}
