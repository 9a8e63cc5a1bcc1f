//! Avro files: the container, block by block, and its records as rows. Values are written
//! as JSON straight from their bytes, see [`decode`]; what types there are says [`schema`].

mod container;
mod decode;
mod schema;

use std::fmt;
use std::io::Read;

use connector_kit::protocol::json;
use connector_kit::{Error, FieldType, Result};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::avro::container::Container;
use crate::avro::decode::Cursor;
use crate::avro::schema::{Node, Schema};
use crate::error;
use crate::form::Form;
use crate::options::Options;
use crate::target::{Misfits, STOP_EVERY, Target};

/// An open file whose header was read.
pub struct Avro {
    file: String,
    container: Container,
    schema: Schema,
    fields: Vec<(String, usize)>,
}

impl fmt::Debug for Avro {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Avro").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Avro {
    /// `file` is the name for messages.
    ///
    /// # Errors
    /// When it is not Avro, or its schema is not one of records.
    pub fn open(file: &str, input: Box<dyn Read>, options: &Options) -> Result<Self> {
        let io = |e| error::reading(file, None, e);
        let (container, text) = Container::open(input, options).map_err(io)?;
        let schema = Schema::parse(&text)
            .map_err(|what| Error::config(format!("The file {file}: its Avro schema {what}.")))?;
        let Node::Record(fields) = schema.root() else {
            return Err(Error::config(format!(
                "The file {file} holds Avro values that are no records, so there are no columns; write records."
            )));
        };
        let fields = fields.clone();
        Ok(Self { file: file.to_owned(), container, schema, fields })
    }

    /// The properties of the stream's schema.
    ///
    /// # Errors
    /// When two columns have one name.
    pub fn properties(&self, options: &Options) -> Result<Map<String, Value>> {
        let mut properties = Map::new();
        for (name, node) in &self.fields {
            let natural = match options.types.of(name) {
                Some(asked) => asked.json_schema(),
                None => self.schema.json_schema(*node, options.doubles_as_text),
            };
            if properties.insert(name.clone(), natural).is_some() {
                return Err(Error::config(format!(
                    "The file {} has two columns called {name:?}.",
                    self.file
                )));
            }
        }
        Ok(properties)
    }

    /// Sends the file's records as the stream's rows.
    ///
    /// # Errors
    /// For what cannot be read, and when the run was asked to stop.
    pub fn send<C: Serialize + Clone>(mut self, options: &Options, target: &mut Target<'_, C>) -> Result<()> {
        let stream = target.stream;
        let file = self.file.clone();
        // Of each column, the field it is filled from and how.
        let plan: Vec<Option<(usize, Form)>> = stream
            .columns
            .iter()
            .enumerate()
            .map(|(i, column)| {
                if target.constant(i).is_some() || target.whole == Some(i) {
                    return None;
                }
                let field = self.fields.iter().position(|(name, _)| *name == column.name)?;
                let natural = self.schema.field_type(self.fields[field].1);
                Some((field, if natural == FieldType::Union { Form::Any } else { Form::of(natural, column) }))
            })
            .collect();
        let wanted: Vec<bool> = (0..self.fields.len())
            .map(|field| target.whole.is_some() || plan.iter().flatten().any(|(f, _)| *f == field))
            .collect();
        let mut misfits = Misfits::new(&file, "row", options, stream.columns.len());
        let mut texts = Vec::new();
        // Where in `texts` each field's value is, or that it cannot be said.
        let mut extents: Vec<Option<(usize, usize)>> = vec![None; self.fields.len()];
        let mut rows = 0_u64;
        while let Some((count, block)) =
            self.container.next_block().map_err(|e| error::reading(&file, None, e))?
        {
            let mut cursor = Cursor::new(&self.schema, block, options.max_record);
            if count > block.len() as u64 + STOP_EVERY * STOP_EVERY {
                return Err(damaged(&file, rows, "a block claims more records than it can hold"));
            }
            for _ in 0..count {
                rows += 1;
                texts.clear();
                for (field, (_, node)) in self.fields.iter().enumerate() {
                    if !wanted[field] {
                        cursor.skip(*node).map_err(|what| damaged(&file, rows, what))?;
                        continue;
                    }
                    let from = texts.len();
                    let said = cursor.write(*node, &mut texts).map_err(|what| damaged(&file, rows, what))?;
                    extents[field] = said.then_some((from, texts.len()));
                }
                let mut row = target.out.row();
                for (column, from) in plan.iter().enumerate() {
                    let Some((field, form)) = from else {
                        if let Some((_, json)) = target.constants.iter().find(|(at, _)| *at == column) {
                            row.json(column, json);
                        } else if target.whole == Some(column) {
                            row.value(column, |out| whole(&self.fields, &extents, &texts, out));
                        } else {
                            row.null(column);
                        }
                        continue;
                    };
                    let value = extents[*field].map(|(from, to)| &texts[from..to]);
                    if !form.write(&mut row, column, value) {
                        misfits.reject(&mut row, column, || rows);
                    }
                }
                misfits.end(row)?;
                if rows.is_multiple_of(STOP_EVERY) && target.out.stop_requested() {
                    return Err(Error::stopped());
                }
            }
            if !cursor.is_at_end() {
                return Err(damaged(&file, rows, "a block holds more than its records"));
            }
        }
        misfits.report(stream);
        Ok(())
    }
}

fn whole(fields: &[(String, usize)], extents: &[Option<(usize, usize)>], texts: &[u8], out: &mut Vec<u8>) {
    out.push(b'{');
    for (n, ((name, _), extent)) in fields.iter().zip(extents).enumerate() {
        if n > 0 {
            out.push(b',');
        }
        json::write_str(out, name);
        out.push(b':');
        out.extend_from_slice(extent.map_or(b"null".as_slice(), |(from, to)| &texts[from..to]));
    }
    out.push(b'}');
}

fn damaged(file: &str, row: u64, what: &str) -> Error {
    Error::config(format!(
        "The file {file}, row {row}: {what}; the file is damaged or was cut short. Write it again."
    ))
}
