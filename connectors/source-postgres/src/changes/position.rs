//! How far the log was read, in the shape of Airbyte's Postgres source: a map of one entry,
//! whose key names the database and whose value is a JSON text. Beside it, a key of ours
//! says which server the position belongs to.

use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

/// A place in the log: every transaction that ends before it was read, and no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) lsn: u64,
    /// The last transaction read, and when it was committed, in microseconds since 1970.
    pub(crate) xid: Option<u32>,
    pub(crate) micros: Option<i64>,
    origin: Arc<Origin>,
}

/// What stays the same during a run; shared, because a position is cloned at every commit.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    /// `["db",{"server":"db"}]`
    key: String,
    /// `pg_control_system()`'s identifier; none in states of other programs.
    system: Option<String>,
}

impl Position {
    /// The place where a first run begins.
    pub(crate) fn new(database: &str, system: &str, lsn: u64) -> Self {
        let origin =
            Origin { key: json!([database, {"server": database}]).to_string(), system: Some(system.into()) };
        Self { lsn, xid: None, micros: None, origin: Arc::new(origin) }
    }

    /// The server that it belongs to, as far as it says so.
    pub(crate) fn system(&self) -> Option<&str> {
        self.origin.system.as_deref()
    }

    /// The same place, known to be on this server.
    pub(crate) fn on_system(mut self, system: &str) -> Self {
        self.origin = Arc::new(Origin { key: self.origin.key.clone(), system: Some(system.to_owned()) });
        self
    }

    fn offset(&self) -> String {
        // The next run begins at the least of the three places, so all are the same.
        let mut offset = Map::new();
        offset.insert("transaction_id".into(), Value::Null);
        for key in ["lsn_proc", "lsn_commit", "lsn"] {
            offset.insert(key.into(), self.lsn.into());
        }
        offset.insert("txId".into(), self.xid.into());
        offset.insert("ts_usec".into(), self.micros.into());
        if self.xid.is_some() {
            offset.insert("messageType".into(), "COMMIT".into());
        }
        Value::Object(offset).to_string()
    }

    fn parse(shared: &Map<String, Value>) -> Result<Self, String> {
        let entries = shared.get("state").and_then(Value::as_object).ok_or("no \"state\" in it")?;
        let mut entries = entries.iter();
        let (Some((key, value)), None) = (entries.next(), entries.next()) else {
            return Err("not exactly one offset in it".into());
        };
        let offset: Map<String, Value> = match value {
            Value::String(text) => {
                serde_json::from_str(text).map_err(|e| format!("an offset that is not JSON: {e}"))?
            }
            _ => return Err("an offset that is not a text".into()),
        };
        let number = |key: &str| offset.get(key).and_then(Value::as_u64);
        let lsn = number("lsn").ok_or("an offset without an lsn")?;
        // `lsn` is the last change, which may be in the middle of a transaction. The others are
        // what was read completely; early states have none of them.
        let lsn = match (number("lsn_commit"), number("lsn_proc")) {
            (Some(commit), Some(read)) => commit.min(read),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => lsn,
        };
        let ours = shared.get(OURS).and_then(|o| o.get(SYSTEM)).and_then(Value::as_str);
        Ok(Self {
            lsn,
            // Other programs write 64 bits here; the stream has 32.
            xid: number("txId").map(|x| x as u32),
            micros: offset.get("ts_usec").and_then(Value::as_i64),
            origin: Arc::new(Origin { key: key.clone(), system: ours.map(str::to_owned) }),
        })
    }
}

const OURS: &str = "ferrybyte";
const SYSTEM: &str = "system_identifier";

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("state", &json!({ &self.origin.key: self.offset() }))?;
        if let Some(system) = &self.origin.system {
            map.serialize_entry(OURS, &json!({ SYSTEM: system }))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let shared = Map::deserialize(deserializer)?;
        Self::parse(&shared).map_err(|what| serde::de::Error::custom(format!("a shared state with {what}")))
    }
}

#[cfg(test)]
mod tests {
    use super::Position;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn read(offset: &Value) -> Result<Position, serde_json::Error> {
        serde_json::from_value(json!({"state": {"[\"db\",{\"server\":\"db\"}]": offset.to_string()}}))
    }

    #[test]
    fn the_shape_is_the_one_that_other_programs_read() {
        let mut position = Position::new("db", "7312", 41_000_000_000);
        assert_eq!(
            serde_json::to_string(&position).unwrap(),
            r#"{"state":{"[\"db\",{\"server\":\"db\"}]":"{\"transaction_id\":null,\"lsn_proc\":41000000000,\"lsn_commit\":41000000000,\"lsn\":41000000000,\"txId\":null,\"ts_usec\":null}"},"ferrybyte":{"system_identifier":"7312"}}"#
        );
        (position.xid, position.micros) = (Some(7), Some(1_700_000_000_000_000));
        let text = serde_json::to_string(&position).unwrap();
        assert!(
            text.contains(r#"\"txId\":7,\"ts_usec\":1700000000000000,\"messageType\":\"COMMIT\""#),
            "{text}"
        );
    }

    #[test]
    fn states_of_both_generations_are_read_and_resume_behind_what_was_read_whole() {
        let v2 = json!({"transaction_id": null, "lsn_proc": 90, "lsn_commit": 80, "lsn": 100, "txId": 5, "ts_usec": 6, "messageType": "INSERT"});
        let position = read(&v2).unwrap();
        assert_eq!(
            (position.lsn, position.xid, position.micros, position.system()),
            (80, Some(5), Some(6), None)
        );
        let first = read(&json!({"transaction_id": null, "lsn": 100, "txId": 5, "ts_usec": 6})).unwrap();
        assert_eq!(first.lsn, 100);
        let v3 = read(
            &json!({"transaction_id": null, "lsn": 9, "lsn_proc": 9, "lsn_commit": 9, "txId": 8_589_934_597_u64, "ts_usec": 0}),
        );
        assert_eq!(v3.unwrap().xid, Some(5));
    }

    #[test]
    fn what_is_not_one_offset_with_an_lsn_is_refused() {
        for bad in [
            json!({}),
            json!({"state": {}}),
            json!({"state": {"a": "{\"lsn\":1}", "b": "{\"lsn\":1}"}}),
            json!({"state": {"a": {"lsn": 1}}}),
            json!({"state": {"a": "{\"txId\":1}"}}),
            json!({"state": {"a": "x"}}),
        ] {
            assert!(serde_json::from_value::<Position>(bad.clone()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_position_comes_back_as_it_was_written(database in ".*", lsn in any::<u64>(), xid in any::<Option<u32>>(), micros in any::<Option<i64>>()) {
            let position = Position { xid, micros, ..Position::new(&database, "1", lsn) };
            let text = serde_json::to_string(&position).unwrap();
            prop_assert_eq!(serde_json::from_str::<Position>(&text).unwrap(), position);
        }
    }
}
