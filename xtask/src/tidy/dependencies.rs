//! Who may know whom, and that every member follows the workspace.

use std::path::Path;

use serde_json::Value;

use crate::Result;
use crate::shell::{cargo_command, output};

/// What a group of crates may depend on inside the workspace, and what it must never
/// depend on outside. A trailing `/` means everything in that folder.
struct Rule {
    folder: &'static str,
    may_know: &'static [&'static str],
    never: &'static [&'static str],
}

const DRIVERS: &[&str] = &[
    "hyper",
    "mysql_async",
    "postgres",
    "reqwest",
    "rusqlite",
    "sqlx",
    "tiberius",
    "tokio-postgres",
    "ureq",
    "arrow-array",
    "parquet",
];

const RULES: &[Rule] = &[
    Rule { folder: "protocol", may_know: &[], never: &["tokio", "tracing", "clap", "async-trait"] },
    Rule { folder: "connector-kit", may_know: &["protocol"], never: DRIVERS },
    Rule { folder: "kits/", may_know: &["protocol", "connector-kit", "kits/"], never: &[] },
    Rule { folder: "connectors/", may_know: &["protocol", "connector-kit", "kits/"], never: &[] },
    // It runs foreign connectors; not knowing our kit proves that it can.
    Rule { folder: "orchestrator", may_know: &["protocol"], never: &[] },
    Rule { folder: "server", may_know: &["protocol", "orchestrator"], never: &[] },
    // Of a service's own, for the connectors to it.
    Rule { folder: "testkit/dremio", may_know: &["testkit"], never: &[] },
    Rule { folder: "testkit", may_know: &["protocol", "connector-kit"], never: &[] },
    Rule { folder: "integration_tests", may_know: &[], never: &[] },
    Rule { folder: "benches", may_know: &["protocol", "connector-kit", "kits/"], never: &[] },
    Rule { folder: "xtask", may_know: &[], never: &[] },
];

/// Tests may use the test kit and whatever the crate itself may know.
const TESTS_MAY_KNOW: &[&str] = &["testkit", "testkit/"];
/// These exist only to test; as development they may know anything.
const TEST_ONLY: &[&str] = &["integration_tests"];

pub(crate) fn check(faults: &mut Vec<String>) -> Result {
    let text = output(cargo_command().args(["metadata", "--no-deps", "--format-version", "1", "--offline"]))
        .or_else(|_| output(cargo_command().args(["metadata", "--no-deps", "--format-version", "1"])))?;
    let metadata: Value = serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))?;
    let top = metadata["workspace_root"].as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    for package in &packages {
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let folder = folder_of(manifest, &top);
        let Some(rule) = RULES.iter().find(|rule| within(&folder, rule.folder)) else {
            faults.push(format!(
                "{folder}: no rule says whom it may know; add one to xtask/src/tidy/dependencies.rs"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            judge(&folder, rule, dependency, &top, faults);
        }
        follows_the_workspace(&folder, manifest, faults)?;
    }
    Ok(())
}

fn judge(folder: &str, rule: &Rule, dependency: &Value, top: &str, faults: &mut Vec<String>) {
    let name = dependency["name"].as_str().unwrap_or_default();
    let development = dependency["kind"].as_str() == Some("dev");
    match dependency["path"].as_str() {
        Some(path) => {
            let other = folder_of(&format!("{path}/Cargo.toml"), top);
            let allowed = |list: &[&str]| list.iter().any(|known| within(&other, known));
            let fine = allowed(rule.may_know)
                || (development && (allowed(TESTS_MAY_KNOW) || TEST_ONLY.contains(&folder)));
            if !fine {
                faults.push(format!(
                    "{folder} must not depend on {other}; see ARCHITECTURE.md, \"Who may know whom\""
                ));
            }
        }
        None if !development && rule.never.contains(&name) => {
            faults.push(format!(
                "{folder} must not depend on {name}; see ARCHITECTURE.md, \"Who may know whom\""
            ));
        }
        None => {}
    }
}

/// `[lints] workspace = true`, and versions written once, in the workspace's manifest.
fn follows_the_workspace(folder: &str, manifest: &str, faults: &mut Vec<String>) -> Result {
    let text = std::fs::read_to_string(manifest).map_err(|e| format!("cannot read {manifest}: {e}"))?;
    let mut section = "";
    let mut lints = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section == "[lints]" && line.replace(' ', "") == "workspace=true" {
            lints = true;
        } else if section.ends_with("dependencies]") && line.contains('=') && !line.starts_with('#') {
            let inherits = line.replace(' ', "").contains("workspace=true");
            if !inherits {
                faults.push(format!(
                    "{folder}/Cargo.toml: `{line}`: name the version in the workspace's Cargo.toml"
                ));
            }
        }
    }
    if !lints {
        faults.push(format!("{folder}/Cargo.toml: add `[lints] workspace = true`"));
    }
    Ok(())
}

fn folder_of(manifest: &str, top: &str) -> String {
    let folder = Path::new(manifest).parent().unwrap_or_else(|| Path::new(""));
    folder.strip_prefix(top).unwrap_or(folder).to_string_lossy().into_owned()
}

fn within(folder: &str, rule: &str) -> bool {
    if rule.ends_with('/') { folder.starts_with(rule) } else { folder == rule }
}

#[cfg(test)]
mod tests {
    use super::{RULES, judge};
    use serde_json::json;

    fn faults(folder: &str, dependency: serde_json::Value) -> Vec<String> {
        let rule = RULES.iter().find(|r| super::within(folder, r.folder)).unwrap();
        let mut faults = Vec::new();
        judge(folder, rule, &dependency, "/top", &mut faults);
        faults
    }

    #[test]
    fn a_connector_may_not_know_another_nor_the_orchestrator() {
        for other in ["connectors/source-b", "orchestrator"] {
            let dependency = json!({"name": "x", "path": format!("/top/{other}"), "kind": null});
            assert_eq!(faults("connectors/source-a", dependency).len(), 1, "{other}");
        }
    }

    #[test]
    fn the_test_kit_is_for_development_only() {
        let dependency = |kind| json!({"name": "testkit", "path": "/top/testkit", "kind": kind});
        assert_eq!(faults("connectors/source-a", dependency(Some("dev"))).len(), 0);
        assert_eq!(faults("connectors/source-a", dependency(None)).len(), 1);
    }

    #[test]
    fn the_orchestrator_may_not_know_the_kit_and_the_protocol_no_runtime() {
        let kit = json!({"name": "connector-kit", "path": "/top/connector-kit", "kind": null});
        assert_eq!(faults("orchestrator", kit).len(), 1);
        assert_eq!(faults("protocol", json!({"name": "tokio", "kind": null})).len(), 1);
        assert_eq!(faults("protocol", json!({"name": "serde", "kind": null})).len(), 0);
    }
}
