//! What destinations are fed with: catalogs and lines of stdin.

use protocol::StreamDescriptor;
use serde_json::{Value, json};

/// A stream of the trials: `id` (its key), `name`, `updated_at` (its cursor), `amount`, `big`.
#[must_use]
pub fn stream(name: &str) -> Value {
    json!({
        "stream": {
            "name": name,
            "json_schema": {"type": "object", "properties": {
                "id": {"type": "integer"},
                "name": {"type": ["null", "string"]},
                "updated_at": {"type": ["null", "string"], "format": "date-time",
                    "airbyte_type": "timestamp_with_timezone"},
                "amount": {"type": ["null", "number"]},
                "big": {"type": ["null", "integer"]},
            }},
            "supported_sync_modes": ["full_refresh", "incremental"],
        },
        "sync_mode": "full_refresh",
        "destination_sync_mode": "append",
        "cursor_field": [],
        "primary_key": [],
    })
}

/// The same in another mode; with a key and a cursor when it deduplicates.
#[must_use]
pub fn in_mode(name: &str, mode: &str) -> Value {
    let mut stream = stream(name);
    stream["destination_sync_mode"] = json!(mode);
    if mode == "append_dedup" {
        stream["sync_mode"] = json!("incremental");
        stream["primary_key"] = json!([["id"]]);
        stream["cursor_field"] = json!(["updated_at"]);
    }
    stream
}

/// With the ids of a platform that has refreshes.
#[must_use]
pub fn in_generation(name: &str, mode: &str, id: i64, minimum: i64) -> Value {
    let mut stream = in_mode(name, mode);
    stream["generation_id"] = json!(id);
    stream["minimum_generation_id"] = json!(minimum);
    stream["sync_id"] = json!(id);
    stream
}

/// A configured catalog of these streams.
#[must_use]
pub fn catalog(streams: &[Value]) -> Value {
    json!({ "streams": streams })
}

/// A descriptor without namespace.
#[must_use]
pub fn named(name: &str) -> StreamDescriptor {
    StreamDescriptor::new(None, name)
}

/// Lines of stdin, gathered.
#[derive(Clone, Debug, Default)]
pub struct Feed(Vec<u8>);

impl Feed {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Any line.
    #[must_use]
    pub fn line(mut self, text: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(text.as_ref());
        self.0.push(b'\n');
        self
    }

    /// A record whose data is this JSON text.
    #[must_use]
    pub fn record(self, stream: &str, data: &str) -> Self {
        let name = Value::from(stream);
        self.line(format!(
            r#"{{"type":"RECORD","record":{{"stream":{name},"emitted_at":1700000000123,"data":{data}}}}}"#
        ))
    }

    /// Records `from..to` of the trials' stream: `{"id": n, "name": "row n"}`.
    #[must_use]
    pub fn rows(mut self, stream: &str, from: u64, to: u64) -> Self {
        for n in from..to {
            self = self.record(stream, &format!(r#"{{"id":{n},"name":"row {n}"}}"#));
        }
        self
    }

    /// A STREAM state holding `{"n": n}`.
    #[must_use]
    pub fn state(self, stream: &str, n: u64) -> Self {
        self.line(state(stream, n))
    }

    /// A status of a stream, e.g. `COMPLETE`.
    #[must_use]
    pub fn status(self, stream: &str, status: &str) -> Self {
        let name = Value::from(stream);
        self.line(format!(
            r#"{{"type":"TRACE","trace":{{"type":"STREAM_STATUS","emitted_at":1700000000123.0,"stream_status":{{"stream_descriptor":{{"name":{name}}},"status":"{status}"}}}}}}"#
        ))
    }

    /// All of it.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        self.0
    }
}

/// The line of a STREAM state holding `{"n": n}`.
#[must_use]
pub fn state(stream: &str, n: u64) -> String {
    let name = Value::from(stream);
    format!(
        r#"{{"type":"STATE","state":{{"type":"STREAM","stream":{{"stream_descriptor":{{"name":{name}}},"stream_state":{{"n":{n}}}}},"id":{n}}}}}"#
    )
}
