//! A CSV file as a table: which line is the header, what the columns are called, and one
//! record after the other with its line number. Types are not known here.

use connector_kit::{Error, Result, tracing};

use crate::csv::{BlockError, Blocks, Dialect, Field, Scan, Step, line_ends};
use crate::error;
use crate::options::{ColumnRef, Header, Keys, Options};

/// A file whose header was read.
#[derive(Debug)]
pub struct Table {
    file: String,
    blocks: Blocks,
    pub(crate) dialect: Dialect,
    skip_blank: bool,
    keys: &'static Keys,
    /// Every column of the file, by its unique name.
    pub(crate) names: Vec<String>,
    /// Positions in `names` that `usecols` leaves.
    pub(crate) used: Vec<usize>,
}

/// One record of the table.
#[derive(Debug)]
pub struct Record<'a> {
    pub(crate) block: &'a str,
    pub(crate) fields: &'a [Field],
    start: usize,
    block_line: u64,
}

impl Record<'_> {
    /// The physical line on which it begins.
    pub fn line(&self) -> u64 {
        self.block_line + line_ends(&self.block.as_bytes()[..self.start])
    }
}

impl Table {
    /// `file` is the name for messages. `None` when the file is empty.
    pub fn open(file: &str, blocks: Blocks, options: &Options) -> Result<Option<Self>> {
        let mut table = Self {
            file: file.to_owned(),
            blocks,
            dialect: Dialect { delimiter: options.delimiter, quote: options.quote, escape: options.escape },
            skip_blank: options.skip_blank_lines,
            keys: options.keys,
            names: Vec::new(),
            used: Vec::new(),
        };
        for _ in 0..options.skip_lines {
            table.skip_line()?;
        }
        let above = match options.header {
            Header::Row(above) => above,
            Header::None(_) => 0,
        };
        for _ in 0..above {
            if table.first_record(true)?.is_none() {
                return Err(error::at_line(
                    file,
                    table.blocks.line,
                    &format!("the file ends before the header that {} names", options.keys.header),
                ));
            }
        }
        let Some(first) = table.first_record(matches!(options.header, Header::Row(_)))? else {
            return Ok(None);
        };
        table.names = match (&options.names, &options.header) {
            (Some(names), _) if names.len() != first.len() => {
                return Err(Error::config(format!(
                    "The file {file} has {} columns, but {} holds {}; name every column.",
                    first.len(),
                    options.keys.names,
                    names.len()
                )));
            }
            (Some(names), _) => names.clone(),
            (None, Header::None(prefix)) => (0..first.len()).map(|i| format!("{prefix}{i}")).collect(),
            (None, Header::Row(_)) => {
                if first.iter().any(|name| name.contains('\0')) {
                    return Err(error::at_line(
                        file,
                        1,
                        &format!(
                            "the header holds NUL bytes, so the text may be UTF-16; set {}",
                            options.keys.encoding
                        ),
                    ));
                }
                first
            }
        };
        if options.strict_header {
            refuse_doubtful(file, &table.names)?;
        }
        make_unique(&mut table.names);
        table.used = used(file, &table.names, options)?;
        for _ in 0..options.skip_records {
            if table.first_record(true)?.is_none() {
                break;
            }
        }
        Ok(Some(table))
    }

    /// Calls `f` with each record until it returns `false` or the file ends.
    pub fn each(&mut self, mut f: impl FnMut(&Record<'_>) -> Result<bool>) -> Result<()> {
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
                            &format!("field {}{name}: {}", e.field, e.fault.text(self.keys)),
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
                        break Some(
                            fields.iter().map(|f| self.dialect.text(f, block).into_owned()).collect(),
                        );
                    }
                    Ok(Step::More) => break None,
                    Err(e) => {
                        let line = line + line_ends(&block.as_bytes()[..e.at]);
                        return Err(error::at_line(
                            &self.file,
                            line,
                            &format!("field {}: {}", e.field, e.fault.text(self.keys)),
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
        block_fault(&self.file, self.blocks.line, fault, self.keys)
    }
}

/// The kit's error for a block of `file` that could not be had; `line` is where it begins.
pub(crate) fn block_fault(file: &str, line: u64, fault: BlockError, keys: &Keys) -> Error {
    match fault {
        BlockError::Io(e) => error::reading(file, Some(line), e),
        BlockError::TooLong => error::at_line(
            file,
            line,
            &format!(
                "the record that begins here is longer than {} allows; a quote or bracket may not be closed, else raise it",
                keys.max_record
            ),
        ),
        BlockError::Encoding { line, byte } => error::at_line(
            file,
            line,
            &format!(
                "byte {byte} of the text is not valid UTF-8; set {}, for example to latin-1 or windows-1252",
                keys.encoding
            ),
        ),
    }
}

fn is_blank(fields: &[Field]) -> bool {
    matches!(fields, [only] if only.is_empty() && !only.quoted)
}

/// Names that a table's columns cannot have, where columns are not renamed.
fn refuse_doubtful(file: &str, names: &[String]) -> Result<()> {
    for (i, name) in names.iter().enumerate() {
        if name.is_empty() || names[..i].contains(name) {
            return Err(error::at_line(
                file,
                1,
                &format!(
                    "column {} of the header is called {name:?}, which is empty or taken; give it a name of its own",
                    i + 1
                ),
            ));
        }
    }
    Ok(())
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

fn used(file: &str, names: &[String], options: &Options) -> Result<Vec<usize>> {
    let Some(wanted) = &options.columns else { return Ok((0..names.len()).collect()) };
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
                    "The file {file} has no column {what}, which {} asks for.",
                    options.keys.columns
                )));
            }
        }
    }
    used.sort_unstable();
    used.dedup();
    Ok(used)
}
