//! The stream `users`.

use connector_kit::Row;
use serde_json::{Value, json};

use crate::random::Random;
use crate::words::{
    BLOOD, CITIES, COUNTRIES, DEGREES, FIRST, GENDERS, LANGUAGES, LAST, MAIL, NATIONS, OCCUPATIONS, STATES,
    STREET_KINDS, STREETS, TITLES,
};

/// The fields, in schema order, with their JSON types.
pub(crate) const FIELDS: &[(&str, &str)] = &[
    ("id", "integer"),
    ("created_at", "date-time"),
    ("updated_at", "date-time"),
    ("name", "string"),
    ("title", "string"),
    ("age", "integer"),
    ("email", "string"),
    ("telephone", "string"),
    ("gender", "string"),
    ("language", "string"),
    ("academic_degree", "string"),
    ("nationality", "string"),
    ("occupation", "string"),
    ("height", "string"),
    ("blood_type", "string"),
    ("weight", "integer"),
    ("address", "address"),
];

/// The schema of the field `address`.
pub(crate) fn address_schema() -> Value {
    let text = json!({"type": ["null", "string"]});
    let names = ["street_number", "street_name", "city", "state", "province", "postal_code", "country_code"];
    let properties: serde_json::Map<_, _> = names.iter().map(|n| ((*n).to_owned(), text.clone())).collect();
    json!({"type": ["null", "object"], "properties": properties})
}

/// Writes the user with this id. `columns` are (field index, column index) pairs in schema order.
pub(crate) fn write(
    row: &mut Row<'_>,
    columns: &[(usize, usize)],
    id: u64,
    created: i64,
    updated: i64,
    mut random: Random,
) {
    let (first, last) = (random.pick(FIRST), random.pick(LAST));
    // One number per field, drawn before any is chosen: a selection changes no value.
    let draws: [u64; 16] = std::array::from_fn(|_| random.next());
    for (field, column) in columns {
        let mut random = Random::of_row(0, 0, draws[field % 16]);
        let column = *column;
        match field {
            0 => row.integer(column, id.cast_signed()),
            1 => row.timestamp_offset(column, created),
            2 => row.timestamp_offset(column, updated),
            3 => row.quoted(column, |out| {
                for part in [first, " ", last] {
                    out.extend_from_slice(part.as_bytes());
                }
            }),
            4 => row.plain(column, random.pick(TITLES).as_bytes()),
            5 => row.integer(column, 18 + random.below(70).cast_signed()),
            6 => row.quoted(column, |out| {
                for part in [first, ".", last, "+"] {
                    out.extend(part.bytes().map(|b| b.to_ascii_lowercase()));
                }
                decimal(out, id, 1);
                out.push(b'@');
                out.extend_from_slice(random.pick(MAIL).as_bytes());
            }),
            7 => row.quoted(column, |out| {
                out.extend_from_slice(b"+1-555-");
                decimal(out, random.below(1000), 3);
                out.push(b'-');
                decimal(out, random.below(10_000), 4);
            }),
            8 => row.plain(column, random.pick(GENDERS).as_bytes()),
            9 => row.plain(column, random.pick(LANGUAGES).as_bytes()),
            10 => row.plain(column, random.pick(DEGREES).as_bytes()),
            11 => row.plain(column, random.pick(NATIONS).as_bytes()),
            12 => row.plain(column, random.pick(OCCUPATIONS).as_bytes()),
            13 => row.quoted(column, |out| {
                out.extend_from_slice(b"1.");
                decimal(out, 50 + random.below(50), 2);
            }),
            14 => row.plain(column, random.pick(BLOOD).as_bytes()),
            15 => row.integer(column, 45 + random.below(60).cast_signed()),
            _ => row.object(column, |out| address(out, &mut random)),
        }
    }
}

fn address(out: &mut Vec<u8>, random: &mut Random) {
    let number = 1 + random.below(1499);
    out.extend_from_slice(b"\"street_number\":\"");
    decimal(out, number, 1);
    let state = random.pick(STATES);
    let street = [random.pick(STREETS), " ", random.pick(STREET_KINDS)].concat();
    for (name, value) in [
        ("street_name", street.as_str()),
        ("city", random.pick(CITIES)),
        ("state", state),
        ("province", state),
    ] {
        out.extend_from_slice(b"\",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":\"");
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(b"\",\"postal_code\":\"");
    decimal(out, random.below(100_000), 5);
    out.extend_from_slice(b"\",\"country_code\":\"");
    out.extend_from_slice(random.pick(COUNTRIES).as_bytes());
    out.push(b'"');
}

/// Appends `n` with at least `width` digits.
fn decimal(out: &mut Vec<u8>, n: u64, width: usize) {
    let start = out.len();
    let mut rest = n;
    while rest > 0 || out.len() - start < width {
        out.push(b'0' + (rest % 10) as u8);
        rest /= 10;
    }
    out[start..].reverse();
}
