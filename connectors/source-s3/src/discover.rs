//! Streams and their columns, from the newest files of each.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use connector_kit::protocol::{Stream, SyncMode};
use connector_kit::{Error, Result, Stop, tracing};
use files_kit::Options;
use s3_kit::Store;

use crate::config::StreamConfig;
use crate::file::{Failure, Reader};
use crate::format::Format;
use crate::globs::Globs;
use crate::listing::{self, Entry};
use crate::schema;

/// How many files are looked at for the columns.
const SAMPLED_FILES: usize = 10;

impl Entry {
    pub(crate) fn of(object: s3_kit::Object) -> Self {
        Self { modified: object.modified, key: object.key, size: object.size, etag: object.etag }
    }
}

/// What to say of globs that match nothing.
fn no_files(store: &Store, stream: &StreamConfig, skipped: listing::Skipped) -> Error {
    let mut why = String::new();
    if skipped.empty > 0 {
        why = format!(" ({} empty objects were left out)", skipped.empty);
    }
    if skipped.archived > 0 {
        why += &format!(" ({} archived objects were left out; restore them to read them)", skipped.archived);
    }
    Error::config(format!(
        "No file in the bucket {} matches the globs of stream {}: {}{why}. Check them and bucket; a key is matched whole, from its first folder on.",
        store.bucket(),
        stream.name,
        stream.globs.join(", "),
    ))
}

/// The stream as the catalog has it.
pub(crate) fn stream(store: &Store, config: &StreamConfig, options: &Options, stop: &Stop) -> Result<Stream> {
    let properties = if config.schemaless {
        schema::whole()
    } else {
        match schema::given(config)? {
            Some(properties) => properties,
            None => sampled(store, config, options, stop)?,
        }
    };
    Ok(offer(config, schema::complete(properties)))
}

/// The stream with this schema, and what can be done with it.
pub(crate) fn offer(config: &StreamConfig, schema: serde_json::Value) -> Stream {
    let mut stream = Stream::new(&config.name, schema);
    stream.supported_sync_modes = vec![SyncMode::FullRefresh, SyncMode::Incremental];
    stream.source_defined_cursor = Some(true);
    stream.default_cursor_field = vec![schema::MODIFIED.to_owned()];
    stream.is_resumable = Some(true);
    stream
}

fn sampled(
    store: &Store,
    config: &StreamConfig,
    options: &Options,
    stop: &Stop,
) -> Result<serde_json::Map<String, serde_json::Value>> {
    let reader = Reader { store, format: &config.format, options, schemaless: false };
    let text_holds_all = !matches!(config.format, Format::Jsonl {});
    let mut merged = serde_json::Map::new();
    let mut fault = None;
    for entry in newest(store, config, stop)? {
        match reader.properties(&entry) {
            Ok(found) => schema::merge(&mut merged, found, text_holds_all),
            Err(Failure::Content(e)) => {
                tracing::warn!("{e} Looking at other files for the columns.");
                fault = Some(e);
            }
            Err(other) => return Err(other.into()),
        }
    }
    match fault {
        _ if !merged.is_empty() => Ok(merged),
        Some(fault) => Err(fault),
        None => Err(Error::config(format!(
            "None of the newest files of stream {} holds a record, so its columns are not known; check globs, or say them in input_schema.",
            config.name
        ))),
    }
}

/// The newest files of a stream, newest first, or only the first that is found.
fn newest(store: &Store, config: &StreamConfig, stop: &Stop) -> Result<Vec<Entry>> {
    let most = config.recent_n_files_to_read_for_schema_discovery.map_or(SAMPLED_FILES, |n| n as usize);
    let first_only = config.use_first_found_file_for_schema_discovery;
    let mut heap = BinaryHeap::new();
    let skipped = listing::each(store, &Globs::new(&config.globs), prefix(config), stop, |object| {
        heap.push(Reverse(Entry::of(object)));
        if heap.len() > most {
            heap.pop();
        }
        Ok(!first_only)
    })?;
    if heap.is_empty() {
        return Err(no_files(store, config, skipped));
    }
    // Sorted by what was reversed: the newest come first.
    Ok(heap.into_sorted_vec().into_iter().map(|Reverse(entry)| entry).collect())
}

pub(crate) fn prefix(config: &StreamConfig) -> &str {
    config.legacy_prefix.as_deref().unwrap_or_default()
}

/// Reads the first record of the stream's first file.
pub(crate) fn try_first(store: &Store, config: &StreamConfig, options: &Options, stop: &Stop) -> Result<()> {
    let mut first = None;
    let skipped = listing::each(store, &Globs::new(&config.globs), prefix(config), stop, |object| {
        first = Some(Entry::of(object));
        Ok(false)
    })?;
    let Some(entry) = first else { return Err(no_files(store, config, skipped)) };
    schema::given(config)?;
    let reader = Reader { store, format: &config.format, options, schemaless: config.schemaless };
    reader.first(&entry).map_err(Into::into)
}
