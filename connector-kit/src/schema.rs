//! From a stream's JSON Schema to the field types that connectors work with
//! (protocol documentation, "Supported data types").

use serde_json::Value;

/// The type of a top-level field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// `boolean`
    Boolean,
    /// `integer`, or `number` with `airbyte_type: integer`; any size.
    Integer,
    /// `number`; any size and precision.
    Number,
    /// `string`
    String,
    /// `string` with `format: date`.
    Date,
    /// `string` with `format: time`.
    TimeWithTimezone,
    /// The same with `airbyte_type: time_without_timezone`.
    TimeWithoutTimezone,
    /// `string` with `format: date-time`.
    TimestampWithTimezone,
    /// The same with `airbyte_type: timestamp_without_timezone`.
    TimestampWithoutTimezone,
    /// `object`, or no type at all.
    Object,
    /// `array`
    Array,
    /// Several types, or one we do not know: carried as JSON.
    Union,
}

impl FieldType {
    /// The type that a property's schema declares.
    #[must_use]
    pub fn of(schema: &Value) -> Self {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            return Self::well_known(name.rsplit('/').next().unwrap_or(name));
        }
        for keyword in ["oneOf", "anyOf", "allOf"] {
            if let Some(options) = schema.get(keyword).and_then(Value::as_array) {
                let mut types: Vec<_> =
                    options.iter().filter(|o| o.get("type") != Some(&"null".into())).map(Self::of).collect();
                types.dedup();
                return if let [only] = types[..] { only } else { Self::Union };
            }
        }
        let name = match schema.get("type") {
            Some(Value::String(name)) => name.as_str(),
            Some(Value::Array(names)) => {
                match names.iter().filter_map(Value::as_str).filter(|n| *n != "null").collect::<Vec<_>>()[..]
                {
                    [only] => only,
                    _ => return Self::Union,
                }
            }
            Some(_) => return Self::Union,
            None => return Self::Object,
        };
        let text = |key| schema.get(key).and_then(Value::as_str).unwrap_or_default();
        match (name, text("format"), text("airbyte_type")) {
            ("boolean", ..) => Self::Boolean,
            ("integer", ..) | ("number", _, "integer") => Self::Integer,
            ("number", ..) => Self::Number,
            ("string", "date", _) => Self::Date,
            ("string", "time", "time_without_timezone") => Self::TimeWithoutTimezone,
            ("string", "time", _) => Self::TimeWithTimezone,
            ("string", "date-time", "timestamp_without_timezone") => Self::TimestampWithoutTimezone,
            ("string", "date-time", _) => Self::TimestampWithTimezone,
            ("string", ..) => Self::String,
            ("object", ..) => Self::Object,
            ("array", ..) => Self::Array,
            _ => Self::Union,
        }
    }

    /// The scheme of protocol v1, withdrawn but still met.
    fn well_known(name: &str) -> Self {
        match name {
            "String" | "BinaryData" => Self::String,
            "Boolean" => Self::Boolean,
            "Integer" => Self::Integer,
            "Number" => Self::Number,
            "Date" => Self::Date,
            "TimestampWithTimezone" => Self::TimestampWithTimezone,
            "TimestampWithoutTimezone" => Self::TimestampWithoutTimezone,
            "TimeWithTimezone" => Self::TimeWithTimezone,
            "TimeWithoutTimezone" => Self::TimeWithoutTimezone,
            _ => Self::Union,
        }
    }

    /// The nullable JSON Schema that declares this type.
    #[must_use]
    pub fn json_schema(self) -> Value {
        use serde_json::json;
        match self {
            Self::Boolean => json!({"type": ["null", "boolean"]}),
            Self::Integer => json!({"type": ["null", "integer"]}),
            Self::Number => json!({"type": ["null", "number"]}),
            Self::String => json!({"type": ["null", "string"]}),
            Self::Date => json!({"type": ["null", "string"], "format": "date"}),
            Self::TimeWithTimezone => {
                json!({"type": ["null", "string"], "format": "time", "airbyte_type": "time_with_timezone"})
            }
            Self::TimeWithoutTimezone => {
                json!({"type": ["null", "string"], "format": "time", "airbyte_type": "time_without_timezone"})
            }
            Self::TimestampWithTimezone => {
                json!({"type": ["null", "string"], "format": "date-time", "airbyte_type": "timestamp_with_timezone"})
            }
            Self::TimestampWithoutTimezone => {
                json!({"type": ["null", "string"], "format": "date-time", "airbyte_type": "timestamp_without_timezone"})
            }
            Self::Object => json!({"type": ["null", "object"]}),
            Self::Array => json!({"type": ["null", "array"]}),
            Self::Union => json!({"type": ["null", "string", "number", "boolean", "object", "array"]}),
        }
    }
}

/// A top-level field of a selected stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name, as in the schema and in every record.
    pub name: String,
    /// Its type.
    pub field_type: FieldType,
    /// Its whole schema, for those who need more.
    pub schema: Value,
}

#[cfg(test)]
mod tests {
    use super::FieldType;
    use serde_json::json;

    #[test]
    fn every_type_reads_back_what_it_writes() {
        use FieldType::{
            Array, Boolean, Date, Integer, Number, Object, String, TimeWithTimezone, TimeWithoutTimezone,
            TimestampWithTimezone, TimestampWithoutTimezone, Union,
        };
        for t in [
            Boolean,
            Integer,
            Number,
            String,
            Date,
            TimeWithTimezone,
            TimeWithoutTimezone,
            TimestampWithTimezone,
            TimestampWithoutTimezone,
            Object,
            Array,
            Union,
        ] {
            assert_eq!(FieldType::of(&t.json_schema()), t);
        }
    }

    #[test]
    fn follows_the_documented_conventions() {
        for (schema, expected) in [
            (json!({}), FieldType::Object),
            (json!({"type": "number", "airbyte_type": "integer"}), FieldType::Integer),
            (json!({"type": "string", "format": "date-time"}), FieldType::TimestampWithTimezone),
            (json!({"oneOf": [{"type": "null"}, {"type": "integer"}]}), FieldType::Integer),
            (json!({"type": ["string", "object"]}), FieldType::Union),
            (json!({"$ref": "WellKnownTypes.json#/definitions/Date"}), FieldType::Date),
        ] {
            assert_eq!(FieldType::of(&schema), expected, "{schema}");
        }
    }
}
