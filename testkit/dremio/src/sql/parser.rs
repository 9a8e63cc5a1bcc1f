//! A cursor over a statement's tokens.

use super::Statement;
use super::names::{Names, Place};
use super::token::{Token, tokens};
use super::types::Type;
use super::words::is_reserved;
use crate::error::Refusal;

#[derive(Debug)]
pub(super) struct Parser<'a> {
    pub(super) tokens: Vec<Token>,
    starts: Vec<usize>,
    sql: &'a str,
    pub(super) at: usize,
    pub(super) names: &'a Names<'a>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(sql: &'a str, names: &'a Names<'a>) -> Result<Self, Refusal> {
        let (tokens, starts) = tokens(sql)?.into_iter().unzip();
        Ok(Self { tokens, starts, sql, at: 0, names })
    }

    pub(super) fn statement(mut self) -> Result<Statement, Refusal> {
        let first = self.peek().cloned();
        let keyword = match &first {
            Some(Token::Word(word)) => word.to_ascii_uppercase(),
            // A query in parentheses.
            Some(Token::Sign("(")) => "SELECT".into(),
            _ => return Err(self.failure()),
        };
        let statement = match keyword.as_str() {
            "SELECT" | "WITH" | "VALUES" => Statement::Query(self.expressions(|_, _| false)?),
            "CREATE" => self.create()?,
            "DROP" => self.drop()?,
            "ALTER" => self.alter()?,
            "TRUNCATE" => self.truncate()?,
            "INSERT" => self.insert()?,
            "DELETE" => self.delete()?,
            "UPDATE" => self.update()?,
            "MERGE" => self.merge()?,
            "COPY" => self.copy()?,
            _ => return Err(self.failure()),
        };
        if self.at < self.tokens.len() { Err(self.failure()) } else { Ok(statement) }
    }

    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    /// The rest of the statement, as it was written.
    pub(super) fn rest(&self) -> String {
        self.starts.get(self.at).map_or_else(String::new, |start| self.sql[*start..].to_owned())
    }

    /// What the parser of a query says of what it did not expect.
    pub(super) fn failure(&self) -> Refusal {
        let what = match self.peek() {
            None => "<EOF>".into(),
            Some(Token::Text(_)) => "<QUOTED_STRING>".into(),
            Some(token) => token.render(),
        };
        Refusal::parse(format!("Failure parsing the query. Encountered \"{what}\" at token {}.", self.at + 1))
    }

    /// Takes a keyword if it is next.
    pub(super) fn take(&mut self, keyword: &str) -> bool {
        let there = self.peek().is_some_and(|token| token.is(keyword));
        self.at += usize::from(there);
        there
    }

    /// Takes these keywords if they are all next.
    pub(super) fn take_all(&mut self, keywords: &[&str]) -> bool {
        let next = &self.tokens[self.at..];
        let there = next.len() >= keywords.len()
            && keywords.iter().zip(next).all(|(keyword, token)| token.is(keyword));
        self.at += if there { keywords.len() } else { 0 };
        there
    }

    pub(super) fn expect(&mut self, keywords: &[&str]) -> Result<(), Refusal> {
        keywords.iter().try_for_each(|keyword| if self.take(keyword) { Ok(()) } else { Err(self.failure()) })
    }

    pub(super) fn sign(&mut self, sign: &str) -> bool {
        let there = matches!(self.peek(), Some(Token::Sign(next)) if *next == sign);
        self.at += usize::from(there);
        there
    }

    pub(super) fn expect_sign(&mut self, sign: &str) -> Result<(), Refusal> {
        if self.sign(sign) { Ok(()) } else { Err(self.failure()) }
    }

    /// A name; a reserved word needs quotes.
    pub(super) fn name(&mut self) -> Result<String, Refusal> {
        let name = match self.peek() {
            Some(Token::Name(name)) => name.clone(),
            Some(Token::Word(word)) if !is_reserved(word) => word.clone(),
            _ => return Err(self.failure()),
        };
        self.at += 1;
        Ok(name)
    }

    pub(super) fn text(&mut self) -> Result<String, Refusal> {
        let Some(Token::Text(text)) = self.peek().cloned() else { return Err(self.failure()) };
        self.at += 1;
        Ok(text)
    }

    pub(super) fn path(&mut self) -> Result<Vec<String>, Refusal> {
        let mut path = vec![self.name()?];
        while self.sign(".") {
            path.push(match self.peek().cloned() {
                // Behind a point no keyword can stand.
                Some(Token::Word(word)) => {
                    self.at += 1;
                    word
                }
                _ => self.name()?,
            });
        }
        Ok(path)
    }

    pub(super) fn place(&mut self) -> Result<Place, Refusal> {
        let path = self.path()?;
        self.names.place(&path)
    }

    /// `[AS] alias`, if there is one.
    pub(super) fn alias(&mut self) -> Result<Option<String>, Refusal> {
        let said = self.take("AS");
        let there = match self.peek() {
            Some(Token::Name(_)) => true,
            Some(Token::Word(word)) => !is_reserved(word),
            _ => false,
        };
        if said || there { self.name().map(Some) } else { Ok(None) }
    }

    /// `(a, b, c)`
    pub(super) fn name_list(&mut self) -> Result<Vec<String>, Refusal> {
        self.expect_sign("(")?;
        let mut names = vec![self.name()?];
        while self.sign(",") {
            names.push(self.name()?);
        }
        self.expect_sign(")")?;
        Ok(names)
    }

    /// `name[(n[, n])]`
    pub(super) fn data_type(&mut self) -> Result<Type, Refusal> {
        let Some(Token::Word(name)) = self.peek().cloned() else { return Err(self.failure()) };
        self.at += 1;
        let mut arguments = Vec::new();
        if self.sign("(") {
            loop {
                let Some(Token::Number(number)) = self.peek().cloned() else { return Err(self.failure()) };
                arguments.push(number.parse().map_err(|_| self.failure())?);
                self.at += 1;
                if !self.sign(",") {
                    break;
                }
            }
            self.expect_sign(")")?;
        }
        Type::of(&name, &arguments)
    }
}
