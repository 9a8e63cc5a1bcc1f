//! Names of tables and columns: from what sources call things to what PostgreSQL can hold, the same in every run and no
//! two alike. The rules are Airbyte's, so that its tables are found; where they leave it to chance or to order which of two
//! gets the plain name, ours do not.

use std::collections::HashSet;
use std::fmt::{self, Write};

use connector_kit::protocol::StreamDescriptor;
use connector_kit::{EXTRACTED_AT, Error, GENERATION_ID, META, RAW_ID, Result, SelectedStream};
use postgres_kit::quote_identifier;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// The columns added to every typed table, first in this order.
pub(crate) const ADDED: [&str; 4] = [RAW_ID, EXTRACTED_AT, META, GENERATION_ID];

/// The table in which commits are noted.
pub(crate) const CHECKPOINTS: &str = "_ferrybyte_checkpoints";

/// The server cuts longer names, silently.
pub(crate) const LONGEST: usize = 63;

/// A table's place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TableName {
    pub(crate) schema: String,
    pub(crate) table: String,
}

impl TableName {
    pub(crate) fn new(schema: impl Into<String>, table: impl Into<String>) -> Self {
        Self { schema: schema.into(), table: table.into() }
    }

    /// For SQL.
    pub(crate) fn quoted(&self) -> String {
        format!("{}.{}", quote_identifier(&self.schema), quote_identifier(&self.table))
    }

    /// The table of that name in the same schema.
    pub(crate) fn beside(&self, table: impl Into<String>) -> Self {
        Self::new(&self.schema, table)
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.quoted())
    }
}

/// Everything that one stream's typed table needs a name for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamNames {
    /// The table that readers see.
    pub(crate) table: TableName,
    /// A load that takes its place once it is complete, and that survives failed attempts.
    pub(crate) kept: TableName,
    /// A load that starts over with every attempt.
    pub(crate) held: TableName,
    /// The columns' names, in the order of the stream's columns.
    pub(crate) columns: Vec<String>,
}

/// The names of all streams of a catalog. `schema` is for streams without namespace, and `internal` where our own tables are.
pub(crate) fn assign(streams: &[SelectedStream], schema: &str, internal: &str) -> Result<Vec<StreamNames>> {
    let wanted: Vec<Wanted<'_>> = streams
        .iter()
        .map(|stream| {
            let descriptor = &stream.descriptor;
            let namespace = descriptor.namespace.as_deref().unwrap_or(schema);
            Wanted { descriptor, namespace, table: TableName::new(clean(namespace), clean(&descriptor.name)) }
        })
        .collect();
    for wanted in &wanted {
        wanted.may_be_made()?;
    }
    let taken = [TableName::new(internal, CHECKPOINTS)];
    let tables = tell_apart(&wanted, taken);
    for (wanted, table) in wanted.iter().zip(&tables) {
        if wanted.namespace != table.schema || wanted.descriptor.name != table.table {
            connector_kit::tracing::info!("Stream {}: its table is {table}.", wanted.descriptor);
        }
    }
    Ok(streams
        .iter()
        .zip(tables)
        .map(|(stream, table)| StreamNames {
            kept: table.beside(beside(&table, "_airbyte_tmp")),
            held: table.beside(beside(&table, "_ferrybyte_new")),
            columns: columns(stream.columns.iter().map(|c| c.name.as_str()), &ADDED),
            table,
        })
        .collect())
}

/// What a stream would be called if it were alone.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) descriptor: &'a StreamDescriptor,
    /// Its namespace, or what stands for it.
    pub(crate) namespace: &'a str,
    pub(crate) table: TableName,
}

impl Wanted<'_> {
    /// The server keeps some schemas for itself.
    fn may_be_made(&self) -> Result<()> {
        let schema = &self.table.schema;
        if schema.starts_with("pg_") || schema == "information_schema" {
            return Err(Error::config(format!(
                "Stream {}: the schema {schema:?} belongs to PostgreSQL itself; choose another namespace for it, or for the connection.",
                self.descriptor
            ))
            .for_stream(self.descriptor));
        }
        Ok(())
    }

    fn is_exact(&self) -> bool {
        self.table.table == self.descriptor.name && self.table.schema == self.namespace
    }

    /// The name with so many digits of a hash behind it.
    fn told_apart(&self, digits: usize) -> TableName {
        let seed = format!("{}&airbyte&{}", self.table.schema, self.descriptor.name);
        let hash = hex(&Sha1::digest(seed.as_bytes()));
        self.table.beside(fit(&format!("{}_{}", self.table.table, &hash[..digits])))
    }
}

/// A table for each, in the same order. Of several that want the same, the one really called so gets it, else the first in
/// the order of names; the others get a few digits of a hash. The order of the catalog has no say.
pub(crate) fn tell_apart(
    wanted: &[Wanted<'_>],
    taken: impl IntoIterator<Item = TableName>,
) -> Vec<TableName> {
    let mut taken: HashSet<TableName> = taken.into_iter().collect();
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|i| {
        let w = &wanted[*i];
        (!w.is_exact(), w.namespace, w.descriptor.namespace.as_deref(), &w.descriptor.name)
    });
    let mut tables: Vec<Option<TableName>> = vec![None; wanted.len()];
    // Whoever collides with nobody keeps the plain name, whatever the names of those that do.
    order.retain(|i| {
        let free = taken.insert(wanted[*i].table.clone());
        if free {
            tables[*i] = Some(wanted[*i].table.clone());
        }
        !free
    });
    for i in order {
        let mut name = wanted[i].told_apart(3);
        let mut digits = 4;
        while !taken.insert(name.clone()) {
            // Forty digits are all there are; beyond them, numbers.
            name = if digits <= 40 {
                wanted[i].told_apart(digits)
            } else {
                wanted[i].table.beside(fit(&format!("{}_{digits}", wanted[i].table.table)))
            };
            digits += 1;
        }
        tables[i] = Some(name);
    }
    tables.into_iter().flatten().collect()
}

/// A column name for each field, in the same order. Fields whose names are right as they are keep them; of the others, those
/// that collide get a number behind.
pub(crate) fn columns<'a>(fields: impl Iterator<Item = &'a str>, reserved: &[&str]) -> Vec<String> {
    let fields: Vec<&str> = fields.collect();
    let mut taken: HashSet<String> = reserved.iter().map(|&name| name.to_owned()).collect();
    let mut order: Vec<(bool, &str, usize)> =
        fields.iter().enumerate().map(|(i, field)| (clean(field) != *field, *field, i)).collect();
    order.sort_unstable();
    let mut names = vec![String::new(); fields.len()];
    for (_, field, i) in order {
        let mut name = clean(field);
        let mut number = 0_u32;
        while !taken.insert(name.clone()) {
            number += 1;
            let plain = clean_uncut(field);
            // Cut before the number: behind it, the number might be what is cut.
            let suffix = format!("_{number}");
            let whole = format!("{plain}{suffix}");
            name = if whole.len() <= LONGEST {
                whole
            } else {
                format!("{}{suffix}", &fit(&plain)[..LONGEST - suffix.len()])
            };
        }
        names[i] = name;
    }
    names
}

/// A name as PostgreSQL can hold it: letters, digits and underscores, 63 of them at most.
pub(crate) fn clean(name: &str) -> String {
    fit(&clean_uncut(name))
}

fn clean_uncut(name: &str) -> String {
    let mut out = String::with_capacity(name.len().min(4 * LONGEST));
    let mut in_space = false;
    for c in name.nfkd().filter(|c| !is_combining_mark(*c)) {
        let space = matches!(c, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r');
        if c.is_ascii_alphanumeric() || c == '_' {
            if out.is_empty() && c.is_ascii_digit() {
                out.push('_');
            }
            out.push(c);
        } else if !(space && in_space) {
            out.push('_');
        }
        in_space = space;
    }
    if out.is_empty() {
        // Nothing is left of it; a name that is the same in every run.
        return format!("default_name_{}", &hex(&Sha256::digest(name.as_bytes()))[..32]);
    }
    out
}

/// Cuts an ASCII name, with a hash of the whole at its end.
fn fit(name: &str) -> String {
    if name.len() <= LONGEST {
        return name.to_owned();
    }
    // The hash that Java gives a string, because tables exist whose names were made with it.
    let hash = name.bytes().fold(0_i32, |hash, b| hash.wrapping_mul(31).wrapping_add(i32::from(b)));
    let digits = hash.to_string();
    format!("{}_{}", &name[..54], &digits[digits.len().saturating_sub(8)..])
}

/// The name of a table beside this one, for another purpose.
pub(crate) fn beside(table: &TableName, purpose: &str) -> String {
    let purposed = format!("{}{purpose}", table.table);
    let hash = hex(&Sha256::digest(raw_table(&table.schema, &purposed).as_bytes()));
    let mut name = format!("{}{}{}", ends(&table.schema), ends(&table.table), &hash[..32]);
    // Two long names make 64; the server would cut it the same way, with a notice.
    name.truncate(LONGEST);
    name
}

/// Namespace and name in one, with a part between them that neither holds.
pub(crate) fn raw_table(namespace: &str, name: &str) -> String {
    let mut longest = 1;
    let mut run = 0;
    for c in namespace.chars().chain(name.chars()) {
        run = if c == '_' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    format!("{namespace}_raw{}stream_{name}", "_".repeat(longest + 1))
}

fn ends(name: &str) -> String {
    let count = name.chars().count();
    if count <= 16 {
        return name.to_owned();
    }
    name.chars().take(8).chain(name.chars().skip(count - 8)).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// The name of an index on a table.
pub(crate) fn index(kind: &str, table: &str) -> String {
    fit(&format!("idx_{kind}_{table}"))
}

#[cfg(test)]
mod tests;
