//! Names and texts inside SQL. A NUL, which no statement can hold, is refused where the statement is
//! sent.

use postgres_protocol::escape;

/// `name` as an SQL identifier, in double quotes.
#[must_use]
pub fn quote_identifier(name: &str) -> String {
    escape::escape_identifier(name)
}

/// `text` as an SQL literal, right under either value of `standard_conforming_strings`.
#[must_use]
pub fn quote_literal(text: &str) -> String {
    escape::escape_literal(text)
}

#[cfg(test)]
mod tests {
    use super::{quote_identifier, quote_literal};

    #[test]
    fn quotes_what_would_end_the_quotes() {
        assert_eq!(quote_identifier(r#"a"b'c\"#), r#""a""b'c\""#);
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal(r"a\'b").trim_start(), r"E'a\\''b'");
    }
}
