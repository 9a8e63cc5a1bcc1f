//! Where things are: sources, folders, and the session's schema.

use std::path::PathBuf;

use super::token::quoted;
use crate::error::Refusal;

/// What a name at the top is.
#[derive(Clone, Debug)]
pub enum Source {
    /// A catalog such as Nessie or Dremio's own: Iceberg tables and views side by side.
    Catalog,
    /// A store of objects, by the folder that it stands for here: Iceberg tables, files to
    /// COPY from, and no views.
    Store(PathBuf),
    /// A space: views only.
    Space,
}

/// The sources by name, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources(pub(crate) Vec<(String, Source)>);

impl Sources {
    pub(crate) fn get(&self, name: &str) -> Option<&Source> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, source)| source)
    }
}

/// A table or view: its folder with all above it, and its name.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Dremio's TABLE_SCHEMA: the source and folders, joined with points.
    pub(crate) schema: String,
    pub(crate) name: String,
}

impl Place {
    /// `"schema"."name"`, as DuckDB wants it.
    pub(crate) fn duck(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    pub(crate) fn dremio(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// Finds places for one session.
#[derive(Clone, Debug)]
pub(crate) struct Names<'a> {
    pub(crate) sources: &'a Sources,
    /// The session's schema, part by part.
    pub(crate) context: &'a [String],
}

impl Names<'_> {
    /// Whether this path starts at a source.
    pub(crate) fn knows(&self, first: &str) -> bool {
        self.sources.get(first).is_some() || system(first).is_some()
    }

    /// The place of a path that must be one.
    pub(crate) fn place(&self, path: &[String]) -> Result<Place, Refusal> {
        let whole: Vec<String> = if path.len() > 1 && self.knows(&path[0]) {
            path.to_vec()
        } else {
            self.context.iter().chain(path).cloned().collect()
        };
        let [folders @ .., name] = &whole[..] else { return Err(absent(path)) };
        let Some(first) = folders.first() else { return Err(absent(path)) };
        if let Some(schema) = system(first) {
            return Ok(Place { schema: schema.into(), name: name.clone() });
        }
        if self.sources.get(first).is_none() {
            return Err(absent(path));
        }
        Ok(Place { schema: folders.join("."), name: name.clone() })
    }

    /// The source in which a place is.
    pub(crate) fn source(&self, place: &Place) -> Option<&Source> {
        self.sources.get(place.schema.split('.').next().unwrap_or_default())
    }
}

fn system(first: &str) -> Option<&'static str> {
    if first.eq_ignore_ascii_case("INFORMATION_SCHEMA") {
        Some("_information")
    } else if first.eq_ignore_ascii_case("sys") {
        Some("_sys")
    } else {
        None
    }
}

pub(crate) fn absent(path: &[String]) -> Refusal {
    match path {
        [] => Refusal::validation("Object '' not found"),
        [name] => Refusal::validation(format!("Object '{name}' not found")),
        [folders @ .., name] => {
            Refusal::validation(format!("Object '{name}' not found within '{}'", folders.join(".")))
        }
    }
}
