//! Configs of older versions: keys at the top level, and the one-stream form of version 3.

use serde_json::{Map, Value, json};

/// Rewrites them to the form of today.
pub(crate) fn adapt(config: &mut Value) {
    let Some(top) = config.as_object_mut() else { return };
    if !top.contains_key("streams") && top.contains_key("dataset") {
        one_stream(top);
    }
    // Airbyte's order: a role, then a user, then what the environment has.
    let text = |top: &mut Map<String, Value>, key: &str| {
        top.remove(key).filter(|v| v.as_str().is_some_and(|s| !s.trim().is_empty()))
    };
    let (id, secret) = (text(top, "aws_access_key_id"), text(top, "aws_secret_access_key"));
    let role = text(top, "role_arn");
    if top.get("credentials").is_some_and(|c| !c.is_null()) {
        return;
    }
    top.remove("credentials");
    let credentials = match (role, id, secret) {
        (Some(role), ..) => json!({"auth_type": "iam_role", "role_arn": role}),
        (None, None, None) => return,
        (None, id, secret) => json!({
            "auth_type": "iam_user",
            "aws_access_key_id": id.unwrap_or_else(|| "".into()),
            "aws_secret_access_key": secret.unwrap_or_else(|| "".into()),
        }),
    };
    top.insert("credentials".to_owned(), credentials);
}

/// Version 3 had `dataset`, `path_pattern`, `provider`, `format` and `schema`.
fn one_stream(top: &mut Map<String, Value>) {
    let name = top.remove("dataset").unwrap_or_default();
    let pattern = top.remove("path_pattern");
    let globs: Vec<&str> = pattern.as_ref().and_then(Value::as_str).unwrap_or("**").split('|').collect();
    let mut stream = json!({"name": name, "globs": globs});
    let mut format = match top.remove("format") {
        Some(Value::Object(format)) => format,
        _ => Map::new(),
    };
    let kind = format.get("filetype").and_then(Value::as_str).unwrap_or("csv").to_owned();
    format.insert("filetype".to_owned(), kind.as_str().into());
    if kind == "csv" {
        if format.remove("infer_datatypes") == Some(Value::Bool(true)) {
            format.insert("inference_type".to_owned(), "Primitive Types Only".into());
        }
        for gone in ["newlines_in_values", "additional_reader_options", "advanced_options", "block_size"] {
            format.remove(gone);
        }
        format.retain(|_, value| !value.is_null() && value.as_str() != Some(""));
    } else {
        format.retain(|key, _| key == "filetype");
    }
    stream["format"] = Value::Object(format);
    if let Some(schema) = top.remove("schema")
        && schema.as_str().is_some_and(|s| !matches!(s.trim(), "" | "{}"))
    {
        stream["input_schema"] = schema;
    }
    if let Some(Value::Object(mut provider)) = top.remove("provider") {
        for key in [
            "bucket",
            "aws_access_key_id",
            "aws_secret_access_key",
            "role_arn",
            "endpoint",
            "region_name",
            "start_date",
        ] {
            if let Some(value) = provider.remove(key)
                && !value.is_null()
            {
                top.entry(key).or_insert(value);
            }
        }
        if let Some(prefix) = provider.remove("path_prefix")
            && prefix.as_str().is_some_and(|p| !p.is_empty())
        {
            stream["legacy_prefix"] = prefix;
        }
    }
    top.insert("streams".to_owned(), Value::Array(vec![stream]));
}

#[cfg(test)]
mod tests {
    use super::adapt;
    use serde_json::json;

    #[test]
    fn keys_at_the_top_become_credentials() {
        let mut config =
            json!({"bucket": "b", "streams": [], "aws_access_key_id": "a", "aws_secret_access_key": "s"});
        adapt(&mut config);
        assert_eq!(
            config,
            json!({"bucket": "b", "streams": [], "credentials": {"auth_type": "iam_user", "aws_access_key_id": "a", "aws_secret_access_key": "s"}})
        );
        let mut config = json!({"streams": [], "aws_access_key_id": "a", "aws_secret_access_key": "s", "role_arn": "arn:aws:x"});
        adapt(&mut config);
        assert_eq!(config["credentials"], json!({"auth_type": "iam_role", "role_arn": "arn:aws:x"}));
    }

    #[test]
    fn a_config_of_version_three_becomes_one_stream() {
        let mut config = json!({
            "dataset": "orders", "path_pattern": "a/*.csv|b/*.csv", "schema": "{}",
            "format": {"filetype": "csv", "delimiter": ";", "infer_datatypes": true, "block_size": 100},
            "provider": {"bucket": "lake", "aws_access_key_id": "a", "aws_secret_access_key": "s", "path_prefix": "a"}
        });
        adapt(&mut config);
        assert_eq!(
            config["streams"],
            json!([{"name": "orders", "globs": ["a/*.csv", "b/*.csv"], "legacy_prefix": "a",
                "format": {"filetype": "csv", "delimiter": ";", "inference_type": "Primitive Types Only"}}])
        );
        assert_eq!(config["bucket"], "lake");
        assert_eq!(config["credentials"]["auth_type"], "iam_user");
    }
}
