//! zip archives: the list of members at the end, and each member's content, checked against what the list says.
//!
//! Members are read one after the other and nothing is ever written: a name is only a name.

use std::io::{self, BufRead, Read};

use crate::compression::RATIO_FREE_BYTES;
use crate::error::bad_content;
use crate::options::Options;

/// The end of an archive: its last record, with the longest comment, and what stands before it in large ones.
pub const TAIL_BYTES: u64 = 22 + 65_535 + 20 + 56;
const LOCAL_BYTES: u64 = 30;

/// Where the list of members is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Its first byte.
    pub start: u64,
    /// The byte after its last.
    pub end: u64,
    members: u64,
    /// What somebody put before the archive, such as a program that unpacks it.
    shift: u64,
}

/// A file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// As the list says it.
    pub name: String,
    /// Its first byte, where its own head is.
    pub start: u64,
    /// Bytes in the archive, without its head.
    pub packed: u64,
    /// Bytes once it is unpacked.
    pub size: u64,
    method: u16,
    encrypted: bool,
    crc: u32,
}

fn damaged(what: &str) -> io::Error {
    bad_content(format!("it is not a whole zip archive ({what}); fetch or write it again"))
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let field: [u8; N] = bytes.get(at..at + N)?.try_into().ok()?;
    Some(field.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
}

impl Directory {
    /// Finds it. `tail` is the last [`TAIL_BYTES`] of an archive of `size` bytes, or all of it.
    ///
    /// # Errors
    /// When it is no archive, or one that continues in other files.
    pub fn find(tail: &[u8], size: u64) -> io::Result<Self> {
        let last = tail.len().checked_sub(22).ok_or_else(|| damaged("it is too short"))?;
        let fits = |at: &usize| {
            tail[*at..].starts_with(b"PK\x05\x06")
                && number::<2>(tail, at + 20).is_some_and(|comment| at + 22 + comment as usize == tail.len())
        };
        let at = (0..=last).rev().find(fits).ok_or_else(|| damaged("its end is missing"))?;
        let field = |at| number::<4>(tail, at).unwrap_or(0);
        let (mut members, mut bytes, mut start) =
            (number::<2>(tail, at + 10).unwrap_or(0), field(at + 12), field(at + 16));
        let mut end = at;
        // Large archives say it in another record before.
        let locator = at.checked_sub(20).filter(|at| tail[*at..].starts_with(b"PK\x06\x07"));
        if let Some(locator) = locator {
            let wide = number::<8>(tail, locator + 8)
                .and_then(|offset| offset.checked_sub(size - tail.len() as u64))
                .and_then(|at| usize::try_from(at).ok())
                .filter(|at| tail.get(*at..).is_some_and(|t| t.starts_with(b"PK\x06\x06")))
                .ok_or_else(|| damaged("the record of its size is missing"))?;
            let field = |at| number::<8>(tail, at).unwrap_or(0);
            (members, bytes, start) = (field(wide + 32), field(wide + 40), field(wide + 48));
            end = wide;
        }
        let end = size - tail.len() as u64 + end as u64;
        let real = end.checked_sub(bytes).ok_or_else(|| damaged("its list is longer than it is"))?;
        let shift = real.checked_sub(start).ok_or_else(|| damaged("its list is not where it says"))?;
        Ok(Self { start: real, end, members, shift })
    }

    /// Calls `f` with each member that holds something until it returns `false`. `list` gives the bytes from
    /// `start` to `end`.
    ///
    /// # Errors
    /// When the list is damaged, or claims more than the archive can hold.
    pub fn each<E: From<io::Error>>(
        &self,
        mut list: impl BufRead,
        mut f: impl FnMut(Member) -> Result<bool, E>,
    ) -> Result<(), E> {
        let mut packed = 0_u64;
        for _ in 0..self.members {
            let member = self.member(&mut list)?;
            // Members that share their bytes are how a small archive becomes a large bomb.
            packed = packed.saturating_add(member.packed + LOCAL_BYTES);
            if packed > self.start {
                return Err(bad_content(
                    "its members claim more bytes than it has, as a decompression bomb does; write it again",
                )
                .into());
            }
            let is_folder = member.name.ends_with('/');
            if !is_folder && member.size > 0 && !f(member)? {
                break;
            }
        }
        Ok(())
    }

    fn member(&self, list: &mut impl BufRead) -> io::Result<Member> {
        let short = |e: io::Error| {
            if e.kind() == io::ErrorKind::UnexpectedEof { damaged("its list ends too early") } else { e }
        };
        let mut head = [0; 46];
        list.read_exact(&mut head).map_err(short)?;
        if !head.starts_with(b"PK\x01\x02") {
            return Err(damaged("its list is damaged"));
        }
        let two = |at| number::<2>(&head, at).unwrap_or(0);
        let four = |at| number::<4>(&head, at).unwrap_or(0);
        let (name_bytes, extra_bytes, comment) = (two(28), two(30), two(32));
        let mut rest = vec![0; (name_bytes + extra_bytes + comment) as usize];
        list.read_exact(&mut rest).map_err(short)?;
        let (name, rest) = rest.split_at(name_bytes as usize);
        let (mut size, mut packed, mut offset) = (four(24), four(20), four(42));
        // Numbers that four bytes do not hold stand in an extra field, in this order.
        let mut wide = wide_numbers(&rest[..extra_bytes as usize]);
        for n in [&mut size, &mut packed, &mut offset] {
            if *n == u64::from(u32::MAX) {
                *n = wide.next().ok_or_else(|| damaged("a size in its list is missing"))?;
            }
        }
        let start = offset.checked_add(self.shift).filter(|start| *start < self.start);
        Ok(Member {
            name: String::from_utf8_lossy(name).into_owned(),
            start: start.ok_or_else(|| damaged("a member is not where its list says"))?,
            packed,
            size,
            method: two(10) as u16,
            encrypted: two(8) & 1 != 0,
            crc: four(16) as u32,
        })
    }
}

fn wide_numbers(mut extra: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let mut found: &[u8] = &[];
    while let (Some(id), Some(length)) = (number::<2>(extra, 0), number::<2>(extra, 2)) {
        let Some(field) = extra.get(4..4 + length as usize) else { break };
        if id == 1 {
            found = field;
        }
        extra = &extra[4 + length as usize..];
    }
    found.chunks_exact(8).filter_map(|n| number::<8>(n, 0))
}

impl Member {
    /// The byte after all that may be its own, its head included: the head's length is only known there.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start.saturating_add(LOCAL_BYTES + 2 * 65_535).saturating_add(self.packed)
    }

    /// Its content. `input` begins with its head.
    ///
    /// # Errors
    /// When it is packed in a way that is not supported, or the head is not there.
    pub fn open<R: Read + 'static>(&self, mut input: R, options: &Options) -> io::Result<Box<dyn Read>> {
        if self.encrypted {
            return Err(bad_content(format!(
                "its member {} is encrypted, which is not supported; write it without a password",
                self.name
            )));
        }
        let free = self.packed.saturating_mul(options.max_ratio.into()).saturating_add(RATIO_FREE_BYTES);
        if self.size > free {
            return Err(bad_content(format!(
                "its member {} decompresses to more than {} times its size, as a decompression bomb does; if it is genuine, raise {}",
                self.name, options.max_ratio, options.keys.max_ratio
            )));
        }
        let mut head = [0; LOCAL_BYTES as usize];
        input.read_exact(&mut head)?;
        if !head.starts_with(b"PK\x03\x04") {
            return Err(damaged("a member is not where its list says"));
        }
        let skipped = number::<2>(&head, 26).unwrap_or(0) + number::<2>(&head, 28).unwrap_or(0);
        io::copy(&mut input.by_ref().take(skipped), &mut io::sink())?;
        let packed = input.take(self.packed);
        let content: Box<dyn Read> = match self.method {
            0 => Box::new(packed),
            8 => Box::new(flate2::read::DeflateDecoder::new(packed)),
            other => {
                return Err(bad_content(format!(
                    "its member {} is compressed by method {other}, which is not supported; write it with deflate",
                    self.name
                )));
            }
        };
        Ok(Box::new(Checked { content, left: self.size, crc: self.crc, seen: crc32fast::Hasher::new() }))
    }
}

/// Passes a member's content on as long as it is what the list says.
struct Checked {
    content: Box<dyn Read>,
    left: u64,
    crc: u32,
    seen: crc32fast::Hasher,
}

impl Read for Checked {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let wrong = || damaged("a member is not what its list says");
        if buf.is_empty() {
            return Ok(0);
        }
        let n = match self.content.read(buf) {
            Err(e) if e.kind() == io::ErrorKind::InvalidInput || e.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(wrong());
            }
            other => other?,
        };
        self.seen.update(&buf[..n]);
        self.left = self.left.checked_sub(n as u64).ok_or_else(wrong)?;
        if n == 0 && (self.left > 0 || self.seen.clone().finalize() != self.crc) {
            return Err(wrong());
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::{Directory, Member};
    use std::io;

    /// An archive of one stored member, with something before it.
    fn archive(before: usize) -> Vec<u8> {
        let mut bytes = vec![b'#'; before];
        let crc = crc32fast::hash(b"a\n1\n").to_le_bytes();
        let sizes = [4_u32.to_le_bytes(), 4_u32.to_le_bytes()].concat();
        let local =
            [b"PK\x03\x04", &[20, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &crc, &sizes, &[5, 0, 0, 0], b"a.csv"];
        bytes.extend(local.concat());
        bytes.extend(b"a\n1\n");
        let start = (bytes.len() - before) as u32;
        let fixed = [20, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let list = [b"PK\x01\x02", &fixed[..], &crc, &sizes, &[5, 0], &[0; 16], b"a.csv"].concat();
        bytes.extend(&list);
        bytes.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
        bytes.extend((list.len() as u32).to_le_bytes());
        bytes.extend(start.to_le_bytes());
        bytes.extend([0, 0]);
        bytes
    }

    fn members(bytes: &[u8]) -> io::Result<Vec<Member>> {
        let directory = Directory::find(bytes, bytes.len() as u64)?;
        let mut members = Vec::new();
        let list = &bytes[directory.start as usize..directory.end as usize];
        directory.each::<io::Error>(list, |member| {
            members.push(member);
            Ok(true)
        })?;
        Ok(members)
    }

    #[test]
    fn members_are_found_whatever_stands_before_the_archive() {
        for before in [0, 1_000] {
            let members = members(&archive(before)).unwrap();
            assert_eq!(members.len(), 1);
            assert_eq!(
                (members[0].name.as_str(), members[0].start, members[0].size),
                ("a.csv", before as u64, 4)
            );
        }
    }

    #[test]
    fn s3_14_no_change_of_a_byte_makes_a_panic() {
        let whole = archive(3);
        for at in 0..whole.len() {
            for value in [0, 0x7F, 0xFF] {
                let mut changed = whole.clone();
                changed[at] = value;
                if let Ok(members) = members(&changed) {
                    assert!(members.len() <= 1, "{at}");
                }
            }
            assert!(members(&whole[..at]).is_err(), "cut at {at}");
        }
    }
}
