//! A stream as selected by the configured catalog, with what connectors need at hand.

use protocol::{ConfiguredStream, DestinationSyncMode, Stream, StreamDescriptor, SyncMode};

use crate::error::{Error, Result};
use crate::schema::{Column, FieldType};

/// The refresh generation of a stream's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Stamped on every row written now.
    pub id: i64,
    /// Rows below it go once the stream has succeeded.
    pub minimum: i64,
}

/// One stream of the configured catalog.
#[derive(Clone, Debug)]
pub struct SelectedStream {
    /// Name and namespace.
    pub descriptor: StreamDescriptor,
    /// The selected fields, in schema order.
    pub columns: Vec<Column>,
    /// How to read it.
    pub sync_mode: SyncMode,
    /// How to write it.
    pub destination_sync_mode: DestinationSyncMode,
    /// The cursor: configured, else the stream's default. Empty when it has none.
    pub cursor_field: Vec<String>,
    /// The primary key's field paths: configured, else source-defined.
    pub primary_key: Vec<Vec<String>>,
    /// `None` when the platform sends no generation ids.
    pub generation: Option<Generation>,
    /// The platform's job id.
    pub sync_id: Option<i64>,
    /// The configured stream whole.
    pub configured: ConfiguredStream,
}

impl SelectedStream {
    pub(crate) fn new(configured: ConfiguredStream) -> Self {
        let stream = &configured.stream;
        let columns = stream.properties().into_iter().flatten().map(|(name, schema)| Column {
            name: name.clone(),
            field_type: FieldType::of(schema),
            schema: schema.clone(),
        });
        let or = |first: &Vec<String>, second: &Vec<String>| {
            if first.is_empty() { second.clone() } else { first.clone() }
        };
        let key = if configured.primary_key.is_empty() {
            &stream.source_defined_primary_key
        } else {
            &configured.primary_key
        };
        Self {
            descriptor: stream.descriptor(),
            columns: columns.collect(),
            sync_mode: configured.sync_mode,
            destination_sync_mode: configured.destination_sync_mode,
            cursor_field: or(&configured.cursor_field, &stream.default_cursor_field),
            primary_key: key.clone(),
            generation: configured
                .generation_id
                .map(|id| Generation { id, minimum: configured.minimum_generation_id.unwrap_or(0) }),
            sync_id: configured.sync_id,
            configured,
        }
    }

    /// The index of the column called `name`.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }

    /// Whether old rows must go once this sync has succeeded: a truncate refresh, or
    /// plain overwrite from a platform without generation ids.
    #[must_use]
    pub fn replaces(&self) -> bool {
        match self.generation {
            Some(g) => {
                g.minimum > 0 && g.minimum == g.id
                    || self.destination_sync_mode == DestinationSyncMode::Overwrite
            }
            None => self.destination_sync_mode == DestinationSyncMode::Overwrite,
        }
    }
}

/// The streams that a source offers, made one at a time: thousands of schemas, each a tree, need
/// not be there at once.
pub struct Streams(Box<dyn Iterator<Item = Stream> + Send>);

impl Streams {
    /// Those that `streams` gives, in its order.
    pub fn new<I>(streams: I) -> Self
    where
        I: IntoIterator<Item = Stream>,
        I::IntoIter: Send + 'static,
    {
        Self(Box::new(streams.into_iter()))
    }

    /// As a CATALOG message, with its line break.
    pub(crate) fn into_line(self) -> Result<Vec<u8>> {
        let mut line = br#"{"type":"CATALOG","catalog":{"streams":["#.to_vec();
        let before = line.len();
        for stream in self {
            if line.len() > before {
                line.push(b',');
            }
            serde_json::to_writer(&mut line, &stream).map_err(|e| {
                Error::system(format!("The stream {} cannot be written.", stream.descriptor())).with_source(e)
            })?;
        }
        line.extend_from_slice(b"]}}\n");
        Ok(line)
    }
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Streams")
    }
}

impl Iterator for Streams {
    type Item = Stream;

    fn next(&mut self) -> Option<Stream> {
        self.0.next()
    }
}

#[cfg(test)]
mod tests {
    use super::Streams;
    use protocol::{Catalog, Message, Stream};

    #[test]
    fn streams_one_by_one_are_the_same_line_as_a_catalog() {
        for names in [&[][..], &["a"], &["a", "b \"c\""]] {
            let streams: Vec<Stream> = names
                .iter()
                .map(|n| Stream::new(n, serde_json::json!({"type": "object", "properties": {}})))
                .collect();
            let whole = Message::Catalog(Catalog { streams: streams.clone(), ..Catalog::default() });
            assert_eq!(Streams::new(streams).into_line().unwrap(), whole.to_line());
        }
    }
}
