//! Bytes that come one after the other, and where they are.

use std::io::{self, Read};

use crate::error::{Error, Result};

/// How much is thrown away at a time.
const SKIP_BYTES: usize = 64 * 1024;

/// A source of bytes that counts them.
#[derive(Debug)]
pub struct Input<R> {
    reader: R,
    position: u64,
}

impl<R: Read> Input<R> {
    pub fn new(reader: R) -> Self {
        Input {
            reader,
            position: 0,
        }
    }

    /// Bytes that were taken.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Fills the buffer.
    ///
    /// # Errors
    /// `Io`, of kind `UnexpectedEof` when the source ends.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        let (offset, length) = (self.position, buffer.len() as u64);
        self.reader.read_exact(buffer).map_err(|source| Error::Io {
            action: "read from the stream",
            offset,
            length,
            source,
        })?;
        self.position += length;
        Ok(())
    }

    /// Takes exactly `N` bytes.
    pub fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Throws bytes away up to an offset, which lies ahead.
    pub fn skip_to(&mut self, offset: u64) -> Result<()> {
        if offset == self.position {
            return Ok(());
        }
        let mut thrown = vec![0; (offset - self.position).min(SKIP_BYTES as u64) as usize];
        while self.position < offset {
            let step = (offset - self.position).min(thrown.len() as u64) as usize;
            self.fill(&mut thrown[..step])?;
        }
        Ok(())
    }

    /// Takes `N` bytes, or `None` when the source ends before the first.
    pub fn take_or_end<const N: usize>(&mut self) -> Result<Option<[u8; N]>> {
        let mut bytes = [0; N];
        let first = loop {
            match self.reader.read(&mut bytes[..1]) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(Error::Io {
                        action: "read from the stream",
                        offset: self.position,
                        length: N as u64,
                        source,
                    });
                }
            }
        };
        if first == 0 {
            return Ok(None);
        }
        self.position += 1;
        self.fill(&mut bytes[1..])?;
        Ok(Some(bytes))
    }
}
