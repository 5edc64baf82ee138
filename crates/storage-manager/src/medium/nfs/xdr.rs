//! External data representation: how RPC programs write numbers and byte strings.
//!
//! Source: RFC 4506.

/// Why bytes of a server are not what the protocol says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is malformed: {0}")]
pub struct Malformed(pub &'static str);

/// Bytes that are being written.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

/// Bytes that are being read.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// Zeros that follow `length` bytes so that the next item lies at a multiple of four.
pub fn padding(length: usize) -> usize {
    length.next_multiple_of(4) - length
}

impl Writer {
    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// An unsigned number of 32 bits.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// An unsigned number of 64 bits.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// A truth value.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.u32(u32::from(value))
    }

    /// Bytes whose number both sides know.
    pub fn fixed(&mut self, value: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(value);
        let padded = self.bytes.len() + padding(value.len());
        self.bytes.resize(padded, 0);
        self
    }

    /// Bytes with their number before them.
    ///
    /// # Panics
    /// When there are more than 32 bits can count; callers' strings are bounded.
    pub fn opaque(&mut self, value: &[u8]) -> &mut Self {
        let length = u32::try_from(value.len()).expect("strings are bounded by their callers");
        self.u32(length).fixed(value)
    }

    /// What another writer wrote.
    pub fn append(&mut self, other: &Writer) -> &mut Self {
        self.bytes.extend_from_slice(&other.bytes);
        self
    }

    /// Puts a number where one was written before.
    pub fn patch_u32(&mut self, position: usize, value: u32) {
        if let Some(place) = self.bytes.get_mut(position..position + 4) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }
}

impl<'a> Reader<'a> {
    /// Reads these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(Malformed("it is too short"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// An unsigned number of 32 bits.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// An unsigned number of 64 bits.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        let (high, low) = (self.u32()?, self.u32()?);
        Ok(u64::from(high) << 32 | u64::from(low))
    }

    /// A truth value.
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a truth value is neither 0 nor 1")),
        }
    }

    /// Bytes whose number both sides know.
    pub fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], Malformed> {
        let bytes = self.take(LENGTH)?;
        self.take(padding(LENGTH))?;
        let mut array = [0; LENGTH];
        array.copy_from_slice(bytes);
        Ok(array)
    }

    /// Bytes with their number before them, which must be at most `limit`.
    pub fn opaque(&mut self, limit: usize) -> Result<&'a [u8], Malformed> {
        let length = self.u32()? as usize;
        if length > limit {
            return Err(Malformed("a byte string is longer than it may be"));
        }
        let bytes = self.take(length)?;
        self.take(padding(length))?;
        Ok(bytes)
    }

    /// Text, of which bytes that are not UTF-8 are replaced.
    pub fn text(&mut self, limit: usize) -> Result<String, Malformed> {
        Ok(String::from_utf8_lossy(self.opaque(limit)?).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let mut writer = Writer::default();
        writer
            .u32(7)
            .u64(1 << 40)
            .bool(true)
            .opaque(b"abcde")
            .fixed(&[9; 8]);
        let bytes = writer.into_bytes();
        assert_eq!(bytes.len() % 4, 0);
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u32(), Ok(7));
        assert_eq!(reader.u64(), Ok(1 << 40));
        assert_eq!(reader.bool(), Ok(true));
        assert_eq!(reader.opaque(5), Ok(&b"abcde"[..]));
        assert_eq!(reader.array(), Ok([9; 8]));
        assert!(reader.u32().is_err());
    }

    #[test]
    fn refuses_what_is_too_long_or_too_short() {
        let mut writer = Writer::default();
        writer.opaque(b"abcdef");
        let bytes = writer.into_bytes();
        assert!(Reader::new(&bytes).opaque(5).is_err());
        for length in 0..bytes.len() {
            assert!(Reader::new(&bytes[..length]).opaque(64).is_err());
        }
        assert!(Reader::new(&[0, 0, 0, 2]).bool().is_err());
        assert!(Reader::new(&[0xff; 4]).opaque(usize::MAX).is_err());
    }
}
