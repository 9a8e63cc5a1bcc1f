//! DuckDB, driven as a process: it runs what was translated. One request at a time, as
//! nothing here is about speed.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_schema::{Schema, SchemaRef};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::error::Refusal;

/// An answer larger than this is a fault of a test.
const MOST: usize = 256 << 20;

#[derive(Debug)]
struct Pipes {
    process: Child,
    to: ChildStdin,
    from: ChildStdout,
}

#[derive(Debug)]
pub(crate) struct Engine {
    pipes: Mutex<Pipes>,
    /// Where DuckDB puts what has no room in memory; it would choose the folder that the tests run in.
    _spill: TempDir,
}

/// The answer to a query.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
}

/// A table's columns: names and DuckDB's types.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) columns: Vec<(String, String)>,
    pub(crate) is_view: bool,
}

impl Engine {
    pub(crate) fn start(python: &Path) -> Self {
        assert!(python.exists(), "{} is not there; `cargo xtask servers` installs it", python.display());
        let spill = TempDir::new().expect("a folder");
        let mut process = Command::new(python)
            .args(["-I", "-c", include_str!("engine.py")])
            .arg(spill.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let (to, from) = (process.stdin.take().expect("a pipe"), process.stdout.take().expect("a pipe"));
        let engine = Self { pipes: Mutex::new(Pipes { process, to, from }), _spill: spill };
        engine.prepare();
        engine
    }

    /// What Dremio has of information about itself.
    fn prepare(&self) {
        let information = include_str!("information.sql");
        let statements: Vec<&str> =
            information.split(';').map(str::trim).filter(|sql| !sql.is_empty()).collect();
        self.ask(&json!({"op": "run", "sql": statements})).expect("the engine takes its own tables");
    }

    pub(crate) fn query(&self, sql: &str) -> Result<Rows, Refusal> {
        let (_, body) = self.ask(&json!({"op": "query", "sql": sql}))?;
        decode(&body)
    }

    /// What a query's answer will look like.
    pub(crate) fn shape(&self, sql: &str) -> Result<SchemaRef, Refusal> {
        let (_, body) = self.ask(&json!({"op": "shape", "sql": sql}))?;
        Ok(decode(&body)?.schema)
    }

    /// Whether a statement could be run, without running it.
    pub(crate) fn plan(&self, sql: &str) -> Result<(), Refusal> {
        self.ask(&json!({"op": "plan", "sql": sql})).map(drop)
    }

    /// Runs statements that take effect together or not at all, once each check finds no
    /// row; how many rows the last one changed.
    pub(crate) fn run(&self, sql: &[String], empty: &[(String, &str)]) -> Result<i64, Refusal> {
        let empty: Vec<Value> = empty.iter().map(|(sql, text)| json!({"sql": sql, "else": text})).collect();
        let (answer, _) = self.ask(&json!({"op": "run", "sql": sql, "empty": empty}))?;
        Ok(answer["count"].as_i64().unwrap_or(0))
    }

    pub(crate) fn copy(
        &self,
        schema: &str,
        table: &str,
        files: &[String],
        field_limit: usize,
    ) -> Result<i64, Refusal> {
        let ask = json!({"op": "copy", "schema": schema, "table": table, "files": files, "field_limit": field_limit});
        Ok(self.ask(&ask)?.0["count"].as_i64().unwrap_or(0))
    }

    /// The columns of a table or view, if it is there.
    pub(crate) fn find(&self, schema: &str, table: &str) -> Option<Found> {
        let ask = json!({"op": "columns", "schema": schema, "table": table});
        let (answer, _) = self.ask(&ask).expect("the engine knows its tables");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let columns = answer["columns"].as_array()?;
        Some(Found {
            columns: columns.iter().map(|column| (text(&column[0]), text(&column[1]))).collect(),
            is_view: answer["view"] == true,
        })
    }

    pub(crate) fn has_schema(&self, schema: &str) -> bool {
        let name = crate::sql::string(schema);
        let sql = format!("SELECT 1 FROM duckdb_schemas() WHERE lower(schema_name) = lower({name})");
        self.rows(&sql).is_ok_and(|rows| !rows.is_empty())
    }

    /// Rows as JSON: numbers up to 64 bits, booleans and strings as such, the rest as text.
    pub(crate) fn rows(&self, sql: &str) -> Result<Vec<Vec<Value>>, Refusal> {
        let (answer, _) = self.ask(&json!({"op": "rows", "sql": sql}))?;
        let rows = answer["rows"].as_array().cloned().unwrap_or_default();
        Ok(rows.into_iter().map(|row| row.as_array().cloned().unwrap_or_default()).collect())
    }

    fn ask(&self, ask: &Value) -> Result<(Value, Vec<u8>), Refusal> {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = |error: std::io::Error| Refusal::internal(format!("the engine is gone: {error}"));
        let text = ask.to_string();
        let length = u32::try_from(text.len()).map_err(|_| Refusal::internal("a statement of 4 GiB"))?;
        pipes.to.write_all(&length.to_be_bytes()).map_err(gone)?;
        pipes.to.write_all(text.as_bytes()).map_err(gone)?;
        pipes.to.flush().map_err(gone)?;
        let mut length = [0; 4];
        pipes.from.read_exact(&mut length).map_err(gone)?;
        let head = read(&mut pipes.from, u32::from_be_bytes(length) as usize)?;
        let answer: Value = serde_json::from_slice(&head)
            .map_err(|error| Refusal::internal(format!("the engine's answer: {error}")))?;
        let body = read(&mut pipes.from, answer["body"].as_u64().unwrap_or(0) as usize)?;
        match answer["error"].as_str() {
            None => Ok((answer, body)),
            Some(text) if answer["user"] == true => Err(Refusal::unsupported(text)),
            Some(text) => Err(Refusal::validation(text)),
        }
    }
}

fn read(from: &mut ChildStdout, length: usize) -> Result<Vec<u8>, Refusal> {
    if length > MOST {
        return Err(Refusal::internal("an answer that no test should ask for"));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).map_err(|error| Refusal::internal(format!("the engine is gone: {error}")))?;
    Ok(bytes)
}

fn decode(body: &[u8]) -> Result<Rows, Refusal> {
    let broken = |error: arrow_schema::ArrowError| Refusal::internal(format!("the engine's rows: {error}"));
    let reader = StreamReader::try_new(body, None).map_err(broken)?;
    let schema = SchemaRef::new(Schema::new(reader.schema().fields().clone()));
    let batches = reader.collect::<Result<_, _>>().map_err(broken)?;
    Ok(Rows { schema, batches })
}

impl Drop for Engine {
    fn drop(&mut self) {
        let pipes = self.pipes.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = pipes.process.kill();
        let _ = pipes.process.wait();
    }
}
