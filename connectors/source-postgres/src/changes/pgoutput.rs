//! The bytes of logical replication: the envelope that every replication stream has, and
//! the messages of the `pgoutput` plugin, protocol version 1. Parsing borrows from the
//! message and allocates for relations only.
//!
//! Every length in here was sent by the server and is checked against the bytes that are
//! really there: a lying server gets an error, never a panic or a large allocation.

use connector_kit::{Error, Result};

use super::cells::{Cell, Cells};

/// Microseconds from 1970-01-01 to 2000-01-01, where the server's clock begins.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// What a CopyData message of a replication stream holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Envelope<'a> {
    /// A piece of the stream.
    Data {
        /// Where in the WAL it comes from. 0 for messages that only lead to the next one.
        start: u64,
        payload: &'a [u8],
    },
    /// The server has decoded everything before `end`.
    KeepAlive { end: u64, reply_now: bool },
}

impl<'a> Envelope<'a> {
    pub(crate) fn parse(message: &'a [u8]) -> Result<Self> {
        let mut bytes = Bytes { rest: message, kind: "replication" };
        match bytes.u8()? {
            b'w' => {
                bytes.kind = "XLogData";
                let start = bytes.u64()?;
                bytes.take(16)?;
                Ok(Self::Data { start, payload: bytes.rest })
            }
            b'k' => {
                bytes.kind = "keepalive";
                let end = bytes.u64()?;
                bytes.take(8)?;
                let reply_now = bytes.u8()? != 0;
                bytes.end()?;
                Ok(Self::KeepAlive { end, reply_now })
            }
            other => Err(unknown("replication", other)),
        }
    }
}

/// A standby status update: how far we are. `flushed` lets the server forget what is before it.
pub(crate) fn status_update(written: u64, flushed: u64, now_unix_micros: i64, reply: bool) -> [u8; 34] {
    let mut out = [0; 34];
    out[0] = b'r';
    out[1..9].copy_from_slice(&written.to_be_bytes());
    out[9..17].copy_from_slice(&flushed.to_be_bytes());
    out[17..25].copy_from_slice(&flushed.to_be_bytes());
    out[25..33].copy_from_slice(&now_unix_micros.saturating_sub(EPOCH_MICROS).to_be_bytes());
    out[33] = u8::from(reply);
    out
}

/// What the old tuple of an update or delete holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Old {
    /// The columns of the replica identity; the others are null and mean nothing.
    Key,
    /// The whole row.
    Full,
}

/// One message of the plugin. Tuples are in the [`Cells`] that were given to [`Message::parse`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Begin {
        /// Where the commit record is.
        commit: u64,
        /// Microseconds since 1970.
        micros: i64,
        xid: u32,
    },
    Commit {
        commit: u64,
        /// Behind the commit record: from here a later run goes on.
        end: u64,
        micros: i64,
    },
    Origin,
    Relation(Relation),
    Type,
    Insert {
        relation: u32,
    },
    Update {
        relation: u32,
        old: Option<Old>,
    },
    Delete {
        relation: u32,
        old: Old,
    },
    /// The OIDs of the emptied tables, big-endian, four bytes each.
    Truncate {
        relations: &'a [u8],
    },
    Logical {
        transactional: bool,
        prefix: &'a [u8],
    },
}

/// How a table looked for the tuples that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relation {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    /// `d`efault, `n`othing, `f`ull, `i`ndex.
    pub(crate) identity: u8,
    pub(crate) columns: Vec<RelationColumn>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RelationColumn {
    pub(crate) key: bool,
    pub(crate) name: String,
    pub(crate) type_oid: u32,
    pub(crate) modifier: i32,
}

impl<'a> Message<'a> {
    /// Parses one message. `old` and `new` are overwritten by messages that hold tuples.
    #[inline]
    pub(crate) fn parse(message: &'a [u8], old: &mut Cells, new: &mut Cells) -> Result<Self> {
        let mut bytes = Bytes { rest: message, kind: "empty" };
        let kind = bytes.u8()?;
        let all = message.len();
        let parsed = match kind {
            b'I' => {
                bytes.kind = "Insert";
                let relation = bytes.u32()?;
                bytes.marker(b'N')?;
                bytes.tuple(all, new)?;
                Self::Insert { relation }
            }
            b'U' => {
                bytes.kind = "Update";
                let relation = bytes.u32()?;
                let mut marker = bytes.u8()?;
                let which = match marker {
                    b'K' => Some(Old::Key),
                    b'O' => Some(Old::Full),
                    _ => None,
                };
                if which.is_some() {
                    bytes.tuple(all, old)?;
                    marker = bytes.u8()?;
                }
                if marker != b'N' {
                    return Err(bytes.malformed());
                }
                bytes.tuple(all, new)?;
                Self::Update { relation, old: which }
            }
            b'D' => {
                bytes.kind = "Delete";
                let relation = bytes.u32()?;
                let which = match bytes.u8()? {
                    b'K' => Old::Key,
                    b'O' => Old::Full,
                    _ => return Err(bytes.malformed()),
                };
                bytes.tuple(all, old)?;
                Self::Delete { relation, old: which }
            }
            b'B' => {
                bytes.kind = "Begin";
                let commit = bytes.u64()?;
                let micros = bytes.time()?;
                Self::Begin { commit, micros, xid: bytes.u32()? }
            }
            b'C' => {
                bytes.kind = "Commit";
                bytes.u8()?;
                let commit = bytes.u64()?;
                let end = bytes.u64()?;
                Self::Commit { commit, end, micros: bytes.time()? }
            }
            b'R' => {
                bytes.kind = "Relation";
                Self::Relation(bytes.relation()?)
            }
            b'Y' => {
                bytes.kind = "Type";
                bytes.u32()?;
                bytes.text()?;
                bytes.text()?;
                Self::Type
            }
            b'O' => {
                bytes.kind = "Origin";
                bytes.u64()?;
                bytes.text()?;
                Self::Origin
            }
            b'T' => {
                bytes.kind = "Truncate";
                let count = bytes.u32()? as usize;
                bytes.u8()?;
                let length = count.checked_mul(4).ok_or_else(|| bytes.malformed())?;
                Self::Truncate { relations: bytes.take(length)? }
            }
            b'M' => {
                bytes.kind = "Logical";
                let transactional = bytes.u8()? & 1 == 1;
                bytes.u64()?;
                let prefix = bytes.text()?;
                let length = bytes.u32()? as usize;
                bytes.take(length)?;
                Self::Logical { transactional, prefix }
            }
            other => return Err(unknown("pgoutput", other)),
        };
        bytes.end()?;
        Ok(parsed)
    }
}

/// A cursor over bytes that may be anything.
struct Bytes<'a> {
    rest: &'a [u8],
    kind: &'static str,
}

impl<'a> Bytes<'a> {
    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[b]| b)
    }

    #[inline]
    fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// As microseconds since 1970.
    fn time(&mut self) -> Result<i64> {
        Ok(self.array().map(i64::from_be_bytes)?.saturating_add(EPOCH_MICROS))
    }

    #[inline]
    fn marker(&mut self, wanted: u8) -> Result<()> {
        if self.u8()? == wanted { Ok(()) } else { Err(self.malformed()) }
    }

    /// Up to a zero byte.
    fn text(&mut self) -> Result<&'a [u8]> {
        let length = memchr::memchr(0, self.rest).ok_or_else(|| self.malformed())?;
        let text = self.take(length)?;
        self.take(1)?;
        Ok(text)
    }

    // Names of a database without an encoding may be any bytes; tables are matched by OID then.
    fn name(&mut self) -> Result<String> {
        self.text().map(|t| String::from_utf8_lossy(t).into_owned())
    }

    fn relation(&mut self) -> Result<Relation> {
        let oid = self.u32()?;
        let schema = self.name()?;
        // The server leaves the name of pg_catalog out.
        let schema = if schema.is_empty() { "pg_catalog".to_owned() } else { schema };
        let name = self.name()?;
        let identity = self.u8()?;
        let count = self.u16()?;
        let mut columns = Vec::new();
        for _ in 0..count {
            columns.push(RelationColumn {
                key: self.u8()? & 1 == 1,
                name: self.name()?,
                type_oid: self.u32()?,
                modifier: self.array().map(i32::from_be_bytes)?,
            });
        }
        Ok(Relation { oid, schema, name, identity, columns })
    }

    /// `all` is the length of the whole message, which the cells count from.
    #[inline]
    fn tuple(&mut self, all: usize, cells: &mut Cells) -> Result<()> {
        cells.clear();
        for _ in 0..self.u16()? {
            let cell = match self.u8()? {
                b't' => {
                    let length = self.u32()? as usize;
                    let start = all - self.rest.len();
                    self.take(length)?;
                    // A message has at most 1 GiB and a bit; the client refuses more.
                    Cell::Text { start: start as u32, end: (start + length) as u32 }
                }
                b'n' => Cell::Null,
                b'u' => Cell::Unchanged,
                // Binary values ('b') come only when asked for.
                _ => return Err(self.malformed()),
            };
            cells.push(cell);
        }
        Ok(())
    }

    fn end(&self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed()) }
    }

    #[cold]
    fn malformed(&self) -> Error {
        Error::system(format!(
            "The server sent a damaged {} message in the replication stream. Try again; if it comes back, look for a proxy between \
             this machine and the server, and report the server's version.",
            self.kind
        ))
    }
}

#[cold]
fn unknown(what: &str, kind: u8) -> Error {
    Error::system(format!(
        "The server sent a {what} message of an unknown kind ({:?}). Check that the slot's plugin is pgoutput; if it is, report the \
         server's version.",
        char::from(kind)
    ))
}

#[cfg(test)]
#[path = "pgoutput_tests.rs"]
mod tests;
