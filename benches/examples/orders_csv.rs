//! Writes the orders-like table as CSV with a header: `orders_csv 2000000 > orders.csv`.

use std::io::{BufWriter, Write};

fn main() -> std::io::Result<()> {
    let rows = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    writeln!(out, "{}", benches::CSV_HEADER)?;
    let mut line = Vec::new();
    for i in 1..=rows {
        line.clear();
        benches::order(i).csv(&mut line);
        out.write_all(&line)?;
    }
    out.flush()
}
