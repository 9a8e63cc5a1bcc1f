//! `cargo xtask demo`: the main job, from nothing to rows: builds ferry and two connectors,
//! loads a public data set into typed Parquet, shows the receipt and reads rows back.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::Result;
use crate::shell::{cargo, output, root, run, target};

const EXAMPLE: &str = "examples/earthquakes";
const SHOWN_ROWS: usize = 8;
const SHOWN_COLUMNS: [&str; 6] = ["time", "mag", "depth", "place", "felt", "sig"];

pub(crate) fn demo() -> Result {
    cargo(&[
        "build",
        "--release",
        "--package",
        "orchestrator",
        "--package",
        "source-file",
        "--package",
        "destination-local",
    ])?;
    let bin = target().join("release");
    let example = root().join(EXAMPLE);
    println!("› cd {EXAMPLE} && ferry sync sync.yaml");
    run(Command::new(bin.join("ferry"))
        .args(["sync", "sync.yaml"])
        .current_dir(&example)
        .stdin(Stdio::null())
        .env("PATH", path_with(&bin)))?;
    let file = newest_parquet(&example.join("lake"))
        .ok_or("the sync ended well but left no Parquet file under lake/; please report it")?;
    let shown = file.strip_prefix(root()).unwrap_or(&file);
    let size = std::fs::metadata(&file).map_or(0, |m| m.len());
    println!("\n{} ({size} bytes), read back with source-file:\n", shown.display());
    let rows = read_rows(&bin.join("source-file"), &file)?;
    print!("{}", table(&rows, &SHOWN_COLUMNS, SHOWN_ROWS));
    println!("… {} rows in all.", rows.len());
    Ok(())
}

fn path_with(bin: &Path) -> std::ffi::OsString {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(bin.to_path_buf()).chain(std::env::split_paths(&rest));
    std::env::join_paths(folders).unwrap_or(rest)
}

fn newest_parquet(folder: &Path) -> Option<std::path::PathBuf> {
    let mut folders = vec![folder.to_path_buf()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "parquet") {
                let modified = entry.metadata().and_then(|m| m.modified()).ok()?;
                files.push((modified, path));
            }
        }
    }
    files.into_iter().max().map(|(_, path)| path)
}

/// Any connector's output is lines of JSON, so that reading a Parquet file back takes no library.
fn read_rows(source: &Path, file: &Path) -> Result<Vec<Value>> {
    let scratch = target().join("demo");
    std::fs::create_dir_all(&scratch).map_err(|e| format!("cannot make {}: {e}", scratch.display()))?;
    let write = |name: &str, value: &Value| -> Result<std::path::PathBuf> {
        let path = scratch.join(name);
        std::fs::write(&path, value.to_string())
            .map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        Ok(path)
    };
    let config = write(
        "config.json",
        &json!({"dataset_name": "lake", "format": "parquet", "url": file, "provider": {"storage": "local"}}),
    )?;
    let discovered = output(Command::new(source).arg("discover").arg("--config").arg(&config))?;
    let message =
        messages(&discovered).find(|m| m["type"] == "CATALOG").ok_or("discover printed no catalog")?;
    let streams: Vec<Value> = message["catalog"]["streams"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|stream| json!({"stream": stream, "sync_mode": "full_refresh", "destination_sync_mode": "overwrite"}))
        .collect();
    let catalog = write("catalog.json", &json!({"streams": streams}))?;
    let read =
        output(Command::new(source).arg("read").arg("--config").arg(&config).arg("--catalog").arg(&catalog))?;
    Ok(messages(&read).filter(|m| m["type"] == "RECORD").map(|m| m["record"]["data"].clone()).collect())
}

fn messages(text: &str) -> impl Iterator<Item = Value> + '_ {
    text.lines().filter_map(|line| serde_json::from_str(line).ok())
}

/// The first rows, in columns as wide as their widest value.
fn table(rows: &[Value], columns: &[&str], most: usize) -> String {
    let cell = |row: &Value, column: &str| match &row[column] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut lines = vec![columns.iter().map(ToString::to_string).collect::<Vec<_>>()];
    lines.extend(rows.iter().take(most).map(|row| columns.iter().map(|c| cell(row, c)).collect()));
    let width =
        |index: usize| lines.iter().map(|l: &Vec<String>| l[index].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (value, width) in line.iter().zip(&widths) {
            let gap = " ".repeat(width + 2 - value.chars().count());
            text.push_str(value);
            text.push_str(&gap);
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        if number == 0 {
            text.push_str(&"─".repeat(widths.iter().map(|w| w + 2).sum::<usize>()));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table;
    use serde_json::json;

    #[test]
    fn a_table_lines_its_columns_up_and_shows_nulls_as_nothing() {
        let rows = [json!({"a": "long text", "b": 1}), json!({"a": null, "b": 22})];
        assert_eq!(
            table(&rows, &["a", "b"], 5),
            "a          b\n───────────────\nlong text  1\n           22\n"
        );
    }
}
