//! A stream as selected by the configured catalog, with what connectors need at hand.

use protocol::{ConfiguredStream, DestinationSyncMode, StreamDescriptor, SyncMode};

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
