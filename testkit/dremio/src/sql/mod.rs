//! The statements that Dremio's documentation and grammar have, recognised one by one and
//! translated. Whatever else comes is refused.

mod definitions;
mod expressions;
mod names;
mod parser;
mod statements;
mod token;
mod types;
mod words;

pub use names::Source;
pub(crate) use names::{Names, Place, Sources, absent};
pub(crate) use token::{quoted, string};
pub(crate) use types::{Kind, Type};

use crate::error::Refusal;
use parser::Parser;

/// One statement, translated as far as it can be without looking at tables.
#[derive(Debug)]
pub(crate) enum Statement {
    /// Gives rows.
    Query(String),
    CreateTable {
        place: Place,
        columns: Vec<(String, Type)>,
        if_not_exists: bool,
        /// CREATE TABLE … AS.
        query: Option<String>,
    },
    DropTable {
        place: Place,
        if_exists: bool,
    },
    AddColumns {
        place: Place,
        columns: Vec<(String, Type)>,
    },
    DropColumn {
        place: Place,
        column: String,
    },
    Truncate {
        place: Place,
        if_exists: bool,
    },
    CreateView {
        place: Place,
        replace: bool,
        query: String,
        /// The query as it was written.
        written: String,
    },
    CreateFolder {
        place: Place,
    },
    DropView {
        place: Place,
        if_exists: bool,
    },
    /// INSERT, UPDATE, DELETE and MERGE.
    Change(Change),
    Copy {
        place: Place,
        location: String,
        files: Vec<String>,
    },
}

/// A statement that changes rows of one table.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) place: Place,
    pub(crate) sql: String,
    /// A query that must find nothing, and what to say if it does.
    pub(crate) unless: Option<(String, &'static str)>,
    /// INSERT's columns, none when it names none.
    pub(crate) columns: Vec<String>,
    /// INSERT's VALUES: what each is, and how long a string is.
    pub(crate) rows: Vec<Vec<(Kind, usize)>>,
}

/// Reads one statement.
pub(crate) fn parse(sql: &str, names: &Names<'_>) -> Result<Statement, Refusal> {
    Parser::new(sql, names)?.statement()
}
