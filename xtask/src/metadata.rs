//! `metadata.yaml` of a connector: what a platform's list of connectors says of it. Read as strictly as Airbyte's
//! schema of these files is: nothing unknown, nothing missing, and in line with the crate.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Result;
use crate::shell::root;

/// The file.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) data: Data,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    metadata_spec_version: String,
    data: Data,
}

/// Its one part.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Data {
    pub(crate) name: String,
    pub(crate) definition_id: String,
    pub(crate) connector_type: ConnectorType,
    pub(crate) connector_subtype: Subtype,
    pub(crate) docker_repository: String,
    pub(crate) docker_image_tag: String,
    pub(crate) license: String,
    pub(crate) documentation_url: String,
    pub(crate) github_issue_label: String,
    pub(crate) release_stage: ReleaseStage,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) support_level: Option<SupportLevel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) protocol_version: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allowed_hosts: Option<AllowedHosts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resource_requirements: Option<Requirements>,
    #[serde(default)]
    pub(crate) supports_refreshes: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) registry_overrides: Option<Overrides>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ConnectorType {
    Source,
    Destination,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Subtype {
    Api,
    Custom,
    Database,
    Datalake,
    File,
    MessageQueue,
    Unknown,
    Vectorstore,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReleaseStage {
    Alpha,
    Beta,
    GenerallyAvailable,
    Custom,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SupportLevel {
    Community,
    Certified,
    Archived,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AllowedHosts {
    hosts: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Requirements {
    default: Resources,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resources {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_request: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_limit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_request: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_limit: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Overrides {
    pub(crate) oss: Enabled,
    pub(crate) cloud: Enabled,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Enabled {
    pub(crate) enabled: bool,
}

/// The metadata of a connector of this workspace.
pub(crate) fn load(name: &str) -> Result<Metadata> {
    let path = format!("connectors/{name}/metadata.yaml");
    let text = std::fs::read_to_string(root().join(&path)).map_err(|e| format!("cannot read {path}: {e}"))?;
    let document = parse(&text).map_err(|e| format!("{path}: {e}"))?;
    if document.metadata_spec_version != "1.0" {
        return Err(format!("{path}: metadataSpecVersion must be \"1.0\""));
    }
    Ok(Metadata { data: document.data })
}

fn parse(text: &str) -> Result<Document> {
    let tree: Value = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    serde_json::from_value(tree).map_err(|e| e.to_string())
}

/// The connectors of this workspace, sorted.
pub(crate) fn connectors() -> Result<Vec<String>> {
    let folder = root().join("connectors");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .map_err(|e| format!("cannot list {}: {e}", folder.display()))?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            entry.path().join("Cargo.toml").exists().then(|| entry.file_name().to_string_lossy().into_owned())
        })
        .collect();
    names.sort();
    Ok(names)
}

/// What is wrong with a connector's metadata, given the ids seen so far.
pub(crate) fn faults(name: &str, seen: &mut Vec<String>) -> Vec<String> {
    let data = match load(name) {
        Ok(metadata) => metadata.data,
        Err(error) => return vec![error],
    };
    let mut faults = Vec::new();
    let mut must = |holds: bool, text: String| {
        if !holds {
            faults.push(format!("connectors/{name}/metadata.yaml: {text}"));
        }
    };
    must(is_uuid(&data.definition_id), format!("definitionId {:?} is no UUID", data.definition_id));
    must(!seen.contains(&data.definition_id), "definitionId is another connector's; make a new one".into());
    let kind = if name.starts_with("source-") { ConnectorType::Source } else { ConnectorType::Destination };
    must(data.connector_type == kind, "connectorType does not go with the name".into());
    must(
        data.docker_repository.rsplit('/').next() == Some(name),
        format!("dockerRepository must end in /{name}"),
    );
    match workspace_version() {
        Ok(version) => must(
            data.docker_image_tag == version,
            format!("dockerImageTag is {}, the crate's version {version}", data.docker_image_tag),
        ),
        Err(error) => must(false, error),
    }
    must(data.github_issue_label == name, format!("githubIssueLabel must be {name}"));
    must(data.documentation_url.starts_with("https://"), "documentationUrl must begin with https://".into());
    must(data.tags.iter().any(|tag| tag == "language:rust"), "tags must hold language:rust".into());
    must(
        !data.name.trim().is_empty() && !data.license.is_empty(),
        "name and license must say something".into(),
    );
    seen.push(data.definition_id);
    faults
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.concat().bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// All crates share one version.
pub(crate) fn workspace_version() -> Result<String> {
    let text = std::fs::read_to_string(root().join("Cargo.toml"))
        .map_err(|e| format!("cannot read Cargo.toml: {e}"))?;
    let package = text.split_once("[workspace.package]").map(|(_, after)| after).unwrap_or_default();
    package
        .lines()
        .find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
        .map(str::to_owned)
        .ok_or_else(|| "Cargo.toml: no version under [workspace.package]".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{connectors, faults, is_uuid, parse};

    #[test]
    fn every_connector_of_the_workspace_has_metadata_without_a_fault() {
        let mut seen = Vec::new();
        for name in connectors().unwrap() {
            assert_eq!(faults(&name, &mut seen), Vec::<String>::new());
        }
        assert!(seen.len() >= 7, "{seen:?}");
    }

    #[test]
    fn unknown_keys_missing_keys_and_values_outside_the_schema_are_refused() {
        let good =
            std::fs::read_to_string(crate::shell::root().join("connectors/source-faker/metadata.yaml"))
                .unwrap();
        assert!(parse(&good).is_ok());
        for (from, to) in [
            ("  name:", "  nmae:"),
            ("connectorSubtype: ", "connectorSubtype: x"),
            ("releaseStage: ", "releaseStage: x"),
            ("  license:", "  # license:"),
            ("    enabled:", "    enabld:"),
        ] {
            assert!(good.contains(from), "{from}");
            assert!(parse(&good.replace(from, to)).is_err(), "{from}");
        }
    }

    #[test]
    fn the_dockerfiles_name_the_version() {
        let wanted = format!("ARG VERSION={}\n", super::workspace_version().unwrap());
        for name in ["connector", "ferry"] {
            let path = crate::shell::root().join(format!("Dockerfiles/{name}.Dockerfile"));
            assert!(std::fs::read_to_string(path).unwrap().contains(&wanted), "{name}");
        }
    }

    #[test]
    fn an_id_is_a_uuid_in_lower_case() {
        assert!(is_uuid("dbacb8e6-7a8c-4498-90d5-5949760d8daa"));
        assert!(!is_uuid("DBACB8E6-7a8c-4498-90d5-5949760d8daa") && !is_uuid("dbacb8e6"));
    }
}
