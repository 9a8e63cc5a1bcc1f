//! Dremio's types, what DuckDB has for them, and which literals may be put into which.

use super::token::Token;
use crate::error::Refusal;

/// What a value is, as far as one can see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Integer,
    Decimal,
    Double,
    Text,
    Binary,
    Date,
    Time,
    Timestamp,
    /// A function's, a sub-query's: not looked into.
    Any,
}

/// A type as it was written: for DuckDB, and its kind.
#[derive(Clone, Debug)]
pub(crate) struct Type {
    pub(crate) duck: String,
    pub(crate) kind: Kind,
}

impl Type {
    /// Of a name and what may stand in parentheses behind it.
    pub(crate) fn of(name: &str, arguments: &[u32]) -> Result<Self, Refusal> {
        let plain = |duck: &str, kind| Ok(Self { duck: duck.into(), kind });
        match (name.to_ascii_uppercase().as_str(), arguments) {
            ("BOOLEAN", []) => plain("BOOLEAN", Kind::Boolean),
            ("INT" | "INTEGER", []) => plain("INTEGER", Kind::Integer),
            ("BIGINT", []) => plain("BIGINT", Kind::Integer),
            ("FLOAT", []) => plain("FLOAT", Kind::Double),
            ("DOUBLE", []) => plain("DOUBLE", Kind::Double),
            ("VARCHAR", [] | [_]) => plain("VARCHAR", Kind::Text),
            ("VARBINARY", [] | [_]) => plain("BLOB", Kind::Binary),
            ("DATE", []) => plain("DATE", Kind::Date),
            ("TIME", []) => plain("TIME", Kind::Time),
            // Of milliseconds, without a zone.
            ("TIMESTAMP", []) => plain("TIMESTAMP_MS", Kind::Timestamp),
            ("DECIMAL", []) => plain("DECIMAL(38,0)", Kind::Decimal),
            ("DECIMAL", [precision @ 1..=38]) => plain(&format!("DECIMAL({precision},0)"), Kind::Decimal),
            ("DECIMAL", [precision @ 1..=38, scale]) if scale <= precision => {
                plain(&format!("DECIMAL({precision},{scale})"), Kind::Decimal)
            }
            ("DECIMAL", _) => Err(Refusal::validation("DECIMAL precision must be between 1 and 38")),
            (other, _) => Err(Refusal::parse(format!("Invalid data type {other}"))),
        }
    }

    /// Of a column that is there.
    pub(crate) fn kind_of_duck(duck: &str) -> Kind {
        match duck {
            "BOOLEAN" => Kind::Boolean,
            "INTEGER" | "BIGINT" => Kind::Integer,
            "FLOAT" | "DOUBLE" => Kind::Double,
            "VARCHAR" => Kind::Text,
            "BLOB" => Kind::Binary,
            "DATE" => Kind::Date,
            "TIME" => Kind::Time,
            other if other.starts_with("TIMESTAMP") => Kind::Timestamp,
            other if other.starts_with("DECIMAL") => Kind::Decimal,
            _ => Kind::Any,
        }
    }
}

impl Kind {
    /// Whether a value of this kind may be put into a column of that one.
    pub(crate) fn fits(self, column: Self) -> bool {
        match (self, column) {
            (Self::Null | Self::Any, _) | (_, Self::Any) => true,
            (Self::Integer, Self::Decimal | Self::Double)
            | (Self::Decimal, Self::Double)
            | (Self::Date, Self::Timestamp) => true,
            (value, column) => value == column,
        }
    }

    /// Of the tokens of one value in VALUES.
    pub(crate) fn of(value: &[Token]) -> Result<Self, Refusal> {
        let unsigned = match value {
            [Token::Sign("-" | "+"), rest @ ..] => rest,
            whole => whole,
        };
        Ok(match unsigned {
            [Token::Text(_)] => Self::Text,
            [Token::Number(number)] if number.contains(['e', 'E']) => Self::Double,
            [Token::Number(number)] if number.contains('.') => Self::Decimal,
            [Token::Number(number)] => {
                if unsigned.len() == value.len() && number.parse::<i64>().is_err() {
                    return Err(Refusal::validation(format!("Numeric literal '{number}' out of range")));
                }
                Self::Integer
            }
            [word] if word.is("NULL") => Self::Null,
            [word] if word.is("TRUE") || word.is("FALSE") => Self::Boolean,
            [word, Token::Text(text)] if word.is("DATE") => Self::literal(Self::Date, text)?,
            [word, Token::Text(text)] if word.is("TIME") => Self::literal(Self::Time, text)?,
            [word, Token::Text(text)] if word.is("TIMESTAMP") => Self::literal(Self::Timestamp, text)?,
            [word, Token::Sign("("), .., Token::Sign(")")] if word.is("CAST") => cast(value)?,
            _ => Self::Any,
        })
    }

    /// A literal of time is refused unless it is exactly as the grammar has it; more than three
    /// digits of a second's fraction, too, as nothing says what becomes of them.
    pub(crate) fn literal(kind: Self, text: &str) -> Result<Self, Refusal> {
        let good = match kind {
            Self::Date => is_date(text),
            Self::Time => is_time(text),
            _ => text.split_once(' ').is_some_and(|(date, time)| is_date(date) && is_time(time)),
        };
        if good {
            Ok(kind)
        } else {
            Err(Refusal::parse(format!("Illegal {kind:?} literal '{text}': not in format")))
        }
    }
}

/// CAST(… AS type)
fn cast(value: &[Token]) -> Result<Kind, Refusal> {
    let Some(at) = value.iter().rposition(|token| token.is("AS")) else { return Ok(Kind::Any) };
    let [Token::Word(name), arguments @ ..] = &value[at + 1..] else { return Ok(Kind::Any) };
    let arguments: Vec<u32> = arguments
        .iter()
        .filter_map(|token| if let Token::Number(number) = token { number.parse().ok() } else { None })
        .collect();
    Ok(Type::of(name, &arguments)?.kind)
}

fn digits(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    matches!(parts[..], [year, month, day] if digits(year, 4) && digits(month, 2) && digits(day, 2))
}

fn is_time(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, rest)| (whole, Some(rest)));
    let parts: Vec<&str> = whole.split(':').collect();
    matches!(parts[..], [hour, minute, second] if digits(hour, 2) && digits(minute, 2) && digits(second, 2))
        && fraction.is_none_or(|rest| (1..=3).any(|length| digits(rest, length)))
}
