//! JSON files: one object a line or over several, one array of objects, or one object. Objects are found
//! by extents and never become trees; numbers keep every digit.

use std::collections::HashMap;

use connector_kit::protocol::json::{self, JsonError, Token};
use connector_kit::{Error, FieldType, Result, Row, tracing};
use serde::Serialize;

use crate::csv::{Blocks, line_ends};
use crate::error;
use crate::infer;
use crate::options::Options;
use crate::table::block_fault;
use crate::target::{Misfits, STOP_EVERY, Target};

/// Names of unknown keys that are remembered for the log.
const UNKNOWN_KEYS: usize = 20;

/// How the objects stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One a line.
    Lines,
    /// In one array, or one alone.
    Document,
}

/// One object and where it stands.
#[derive(Debug)]
pub struct Object<'a> {
    /// From its brace to its brace, perhaps with space behind it.
    pub text: &'a [u8],
    file: &'a str,
    block: &'a [u8],
    at: usize,
    block_line: u64,
}

impl Object<'_> {
    pub fn line(&self) -> u64 {
        self.block_line + line_ends(&self.block[..self.at])
    }

    #[cold]
    fn fault(&self, e: JsonError) -> Error {
        let line = self.line() + line_ends(&self.text[..e.at.min(self.text.len())]);
        error::at_line(
            self.file,
            line,
            &format!("not valid JSON: {} at byte {} of the record; mend it, and check format", e.what, e.at),
        )
    }

    /// Calls `f` with each member's name (`None`: it has escapes, see the raw name), raw name and value.
    #[inline]
    pub fn members<'t>(&'t self, mut f: impl FnMut(json::Member<'t>)) -> Result<()> {
        let mut walk = json::members(self.text, 0);
        for member in walk.by_ref() {
            f(member.map_err(|e| self.fault(e))?);
        }
        let end = json::skip_space(self.text, walk.end().unwrap_or(0));
        if end < self.text.len() {
            return Err(self.fault(JsonError { what: "something follows the object on its line", at: end }));
        }
        Ok(())
    }
}

/// Calls `f` with each object until it returns `false` or the file ends. Returns how many there were.
pub fn each(
    file: &str,
    blocks: &mut Blocks,
    shape: Shape,
    options: &Options,
    mut f: impl FnMut(&Object<'_>) -> Result<bool>,
) -> Result<u64> {
    let mut place = if shape == Shape::Lines { Place::Lines } else { Place::Start };
    let mut count = 0;
    loop {
        let block_line = blocks.line;
        let (block, ended) = match blocks.next() {
            Ok(Some((block, ended))) => (block.as_bytes(), ended),
            Ok(None) => break,
            Err(e) => return Err(block_fault(file, block_line, e, options.keys)),
        };
        let mut pos = 0;
        loop {
            let fault =
                |at: usize, what: &str| error::at_line(file, block_line + line_ends(&block[..at]), what);
            let (start, end) = match place.next(block, pos, ended) {
                Ok(Found::Object(start, end)) => (start, end),
                Ok(Found::Nothing(next)) if next > pos => {
                    pos = next;
                    continue;
                }
                Ok(Found::Nothing(_) | Found::More) => break,
                Err((at, what)) => return Err(fault(at, what)),
            };
            pos = end;
            count += 1;
            if !f(&Object { text: &block[start..end], file, block, at: start, block_line })? {
                return Ok(count);
            }
        }
        if ended && pos < block.len() {
            let begins =
                block[pos..].iter().position(|b| !b.is_ascii_whitespace() && *b != b',').unwrap_or(0);
            let line = block_line + line_ends(&block[..pos + begins]);
            return Err(error::at_line(
                file,
                line,
                "the JSON value that begins here does not end; the file was cut short",
            ));
        }
        blocks.consume(pos);
    }
    if matches!(place, Place::First | Place::Between) {
        return Err(error::at_line(file, blocks.line, "the array is not closed; the file was cut short"));
    }
    Ok(count)
}

/// Where in the file the next object is to be found.
#[derive(Clone, Copy, Debug)]
enum Place {
    Lines,
    /// Before the document.
    Start,
    /// After `[`.
    First,
    /// After an element.
    Between,
    /// After the document.
    End,
}

enum Found {
    Object(usize, usize),
    /// Nothing before this offset.
    Nothing(usize),
    More,
}

impl Place {
    fn next(&mut self, block: &[u8], pos: usize, ended: bool) -> Result<Found, (usize, &'static str)> {
        let at = json::skip_space(block, pos);
        let Some(&byte) = block.get(at) else { return Ok(Found::Nothing(at)) };
        if let Self::Lines = self {
            if byte != b'{' {
                return Err((
                    at,
                    "not a JSON object; every line must hold one. If the file is one array, choose the format json",
                ));
            }
            let line = match memchr::memchr(b'\n', &block[at..]) {
                Some(end) => &block[at..at + end],
                None if ended => &block[at..],
                None => return Ok(Found::More),
            };
            if line.trim_ascii_end().ends_with(b"}") {
                return Ok(Found::Object(at, at + line.len()));
            }
            // One that goes on in the next line, as people's editors write them; brackets say where it ends.
            return Ok(match json::object_end(&block[at..]) {
                Some(length) => Found::Object(at, at + length),
                None => Found::More,
            });
        }
        let object = |place: &mut Self, at: usize, then: Self| match block.get(at) {
            Some(b'{') => Ok(match json::object_end(&block[at..]) {
                Some(length) => {
                    *place = then;
                    Found::Object(at, at + length)
                }
                None => Found::More,
            }),
            Some(_) => Err((at, "not a JSON object; a JSON file must be one object or an array of objects")),
            None => Ok(Found::More),
        };
        match (*self, byte) {
            (Self::Start, b'[') => {
                *self = Self::First;
                Ok(Found::Nothing(at + 1))
            }
            (Self::Start, _) => object(self, at, Self::End),
            (Self::First | Self::Between, b']') => {
                *self = Self::End;
                Ok(Found::Nothing(at + 1))
            }
            (Self::First, _) => object(self, at, Self::Between),
            (Self::Between, b',') => object(self, json::skip_space(block, at + 1), Self::Between),
            (Self::Between, _) => Err((at, "a comma or the end of the array is missing")),
            (Self::End | Self::Lines, _) => Err((
                at,
                "something follows the JSON document; if the file holds one object a line, choose the format jsonl",
            )),
        }
    }
}

/// What values of one key may be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kinds(u8);

const BOOLEAN: u8 = 1;
const INTEGER: u8 = 2;
const NUMBER: u8 = 4;
const STRING: u8 = 8;
const OBJECT: u8 = 16;
const ARRAY: u8 = 32;

impl Kinds {
    pub fn see(&mut self, value: Token<'_>) {
        self.0 |= match value {
            Token::Null => 0,
            Token::Bool(_) => BOOLEAN,
            Token::Number(digits) if infer::is_integer(digits) => INTEGER,
            Token::Number(_) => NUMBER,
            Token::Str(_) => STRING,
            Token::Array(_) => ARRAY,
            Token::Object(_) => OBJECT,
        };
    }

    /// The schema that holds all values seen; text when all were null.
    pub fn schema(self) -> serde_json::Value {
        let kinds = if self.0 & NUMBER != 0 { self.0 & !INTEGER } else { self.0 };
        match kinds {
            0 | STRING => FieldType::String.json_schema(),
            BOOLEAN => FieldType::Boolean.json_schema(),
            INTEGER => FieldType::Integer.json_schema(),
            NUMBER => FieldType::Number.json_schema(),
            OBJECT => FieldType::Object.json_schema(),
            ARRAY => FieldType::Array.json_schema(),
            several => {
                let names = [
                    (BOOLEAN, "boolean"),
                    (INTEGER, "integer"),
                    (NUMBER, "number"),
                    (STRING, "string"),
                    (OBJECT, "object"),
                    (ARRAY, "array"),
                ];
                let mut types = vec!["null"];
                types.extend(names.iter().filter(|(bit, _)| several & bit != 0).map(|(_, name)| *name));
                serde_json::json!({ "type": types })
            }
        }
    }
}

struct Column<'a> {
    name: String,
    field_type: FieldType,
    /// Values of other kinds become their JSON text.
    as_text: bool,
    /// The same in every row.
    constant: Option<&'a [u8]>,
}

/// Sends the file's objects as the stream's rows.
///
/// # Errors
/// For what cannot be read, with its line; and when the run was asked to stop.
pub fn send<C: Serialize + Clone>(
    file: &str,
    blocks: &mut Blocks,
    shape: Shape,
    options: &Options,
    target: &mut Target<'_, C>,
) -> Result<()> {
    let columns: Vec<Column<'_>> = target
        .stream
        .columns
        .iter()
        .enumerate()
        .map(|(i, c)| {
            // A schema without a type allows anything; the kit calls it an object.
            let any = c.schema.get("type").is_none();
            Column {
                name: c.name.clone(),
                field_type: if any { FieldType::Union } else { c.field_type },
                as_text: options.types.of(&c.name) == Some(FieldType::String),
                constant: target.constants.iter().find(|(at, _)| *at == i).map(|(_, json)| json.as_slice()),
            }
        })
        .collect();
    let index: HashMap<&str, usize> = columns.iter().enumerate().map(|(i, c)| (c.name.as_str(), i)).collect();
    let mut misfits = Misfits::new(file, "line", options, columns.len());
    let mut unknown = Unknown::default();
    let mut repeated = 0_u64;
    let mut left = options.rows.unwrap_or(u64::MAX);
    if left == 0 {
        return Ok(());
    }
    let mut scratch = Vec::new();
    let mut slots: Vec<(u64, usize, usize)> = vec![(0, 0, 0); columns.len()];
    let mut record = 0;
    each(file, blocks, shape, options, |object| {
        record += 1;
        let mut expected = 0;
        object.members(|member| {
            let raw = member.name.raw();
            let column = match columns.get(expected) {
                Some(c) if c.name.as_bytes() == raw && !member.name.has_escapes() => Some(expected),
                _ => member.name.to_str().ok().and_then(|name| index.get(name.as_ref()).copied()),
            };
            match column {
                Some(i) => {
                    repeated += u64::from(slots[i].0 == record);
                    slots[i] = (record, member.value_start, member.value_end);
                    expected = i + 1;
                }
                None if target.whole.is_some() => {}
                None => unknown.note(&member.name),
            }
        })?;
        let mut row = target.out.row();
        for (i, (column, (seen, start, end))) in columns.iter().zip(&slots).enumerate() {
            if let Some(json) = column.constant {
                row.json(i, json);
            } else if target.whole == Some(i) {
                let text = object.text.trim_ascii_end();
                if memchr::memchr2(b'\n', b'\r', text).is_some() {
                    scratch.clear();
                    compact(text, &mut scratch);
                    row.json(i, &scratch);
                } else {
                    row.json(i, text);
                }
            } else if *seen != record {
                row.null(i);
            } else if !write(&mut row, i, column, &object.text[*start..*end], &mut scratch) {
                misfits.reject(&mut row, i, || object.line());
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
    unknown.report();
    if repeated > 0 {
        tracing::warn!(
            "{repeated} keys stood twice in their object; the last value was sent, as most JSON readers have it."
        );
    }
    Ok(())
}

#[inline]
fn write(row: &mut Row<'_>, i: usize, column: &Column<'_>, value: &[u8], scratch: &mut Vec<u8>) -> bool {
    use FieldType as F;
    let string = matches!(
        column.field_type,
        F::String
            | F::Date
            | F::TimeWithTimezone
            | F::TimeWithoutTimezone
            | F::TimestampWithTimezone
            | F::TimestampWithoutTimezone
    );
    let fits = match value[0] {
        b'n' => {
            row.null(i);
            return true;
        }
        b'"' => string,
        b't' | b'f' => column.field_type == F::Boolean,
        b'{' => column.field_type == F::Object,
        b'[' => column.field_type == F::Array,
        _ => column.field_type == F::Number || (column.field_type == F::Integer && infer::is_integer(value)),
    } || column.field_type == F::Union;
    if !(fits || column.as_text && string) {
        return false;
    }
    // Only a container can hold a line end between its tokens.
    let value = if matches!(value[0], b'{' | b'[') && memchr::memchr2(b'\n', b'\r', value).is_some() {
        scratch.clear();
        compact(value, scratch);
        &scratch[..]
    } else {
        value
    };
    if fits {
        row.json(i, value);
        return true;
    }
    match std::str::from_utf8(value) {
        Ok(text) => row.string(i, text),
        Err(_) => return false,
    }
    true
}

/// Drops the space between tokens of valid JSON.
fn compact(value: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(&byte) = value.get(at) {
        let end = match byte {
            b'"' => json::string_at(value, at).map_or(value.len(), |(_, end)| end),
            _ => at + 1,
        };
        if !byte.is_ascii_whitespace() {
            out.extend_from_slice(&value[at..end]);
        }
        at = end;
    }
}

/// Keys that the catalog does not have.
#[derive(Debug, Default)]
struct Unknown {
    names: Vec<(Vec<u8>, u64)>,
    others: u64,
}

impl Unknown {
    fn note(&mut self, name: &json::RawStr<'_>) {
        match self.names.iter().position(|(n, _)| n == name.raw()) {
            Some(at) => self.names[at].1 += 1,
            None if self.names.len() < UNKNOWN_KEYS => self.names.push((name.raw().to_vec(), 1)),
            None => self.others += 1,
        }
    }

    fn report(&self) {
        for (name, count) in &self.names {
            let name = String::from_utf8_lossy(name);
            tracing::info!(
                "The key \"{name}\" of {count} records is not in the catalog and was left out; if it is new, run discover again."
            );
        }
        if self.others > 0 {
            tracing::info!(
                "{} values of further keys are not in the catalog and were left out.",
                self.others
            );
        }
    }
}
