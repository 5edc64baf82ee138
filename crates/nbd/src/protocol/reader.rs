//! Reads big-endian fields out of a message whose length may be a lie.

use super::constants::MAX_STRING;
use crate::Error;

/// What is left of a message.
pub(crate) struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Reader { what, rest: bytes }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Error> {
        match self.rest.split_at_checked(count) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(Error::Length {
                what: self.what,
                found: self.rest.len() as u64,
                expected: count as u64,
            }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut out = [0; N];
        out.copy_from_slice(self.bytes(N)?);
        Ok(out)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A string of `length` bytes, at most [`MAX_STRING`].
    pub(crate) fn string(&mut self, length: usize) -> Result<String, Error> {
        if length > MAX_STRING {
            return Err(Error::Limit {
                what: "string length",
                found: length as u64,
                limit: MAX_STRING as u64,
            });
        }
        match std::str::from_utf8(self.bytes(length)?) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Error::NotUtf8 { what: self.what }),
        }
    }

    /// A string after its 32-bit length.
    pub(crate) fn counted_string(&mut self) -> Result<String, Error> {
        let length = self.u32()? as usize;
        self.string(length)
    }

    pub(crate) fn magic32(&mut self, expected: u32) -> Result<(), Error> {
        let found = self.u32()?;
        if found != expected {
            return Err(Error::Magic {
                what: self.what,
                found: found.into(),
                expected: expected.into(),
            });
        }
        Ok(())
    }

    pub(crate) fn magic64(&mut self, expected: u64) -> Result<(), Error> {
        let found = self.u64()?;
        if found != expected {
            return Err(Error::Magic {
                what: self.what,
                found,
                expected,
            });
        }
        Ok(())
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Refuses bytes after the message.
    pub(crate) fn end(self) -> Result<(), Error> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Error::Unexpected {
            what: "count of bytes after the message",
            found: self.rest.len() as u64,
        })
    }
}
