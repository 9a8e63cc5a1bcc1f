//! Where connectors run: the keys `containers` and `resources`, and `mounts` of each end.

use std::path::Path;

use serde_json::{Map, Value};

use super::shape::{Shape, known_keys, object, text};
use crate::launch::{Mount, Placement};
use crate::resources::{self, Resources};

pub(super) fn of(
    top: &Map<String, Value>,
    end: &Map<String, Value>,
    role: &str,
    directory: &Path,
) -> Shape<Placement> {
    let empty = Map::new();
    let containers = part(top, "containers")?.unwrap_or(&empty);
    known_keys(containers, "containers", &["runtime", "network"])?;
    let word = |key: &str| -> Shape<Option<String>> {
        let word = text(containers, "containers", key)?.filter(|word| !word.trim().is_empty());
        match word {
            Some(word) if word.starts_with('-') => {
                Err(format!("containers.{key} must not begin with a dash"))
            }
            word => Ok(word.map(str::to_owned)),
        }
    };
    Ok(Placement {
        runtime: word("runtime")?,
        network: word("network")?,
        mounts: mounts(end, role, directory)?,
        resources: limits(top, role)?,
        label: None,
    })
}

fn part<'a>(map: &'a Map<String, Value>, key: &str) -> Shape<Option<&'a Map<String, Value>>> {
    map.get(key).filter(|value| !value.is_null()).map(|value| object(value, key)).transpose()
}

fn limits(top: &Map<String, Value>, role: &str) -> Shape<Resources> {
    let Some(both) = part(top, "resources")? else { return Ok(Resources::default()) };
    known_keys(both, "resources", &["source", "destination"])?;
    let Some(own) = both.get(role).filter(|value| !value.is_null()) else { return Ok(Resources::default()) };
    let at = format!("resources.{role}");
    let own = object(own, &at)?;
    known_keys(own, &at, &["cpu_limit", "memory_limit"])?;
    // YAML reads 2 as a number and 512Mi as a text.
    let given = |key: &str| match own.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(format!("{at}.{key} must be a number or a text")),
    };
    let within = |key: &str, error: String| format!("{at}.{key}: {error}");
    Ok(Resources {
        cpu_millis: given("cpu_limit")?
            .map(|t| resources::cpu(&t))
            .transpose()
            .map_err(|e| within("cpu_limit", e))?,
        memory: given("memory_limit")?
            .map(|t| resources::memory(&t))
            .transpose()
            .map_err(|e| within("memory_limit", e))?,
    })
}

fn mounts(end: &Map<String, Value>, role: &str, directory: &Path) -> Shape<Vec<Mount>> {
    let at = format!("{role}.mounts");
    let list = match end.get("mounts") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(format!("{at} must be a list; write \"- ./data:/local\"")),
    };
    list.iter()
        .enumerate()
        .map(|(i, item)| {
            let wrong = || {
                format!("{at}[{i}] must say where a folder is and where the container sees it, as ./data:/local or ./data:/local:ro")
            };
            let mut parts = item.as_str().ok_or_else(wrong)?.split(':');
            let (host, inside) = (parts.next().unwrap_or_default(), parts.next().ok_or_else(wrong)?);
            let read_only = match parts.next() {
                None | Some("rw") => false,
                Some("ro") => true,
                Some(_) => return Err(wrong()),
            };
            if host.is_empty() || !inside.starts_with('/') || parts.next().is_some() {
                return Err(wrong());
            }
            let host = directory.join(host);
            if !host.exists() {
                return Err(format!("{at}[{i}]: {} is not there; make it first", host.display()));
            }
            Ok(Mount { host, inside: inside.to_owned(), read_only })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::of;
    use crate::launch::Placement;
    use serde_json::{Value, json};
    use std::path::Path;

    fn placed(top: &Value, end: &Value) -> Result<Placement, String> {
        of(top.as_object().unwrap(), end.as_object().unwrap(), "source", Path::new("/"))
    }

    #[test]
    fn limits_network_and_folders_are_read() {
        let top = json!({"containers": {"runtime": "docker", "network": "host"},
            "resources": {"source": {"cpu_limit": 1.5, "memory_limit": "512Mi"}, "destination": {"cpu_limit": "2"}}});
        let placed = placed(&top, &json!({"mounts": ["tmp:/local", "tmp:/in:ro"]})).unwrap();
        assert_eq!((placed.runtime.as_deref(), placed.network.as_deref()), (Some("docker"), Some("host")));
        assert_eq!((placed.resources.cpu_millis, placed.resources.memory), (Some(1500), Some(512 << 20)));
        let seen: Vec<_> = placed
            .mounts
            .iter()
            .map(|m| (m.host.to_str().unwrap(), m.inside.as_str(), m.read_only))
            .collect();
        assert_eq!(seen, [("/tmp", "/local", false), ("/tmp", "/in", true)]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let cases = [
            (json!({"resources": {"sorce": {}}}), json!({}), "did you mean \"source\"?"),
            (json!({"resources": {"source": {"memory": 1}}}), json!({}), "memory_limit"),
            (
                json!({"resources": {"source": {"memory_limit": "2 GB"}}}),
                json!({}),
                "resources.source.memory_limit: ",
            ),
            (json!({"resources": {"source": {"cpu_limit": true}}}), json!({}), "number or a text"),
            (json!({"containers": {"network": "--privileged"}}), json!({}), "dash"),
            (json!({"containers": {"privileged": "yes"}}), json!({}), "known here: runtime, network"),
            (json!({}), json!({"mounts": "tmp:/x"}), "must be a list"),
            (json!({}), json!({"mounts": ["tmp"]}), "source.mounts[0] must say"),
            (json!({}), json!({"mounts": ["tmp:x"]}), "source.mounts[0] must say"),
            (json!({}), json!({"mounts": ["tmp:/x:rx"]}), "source.mounts[0] must say"),
            (json!({}), json!({"mounts": ["nonexistent-folder:/x"]}), "is not there"),
        ];
        for (top, end, expected) in cases {
            let error = placed(&top, &end).unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
