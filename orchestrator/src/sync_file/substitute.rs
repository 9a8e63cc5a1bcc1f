//! `${ENV_VAR}` and `${file:path}` in config values.

use std::path::Path;

use serde_json::Value;

/// Values that came from outside the file; each is treated as a secret.
#[derive(Clone, Default)]
pub struct Secrets(pub Vec<String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

/// Fills in every string below `value`. `at` names the place for errors.
pub(super) fn fill_in(
    value: &mut Value,
    at: &str,
    directory: &Path,
    secrets: &mut Secrets,
) -> Result<(), String> {
    match value {
        Value::String(text) if text.contains("${") => {
            *text = expand(text, at, directory, secrets)?;
            Ok(())
        }
        Value::Array(items) => items
            .iter_mut()
            .enumerate()
            .try_for_each(|(i, item)| fill_in(item, &format!("{at}[{i}]"), directory, secrets)),
        Value::Object(members) => members
            .iter_mut()
            .try_for_each(|(name, item)| fill_in(item, &format!("{at}.{name}"), directory, secrets)),
        _ => Ok(()),
    }
}

fn expand(text: &str, at: &str, directory: &Path, secrets: &mut Secrets) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let before = &rest[..start];
        if let Some(literal) = before.strip_suffix('$') {
            // $${…} is a literal ${…}.
            out.push_str(literal);
            out.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        out.push_str(before);
        let inner = &rest[start + 2..];
        let end = inner.find('}').ok_or_else(|| {
            format!("{at}: \"${{\" is not closed; write ${{NAME}}, or $${{ for the two characters themselves")
        })?;
        let value = resolve(&inner[..end], at, directory)?;
        out.push_str(&value);
        secrets.0.push(value);
        rest = &inner[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn resolve(name: &str, at: &str, directory: &Path) -> Result<String, String> {
    if let Some(path) = name.strip_prefix("file:") {
        let path = directory.join(path.trim());
        let text = std::fs::read_to_string(&path)
            .map_err(|e| format!("{at}: cannot read the secret file {}: {e}", path.display()))?;
        return Ok(text.trim_end_matches(['\n', '\r']).to_owned());
    }
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !plain {
        return Err(format!(
            "{at}: ${{{name}}} is neither a variable nor file:path; write $${{ for the characters themselves"
        ));
    }
    std::env::var(name)
        .map_err(|_| format!("{at}: the environment variable {name} is not set; export it and run again"))
}

#[cfg(test)]
mod tests {
    use super::{Secrets, fill_in};
    use serde_json::json;
    use std::path::Path;

    #[test]
    fn fills_in_variables_and_files_and_remembers_them() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("pw"), "hunter2\n").unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut config = json!({"a": ["x${PATH}y"], "b": "${file:pw}", "c": "$${PATH}", "d": 3});
        let mut secrets = Secrets::default();
        fill_in(&mut config, "source.config", dir.path(), &mut secrets).unwrap();
        assert_eq!(config, json!({"a": [format!("x{path}y")], "b": "hunter2", "c": "${PATH}", "d": 3}));
        assert_eq!(secrets.0, [path, "hunter2".to_owned()]);
    }

    #[test]
    fn names_the_place_and_what_is_missing() {
        let fill = |text: &str| {
            fill_in(&mut json!({"k": text}), "source.config", Path::new("/"), &mut Secrets::default())
                .unwrap_err()
        };
        assert!(
            fill("${FERRY_TEST_UNSET}")
                .contains("source.config.k: the environment variable FERRY_TEST_UNSET")
        );
        assert!(fill("${file:no/such}").contains("/no/such"));
        assert!(fill("${open").contains("not closed"));
        assert!(fill("${a b}").contains("neither"));
    }
}
