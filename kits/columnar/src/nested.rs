//! Buffers of columns that hold groups or lists.

use std::sync::Arc;

use arrow_array::{ArrayRef, ListArray, StructArray};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use connector_kit::protocol::ChangeReason;
use connector_kit::protocol::json::{self, Token};

use crate::column::{BadText, ColumnBuffer};
use crate::shape::{Shape, fields, item_field};

/// Places of one row that are told apart; one that loses more is damaged beyond telling.
const MOST_LOSSES: usize = 64;

/// Something of a row that a column cannot hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    /// Where: names with dots between them, without places in lists.
    pub(crate) path: String,
    pub(crate) reason: ChangeReason,
    /// It has no place in the schema, rather than a value that does not fit its place.
    pub(crate) undeclared: bool,
}

/// The values of a group or a list.
#[derive(Debug)]
pub(crate) enum Nested {
    Group { members: Vec<Member> },
    List { ends: Vec<i32>, item: Box<ColumnBuffer>, shape: Shape },
}

#[derive(Debug)]
pub(crate) struct Member {
    name: String,
    shape: Shape,
    column: ColumnBuffer,
}

const WRONG: ChangeReason = ChangeReason::DestinationSerializationError;

impl Nested {
    pub(crate) fn group(members: &[(String, Shape)]) -> Self {
        let member = |(name, shape): &(String, Shape)| Member {
            name: name.clone(),
            shape: shape.clone(),
            column: ColumnBuffer::new(shape),
        };
        Self::Group { members: members.iter().map(member).collect() }
    }

    pub(crate) fn list(item: &Shape) -> Self {
        Self::List { ends: vec![0], item: Box::new(ColumnBuffer::new(item)), shape: item.clone() }
    }

    /// Takes the row's value; on an error takes nothing. What of it could not be held goes to `losses`.
    pub(crate) fn push(
        &mut self,
        row: usize,
        token: Token<'_>,
        path: &str,
        losses: &mut Vec<Loss>,
    ) -> Result<(), ChangeReason> {
        match (self, token) {
            (Self::Group { members }, Token::Object(text)) => {
                let mut values = vec![Token::Null; members.len()];
                let mut unknown = Vec::new();
                let mut guess = 0;
                for found in json::members(text, 0) {
                    let found = found.map_err(|_| WRONG)?;
                    // Most writers keep an order.
                    let at = match members.get(guess) {
                        Some(member) if found.is(&member.name) => Some(guess),
                        _ => members.iter().position(|member| found.is(&member.name)),
                    };
                    match at {
                        Some(at) => (values[at], guess) = (found.value, at + 1),
                        None if found.value != Token::Null => unknown.push(found.name),
                        None => {}
                    }
                }
                for name in unknown.iter().take(MOST_LOSSES) {
                    let name = name.to_str().unwrap_or_default();
                    lose(losses, Loss { path: format!("{path}.{name}"), reason: WRONG, undeclared: true });
                }
                for (member, value) in members.iter_mut().zip(values) {
                    member.column.push_inner(row, value, path, &member.name, losses);
                }
                Ok(())
            }
            (Self::List { ends, item, .. }, Token::Array(text)) => {
                let mut count = 0_i32;
                each_item(text, |_| count += 1)?;
                let mut at = ends.last().copied().unwrap_or(0);
                // Offsets are of 32 bits, as are those of the largest array that a reader takes.
                at.checked_add(count).ok_or(ChangeReason::DestinationFieldSizeLimitation)?;
                each_item(text, |value| {
                    item.push_inner(at as usize, value, path, "", losses);
                    at += 1;
                })?;
                ends.push(at);
                Ok(())
            }
            _ => Err(WRONG),
        }
    }

    /// The row has no value.
    pub(crate) fn null(&mut self, row: usize) {
        match self {
            Self::Group { members } => members.iter_mut().for_each(|member| member.column.null(row)),
            Self::List { ends, .. } => ends.push(ends.last().copied().unwrap_or(0)),
        }
    }

    pub(crate) fn take(&mut self, rows: usize, nulls: Option<NullBuffer>) -> Result<ArrayRef, BadText> {
        match self {
            Self::Group { members } => {
                let mut arrays = Vec::with_capacity(members.len());
                for member in members.iter_mut() {
                    arrays.push(member.column.take(rows)?);
                }
                let shapes: Vec<_> = members.iter().map(|m| (m.name.clone(), m.shape.clone())).collect();
                Ok(Arc::new(StructArray::new(fields(&shapes), arrays, nulls)))
            }
            Self::List { ends, item, shape } => {
                let ends = std::mem::replace(ends, vec![0]);
                let items = ends.last().map_or(0, |end| *end as usize);
                // The row whose list has the item.
                let row =
                    |bad: BadText| BadText { row: ends.partition_point(|end| *end as usize <= bad.row) - 1 };
                let values = item.take(items).map_err(row)?;
                let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
                Ok(Arc::new(ListArray::new(item_field(shape), offsets, values, nulls)))
            }
        }
    }

    /// Bytes of memory held.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Group { members } => members.iter().map(|member| member.column.memory()).sum(),
            Self::List { ends, item, .. } => ends.capacity() * 4 + item.memory(),
        }
    }
}

/// Notes a loss, once for each place.
pub(crate) fn lose(losses: &mut Vec<Loss>, loss: Loss) {
    if losses.len() < MOST_LOSSES && !losses.contains(&loss) {
        losses.push(loss);
    }
}

/// Walks an array. Its brackets balance; the rest is checked here.
fn each_item<'a>(text: &'a [u8], mut item: impl FnMut(Token<'a>)) -> Result<(), ChangeReason> {
    let mut at = json::skip_space(text, 1);
    if text.get(at) == Some(&b']') {
        return Ok(());
    }
    loop {
        let (value, end) = json::value_at(text, at).map_err(|_| WRONG)?;
        item(value);
        at = json::skip_space(text, end);
        match text.get(at) {
            Some(b',') => at = json::skip_space(text, at + 1),
            Some(b']') => return Ok(()),
            _ => return Err(WRONG),
        }
    }
}
