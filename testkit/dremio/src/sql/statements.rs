//! INSERT, DELETE, UPDATE, MERGE and COPY INTO.

use super::names::Place;
use super::parser::Parser;
use super::token::{Token, quoted};
use super::types::Kind;
use super::{Change, Statement};
use crate::error::Refusal;

/// How many files one COPY INTO may name.
const MOST_FILES: usize = 1000;

impl Parser<'_> {
    pub(super) fn peek_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Token::Sign(next)) if *next == sign)
    }

    pub(super) fn insert(&mut self) -> Result<Statement, Refusal> {
        self.expect(&["INSERT", "INTO"])?;
        let place = self.place()?;
        let query_follows = |token: &Token| token.is("SELECT") || token.is("WITH") || token.is("VALUES");
        let listed = self.peek_sign("(") && !self.tokens.get(self.at + 1).is_some_and(query_follows);
        let columns = if listed { self.name_list()? } else { Vec::new() };
        let (values, rows) =
            if self.take("VALUES") { self.values()? } else { (self.expressions(|_, _| false)?, Vec::new()) };
        let list = if columns.is_empty() { String::new() } else { format!(" ({})", list(&columns)) };
        let sql = format!("INSERT INTO {}{list} {values}", place.duck());
        Ok(Statement::Change(Change { place, sql, unless: None, columns, rows }))
    }

    /// The rows behind VALUES: for DuckDB, and what each value is.
    #[expect(clippy::type_complexity, reason = "used once")]
    fn values(&mut self) -> Result<(String, Vec<Vec<(Kind, usize)>>), Refusal> {
        let (mut out, mut rows) = (Vec::new(), Vec::new());
        loop {
            self.expect_sign("(")?;
            let (mut texts, mut kinds) = (Vec::new(), Vec::new());
            loop {
                let from = self.at;
                texts.push(self.expressions(|token, depth| depth == 0 && matches!(token, Token::Sign(",")))?);
                let value = &self.tokens[from..self.at];
                let text_length = |token: &Token| if let Token::Text(text) = token { text.len() } else { 0 };
                let length = value.iter().map(text_length).max().unwrap_or(0);
                kinds.push((Kind::of(value)?, length));
                if !self.sign(",") {
                    break;
                }
            }
            self.expect_sign(")")?;
            out.push(format!("({})", texts.join(", ")));
            rows.push(kinds);
            if !self.sign(",") {
                break;
            }
        }
        if rows.iter().any(|row| row.len() != rows[0].len()) {
            return Err(Refusal::validation("Values passed to VALUES operator must have compatible types"));
        }
        Ok((format!("VALUES {}", out.join(", ")), rows))
    }

    pub(super) fn delete(&mut self) -> Result<Statement, Refusal> {
        self.expect(&["DELETE", "FROM"])?;
        let place = self.place()?;
        let mut sql = format!("DELETE FROM {}{}", place.duck(), aliased(self.alias()?));
        if self.take("USING") {
            // With the keyword, by which a path is known as a table's.
            self.at -= 1;
            sql = format!("{sql} {}", self.expressions(|token, depth| depth == 0 && token.is("WHERE"))?);
        }
        self.condition(sql, place)
    }

    pub(super) fn update(&mut self) -> Result<Statement, Refusal> {
        self.expect(&["UPDATE"])?;
        let place = self.place()?;
        let mut sql = format!("UPDATE {}{}", place.duck(), aliased(self.alias()?));
        self.expect(&["SET"])?;
        let ends = |token: &Token, depth: usize| {
            depth == 0 && (token.is("FROM") || token.is("WHERE") || matches!(token, Token::Sign(",")))
        };
        sql = format!("{sql} SET {}", self.assignments(ends)?);
        if self.peek().is_some_and(|token| token.is("FROM")) {
            sql = format!("{sql} {}", self.expressions(|token, depth| depth == 0 && token.is("WHERE"))?);
        }
        self.condition(sql, place)
    }

    fn condition(&mut self, mut sql: String, place: Place) -> Result<Statement, Refusal> {
        if self.take("WHERE") {
            sql = format!("{sql} WHERE {}", self.expressions(|_, _| false)?);
        }
        Ok(Statement::Change(Change { place, sql, unless: None, columns: Vec::new(), rows: Vec::new() }))
    }

    /// `a = …, b = …`; a column to set has no alias before it.
    fn assignments(&mut self, ends: impl Fn(&Token, usize) -> bool) -> Result<String, Refusal> {
        let mut out = Vec::new();
        loop {
            let column = self.name()?;
            self.expect_sign("=")?;
            out.push(format!("{} = {}", quoted(&column), self.expressions(&ends)?));
            if !self.sign(",") {
                return Ok(out.join(", "));
            }
        }
    }

    /// At most one update of what matches and one insert of what does not, in this order.
    pub(super) fn merge(&mut self) -> Result<Statement, Refusal> {
        self.expect(&["MERGE", "INTO"])?;
        let place = self.place()?;
        let alias = self.alias()?.unwrap_or_else(|| place.name.clone());
        self.expect(&["USING"])?;
        let source = if self.sign("(") {
            let query = self.expressions(|_, _| false)?;
            self.expect_sign(")")?;
            format!("({query})")
        } else {
            self.place()?.duck()
        };
        let source = format!("{source}{}", aliased(self.alias()?));
        self.expect(&["ON"])?;
        let condition = self.expressions(|token, depth| depth == 0 && token.is("WHEN"))?;
        let mut sql =
            format!("MERGE INTO {} AS {} USING {source} ON {condition}", place.duck(), quoted(&alias));
        let mut clauses = 0;
        if self.take_all(&["WHEN", "MATCHED"]) {
            self.expect(&["THEN", "UPDATE", "SET"])?;
            let ends = |token: &Token, depth: usize| {
                depth == 0 && (token.is("WHEN") || matches!(token, Token::Sign(",")))
            };
            sql = format!("{sql} WHEN MATCHED THEN UPDATE SET {}", self.assignments(ends)?);
            clauses += 1;
        }
        if self.take_all(&["WHEN", "NOT", "MATCHED"]) {
            self.expect(&["THEN", "INSERT"])?;
            let columns = self.name_list()?;
            self.expect(&["VALUES"])?;
            self.expect_sign("(")?;
            let values = self.expressions(|_, _| false)?;
            self.expect_sign(")")?;
            sql = format!("{sql} WHEN NOT MATCHED THEN INSERT ({}) VALUES ({values})", list(&columns));
            clauses += 1;
        }
        if clauses == 0 {
            return Err(self.failure());
        }
        let twice = format!(
            "SELECT 1 FROM {} AS {alias} JOIN {source} ON {condition} GROUP BY {alias}.rowid HAVING count(*) > 1 LIMIT 1",
            place.duck(),
            alias = quoted(&alias),
        );
        let unless = Some((twice, "A target row matched more than once. Please update your query."));
        Ok(Statement::Change(Change { place, sql, unless, columns: Vec::new(), rows: Vec::new() }))
    }

    /// Parquet only: CSV and JSON would need readers that are like Dremio's.
    pub(super) fn copy(&mut self) -> Result<Statement, Refusal> {
        self.expect(&["COPY", "INTO"])?;
        let place = self.place()?;
        self.expect(&["FROM"])?;
        let location = self.text()?;
        let Some(location) = location.strip_prefix('@') else {
            return Err(Refusal::parse("Specified location clause not found; it starts with @"));
        };
        let location = location.to_owned();
        let mut files = Vec::new();
        if self.take("FILES") {
            self.expect_sign("(")?;
            loop {
                files.push(self.text()?);
                if !self.sign(",") {
                    break;
                }
            }
            self.expect_sign(")")?;
        } else if self.take("REGEX") {
            return Err(Refusal::unsupported("Only FILES is taken here."));
        }
        if files.len() > MOST_FILES {
            return Err(Refusal::parse(format!(
                "Maximum number of files allowed in the FILES clause is {MOST_FILES}"
            )));
        }
        self.expect(&["FILE_FORMAT"])?;
        if !self.text()?.eq_ignore_ascii_case("parquet") {
            return Err(Refusal::unsupported("Only Parquet is read here."));
        }
        if self.sign("(") {
            self.expect(&["ON_ERROR"])?;
            if self.text()? != "abort" {
                return Err(Refusal::unsupported("Only ON_ERROR 'abort' is taken here."));
            }
            self.expect_sign(")")?;
        }
        Ok(Statement::Copy { place, location, files })
    }
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

fn aliased(alias: Option<String>) -> String {
    alias.map_or_else(String::new, |alias| format!(" AS {}", quoted(&alias)))
}
