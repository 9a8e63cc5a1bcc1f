//! A row of a query's result, as text.

use connector_kit::{Error, Result};

/// A row of a query's result. Columns count from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    text: Box<str>,
    /// Where each value lies in `text`; `None` is NULL.
    values: Box<[Option<(u32, u32)>]>,
}

impl Row {
    /// Reads the body of a `DataRow`; says what is wrong with it.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, &'static str> {
        let (count, mut rest) = body.split_first_chunk::<2>().ok_or("a row without a column count")?;
        let count = usize::from(u16::from_be_bytes(*count));
        // Every value takes four bytes at least, so the count cannot promise more than is here.
        if rest.len() < count * 4 {
            return Err("a row shorter than its column count");
        }
        let mut text = String::with_capacity(rest.len() - count * 4);
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            let (length, tail) = rest.split_first_chunk::<4>().ok_or("a row that ends early")?;
            let length = i32::from_be_bytes(*length);
            rest = tail;
            if length == -1 {
                values.push(None);
                continue;
            }
            let length = usize::try_from(length).map_err(|_| "a value of negative length")?;
            let (value, tail) = rest.split_at_checked(length).ok_or("a value longer than its row")?;
            rest = tail;
            let start = text.len();
            text.push_str(std::str::from_utf8(value).map_err(|_| "a value that is not UTF-8")?);
            let place = |n: usize| u32::try_from(n).map_err(|_| "a row beyond 4 GiB");
            values.push(Some((place(start)?, place(text.len())?)));
        }
        if !rest.is_empty() {
            return Err("a row longer than its columns");
        }
        Ok(Self { text: text.into(), values: values.into() })
    }

    /// What it takes in memory.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.text.len() + size_of_val(&*self.values)
    }

    /// How many columns there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no column.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value as text; `None` when it is NULL, or there is no such column.
    #[must_use]
    pub fn get(&self, column: usize) -> Option<&str> {
        let (start, end) = (*self.values.get(column)?)?;
        self.text.get(start as usize..end as usize)
    }

    /// The value as text, which must not be NULL.
    pub fn text(&self, column: usize) -> Result<&str> {
        self.get(column).ok_or_else(|| unexpected(column, "a text"))
    }

    /// The value as an integer.
    pub fn int(&self, column: usize) -> Result<i64> {
        self.text(column)?.parse().map_err(|e| unexpected(column, "an integer").with_source(e))
    }

    /// The value as a boolean.
    pub fn flag(&self, column: usize) -> Result<bool> {
        match self.text(column)? {
            "t" => Ok(true),
            "f" => Ok(false),
            _ => Err(unexpected(column, "a boolean")),
        }
    }
}

fn unexpected(column: usize, what: &str) -> Error {
    Error::system(format!(
        "The server answered a query of ours without {what} in column {}; check that it is PostgreSQL, and report it.",
        column + 1
    ))
}

#[cfg(test)]
mod tests {
    use super::Row;
    use proptest::prelude::{any, prop, proptest};

    fn body(values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut body = (values.len() as u16).to_be_bytes().to_vec();
        for value in values {
            match value {
                None => body.extend((-1_i32).to_be_bytes()),
                Some(value) => {
                    body.extend((value.len() as i32).to_be_bytes());
                    body.extend(*value);
                }
            }
        }
        body
    }

    #[test]
    fn hands_out_values_by_their_type() {
        let row =
            Row::parse(&body(&[Some(b"-7"), None, Some(b"t"), Some("ü".as_bytes()), Some(b"")])).unwrap();
        assert_eq!(row.len(), 5);
        assert_eq!((row.int(0).unwrap(), row.get(1), row.flag(2).unwrap()), (-7, None, true));
        assert_eq!((row.get(3), row.get(4), row.get(5)), (Some("ü"), Some(""), None));
        for error in [row.int(1).unwrap_err(), row.int(3).unwrap_err(), row.flag(0).unwrap_err()] {
            assert!(error.message().contains("column"), "{error}");
        }
    }

    #[test]
    fn refuses_rows_that_lie() {
        let good = body(&[Some(b"ab"), None]);
        for cut in 0..good.len() {
            assert!(Row::parse(&good[..cut]).is_err(), "{cut}");
        }
        assert!(Row::parse(&[good.as_slice(), b"x"].concat()).is_err());
        assert!(Row::parse(&body(&[Some(b"\xff")])).unwrap_err().contains("UTF-8"));
        assert!(Row::parse(&[0, 1, 0x80, 0, 0, 0]).unwrap_err().contains("negative"));
        assert!(Row::parse(&[0xff, 0xff]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Row::parse(&bytes);
        }
    }
}
