//! Where statements are planned and run: what only a look at the tables can tell is checked
//! here, and each answer gets the columns that Dremio gives it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::engine::{Engine, Found, Rows};
use crate::error::Refusal;
use crate::sql::{
    self, Change, Kind, Names, Place, Source, Sources, Statement, Type, absent, quoted, string,
};

/// What of a statement errors repeat, unless a test wants them whole: clients bound what headers hold.
const REPEATED: usize = 2_000;

/// A statement that was begun.
#[derive(Clone, Debug)]
struct Job {
    sql: String,
    status: &'static str,
}

#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) engine: Engine,
    pub(crate) sources: Sources,
    /// Longer strings are refused when they are written.
    pub(crate) field_limit: usize,
    /// Longer statements are refused.
    pub(crate) statement_limit: usize,
    /// How many bytes of a statement errors repeat.
    pub(crate) repeated: usize,
    /// Whether a catalog wants its folders made.
    pub(crate) folders_first: bool,
    jobs: Mutex<Vec<Job>>,
}

impl Desk {
    pub(crate) fn new(python: &Path, sources: Sources, field_limit: usize, statement_limit: usize) -> Self {
        Self {
            engine: Engine::start(python),
            sources,
            field_limit,
            statement_limit,
            repeated: REPEATED,
            folders_first: false,
            jobs: Mutex::default(),
        }
    }

    fn jobs(&self) -> MutexGuard<'_, Vec<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The statements that were begun, oldest first.
    pub(crate) fn begun(&self) -> Vec<String> {
        self.jobs().iter().map(|job| job.sql.clone()).collect()
    }

    /// Makes a statement known before it runs; its number.
    pub(crate) fn begin(&self, sql: &str) -> usize {
        let mut jobs = self.jobs();
        jobs.push(Job { sql: sql.to_owned(), status: "RUNNING" });
        jobs.len() - 1
    }

    fn end(&self, job: usize, status: &'static str) {
        self.jobs()[job].status = status;
    }

    /// The columns of what a statement would answer; it is not run.
    pub(crate) fn plan(&self, sql: &str, context: &[String]) -> Result<SchemaRef, Refusal> {
        let statement = self.checked(sql, context)?;
        match &statement {
            Statement::Query(query) => self.engine.shape(query),
            Statement::Change(change) => self.engine.plan(&change.sql).map(|()| records_schema()),
            Statement::Copy { .. } => Ok(copy_schema()),
            _ => Ok(done_schema()),
        }
    }

    /// Runs a statement that was made known.
    pub(crate) fn run(&self, job: usize, sql: &str, context: &[String]) -> Result<Rows, Refusal> {
        let done = self.checked(sql, context).and_then(|statement| self.execute(sql, statement));
        self.end(job, if done.is_ok() { "COMPLETED" } else { "FAILED" });
        done
    }

    /// Recognised, and possible as far as names and types go.
    fn checked(&self, sql: &str, context: &[String]) -> Result<Statement, Refusal> {
        if sql.len() > self.statement_limit {
            return Err(Refusal::too_large(sql.len(), self.statement_limit));
        }
        let names = Names { sources: &self.sources, context };
        let statement = sql::parse(sql, &names)?;
        self.check_folder(&names, &statement)?;
        match &statement {
            Statement::Change(change) => self.check_change(change)?,
            Statement::AddColumns { place, columns } => {
                let found = self.table(place)?;
                let there = |name: &str| {
                    found.columns.iter().any(|(column, _)| column.to_lowercase() == name.to_lowercase())
                };
                if let Some((name, _)) = columns.iter().find(|(name, _)| there(name)) {
                    return Err(Refusal::validation(format!("Column [{name}] already in the table.")));
                }
            }
            Statement::DropColumn { place, .. } | Statement::Copy { place, .. } => drop(self.table(place)?),
            Statement::CreateTable { place, if_not_exists: false, .. }
            | Statement::CreateView { place, replace: false, .. } => {
                if self.find(place).is_some() {
                    let text =
                        format!("A table or view with given name [{}] already exists.", place.dremio());
                    return Err(Refusal::validation(text));
                }
            }
            Statement::DropTable { place, if_exists } | Statement::Truncate { place, if_exists } => {
                if !*if_exists || self.find(place).is_some() {
                    self.table(place)?;
                }
            }
            Statement::CreateView { place, .. } => {
                if self.find(place).is_some_and(|found| !found.is_view) {
                    return Err(Refusal::validation(format!("A table [{}] already exists.", place.dremio())));
                }
            }
            Statement::DropView { place, if_exists } => match self.find(place) {
                Some(found) if found.is_view => {}
                Some(_) => return Err(Refusal::validation(format!("[{}] is not a VIEW", place.dremio()))),
                None if *if_exists => {}
                None => return Err(Refusal::validation(format!("Unknown view [{}].", place.dremio()))),
            },
            Statement::Query(_) | Statement::CreateTable { .. } | Statement::CreateFolder { .. } => {}
        }
        Ok(statement)
    }

    fn check_folder(&self, names: &Names<'_>, statement: &Statement) -> Result<(), Refusal> {
        let (Statement::CreateTable { place, .. }
        | Statement::CreateView { place, .. }
        | Statement::CreateFolder { place }) = statement
        else {
            return Ok(());
        };
        // A source is there without being made.
        let made = !place.schema.contains('.') || self.engine.has_schema(&place.schema);
        if made || !self.folders_first || !matches!(names.source(place), Some(Source::Catalog)) {
            return Ok(());
        }
        let path: Vec<String> = place.schema.split('.').map(str::to_owned).collect();
        Err(absent(&path))
    }

    /// A query, as the engine takes it.
    pub(crate) fn translate(&self, sql: &str) -> Result<String, Refusal> {
        match self.checked(sql, &[])? {
            Statement::Query(query) => Ok(query),
            _ => Err(Refusal::parse("This is no query.")),
        }
    }

    fn find(&self, place: &Place) -> Option<Found> {
        self.engine.find(&place.schema, &place.name)
    }

    fn table(&self, place: &Place) -> Result<Found, Refusal> {
        match self.find(place) {
            Some(found) if found.is_view => {
                Err(Refusal::unsupported(format!("[{}] is a VIEW", place.dremio())))
            }
            Some(found) => Ok(found),
            None => Err(Refusal::validation(format!("Table [{}] does not exist.", place.dremio()))),
        }
    }

    /// A value is put into a column only if it is of the column's type: nothing says that a
    /// string would be made a date or a number on its way.
    fn check_change(&self, change: &Change) -> Result<(), Refusal> {
        let found = self.table(&change.place)?;
        let columns: Vec<&(String, String)> = if change.columns.is_empty() {
            found.columns.iter().collect()
        } else {
            let find = |name: &String| {
                let wanted = name.to_lowercase();
                found.columns.iter().find(|(column, _)| column.to_lowercase() == wanted)
            };
            let columns: Option<Vec<_>> = change.columns.iter().map(find).collect();
            columns.ok_or_else(|| {
                let unknown = change.columns.iter().find(|name| find(name).is_none());
                Refusal::validation(format!(
                    "Unknown target column '{}'",
                    unknown.cloned().unwrap_or_default()
                ))
            })?
        };
        for row in &change.rows {
            if row.len() != columns.len() {
                return Err(Refusal::validation(format!(
                    "Number of INSERT target columns ({}) does not equal number of source items ({})",
                    columns.len(),
                    row.len()
                )));
            }
            for ((kind, length), (column, duck)) in row.iter().zip(&columns) {
                let wanted = Type::kind_of_duck(duck);
                if !kind.fits(wanted) {
                    return Err(Refusal::validation(format!(
                        "Cannot assign to target field '{column}' of type {wanted:?} from source field of type {kind:?}"
                    )));
                }
                if *length > self.field_limit && *kind == Kind::Text {
                    let text =
                        format!("Field '{column}' exceeds the size limit of {} bytes.", self.field_limit);
                    return Err(Refusal::unsupported(text));
                }
            }
        }
        Ok(())
    }

    fn execute(&self, sql: &str, statement: Statement) -> Result<Rows, Refusal> {
        let run = |sql: String| self.engine.run(&[sql], &[]);
        let said = |text: &str, place: &Place| Ok(done(&format!("{text} [{}].", place.dremio())));
        match statement {
            Statement::Query(query) => {
                if sql.to_ascii_lowercase().contains("jobs_recent") {
                    self.tell_jobs()?;
                }
                self.engine.query(&query)
            }
            Statement::Change(change) => {
                let unless: Vec<_> = change.unless.into_iter().collect();
                self.engine.run(&[change.sql], &unless).map(records)
            }
            Statement::CreateTable { place, columns, query, .. } => {
                if self.find(&place).is_some() {
                    return said("Already there: table", &place);
                }
                let definition = match query {
                    Some(query) => format!("AS {query}"),
                    None => format!("({})", declared(&columns).join(", ")),
                };
                self.create(&place, format!("CREATE TABLE {} {definition}", place.duck()))?;
                said("Created table", &place)
            }
            Statement::CreateFolder { place } => {
                run(format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(&place.dremio())))?;
                said("Created folder", &place)
            }
            Statement::CreateView { place, query, written, .. } => {
                let (schema, name) = (string(&place.schema), string(&place.name));
                self.engine.run(
                    &[
                        format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(&place.schema)),
                        format!("CREATE OR REPLACE VIEW {} AS {query}", place.duck()),
                        format!("DELETE FROM \"_sys\".written WHERE lower(schema) = lower({schema}) AND lower(name) = lower({name})"),
                        format!("INSERT INTO \"_sys\".written VALUES ({schema}, {name}, {})", string(&written)),
                    ],
                    &[],
                )?;
                said("Replaced or created view", &place)
            }
            Statement::DropTable { place, .. } => {
                run(format!("DROP TABLE IF EXISTS {}", place.duck()))?;
                said("Dropped table", &place)
            }
            Statement::DropView { place, .. } => {
                run(format!("DROP VIEW IF EXISTS {}", place.duck()))?;
                said("Dropped view", &place)
            }
            Statement::Truncate { place, .. } => {
                if self.find(&place).is_some() {
                    run(format!("DELETE FROM {}", place.duck()))?;
                }
                said("Truncated table", &place)
            }
            Statement::AddColumns { place, columns } => {
                let add = |column: String| format!("ALTER TABLE {} ADD COLUMN {column}", place.duck());
                let statements: Vec<String> = declared(&columns).into_iter().map(add).collect();
                self.engine.run(&statements, &[])?;
                said("New columns added to", &place)
            }
            Statement::DropColumn { place, column } => {
                run(format!("ALTER TABLE {} DROP COLUMN {}", place.duck(), quoted(&column)))?;
                said("Column dropped from", &place)
            }
            Statement::Copy { place, location, files } => {
                let files = self.files(&location, &files)?;
                let count = self.engine.copy(&place.schema, &place.name, &files, self.field_limit)?;
                Ok(copied(count))
            }
        }
    }

    fn create(&self, place: &Place, sql: String) -> Result<(), Refusal> {
        let schema = format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(&place.schema));
        self.engine.run(&[schema, sql], &[]).map(drop)
    }

    /// Fills the table of jobs.
    fn tell_jobs(&self) -> Result<(), Refusal> {
        let mut statements = vec!["DELETE FROM \"_sys\".jobs_recent".to_owned()];
        for (at, job) in self.jobs().iter().enumerate() {
            statements.push(format!(
                "INSERT INTO \"_sys\".jobs_recent VALUES ('job-{at}', '{}', 'FLIGHT', '{}', make_timestamp({at} * 1000), '{}')",
                job.status,
                crate::Dremio::USER,
                job.sql.replace('\'', "''")
            ));
        }
        self.engine.run(&statements, &[]).map(drop)
    }

    /// The files of `source/path`, all of the named ones or every Parquet file below it.
    fn files(&self, location: &str, named: &[String]) -> Result<Vec<String>, Refusal> {
        let (source, path) = location.split_once('/').unwrap_or((location, ""));
        let source = source.trim_matches('"');
        let Some(Source::Store(root)) = self.sources.get(source) else {
            return Err(absent(&[source.to_owned()]));
        };
        if path.split('/').chain(named.iter().flat_map(|name| name.split('/'))).any(|part| part == "..") {
            return Err(Refusal::validation("No file is found above its source"));
        }
        let folder = root.join(path.trim_start_matches('/'));
        let mut files: Vec<PathBuf> = named.iter().map(|name| folder.join(name)).collect();
        if named.is_empty() {
            below(&folder, &mut files);
        }
        if let Some(missing) = files.iter().find(|file| !file.is_file()) {
            let name = missing.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Err(Refusal::validation(format!("File [{name}] not found in [{location}]")));
        }
        if files.is_empty() {
            return Err(Refusal::validation(format!("No files found in [{location}]")));
        }
        Ok(files.iter().map(|file| file.to_string_lossy().into_owned()).collect())
    }
}

fn below(folder: &Path, files: &mut Vec<PathBuf>) {
    if folder.is_file() {
        return files.push(folder.to_path_buf());
    }
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            below(&entry, files);
        } else if entry.extension().is_some_and(|extension| extension == "parquet") {
            files.push(entry);
        }
    }
}

fn declared(columns: &[(String, Type)]) -> Vec<String> {
    columns.iter().map(|(name, kind)| format!("{} {}", quoted(name), kind.duck)).collect()
}

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let field = |(name, kind): &(&str, DataType)| Field::new(*name, kind.clone(), true);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

fn records_schema() -> SchemaRef {
    schema(&[("Records", DataType::Int64)])
}

fn copy_schema() -> SchemaRef {
    schema(&[("Rows Inserted", DataType::Int64), ("Rejected Records", DataType::Int64)])
}

fn done_schema() -> SchemaRef {
    schema(&[("ok", DataType::Boolean), ("summary", DataType::Utf8)])
}

fn one(schema: SchemaRef, columns: Vec<ArrayRef>) -> Rows {
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).expect("a row of its schema");
    Rows { schema, batches: vec![batch] }
}

fn records(count: i64) -> Rows {
    one(records_schema(), vec![Arc::new(Int64Array::from(vec![count]))])
}

fn copied(count: i64) -> Rows {
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from(vec![count])), Arc::new(Int64Array::from(vec![0]))];
    one(copy_schema(), columns)
}

fn done(summary: &str) -> Rows {
    let columns: Vec<ArrayRef> =
        vec![Arc::new(BooleanArray::from(vec![true])), Arc::new(StringArray::from(vec![summary]))];
    one(done_schema(), columns)
}
