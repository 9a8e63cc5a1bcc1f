//! The sync file's keys: which there are, what each must be, and what to say otherwise.

use std::path::Path;
use std::time::Duration;

use protocol::{DestinationSyncMode, FieldPath, SyncMode};
use serde_json::{Map, Value};

use super::{
    Endpoint, NamespaceRule, Secrets, StreamChoice, SyncFile, Timeouts, placement, read_tree, substitute,
};
use crate::error::Error;
use crate::suggest;

pub(super) type Shape<T> = Result<T, String>;

const TOP: &[&str] =
    &["source", "destination", "streams", "namespace", "prefix", "timeouts", "resources", "containers"];

pub(super) fn sync_file(path: &Path, tree: &Value) -> Shape<SyncFile> {
    let top = object(tree, "the file")?;
    known_keys(top, "", TOP)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    Ok(SyncFile {
        path: path.to_owned(),
        source: endpoint(top, "source", path, directory)?,
        destination: endpoint(top, "destination", path, directory)?,
        streams: streams(top)?,
        namespace: match text(top, "", "namespace")? {
            None | Some("source") => NamespaceRule::Source,
            Some("destination") => NamespaceRule::Destination,
            Some(template) => NamespaceRule::Template(template.to_owned()),
        },
        prefix: text(top, "", "prefix")?.unwrap_or_default().to_owned(),
        timeouts: timeouts(top)?,
    })
}

fn endpoint(top: &Map<String, Value>, role: &str, path: &Path, directory: &Path) -> Shape<Endpoint> {
    let end = top.get(role).ok_or_else(|| {
        format!("{role:?} is missing; write {role}: {{connector: {role}-…, config: {{…}}}}")
    })?;
    let end = object(end, role)?;
    known_keys(end, role, &["connector", "config", "config_file", "mounts"])?;
    let connector = text(end, role, "connector")?
        .filter(|name| !name.trim().is_empty())
        .ok_or_else(|| format!("{role}.connector is missing; name a connector, e.g. {role}-local"))?;
    let (mut config, config_path) = match (end.get("config"), text(end, role, "config_file")?) {
        (Some(_), Some(_)) => {
            return Err(format!("{role} has both config and config_file; keep one of the two"));
        }
        (Some(Value::Null), None) | (None, None) => (Value::Object(Map::new()), path.to_owned()),
        (Some(config), None) => (config.clone(), path.to_owned()),
        (None, Some(file)) => {
            let file = directory.join(file);
            let tree = read_tree(&file).map_err(|e| match e {
                Error::Usage(text) => format!("{role}.config_file: {text}"),
                Error::Failed(failure) => failure.message,
            })?;
            (tree, file)
        }
    };
    object(&config, &format!("{role}.config"))?;
    let mut filled_in = Secrets::default();
    substitute::fill_in(&mut config, &format!("{role}.config"), directory, &mut filled_in)?;
    let placement = placement::of(top, end, role, directory)?;
    Ok(Endpoint { connector: connector.to_owned(), config, config_path, filled_in, placement })
}

fn streams(top: &Map<String, Value>) -> Shape<Option<Vec<StreamChoice>>> {
    let list = match top.get("streams") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(list)) => list,
        Some(_) => return Err("streams must be a list; write \"- name: …\" for each stream".into()),
    };
    if list.is_empty() {
        return Err("streams is an empty list; name at least one stream, or leave the key out for all".into());
    }
    let choices: Vec<_> = list
        .iter()
        .enumerate()
        .map(|(i, item)| stream(item, &format!("streams[{i}]")))
        .collect::<Shape<_>>()?;
    for (i, choice) in choices.iter().enumerate() {
        if choices[..i].iter().any(|c| c.name == choice.name && c.namespace == choice.namespace) {
            return Err(format!(
                "streams[{i}]: stream {:?} is listed twice; keep one of the two",
                choice.name
            ));
        }
    }
    Ok(Some(choices))
}

fn stream(item: &Value, at: &str) -> Shape<StreamChoice> {
    let item = object(item, at)?;
    let keys =
        ["name", "namespace", "sync_mode", "destination_sync_mode", "cursor_field", "primary_key", "fields"];
    known_keys(item, at, &keys)?;
    let name = text(item, at, "name")?.ok_or_else(|| format!("{at}.name is missing; name the stream"))?;
    let sync_mode = choice(
        item,
        at,
        "sync_mode",
        &[("full_refresh", SyncMode::FullRefresh), ("incremental", SyncMode::Incremental)],
    )?
    .unwrap_or(SyncMode::FullRefresh);
    let destination_sync_mode = choice(
        item,
        at,
        "destination_sync_mode",
        &[
            ("append", DestinationSyncMode::Append),
            ("overwrite", DestinationSyncMode::Overwrite),
            ("append_dedup", DestinationSyncMode::AppendDedup),
        ],
    )?
    .unwrap_or(match sync_mode {
        SyncMode::FullRefresh => DestinationSyncMode::Overwrite,
        SyncMode::Incremental => DestinationSyncMode::Append,
    });
    if (sync_mode, destination_sync_mode) == (SyncMode::Incremental, DestinationSyncMode::Overwrite) {
        // Only the changed rows would be left.
        return Err(format!(
            "{at} ({name}): incremental with overwrite would leave only the changed rows; choose append or append_dedup"
        ));
    }
    Ok(StreamChoice {
        name: name.to_owned(),
        namespace: text(item, at, "namespace")?.filter(|n| !n.is_empty()).map(str::to_owned),
        sync_mode,
        destination_sync_mode,
        cursor_field: match item.get("cursor_field") {
            None | Some(Value::Null) => Vec::new(),
            Some(path) => field_path(path, &format!("{at}.cursor_field"))?,
        },
        primary_key: match item.get("primary_key") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(field)) => vec![vec![field.clone()]],
            Some(Value::Array(parts)) => parts
                .iter()
                .map(|part| field_path(part, &format!("{at}.primary_key")))
                .collect::<Shape<_>>()?,
            Some(_) => return Err(format!("{at}.primary_key must be a list of field names")),
        },
        fields: match item.get("fields") {
            None | Some(Value::Null) => None,
            Some(list) => Some(field_path(list, &format!("{at}.fields"))?),
        },
    })
}

/// A field name, or a list of them.
fn field_path(value: &Value, at: &str) -> Shape<FieldPath> {
    let wrong = || format!("{at} must be a field name or a list of field names");
    match value {
        Value::String(field) => Ok(vec![field.clone()]),
        Value::Array(steps) if !steps.is_empty() => {
            steps.iter().map(|step| step.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        _ => Err(wrong()),
    }
}

fn timeouts(top: &Map<String, Value>) -> Shape<Timeouts> {
    let mut timeouts = Timeouts::default();
    let Some(value) = top.get("timeouts").filter(|v| !v.is_null()) else { return Ok(timeouts) };
    let given = object(value, "timeouts")?;
    known_keys(given, "timeouts", &["source_silence_secs", "destination_stall_secs"])?;
    let secs = |key: &str| match given.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(secs) if secs > 0 => Ok(Some(Duration::from_secs(secs))),
            _ => Err(format!("timeouts.{key} must be a whole number of seconds above 0")),
        },
    };
    timeouts.source_silence = secs("source_silence_secs")?.unwrap_or(timeouts.source_silence);
    timeouts.destination_stall = secs("destination_stall_secs")?.unwrap_or(timeouts.destination_stall);
    Ok(timeouts)
}

pub(super) fn object<'a>(value: &'a Value, at: &str) -> Shape<&'a Map<String, Value>> {
    value.as_object().ok_or_else(|| format!("{at} must be a mapping of keys to values"))
}

pub(super) fn text<'a>(map: &'a Map<String, Value>, at: &str, key: &str) -> Shape<Option<&'a str>> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{} must be a text; put it in quotes", path_of(at, key))),
    }
}

fn choice<T: Copy>(map: &Map<String, Value>, at: &str, key: &str, of: &[(&str, T)]) -> Shape<Option<T>> {
    let Some(given) = text(map, at, key)? else { return Ok(None) };
    let found = of.iter().find(|(name, _)| *name == given).map(|(_, value)| *value);
    found.map(Some).ok_or_else(|| {
        let names: Vec<_> = of.iter().map(|(name, _)| *name).collect();
        format!(
            "{}: {given:?} is not one of {}{}",
            path_of(at, key),
            names.join(", "),
            suggest::hint(given, names.iter().copied())
        )
    })
}

pub(super) fn known_keys(map: &Map<String, Value>, at: &str, known: &[&str]) -> Shape<()> {
    for key in map.keys() {
        if !known.contains(&key.as_str()) {
            let hint = suggest::hint(key, known.iter().copied());
            return Err(format!(
                "unknown key {:?}{hint} (known here: {})",
                path_of(at, key),
                known.join(", ")
            ));
        }
    }
    Ok(())
}

fn path_of(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::SyncFile;
    use crate::sync_file::NamespaceRule;
    use protocol::{DestinationSyncMode, SyncMode};

    fn load(text: &str) -> Result<SyncFile, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sync.yaml");
        std::fs::write(&path, text).unwrap();
        SyncFile::load(&path).map_err(|e| e.to_string())
    }

    const ENDS: &str = "source: {connector: source-x, config: {}}\ndestination: {connector: destination-x}\n";

    #[test]
    fn reads_every_key() {
        let file = load(&format!(
            "{ENDS}namespace: production_${{SOURCE_NAMESPACE}}\nprefix: ml_\ntimeouts: {{source_silence_secs: 5}}\nstreams:\n  - name: orders\n    namespace: public\n    sync_mode: incremental\n    destination_sync_mode: append_dedup\n    cursor_field: updated_at\n    primary_key: [id, [a, b]]\n    fields: [id, updated_at, a]\n  - name: users\n"
        ))
        .unwrap();
        assert_eq!(file.namespace, NamespaceRule::Template("production_${SOURCE_NAMESPACE}".into()));
        assert_eq!((file.prefix.as_str(), file.timeouts.source_silence.as_secs()), ("ml_", 5));
        assert_eq!(file.timeouts.destination_stall.as_secs(), 7200);
        let streams = file.streams.unwrap();
        assert_eq!(streams[0].cursor_field, ["updated_at"]);
        assert_eq!(streams[0].primary_key, [vec!["id".to_owned()], vec!["a".to_owned(), "b".to_owned()]]);
        assert_eq!(streams[1].destination_sync_mode, DestinationSyncMode::Overwrite);
        assert_eq!(streams[1].sync_mode, SyncMode::FullRefresh);
    }

    #[test]
    fn accepts_json_too() {
        assert!(load(r#"{"source":{"connector":"s"},"destination":{"connector":"d"}}"#).is_ok());
    }

    #[test]
    fn keeps_long_integers_and_leading_zeros_of_a_config_exact() {
        let file = load("source: {connector: s, config: {big: 9007199254740993, zip: '007'}}\ndestination: {connector: d}\n").unwrap();
        assert_eq!(file.source.config["big"].to_string(), "9007199254740993");
        assert_eq!(file.source.config["zip"], "007");
    }

    #[test]
    fn says_what_is_wrong_where_and_what_would_be_right() {
        let cases = [
            ("destnation: {}\n", "unknown key \"destnation\"; did you mean \"destination\"?"),
            ("source: {}\n", "source.connector is missing"),
            (
                &format!("{ENDS}streams: [{{name: a, sync_mod: x}}]"),
                "\"streams[0].sync_mod\"; did you mean \"sync_mode\"?",
            ),
            (
                &format!("{ENDS}streams: [{{name: a, sync_mode: incrementl}}]"),
                "did you mean \"incremental\"?",
            ),
            (&format!("{ENDS}streams: [{{name: a}}, {{name: a}}]"), "listed twice"),
            (&format!("{ENDS}streams: []"), "empty list"),
            (
                &format!(
                    "{ENDS}streams: [{{name: a, sync_mode: incremental, destination_sync_mode: overwrite}}]"
                ),
                "only the changed rows",
            ),
            (&format!("{ENDS}timeouts: {{source_silence_secs: 0}}"), "above 0"),
            (
                "source: {connector: a, config: {}, config_file: b}\ndestination: {connector: d}",
                "both config and config_file",
            ),
            ("source: {connector: a, config_file: nope.json}\ndestination: {connector: d}", "nope.json"),
            ("source: [", "is not YAML"),
            ("", "is empty"),
            ("[]", "must be a mapping"),
        ];
        for (text, expected) in cases {
            let error = load(text).unwrap_err();
            assert!(error.contains(expected) && error.contains("sync.yaml"), "{text}: {error}");
        }
    }
}
