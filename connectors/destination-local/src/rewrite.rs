//! Copies a data file without the rows that lost, with its keys.

use std::fs::File;
use std::io::Seek;
use std::path::Path;

use connector_kit::{Error, Result};

use crate::dedup::Losers;
use crate::dir::Dir;
use crate::encode::Style;
use crate::error::{columnar_error, io_error};
use crate::keys::{KeyReader, KeyWriter};
use crate::manifest::{DataFile, KeySpec, TEMP};
use crate::merge::Placed;
use crate::text::copy_rows;

/// Writes `file` of `from` without its losers to `to` under a new name; `None` when no row
/// is left. The file keeps its format, whatever the config says now.
pub(crate) fn without(
    Placed { file, dir: from, keys_dir }: &Placed,
    spec: &KeySpec,
    losers: &Losers,
    to: &Dir,
    name: String,
    style: &Style,
) -> Result<Option<DataFile>> {
    if losers.count() == file.rows {
        return Ok(None);
    }
    let data = from.open(&file.name)?.ok_or_else(|| gone(from, &file.name))?;
    let old_keys = spec.file_name(&file.name);
    let keys = keys_dir.open(&old_keys)?.ok_or_else(|| gone(keys_dir, &old_keys))?;
    let temp = format!("{TEMP}{name}");
    to.remove(&temp)?;
    let target = to.create(&temp)?;
    let (mut target, read, written) = copy_data(file, from, data, target, losers, style)?;
    let path = from.join(&file.name);
    if read != file.rows || read - losers.count() != written {
        return Err(changed(&path, read, file.rows));
    }
    let fail = |e| io_error("write", &to.join(&name), e);
    target.sync_all().map_err(fail)?;
    let bytes = target.seek(std::io::SeekFrom::End(0)).map_err(fail)?;
    let new_keys = spec.file_name(&name);
    let keys_temp = format!("{TEMP}{new_keys}");
    to.remove(&keys_temp)?;
    let keys_target = to.create(&keys_temp)?;
    copy_keys(keys, keys_target, file.rows, losers).map_err(fail)?;
    to.rename(&keys_temp, &new_keys)?;
    to.rename(&temp, &name)?;
    Ok(Some(DataFile { name, rows: written, bytes, ..file.clone() }))
}

pub(crate) fn changed(path: &Path, read: u64, written: u64) -> Error {
    Error::config(format!(
        "{} has {read} rows where {written} were written; another program changed it. Sync the stream anew with overwrite.",
        path.display()
    ))
}

pub(crate) fn gone(dir: &Dir, name: &str) -> Error {
    Error::config(format!("{} is gone; sync the stream anew with overwrite.", dir.join(name).display()))
}

fn copy_data(
    file: &DataFile,
    from: &Dir,
    data: File,
    target: File,
    losers: &Losers,
    style: &Style,
) -> Result<(File, u64, u64)> {
    let path = from.join(&file.name);
    let keep = |row| !losers.has(row);
    let gzip = file.name.ends_with(".gz");
    let csv = file.name.trim_end_matches(".gz").ends_with(".csv");
    if file.name.ends_with(".parquet") {
        let (options, block) = match style {
            Style::Parquet { options, block } => (options.clone(), *block),
            Style::Text { .. } => {
                (columnar::ParquetOptions::new(columnar::Codec::Snappy, "ferrybyte"), 16 << 20)
            }
        };
        return columnar::read::copy_rows(data, target, &options, block, keep)
            .map_err(|e| columnar_error(&path, e));
    }
    let mut out = columnar::TextOut::new(target, gzip);
    let copied = copy_rows(data, &mut out, gzip, csv, keep).and_then(|counts| Ok((out.close()?, counts)));
    let (target, (read, written)) = copied.map_err(|e| io_error("copy the rows of", &path, e))?;
    Ok((target, read, written))
}

fn copy_keys(from: File, to: File, rows: u64, losers: &Losers) -> std::io::Result<()> {
    let (mut reader, mut writer) = (KeyReader::new(from)?, KeyWriter::new(to)?);
    let mut cursor = Vec::new();
    for row in 0..rows {
        let key = reader.read(&mut cursor)?;
        if !losers.has(row) {
            writer.write(key, &cursor)?;
        }
    }
    writer.close()
}
