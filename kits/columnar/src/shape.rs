//! What a column holds, down to its leaves: groups and lists where the schema says what is in them.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields};
use connector_kit::FieldType;
use serde_json::Value;

use crate::schema::data_type;

/// Deeper ones stay JSON text; readers have limits too.
const MOST_DEPTH: usize = 16;

/// A column's type, with the types of what is in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    /// One value; objects, arrays and unions as JSON text.
    Leaf(FieldType),
    /// An object with these properties.
    Group(Vec<(String, Shape)>),
    /// An array whose items are alike.
    List(Box<Shape>),
}

impl Shape {
    /// The shape that a property's schema declares.
    pub(crate) fn of(schema: &Value) -> Self {
        Self::at(schema, MOST_DEPTH)
    }

    fn at(schema: &Value, depth: usize) -> Self {
        let leaf = Self::Leaf(FieldType::of(schema));
        let Some(depth) = depth.checked_sub(1) else { return leaf };
        match FieldType::of(schema) {
            FieldType::Object => match schema.get("properties").and_then(Value::as_object) {
                Some(properties) if !properties.is_empty() => {
                    let member =
                        |(name, schema): (&String, &Value)| (name.clone(), Self::inner(schema, depth));
                    Self::Group(properties.iter().map(member).collect())
                }
                _ => leaf,
            },
            FieldType::Array => match schema.get("items") {
                Some(items) if items.is_object() => Self::List(Box::new(Self::inner(items, depth))),
                _ => leaf,
            },
            _ => leaf,
        }
    }

    /// Inside, what has no type may be anything, and stays what it is.
    fn inner(schema: &Value, depth: usize) -> Self {
        let says = ["type", "$ref", "oneOf", "anyOf", "allOf", "properties"];
        let typed = says.iter().any(|key| schema.get(key).is_some());
        if typed { Self::at(schema, depth) } else { Self::Leaf(FieldType::Union) }
    }

    /// `_airbyte_meta`, as every row has it.
    pub(crate) fn meta() -> Self {
        let text = |name: &str| (name.to_owned(), Self::Leaf(FieldType::String));
        let change = Self::Group(vec![text("field"), text("change"), text("reason")]);
        Self::Group(vec![
            ("sync_id".into(), Self::Leaf(FieldType::Integer)),
            ("changes".into(), Self::List(Box::new(change))),
        ])
    }

    /// Its type in files. Every member of a group, and every item of a list, may be missing.
    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Self::Leaf(field_type) => data_type(*field_type),
            Self::Group(members) => DataType::Struct(fields(members)),
            Self::List(item) => DataType::List(item_field(item)),
        }
    }
}

pub(crate) fn fields(members: &[(String, Shape)]) -> Fields {
    members.iter().map(|(name, shape)| Field::new(name, shape.data_type(), true)).collect()
}

pub(crate) fn item_field(item: &Shape) -> Arc<Field> {
    // The name that the Parquet format says.
    Arc::new(Field::new("element", item.data_type(), true))
}

#[cfg(test)]
mod tests {
    use super::Shape;
    use connector_kit::FieldType;
    use serde_json::json;

    #[test]
    fn what_the_schema_does_not_say_stays_text() {
        for (schema, expected) in [
            (json!({"type": "object"}), Shape::Leaf(FieldType::Object)),
            (json!({"type": "object", "properties": {}}), Shape::Leaf(FieldType::Object)),
            (json!({"type": "array"}), Shape::Leaf(FieldType::Array)),
            (json!({"type": "array", "items": [{"type": "string"}]}), Shape::Leaf(FieldType::Array)),
            (json!({"type": ["object", "string"], "properties": {"a": {}}}), Shape::Leaf(FieldType::Union)),
            (
                json!({"type": ["null", "array"], "items": {}}),
                Shape::List(Box::new(Shape::Leaf(FieldType::Union))),
            ),
            (
                json!({"type": ["null", "object"], "properties": {"a": {"type": "integer"}, "b": {}}}),
                Shape::Group(vec![
                    ("a".into(), Shape::Leaf(FieldType::Integer)),
                    ("b".into(), Shape::Leaf(FieldType::Union)),
                ]),
            ),
        ] {
            assert_eq!(Shape::of(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn a_schema_without_end_becomes_text_at_some_depth() {
        let mut schema = json!({"type": "string"});
        for _ in 0..200 {
            schema = json!({"type": "array", "items": schema});
        }
        let (mut shape, mut depth) = (Shape::of(&schema), 0);
        while let Shape::List(item) = shape {
            (shape, depth) = (*item, depth + 1);
        }
        assert_eq!((shape, depth), (Shape::Leaf(FieldType::Array), super::MOST_DEPTH));
    }
}
