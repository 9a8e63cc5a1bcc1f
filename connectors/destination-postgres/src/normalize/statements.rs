//! The statements that make a stream's tables from its raw rows: pure text, run one after another in
//! one transaction.
//!
//! A table whose rows others are made from is first put into a temporary table, its *stage*, whose columns
//! have short names of ours, so that no field can clash with them: `d` the row's JSON, `a` the raw row's id,
//! `t` when it was emitted, `p` the hash of the row around it, `o` its place in the array, `h`
//! its own hash, and `c0`, `c1`, … the fields.

use connector_kit::{Error, Result};
use postgres_kit::{quote_identifier, quote_literal};

use super::expression::{Casting, does_not_fit, list, md5, table, value, value_at};
use super::history::History;
use super::tree::{AB_ID, Child, EMITTED_AT, Hashed, NORMALIZED_AT, Node, UNIQUE_KEY};
use crate::config::NestedObjects;
use crate::names;

/// What is made of one stream.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The schema of the stream's tables.
    pub(crate) schema: String,
    /// The raw table, in the same schema.
    pub(crate) raw: String,
    pub(crate) form: NestedObjects,
    pub(crate) root: Node,
    /// For streams that are deduplicated.
    pub(crate) history: Option<History>,
}

/// A table that normalization makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) columns: Vec<MadeColumn>,
    pub(crate) indexes: Vec<Vec<String>>,
}

/// One of its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MadeColumn {
    pub(crate) name: String,
    pub(crate) sql_type: &'static str,
    /// The stage's column that it is filled from.
    pub(crate) from: String,
}

/// Which raw rows are normalized, and into what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of them, into new tables whose names carry this tag until they are put in place.
    Rebuild { tag: String },
    /// Those with an id beyond this one, into the tables that are there.
    After(Option<String>),
}

impl MadeColumn {
    pub(crate) fn new(name: &str, sql_type: &'static str, from: &str) -> Self {
        Self { name: name.to_owned(), sql_type, from: from.to_owned() }
    }
}

impl Made {
    fn create(&self, name: &str) -> String {
        let columns: Vec<String> =
            self.columns.iter().map(|c| format!("{} {}", quote_identifier(&c.name), c.sql_type)).collect();
        format!("CREATE TABLE {name} ({})", columns.join(", "))
    }

    /// Each index's name on a table of that name, and its columns.
    pub(crate) fn index_names<'a>(&'a self, on: &'a str) -> impl Iterator<Item = (String, &'a [String])> {
        self.indexes.iter().map(move |columns| (names::index(&columns.join("_"), on), columns.as_slice()))
    }

    fn make_indexes<'a>(&'a self, schema: &'a str, on: &'a str) -> impl Iterator<Item = String> {
        self.index_names(on).map(move |(name, columns)| {
            let columns = list(columns.iter().map(String::as_str));
            format!("CREATE INDEX {} ON {} ({columns})", quote_identifier(&name), table(schema, on))
        })
    }

    pub(crate) fn fill(&self, name: &str, from: &str) -> String {
        format!(
            "INSERT INTO {name} ({}) SELECT {} FROM {from}",
            list(self.columns.iter().map(|c| c.name.as_str())),
            self.columns.iter().map(|c| c.from.as_str()).collect::<Vec<_>>().join(", ")
        )
    }
}

/// What [`Made::fill`] and others select a field from.
pub(crate) fn field_column(index: usize) -> String {
    format!("c{index}")
}

impl Plan {
    /// Every table of the stream: its own, its history, then what is nested, outermost first.
    pub(crate) fn tables(&self) -> Vec<Made> {
        let mut tables = vec![self.made(&self.root)];
        tables.extend(self.history.as_ref().map(|history| history.made(self)));
        collect(&self.root, &mut |node| tables.push(self.made(node)));
        tables
    }

    pub(crate) fn made(&self, node: &Node) -> Made {
        let is_root = node.parent_hash.is_none();
        let text = "text";
        let mut columns = Vec::new();
        let mut indexes = Vec::new();
        if let Some(parent) = &node.parent_hash {
            columns.push(MadeColumn::new(parent, text, "p"));
            indexes.push(vec![parent.clone()]);
        }
        let original = self.form == NestedObjects::Tables;
        if original && is_root && self.history.is_some() {
            columns.push(MadeColumn::new(UNIQUE_KEY, text, "k"));
            indexes.push(vec![UNIQUE_KEY.to_owned()]);
        }
        columns.extend(fields(node));
        if original {
            columns.push(MadeColumn::new(AB_ID, "character varying", "a"));
            columns.push(MadeColumn::new(EMITTED_AT, "timestamp with time zone", "t"));
            indexes.push(vec![EMITTED_AT.to_owned()]);
        }
        if original || is_root {
            columns.push(MadeColumn::new(NORMALIZED_AT, "timestamp with time zone", "now()"));
        }
        if let Some(hash) = &node.own_hash {
            columns.push(MadeColumn::new(hash, text, "h"));
            if !node.children.is_empty() || (is_root && self.history.is_some() && !original) {
                indexes.push(vec![hash.clone()]);
            }
        }
        Made { name: node.table.clone(), columns, indexes }
    }

    /// A table of the server has 1,600 columns at most, and fewer of wide types.
    pub(crate) fn check_size(&self) -> Result<()> {
        match self.tables().iter().find(|made| made.columns.len() > 1590) {
            None => Ok(()),
            Some(made) => Err(Error::config(format!(
                "{} would have {} columns, and PostgreSQL allows 1,600; deselect fields, or write the stream without normalization.",
                table(&self.schema, &made.name),
                made.columns.len()
            ))),
        }
    }

    /// The name that rows of a table go to, quoted.
    pub(crate) fn place(&self, scope: &Scope, name: &str) -> String {
        match scope {
            Scope::After(_) => table(&self.schema, name),
            Scope::Rebuild { tag } => {
                let at = self.tables().iter().position(|made| made.name == name).unwrap_or(usize::MAX);
                table(&self.schema, &building(tag, at))
            }
        }
    }

    /// The raw rows of `scope` with their fields and hash.
    pub(crate) fn raw_rows(&self, scope: &Scope, casting: Casting) -> String {
        let from = format!("{} s{}", table(&self.schema, &self.raw), after(scope));
        let head = format!("s.{AB_ID} AS a, s.{EMITTED_AT} AS t, NULL::text AS p, s._airbyte_data AS d");
        self.staged(&self.root, &head, &from, casting)
    }

    fn staged(&self, node: &Node, head: &str, from: &str, casting: Casting) -> String {
        let values: String = node
            .fields
            .iter()
            .enumerate()
            .map(|(i, field)| format!(", {} AS {}", value("d", field, casting), field_column(i)))
            .collect();
        let mut hashed: Vec<String> = Vec::new();
        if node.parent_hash.is_some() {
            hashed.push("p".to_owned());
            // Elements that are equal have rows of their own nested in them.
            hashed.extend((self.form == NestedObjects::Columns).then(|| "o".to_owned()));
        }
        hashed.extend(node.hashed.iter().map(|part| match part {
            Hashed::Field(index) => field_column(*index),
            Hashed::Json(path) => super::expression::json_at("d", path),
        }));
        let mut more = String::new();
        if node.own_hash.is_some() {
            more += &format!(", {} AS h", md5(hashed.iter().map(String::as_str)));
        }
        if let Some(history) = self.history.as_ref().filter(|_| node.parent_hash.is_none()) {
            more += &history.staged();
        }
        // Without the OFFSETs the server would put each cast wherever its column is used, and do it again.
        let check = match casting {
            Casting::Strict => objects_are_objects(node),
            Casting::Lenient => String::new(),
        };
        format!(
            "SELECT f.*{more} FROM (SELECT b.*{values} FROM (SELECT {head} FROM {from} OFFSET 0) b{check} OFFSET 0) f"
        )
    }

    /// The rows of a nested table, from those of the table around it.
    fn nested_rows(&self, child: &Child, around: &str, casting: Casting) -> String {
        let head = "s.a, s.t, s.h AS p, e.d, e.o";
        let from = format!("{around} s CROSS JOIN LATERAL {}", elements(child, casting));
        self.staged(&child.node, head, &from, casting)
    }

    /// Everything that fills the tables for `scope`, and puts new ones into a state to be put in place.
    pub(crate) fn statements(&self, scope: &Scope, casting: Casting) -> Vec<String> {
        let mut sql = Vec::new();
        if matches!(scope, Scope::Rebuild { .. }) {
            sql.extend(self.tables().iter().map(|made| made.create(&self.place(scope, &made.name))));
        }
        match &self.history {
            Some(history) => history.statements(self, scope, casting, &mut sql),
            None => {
                let rows = self.raw_rows(scope, casting);
                self.put(&self.root, scope, casting, &rows, &mut Stages::default(), &mut sql);
            }
        }
        if let Scope::Rebuild { tag } = scope {
            for (at, made) in self.tables().iter().enumerate() {
                sql.extend(made.make_indexes(&self.schema, &building(tag, at)));
            }
        }
        // Other streams of the transaction have stages of the same names.
        let stages: Vec<String> = sql
            .iter()
            .filter_map(|sql| sql.strip_prefix(TEMPORARY)?.split(' ').next())
            .map(|stage| format!("pg_temp.{stage}"))
            .collect();
        if !stages.is_empty() {
            sql.push(format!("DROP TABLE {}", stages.join(", ")));
        }
        sql
    }

    /// Fills the table of `node` with `rows` and goes on with what is nested in it.
    fn put(
        &self,
        node: &Node,
        scope: &Scope,
        casting: Casting,
        rows: &str,
        stages: &mut Stages,
        sql: &mut Vec<String>,
    ) {
        let made = self.made(node);
        let place = self.place(scope, &made.name);
        if node.children.is_empty() {
            sql.push(made.fill(&place, &format!("({rows}) s")));
            return;
        }
        let stage = stages.next();
        sql.push(temporary(&stage, rows));
        sql.push(made.fill(&place, &stage));
        self.put_nested(node, scope, casting, &stage, stages, sql);
    }

    /// Fills the tables for what is nested in the rows of `around`.
    pub(crate) fn put_nested(
        &self,
        node: &Node,
        scope: &Scope,
        casting: Casting,
        around: &str,
        stages: &mut Stages,
        sql: &mut Vec<String>,
    ) {
        for child in &node.children {
            let rows = self.nested_rows(child, around, casting);
            self.put(&child.node, scope, casting, &rows, stages, sql);
        }
    }

    /// Queries that count the values which [`Casting::Lenient`] leaves out of the tables.
    pub(crate) fn misfits(&self, scope: &Scope) -> Vec<Misfits> {
        let raw = table(&self.schema, &self.raw);
        let mut queries = Vec::new();
        count_misfits(
            &self.root,
            &format!("(SELECT s._airbyte_data AS d FROM {raw} s{})", after(scope)),
            &mut queries,
        );
        queries
    }
}

/// A query of one row of counts, and what each counts: a table and what in it did not fit.
#[derive(Clone, Debug)]
pub(crate) struct Misfits {
    pub(crate) sql: String,
    pub(crate) names: Vec<(String, String)>,
}

fn count_misfits(node: &Node, rows: &str, queries: &mut Vec<Misfits>) {
    let mut counts: Vec<(String, String)> = Vec::new();
    for field in &node.fields {
        counts.extend(does_not_fit("d", field).map(|wrong| (field.column.clone(), wrong)));
    }
    let not_a = |path: &[String], kind: &str| {
        format!("coalesce(jsonb_typeof({}), 'null') NOT IN ('null', '{kind}')", value_at("d", path))
    };
    counts.extend(node.objects.iter().map(|path| (path.join("."), not_a(path, "object"))));
    let nested = node.children.iter().filter(|child| child.many);
    counts.extend(nested.map(|child| (child.path.join("."), not_a(&child.path, "array"))));
    // A query has no more than 1,664 columns.
    for some in counts.chunks(1000) {
        let filters: Vec<String> =
            some.iter().map(|(_, wrong)| format!("count(*) FILTER (WHERE {wrong})")).collect();
        queries.push(Misfits {
            sql: format!("SELECT {} FROM {rows} s", filters.join(", ")),
            names: some.iter().map(|(name, _)| (node.table.clone(), name.clone())).collect(),
        });
    }
    for child in &node.children {
        let nested = elements(child, Casting::Lenient);
        count_misfits(
            &child.node,
            &format!("(SELECT e.d FROM {rows} s CROSS JOIN LATERAL {nested})"),
            queries,
        );
    }
}

/// What is nested in the rows `s`, as `e(d, o)`.
fn elements(child: &Child, casting: Casting) -> String {
    let nested = value_at("s.d", &child.path);
    match (child.many, casting) {
        // Fails for what is no array.
        (true, Casting::Strict) => {
            format!(
                "jsonb_array_elements({}) WITH ORDINALITY e(d, o)",
                super::expression::json_at("s.d", &child.path)
            )
        }
        (true, Casting::Lenient) => {
            format!(
                "jsonb_array_elements(CASE jsonb_typeof({nested}) WHEN 'array' THEN {nested} END) WITH ORDINALITY e(d, o)"
            )
        }
        (false, _) => format!("(SELECT {nested} AS d, 1 AS o WHERE jsonb_typeof({nested}) = 'object') e"),
    }
}

/// A condition that is always true, but fails for a value that has no fields and so no place in the table.
fn objects_are_objects(node: &Node) -> String {
    let checks: Vec<String> = node
        .objects
        .iter()
        .map(|path| format!("jsonb_typeof({})", value_at("d", path)))
        .map(|kind| {
            format!(
                "CASE WHEN coalesce({kind}, 'null') IN ('null', 'object') THEN true ELSE {kind}::boolean END"
            )
        })
        .collect();
    if checks.is_empty() { String::new() } else { format!(" WHERE {}", checks.join(" AND ")) }
}

fn after(scope: &Scope) -> String {
    match scope {
        Scope::After(Some(id)) => format!(" WHERE s.{AB_ID} COLLATE \"C\" > {}", quote_literal(id)),
        Scope::After(None) | Scope::Rebuild { .. } => String::new(),
    }
}

/// The columns of a node's fields.
pub(crate) fn fields(node: &Node) -> impl Iterator<Item = MadeColumn> {
    node.fields.iter().enumerate().map(|(i, f)| MadeColumn::new(&f.column, f.cast.sql(), &field_column(i)))
}

const TEMPORARY: &str = "CREATE TEMPORARY TABLE ";

/// A temporary table of the transaction.
pub(crate) fn temporary(name: &str, rows: &str) -> String {
    let bare = name.trim_start_matches("pg_temp.");
    format!("{TEMPORARY}{bare} ON COMMIT DROP AS {rows}; ANALYZE {name}")
}

/// The name of a table until it is put in place.
pub(crate) fn building(tag: &str, at: usize) -> String {
    format!("_ferrybyte_new_{tag}_{at}")
}

/// Calls `visit` for every table nested in `node`.
pub(crate) fn collect(node: &Node, visit: &mut impl FnMut(&Node)) {
    for child in &node.children {
        visit(&child.node);
        collect(&child.node, visit);
    }
}

/// Gives stages their names.
#[derive(Debug, Default)]
pub(crate) struct Stages(usize);

impl Stages {
    pub(crate) fn next(&mut self) -> String {
        self.0 += 1;
        format!("pg_temp._ferrybyte_stage_{}", self.0)
    }
}
