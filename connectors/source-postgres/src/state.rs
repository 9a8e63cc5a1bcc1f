//! How far a stream was read, in the shapes that Airbyte's Postgres source writes (version 2)
//! and its successor (version 3). We write version 2, with keys of our own beside theirs.
//!
//! Keys of ours: `snapshot` is what the read that the state belongs to could see; `columns`
//! the columns it read; `last_column` which there were; `again` that the table must be read anew;
//! `done` that a full refresh has ended.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// How far a stream was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cursor {
    /// Read whole, by a full refresh: a later run starts over.
    Done,
    /// Some blocks of the table were read.
    Blocks(Blocks),
    /// Every row up to a value of the cursor column was read.
    Value(ValueCursor),
    /// Every row of transactions before this one was read.
    Xmin(XminCursor),
    /// The table was read whole; its changes come from the log.
    Streaming(Streaming),
}

/// Blocks below a TID were read, and something is to follow once all are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Blocks {
    /// Rows up to and including this TID were read: block and item.
    pub(crate) tid: (u32, u16),
    /// `pg_relation_filenode` of the table; another one means that TIDs changed their meaning.
    pub(crate) filenode: Option<u32>,
    /// What the first run on these blocks saw. Rows that changed since may have moved into blocks
    /// already read, so a later run looks there again for rows of newer transactions.
    pub(crate) snapshot: Option<TableSnapshot>,
    /// Where the stream goes on after the last block; `None` for a full refresh.
    pub(crate) then: Option<Box<Cursor>>,
}

/// What a read of a table could see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableSnapshot {
    /// `pg_current_snapshot()`: `xmin:xmax:xip,…`.
    pub(crate) visible: String,
    /// The `_ab_cdc_lsn` of its rows.
    #[serde(default)]
    pub(crate) row_lsn: u64,
    /// Every transaction it saw was committed before this place in the log.
    #[serde(default)]
    pub(crate) until_lsn: u64,
}

impl TableSnapshot {
    /// The oldest transaction that was still open, and the first not yet begun.
    pub(crate) fn bounds(&self) -> Option<(u64, u64)> {
        let mut parts = self.visible.split(':');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }
}

/// A place in the order of a cursor column.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ValueCursor {
    pub(crate) field: String,
    /// `None` when no row had a value.
    pub(crate) value: Option<String>,
    /// Rows with exactly this value, where counting them was cheap.
    pub(crate) count: Option<u64>,
    /// What the read saw that ended here. States of other programs have none.
    pub(crate) snapshot: Option<TableSnapshot>,
}

/// A place in the order of transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct XminCursor {
    /// The 64-bit id of the oldest transaction that the last read could not see whole.
    pub(crate) xmin: u64,
}

/// A table whose first read is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Streaming {
    /// What the first read saw, while the log's place is not past it.
    pub(crate) snapshot: Option<TableSnapshot>,
    /// The columns read so far; empty in states of other programs. A column that joins later
    /// has values in the table that the log does not bring.
    pub(crate) columns: Vec<SeenColumn>,
    /// The highest number of a column that the table had then, chosen or not; 0 when unknown.
    pub(crate) last_column: i16,
    /// The table has to be read anew: the stream could not go on.
    pub(crate) again: bool,
}

/// A column that was read, `["name", number, type]` in the state: the number stays when the
/// column gets another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(String, i16, u32)", into = "(String, i16, u32)")]
pub(crate) struct SeenColumn {
    pub(crate) name: String,
    /// `attnum`
    pub(crate) number: i16,
    /// `atttypid`
    pub(crate) type_oid: u32,
}

impl From<(String, i16, u32)> for SeenColumn {
    fn from((name, number, type_oid): (String, i16, u32)) -> Self {
        Self { name, number, type_oid }
    }
}

impl From<SeenColumn> for (String, i16, u32) {
    fn from(column: SeenColumn) -> Self {
        (column.name, column.number, column.type_oid)
    }
}

/// The stream a cursor belongs to; Airbyte repeats it inside the state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Named {
    pub(crate) stream: String,
    pub(crate) namespace: String,
    pub(crate) cursor: Cursor,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Wire {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor_field: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor_record_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    relation_filenode: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incremental_state: Option<Box<Wire>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_wraparound: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    xmin_xid_value: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    xmin_raw_value: Option<u64>,
    /// Version 3.
    #[serde(skip_serializing)]
    xmin: Option<u64>,
    /// Version 3: by column.
    #[serde(skip_serializing)]
    cursors: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<TableSnapshot>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    columns: Vec<SeenColumn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_column: Option<i16>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    again: bool,
    #[serde(rename = "__ab_full_refresh_sync_complete", skip_serializing_if = "std::ops::Not::not")]
    done: bool,
}

impl Wire {
    fn of(named: &Named) -> Self {
        let mut wire = Self { version: Some(2), ..Self::default() };
        match &named.cursor {
            Cursor::Done => return Self { done: true, ..Self::default() },
            Cursor::Blocks(blocks) => {
                wire.state_type = Some("ctid".into());
                wire.ctid = Some(format!("({},{})", blocks.tid.0, blocks.tid.1));
                wire.relation_filenode = blocks.filenode;
                wire.snapshot.clone_from(&blocks.snapshot);
                wire.incremental_state = blocks
                    .then
                    .as_ref()
                    .map(|then| Box::new(Self::of(&Named { cursor: (**then).clone(), ..named.clone() })));
                // Airbyte's ctid states do not name the stream; ours may: readers skip what they do not know.
                return wire;
            }
            Cursor::Value(value) => {
                wire.state_type = Some("cursor_based".into());
                wire.cursor_field = Some(vec![value.field.clone()]);
                wire.cursor = value.value.as_ref().and_then(|v| serde_json::value::to_raw_value(v).ok());
                wire.cursor_record_count = value.count;
                wire.snapshot.clone_from(&value.snapshot);
            }
            Cursor::Xmin(xmin) => {
                wire.state_type = Some("xmin".into());
                wire.num_wraparound = Some(xmin.xmin >> 32);
                wire.xmin_xid_value = Some(xmin.xmin & 0xFFFF_FFFF);
                wire.xmin_raw_value = Some(xmin.xmin);
                return wire;
            }
            Cursor::Streaming(streaming) => {
                wire.version = None;
                wire.cursor_field = Some(Vec::new());
                wire.snapshot.clone_from(&streaming.snapshot);
                wire.columns.clone_from(&streaming.columns);
                wire.again = streaming.again;
                wire.last_column = Some(streaming.last_column).filter(|n| *n > 0);
            }
        }
        wire.stream_name = Some(named.stream.clone());
        wire.stream_namespace = Some(named.namespace.clone());
        wire
    }

    fn into_cursor(self) -> Result<Cursor, String> {
        if self.done {
            return Ok(Cursor::Done);
        }
        match self.state_type.as_deref() {
            None if self.ctid.is_none() && self.cursor.is_none() => Ok(Cursor::Streaming(Streaming {
                snapshot: self.snapshot,
                columns: self.columns,
                last_column: self.last_column.unwrap_or(0),
                again: self.again,
            })),
            None => Err("a state without a state_type".into()),
            Some("ctid" | "ctid_based") => {
                let text = self.ctid.as_deref().ok_or("a ctid state without a ctid")?;
                let tid = parse_tid(text).ok_or_else(|| format!("the ctid {text:?}"))?;
                let flat = Self { xmin: self.xmin, cursors: self.cursors, ..Self::default() };
                let then = match self.incremental_state {
                    Some(wire) => Some(wire.into_cursor()?),
                    None => flat.version_3()?,
                };
                Ok(Cursor::Blocks(Blocks {
                    tid,
                    filenode: self.relation_filenode,
                    snapshot: self.snapshot,
                    then: then.map(Box::new),
                }))
            }
            Some("cursor_based") => {
                if self.cursors.is_some() {
                    return self.version_3()?.ok_or_else(|| "a cursor_based state without a cursor".into());
                }
                let field = self.cursor_field.unwrap_or_default().into_iter().next();
                Ok(Cursor::Value(ValueCursor {
                    field: field.ok_or("a cursor_based state without a cursor_field")?,
                    value: self.cursor.and_then(|raw| text_of(raw.get())),
                    count: self.cursor_record_count,
                    snapshot: self.snapshot,
                }))
            }
            Some("xmin" | "xmin_based") => match (self.xmin_raw_value, self.xmin_xid_value, self.xmin) {
                (Some(raw), ..) => Ok(Cursor::Xmin(XminCursor { xmin: raw })),
                (None, Some(low), _) => {
                    Ok(Cursor::Xmin(XminCursor { xmin: self.num_wraparound.unwrap_or(0) << 32 | low }))
                }
                (None, None, Some(xmin)) => Ok(Cursor::Xmin(XminCursor { xmin })),
                (None, None, None) => Err("an xmin state without an xmin".into()),
            },
            Some(other) => Err(format!("the state_type {other:?}")),
        }
    }

    fn version_3(self) -> Result<Option<Cursor>, String> {
        if let Some(xmin) = self.xmin {
            return Ok(Some(Cursor::Xmin(XminCursor { xmin })));
        }
        let Some((field, value)) = self.cursors.and_then(|c| c.into_iter().next()) else { return Ok(None) };
        let value = text_of(&value.to_string());
        Ok(Some(Cursor::Value(ValueCursor { field, value, ..ValueCursor::default() })))
    }
}

/// A JSON string's text or a number's digits.
fn text_of(json: &str) -> Option<String> {
    match json.trim() {
        "null" => None,
        text if text.starts_with('"') => serde_json::from_str(text).ok(),
        digits => Some(digits.to_owned()),
    }
}

fn parse_tid(text: &str) -> Option<(u32, u16)> {
    let (block, item) = text.trim().strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
    Some((block.trim().parse().ok()?, item.trim().parse().ok()?))
}

impl Serialize for Named {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire::of(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut wire = Wire::deserialize(deserializer)?;
        let stream = wire.stream_name.take().unwrap_or_default();
        let namespace = wire.stream_namespace.take().unwrap_or_default();
        let cursor = wire.into_cursor().map_err(serde::de::Error::custom)?;
        Ok(Self { stream, namespace, cursor })
    }
}

#[cfg(test)]
mod tests {
    use super::{Blocks, Cursor, Named, Streaming, TableSnapshot, ValueCursor, XminCursor};

    fn read(text: &str) -> Cursor {
        serde_json::from_str::<Named>(text).unwrap().cursor
    }

    fn named(cursor: Cursor) -> Named {
        Named { stream: "t".into(), namespace: "s".into(), cursor }
    }

    #[test]
    fn states_of_version_2_are_read() {
        assert_eq!(
            read(
                r#"{"version":2,"state_type":"cursor_based","stream_name":"t","stream_namespace":"s","cursor_field":["id"],"cursor":"41","cursor_record_count":3}"#
            ),
            Cursor::Value(ValueCursor {
                field: "id".into(),
                value: Some("41".into()),
                count: Some(3),
                snapshot: None
            })
        );
        assert_eq!(
            read(
                r#"{"version":2,"state_type":"ctid","ctid":"(123,4)","incremental_state":{"state_type":"xmin","num_wraparound":1,"xmin_xid_value":7,"xmin_raw_value":4294967303},"relation_filenode":16384}"#
            ),
            Cursor::Blocks(Blocks {
                tid: (123, 4),
                filenode: Some(16384),
                snapshot: None,
                then: Some(Box::new(Cursor::Xmin(XminCursor { xmin: (1 << 32) + 7 })))
            })
        );
        assert_eq!(
            read(r#"{"stream_name":"t","stream_namespace":"s","cursor_field":[]}"#),
            Cursor::Streaming(Streaming::default())
        );
    }

    #[test]
    fn states_of_version_3_are_read() {
        let value = |value: &str| {
            Cursor::Value(ValueCursor {
                field: "id".into(),
                value: Some(value.into()),
                ..ValueCursor::default()
            })
        };
        let exact = "12345678901234567";
        assert_eq!(
            read(&format!(r#"{{"version":3,"state_type":"cursor_based","cursors":{{"id":{exact}}}}}"#)),
            value(exact)
        );
        assert_eq!(
            read(
                r#"{"version":3,"state_type":"ctid_based","ctid":"(0,0)","cursors":{"id":"a"},"relation_filenode":1}"#
            ),
            Cursor::Blocks(Blocks {
                tid: (0, 0),
                filenode: Some(1),
                snapshot: None,
                then: Some(Box::new(value("a")))
            })
        );
        assert_eq!(
            read(r#"{"version":3,"state_type":"xmin_based","xmin":9}"#),
            Cursor::Xmin(XminCursor { xmin: 9 })
        );
    }

    #[test]
    fn what_is_no_state_of_a_table_is_refused() {
        for text in [
            r#"{"state_type":"other"}"#,
            r#"{"state_type":"ctid","ctid":"12"}"#,
            r#"{"state_type":"ctid"}"#,
            r#"{"state_type":"cursor_based"}"#,
            r#"{"state_type":"xmin"}"#,
            r#"{"cursor":"3"}"#,
        ] {
            assert!(serde_json::from_str::<Named>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_cursor_comes_back_as_it_was_written() {
        let snapshot = Some(TableSnapshot { visible: "10:12:10".into(), row_lsn: 5, until_lsn: 9 });
        let value = Cursor::Value(ValueCursor {
            field: "c\"d".into(),
            value: Some("ü".into()),
            count: None,
            snapshot: snapshot.clone(),
        });
        let then = Some(Box::new(value.clone()));
        for cursor in [
            Cursor::Done,
            Cursor::Blocks(Blocks { tid: (7, 0), filenode: Some(3), snapshot: snapshot.clone(), then }),
            value,
            Cursor::Xmin(XminCursor { xmin: 1 << 40 }),
            Cursor::Streaming(Streaming {
                snapshot,
                columns: vec![super::SeenColumn { name: "a".into(), number: 1, type_oid: 23 }],
                last_column: 4,
                again: true,
            }),
        ] {
            let text = serde_json::to_string(&named(cursor.clone())).unwrap();
            assert_eq!(read(&text), cursor, "{text}");
        }
        assert_eq!(
            serde_json::to_string(&named(Cursor::Done)).unwrap(),
            r#"{"__ab_full_refresh_sync_complete":true}"#
        );
    }

    #[test]
    fn the_bounds_of_a_snapshot_are_its_first_two_numbers() {
        let of = |visible: &str| TableSnapshot { visible: visible.into(), row_lsn: 0, until_lsn: 0 }.bounds();
        assert_eq!(of("10:20:10,14"), Some((10, 20)));
        assert_eq!(of("10:10:"), Some((10, 10)));
        assert_eq!(of("x"), None);
    }
}
