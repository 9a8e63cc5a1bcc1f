//! Catalogs: what a source offers, and what was chosen from it.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// A path to a field; top-level fields have one step.
pub type FieldPath = Vec<String>;

/// Clients write optional keys as explicit `null`; it means the same as absence.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Names a stream: `name`, and `namespace` where the source has them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamDescriptor {
    /// Any UTF-8.
    pub name: String,
    /// Absent, `null` and empty are the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl StreamDescriptor {
    /// A descriptor; an empty namespace becomes none.
    pub fn new(namespace: Option<&str>, name: &str) -> Self {
        Self { name: name.to_owned(), namespace: namespace.filter(|n| !n.is_empty()).map(str::to_owned) }
    }
}

/// `namespace.name`, for people.
impl fmt::Display for StreamDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = self.namespace.as_deref().filter(|n| !n.is_empty()) {
            write!(f, "{namespace}.")?;
        }
        f.write_str(&self.name)
    }
}

/// How a source reads a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncMode {
    /// Everything, each time.
    FullRefresh,
    /// What changed since the state.
    Incremental,
}

/// What a destination does with a stream's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DestinationSyncMode {
    /// Keep what is there and add.
    Append,
    /// Replace what is there, once the new rows are complete.
    Overwrite,
    /// One row per primary key: the latest.
    AppendDedup,
    /// Data activation only.
    Update,
    /// Data activation only.
    SoftDelete,
}

/// A stream as discovered.
#[doc(alias = "AirbyteStream")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// Any UTF-8.
    pub name: String,
    /// Absent and `null` are the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// `type: object` with `properties`; platforms insist on both.
    pub json_schema: Value,
    /// At least one.
    #[serde(default, deserialize_with = "null_as_default")]
    pub supported_sync_modes: Vec<SyncMode>,
    /// The source chooses the cursor itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_defined_cursor: Option<bool>,
    /// Used when the configured stream names no cursor.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub default_cursor_field: FieldPath,
    /// The key that the source knows the stream by.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub source_defined_primary_key: Vec<FieldPath>,
    /// A full refresh can go on from its last state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_resumable: Option<bool>,
    /// Files travel beside the records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_file_based: Option<bool>,
    /// Members this version does not know; kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Stream {
    /// A full-refresh stream with the given schema and nothing else.
    #[must_use]
    pub fn new(name: &str, json_schema: Value) -> Self {
        Self {
            name: name.to_owned(),
            namespace: None,
            json_schema,
            supported_sync_modes: vec![SyncMode::FullRefresh],
            source_defined_cursor: None,
            default_cursor_field: Vec::new(),
            source_defined_primary_key: Vec::new(),
            is_resumable: None,
            is_file_based: None,
            extra: Map::new(),
        }
    }

    /// Its name and namespace.
    #[must_use]
    pub fn descriptor(&self) -> StreamDescriptor {
        StreamDescriptor::new(self.namespace.as_deref(), &self.name)
    }

    /// The schema's top-level properties, in order; `None` when the schema has none.
    #[must_use]
    pub fn properties(&self) -> Option<&Map<String, Value>> {
        self.json_schema.get("properties")?.as_object()
    }
}

/// What a source offers.
#[doc(alias = "AirbyteCatalog")]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// Names are unique within a namespace.
    pub streams: Vec<Stream>,
    /// Members this version does not know; kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One chosen stream.
#[doc(alias = "ConfiguredAirbyteStream")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfiguredStream {
    /// The stream; its schema holds the selected fields only.
    pub stream: Stream,
    /// How to read it.
    pub sync_mode: SyncMode,
    /// How to write it.
    pub destination_sync_mode: DestinationSyncMode,
    /// Empty when unset.
    #[serde(default, deserialize_with = "null_as_default")]
    pub cursor_field: FieldPath,
    /// Empty when unset.
    #[serde(default, deserialize_with = "null_as_default")]
    pub primary_key: Vec<FieldPath>,
    /// Grows by one with each refresh; `None` when the platform has no refreshes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_id: Option<i64>,
    /// Rows of earlier generations go once the stream has succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_generation_id: Option<i64>,
    /// The platform's job id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_id: Option<i64>,
    /// Members this version does not know; kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What was chosen: the `--catalog` file.
#[doc(alias = "ConfiguredAirbyteCatalog")]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConfiguredCatalog {
    /// The chosen streams.
    pub streams: Vec<ConfiguredStream>,
    /// Members this version does not know; kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Why a configured catalog cannot be used. The text is for people.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Not JSON, or not of the catalog's shape.
    #[error("the catalog is not a configured catalog: {0}")]
    Shape(#[from] serde_json::Error),
    /// The same stream twice.
    #[error("stream {0} stands twice in the catalog; keep one of the two")]
    Duplicate(StreamDescriptor),
    /// A schema without `properties`.
    #[error("stream {0} has no properties in its json_schema; run discover again")]
    NoProperties(StreamDescriptor),
    /// A cursor or key field that the schema lacks.
    #[error("stream {stream}: {role} {field:?} is not a field of its schema; choose one of its fields")]
    UnknownField {
        /// The stream.
        stream: StreamDescriptor,
        /// `cursor field` or `primary key field`.
        role: &'static str,
        /// The missing field, its path joined by dots.
        field: String,
    },
}

impl ConfiguredCatalog {
    /// Parses and checks a `--catalog` file.
    ///
    /// # Errors
    /// See [`CatalogError`]; the first fault found is reported.
    pub fn parse(text: &[u8]) -> Result<Self, CatalogError> {
        // Through a tree first: clients repeat keys, which a derived struct would refuse.
        let catalog: Self = serde_json::from_value(serde_json::from_slice(text)?)?;
        catalog.validate()?;
        Ok(catalog)
    }

    /// Checks what can be told from the catalog alone. That deduplication has a key is the
    /// destination's to check: the official test suite gives sources such catalogs.
    ///
    /// # Errors
    /// See [`CatalogError`].
    pub fn validate(&self) -> Result<(), CatalogError> {
        let mut seen = HashSet::new();
        for configured in &self.streams {
            let descriptor = configured.stream.descriptor();
            if !seen.insert(descriptor.clone()) {
                return Err(CatalogError::Duplicate(descriptor));
            }
            let Some(properties) = configured.stream.properties() else {
                return Err(CatalogError::NoProperties(descriptor));
            };
            let cursor = std::iter::once(&configured.cursor_field).map(|p| ("cursor field", p));
            let key = configured.primary_key.iter().map(|p| ("primary key field", p));
            for (role, path) in cursor.chain(key) {
                if path.first().is_some_and(|first| !properties.contains_key(first)) {
                    return Err(CatalogError::UnknownField {
                        stream: descriptor,
                        role,
                        field: path.join("."),
                    });
                }
            }
        }
        Ok(())
    }
}

/// What a destination accepts (data activation).
#[doc(alias = "AirbyteDestinationCatalog")]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DestinationCatalog {
    /// The operations as the wire has them.
    pub operations: Vec<Value>,
    /// Members this version does not know; kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::{CatalogError, ConfiguredCatalog};

    fn parse(stream: &str) -> Result<ConfiguredCatalog, CatalogError> {
        ConfiguredCatalog::parse(format!(r#"{{"streams":[{stream}]}}"#).as_bytes())
    }

    const STREAM: &str = r#""stream":{"name":"s","json_schema":{"type":"object","properties":{"id":{}}},"supported_sync_modes":["full_refresh"]},"sync_mode":"full_refresh""#;

    #[test]
    fn explicit_nulls_and_unknown_keys_are_accepted_and_kept() {
        let catalog = parse(&format!(
            r#"{{{STREAM},"destination_sync_mode":"append","cursor_field":null,"primary_key":null,"generation_id":null,"sync_id":3,"new_key":[1]}}"#
        ))
        .unwrap();
        assert_eq!(catalog.streams[0].sync_id, Some(3));
        assert!(serde_json::to_string(&catalog).unwrap().contains(r#""new_key":[1]"#));
    }

    #[test]
    fn faults_name_the_stream_and_the_field() {
        let error =
            parse(&format!(r#"{{{STREAM},"destination_sync_mode":"append","cursor_field":["nope"]}}"#))
                .unwrap_err();
        assert!(error.to_string().contains("stream s: cursor field \"nope\""), "{error}");
        let twice = format!(
            r#"{{{STREAM},"destination_sync_mode":"append"}},{{{STREAM},"destination_sync_mode":"append"}}"#
        );
        assert!(matches!(parse(&twice), Err(CatalogError::Duplicate(_))));
        assert!(matches!(
            parse(&format!(
                r#"{{{},"destination_sync_mode":"append"}}"#,
                STREAM.replace("full_refresh\"", "INVALID\"")
            )),
            Err(CatalogError::Shape(_))
        ));
    }
}
