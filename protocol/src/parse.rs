//! Reads any message, tolerantly: explicit nulls, repeated and unknown keys, floats
//! where integers belong. For the record path use [`crate::RecordScanner`] instead.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::json::{self, JsonError, Token};
use crate::message::{Message, Record};
use crate::state::State;

/// Why a line is not a message. Holds no part of the line: it may carry row values.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Not JSON, not an object, or without a `type`.
    #[error("not a message: {0}")]
    Json(#[from] JsonError),
    /// Bytes that are not UTF-8.
    #[error("not a message: invalid UTF-8 at byte {0}")]
    Utf8(usize),
    /// The payload lacks something or has a wrong type.
    #[error("bad {kind} message: {detail}")]
    Payload {
        /// The `type` member.
        kind: String,
        /// What is wrong.
        detail: String,
    },
}

/// Parses one line, with or without its newline.
///
/// # Errors
/// See [`ParseError`]. A message of an unknown kind is no error.
pub fn parse_message(line: &[u8]) -> Result<Message, ParseError> {
    let text = std::str::from_utf8(line).map_err(|e| ParseError::Utf8(e.valid_up_to()))?.trim();
    let bytes = text.as_bytes();
    let end = json::skip_value(bytes, 0)?;
    if end != bytes.len() {
        return Err(JsonError { what: "text after the message", at: end }.into());
    }
    let Some(Token::Str(kind)) = json::member(bytes, "type")? else {
        return Err(JsonError { what: "message without a type", at: 0 }.into());
    };
    let kind = kind.to_str().unwrap_or_default().into_owned();
    let payload = |name: &str| {
        json::member(bytes, name)?.and_then(object_text).ok_or_else(|| ParseError::Payload {
            kind: kind.clone(),
            detail: format!("{name:?} is missing or not an object"),
        })
    };
    Ok(match kind.as_str() {
        "RECORD" => Message::Record(
            record(payload("record")?)
                .map_err(|detail| ParseError::Payload { kind: kind.clone(), detail })?,
        ),
        "STATE" => Message::State(
            State::parse_payload(payload("state")?)
                .map_err(|e| ParseError::Payload { kind: kind.clone(), detail: e.to_string() })?,
        ),
        "LOG" => Message::Log(typed(&kind, payload("log")?)?),
        "SPEC" => Message::Spec(typed(&kind, payload("spec")?)?),
        "CONNECTION_STATUS" => Message::ConnectionStatus(typed(&kind, payload("connectionStatus")?)?),
        "CATALOG" => Message::Catalog(typed(&kind, payload("catalog")?)?),
        "TRACE" => Message::Trace(typed(&kind, payload("trace")?)?),
        "CONTROL" => Message::Control(typed(&kind, payload("control")?)?),
        "DESTINATION_CATALOG" => Message::DestinationCatalog(typed(&kind, payload("destination_catalog")?)?),
        _ => Message::Unknown {
            raw: raw_value(bytes).map_err(|detail| ParseError::Payload { kind: kind.clone(), detail })?,
            kind,
        },
    })
}

fn object_text(token: Token<'_>) -> Option<&[u8]> {
    match token {
        Token::Object(text) => Some(text),
        _ => None,
    }
}

fn typed<T: DeserializeOwned>(kind: &str, text: &[u8]) -> Result<T, ParseError> {
    // Through a tree, where the last of two equal keys wins; a derived struct would refuse them.
    let detail = |e: serde_json::Error| ParseError::Payload { kind: kind.to_owned(), detail: e.to_string() };
    serde_json::from_slice::<Value>(text).and_then(serde_json::from_value).map_err(detail)
}

pub(crate) fn raw_value(text: &[u8]) -> Result<Box<RawValue>, String> {
    let text = String::from_utf8(text.to_vec()).map_err(|e| e.to_string())?;
    RawValue::from_string(text).map_err(|e| e.to_string())
}

fn record(text: &[u8]) -> Result<Record, String> {
    let (mut namespace, mut stream, mut emitted_at, mut data, mut meta) = (None, None, 0, None, None);
    let mut extra = Map::new();
    for member in json::members(text, 0) {
        let member = member.map_err(|e| e.to_string())?;
        let name = member.name.to_str().map_err(|e| e.to_string())?;
        let value = &text[member.value_start..member.value_end];
        match (name.as_ref(), member.value) {
            ("stream", Token::Str(s)) => stream = s.to_str().ok().map(String::from),
            ("namespace", Token::Str(s)) => {
                namespace = s.to_str().ok().map(String::from).filter(|n| !n.is_empty())
            }
            ("emitted_at", Token::Number(n)) => {
                let n = std::str::from_utf8(n).unwrap_or("0");
                emitted_at = n.parse().or_else(|_| n.parse::<f64>().map(|f| f as i64)).unwrap_or(0);
            }
            ("data", Token::Object(_)) => data = Some(raw_value(value)?),
            ("meta", Token::Object(_)) => {
                meta = Some(serde_json::from_slice(value).map_err(|e| e.to_string())?)
            }
            ("namespace" | "meta", Token::Null) => {}
            ("stream" | "namespace" | "emitted_at" | "data" | "meta", _) => {
                return Err(format!("{name:?} has the wrong type"));
            }
            _ => {
                extra.insert(name.into_owned(), serde_json::from_slice(value).map_err(|e| e.to_string())?);
            }
        }
    }
    Ok(Record {
        namespace,
        stream: stream.ok_or("\"stream\" is missing")?,
        emitted_at,
        data: data.ok_or("\"data\" is missing")?,
        meta,
        extra,
    })
}
