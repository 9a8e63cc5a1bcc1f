//! Queries and expressions: passed on word by word, with paths, types and literals made
//! DuckDB's, and refused where they are DuckDB's only.

use super::parser::Parser;
use super::token::Token;
use super::types::Kind;
use super::words::{is_foreign, is_reserved, may_be_called};
use crate::error::Refusal;

/// Words behind which a table stands.
const BEFORE_TABLES: [&str; 4] = ["FROM", "JOIN", "INTO", "USING"];

impl Parser<'_> {
    /// Everything up to a token at which to stop, given how deep in parentheses it is, or up
    /// to the parenthesis that closes what was open before.
    pub(super) fn expressions(&mut self, stop: impl Fn(&Token, usize) -> bool) -> Result<String, Refusal> {
        let mut out = Vec::new();
        // For each open parenthesis, whether it is CAST's.
        let mut open: Vec<bool> = Vec::new();
        while let Some(token) = self.peek().cloned() {
            if stop(&token, open.len()) {
                break;
            }
            match &token {
                Token::Sign(")") if open.is_empty() => break,
                Token::Sign(")") => drop(open.pop()),
                Token::Sign("(") => open.push(self.before(1, |token| token.is("CAST"))),
                Token::Sign("{" | "}" | "[" | "]") => return Err(self.failure()),
                Token::Word(word) => {
                    if let Some(text) = self.word(word, open.last() == Some(&true))? {
                        out.push(text);
                        continue;
                    }
                }
                Token::Name(name) => {
                    if let Some(text) = self.table(name)? {
                        out.push(text);
                        continue;
                    }
                }
                _ => {}
            }
            out.push(token.render());
            self.at += 1;
        }
        if !open.is_empty() || out.is_empty() {
            return Err(self.failure());
        }
        Ok(out.join(" "))
    }

    /// Whether the token so many places before this one is such.
    fn before(&self, places: usize, such: impl Fn(&Token) -> bool) -> bool {
        self.at.checked_sub(places).is_some_and(|at| such(&self.tokens[at]))
    }

    /// What becomes of a word that is not passed on as it is.
    fn word(&mut self, word: &str, in_cast: bool) -> Result<Option<String>, Refusal> {
        let behind_point = self.before(1, |token| matches!(token, Token::Sign(".")));
        if behind_point {
            return Ok(None);
        }
        if is_foreign(word) {
            return Err(self.failure());
        }
        let next = self.tokens.get(self.at + 1);
        if in_cast && word.eq_ignore_ascii_case("AS") {
            self.at += 1;
            return Ok(Some(format!("AS {}", self.data_type()?.duck)));
        }
        if let (Some(Token::Text(text)), "DATE" | "TIME" | "TIMESTAMP") =
            (next, word.to_ascii_uppercase().as_str())
        {
            let kind = match word.len() {
                4 if word.eq_ignore_ascii_case("DATE") => Kind::Date,
                4 => Kind::Time,
                _ => Kind::Timestamp,
            };
            Kind::literal(kind, text)?;
            return Ok(None);
        }
        if matches!(next, Some(Token::Sign("("))) && !may_be_called(word) {
            // `x (` is also a common table expression's name or an alias with columns.
            let named = self.before(1, |token| token.is("AS") || token.is("WITH"));
            if !named {
                return Err(Refusal::validation(format!("No match found for function signature {word}()")));
            }
        }
        if is_reserved(word) { Ok(None) } else { self.table(word) }
    }

    /// A table's path, if one starts here.
    fn table(&mut self, first: &str) -> Result<Option<String>, Refusal> {
        let dotted = matches!(self.tokens.get(self.at + 1), Some(Token::Sign(".")));
        let expected = self.before(1, |token| BEFORE_TABLES.iter().any(|keyword| token.is(keyword)))
            && !self.before(2, |token| token.is("DISTINCT"));
        let known = dotted && self.names.knows(first);
        // What has no point may be a common table expression.
        if !(known || expected && (dotted || !self.names.context.is_empty())) {
            return Ok(None);
        }
        let path = self.path()?;
        if !dotted && self.is_common(&path[0]) {
            return Ok(Some(super::quoted(&path[0])));
        }
        Ok(Some(self.names.place(&path)?.duck()))
    }

    /// Whether `WITH name AS` or `, name AS (` is in the statement.
    fn is_common(&self, name: &str) -> bool {
        self.tokens.windows(3).any(|three| {
            let named = match &three[0] {
                Token::Word(word) => word.eq_ignore_ascii_case(name),
                Token::Name(other) => other.eq_ignore_ascii_case(name),
                _ => false,
            };
            named && three[1].is("AS") && matches!(three[2], Token::Sign("("))
        })
    }
}
