//! Rows of a text table, written as the configured catalog types them.

use connector_kit::protocol::json;
use connector_kit::{Error, FieldType, Result, Row, tracing};
use serde::Serialize;

use crate::cells;
use crate::csv::{Dialect, Field};
use crate::error;
use crate::options::{Options, Ragged};
use crate::table::{Record, Table};
use crate::target::{Misfits, STOP_EVERY, Target};

/// Where a column's values come from.
enum From<'a> {
    Constant(&'a [u8]),
    /// The file has no such column (any more); the kit has warned of it.
    Nowhere,
    Whole,
    Field {
        at: usize,
        field_type: FieldType,
        is_text: bool,
    },
}

/// Sends the table's records as the stream's rows.
///
/// # Errors
/// For what cannot be read, with its line; and when the run was asked to stop.
pub fn send<C: Serialize + Clone>(
    file: &str,
    table: &mut Table,
    options: &Options,
    target: &mut Target<'_, C>,
) -> Result<()> {
    let columns: Vec<From<'_>> = target
        .stream
        .columns
        .iter()
        .enumerate()
        .map(|(i, c)| {
            if let Some((_, json)) = target.constants.iter().find(|(at, _)| *at == i) {
                return From::Constant(json);
            }
            if target.whole == Some(i) {
                return From::Whole;
            }
            match table.used.iter().copied().find(|at| table.names[*at] == c.name) {
                Some(at) => From::Field {
                    at,
                    field_type: c.field_type,
                    is_text: matches!(c.field_type, FieldType::String | FieldType::Union),
                },
                None => From::Nowhere,
            }
        })
        .collect();
    let width = table.names.len();
    let dialect = table.dialect;
    let names = table.names.clone();
    let mut misfits = Misfits::new(file, "line", options, columns.len());
    let mut left = options.rows.unwrap_or(u64::MAX);
    let (mut skipped, mut first_skipped) = (0_u64, 0);
    if left == 0 {
        return Ok(());
    }
    table.each(|record| {
        let found = record.fields.len();
        if found != width {
            match options.ragged {
                Ragged::Error => return Err(ragged_error(file, record, width, options)),
                Ragged::Skip => {
                    if skipped == 0 {
                        first_skipped = record.line();
                    }
                    skipped += 1;
                    return Ok(true);
                }
                Ragged::NullAndReport => {}
            }
        }
        let mut row = target.out.row();
        for (i, column) in columns.iter().enumerate() {
            let fits = match column {
                From::Constant(json) => {
                    row.json(i, json);
                    true
                }
                From::Nowhere => {
                    row.null(i);
                    true
                }
                From::Whole => {
                    row.value(i, |out| whole(out, &names, record, dialect));
                    true
                }
                From::Field { .. } if found > width => false,
                From::Field { at, field_type, is_text } => match record.fields.get(*at) {
                    Some(field) => {
                        cell(&mut row, i, (*field_type, *is_text), field, record, options, dialect)
                    }
                    None => false,
                },
            };
            if !fits {
                misfits.reject(&mut row, i, || record.line());
            }
        }
        misfits.end(row)?;
        left -= 1;
        if left.is_multiple_of(STOP_EVERY) && target.out.stop_requested() {
            return Err(Error::stopped());
        }
        Ok(left > 0)
    })?;
    misfits.report(target.stream);
    if skipped > 0 {
        tracing::warn!(
            "{skipped} rows of {file} have more or fewer fields than the header and were left out; the first is on line {first_skipped}."
        );
    }
    Ok(())
}

/// Writes one cell; `false` when its value does not fit.
#[inline]
fn cell(
    row: &mut Row<'_>,
    i: usize,
    (field_type, is_text): (FieldType, bool),
    field: &Field,
    record: &Record<'_>,
    options: &Options,
    dialect: Dialect,
) -> bool {
    let nulls = &options.nulls;
    let text = field.of(record.block);
    if text.is_empty() && (!is_text || (nulls.empty && !field.quoted)) {
        row.null(i);
        return true;
    }
    if !nulls.everywhere.is_empty()
        && (nulls.in_text || !is_text)
        && nulls.everywhere.iter().any(|n| n == text)
    {
        row.null(i);
        return true;
    }
    if field.doubled {
        if is_text && dialect.quote == Some(b'"') && dialect.escape.is_none() {
            cells::write_doubled(row, i, text);
            return true;
        }
        return cells::write(row, i, field_type, &dialect.text(field, record.block), options);
    }
    if cells::write(row, i, field_type, text, options) {
        return true;
    }
    let word = !field.quoted && nulls.words.contains(&text);
    if word {
        row.null(i);
    }
    word
}

/// The record as an object of texts.
fn whole(out: &mut Vec<u8>, names: &[String], record: &Record<'_>, dialect: Dialect) {
    out.push(b'{');
    for (n, name) in names.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        json::write_str(out, name);
        out.push(b':');
        match record.fields.get(n) {
            Some(field) => json::write_str(out, &dialect.text(field, record.block)),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
}

#[cold]
pub(crate) fn ragged_error(file: &str, record: &Record<'_>, width: usize, options: &Options) -> Error {
    let found = record.fields.len();
    let s = if found == 1 { "" } else { "s" };
    let keys = options.keys;
    error::at_line(
        file,
        record.line(),
        &format!(
            "{found} field{s} where the header has {width}; mend the line, check {} and {}, or set {}",
            keys.delimiter, keys.quote, keys.ragged
        ),
    )
}
