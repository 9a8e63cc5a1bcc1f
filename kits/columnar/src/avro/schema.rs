//! A layout as an Avro schema.

use connector_kit::{EXTRACTED_AT, FieldType, GENERATION_ID, META, RAW_ID};
use serde_json::{Map, Value, json};

use super::names::{Names, plain};
use crate::schema::Layout;
use crate::shape::Shape;

/// What a field was called that Avro's rules gave another name.
const ORIGINAL: &str = "ferrybyte.name";

/// The schema of a stream's records, as JSON.
pub(super) fn text(layout: &Layout, name: &str, namespace: Option<&str>) -> String {
    let mut records = Names::default();
    let record = records.take(name);
    let namespace = namespace.filter(|n| !n.is_empty()).map_or_else(|| "default".to_owned(), plain);
    let meta = if layout.nested { Shape::meta() } else { Shape::Leaf(FieldType::String) };
    let mut names = Names::default();
    let mut fields = vec![
        json!({"name": names.take(RAW_ID), "type": "string"}),
        json!({"name": names.take(EXTRACTED_AT), "type": {"type": "long", "logicalType": "timestamp-millis"}}),
        json!({"name": names.take(META), "type": of(&meta, &format!("{record}{META}"), &mut records)}),
        json!({"name": names.take(GENERATION_ID), "type": "long"}),
    ];
    let own = layout.fields.iter().map(|f| (f.name.as_str(), &f.shape));
    fields.extend(optional_fields(own, &mut names, &record, &mut records));
    json!({"type": "record", "name": record, "namespace": namespace, "fields": fields}).to_string()
}

fn optional_fields<'a>(
    members: impl Iterator<Item = (&'a str, &'a Shape)>,
    names: &mut Names,
    record: &str,
    records: &mut Names,
) -> Vec<Value> {
    let field = |(original, shape): (&str, &Shape)| {
        let name = names.take(original);
        let inner = of(shape, &format!("{record}_{name}"), records);
        let mut field = Map::new();
        if name != original {
            field.insert(ORIGINAL.into(), original.into());
        }
        field.insert("name".into(), name.into());
        field.insert("type".into(), json!(["null", inner]));
        field.insert("default".into(), Value::Null);
        Value::Object(field)
    };
    members.map(field).collect()
}

/// `path` names the records that are in it.
fn of(shape: &Shape, path: &str, records: &mut Names) -> Value {
    match shape {
        Shape::Leaf(field_type) => leaf(*field_type),
        Shape::Group(members) => {
            let record = records.take(path);
            let members = members.iter().map(|(name, shape)| (name.as_str(), shape));
            let fields = optional_fields(members, &mut Names::default(), &record, records);
            json!({"type": "record", "name": record, "fields": fields})
        }
        Shape::List(item) => json!({"type": "array", "items": ["null", of(item, path, records)]}),
    }
}

fn leaf(field_type: FieldType) -> Value {
    match field_type {
        FieldType::Boolean => json!("boolean"),
        FieldType::Integer => json!("long"),
        FieldType::Number => json!("double"),
        FieldType::Date => json!({"type": "int", "logicalType": "date"}),
        FieldType::TimeWithoutTimezone => json!({"type": "long", "logicalType": "time-micros"}),
        FieldType::TimestampWithTimezone | FieldType::TimestampWithoutTimezone => {
            json!({"type": "long", "logicalType": "timestamp-micros"})
        }
        // A time of day with an offset is no moment: its text keeps both.
        FieldType::String
        | FieldType::TimeWithTimezone
        | FieldType::Object
        | FieldType::Array
        | FieldType::Union => json!("string"),
    }
}
