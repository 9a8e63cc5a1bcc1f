//! An orders-like table in memory, made from row numbers alone: 12 columns of mixed types,
//! shaped like the table that all speed figures are quoted on.

use connector_kit::protocol::{ConfiguredCatalog, ConfiguredStream};
use connector_kit::{Row, SelectedStream, write_date, write_timestamp};

/// The configured stream, fields in schema order.
///
/// # Panics
/// Never: the text below is a catalog.
#[must_use]
pub fn orders_catalog() -> ConfiguredStream {
    let field = |name: &str, schema: &str| format!("\"{name}\":{schema}");
    let time = r#"{"type":"string","format":"date-time","airbyte_type":"timestamp_with_timezone"}"#;
    let fields = [
        field("id", r#"{"type":"integer"}"#),
        field("customer_id", r#"{"type":"integer"}"#),
        field("created_at", time),
        field("updated_at", time),
        field("amount", r#"{"type":"number"}"#),
        field("status", r#"{"type":"string"}"#),
        field("is_gift", r#"{"type":"boolean"}"#),
        field("note", r#"{"type":"string"}"#),
        field("attrs", r#"{"type":"string"}"#),
        field("ship_date", r#"{"type":"string","format":"date"}"#),
        field("ref", r#"{"type":"string"}"#),
        field("score", r#"{"type":"number"}"#),
    ]
    .join(",");
    let text = format!(
        r#"{{"streams":[{{"stream":{{"name":"orders","namespace":"public","json_schema":{{"type":"object","properties":{{{fields}}}}},"supported_sync_modes":["full_refresh"]}},"sync_mode":"full_refresh","destination_sync_mode":"append"}}]}}"#
    );
    let mut catalog = ConfiguredCatalog::parse(text.as_bytes()).expect("a catalog");
    catalog.streams.remove(0)
}

/// The selected stream that a connector would be given.
#[must_use]
pub fn orders() -> SelectedStream {
    connector_kit::bench::select(orders_catalog())
}

fn mix(i: u64) -> u64 {
    let z = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z ^ (z >> 27)
}

/// What a driver would hand over for one row, so that the bench times the writing alone.
#[derive(Clone, Debug)]
pub struct Order {
    id: i64,
    customer_id: i64,
    created_at: i64,
    updated_at: i64,
    amount: String,
    status: &'static str,
    is_gift: Option<bool>,
    note: Option<String>,
    attrs: Option<String>,
    ship_date: Option<i32>,
    reference: String,
    score: Option<f64>,
}

/// The row with this number.
#[must_use]
pub fn order(i: u64) -> Order {
    let (h, h2, h3) = (mix(i), mix(i ^ 0xABCD), mix(i ^ 0x1234_5678));
    let created_at = 1_672_531_200_000_000 + (i * 23_456_789).cast_signed();
    let m = format!("{h:016x}{h2:016x}");
    let note = match h3 & 15 {
        0 => None,
        1 => Some(format!("Grüße, \"quoted\", {}\nsecond line, with comma", &m[..12])),
        2 => Some(String::new()),
        n => Some(format!("note {} for order {i}", &m[..8 + n as usize])),
    };
    let attrs = (h & 31 != 0).then(|| {
        format!(
            "{{\"qty\": {}, \"sku\": \"{}\", \"tags\": [\"t{}\", \"t{}\"]}}",
            1 + (h2 & 7),
            &m[..8],
            h & 7,
            h2 & 7
        )
    });
    Order {
        id: i.cast_signed(),
        customer_id: (1 + h % 200_000).cast_signed(),
        created_at,
        updated_at: created_at + (h2 & 1_048_575).cast_signed() * 1000,
        amount: format!("{}.{:02}", h3 % 1_000_000, h % 100),
        status: ["new", "paid", "packed", "shipped", "delivered", "returned", "cancelled"][(h % 7) as usize],
        is_gift: (h2 & 15 != 0).then_some(h2 & 1 == 1),
        note,
        attrs,
        ship_date: (h2 & 63 != 0).then_some(19_359 + (i * 23 / 86_400) as i32),
        reference: format!("{}-{}-{}-{}-{}", &m[..8], &m[8..12], &m[12..16], &m[16..20], &m[20..32]),
        score: (h & 127 != 5).then_some((h3 & 16_777_215) as f64 / 777.0),
    }
}

/// Writes the row as a source would.
pub fn write(row: &mut Row<'_>, order: &Order) {
    row.integer(0, order.id);
    row.integer(1, order.customer_id);
    row.timestamp(2, order.created_at, true);
    row.timestamp(3, order.updated_at, true);
    row.number(4, order.amount.as_bytes());
    row.string(5, order.status);
    match order.is_gift {
        Some(gift) => row.boolean(6, gift),
        None => row.null(6),
    }
    for (column, text) in [(7, &order.note), (8, &order.attrs)] {
        match text {
            Some(text) => row.string(column, text),
            None => row.null(column),
        }
    }
    match order.ship_date {
        Some(days) => row.date(9, days),
        None => row.null(9),
    }
    row.plain(10, order.reference.as_bytes());
    match order.score {
        Some(score) => row.double(11, score),
        None => row.null(11),
    }
}

/// The first line of the CSV form.
pub const CSV_HEADER: &str =
    "id,customer_id,created_at,updated_at,amount,status,is_gift,note,attrs,ship_date,ref,score";

impl Order {
    /// Appends the row as a CSV line, with times in the form that `psql \copy` writes.
    pub fn csv(&self, out: &mut Vec<u8>) {
        let time = |out: &mut Vec<u8>, micros| {
            let start = out.len();
            write_timestamp(out, micros, false);
            out[start + 10] = b' ';
            out.extend_from_slice(b"+00,");
        };
        out.extend_from_slice(format!("{},{},", self.id, self.customer_id).as_bytes());
        time(out, self.created_at);
        time(out, self.updated_at);
        let gift = self.is_gift.map_or("", |g| if g { "t" } else { "f" });
        out.extend_from_slice(format!("{},{},{gift},", self.amount, self.status).as_bytes());
        for text in [&self.note, &self.attrs] {
            match text.as_deref() {
                Some(text) if text.is_empty() || text.contains([',', '"', '\n']) => {
                    out.extend_from_slice(format!("\"{}\",", text.replace('"', "\"\"")).as_bytes());
                }
                text => out.extend_from_slice(format!("{},", text.unwrap_or_default()).as_bytes()),
            }
        }
        if let Some(days) = self.ship_date {
            write_date(out, days);
        }
        out.extend_from_slice(format!(",{},", self.reference).as_bytes());
        if let Some(score) = self.score {
            out.extend_from_slice(score.to_string().as_bytes());
        }
        out.push(b'\n');
    }
}
