//! Names of tables and columns: from what sources call things to what Dremio can hold, the same in every run and no two
//! alike. Dremio does not tell upper from lower case when it looks for a name.

use std::collections::HashSet;
use std::fmt::{self, Write};

use connector_kit::protocol::StreamDescriptor;
use connector_kit::{EXTRACTED_AT, GENERATION_ID, META, RAW_ID, SelectedStream, tracing};
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// The columns added to every table, first in this order.
pub(crate) const ADDED: [&str; 4] = [RAW_ID, EXTRACTED_AT, META, GENERATION_ID];

/// A table's name becomes a folder's in most stores, where something is put behind it.
const LONGEST_TABLE: usize = 120;
/// Iceberg has no limit for columns; whoever reads the table has one sooner or later.
const LONGEST_COLUMN: usize = 250;

/// The table in which is said what is committed; see `commits.rs`.
pub(crate) const COMMITS: &str = "__ferry_commits";

/// A table's or view's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The source and the folders.
    pub(crate) folder: Vec<String>,
    pub(crate) name: String,
}

impl Place {
    /// For SQL.
    pub(crate) fn sql(&self) -> String {
        let mut out = folder_sql(&self.folder);
        out.push('.');
        out.push_str(&quote(&self.name));
        out
    }

    /// Another one in the same folder.
    pub(crate) fn beside(&self, name: String) -> Self {
        Self { folder: self.folder.clone(), name }
    }
}

/// As people write it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.folder.join("."), self.name)
    }
}

/// A folder, for SQL.
pub(crate) fn folder_sql(folder: &[String]) -> String {
    folder.iter().map(|part| quote(part)).collect::<Vec<_>>().join(".")
}

/// A name, for SQL.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Everything that one stream needs a name for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamNames {
    /// What readers see: a table, or a view of one of the next two.
    pub(crate) public: Place,
    /// The tables that take turns where a stream is overwritten.
    pub(crate) turns: [Place; 2],
    /// Where rows wait to be merged.
    pub(crate) stage: Place,
    /// The columns' names, in the order of the stream's columns.
    pub(crate) columns: Vec<String>,
}

impl StreamNames {
    fn of(public: Place, columns: Vec<String>) -> Self {
        let beside = |purpose: &str| public.beside(format!("{}__ferry_{purpose}", public.name));
        Self { turns: [beside("a"), beside("b")], stage: beside("stage"), columns, public }
    }

    fn all(&self) -> [String; 4] {
        [&self.public, &self.turns[0], &self.turns[1], &self.stage]
            .map(|place| place.to_string().to_lowercase())
    }
}

/// The names of all streams of a catalog, in the same order. Of several that want the same, the one really called so gets
/// it, else the first in the order of names; the others get some digits of a hash. The catalog's order has no say.
pub(crate) fn assign(streams: &[SelectedStream], folder: &[String]) -> Vec<StreamNames> {
    let wanted: Vec<(Place, &StreamDescriptor)> =
        streams.iter().map(|s| (wanted(&s.descriptor, folder), &s.descriptor)).collect();
    let mut order: Vec<usize> = (0..streams.len()).collect();
    order.sort_by_key(|i| {
        let (place, stream) = &wanted[*i];
        (place.name != stream.name, stream.namespace.as_deref(), &stream.name)
    });
    let commits = Place { folder: folder.to_vec(), name: COMMITS.to_owned() };
    let mut taken: HashSet<String> = HashSet::from([commits.to_string().to_lowercase()]);
    let mut names: Vec<Option<StreamNames>> = vec![None; streams.len()];
    for i in order {
        let (place, stream) = &wanted[i];
        let columns = columns(streams[i].columns.iter().map(|c| c.name.as_str()));
        let mut found = StreamNames::of(place.clone(), columns.clone());
        let mut digits = 4;
        while found.all().iter().any(|name| taken.contains(name)) {
            let told_apart = format!(
                "{}_{}",
                place.name,
                &hash(&format!("{}\n{}", place.folder.join("."), stream.name))[..digits.min(64)]
            );
            // All digits may be used up only by somebody who can find collisions of SHA-256; numbers go on for ever.
            let numbered = if digits > 64 { format!("{told_apart}_{digits}") } else { told_apart };
            found = StreamNames::of(place.beside(numbered), columns.clone());
            digits += 1;
        }
        taken.extend(found.all());
        if found.public.name != stream.name {
            tracing::info!("Stream {stream}: its table is {}.", found.public);
        }
        names[i] = Some(found);
    }
    names.into_iter().flatten().collect()
}

fn wanted(stream: &StreamDescriptor, folder: &[String]) -> Place {
    let mut folder = folder.to_vec();
    folder.extend(stream.namespace.as_deref().filter(|n| !n.is_empty()).map(plain));
    Place { folder, name: plain(&stream.name) }
}

/// Letters, digits, underscores and hyphens of ASCII: what every store takes in names of folders.
fn plain(name: &str) -> String {
    let folded = name.nfkd().filter(|c| !is_combining_mark(*c));
    let text: String =
        folded.map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' }).collect();
    if text.is_empty() {
        return format!("unnamed_{}", &hash(name)[..8]);
    }
    cut(&text, LONGEST_TABLE)
}

/// A column name for each field, in the same order. Fields whose names are right as they are keep them; of those that
/// collide, the others get a number behind.
pub(crate) fn columns<'a>(fields: impl Iterator<Item = &'a str>) -> Vec<String> {
    let fields: Vec<&str> = fields.collect();
    let mut taken: HashSet<String> = ADDED.iter().map(|name| (*name).to_owned()).collect();
    let mut order: Vec<(bool, &str, usize)> =
        fields.iter().enumerate().map(|(i, field)| (column(field) != *field, *field, i)).collect();
    order.sort_unstable();
    let mut names = vec![String::new(); fields.len()];
    for (_, field, i) in order {
        let plain = column(field);
        let mut name = plain.clone();
        let mut number = 0_u32;
        while !taken.insert(name.to_lowercase()) {
            number += 1;
            name = format!("{plain}_{number}");
        }
        if name != field {
            tracing::info!("The field {field:?} is in the column {name:?}.");
        }
        names[i] = name;
    }
    names
}

/// All letters there are; what separates or quotes parts of a path in SQL becomes an underscore.
fn column(field: &str) -> String {
    let good = |c: char| !(c.is_control() || matches!(c, '"' | '.' | '[' | ']' | '`' | '\\'));
    let text: String = field.chars().map(|c| if good(c) { c } else { '_' }).collect();
    if text.trim().is_empty() {
        return format!("unnamed_{}", &hash(field)[..8]);
    }
    cut(&text, LONGEST_COLUMN)
}

/// Cuts a long name, with a hash of the whole at its end.
fn cut(name: &str, longest: usize) -> String {
    if name.len() <= longest {
        return name.to_owned();
    }
    let mut end = longest - 9;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{}", &name[..end], &hash(name)[..8])
}

fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::{Place, columns, cut, plain};

    #[test]
    fn dw_10_columns_keep_their_names_and_never_meet() {
        let fields =
            ["id", "ID", "a.b", "a_b", "größe", "_airbyte_raw_id", "", " ", "select", "x\"y", "Id_1"];
        let names = columns(fields.iter().copied());
        assert_eq!(&names[..1], ["ID_1"].map(|_| "id_2".to_owned()).as_slice());
        assert_eq!(names[1], "ID");
        assert_eq!((names[2].as_str(), names[3].as_str(), names[4].as_str()), ("a_b_1", "a_b", "größe"));
        assert_eq!(
            (names[5].as_str(), names[8].as_str(), names[9].as_str()),
            ("_airbyte_raw_id_1", "select", "x_y")
        );
        let mut lower: Vec<String> = names.iter().map(|n| n.to_lowercase()).collect();
        lower.sort();
        lower.dedup();
        assert_eq!(lower.len(), fields.len(), "{names:?}");
        let reversed = columns(fields.iter().rev().copied());
        assert_eq!(reversed.into_iter().rev().collect::<Vec<_>>(), names, "the order has no say");
    }

    #[test]
    fn dw_10_long_names_are_cut_with_a_hash_and_tables_stay_plain() {
        let (a, b) = (plain(&"x".repeat(300)), plain(&format!("{}y", "x".repeat(300))));
        assert!(a != b && a.len() == 120 && b.len() == 120);
        assert_eq!(plain("../Ünder\nway:"), "___Under_way_");
        assert!(plain("").starts_with("unnamed_"));
        assert!(cut(&"é".repeat(200), 250).len() <= 250);
        let place = Place { folder: vec!["my.lake".into(), "x".into()], name: "a\"b".into() };
        assert_eq!(place.sql(), "\"my.lake\".\"x\".\"a\"\"b\"");
    }
}
