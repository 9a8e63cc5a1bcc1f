//! Finds the rows that lose to a later row of the same key, in bounded memory: the keys of
//! all files are spread over partitions small enough to sort.
//!
//! Later is: the greater cursor (null least), then the greater `emitted_at`, then the later
//! position. When the last row of a key says that the source deleted it, it goes too. A row
//! whose key holds a null equals no other and stays.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use connector_kit::{Error, Result};

use crate::dir::Dir;
use crate::error::io_error;
use crate::keys::{Key, KeyReader, KeyWriter};
use crate::manifest::TEMP;
use crate::rewrite::gone;

/// Keys sorted at once, with their cursors, about.
pub(crate) const PARTITION_BYTES: u64 = 16 << 20;
/// A key in memory, with a cursor of usual size.
const KEY_BYTES: u64 = 80;
/// Partitions written side by side; more are done in further rounds over the keys.
const PARTITIONS_AT_ONCE: u64 = 128;

/// The keys of one data file.
#[derive(Debug)]
pub(crate) struct KeyFile {
    pub(crate) dir: Dir,
    pub(crate) name: String,
    pub(crate) rows: u64,
    /// No other merged file holds one of its keys.
    pub(crate) merged: bool,
}

/// The rows of one file that must go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Losers {
    bits: Vec<u64>,
    count: u64,
}

impl Losers {
    fn add(&mut self, row: u64) {
        let word = (row / 64) as usize;
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        self.bits[word] |= 1 << (row % 64);
        self.count += 1;
    }

    pub(crate) fn has(&self, row: u64) -> bool {
        self.bits.get((row / 64) as usize).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

/// Which keys may be among the new ones; a merged file's other keys cannot lose.
struct Filter {
    bits: Vec<u64>,
}

impl Filter {
    fn new(keys: u64) -> Self {
        let words = (keys * 12).next_power_of_two().clamp(1 << 12, 1 << 27) / 64;
        Self { bits: vec![0; words as usize] }
    }

    fn places(&self, hash: u128) -> [(usize, u64); 3] {
        let mask = self.bits.len() as u64 * 64 - 1;
        [hash as u64, (hash >> 40) as u64, (hash >> 80) as u64].map(|h| {
            let bit = h.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16 & mask;
            ((bit / 64) as usize, 1 << (bit % 64))
        })
    }

    fn add(&mut self, hash: u128) {
        self.places(hash).into_iter().for_each(|(word, bit)| self.bits[word] |= bit);
    }

    fn has(&self, hash: u128) -> bool {
        self.places(hash).into_iter().all(|(word, bit)| self.bits[word] & bit != 0)
    }
}

/// Keys of one partition.
#[derive(Debug, Default)]
struct Partition {
    keys: Vec<Placed>,
    cursors: Vec<u8>,
}

#[derive(Debug)]
struct Placed {
    key: Key,
    file: u32,
    row: u64,
    cursor: (usize, usize),
}

impl Partition {
    fn add(&mut self, key: Key, cursor: &[u8], file: u32, row: u64) {
        let start = self.cursors.len();
        self.cursors.extend_from_slice(cursor);
        self.keys.push(Placed { key, file, row, cursor: (start, self.cursors.len()) });
    }

    fn resolve(&mut self, losers: &mut [Losers]) {
        let cursors = &self.cursors;
        let rank =
            |p: &Placed| (p.key.hash, &cursors[p.cursor.0..p.cursor.1], p.key.emitted_at, p.file, p.row);
        self.keys.sort_unstable_by(|a, b| rank(a).cmp(&rank(b)));
        for (index, placed) in self.keys.iter().enumerate() {
            let last = self.keys.get(index + 1).is_none_or(|next| next.key.hash != placed.key.hash);
            if !last || placed.key.is_deleted() {
                losers[placed.file as usize].add(placed.row);
            }
        }
        self.keys.clear();
        self.cursors.clear();
    }
}

/// The losers of each file, in the order of the files, which is the order of positions.
/// Large sets are spread over hidden files in `scratch`, which are gone afterwards.
pub(crate) fn losers(files: &[KeyFile], scratch: &Dir, partition_bytes: u64) -> Result<Vec<Losers>> {
    let mut losers = vec![Losers::default(); files.len()];
    let rows = |merged: bool| files.iter().filter(|f| f.merged == merged).map(|f| f.rows).sum::<u64>();
    let (new, old) = (rows(false), rows(true));
    if new == 0 {
        return Ok(losers);
    }
    let filter = if old > 0 {
        let mut filter = Filter::new(new);
        each_key(files.iter().filter(|f| !f.merged), |_, _, key, _| {
            filter.add(key.hash);
            Ok(())
        })?;
        Some(filter)
    } else {
        None
    };
    let wanted = |file: &KeyFile, key: &Key| {
        !key.is_null() && (!file.merged || filter.as_ref().is_none_or(|f| f.has(key.hash)))
    };
    let expected = new + old.min(new * 2);
    let partitions = (expected * KEY_BYTES).div_ceil(partition_bytes.max(1));
    let mut partition = Partition::default();
    if partitions <= 1 {
        each_key(files.iter(), |file, (index, row), key, cursor| {
            if wanted(&files[file], &key) {
                partition.add(key, cursor, index, row);
            }
            Ok(())
        })?;
        partition.resolve(&mut losers);
        return Ok(losers);
    }
    let of = |hash: u128| (hash >> 64) as u64 % partitions;
    let mut round = 0;
    while round < partitions {
        let range = round..partitions.min(round + PARTITIONS_AT_ONCE);
        let mut spill = Spill::new(scratch, range.clone())?;
        each_key(files.iter(), |file, place, key, cursor| {
            let to = of(key.hash);
            if range.contains(&to) && wanted(&files[file], &key) {
                spill.write((to - range.start) as usize, place, key, cursor)
            } else {
                Ok(())
            }
        })?;
        spill.read_back(|partition| partition.resolve(&mut losers)).map_err(|e| spill_error(scratch, e))?;
        round = range.end;
    }
    Ok(losers)
}

fn spill_error(scratch: &Dir, error: io::Error) -> Error {
    io_error("sort keys in", scratch.path(), error)
}

/// Goes over all keys: the file's index in the iteration, its place, the key, its cursor.
fn each_key<'a>(
    files: impl Iterator<Item = &'a KeyFile>,
    mut take: impl FnMut(usize, (u32, u64), Key, &[u8]) -> io::Result<()>,
) -> Result<()> {
    let mut cursor = Vec::new();
    for (index, keys) in files.enumerate() {
        let path = keys.dir.join(&keys.name);
        let Some(file) = keys.dir.open(&keys.name)? else { return Err(gone(&keys.dir, &keys.name)) };
        let read = || -> io::Result<()> {
            let mut reader = KeyReader::new(file)?;
            for row in 0..keys.rows {
                let key = reader.read(&mut cursor)?;
                take(index, (index as u32, row), key, &cursor)?;
            }
            if reader.at_end()? { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
        };
        read().map_err(|e| io_error("sort the keys of", &path, e))?;
    }
    Ok(())
}

/// Partitions on disk. Their files lose their names at once, so a crash leaves nothing.
struct Spill {
    files: Vec<(File, KeyWriter, BufWriter<File>, u64)>,
}

impl Spill {
    fn new(scratch: &Dir, range: std::ops::Range<u64>) -> Result<Self> {
        let nameless = || {
            let name = format!("{TEMP}partition");
            scratch.remove(&name)?;
            let file = scratch.create(&name)?;
            scratch.remove(&name).map(|()| file)
        };
        let mut files = Vec::new();
        for _ in range {
            let (keys, places) = (nameless()?, nameless()?);
            let opened =
                keys.try_clone().and_then(|handle| Ok((handle, KeyWriter::with_capacity(keys, 8 << 10)?)));
            let (handle, writer) = opened.map_err(|e| spill_error(scratch, e))?;
            files.push((handle, writer, BufWriter::with_capacity(4 << 10, places), 0));
        }
        Ok(Self { files })
    }

    fn write(&mut self, to: usize, place: (u32, u64), key: Key, cursor: &[u8]) -> io::Result<()> {
        let (_, keys, places, count) = &mut self.files[to];
        *count += 1;
        keys.write(key, cursor)?;
        places.write_all(&place.0.to_le_bytes())?;
        places.write_all(&place.1.to_le_bytes())
    }

    fn read_back(self, mut take: impl FnMut(&mut Partition)) -> io::Result<()> {
        let mut partition = Partition::default();
        let mut cursor = Vec::new();
        for (mut keys, writer, places, count) in self.files {
            writer.end()?;
            let mut places = places.into_inner().map_err(io::IntoInnerError::into_error)?;
            keys.rewind()?;
            places.rewind()?;
            let (mut keys, mut places) = (KeyReader::new(keys)?, BufReader::new(places));
            for _ in 0..count {
                let key = keys.read(&mut cursor)?;
                let mut place = [0; 12];
                places.read_exact(&mut place)?;
                let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |n, b| n << 8 | u64::from(*b));
                partition.add(key, &cursor, number(&place[..4]) as u32, number(&place[4..]));
            }
            take(&mut partition);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyFile, losers};
    use crate::dir::Dir;
    use crate::keys::{Key, KeyWriter};
    use std::collections::HashMap;

    type Row = (u64, Vec<u8>, i64, u8);

    fn key_file(dir: &Dir, name: String, rows: &[Row], merged: bool) -> KeyFile {
        let mut writer = KeyWriter::new(dir.create(&name).unwrap()).unwrap();
        for (id, cursor, emitted_at, flags) in rows {
            let hash = xxhash_rust::xxh3::xxh3_128(&id.to_le_bytes());
            writer.write(Key::new(hash, *emitted_at, *flags), cursor).unwrap();
        }
        writer.close().unwrap();
        KeyFile { dir: dir.clone(), name, rows: rows.len() as u64, merged }
    }

    /// What stays, found the plain way.
    fn expected(files: &[(Vec<Row>, bool)]) -> Vec<Vec<bool>> {
        let mut best: HashMap<u64, (&[u8], i64, usize, usize)> = HashMap::new();
        for (f, (rows, _)) in files.iter().enumerate() {
            for (r, row) in rows.iter().enumerate().filter(|(_, row)| row.3 & 2 == 0) {
                let rank = (row.1.as_slice(), row.2, f, r);
                best.entry(row.0).and_modify(|b| *b = (*b).max(rank)).or_insert(rank);
            }
        }
        let stays = |f: usize, r: usize, row: &Row| {
            row.3 & 2 != 0 || row.3 & 1 == 0 && best[&row.0] == (row.1.as_slice(), row.2, f, r)
        };
        files
            .iter()
            .enumerate()
            .map(|(f, (rows, _))| rows.iter().enumerate().map(|(r, row)| stays(f, r, row)).collect())
            .collect()
    }

    fn check(files: &[(Vec<Row>, bool)], partition_bytes: u64) {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Dir::root(dir.path()).unwrap();
        let key_files: Vec<_> = files
            .iter()
            .enumerate()
            .map(|(i, (rows, merged))| key_file(&scratch, i.to_string(), rows, *merged))
            .collect();
        let found = losers(&key_files, &scratch, partition_bytes).unwrap();
        for (f, row_stays) in expected(files).iter().enumerate() {
            let got: Vec<bool> = (0..row_stays.len() as u64).map(|r| !found[f].has(r)).collect();
            assert_eq!(&got, row_stays, "file {f}");
            assert_eq!(found[f].count(), row_stays.iter().filter(|s| !**s).count() as u64);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), files.len(), "no scratch file stays");
    }

    #[test]
    fn the_latest_row_of_each_key_stays() {
        let row = |id, cursor: &str, emitted| (id, cursor.as_bytes().to_vec(), emitted, 0);
        check(
            &[(
                vec![
                    row(1, "a", 9),
                    row(2, "b", 1),
                    row(1, "b", 1),
                    row(2, "b", 2),
                    row(3, "", 1),
                    row(3, "", 1),
                ],
                false,
            )],
            1 << 20,
        );
    }

    #[test]
    fn deleted_keys_go_and_null_keys_stay() {
        let row = |id, cursor: &str, flags| (id, cursor.as_bytes().to_vec(), 0, flags);
        check(
            &[(
                vec![
                    row(1, "a", 0),
                    row(1, "b", 1),
                    row(2, "a", 1),
                    row(2, "b", 0),
                    row(3, "a", 2),
                    row(3, "b", 2),
                ],
                false,
            )],
            1 << 20,
        );
    }

    #[test]
    fn many_partitions_and_rounds_agree_with_the_plain_way() {
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut rows = |count: u64, keys: u64| -> Vec<Row> {
            (0..count)
                .map(|_| {
                    (
                        random(keys),
                        vec![random(5) as u8; random(3) as usize],
                        random(3) as i64,
                        u8::from(random(20) == 0),
                    )
                })
                .collect()
        };
        // Merged files share no key among themselves, and hold nothing deleted.
        let merged: Vec<Row> = (0..6_000).map(|id| (id, vec![2], 1, 0)).collect();
        let files = vec![(merged, true), (rows(5_000, 3_000), false), (rows(3_000, 9_000), false)];
        for partition_bytes in [1 << 30, 200_000, 2_000] {
            check(&files, partition_bytes);
        }
    }
}
