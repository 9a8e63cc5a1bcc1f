//! Reads back what a trial of the suite has written.

use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};
use testkit::conformance::StreamDescriptor;
use testkit_dremio::Dremio;

/// A folder of the catalog for a folder of the machine.
pub(crate) fn folder(lake: &Path) -> String {
    let name = lake.file_name().unwrap_or_default().to_string_lossy();
    format!("lake_{}", name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"))
}

/// The rows that readers see of a stream.
pub(crate) fn rows(server: &Dremio, lake: &Path, stream: &StreamDescriptor) -> Vec<String> {
    let folder = format!("lake.{}", folder(lake));
    let found = server.query(&format!(
        "SELECT TABLE_NAME FROM INFORMATION_SCHEMA.\"TABLES\" WHERE TABLE_SCHEMA = '{folder}' AND TABLE_NAME NOT LIKE '%\\_\\_ferry\\_%' ESCAPE '\\'"
    ));
    let tables: Vec<&str> = found.iter().filter_map(|row| row[0].as_str()).collect();
    let Some(table) = table_of(&tables, &folder, &stream.name) else { return Vec::new() };
    let columns = server.query(&format!(
        "SELECT COLUMN_NAME, DATA_TYPE FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = '{folder}' AND TABLE_NAME = '{table}' ORDER BY ORDINAL_POSITION"
    ));
    let path: Vec<String> = folder.split('.').chain([table]).map(|part| format!("\"{part}\"")).collect();
    let rows = server.query(&format!("SELECT * FROM {}", path.join(".")));
    rows.into_iter()
        .map(|row| {
            let members = columns.iter().zip(row).map(|(column, value)| {
                let (name, kind) =
                    (column[0].as_str().unwrap_or_default(), column[1].as_str().unwrap_or_default());
                // Numbers with a fraction come as text here, and what was changed is text in the table.
                let is_json = kind == "DOUBLE" || name == "_airbyte_meta";
                let json =
                    value.as_str().filter(|_| is_json).and_then(|text| serde_json::from_str(text).ok());
                (name.to_owned(), json.unwrap_or(value))
            });
            Value::Object(members.collect()).to_string()
        })
        .collect()
}

/// The table that a stream's rows are in, by the rules that the README has: the plain name with a hash where
/// another stream has it, else the plain name.
fn table_of<'a>(tables: &[&'a str], folder: &str, stream: &str) -> Option<&'a str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut plain: String = stream.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    if plain.len() > 120 {
        plain = format!("{}_{}", &plain[..111], &hash(&plain)[..8]);
    }
    let told_apart = format!("{plain}_{}", &hash(&format!("{folder}\n{stream}"))[..4]);
    let find = |name: &str| tables.iter().find(|table| **table == name).copied();
    find(&told_apart).or_else(|| find(&plain))
}

fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}
