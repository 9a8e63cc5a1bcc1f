//! A CSV file as a table: which line is the header, what the columns are called, and one
//! record after the other with its line number. Types are not known here.

use connector_kit::{Error, Result, tracing};

use crate::csv::{BlockError, Blocks, Dialect, Field, Scan, Step, line_ends};
use crate::error;
use crate::options::{ColumnRef, Header, Options};

/// A file whose header was read.
pub(crate) struct Table {
    file: String,
    blocks: Blocks,
    dialect: Dialect,
    skip_blank: bool,
    /// Every column of the file, by its unique name.
    pub(crate) names: Vec<String>,
    /// Positions in `names` that `usecols` leaves.
    pub(crate) used: Vec<usize>,
}

/// One record of the table.
pub(crate) struct Record<'a> {
    pub(crate) block: &'a str,
    pub(crate) fields: &'a [Field],
    start: usize,
    block_line: u64,
}

impl Record<'_> {
    /// The physical line on which it begins.
    pub(crate) fn line(&self) -> u64 {
        self.block_line + line_ends(&self.block.as_bytes()[..self.start])
    }
}

impl Table {
    /// `file` is the name for messages. `None` when the file is empty.
    pub(crate) fn open(file: &str, blocks: Blocks, options: &Options) -> Result<Option<Self>> {
        let mut table = Self {
            file: file.to_owned(),
            blocks,
            dialect: Dialect { delimiter: options.delimiter, quote: options.quote },
            skip_blank: options.skip_blank_lines,
            names: Vec::new(),
            used: Vec::new(),
        };
        for _ in 0..options.skip_lines {
            table.skip_line()?;
        }
        let above = match options.header {
            Header::Row(above) => above,
            Header::None => 0,
        };
        for _ in 0..above {
            if table.first_record(true)?.is_none() {
                return Err(error::at_line(
                    file,
                    table.blocks.line,
                    "the file ends before the header that reader_options names",
                ));
            }
        }
        let Some(first) = table.first_record(options.header != Header::None)? else { return Ok(None) };
        table.names = match (&options.names, &options.header) {
            (Some(names), _) if names.len() != first.len() => {
                return Err(Error::config(format!(
                    "The file {file} has {} columns, but names in reader_options holds {}; name every column.",
                    first.len(),
                    names.len()
                )));
            }
            (Some(names), _) => names.clone(),
            (None, Header::None) => (0..first.len()).map(|i| i.to_string()).collect(),
            (None, Header::Row(_)) => {
                if first.iter().any(|name| name.contains('\0')) {
                    return Err(error::at_line(
                        file,
                        1,
                        "the header holds NUL bytes, so the text may be UTF-16; set encoding in reader_options",
                    ));
                }
                first
            }
        };
        make_unique(&mut table.names);
        table.used = used(file, &table.names, options.columns.as_deref())?;
        Ok(Some(table))
    }

    /// Calls `f` with each record until it returns `false` or the file ends.
    pub(crate) fn each(&mut self, mut f: impl FnMut(&Record<'_>) -> Result<bool>) -> Result<()> {
        let mut fields = Vec::with_capacity(self.names.len());
        loop {
            let block_line = self.blocks.line;
            let (block, ended) = match self.blocks.next() {
                Ok(Some(block)) => block,
                Ok(None) => return Ok(()),
                Err(e) => return Err(self.fault(e)),
            };
            let mut scan = Scan::new(block, ended, self.dialect);
            loop {
                let start = scan.used();
                match scan.record(&mut fields) {
                    Ok(Step::Record) => {}
                    Ok(Step::More) => break,
                    Err(e) => {
                        let line = block_line + line_ends(&block.as_bytes()[..e.at]);
                        let name =
                            self.names.get(e.field - 1).map_or_else(String::new, |n| format!(" ({n})"));
                        return Err(error::at_line(
                            &self.file,
                            line,
                            &format!("field {}{name}: {}", e.field, e.what),
                        ));
                    }
                }
                if self.skip_blank && is_blank(&fields) {
                    continue;
                }
                if !f(&Record { block, fields: &fields, start, block_line })? {
                    return Ok(());
                }
            }
            let used = scan.used();
            self.blocks.consume(used);
        }
    }

    /// The first record's texts; with `take`, it is then behind us.
    fn first_record(&mut self, take: bool) -> Result<Option<Vec<String>>> {
        let mut fields = Vec::new();
        loop {
            let line = self.blocks.line;
            let (block, ended) = match self.blocks.next() {
                Ok(Some(block)) => block,
                Ok(None) => return Ok(None),
                Err(e) => return Err(self.fault(e)),
            };
            let mut scan = Scan::new(block, ended, self.dialect);
            let mut before = 0;
            let found = loop {
                before = scan.used().max(before);
                match scan.record(&mut fields) {
                    Ok(Step::Record) if is_blank(&fields) && self.skip_blank => {}
                    Ok(Step::Record) => {
                        break Some(fields.iter().map(|f| text(f, block, self.dialect.quote)).collect());
                    }
                    Ok(Step::More) => break None,
                    Err(e) => {
                        let line = line + line_ends(&block.as_bytes()[..e.at]);
                        return Err(error::at_line(
                            &self.file,
                            line,
                            &format!("field {}: {}", e.field, e.what),
                        ));
                    }
                }
            };
            let used = if take || found.is_none() { scan.used() } else { before };
            self.blocks.consume(used);
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    fn skip_line(&mut self) -> Result<()> {
        loop {
            let (length, ended) = match self.blocks.next() {
                Ok(Some((block, _))) => match memchr::memchr(b'\n', block.as_bytes()) {
                    Some(at) => (at + 1, true),
                    None => (block.len(), false),
                },
                Ok(None) => return Ok(()),
                Err(e) => return Err(self.fault(e)),
            };
            self.blocks.consume(length);
            if ended {
                return Ok(());
            }
        }
    }

    fn fault(&self, fault: BlockError) -> Error {
        block_fault(&self.file, self.blocks.line, fault)
    }
}

/// The kit's error for a block of `file` that could not be had; `line` is where it begins.
pub(crate) fn block_fault(file: &str, line: u64, fault: BlockError) -> Error {
    match fault {
        BlockError::Io(e) => error::reading(file, Some(line), e),
        BlockError::TooLong => error::at_line(
            file,
            line,
            "the record that begins here is longer than max_record_mib allows; a quote or bracket may not be closed, else raise it",
        ),
        BlockError::Encoding { line, byte } => error::at_line(
            file,
            line,
            &format!(
                "byte {byte} of the text is not valid UTF-8; set encoding in reader_options, for example to latin-1 or windows-1252"
            ),
        ),
    }
}

fn is_blank(fields: &[Field]) -> bool {
    matches!(fields, [only] if only.is_empty() && !only.quoted)
}

/// A field's value.
pub(crate) fn text(field: &Field, block: &str, quote: Option<u8>) -> String {
    let text = field.of(block);
    match quote {
        Some(quote) if field.doubled => {
            let quote = char::from(quote);
            text.replace(&format!("{quote}{quote}"), &quote.to_string())
        }
        _ => text.to_owned(),
    }
}

/// Gives columns without a name, or with one that was there before, a name as pandas does:
/// `Unnamed: 2`, `price.1`. Said aloud, because a table's columns depend on it.
fn make_unique(names: &mut [String]) {
    for i in 0..names.len() {
        let wanted = if names[i].is_empty() { format!("Unnamed: {i}") } else { names[i].clone() };
        let mut name = wanted.clone();
        let mut n = 0;
        while names[..i].contains(&name) || (n > 0 && names[i..].contains(&name)) {
            n += 1;
            name = format!("{wanted}.{n}");
        }
        if name != names[i] {
            tracing::warn!(
                "Column {} of the header is called {:?}, which is empty or taken; its rows arrive as {name:?}.",
                i + 1,
                names[i]
            );
            names[i] = name;
        }
    }
}

fn used(file: &str, names: &[String], wanted: Option<&[ColumnRef]>) -> Result<Vec<usize>> {
    let Some(wanted) = wanted else { return Ok((0..names.len()).collect()) };
    let mut used = Vec::with_capacity(wanted.len());
    for column in wanted {
        let at = match column {
            ColumnRef::Name(name) => names.iter().position(|n| n == name),
            ColumnRef::Position(at) => (*at < names.len()).then_some(*at),
        };
        match at {
            Some(at) => used.push(at),
            None => {
                let what = match column {
                    ColumnRef::Name(name) => format!("{name:?}"),
                    ColumnRef::Position(at) => format!("at position {at}"),
                };
                return Err(Error::config(format!(
                    "The file {file} has no column {what}, which usecols in reader_options asks for."
                )));
            }
        }
    }
    used.sort_unstable();
    used.dedup();
    Ok(used)
}
