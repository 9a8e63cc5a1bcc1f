//! Both ends of a sync before it starts: connectors found, specs asked for, configs
//! given their types, secrets known, readable files warned about.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use protocol::ConnectorSpecification;
use serde_json::Value;

use crate::connector::{Asker, Connector, Patience};
use crate::error::{Error, Failure, Origin};
use crate::interrupt::Interrupt;
use crate::job_log::JobLog;
use crate::launch::{Placement, Program};
use crate::masker::{Masker, secret_values};
use crate::sync_file::{Endpoint, SyncFile};

/// Both connectors of a sync, found and asked for their specs.
pub struct Ends {
    /// The source.
    pub source: Connector,
    /// Its config, secrets and all.
    pub source_config: Value,
    /// Its specification.
    pub source_spec: ConnectorSpecification,
    /// The destination.
    pub destination: Connector,
    /// Its config, secrets and all.
    pub destination_config: Value,
    /// Its specification.
    pub destination_spec: ConnectorSpecification,
    /// Hides the secrets of both configs.
    pub masker: Masker,
    /// Config files that others can read although they hold secrets.
    pub warnings: Vec<String>,
}

// The configs hold secrets; they must not reach a log through a debug print.
impl std::fmt::Debug for Ends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ends")
            .field("source", &self.source)
            .field("destination", &self.destination)
            .finish_non_exhaustive()
    }
}

impl Ends {
    /// Finds both and asks both at once. The label marks containers of a job, whose like of an earlier one are removed.
    ///
    /// # Errors
    /// When one cannot be found or gives no spec.
    pub fn open(
        file: &SyncFile,
        label: Option<&str>,
        patience: Patience,
        interrupt: &Interrupt,
    ) -> Result<Self, Error> {
        let find = |end: &Endpoint| {
            let placement = Placement { label: label.map(str::to_owned), ..end.placement.clone() };
            Connector::find(&end.connector, file.directory(), &placement, interrupt)
        };
        let (source, destination) = std::thread::scope(|scope| {
            let other = scope.spawn(|| find(&file.destination));
            let source = find(&file.source);
            let lost = || Err(Failure::fatal(Origin::Ferry, "a thread ended unexpectedly").into());
            (source, other.join().unwrap_or_else(|_| lost()))
        });
        let (source, destination) = (source?, destination?);
        if let Some(label) = label {
            // Before any container of ours is started: the label does not tell it from an older one.
            sweep(&[&source, &destination], label);
        }
        let mut secrets: Vec<String> = file.source.filled_in.0.clone();
        secrets.extend(file.destination.filled_in.0.iter().cloned());
        let log = JobLog::nowhere(Masker::new(secrets.iter().map(String::as_str)));
        let ask = |connector, origin| Asker { connector, origin, log: &log, interrupt, patience }.spec();
        let (source_spec, destination_spec) = std::thread::scope(|scope| {
            let other = scope.spawn(|| ask(&destination, Origin::Destination));
            let source_spec = ask(&source, Origin::Source);
            let lost = || Err(Failure::fatal(Origin::Ferry, "a thread ended unexpectedly"));
            (source_spec, other.join().unwrap_or_else(|_| lost()))
        });
        let (source_spec, destination_spec) = (source_spec?, destination_spec?);
        let source_config = with_types(&file.source, &source_spec);
        let destination_config = with_types(&file.destination, &destination_spec);
        let mut warnings: Vec<String> =
            [&source, &destination].into_iter().filter_map(Connector::warning).collect();
        let both =
            [("source", &file.source, &source_spec), ("destination", &file.destination, &destination_spec)];
        for (role, end, spec) in both {
            let mut found = Vec::new();
            secret_values(&spec.connection_specification, &end.config, &mut found);
            warnings.extend(readable_secrets(role, end, &found));
            secrets.extend(found);
        }
        warnings.dedup();
        let masker = Masker::new(secrets.iter().map(String::as_str));
        Ok(Self {
            source,
            source_config,
            source_spec,
            destination,
            destination_config,
            destination_spec,
            masker,
            warnings,
        })
    }
}

/// Removes what an earlier run left in each runtime that is used.
fn sweep(ends: &[&Connector], label: &str) {
    let mut swept: Vec<&Path> = Vec::new();
    for end in ends {
        if let Program::Image(image) = &end.program
            && !swept.contains(&image.runtime())
        {
            image.sweep(label);
            swept.push(image.runtime());
        }
    }
}

/// A value from the environment is text; where the spec wants a number or a boolean it becomes one.
fn with_types(end: &Endpoint, spec: &ConnectorSpecification) -> Value {
    let mut config = end.config.clone();
    typed(&spec.connection_specification, &mut config, &end.filled_in.0);
    config
}

fn typed(schema: &Value, config: &mut Value, filled_in: &[String]) {
    for key in ["oneOf", "anyOf", "allOf"] {
        for alternative in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
            typed(alternative, config, filled_in);
        }
    }
    let wants = |name: &str| match schema.get("type") {
        Some(Value::String(one)) => one == name,
        Some(Value::Array(several)) => several.iter().any(|t| t == name),
        _ => false,
    };
    match config {
        Value::String(text) if filled_in.contains(text) && !wants("string") => {
            let parsed = serde_json::from_str::<Value>(text.trim()).unwrap_or_default();
            let fits = match &parsed {
                Value::Number(n) => wants("number") || (wants("integer") && (n.is_i64() || n.is_u64())),
                Value::Bool(_) => wants("boolean"),
                _ => false,
            };
            if fits {
                *config = parsed;
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                if let Some(below) = schema.get("properties").and_then(|p| p.get(name)) {
                    typed(below, value, filled_in);
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = schema.get("items") {
                items.iter_mut().for_each(|item| typed(below, item, filled_in));
            }
        }
        _ => {}
    }
}

fn readable_secrets(role: &str, end: &Endpoint, secrets: &[String]) -> Option<String> {
    let literal =
        secrets.iter().any(|s| !s.is_empty() && !end.filled_in.0.iter().any(|f| s.contains(f.as_str())));
    let mode = std::fs::metadata(&end.config_path).ok()?.permissions().mode() & 0o777;
    (literal && mode & 0o044 != 0).then(|| {
        format!(
            "{} holds secrets of the {role} and other users can read it (mode {mode:03o}); run chmod 600 on it, or write ${{NAME}} for them",
            end.config_path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::typed;
    use serde_json::json;

    #[test]
    fn values_from_outside_take_the_type_that_the_spec_wants() {
        let schema = json!({"properties": {
            "port": {"type": "integer"}, "ratio": {"type": ["null", "number"]}, "on": {"type": "boolean"},
            "zip": {"type": "string"}, "kept": {"type": "integer"},
            "auth": {"oneOf": [{"properties": {"n": {"type": "integer"}}}]}
        }});
        let mut config = json!({"port": "5432", "ratio": "1.5", "on": "true", "zip": "5432", "kept": "77", "auth": {"n": "5432"}});
        let filled: Vec<String> = ["5432", "1.5", "true"].map(String::from).to_vec();
        typed(&schema, &mut config, &filled);
        assert_eq!(
            config,
            json!({"port": 5432, "ratio": 1.5, "on": true, "zip": "5432", "kept": "77", "auth": {"n": 5432}})
        );
    }
}
