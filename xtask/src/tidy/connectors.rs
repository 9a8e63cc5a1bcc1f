//! What every connector must bring along: a README, a row in the table of the top README,
//! an example config that fits its spec, metadata, and the conformance suite.

use serde_json::Value;

use crate::Result;
use crate::metadata;
use crate::shell::{cargo_command, command, output, root, run, target};

pub(crate) fn check(faults: &mut Vec<String>) -> Result {
    let folder = root().join("connectors");
    let table = std::fs::read_to_string(root().join("README.md")).unwrap_or_default();
    let names = metadata::connectors()?;
    if names.is_empty() {
        return Ok(());
    }
    let mut build = cargo_command();
    build.args(["build", "--quiet"]);
    names.iter().for_each(|name| {
        build.args(["--package", name.as_str()]);
    });
    run(&mut build)?;
    let mut ids = Vec::new();
    for name in &names {
        faults.extend(metadata::faults(name, &mut ids));
        let home = folder.join(name);
        for needed in ["README.md", "src/main.rs", "src/config.rs", "tests/conformance.rs"] {
            if !home.join(needed).exists() {
                faults.push(format!("connectors/{name}: {needed} is missing"));
            }
        }
        if !table.contains(&format!("(connectors/{name}/")) {
            faults.push(format!("README.md: no row for {name} in the table of connectors"));
        }
        let spec = output(command(target().join("debug").join(name)).arg("spec"))?;
        example_fits(name, &spec, faults);
    }
    Ok(())
}

fn example_fits(name: &str, spec: &str, faults: &mut Vec<String>) {
    let path = format!("secrets.example/{name}.json");
    let example = std::fs::read_to_string(root().join(&path)).map_err(|e| e.to_string());
    let example = example.and_then(|text| serde_json::from_str::<Value>(&text).map_err(|e| e.to_string()));
    let example = match example {
        Ok(example) => example,
        Err(error) => {
            return faults.push(format!("{path}: {error}; every connector has an example config there"));
        }
    };
    let schema = serde_json::from_str::<Value>(spec)
        .ok()
        .and_then(|message| message.pointer("/spec/connectionSpecification").cloned());
    let Some(schema) = schema else {
        return faults.push(format!("{name} spec: printed no SPEC message"));
    };
    match jsonschema::validator_for(&schema) {
        Ok(validator) => {
            for error in validator.iter_errors(&example) {
                faults.push(format!("{path}: {} ({error})", error.instance_path()));
            }
        }
        Err(error) => faults.push(format!("{name} spec: not a JSON Schema ({error})")),
    }
}
