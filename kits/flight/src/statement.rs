//! Statements as they are sent.

use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};
use bytes::Bytes;

/// A statement, ready to be sent. It may be many megabytes long, so it is made once and shared.
#[derive(Clone, Debug)]
pub struct Statement(pub(crate) Bytes);

impl From<&str> for Statement {
    fn from(sql: &str) -> Self {
        Self(command(sql).into())
    }
}

impl From<&String> for Statement {
    fn from(sql: &String) -> Self {
        Self::from(sql.as_str())
    }
}

impl From<&Self> for Statement {
    fn from(statement: &Self) -> Self {
        statement.clone()
    }
}

/// A `CommandStatementQuery` in an `Any`, put together by hand: by way of its types a statement would be in memory
/// three more times.
fn command(sql: &str) -> Vec<u8> {
    // Field 1, field 2, both of bytes.
    const FIRST: u8 = 0x0a;
    const SECOND: u8 = 0x12;
    let url = CommandStatementQuery::type_url();
    let query_length = 1 + prost::length_delimiter_len(sql.len()) + sql.len();
    let mut out = Vec::with_capacity(url.len() + query_length + 24);
    let mut head = |tag: u8, length: usize, body: &[u8]| {
        out.push(tag);
        // A vector always has room.
        let _ = prost::encode_length_delimiter(length, &mut out);
        out.extend_from_slice(body);
    };
    head(FIRST, url.len(), url.as_bytes());
    head(SECOND, query_length, &[]);
    head(FIRST, sql.len(), sql.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::command;
    use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};
    use prost::Message;

    #[test]
    fn a_command_by_hand_is_the_same_as_by_its_type() {
        for sql in ["SELECT 1", &"x".repeat(127), &"é".repeat(70_000)] {
            let query = CommandStatementQuery { query: sql.to_owned(), transaction_id: None };
            assert_eq!(command(sql), query.as_any().encode_to_vec(), "{} bytes", sql.len());
        }
    }
}
