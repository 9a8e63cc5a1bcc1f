//! The values of one tuple, as places in the message that holds them, in a buffer that is
//! used again for every row.

/// One value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Null,
    /// Stored out of line and not touched by the change: the message does not have it.
    Unchanged,
    /// In the server's text form.
    Text {
        start: u32,
        end: u32,
    },
}

/// The values of one tuple, in the order of its relation's columns.
#[derive(Debug, Default)]
pub(crate) struct Cells(Vec<Cell>);

impl Cells {
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    #[inline]
    pub(crate) fn push(&mut self, cell: Cell) {
        self.0.push(cell);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the message lacks a value.
    #[inline]
    pub(crate) fn has_unchanged(&self) -> bool {
        self.0.contains(&Cell::Unchanged)
    }

    #[inline]
    pub(crate) fn get<'m>(&self, message: &'m [u8], index: usize) -> Value<'m> {
        match self.0.get(index) {
            Some(Cell::Text { start, end }) => {
                Value::Text(message.get(*start as usize..*end as usize).unwrap_or_default())
            }
            Some(Cell::Null) => Value::Null,
            // Beyond the tuple are columns that the message does not have at all.
            Some(Cell::Unchanged) | None => Value::Unchanged,
        }
    }
}

/// One value, in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'m> {
    Null,
    /// See [`Cell::Unchanged`]. Never to be taken for a null.
    Unchanged,
    Text(&'m [u8]),
}
