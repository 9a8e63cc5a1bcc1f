//! `cargo xtask registry`: the file by which a self-hosted platform lists every connector of this workspace, made of
//! `metadata.yaml` and of what each binary says to `spec`.

use std::path::Path;

use serde_json::{Value, json};

use crate::Result;
use crate::metadata::{self, ConnectorType, Data, Subtype};
use crate::shell::{command, output, target};

const HELP: &str = "\
cargo xtask registry [OPTION …]

  --profile NAME        which build's binaries: release (default), dist, dev
  --registry HOST       where the images are; put before their names
  --documentation BASE  an address that the connectors' names are added to, for documentationUrl
  --out FILE            target/oss_registry.json when left out
";

/// Writes the file.
pub(crate) fn registry(words: &[&str]) -> Result {
    let (mut profile, mut host, mut documentation, mut out) = ("release", None, None, None);
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value\n\n{HELP}"));
        match word {
            "--profile" => profile = value()?,
            "--registry" => host = Some(value()?),
            "--documentation" => documentation = Some(value()?),
            "--out" => out = Some(value()?),
            other => return Err(format!("{other} is not known here\n\n{HELP}")),
        }
    }
    let folder = target().join(if profile == "dev" { "debug" } else { profile });
    let (mut sources, mut destinations) = (Vec::new(), Vec::new());
    for name in metadata::connectors()? {
        let mut data = metadata::load(&name)?.data;
        if data.registry_overrides.as_ref().is_some_and(|o| !o.oss.enabled) {
            continue;
        }
        if let Some(host) = host {
            data.docker_repository = format!("{host}/{}", data.docker_repository);
        }
        if let Some(base) = documentation {
            data.documentation_url = format!("{}/{name}", base.trim_end_matches('/'));
        }
        let list =
            if data.connector_type == ConnectorType::Source { &mut sources } else { &mut destinations };
        list.push(entry(data, spec(&folder, &name, profile)?)?);
    }
    let (listed, text) =
        (sources.len() + destinations.len(), json!({"sources": sources, "destinations": destinations}));
    let path = out.map_or_else(|| target().join("oss_registry.json"), Into::into);
    let text = serde_json::to_string_pretty(&text).map_err(|e| e.to_string())? + "\n";
    std::fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    println!("{listed} connectors in {}", path.display());
    Ok(())
}

fn spec(folder: &Path, name: &str, profile: &str) -> Result<Value> {
    let binary = folder.join(name);
    if !binary.exists() {
        return Err(format!(
            "{} is not built; run `cargo build --profile {profile} --workspace --bins` first",
            binary.display()
        ));
    }
    let said = output(command(binary).arg("spec"))?;
    said.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|mut message| message.get_mut("spec").map(Value::take))
        .ok_or_else(|| format!("{name} spec: printed no SPEC message"))
}

/// The metadata as a registry has it: another name for the id, no talk of registries, and the spec.
fn entry(data: Data, spec: Value) -> Result<Value> {
    let (kind, subtype) = (data.connector_type, data.connector_subtype);
    let mut entry = serde_json::to_value(data).map_err(|e| e.to_string())?;
    let map = entry.as_object_mut().ok_or("metadata is no object")?;
    let id = map.shift_remove("definitionId").unwrap_or_default();
    for gone in ["connectorType", "connectorSubtype", "registryOverrides"] {
        map.shift_remove(gone);
    }
    match kind {
        ConnectorType::Source => {
            map.insert("sourceDefinitionId".into(), id);
            // Airbyte knows fewer kinds here than in metadata.
            let known = matches!(subtype, Subtype::Api | Subtype::File | Subtype::Database);
            let word =
                if known { serde_json::to_value(subtype).unwrap_or_default() } else { "custom".into() };
            map.insert("sourceType".into(), word);
        }
        ConnectorType::Destination => {
            map.insert("destinationDefinitionId".into(), id);
        }
    }
    map.insert("language".into(), "rust".into());
    for (flag, value) in [("tombstone", false), ("public", true), ("custom", false)] {
        map.insert(flag.into(), value.into());
    }
    map.insert("spec".into(), spec);
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::entry;
    use crate::metadata;
    use serde_json::json;

    #[test]
    fn an_entry_has_the_id_under_its_new_name_and_the_spec() {
        let spec = json!({"connectionSpecification": {}});
        let data = metadata::load("source-postgres").unwrap().data;
        let made = entry(data.clone(), spec.clone()).unwrap();
        assert_eq!(made["sourceDefinitionId"], data.definition_id.as_str());
        assert_eq!((&made["sourceType"], &made["spec"]), (&json!("database"), &spec));
        for needed in ["name", "dockerRepository", "dockerImageTag", "documentationUrl"] {
            assert!(made[needed].is_string(), "{needed}");
        }
        assert!(made.get("definitionId").is_none() && made.get("registryOverrides").is_none());
        let made = entry(metadata::load("destination-local").unwrap().data, spec).unwrap();
        assert!(made["destinationDefinitionId"].is_string() && made.get("sourceType").is_none());
        assert_eq!(made["supportsRefreshes"], true);
    }
}
