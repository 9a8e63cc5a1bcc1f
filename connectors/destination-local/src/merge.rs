//! Brings published and new files together so that each key has one row: files that hold
//! losers are copied without them, the others stay as they are.

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;

use columnar::Layout;
use connector_kit::protocol::json::{self, Token};
use connector_kit::{EXTRACTED_AT, Result, RowDecoder, RowSink};
use flate2::read::MultiGzDecoder;

use crate::dedup::{self, KeyFile};
use crate::dir::Dir;
use crate::encode::Style;
use crate::error::{columnar_error, io_error};
use crate::keys::{KeyTaker, KeyWriter};
use crate::manifest::{DataFile, KeySpec, TEMP};
use crate::place::Place;
use crate::rewrite::{self, gone};

/// What rows are told apart by, and the means to see it.
pub(crate) struct Keyed<'a> {
    pub(crate) spec: &'a KeySpec,
    pub(crate) taker: &'a mut KeyTaker,
    pub(crate) decoder: &'a mut RowDecoder,
    pub(crate) layout: &'a Arc<Layout>,
}

/// A data file, and where it and its keys stand.
pub(crate) struct Placed {
    pub(crate) file: DataFile,
    pub(crate) dir: Dir,
    pub(crate) keys_dir: Dir,
}

/// The files of the next state, published first; the copies stand in the staging directory.
pub(crate) fn merge(
    place: &mut Place,
    mut keyed: Keyed<'_>,
    kept: Vec<DataFile>,
    staged: Vec<DataFile>,
    run: u32,
    style: &Style,
) -> Result<Vec<DataFile>> {
    let live = place.live.clone();
    let staging = place.target()?.0.clone();
    let from = |files: Vec<DataFile>, dir: &Dir| {
        let placed = |file| Placed { file, dir: dir.clone(), keys_dir: dir.clone() };
        files.into_iter().filter(|f| f.rows > 0).map(placed).collect::<Vec<_>>()
    };
    let mut placed = from(kept, &live);
    placed.extend(from(staged, &staging));
    for one in &mut placed {
        if one.file.key.as_ref() != Some(keyed.spec) {
            keyed.read_keys(one, &staging)?;
        }
    }
    let key_files: Vec<KeyFile> = placed
        .iter()
        .map(|one| KeyFile {
            dir: one.keys_dir.clone(),
            name: keyed.spec.file_name(&one.file.name),
            rows: one.file.rows,
            merged: one.file.merged,
        })
        .collect();
    let losers = dedup::losers(&key_files, &staging, dedup::PARTITION_BYTES)?;
    let mut files = Vec::with_capacity(placed.len());
    for (one, losers) in placed.into_iter().zip(losers) {
        let stays = if losers.count() == 0 {
            Some(one.file)
        } else {
            let extension = one.file.name.split_once('.').map_or("", |(_, extension)| extension);
            let name = place.next_name(run, extension)?;
            rewrite::without(&one, keyed.spec, &losers, &staging, name, style)?
        };
        files.extend(stays.map(|file| DataFile { merged: true, ..file }));
    }
    Ok(files)
}

struct KeySink<'a>(&'a mut KeyTaker);

impl RowSink for KeySink<'_> {
    fn value(&mut self, column: usize, token: Token<'_>) {
        self.0.value(column, token);
    }
}

impl Keyed<'_> {
    /// Reads the keys back from a file that was written without them, or with others, and
    /// puts them into the staging directory.
    fn read_keys(&mut self, one: &mut Placed, staging: &Dir) -> Result<()> {
        let name = self.spec.file_name(&one.file.name);
        let temp = format!("{TEMP}{name}");
        staging.remove(&temp)?;
        let path = one.dir.join(&one.file.name);
        let fail = |e| io_error("write", &staging.join(&name), e);
        let mut out = KeyWriter::new(staging.create(&temp)?).map_err(fail)?;
        let data = one.dir.open(&one.file.name)?.ok_or_else(|| gone(&one.dir, &one.file.name))?;
        let mut rows = 0;
        let mut take = |row: &[u8]| -> Result<(), columnar::Error> {
            rows += 1;
            self.decoder
                .decode(row, &mut KeySink(self.taker))
                .map_err(|source| columnar::Error::Data { line: rows, source })?;
            let emitted_at = match json::member(row, EXTRACTED_AT) {
                Ok(Some(Token::Number(digits))) => {
                    std::str::from_utf8(digits).ok().and_then(|d| d.parse().ok()).unwrap_or(0)
                }
                _ => 0,
            };
            Ok(self.taker.end_row(emitted_at, &mut out)?)
        };
        let read = if one.file.name.ends_with(".parquet") {
            let spec = self.spec;
            let wanted = |name: &str| {
                name == EXTRACTED_AT
                    || spec.cursor.as_deref() == Some(name)
                    || spec.primary_key.iter().any(|k| k == name)
                    || name == crate::keys::DELETED_AT
            };
            columnar::read::json_rows(data, wanted, |name| self.layout.is_json(name), &mut take)
        } else {
            let input: Box<dyn Read> = if one.file.name.ends_with(".gz") {
                Box::new(MultiGzDecoder::new(data))
            } else {
                Box::new(data)
            };
            lines(BufReader::with_capacity(128 << 10, input), &mut take)
        };
        read.map_err(|e| columnar_error(&path, e))?;
        if rows != one.file.rows {
            return Err(rewrite::changed(&path, rows, one.file.rows));
        }
        out.close().map_err(fail)?;
        staging.rename(&temp, &name)?;
        one.keys_dir = staging.clone();
        one.file.key = Some(self.spec.clone());
        one.file.merged = false;
        Ok(())
    }
}

fn lines(
    mut input: impl BufRead,
    mut take: impl FnMut(&[u8]) -> Result<(), columnar::Error>,
) -> Result<(), columnar::Error> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        take(line.trim_ascii_end())?;
    }
}
