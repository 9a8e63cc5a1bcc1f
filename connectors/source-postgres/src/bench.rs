//! Doors for the benches into the hot path. Not part of the API.

use connector_kit::bench::EmitterToMemory;

use crate::row::CopyDecoder;
use crate::types::{ColumnType, Locale, TypeInfo};

/// A COPY of columns of built-in types.
#[derive(Debug)]
pub struct Copy(CopyDecoder);

impl Copy {
    /// One column for each name of `pg_catalog`.
    #[must_use]
    pub fn new(types: &[&str]) -> Self {
        let columns = types.iter().enumerate().map(|(at, name)| {
            let info = TypeInfo {
                schema: "pg_catalog".into(),
                name: (*name).into(),
                kind: 'b',
                category: 'X',
                delimiter: ',',
                modifier: -1,
                element: None,
                base: None,
            };
            (ColumnType::of(&info, -1, Locale::default()), at)
        });
        Self(CopyDecoder::new("bench", 0, columns.collect()))
    }

    /// Writes all rows of a message.
    ///
    /// # Panics
    /// When it is not one.
    #[inline]
    pub fn write(&mut self, mut message: &[u8], out: &mut EmitterToMemory) {
        while let Some(tuple) = self.0.tuple(&mut message).expect("a message") {
            out.row(|row| tuple.write(row).expect("a row"));
        }
    }
}
