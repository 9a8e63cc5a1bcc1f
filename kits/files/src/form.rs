//! How a column's values become what the catalog asks for.

use connector_kit::{Column, FieldType, Row};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    AsIs,
    /// Their JSON text, as a string.
    AsText,
    /// Of several types; the catalog's was made for all of them.
    Any,
    /// The catalog wants what they can never be.
    Misfit,
}

impl Form {
    pub(crate) fn of(natural: FieldType, column: &Column) -> Self {
        let wanted = column.field_type;
        let any = wanted == FieldType::Union || column.schema.get("type").is_none();
        if any || wanted == natural || (wanted == FieldType::Number && natural == FieldType::Integer) {
            Self::AsIs
        } else if wanted == FieldType::String {
            Self::AsText
        } else {
            Self::Misfit
        }
    }

    /// Writes a value's JSON text, `None` where JSON could not say it; `false` when it does not fit.
    #[inline]
    pub(crate) fn write(self, row: &mut Row<'_>, column: usize, value: Option<&[u8]>) -> bool {
        match (value, self) {
            (Some(b"null"), _) => row.null(column),
            (None, _) | (_, Self::Misfit) => return false,
            (Some(text), Self::AsText) if text.first() != Some(&b'"') => {
                row.string(column, std::str::from_utf8(text).unwrap_or_default());
            }
            (Some(text), _) => row.json(column, text),
        }
        true
    }
}
