//! Names of normalized tables and columns, by the rules that basic normalization had: lower case where a name
//! needs no quotes, numbered or hashed where two are one.

use std::collections::HashSet;

use sha1::{Digest, Sha1};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::config::NestedObjects;
use crate::names::LONGEST;

/// How long names may get before they are shortened in the middle, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) table: usize,
    pub(crate) column: usize,
}

impl Limits {
    /// As long as the server allows; a table leaves room for `_scd`.
    pub(crate) const SERVER: Self = Self { table: LONGEST - 4, column: LONGEST };
    /// Room for prefixes and suffixes that the original put around names.
    pub(crate) const ORIGINAL: Self = Self { table: 43, column: 43 };

    pub(crate) fn of(form: NestedObjects) -> Self {
        match form {
            NestedObjects::Columns => Self::SERVER,
            NestedObjects::Tables => Self::ORIGINAL,
        }
    }
}

/// A stream's or a path's name as a table's.
pub(crate) fn table_name(name: &str, limit: usize) -> String {
    shorten(&plain(name), limit)
}

/// Marks dropped, letters small, everything but letters, digits and `_` made `_`.
pub(crate) fn plain(name: &str) -> String {
    let plain: String = name
        .trim()
        .nfd()
        .filter(|c| !is_combining_mark(*c))
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .collect();
    if plain.is_empty() { "_".to_owned() } else { plain }
}

/// A field's name as a column's: in small letters if it can stand without quotes, else as it is.
fn column_name(name: &str, limit: usize) -> String {
    let bare = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let small = name.to_ascii_lowercase();
    let name = if bare && RESERVED.binary_search(&small.as_str()).is_err() {
        small
    } else if name.is_empty() {
        "_".to_owned()
    } else {
        // No name can hold it.
        name.replace('\0', "_")
    };
    shorten(&name, limit)
}

/// Keeps the beginning and the end of a name that is too long.
fn shorten(name: &str, limit: usize) -> String {
    if name.len() <= limit {
        return name.to_owned();
    }
    let tail = (limit - 1) / 2;
    let head = limit - 2 - tail;
    let head = (0..=head).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    let tail = (name.len() - tail..=name.len()).find(|at| name.is_char_boundary(*at)).unwrap_or(name.len());
    format!("{}__{}", &name[..head], &name[tail..])
}

/// The columns of one table, each with a name of its own.
#[derive(Debug)]
pub(crate) struct Columns {
    taken: HashSet<String>,
    limit: usize,
}

impl Columns {
    /// `reserved` are the columns that normalization adds.
    pub(crate) fn new(reserved: impl IntoIterator<Item = String>, limit: usize) -> Self {
        Self { taken: reserved.into_iter().collect(), limit }
    }

    /// A name for a field; the second of two that are one gets `_1`.
    pub(crate) fn name(&mut self, field: &str) -> String {
        let name = column_name(field, self.limit);
        if self.taken.insert(name.clone()) {
            return name;
        }
        for number in 1_u64.. {
            let suffix = format!("_{number}");
            let numbered = shorten(&name, self.limit - suffix.len()) + &suffix;
            if self.taken.insert(numbered.clone()) {
                return numbered;
            }
        }
        name
    }
}

/// The tables of all streams, each with a name of its own.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    taken: HashSet<(String, String)>,
}

impl Tables {
    /// Keeps a name from being given away.
    pub(crate) fn take(&mut self, schema: &str, table: &str) -> bool {
        self.taken.insert((schema.to_owned(), table.to_owned()))
    }

    /// The name of a stream's table.
    pub(crate) fn stream(&mut self, schema: &str, stream: &str, limits: Limits) -> String {
        let hash = short_hash(&[schema, stream]);
        self.first_free(schema, limits.table, [stream.to_owned(), format!("{stream}_{hash}")])
    }

    /// The name of the table that holds a stream's raw rows.
    pub(crate) fn raw(&mut self, schema: &str, stream: &str) -> String {
        let hash = short_hash(&[schema, stream]);
        let wishes = [format!("_airbyte_raw_{stream}"), format!("_airbyte_raw_{stream}_{hash}")];
        self.first_free(schema, LONGEST, wishes)
    }

    /// The name of the table that holds all versions of the rows in `table`.
    pub(crate) fn history(&mut self, schema: &str, table: &str) -> String {
        let hash = short_hash(&[schema, table]);
        self.first_free(schema, LONGEST, [format!("{table}_scd"), format!("{table}_{hash}_scd")])
    }

    /// The name of a table for what is nested in a stream: its path from the stream on.
    pub(crate) fn nested(&mut self, schema: &str, path: &[String], limits: Limits) -> String {
        let parts: Vec<&str> = std::iter::once(schema).chain(path.iter().map(String::as_str)).collect();
        let hash = short_hash(&parts);
        let (last, before) = path
            .split_last()
            .map_or(("", ""), |(last, before)| (last.as_str(), before.first().map_or("", String::as_str)));
        self.first_free(schema, limits.table, [path.join("_"), format!("{before}_{hash}_{last}")])
    }

    fn first_free(&mut self, schema: &str, limit: usize, wishes: [String; 2]) -> String {
        let [_, second] = &wishes;
        let numbered: Vec<String> = (1..=100).map(|n| format!("{second}_{n}")).collect();
        let all = wishes.iter().chain(&numbered);
        for name in all.map(|wish| table_name(wish, limit)) {
            if self.take(schema, &name) {
                return name;
            }
        }
        // A hundred streams of one name do not pass the catalog's own check.
        table_name(second, limit)
    }
}

/// Three digits that tell apart what has one name.
fn short_hash(parts: &[&str]) -> String {
    let text = parts.iter().map(|p| p.to_lowercase()).collect::<Vec<_>>().join("&airbyte&");
    let hash = Sha1::digest(text.as_bytes());
    hash.iter().take(2).map(|b| format!("{b:02x}")).collect::<String>()[..3].to_owned()
}

/// PostgreSQL's reserved words, sorted: a column called so keeps its letters as they are.
#[rustfmt::skip]
const RESERVED: &[&str] = &[
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization", "binary",
    "both", "case", "cast", "check", "collate", "collation", "column", "concurrently", "constraint", "create",
    "cross", "current_catalog", "current_date", "current_role", "current_schema", "current_time",
    "current_timestamp", "current_user", "default", "deferrable", "desc", "distinct", "do", "else", "end", "except",
    "false", "fetch", "for", "foreign", "freeze", "from", "full", "grant", "group", "having", "ilike", "in",
    "initially", "inner", "intersect", "into", "is", "isnull", "join", "lateral", "leading", "left", "like",
    "limit", "localtime", "localtimestamp", "natural", "not", "notnull", "null", "offset", "on", "only", "or",
    "order", "outer", "overlaps", "placing", "primary", "references", "returning", "right", "select",
    "session_user", "similar", "some", "symmetric", "table", "tablesample", "then", "to", "trailing", "true",
    "union", "unique", "user", "using", "variadic", "verbose", "when", "where", "window", "with",
];

#[cfg(test)]
mod tests {
    use super::{Columns, Limits, RESERVED, Tables, column_name, shorten, table_name};
    use proptest::prelude::{any, prop, prop_assert, proptest};

    #[test]
    fn reserved_words_are_in_order() {
        assert!(RESERVED.is_sorted());
    }

    #[test]
    fn tables_are_lower_case_and_without_marks() {
        assert_eq!(table_name(" Café Größe-2 ", 59), "cafe_gro_e_2");
        assert_eq!(table_name("1\0;\"drop", 59), "1___drop");
        assert_eq!(table_name("", 59), "_");
    }

    #[test]
    fn columns_are_lower_case_unless_they_need_quotes() {
        for (field, column) in [
            ("Name", "name"),
            ("User", "User"),
            ("Größe", "Größe"),
            ("2nd", "2nd"),
            ("a b", "a b"),
            ("\0", "_"),
        ] {
            assert_eq!(column_name(field, 63), column);
        }
    }

    #[test]
    fn long_names_keep_both_ends() {
        let long = "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz";
        assert_eq!(shorten(long, 43), "abcdefghijklmnopqrst__fghijklmnopqrstuvwxyz");
        assert_eq!(shorten(&long[..43], 43), &long[..43]);
    }

    #[test]
    fn columns_that_are_one_are_numbered() {
        let mut columns = Columns::new(["_airbyte_ab_id".to_owned()], 63);
        let names: Vec<_> = ["id", "ID", "Id", "_airbyte_ab_id"].map(|f| columns.name(f)).into();
        assert_eq!(names, ["id", "id_1", "id_2", "_airbyte_ab_id_1"]);
    }

    #[test]
    fn tables_that_are_one_are_told_apart_by_a_hash() {
        let mut tables = Tables::default();
        assert_eq!(tables.stream("public", "a_b", Limits::SERVER), "a_b");
        let second = tables.stream("public", "a b", Limits::SERVER);
        assert!(second.starts_with("a_b_") && second.len() == 7, "{second}");
        assert_eq!(tables.stream("other", "a_b", Limits::SERVER), "a_b");
        let nested = tables.nested("public", &["a".to_owned(), "b".to_owned()], Limits::SERVER);
        assert!(nested.starts_with("a_") && nested.ends_with("_b") && nested.len() == 7, "{nested}");
    }

    proptest! {
        #[test]
        fn any_names_fit_and_differ(names in prop::collection::vec(any::<String>(), 1..30)) {
            let mut columns = Columns::new([], 63);
            let mut tables = Tables::default();
            let mut seen = std::collections::HashSet::new();
            for name in &names {
                let column = columns.name(name);
                prop_assert!(!column.is_empty() && column.len() <= 63 && !column.contains('\0'), "{column}");
                prop_assert!(seen.insert(column.clone()), "{column}");
                let table = tables.stream("s", name, Limits::SERVER);
                prop_assert!(!table.is_empty() && table.len() <= 59 && !table.contains('\0'), "{table}");
            }
        }
    }
}
