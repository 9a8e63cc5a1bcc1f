//! Words, names, strings, numbers and signs of a statement.

use crate::error::Refusal;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// Unquoted: a keyword or a name.
    Word(String),
    /// A name in double quotes, unescaped.
    Name(String),
    /// A string in single quotes, unescaped.
    Text(String),
    Number(String),
    Sign(&'static str),
}

/// Longer ones first.
const SIGNS: [&str; 21] = [
    "<>", "<=", ">=", "!=", "||", "(", ")", ",", ".", "=", "<", ">", "+", "-", "*", "/", "%", "[", "]", "{",
    "}",
];

impl Token {
    pub(crate) fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    /// As DuckDB wants it.
    pub(crate) fn render(&self) -> String {
        match self {
            Self::Word(word) => word.clone(),
            Self::Name(name) => quoted(name),
            Self::Text(text) => string(text),
            Self::Number(number) => number.clone(),
            Self::Sign(sign) => (*sign).to_owned(),
        }
    }
}

pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(crate) fn string(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Each with where it starts.
pub(crate) fn tokens(sql: &str) -> Result<Vec<(Token, usize)>, Refusal> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        let start = sql.len() - rest.len();
        if rest.starts_with("--") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").ok_or_else(|| failure("/*"))?.1;
        } else if first == '"' || first == '\'' {
            let (text, after) = enclosed(rest, first)?;
            rest = after;
            match first {
                '"' if text.is_empty() => return Err(failure("\"\"")),
                '"' => tokens.push((Token::Name(text), start)),
                _ => tokens.push((Token::Text(text), start)),
            }
        } else if first.is_ascii_digit()
            || (first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit()))
        {
            let length = number(rest);
            tokens.push((number_in_range(&rest[..length])?, start));
            rest = &rest[length..];
        } else if first.is_alphabetic() || first == '_' {
            let end =
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
            tokens.push((Token::Word(rest[..end].to_owned()), start));
            rest = &rest[end..];
        } else {
            // `;`, `::`, `?`, `$1` and the like are not for one statement without parameters.
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            let sign = sign.ok_or_else(|| failure(&first.to_string()))?;
            tokens.push((Token::Sign(sign), start));
            rest = &rest[sign.len()..];
        }
    }
}

fn failure(at: &str) -> Refusal {
    Refusal::parse(format!("Failure parsing the query. Encountered \"{at}\"."))
}

/// What is between quotes; a doubled quote is one.
fn enclosed(rest: &str, quote: char) -> Result<(String, &str), Refusal> {
    let mut text = String::new();
    let mut rest = &rest[1..];
    loop {
        let end = rest.find(quote).ok_or_else(|| failure("<EOF>"))?;
        text.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        if !rest.starts_with(quote) {
            return Ok((text, rest));
        }
        text.push(quote);
        rest = &rest[1..];
    }
}

fn number(rest: &str) -> usize {
    let digits = |from: usize| rest[from..].bytes().take_while(u8::is_ascii_digit).count();
    let mut end = digits(0);
    if rest[end..].starts_with('.') {
        end += 1 + digits(end + 1);
    }
    if rest[end..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[end + 1..].starts_with(['+', '-']));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    end
}

/// A numeric literal of more digits than a BIGINT has is refused, with a point or without.
fn number_in_range(text: &str) -> Result<Token, Refusal> {
    if !text.contains(['e', 'E']) {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        // One more for the smallest, which is written with a minus.
        if digits.trim_start_matches('0').parse::<u64>().unwrap_or(if digits.is_empty() {
            u64::MAX
        } else {
            0
        }) > 1 << 63
            || digits.trim_start_matches('0').len() > 19
        {
            return Err(Refusal::validation(format!("Numeric literal '{text}' out of range")));
        }
    }
    Ok(Token::Number(text.to_owned()))
}
