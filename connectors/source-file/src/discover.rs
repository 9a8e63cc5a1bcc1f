//! The one stream of the file, its schema taken from a sample.

use std::collections::HashMap;

use connector_kit::protocol::Stream;
use connector_kit::{Error, FieldType, Result, Streams};
use serde_json::{Map, Value};

use crate::config::RaggedRows;
use crate::csv::Blocks;
use crate::infer::Guess;
use crate::json::{self, Kinds, Shape};
use crate::options::{ColumnRef, Options};
use crate::table::{self, Table};

/// The sample ends after this many records …
const SAMPLE_RECORDS: u64 = 10_000;
/// … or this many bytes of them.
const SAMPLE_BYTES: usize = 4 << 20;
/// More keys than this in a sample are values, not names.
const MAX_KEYS: usize = 10_000;

pub(crate) fn streams(name: &str, properties: Map<String, Value>) -> Streams {
    let schema = serde_json::json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": properties,
    });
    Streams::new([Stream::new(name, schema)])
}

/// What to say of a file that holds nothing to learn from.
pub(crate) fn nothing_in(file: &str) -> Error {
    Error::config(format!(
        "The file {file} is empty or holds no record, so its columns are not known; check url, or sync it once it has content."
    ))
}

fn asked_type(options: &Options, name: &str) -> Option<FieldType> {
    options.types.columns.iter().find(|(n, _)| n == name).map(|(_, t)| *t).or(options.types.all)
}

pub(crate) fn table(
    file: &str,
    table: &mut Table,
    options: &Options,
    ragged: RaggedRows,
) -> Result<Map<String, Value>> {
    let width = table.names.len();
    let mut guesses = vec![Guess::new(); width];
    let (mut records, mut bytes) = (0, 0);
    table.each(|record| {
        let found = record.fields.len();
        if found != width {
            return match ragged {
                RaggedRows::Error => Err(crate::read::ragged_error(file, record, width)),
                RaggedRows::NullAndReport => Ok(true),
            };
        }
        for (guess, field) in guesses.iter_mut().zip(record.fields) {
            let raw = field.of(record.block);
            bytes += raw.len() + 1;
            let null = raw.is_empty()
                || options.nulls.everywhere.iter().any(|n| n == raw)
                || (!field.quoted && options.nulls.words.contains(&raw));
            if !null {
                if field.doubled {
                    guess.see(&table::text(field, record.block, options.quote));
                } else {
                    guess.see(raw);
                }
            }
        }
        records += 1;
        Ok(records < SAMPLE_RECORDS && bytes < SAMPLE_BYTES)
    })?;
    let types = options.types.columns.iter().map(|(name, _)| name);
    if let Some(missing) = types.into_iter().find(|name| !table.names.contains(name)) {
        return Err(Error::config(format!(
            "The file {file} has no column {missing:?}, which dtype in reader_options names."
        )));
    }
    Ok(table
        .used
        .iter()
        .map(|&at| {
            let name = &table.names[at];
            let field_type = asked_type(options, name).unwrap_or_else(|| guesses[at].field_type());
            (name.clone(), field_type.json_schema())
        })
        .collect())
}

pub(crate) fn json(
    file: &str,
    blocks: &mut Blocks,
    shape: Shape,
    options: &Options,
) -> Result<Map<String, Value>> {
    let mut keys: Vec<(String, Kinds)> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    let (mut records, mut bytes) = (0, 0);
    let mut too_many = false;
    json::each(file, blocks, shape, |object| {
        object.members(|member| {
            let Ok(name) = member.name.to_str() else { return };
            let at = match index.get(name.as_ref()) {
                Some(at) => *at,
                None if keys.len() >= MAX_KEYS => {
                    too_many = true;
                    return;
                }
                None => {
                    keys.push((name.clone().into_owned(), Kinds::default()));
                    index.insert(name.into_owned(), keys.len() - 1);
                    keys.len() - 1
                }
            };
            keys[at].1.see(member.value);
        })?;
        if too_many {
            return Err(crate::error::at_line(
                file,
                object.line(),
                "the objects so far have more than 10000 different keys; data that uses keys as values must be reshaped, for example to an array of objects",
            ));
        }
        records += 1;
        bytes += object.text.len();
        Ok(records < SAMPLE_RECORDS && bytes < SAMPLE_BYTES)
    })?;
    if keys.is_empty() {
        return Err(nothing_in(file));
    }
    let wanted = match &options.columns {
        None => None,
        Some(columns) => Some(
            columns
                .iter()
                .map(|c| match c {
                    ColumnRef::Name(name) if index.contains_key(name) => Ok(name.as_str()),
                    ColumnRef::Name(name) => Err(Error::config(format!("No record at the beginning of {file} has a key {name:?}, which usecols in reader_options asks for."))),
                    ColumnRef::Position(_) => Err(Error::config("reader_options: usecols must hold names for JSON; its keys have no positions.")),
                })
                .collect::<Result<Vec<_>>>()?,
        ),
    };
    Ok(keys
        .iter()
        .filter(|(name, _)| wanted.as_ref().is_none_or(|w| w.contains(&name.as_str())))
        .map(|(name, kinds)| {
            (name.clone(), asked_type(options, name).map_or_else(|| kinds.schema(), FieldType::json_schema))
        })
        .collect())
}
