//! The spec, derived from the config type, in the dialect that platforms render as a form.

use protocol::{ConnectorSpecification, DestinationSyncMode};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// The JSON Schema (draft 7, nothing referenced) of a config type.
///
/// Field docs become descriptions (the first paragraph line stays one line), declaration
/// order becomes `order`, options lose their `null`, and an internally tagged enum becomes
/// `type: object` with a `oneOf` whose options are told apart by one `const`.
#[must_use]
pub fn config_schema<C: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|s| {
        s.inline_subschemas = true;
        s.meta_schema = Some("http://json-schema.org/draft-07/schema#".into());
    });
    let mut schema = settings.into_generator().into_root_schema_for::<C>().to_value();
    tidy(&mut schema);
    schema
}

fn tidy(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    drop_null(object);
    // serde's unsigned integers say `format: uint`, which platforms do not know.
    if object
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|f| f.starts_with("uint") || f.starts_with("int") || f == "double")
    {
        object.remove("format");
    }
    // Refused by platforms; unknown keys only warn.
    object.remove("additionalProperties");
    if let Some(Value::String(text)) = object.get_mut("description") {
        *text = text.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned();
    }
    if let Some(options) = object.get_mut("oneOf").and_then(Value::as_array_mut) {
        options.iter_mut().for_each(tidy);
        let are_objects = options.iter().all(|o| o.get("properties").is_some());
        if are_objects {
            object.insert("type".into(), "object".into());
        }
    }
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        for (order, (name, property)) in properties.iter_mut().enumerate() {
            tidy(property);
            if let Some(property) = property.as_object_mut()
                && !property.contains_key("const")
            {
                property.entry("order").or_insert(order.into());
                property.entry("title").or_insert_with(|| title(name).into());
            }
        }
    }
    if let Some(items) = object.get_mut("items") {
        tidy(items);
    }
}

/// `Option<T>` is "may be left out", which `required` already says.
fn drop_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|t| t != "null");
        if let [only] = &types[..] {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|v| !v.is_null());
    }
    for keyword in ["anyOf", "oneOf"] {
        if let Some(Value::Array(options)) = object.get_mut(keyword) {
            options.retain(|o| o.get("type") != Some(&"null".into()));
            if let [Value::Object(only)] = &options[..] {
                let only = only.clone();
                object.remove(keyword);
                for (key, value) in only {
                    object.entry(key).or_insert(value);
                }
            } else if keyword == "anyOf"
                && let Some(options) = object.remove("anyOf")
            {
                object.insert("oneOf".into(), options);
            }
        }
    }
    if object.get("default") == Some(&Value::Null) {
        object.remove("default");
    }
}

/// `dataset_name` as a form would head it.
fn title(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

pub(crate) fn specification<C: JsonSchema>(
    name: &str,
    modes: Option<&[DestinationSyncMode]>,
) -> ConnectorSpecification {
    let mut schema = config_schema::<C>();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".into(), format!("{} spec", title(&name.replace('-', "_"))).into());
        object.entry("type").or_insert("object".into());
        object.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    }
    let mut extra = Map::new();
    if modes.is_none() {
        extra.insert("supportsIncremental".into(), true.into());
    }
    ConnectorSpecification {
        documentation_url: None,
        changelog_url: None,
        connection_specification: schema,
        supported_destination_sync_modes: modes.map(<[_]>::to_vec),
        protocol_version: Some("0.2.0".into()),
        advanced_auth: None,
        extra,
    }
}

#[cfg(test)]
mod tests {
    use super::config_schema;
    use crate::secret::Secret;
    use schemars::JsonSchema;
    use serde_json::json;

    /// A config.
    #[derive(JsonSchema)]
    #[allow(dead_code, reason = "only its schema is looked at")]
    struct Config {
        /// Where it is.
        host: String,
        /// Lines
        /// join.
        port: Option<u16>,
        password: Secret,
        storage: Storage,
    }

    #[derive(JsonSchema)]
    #[serde(tag = "kind")]
    #[allow(dead_code, reason = "only its schema is looked at")]
    enum Storage {
        /// On this machine.
        #[serde(rename = "local")]
        Local { path: String },
        #[serde(rename = "web")]
        Web {},
    }

    #[test]
    fn writes_the_dialect_that_platforms_read() {
        let schema = config_schema::<Config>();
        assert_eq!(schema["required"], json!(["host", "password", "storage"]));
        let properties = &schema["properties"];
        assert_eq!(
            properties["host"],
            json!({"description": "Where it is.", "type": "string", "order": 0, "title": "Host"})
        );
        assert_eq!(properties["port"]["type"], "integer");
        assert_eq!(properties["port"]["description"], "Lines join.");
        assert_eq!(properties["password"]["airbyte_secret"], true);
        let storage = &properties["storage"];
        assert_eq!(
            (&storage["type"], &storage["oneOf"][0]["properties"]["kind"]["const"]),
            (&json!("object"), &json!("local"))
        );
        let text = schema.to_string();
        for forbidden in ["$ref", "allOf", "additionalProperties", "\"null\""] {
            assert!(!text.contains(forbidden), "{forbidden} in {text}");
        }
    }
}
