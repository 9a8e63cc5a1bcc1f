//! From a stream's columns to the Arrow schema of its files: the one type table.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use connector_kit::protocol::json;
use connector_kit::{Column, EXTRACTED_AT, FieldType, GENERATION_ID, META, RAW_ID};

use crate::shape::Shape;

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
    /// Whether objects and arrays are groups and lists where the schema says what is in them.
    pub(crate) nested: bool,
}

#[derive(Debug)]
pub(crate) struct LayoutField {
    pub(crate) name: String,
    /// The name as a JSON string.
    pub(crate) name_json: Vec<u8>,
    pub(crate) shape: Shape,
}

impl Layout {
    /// The four added columns, then the stream's own in order; objects and arrays are JSON text.
    ///
    /// # Errors
    /// When a field has the name of an added column.
    pub fn new(columns: &[Column]) -> Result<Self, ReservedName> {
        Self::build(columns, false)
    }

    /// The same with groups and lists where the schema says what is in objects and arrays.
    ///
    /// # Errors
    /// When a field has the name of an added column.
    pub fn nested(columns: &[Column]) -> Result<Self, ReservedName> {
        Self::build(columns, true)
    }

    fn build(columns: &[Column], nested: bool) -> Result<Self, ReservedName> {
        let utc: Arc<str> = "UTC".into();
        let meta = if nested { Shape::meta() } else { Shape::Leaf(FieldType::String) };
        let mut fields = vec![
            Field::new(RAW_ID, DataType::Utf8, false),
            Field::new(EXTRACTED_AT, DataType::Timestamp(TimeUnit::Millisecond, Some(utc)), false),
            Field::new(META, meta.data_type(), false),
            Field::new(GENERATION_ID, DataType::Int64, false),
        ];
        let mut own = Vec::with_capacity(columns.len());
        for column in columns {
            if [RAW_ID, EXTRACTED_AT, META, GENERATION_ID].contains(&column.name.as_str()) {
                return Err(ReservedName(column.name.clone()));
            }
            let shape = if nested { Shape::of(&column.schema) } else { Shape::Leaf(column.field_type) };
            fields.push(Field::new(&column.name, shape.data_type(), true));
            let mut name_json = Vec::new();
            json::write_str(&mut name_json, &column.name);
            own.push(LayoutField { name: column.name.clone(), name_json, shape });
        }
        Ok(Self { fields: own, schema: Arc::new(Schema::new(fields)), nested })
    }

    /// Whether the column `name` is text that holds JSON.
    #[must_use]
    pub fn is_json(&self, name: &str) -> bool {
        let json = [FieldType::Object, FieldType::Array, FieldType::Union].map(Shape::Leaf);
        self.fields.iter().any(|f| f.name == name && json.contains(&f.shape))
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
