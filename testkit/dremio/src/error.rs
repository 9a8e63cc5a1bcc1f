//! How Dremio says no: a kind of error, which decides the gRPC code, and a text that repeats
//! the statement. Whoever passes that text on passes on the statement's values.

use tonic::{Code, Status};

/// Why a statement was not run.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    kind: &'static str,
    code: Code,
    text: String,
}

impl Refusal {
    fn new(kind: &'static str, code: Code, text: impl Into<String>) -> Self {
        Self { kind, code, text: text.into() }
    }

    /// It does not follow the grammar.
    pub(crate) fn parse(text: impl Into<String>) -> Self {
        Self::new("PARSE", Code::InvalidArgument, text)
    }

    /// It names what is not there, or does with it what cannot be done.
    pub(crate) fn validation(text: impl Into<String>) -> Self {
        Self::new("VALIDATION", Code::InvalidArgument, text)
    }

    pub(crate) fn unsupported(text: impl Into<String>) -> Self {
        Self::new("UNSUPPORTED_OPERATION", Code::Internal, text)
    }

    pub(crate) fn internal(text: impl Into<String>) -> Self {
        Self::new("SYSTEM", Code::Internal, text)
    }

    /// gRPC's own refusal, before anybody reads the statement.
    pub(crate) fn too_large(bytes: usize, limit: usize) -> Self {
        let text = format!("gRPC message exceeds maximum size {limit}: {bytes}");
        Self::new("", Code::ResourceExhausted, text)
    }

    pub(crate) fn status(&self, sql: &str) -> Status {
        if self.kind.is_empty() {
            return Status::new(self.code, self.text.clone());
        }
        Status::new(self.code, message(self.kind, &self.text, sql))
    }
}

/// What of a statement is repeated: messages travel in headers, which must not be long.
const LONGEST: usize = 2_000;

/// The form of Dremio's messages.
pub(crate) fn message(kind: &str, text: &str, sql: &str) -> String {
    let end = sql.char_indices().map(|(at, _)| at).find(|at| *at >= LONGEST).unwrap_or(sql.len());
    let sql = &sql[..end];
    format!("{kind} ERROR: {text}\n\nSQL Query {sql}\n\n[Error Id: 5f9d2c1e-0000-4000-8000-000000000001 ]")
}
