//! Rewriting JSONL and CSV files without some of their rows.

use std::fs::File;
use std::io::{self, BufReader, Read};

use columnar::TextOut;
use flate2::read::MultiGzDecoder;

/// Copies the rows for which `keep` says so; a CSV header stays. Returns the rows read and written.
pub(crate) fn copy_rows(
    input: File,
    out: &mut TextOut<File>,
    gzip: bool,
    csv: bool,
    mut keep: impl FnMut(u64) -> bool,
) -> io::Result<(u64, u64)> {
    let input: Box<dyn Read> =
        if gzip { Box::new(MultiGzDecoder::new(BufReader::new(input))) } else { Box::new(input) };
    let mut input = BufReader::with_capacity(128 << 10, input);
    let (mut read, mut written) = (0, 0);
    let mut header = csv;
    let mut quoted = false;
    let mut keeps = header || keep(0);
    let mut within = false;
    loop {
        let block = io::BufRead::fill_buf(&mut input)?;
        if block.is_empty() {
            break;
        }
        let length = block.len();
        let mut start = 0;
        for (at, byte) in block.iter().enumerate() {
            // A quote inside a field is doubled, which turns twice and changes nothing.
            if csv && *byte == b'"' {
                quoted = !quoted;
            }
            if *byte == b'\n' && !quoted {
                if keeps {
                    out.write_all(&block[start..=at])?;
                }
                start = at + 1;
                if !std::mem::replace(&mut header, false) {
                    written += u64::from(keeps);
                    read += 1;
                }
                keeps = keep(read);
            }
        }
        if keeps {
            out.write_all(&block[start..])?;
        }
        within = start < length;
        io::BufRead::consume(&mut input, length);
    }
    // Our files end in a newline; anything else was cut.
    if within || quoted { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok((read, written)) }
}
