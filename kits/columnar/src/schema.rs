//! From a stream's columns to the Arrow schema of its files: the one type table.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use connector_kit::protocol::json;
use connector_kit::{Column, EXTRACTED_AT, FieldType, GENERATION_ID, META, RAW_ID};

/// How many columns stand before the stream's own.
pub(crate) const ADDED: usize = 4;

/// A stream has a field with the name of a column that is added to every row.
#[derive(Debug, thiserror::Error)]
#[error(
    "field {0} has the name of a column that is added to every row; leave it out of the stream's selection"
)]
pub struct ReservedName(pub String);

/// A stream's columns, with their types in files.
#[derive(Debug)]
pub struct Layout {
    pub(crate) schema: SchemaRef,
    pub(crate) fields: Vec<LayoutField>,
}

#[derive(Debug)]
pub(crate) struct LayoutField {
    pub(crate) name: String,
    /// The name as a JSON string.
    pub(crate) name_json: Vec<u8>,
    pub(crate) field_type: FieldType,
}

impl Layout {
    /// The four added columns, then the stream's own in order.
    ///
    /// # Errors
    /// When a field has the name of an added column.
    pub fn new(columns: &[Column]) -> Result<Self, ReservedName> {
        let utc: Arc<str> = "UTC".into();
        let mut fields = vec![
            Field::new(RAW_ID, DataType::Utf8, false),
            Field::new(EXTRACTED_AT, DataType::Timestamp(TimeUnit::Millisecond, Some(utc)), false),
            Field::new(META, DataType::Utf8, false),
            Field::new(GENERATION_ID, DataType::Int64, false),
        ];
        for column in columns {
            if [RAW_ID, EXTRACTED_AT, META, GENERATION_ID].contains(&column.name.as_str()) {
                return Err(ReservedName(column.name.clone()));
            }
            fields.push(Field::new(&column.name, data_type(column.field_type), true));
        }
        let own = columns.iter().map(|column| {
            let mut name_json = Vec::new();
            json::write_str(&mut name_json, &column.name);
            LayoutField { name: column.name.clone(), name_json, field_type: column.field_type }
        });
        Ok(Self { fields: own.collect(), schema: Arc::new(Schema::new(fields)) })
    }

    /// Whether the column `name` is text that holds JSON.
    #[must_use]
    pub fn is_json(&self, name: &str) -> bool {
        let json = [FieldType::Object, FieldType::Array, FieldType::Union];
        self.fields.iter().any(|f| f.name == name && json.contains(&f.field_type))
    }

    /// The names of the stream's own columns.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|f| f.name.as_str())
    }
}

/// The type table. Text holds what columns cannot: JSON, and times whose offset counts.
pub(crate) fn data_type(field_type: FieldType) -> DataType {
    match field_type {
        FieldType::Boolean => DataType::Boolean,
        FieldType::Integer => DataType::Int64,
        FieldType::Number => DataType::Float64,
        FieldType::Date => DataType::Date32,
        FieldType::TimeWithoutTimezone => DataType::Time64(TimeUnit::Microsecond),
        FieldType::TimestampWithTimezone => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        FieldType::TimestampWithoutTimezone => DataType::Timestamp(TimeUnit::Microsecond, None),
        FieldType::String | FieldType::TimeWithTimezone => DataType::Utf8,
        FieldType::Object | FieldType::Array | FieldType::Union => DataType::Utf8,
    }
}
