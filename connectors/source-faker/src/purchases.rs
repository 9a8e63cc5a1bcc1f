//! The stream `purchases`: ten for every ten users.

use connector_kit::Row;

use crate::products;
use crate::random::Random;

/// The fields, in schema order, with their JSON types.
pub(crate) const FIELDS: &[(&str, &str)] = &[
    ("id", "integer"),
    ("product_id", "integer"),
    ("user_id", "integer"),
    ("created_at", "date-time"),
    ("updated_at", "date-time"),
    ("added_to_cart_at", "date-time"),
    ("purchased_at", "date-time"),
    ("returned_at", "date-time"),
];

/// The ids of the purchases of the user with this 0-based index: of each ten users the
/// seventh buys nothing and the ninth twice, so that ids stay gapless.
pub(crate) fn ids_of(user_index: u64) -> std::ops::Range<u64> {
    match user_index % 10 {
        6 => 0..0,
        7 => user_index..user_index + 1,
        8 => user_index..user_index + 2,
        _ => user_index + 1..user_index + 2,
    }
}

/// Writes the purchase with this id.
pub(crate) fn write(
    row: &mut Row<'_>,
    columns: &[(usize, usize)],
    id: u64,
    user_index: u64,
    created: i64,
    updated: i64,
    mut random: Random,
) {
    const HOUR: i64 = 3_600_000_000;
    let product = 1 + random.below(products::COUNT);
    let added = created + random.below(48).cast_signed() * HOUR;
    let purchased = random.chance(70).then(|| added + (1 + random.below(72).cast_signed()) * HOUR);
    // 15 of all hundred: of the 70 that were bought, about a fifth.
    let returned = purchased
        .filter(|_| random.below(70) < 15)
        .map(|at| at + (24 + random.below(720).cast_signed()) * HOUR);
    for (field, column) in columns {
        let column = *column;
        match field {
            0 => row.integer(column, id.cast_signed()),
            1 => row.integer(column, product.cast_signed()),
            2 => row.integer(column, user_index.cast_signed() + 1),
            3 => row.timestamp_offset(column, created),
            4 => row.timestamp_offset(column, updated),
            5 => row.timestamp_offset(column, added),
            6 | 7 => match if *field == 6 { purchased } else { returned } {
                Some(at) => row.timestamp_offset(column, at),
                None => row.null(column),
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ids_of;

    #[test]
    fn ids_are_gapless_and_unique() {
        assert_eq!((0..1000).flat_map(ids_of).collect::<Vec<_>>(), (1..=1000).collect::<Vec<_>>());
    }
}
