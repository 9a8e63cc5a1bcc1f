//! The columns of a text file and their types, from a sample of it.

use std::collections::HashMap;

use connector_kit::{Error, FieldType, Result};
use serde_json::{Map, Value};

use crate::csv::Blocks;
use crate::infer::Guess;
use crate::json::{self, Kinds, Shape};
use crate::options::{ColumnRef, Options, Ragged};
use crate::rows::ragged_error;
use crate::table::Table;
use crate::target::nothing_in;

/// The sample ends after this many records …
const SAMPLE_RECORDS: u64 = 10_000;
/// … or this many bytes of them.
const SAMPLE_BYTES: usize = 4 << 20;
/// More keys than this in a sample are values, not names.
const MAX_KEYS: usize = 10_000;

/// The columns that `options` leave of a table, each of the narrowest type that holds its values.
///
/// # Errors
/// For what cannot be read, with its line.
pub fn table(file: &str, table: &mut Table, options: &Options) -> Result<Map<String, Value>> {
    let width = table.names.len();
    let dialect = table.dialect;
    let mut guesses = vec![Guess::new(); width];
    let (mut records, mut bytes) = (0, 0);
    // With a type for every column the header says it all.
    let known = options.types.all.is_some();
    table.each(|record| {
        let found = record.fields.len();
        if found != width {
            return match options.ragged {
                Ragged::Error => Err(ragged_error(file, record, width, options)),
                Ragged::NullAndReport | Ragged::Skip => Ok(true),
            };
        }
        for (guess, field) in guesses.iter_mut().zip(record.fields) {
            let raw = field.of(record.block);
            bytes += raw.len() + 1;
            let null = raw.is_empty()
                || options.nulls.everywhere.iter().any(|n| n == raw)
                || (!field.quoted && options.nulls.words.contains(&raw));
            if !null {
                guess.see(&dialect.text(field, record.block));
            }
        }
        records += 1;
        Ok(!known && records < SAMPLE_RECORDS && bytes < SAMPLE_BYTES)
    })?;
    let types = options.types.columns.iter().map(|(name, _)| name);
    if let Some(missing) = types.into_iter().find(|name| !table.names.contains(name)) {
        return Err(Error::config(format!(
            "The file {file} has no column {missing:?}, which {} names.",
            options.keys.types
        )));
    }
    Ok(table
        .used
        .iter()
        .map(|&at| {
            let name = &table.names[at];
            let field_type = options.types.of(name).unwrap_or_else(|| guesses[at].field_type());
            (name.clone(), field_type.json_schema())
        })
        .collect())
}

/// The keys of objects, each with what its values are.
///
/// # Errors
/// For what cannot be read, with its line; when there is no object, or keys are values.
pub fn json(file: &str, blocks: &mut Blocks, shape: Shape, options: &Options) -> Result<Map<String, Value>> {
    let mut keys: Vec<(String, Kinds)> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    let (mut records, mut bytes) = (0, 0);
    let mut too_many = false;
    json::each(file, blocks, shape, options, |object| {
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
        return Err(nothing_in(file, options));
    }
    let asked = options.keys.columns;
    let wanted = match &options.columns {
        None => None,
        Some(columns) => Some(
            columns
                .iter()
                .map(|c| match c {
                    ColumnRef::Name(name) if index.contains_key(name) => Ok(name.as_str()),
                    ColumnRef::Name(name) => Err(Error::config(format!(
                        "No record at the beginning of {file} has a key {name:?}, which {asked} asks for."
                    ))),
                    ColumnRef::Position(_) => Err(Error::config(format!(
                        "{asked} must hold names for JSON; its keys have no positions."
                    ))),
                })
                .collect::<Result<Vec<_>>>()?,
        ),
    };
    Ok(keys
        .iter()
        .filter(|(name, _)| wanted.as_ref().is_none_or(|w| w.contains(&name.as_str())))
        .map(|(name, kinds)| {
            (name.clone(), options.types.of(name).map_or_else(|| kinds.schema(), FieldType::json_schema))
        })
        .collect())
}
