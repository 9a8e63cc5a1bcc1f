//! Reads a CSV file with the csv crate and looks at every field: `csv_scan orders.csv`.

use std::error::Error;
use std::fs::File;
use std::hint::black_box;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("csv_scan FILE")?;
    let mut reader = csv::ReaderBuilder::new().buffer_capacity(128 << 10).from_reader(File::open(path)?);
    let mut record = csv::ByteRecord::new();
    let (mut rows, mut bytes) = (0_u64, 0);
    while reader.read_byte_record(&mut record)? {
        rows += 1;
        bytes += record.iter().map(<[u8]>::len).sum::<usize>();
    }
    black_box((rows, bytes));
    Ok(())
}
