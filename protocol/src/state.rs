//! STATE messages and the state file, in every shape that clients write.
//!
//! A state's content belongs to the source: it is kept as JSON text, never as a tree,
//! so that no digit of it changes on the way through us.

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::catalog::StreamDescriptor;
use crate::digest::RecordDigest;
use crate::edit;
use crate::json::{self, JsonError, Token};
use crate::parse::raw_value;

/// The state of one stream. `None` is a reset: the stream starts over.
#[derive(Clone, Debug)]
pub struct StreamState {
    /// The stream.
    pub descriptor: StreamDescriptor,
    /// The source's own JSON object.
    pub state: Option<Box<RawValue>>,
}

/// What a state covers.
#[derive(Clone, Debug)]
pub enum StateScope {
    /// The records of one stream since its previous state.
    Stream(StreamState),
    /// All records of the run since the previous state.
    Global {
        /// The position that all streams share.
        shared: Option<Box<RawValue>>,
        /// Each stream's part.
        streams: Vec<StreamState>,
    },
    /// The form before streams had states of their own. Read, never written.
    Legacy(Box<RawValue>),
}

/// How many records a state covers, as one side counted them.
#[doc(alias = "AirbyteStateStats")]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateStats {
    /// Records since the previous state of this scope.
    pub records: Option<u64>,
    /// Records refused by the destination.
    pub rejected: Option<u64>,
    /// The digest of those records: 32 hex digits. An addition of ours, under the key `recordDigest`.
    pub digest: Option<String>,
}

impl StateStats {
    /// The stats of a counted and digested run of records.
    #[must_use]
    pub fn of(digest: RecordDigest) -> Self {
        Self { records: Some(digest.records()), rejected: None, digest: Some(digest.hex()) }
    }

    fn parse(text: &[u8]) -> Result<Self, JsonError> {
        let count = |name| {
            Ok(match json::member(text, name)? {
                Some(Token::Number(n)) => {
                    std::str::from_utf8(n).ok().and_then(|n| n.parse::<f64>().ok()).map(|n| n as u64)
                }
                _ => None,
            })
        };
        let digest = match json::member(text, "recordDigest")? {
            Some(Token::Str(s)) => s.to_str().ok().map(String::from),
            _ => None,
        };
        Ok(Self { records: count("recordCount")?, rejected: count("rejectedRecordCount")?, digest })
    }
}

impl Serialize for StateStats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        // Counts are doubles by contract and written with a decimal point.
        if let Some(records) = self.records {
            map.serialize_entry("recordCount", &(records as f64))?;
        }
        if let Some(rejected) = self.rejected {
            map.serialize_entry("rejectedRecordCount", &(rejected as f64))?;
        }
        if let Some(digest) = &self.digest {
            map.serialize_entry("recordDigest", digest)?;
        }
        map.end()
    }
}

/// A STATE message.
#[doc(alias = "AirbyteStateMessage")]
#[derive(Clone, Debug)]
pub struct State {
    /// What it covers, and the source's content.
    pub scope: StateScope,
    /// The source's count.
    pub source_stats: Option<StateStats>,
    /// The destination's count.
    pub destination_stats: Option<StateStats>,
    /// The number that a platform gave it.
    pub id: Option<i64>,
}

/// Why a text is not a state.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadState(String);

impl From<JsonError> for BadState {
    fn from(error: JsonError) -> Self {
        Self(error.to_string())
    }
}

impl State {
    /// A STREAM state.
    #[must_use]
    pub fn stream(descriptor: StreamDescriptor, state: Option<Box<RawValue>>, records: RecordDigest) -> Self {
        Self {
            scope: StateScope::Stream(StreamState { descriptor, state }),
            source_stats: Some(StateStats::of(records)),
            destination_stats: None,
            id: None,
        }
    }

    /// Parses the `state` member of a STATE message, or one element of a state file.
    ///
    /// # Errors
    /// When a part that its `type` requires is missing or of the wrong type.
    pub fn parse_payload(text: &[u8]) -> Result<Self, BadState> {
        let object = |name| -> Result<Option<&[u8]>, JsonError> {
            Ok(match json::member(text, name)? {
                Some(Token::Object(o)) => Some(o),
                _ => None,
            })
        };
        let kind = match json::member(text, "type")? {
            Some(Token::Str(s)) => s.to_str().map_err(|e| BadState(e.to_string()))?.into_owned(),
            _ => "LEGACY".to_owned(),
        };
        let scope = match kind.as_str() {
            "STREAM" => {
                let stream =
                    object("stream")?.ok_or_else(|| BadState("STREAM state without a stream".into()))?;
                StateScope::Stream(stream_state(stream)?)
            }
            "GLOBAL" => {
                // PyAirbyte writes the attribute's name, `global_`, instead of the key.
                let global = object("global")?
                    .or(object("global_")?)
                    .ok_or_else(|| BadState("GLOBAL state without a global".into()))?;
                let mut streams = Vec::new();
                if let Some(Token::Array(list)) = json::member(global, "stream_states")? {
                    each_element(list, |element| {
                        streams.push(stream_state(element)?);
                        Ok(())
                    })?;
                }
                StateScope::Global { shared: opaque(global, "shared_state")?, streams }
            }
            "LEGACY" => StateScope::Legacy(match opaque(text, "data")? {
                Some(data) => data,
                None => raw_value(text).map_err(BadState)?,
            }),
            other => return Err(BadState(format!("unknown state type {other:?}"))),
        };
        let stats = |name| -> Result<Option<StateStats>, JsonError> {
            object(name)?.map(StateStats::parse).transpose()
        };
        let id = match json::member(text, "id")? {
            Some(Token::Number(n)) => std::str::from_utf8(n).ok().and_then(|n| n.parse().ok()),
            _ => None,
        };
        Ok(Self {
            scope,
            source_stats: stats("sourceStats")?,
            destination_stats: stats("destinationStats")?,
            id,
        })
    }

    /// The stream it belongs to; `None` for states that all streams share.
    #[must_use]
    pub fn descriptor(&self) -> Option<&StreamDescriptor> {
        match &self.scope {
            StateScope::Stream(stream) => Some(&stream.descriptor),
            StateScope::Global { .. } | StateScope::Legacy(_) => None,
        }
    }

    /// A received STATE line as a destination echoes it: `destinationStats` set,
    /// `global_` called `global`, every other byte as it came. No newline is added.
    ///
    /// # Errors
    /// When the line is not a STATE message.
    pub fn echo(line: &[u8], stats: &StateStats) -> Result<Vec<u8>, JsonError> {
        let stats = serde_json::to_vec(stats).unwrap_or_default();
        let line =
            match json::member(json::member(line, "state")?.and_then(object_of).unwrap_or(b"{}"), "global_")?
            {
                Some(Token::Object(_)) => {
                    let without_null = edit::set_members(line, &["state"], &[("global", None)])?;
                    edit::rename_member(&without_null, &["state"], "global_", "global")?
                }
                _ => line.to_vec(),
            };
        edit::set_members(&line, &["state"], &[("destinationStats", Some(&stats))])
    }
}

fn object_of(token: Token<'_>) -> Option<&[u8]> {
    match token {
        Token::Object(text) => Some(text),
        _ => None,
    }
}

fn stream_state(text: &[u8]) -> Result<StreamState, BadState> {
    let Some(Token::Object(descriptor)) = json::member(text, "stream_descriptor")? else {
        return Err(BadState("stream state without a stream_descriptor".into()));
    };
    let string = |name| -> Result<Option<String>, BadState> {
        Ok(match json::member(descriptor, name)? {
            Some(Token::Str(s)) => Some(s.to_str().map_err(|e| BadState(e.to_string()))?.into_owned()),
            _ => None,
        })
    };
    let name = string("name")?.ok_or_else(|| BadState("stream_descriptor without a name".into()))?;
    Ok(StreamState {
        descriptor: StreamDescriptor::new(string("namespace")?.as_deref(), &name),
        state: opaque(text, "stream_state")?,
    })
}

fn opaque(text: &[u8], name: &str) -> Result<Option<Box<RawValue>>, BadState> {
    match json::member(text, name)? {
        Some(Token::Object(o)) => raw_value(o).map(Some).map_err(BadState),
        None | Some(Token::Null) => Ok(None),
        Some(_) => Err(BadState(format!("{name:?} is not an object"))),
    }
}

fn each_element(array: &[u8], mut f: impl FnMut(&[u8]) -> Result<(), BadState>) -> Result<(), BadState> {
    let mut at = json::skip_space(array, 1);
    while array.get(at).is_some_and(|b| *b != b']') {
        let end = json::skip_value(array, at)?;
        f(&array[at..end])?;
        at = json::skip_space(array, end);
        if array.get(at) == Some(&b',') {
            at = json::skip_space(array, at + 1);
        }
    }
    Ok(())
}

impl Serialize for StreamState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("stream_descriptor", &self.descriptor)?;
        if let Some(state) = &self.state {
            map.serialize_entry("stream_state", state)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct GlobalBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_state: Option<&'a RawValue>,
    stream_states: &'a [StreamState],
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.scope {
            StateScope::Stream(stream) => {
                map.serialize_entry("type", "STREAM")?;
                map.serialize_entry("stream", stream)?;
            }
            StateScope::Global { shared, streams } => {
                map.serialize_entry("type", "GLOBAL")?;
                map.serialize_entry(
                    "global",
                    &GlobalBody { shared_state: shared.as_deref(), stream_states: streams },
                )?;
            }
            StateScope::Legacy(data) => {
                map.serialize_entry("type", "LEGACY")?;
                map.serialize_entry("data", data)?;
            }
        }
        if let Some(stats) = &self.source_stats {
            map.serialize_entry("sourceStats", stats)?;
        }
        if let Some(stats) = &self.destination_stats {
            map.serialize_entry("destinationStats", stats)?;
        }
        if let Some(id) = self.id {
            map.serialize_entry("id", &id)?;
        }
        map.end()
    }
}

/// The content of a `--state` file.
#[derive(Clone, Debug, Default)]
pub struct StateFile {
    states: Vec<State>,
}

/// Why a state file cannot be used. The text is for people.
#[derive(Debug, thiserror::Error)]
#[error("the state is not one this protocol knows: {0}")]
pub struct StateFileError(String);

impl StateFile {
    /// Reads a state file: `[]`, `{}` or empty text for none; an array of STREAM states
    /// or of one GLOBAL state; a single bare state; a legacy object. `global_` for
    /// `global` and repeated keys are accepted.
    ///
    /// # Errors
    /// When the text is not JSON, or an element is not a state.
    pub fn parse(text: &[u8]) -> Result<Self, StateFileError> {
        let bad = |e: JsonError| StateFileError(e.to_string());
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text).trim_ascii();
        if text.is_empty() {
            return Ok(Self::default());
        }
        let (token, end) = json::value_at(text, 0).map_err(bad)?;
        if end != text.len() {
            return Err(StateFileError(format!("text after the state at byte {end}")));
        }
        let mut states = Vec::new();
        match token {
            Token::Null => {}
            Token::Array(list) => each_element(list, |element| {
                states.push(State::parse_payload(element)?);
                Ok(())
            })
            .map_err(|e| StateFileError(e.to_string()))?,
            Token::Object(object) if json::members(object, 0).count() == 0 => {}
            Token::Object(object) => {
                states.push(State::parse_payload(object).map_err(|e| StateFileError(e.to_string()))?)
            }
            _ => return Err(StateFileError("neither an array nor an object".into())),
        }
        Ok(Self { states })
    }

    /// All states, in file order.
    #[must_use]
    pub fn states(&self) -> &[State] {
        &self.states
    }

    /// A stream's own content, from its STREAM state or its part of the GLOBAL one.
    #[must_use]
    pub fn stream_state(&self, stream: &StreamDescriptor) -> Option<&RawValue> {
        self.states.iter().rev().find_map(|state| match &state.scope {
            StateScope::Stream(s) if s.descriptor == *stream => s.state.as_deref(),
            StateScope::Global { streams, .. } => {
                streams.iter().find(|s| s.descriptor == *stream)?.state.as_deref()
            }
            _ => None,
        })
    }

    /// The content that all streams share.
    #[must_use]
    pub fn shared_state(&self) -> Option<&RawValue> {
        self.states.iter().rev().find_map(|state| match &state.scope {
            StateScope::Global { shared, .. } => shared.as_deref(),
            _ => None,
        })
    }
}

impl From<Vec<State>> for StateFile {
    fn from(states: Vec<State>) -> Self {
        Self { states }
    }
}

/// The array form, which every platform writes.
impl Serialize for StateFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.states.len()))?;
        for state in &self.states {
            seq.serialize_element(state)?;
        }
        seq.end()
    }
}

#[cfg(test)]
mod tests {
    use super::{State, StateFile, StateScope, StateStats};
    use crate::catalog::StreamDescriptor;
    use crate::digest::RecordDigest;

    fn users() -> StreamDescriptor {
        StreamDescriptor::new(None, "users")
    }

    #[test]
    fn reads_every_shape_of_an_absent_state() {
        for text in ["", "  \n", "[]", "{}", "null", "\u{FEFF}[]"] {
            assert!(StateFile::parse(text.as_bytes()).unwrap().states().is_empty(), "{text:?}");
        }
    }

    #[test]
    fn keeps_digits_beyond_64_bits() {
        let text = br#"[{"type":"STREAM","stream":{"stream_descriptor":{"name":"users","namespace":null},"stream_state":{"c":123456789012345678901234567890}}}]"#;
        let file = StateFile::parse(text).unwrap();
        assert_eq!(file.stream_state(&users()).unwrap().get(), r#"{"c":123456789012345678901234567890}"#);
    }

    #[test]
    fn reads_the_duplicated_and_misnamed_keys_of_pyairbyte() {
        let text = br#"[{"type":"GLOBAL","global_":null,"stream":null,"global_":{"shared_state":{"lsn":7},"stream_states":[{"stream_descriptor":{"name":"users"},"stream_state":{"done":true}}]},"data":null}]"#;
        let file = StateFile::parse(text).unwrap();
        assert_eq!(file.shared_state().unwrap().get(), r#"{"lsn":7}"#);
        assert_eq!(file.stream_state(&users()).unwrap().get(), r#"{"done":true}"#);
    }

    #[test]
    fn takes_an_object_without_a_type_for_legacy() {
        let file = StateFile::parse(br#"{"users":{"cursor":1}}"#).unwrap();
        assert!(matches!(file.states()[0].scope, StateScope::Legacy(_)));
    }

    #[test]
    fn refuses_what_is_no_state() {
        for text in [
            "[",
            "3",
            "[{\"type\":\"STREAM\"}]",
            "[{\"type\":\"OTHER\"}]",
            "{} {}",
            "[{\"type\":\"STREAM\",\"stream\":{\"stream_descriptor\":{\"name\":\"u\"},\"stream_state\":4}}]",
        ] {
            assert!(StateFile::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_echo_keeps_every_byte_it_does_not_own() {
        let line = br#"{"type":"STATE","x":1,"state":{"type":"GLOBAL","global":null,"id":4,"global_":{"shared_state":{"n":1.50}},"partition_id":"p"}}"#;
        let echo = State::echo(line, &StateStats { records: Some(3), ..StateStats::default() }).unwrap();
        assert_eq!(
            String::from_utf8(echo).unwrap(),
            r#"{"type":"STATE","x":1,"state":{"type":"GLOBAL","id":4,"partition_id":"p","global":{"shared_state":{"n":1.50}},"destinationStats":{"recordCount":3.0}}}"#
        );
    }

    #[test]
    fn writes_counts_with_a_decimal_point() {
        let mut digest = RecordDigest::default();
        digest.add(b"{}");
        let text = serde_json::to_string(&State::stream(users(), None, digest)).unwrap();
        assert!(text.starts_with(r#"{"type":"STREAM","stream":{"stream_descriptor":{"name":"users"}},"sourceStats":{"recordCount":1.0,"recordDigest":""#), "{text}");
    }
}
