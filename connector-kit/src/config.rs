//! Reads the files named on the command line; checks a config against its own schema.

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};

/// No config, catalog or state file is larger; more is a wrong path.
const FILE_CAP: u64 = 256 << 20;

/// A file's bytes, or an error that names the flag and the file.
pub(crate) fn read_file(flag: &str, path: &Path) -> Result<Vec<u8>> {
    let shown = path.display();
    let meta = fs::metadata(path).map_err(|e| {
        Error::config(format!("The file given by {flag}, {shown}, cannot be read; check the path."))
            .with_source(e)
    })?;
    if meta.is_dir() {
        return Err(Error::config(format!("{flag} is given a directory, {shown}; it takes a file.")));
    }
    if meta.len() > FILE_CAP {
        return Err(Error::config(format!(
            "The file given by {flag}, {shown}, is larger than {FILE_CAP} bytes; check the path."
        )));
    }
    fs::read(path).map_err(|e| {
        Error::config(format!("The file given by {flag}, {shown}, cannot be read; check its permissions."))
            .with_source(e)
    })
}

/// The config file as JSON. Keys beginning with `_` are the platform's and dropped.
pub(crate) fn read_config(path: &Path) -> Result<Value> {
    let bytes = read_file("--config", path)?;
    let shown = path.display();
    if bytes.trim_ascii().is_empty() {
        return Err(Error::config(format!(
            "The config file {shown} is empty; write the config as a JSON object."
        )));
    }
    let mut config: Value = serde_json::from_slice(&bytes).map_err(|e| {
        // serde_json's own text may quote the file, which holds secrets; its position does not.
        Error::config(format!(
            "The config file {shown} is not JSON (line {}, column {}); mend it there.",
            e.line(),
            e.column()
        ))
    })?;
    match &mut config {
        Value::Object(object) => object.retain(|key, _| !key.starts_with('_')),
        _ => {
            return Err(Error::config(format!(
                "The config file {shown} does not hold a JSON object; write the config as one."
            )));
        }
    }
    Ok(config)
}

/// Checks `config` against `schema` and reads it as `C`. Unknown keys at the top warn.
pub(crate) fn parse_config<C: DeserializeOwned>(schema: &Value, config: &Value) -> Result<C> {
    let validator = jsonschema::validator_for(schema).map_err(|e| {
        Error::system("The connector's own spec is not a JSON Schema.").with_source(e.to_string())
    })?;
    let mut faults: Vec<String> =
        validator.iter_errors(config).map(|e| describe(&e, schema, config)).collect();
    faults.dedup();
    if !faults.is_empty() {
        return Err(Error::config(format!("The config does not fit the spec: {}.", faults.join("; "))));
    }
    warn_unknown(schema, config);
    serde_json::from_value(config.clone()).map_err(|_| {
        // The schema is looser than the type somewhere; serde's text may quote a value.
        Error::config("The config does not fit the spec; compare it with the output of `spec`.")
    })
}

/// The place and what was expected there, never the value.
fn describe(error: &jsonschema::ValidationError<'_>, schema: &Value, config: &Value) -> String {
    use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
    let place = match error.instance_path().to_string() {
        path if path.is_empty() => "$".to_owned(),
        path => format!("$.{}", path.trim_start_matches('/').replace('/', ".")),
    };
    let found = config.pointer(&error.instance_path().to_string()).map_or("nothing", kind_of);
    match error.kind() {
        Kind::Required { property } => {
            format!("{place}: {} is missing", property.as_str().unwrap_or("a key"))
        }
        Kind::Type { kind } => {
            let expected = match kind {
                TypeKind::Single(one) => one.to_string(),
                TypeKind::Multiple(set) => set.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(" or "),
            };
            format!("{place}: expected {expected}, found {found}")
        }
        Kind::Enum { options } => format!("{place}: expected one of {options}"),
        Kind::Constant { expected_value } => format!("{place}: expected {expected_value}"),
        Kind::Minimum { limit } => format!("{place}: expected at least {limit}"),
        Kind::Maximum { limit } => format!("{place}: expected at most {limit}"),
        Kind::MinLength { limit } => format!("{place}: expected at least {limit} characters"),
        Kind::Pattern { pattern } => format!("{place}: expected text that matches {pattern}"),
        Kind::OneOfNotValid { .. } | Kind::AnyOf { .. } => {
            match options(schema.pointer(&error.schema_path().to_string())) {
                names if names.is_empty() => format!("{place}: fits none of the options in the spec"),
                names => format!("{place}: fits none of the options in the spec, which are {names}"),
            }
        }
        other => format!("{place}: does not satisfy {:?}", other.keyword()),
    }
}

/// What tells the options of a `oneOf` apart: `storage "local" or storage "HTTPS"`.
fn options(one_of: Option<&Value>) -> String {
    let options = one_of.and_then(Value::as_array).into_iter().flatten();
    let constant = |option: &Value| {
        let mut properties = option.get("properties")?.as_object()?.iter();
        properties.find_map(|(name, p)| p.get("const").map(|value| format!("{name} {value}")))
    };
    options.filter_map(constant).collect::<Vec<_>>().join(" or ")
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn warn_unknown(schema: &Value, config: &Value) {
    let known = schema.get("properties").and_then(Value::as_object);
    for key in config.as_object().into_iter().flatten().map(|(key, _)| key) {
        if !known.is_some_and(|k| k.contains_key(key)) {
            tracing::warn!("The config key {key:?} is not in the spec and has no effect.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{parse_config, read_config};
    use crate::spec::config_schema;
    use schemars::JsonSchema;
    use serde::Deserialize;
    use serde_json::{Value, json};
    use std::io::Write;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[allow(dead_code, reason = "only parsed")]
    struct Config {
        count: u32,
        mode: Mode,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        Fast,
        Slow,
    }

    fn fault(config: Value) -> String {
        parse_config::<Config>(&config_schema::<Config>(), &config).unwrap_err().to_string()
    }

    #[test]
    fn faults_name_the_place_and_what_was_expected_and_no_value() {
        assert!(fault(json!({"mode": "fast"})).contains("$: count is missing"));
        let text = fault(json!({"count": "s3cret", "mode": "fast"}));
        assert!(
            text.contains("$.count: expected integer, found a string") && !text.contains("s3cret"),
            "{text}"
        );
        assert!(fault(json!({"count": 1, "mode": "other"})).contains("$.mode: expected one of"));
        assert!(fault(json!({"count": -1, "mode": "slow"})).contains("$.count: expected at least 0"));
    }

    #[test]
    fn unreadable_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let text = |path: &std::path::Path| read_config(path).unwrap_err().to_string();
        assert!(text(dir.path()).contains("a directory"));
        assert!(text(&dir.path().join("absent.json")).contains("absent.json"));
        for (content, expected) in
            [("", "is empty"), ("{\"a\": s3cret", "not JSON (line 1"), ("[]", "JSON object")]
        {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(content.as_bytes()).unwrap();
            let text = text(file.path());
            assert!(text.contains(expected) && !text.contains("s3cret"), "{text}");
        }
    }
}
