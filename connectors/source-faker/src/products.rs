//! The stream `products`: the same 100 for every seed.

use connector_kit::Row;

use crate::random::Random;
use crate::words::{MAKES, MODELS};

/// How many there are.
pub(crate) const COUNT: u64 = 100;

/// The fields, in schema order, with their JSON types.
pub(crate) const FIELDS: &[(&str, &str)] = &[
    ("id", "integer"),
    ("make", "string"),
    ("model", "string"),
    ("year", "integer"),
    ("price", "number"),
    ("created_at", "date-time"),
    ("updated_at", "date-time"),
];

/// Writes the product with this id, from 1.
pub(crate) fn write(row: &mut Row<'_>, columns: &[(usize, usize)], id: u64, created: i64, updated: i64) {
    let mut random = Random::of_row(0, 2, id);
    let (year, cents) = (1990 + random.below(35), 500 + random.below(9_999_500));
    let index = (id - 1) as usize;
    for (field, column) in columns {
        let column = *column;
        match field {
            0 => row.integer(column, id.cast_signed()),
            1 => row.plain(column, MAKES[index / 10].as_bytes()),
            2 => row.plain(column, MODELS[index % 10].as_bytes()),
            3 => row.integer(column, year.cast_signed()),
            4 => row.number(column, format!("{}.{:02}", cents / 100, cents % 100).as_bytes()),
            5 => row.timestamp_offset(column, created),
            _ => row.timestamp_offset(column, updated),
        }
    }
}
