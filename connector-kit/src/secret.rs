//! Secrets: a type that cannot be printed, and a masker over everything that can.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, MatchKind};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;

/// A secret config value. It has no `Debug`, `Display` or `Serialize` that would show it,
/// and its spec carries `airbyte_secret`.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The secret itself: pass it to the driver, and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "airbyte_secret": true })
    }
}

/// Replaces every known secret, in the forms it may take in a text, by `***`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Masker(Option<AhoCorasick>);

impl Masker {
    /// Collects the values at the schema's `airbyte_secret` places.
    pub(crate) fn from_config(schema: &Value, config: &Value) -> Self {
        let mut found = Vec::new();
        collect(schema, config, &mut found);
        Self::new(&found)
    }

    pub(crate) fn new(secrets: &[String]) -> Self {
        let mut patterns = Vec::new();
        // Shorter ones would blank out ordinary words.
        for secret in secrets.iter().filter(|s| s.len() >= 3) {
            let json = Value::from(secret.as_str()).to_string();
            patterns.push(json[1..json.len() - 1].to_owned());
            patterns.push(percent_encoded(secret));
            patterns.push(percent_encoded(secret).to_ascii_lowercase());
            patterns.push(base64(secret.as_bytes()));
            patterns.push(secret.clone());
        }
        patterns.sort_unstable();
        patterns.dedup();
        let build = || AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&patterns).ok();
        Self(if patterns.is_empty() { None } else { build() })
    }

    pub(crate) fn mask(&self, text: &str) -> String {
        match &self.0 {
            Some(automaton) => {
                let mut out = String::with_capacity(text.len());
                automaton.replace_all_with(text, &mut out, |_, _, out| {
                    out.push_str("***");
                    true
                });
                out
            }
            None => text.to_owned(),
        }
    }
}

fn collect(schema: &Value, config: &Value, found: &mut Vec<String>) {
    if schema.get("airbyte_secret") == Some(&Value::Bool(true)) {
        all_strings(config, found);
    }
    if let (Some(properties), Some(object)) =
        (schema.get("properties").and_then(Value::as_object), config.as_object())
    {
        for (name, property) in properties {
            if let Some(value) = object.get(name) {
                collect(property, value, found);
            }
        }
    }
    for keyword in ["oneOf", "anyOf", "allOf"] {
        for option in schema.get(keyword).and_then(Value::as_array).into_iter().flatten() {
            collect(option, config, found);
        }
    }
    if let (Some(items), Some(list)) = (schema.get("items"), config.as_array()) {
        list.iter().for_each(|value| collect(items, value, found));
    }
}

fn all_strings(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            // A multi-line secret (a key) also leaks line by line.
            found.extend(text.lines().map(str::trim).filter(|l| l.len() >= 16).map(String::from));
            found.push(text.clone());
        }
        Value::Array(list) => list.iter().for_each(|v| all_strings(v, found)),
        Value::Object(map) => map.values().for_each(|v| all_strings(v, found)),
        Value::Number(n) => found.push(n.to_string()),
        Value::Null | Value::Bool(_) => {}
    }
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Unpadded, so that it also matches inside a longer padded text.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().fold(0_u32, |n, b| (n << 8) | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..=chunk.len() {
            out.push(char::from(ALPHABET[(n >> (18 - 6 * i) & 63) as usize]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Masker, Secret, base64, percent_encoded};
    use serde_json::json;

    #[test]
    fn masks_every_form_of_a_secret_and_prefers_the_longest() {
        let secret = "p@ss \"word\"/1";
        let masker = Masker::new(&[secret.to_owned(), format!("{secret}23")]);
        for form in [
            secret.to_owned(),
            percent_encoded(secret),
            base64(secret.as_bytes()),
            "p@ss \\\"word\\\"/1".to_owned(),
        ] {
            assert_eq!(masker.mask(&format!("a {form} b")), "a *** b", "{form}");
        }
        assert_eq!(masker.mask("x p@ss \"word\"/123"), "x ***");
    }

    #[test]
    fn finds_secrets_inside_alternatives() {
        let schema =
            json!({"properties": {"auth": {"oneOf": [{"properties": {"token": {"airbyte_secret": true}}}]}}});
        let masker = Masker::from_config(&schema, &json!({"auth": {"token": "tok-en"}}));
        assert_eq!(masker.mask("got tok-en"), "got ***");
    }

    #[test]
    fn debug_shows_nothing() {
        assert!(!format!("{:?}", Secret::from("hidden".to_owned())).contains("hidden"));
    }

    #[test]
    fn encodes_base64_as_the_rfc_does() {
        for (plain, encoded) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg")] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
