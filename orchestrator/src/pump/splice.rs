//! Rewrites a record's envelope, and leaves fields out of its data, by bytes.

use std::collections::HashSet;
use std::ops::Range;

use protocol::ScannedRecord;
use protocol::edit;
use protocol::json::{self, JsonError};

use super::StreamPlan;

/// How one stream's lines are changed.
#[derive(Debug)]
pub(super) struct Splice {
    /// The new `stream` and `namespace` members as JSON text; `None` leaves the envelope.
    names: Option<(Vec<u8>, Option<Vec<u8>>)>,
    fields: Option<HashSet<String>>,
    /// The last envelope seen and what became of it; envelopes repeat.
    seen: Option<Envelope>,
}

#[derive(Debug)]
struct Envelope {
    prefix: Vec<u8>,
    suffix: Vec<u8>,
    new_prefix: Vec<u8>,
    new_suffix: Vec<u8>,
}

impl Splice {
    /// `None` when the stream's lines pass unchanged.
    pub(super) fn of(plan: &StreamPlan) -> Option<Self> {
        let names = (plan.source != plan.target).then(|| {
            let text = |s: &str| {
                let mut out = Vec::new();
                json::write_str(&mut out, s);
                out
            };
            (text(&plan.target.name), plan.target.namespace.as_deref().map(text))
        });
        (names.is_some() || plan.fields.is_some()).then(|| Self {
            names,
            fields: plan.fields.clone(),
            seen: None,
        })
    }

    /// Appends the changed line, newline included; gives the extent of its data in `out`.
    pub(super) fn write(
        &mut self,
        line: &[u8],
        record: &ScannedRecord,
        out: &mut Vec<u8>,
        scratch: &mut Vec<u8>,
    ) -> Result<Range<usize>, JsonError> {
        let mut data = &line[record.data.clone()];
        if let Some(fields) = &self.fields
            && drops_any(data, fields)?
        {
            scratch.clear();
            edit::keep_members(data, scratch, |name| fields.contains(name))?;
            data = scratch;
        }
        let (prefix, suffix) = (&line[..record.data.start], &line[record.data.end..]);
        let (new_prefix, new_suffix) = match &self.names {
            None => (prefix, suffix),
            Some((name, namespace)) => {
                let known = self.seen.as_ref().is_some_and(|e| e.prefix == prefix && e.suffix == suffix);
                if !known {
                    self.seen = Some(Envelope::renamed(prefix, suffix, name, namespace.as_deref())?);
                }
                let Some(envelope) = &self.seen else { return Ok(0..0) };
                (envelope.new_prefix.as_slice(), envelope.new_suffix.as_slice())
            }
        };
        out.extend_from_slice(new_prefix);
        let start = out.len();
        out.extend_from_slice(data);
        let extent = start..out.len();
        out.extend_from_slice(new_suffix);
        out.push(b'\n');
        Ok(extent)
    }
}

fn drops_any(data: &[u8], fields: &HashSet<String>) -> Result<bool, JsonError> {
    for member in json::members(data, 0) {
        let member = member?;
        let name = member.name.to_str().map_err(|_| JsonError { what: "invalid UTF-8", at: member.start })?;
        if !fields.contains(name.as_ref()) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Envelope {
    fn renamed(
        prefix: &[u8],
        suffix: &[u8],
        name: &[u8],
        namespace: Option<&[u8]>,
    ) -> Result<Self, JsonError> {
        let skeleton = [prefix, b"{}", suffix].concat();
        let line =
            edit::set_members(&skeleton, &["record"], &[("stream", Some(name)), ("namespace", namespace)])?;
        let mut data = None;
        for member in json::members(&line, 0) {
            let member = member?;
            if member.is("record") {
                for inner in json::members(&line, member.value_start) {
                    let inner = inner?;
                    if inner.is("data") {
                        data = Some(inner.value_start..inner.value_end);
                    }
                }
            }
        }
        let data = data.ok_or(JsonError { what: "record without data", at: 0 })?;
        Ok(Self {
            prefix: prefix.to_vec(),
            suffix: suffix.to_vec(),
            new_prefix: line[..data.start].to_vec(),
            new_suffix: line[data.end..].to_vec(),
        })
    }
}
