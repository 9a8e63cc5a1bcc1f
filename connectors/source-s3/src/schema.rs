//! The columns of a stream: those of its files put together, or those that the config says.

use connector_kit::{Error, FieldType, Result};
use serde_json::{Map, Value, json};

use crate::config::StreamConfig;

/// The column that says when a row's file was written.
pub(crate) const MODIFIED: &str = "_ab_source_file_last_modified";
/// The column that says which file a row is from.
pub(crate) const URL: &str = "_ab_source_file_url";
/// The one column of a stream without a schema.
pub(crate) const DATA: &str = "data";

/// The columns that the config says, if it does.
pub(crate) fn given(stream: &StreamConfig) -> Result<Option<Map<String, Value>>> {
    let Some(text) = stream.input_schema.as_deref().map(str::trim).filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    let wrong = |what: &str| Error::config(format!("input_schema of stream {}: {what}", stream.name));
    let Ok(Value::Object(map)) = serde_json::from_str(text) else {
        return Err(wrong("not a JSON object of columns and types; write it like {\"id\": \"integer\"}."));
    };
    let one = |(name, wanted): (String, Value)| {
        let field_type = match wanted.as_str() {
            Some("string") => FieldType::String,
            Some("number" | "float") => FieldType::Number,
            Some("integer") => FieldType::Integer,
            Some("object") => FieldType::Object,
            Some("array") => FieldType::Array,
            Some("boolean") => FieldType::Boolean,
            Some("null") => return Ok((name, json!({"type": ["null"]}))),
            _ => {
                return Err(wrong(&format!(
                    "the type of {name:?} is not one of string, number, integer, boolean, object, array and null."
                )));
            }
        };
        Ok((name, field_type.json_schema()))
    };
    map.into_iter().map(one).collect::<Result<Map<_, _>>>().map(Some)
}

/// The columns of every stream without a schema of its own.
pub(crate) fn whole() -> Map<String, Value> {
    Map::from_iter([(DATA.to_owned(), FieldType::Object.json_schema())])
}

/// Adds the columns of another file. Types grow until they hold the values of both: text holds
/// every single value where `text_holds_all`, as it does in formats whose values are written as text.
pub(crate) fn merge(into: &mut Map<String, Value>, more: Map<String, Value>, text_holds_all: bool) {
    for (name, schema) in more {
        match into.get_mut(&name) {
            None => {
                into.insert(name, schema);
            }
            Some(known) if *known == schema => {}
            Some(known) => *known = wider(known, &schema, text_holds_all),
        }
    }
}

fn wider(a: &Value, b: &Value, text_holds_all: bool) -> Value {
    use FieldType as F;
    let kinds = [F::of(a), F::of(b)];
    if kinds[0] == kinds[1] && kinds[0] != F::Union {
        return a.clone();
    }
    let nested = |f: &F| matches!(f, F::Object | F::Array | F::Union);
    match kinds {
        [F::Integer, F::Number] | [F::Number, F::Integer] => F::Number.json_schema(),
        _ if text_holds_all && !kinds.iter().any(nested) => F::String.json_schema(),
        _ => {
            let names = ["null", "boolean", "integer", "number", "string", "object", "array"];
            let has = |schema: &Value, name: &str| match &schema["type"] {
                Value::Array(types) => types.iter().any(|t| t == name),
                other => other == name,
            };
            let number = has(a, "number") || has(b, "number");
            let types: Vec<&str> = names
                .into_iter()
                .filter(|n| *n == "null" || has(a, n) || has(b, n))
                .filter(|n| *n != "integer" || !number)
                .collect();
            match types[..] {
                // Two kinds of text, such as days and times.
                [_, "string"] => F::String.json_schema(),
                _ => json!({ "type": types }),
            }
        }
    }
}

/// The whole schema, with the columns that every stream has.
pub(crate) fn complete(mut properties: Map<String, Value>) -> Value {
    for name in [MODIFIED, URL] {
        properties.insert(name.to_owned(), json!({"type": "string"}));
    }
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": properties,
    })
}

/// Folders named `name=value`, as Hive and Spark lay tables out.
pub(crate) fn partitions(key: &str) -> impl Iterator<Item = (&str, &str)> {
    let folders = key.rsplit_once('/').map_or("", |(folders, _)| folders);
    folders.split('/').filter_map(|part| part.split_once('=')).filter(|(name, _)| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{merge, partitions};
    use connector_kit::FieldType as F;
    use serde_json::{Map, json};

    fn merged(a: serde_json::Value, b: serde_json::Value, text_holds_all: bool) -> serde_json::Value {
        let mut into = Map::from_iter([("x".to_owned(), a)]);
        merge(&mut into, Map::from_iter([("x".to_owned(), b)]), text_holds_all);
        into["x"].clone()
    }

    #[test]
    fn types_grow_until_they_hold_both() {
        for (a, b, text, all) in [
            (F::Integer.json_schema(), F::Number.json_schema(), false, F::Number.json_schema()),
            (F::Integer.json_schema(), F::String.json_schema(), true, F::String.json_schema()),
            (
                F::Integer.json_schema(),
                F::String.json_schema(),
                false,
                json!({"type": ["null", "integer", "string"]}),
            ),
            (F::Date.json_schema(), F::TimestampWithTimezone.json_schema(), false, F::String.json_schema()),
            (
                F::Object.json_schema(),
                F::String.json_schema(),
                true,
                json!({"type": ["null", "string", "object"]}),
            ),
            (
                F::Number.json_schema(),
                json!({"type": ["null", "integer", "string"]}),
                false,
                json!({"type": ["null", "number", "string"]}),
            ),
        ] {
            assert_eq!(merged(a.clone(), b.clone(), text), all, "{a} {b}");
            assert_eq!(merged(b, a, text), all);
        }
    }

    #[test]
    fn folders_that_are_partitions_are_columns() {
        assert_eq!(
            partitions("t/day=2026-01-01/c=/x=1.parquet").collect::<Vec<_>>(),
            [("day", "2026-01-01"), ("c", "")]
        );
    }
}
