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

    /// The answer, with so many bytes of the statement.
    pub(crate) fn status(&self, sql: &str, repeated: usize) -> Status {
        if self.kind.is_empty() {
            return Status::new(self.code, self.text.clone());
        }
        Status::new(self.code, message(self.kind, &self.text, cut(sql, repeated)))
    }
}

fn cut(sql: &str, most: usize) -> &str {
    let end = sql.char_indices().map(|(at, _)| at).find(|at| *at >= most).unwrap_or(sql.len());
    &sql[..end]
}

/// The form of Dremio's messages.
pub(crate) fn message(kind: &str, text: &str, sql: &str) -> String {
    format!("{kind} ERROR: {text}\n\nSQL Query {sql}\n\n[Error Id: 5f9d2c1e-0000-4000-8000-000000000001 ]")
}
