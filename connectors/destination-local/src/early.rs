//! A file that goes to the disk while it is written.

use std::fs::File;
use std::io::{self, Write};

use rustix::fs::{Advice, fadvise};

/// How much is written before the kernel is told to begin with it.
const STEP: u64 = 4 << 20;

/// A new file. Its bytes begin their way to the disk as they come, so that making them durable at the end does not wait for
/// all of them: the disk works while rows are read and encoded.
#[derive(Debug)]
pub(crate) struct EarlyFile {
    file: File,
    /// Bytes written, and how many of them the kernel was told of.
    written: u64,
    told: u64,
}

impl EarlyFile {
    /// A file that holds nothing yet.
    pub(crate) fn new(file: File) -> Self {
        Self { file, written: 0, told: 0 }
    }

    pub(crate) fn into_inner(self) -> File {
        self.file
    }
}

impl Write for EarlyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.file.write(bytes)?;
        self.written += taken as u64;
        let length = self.written - self.told;
        if length >= STEP {
            // Linux answers this advice by beginning to write, without waiting. It is only advice: syncing is what counts.
            let _ = fadvise(&self.file, self.told, std::num::NonZero::new(length), Advice::DontNeed);
            self.told = self.written;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::{EarlyFile, STEP};
    use std::io::{Read, Seek, Write};

    #[test]
    fn every_byte_is_there_whatever_the_kernel_was_told() {
        let mut file = EarlyFile::new(tempfile::tempfile().unwrap());
        let bytes: Vec<u8> = (0..STEP as usize * 5 / 2).map(|i| (i / 7) as u8).collect();
        for piece in bytes.chunks(100_000) {
            file.write_all(piece).unwrap();
        }
        assert!(file.told >= 2 * STEP && file.told <= file.written);
        let mut inner = file.into_inner();
        let mut back = Vec::new();
        inner.rewind().unwrap();
        inner.read_to_end(&mut back).unwrap();
        assert!(back == bytes);
    }
}
