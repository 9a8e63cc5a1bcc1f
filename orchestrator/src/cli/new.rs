//! `ferry new`: a commented sync file made from two specs.

use protocol::ConnectorSpecification;
use serde_json::{Map, Value, json};

use super::commands::{ask_spec, type_of};
use super::{Answer, pretty};
use crate::error::{Error, Origin};
use crate::interrupt::Interrupt;
use crate::job::Options;
use crate::launch::container;

pub(super) fn new(
    source: &str,
    destination: &str,
    options: &Options,
    interrupt: &Interrupt,
) -> Result<Answer, Error> {
    let (_, source_spec) = ask_spec(source, Origin::Source, options, interrupt)?;
    let (_, destination_spec) = ask_spec(destination, Origin::Destination, options, interrupt)?;
    let text = sync_file((source, &source_spec), (destination, &destination_spec));
    Ok(Answer { json: pretty(&json!({"sync_file": text})), text, problems: String::new(), code: 0 })
}

fn sync_file(
    source: (&str, &ConnectorSpecification),
    destination: (&str, &ConnectorSpecification),
) -> String {
    let mut text = String::from(
        "# A sync file. Options that are needed stand open; the others are comments with their defaults.\n# ${NAME} takes a value from the environment and ${file:path} from a file, so that no secret stands here.\n\n",
    );
    for (role, (name, spec)) in [("source", source), ("destination", destination)] {
        text.push_str(&format!("{role}:\n  connector: {}\n", scalar(&Value::String(name.to_owned()))));
        if let Some(url) = &spec.documentation_url {
            text.push_str(&format!("  # {url}\n"));
        }
        let mut body = String::new();
        let prefix = container::plain_name(name).to_uppercase().replace(['-', '.'], "_");
        options(&spec.connection_specification, 4, &prefix, false, &mut body);
        // Without any open option the value is null, which ferry takes for an empty config.
        text.push_str("  config:\n");
        text.push_str(&body);
        text.push('\n');
    }
    text.push_str(
        "# Without this key every stream is read whole and replaces what is there (full_refresh, overwrite).
# streams:
#   - name: orders
#     namespace: public            # only where the source has several
#     sync_mode: incremental       # full_refresh | incremental
#     destination_sync_mode: append_dedup    # append | overwrite | append_dedup
#     cursor_field: updated_at
#     primary_key: [id]
#     fields: [id, updated_at, amount]       # leave out for all
# namespace: source                # source | destination | a text with ${SOURCE_NAMESPACE}
# prefix: ml_                      # put before every stream's name
# timeouts: {source_silence_secs: 10800, destination_stall_secs: 7200}
# resources: {source: {cpu_limit: 1, memory_limit: 1Gi}, destination: {cpu_limit: 1, memory_limit: 1Gi}}
",
    );
    text
}

fn options(schema: &Value, indent: usize, prefix: &str, commented: bool, out: &mut String) {
    let needed = |name: &str| {
        schema.get("required").and_then(Value::as_array).is_some_and(|r| r.iter().any(|f| f == name))
    };
    let mut properties: Vec<(&String, &Value)> =
        schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::iter).collect();
    let order = |option: &Value| option.get("order").and_then(Value::as_i64).unwrap_or(i64::MAX);
    properties.sort_by_key(|(name, option)| (!needed(name), order(option)));
    for (name, option) in properties {
        let off = commented || !needed(name);
        let pad = " ".repeat(indent);
        for line in about(option) {
            out.push_str(&format!("{pad}# {line}\n"));
        }
        let mark = if off { "# " } else { "" };
        let key = scalar(&Value::String(name.clone()));
        let alternative = option.get("oneOf").and_then(Value::as_array).and_then(|list| list.first());
        let below = alternative.unwrap_or(option);
        if below.get("properties").is_some_and(|p| p.as_object().is_some_and(|p| !p.is_empty())) {
            out.push_str(&format!("{pad}{mark}{key}:\n"));
            options(below, indent + 2, &format!("{prefix}_{}", name.to_uppercase()), off, out);
        } else {
            let value = sample(name, option, prefix);
            out.push_str(&format!("{pad}{mark}{key}: {value}\n"));
        }
    }
}

fn about(option: &Value) -> Vec<String> {
    let mut text = option
        .get("description")
        .or_else(|| option.get("title"))
        .and_then(Value::as_str)
        .unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    if let Some(list) = option.get("enum").and_then(Value::as_array) {
        let names: Vec<_> = list.iter().map(scalar).collect();
        text.push_str(&format!(" ({})", names.join(" | ")));
    }
    if let Some(list) = option.get("oneOf").and_then(Value::as_array)
        && list.len() > 1
    {
        let titles: Vec<_> = list.iter().filter_map(|a| a.get("title").and_then(Value::as_str)).collect();
        text.push_str(&format!(" One of: {}.", titles.join(", ")));
    }
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + word.len() > 96 {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

fn sample(name: &str, option: &Value, prefix: &str) -> String {
    if option.get("airbyte_secret") == Some(&Value::Bool(true)) {
        return format!("${{{prefix}_{}}}", name.to_uppercase().replace(['-', '.'], "_"));
    }
    let example = option.get("examples").and_then(|e| e.get(0).or(Some(e)));
    let known = option.get("const").or_else(|| option.get("default")).or(example);
    let known = known.or_else(|| option.get("enum").and_then(|e| e.get(0)));
    match known {
        Some(value) => scalar(value),
        None => format!("\"\" # {}", type_of(option)),
    }
}

/// A value as YAML on one line: JSON is YAML, and plain words need no quotes.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if plain(text) => text.clone(),
        other => other.to_string(),
    }
}

fn plain(text: &str) -> bool {
    let word = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b));
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    word && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && !reserved.contains(&text.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::sync_file;
    use protocol::ConnectorSpecification;
    use serde_json::json;

    #[test]
    fn the_printed_file_is_a_sync_file() {
        let spec: ConnectorSpecification = serde_json::from_value(json!({
            "documentationUrl": "https://example.com",
            "connectionSpecification": {"type": "object", "required": ["host", "password", "mode"], "properties": {
                "host": {"type": "string", "description": "Where it\nruns.", "order": 0, "examples": ["db.example.com: x"]},
                "port": {"type": "integer", "default": 5432},
                "password": {"type": "string", "airbyte_secret": true, "order": 2},
                "mode": {"oneOf": [
                    {"title": "Plain", "required": ["kind"], "properties": {"kind": {"const": "plain"}, "depth": {"default": 3}}},
                    {"title": "Other", "properties": {"kind": {"const": "other"}}}
                ]}
            }}
        }))
        .unwrap();
        let empty: ConnectorSpecification = serde_json::from_value(
            json!({"connectionSpecification": {"properties": {"path": {"default": "/tmp"}}}}),
        )
        .unwrap();
        let text = sync_file(("source-x", &spec), ("./destination-x", &empty));
        let tree: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(
            tree,
            json!({
                "source": {"connector": "source-x", "config": {
                    "host": "db.example.com: x", "password": "${SOURCE_X_PASSWORD}", "mode": {"kind": "plain"}
                }},
                "destination": {"connector": "./destination-x", "config": null}
            }),
            "{text}"
        );
        assert!(
            text.contains("# port: 5432")
                && text.contains("# Where it runs.")
                && text.contains("One of: Plain, Other."),
            "{text}"
        );
    }
}
