//! A log as bytes.

use uuid::Uuid;

use super::block_bitmap::{BlockBitmap, byte_count};

/// Length in bytes of what comes before the bitmap.
pub const HEADER_LENGTH: usize = 48;

/// Size of the largest VDI whose log is read: its bitmap has 32 MiB.
pub const MAX_TRACKED_SIZE: u64 = 16 << 40;

/// The value of the flag of a log that was closed cleanly.
const CONSISTENT: u32 = 1;

/// What stands in the padding of a log that is open here.
const OPEN_HERE: [u8; 4] = *b"xsm1";

/// What comes before the bitmap.
///
/// # Layout
/// Little-endian: 0 parent uuid, 16 child uuid, 32 flag (4 bytes), 36 padding (4 bytes, ours while it is open here), 40 size
/// of the VDI (8 bytes).
///
/// # Source
/// blktap's `cbt-util`, and the recorded logs of a real pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The VDI whose log ends where this one begins.
    pub parent: Option<Uuid>,
    /// The VDI whose log begins where this one ends.
    pub child: Option<Uuid>,
    /// False while the VDI may be written: bits may then be missing.
    pub consistent: bool,
    /// True while the VDI is open in a storage manager that keeps the rules by which such a log can be completed
    /// (`docs/formats/cbt.md`); XenServer's does not. Never together with `consistent`.
    pub open_here: bool,
    /// Size of the VDI in bytes.
    pub size: u64,
}

/// A log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeLog {
    /// What comes before the bitmap.
    pub header: Header,
    /// The blocks that have changed since the parent's log ended.
    pub blocks: BlockBitmap,
}

/// Why bytes are no log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// There are fewer bytes than the VDI's size needs.
    #[error("change-tracking log has {found} bytes and needs {expected}")]
    Short {
        /// Bytes that there are.
        found: u64,
        /// Bytes that are needed.
        expected: u64,
    },
    /// The VDI's size is absurd.
    #[error("change-tracking log is for a VDI of {found} bytes; at most {limit} are supported")]
    Size {
        /// The size in the log.
        found: u64,
        /// The largest that is taken.
        limit: u64,
    },
}

/// Length in bytes of the log of a VDI of `size` bytes.
pub fn log_length(size: u64) -> u64 {
    HEADER_LENGTH as u64 + byte_count(size)
}

impl Header {
    /// Reads the header.
    pub fn parse(bytes: &[u8; HEADER_LENGTH]) -> Result<Self, Defect> {
        let mut fields = Fields(bytes);
        let header = Header {
            parent: some_uuid(fields.take()),
            child: some_uuid(fields.take()),
            consistent: u32::from_le_bytes(fields.take()) == CONSISTENT,
            open_here: fields.take() == OPEN_HERE,
            size: u64::from_le_bytes(fields.take()),
        };
        let header = Header {
            open_here: header.open_here && !header.consistent,
            ..header
        };
        if header.size > MAX_TRACKED_SIZE {
            return Err(Defect::Size {
                found: header.size,
                limit: MAX_TRACKED_SIZE,
            });
        }
        Ok(header)
    }

    /// Writes the header.
    pub fn to_bytes(&self) -> [u8; HEADER_LENGTH] {
        let mut out = [0; HEADER_LENGTH];
        out[0..16].copy_from_slice(self.parent.unwrap_or_default().as_bytes());
        out[16..32].copy_from_slice(self.child.unwrap_or_default().as_bytes());
        out[32..36].copy_from_slice(&u32::from(self.consistent).to_le_bytes());
        if self.open_here && !self.consistent {
            out[36..40].copy_from_slice(&OPEN_HERE);
        }
        out[40..48].copy_from_slice(&self.size.to_le_bytes());
        out
    }
}

impl ChangeLog {
    /// The log of a VDI of which nothing has changed yet.
    pub fn new(size: u64, parent: Option<Uuid>) -> Self {
        ChangeLog {
            header: Header {
                parent,
                child: None,
                consistent: true,
                open_here: false,
                size,
            },
            blocks: BlockBitmap::new(size),
        }
    }

    /// Reads a log; bytes behind the bitmap are ignored, since a logical volume is longer than its log.
    pub fn parse(bytes: &[u8]) -> Result<Self, Defect> {
        let short = |expected| Defect::Short {
            found: bytes.len() as u64,
            expected,
        };
        let (head, rest) = bytes
            .split_first_chunk::<HEADER_LENGTH>()
            .ok_or(short(HEADER_LENGTH as u64))?;
        let header = Header::parse(head)?;
        let bitmap = rest
            .get(..byte_count(header.size) as usize)
            .ok_or(short(log_length(header.size)))?;
        Ok(ChangeLog {
            header,
            blocks: BlockBitmap::from_file_bytes(bitmap.to_vec(), header.size),
        })
    }

    /// Writes the log.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.header.to_bytes().to_vec();
        out.extend_from_slice(self.blocks.file_bytes());
        out
    }

    /// Says that the VDI is open here, or that it was closed cleanly.
    pub fn set_open(&mut self, is_open: bool) {
        self.header.consistent = !is_open;
        self.header.open_here = is_open;
    }

    /// Fits the log to a VDI that was given another size.
    pub fn resize(&mut self, size: u64) {
        self.header.size = size;
        self.blocks.resize(size);
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// The next field; fields beyond the end are zero, which the callers' fixed layout rules out.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }
}

fn some_uuid(bytes: [u8; 16]) -> Option<Uuid> {
    let uuid = Uuid::from_bytes(bytes);
    (!uuid.is_nil()).then_some(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::cbt_log::BLOCK_SIZE;
    use proptest::prelude::*;

    #[test]
    fn absurd_and_short_logs_are_refused() {
        let mut log = ChangeLog::new(3 * BLOCK_SIZE, None);
        let bytes = log.to_bytes();
        assert_eq!(bytes.len() as u64, log_length(3 * BLOCK_SIZE));
        for length in [0, HEADER_LENGTH - 1, HEADER_LENGTH] {
            assert!(matches!(
                ChangeLog::parse(&bytes[..length]),
                Err(Defect::Short { .. })
            ));
        }
        log.header.size = MAX_TRACKED_SIZE + 1;
        assert!(matches!(
            ChangeLog::parse(&log.to_bytes()),
            Err(Defect::Size { .. })
        ));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            parent in any::<u128>(),
            child in any::<u128>(),
            consistent in any::<bool>(),
            size in 0u64..40 * BLOCK_SIZE,
            ranges in prop::collection::vec((0u64..2_000_000, 0u64..200_000), 0..5),
            tail in 0usize..9,
        ) {
            let mut log = ChangeLog::new(size, Some(Uuid::from_u128(parent)).filter(|one| !one.is_nil()));
            log.header.child = Some(Uuid::from_u128(child)).filter(|one| !one.is_nil());
            log.header.consistent = consistent;
            log.header.open_here = !consistent && tail > 4;
            ranges.iter().for_each(|(offset, length)| log.blocks.set_range(*offset, *length));
            let mut bytes = log.to_bytes();
            bytes.extend(vec![0xee; tail]);
            prop_assert_eq!(ChangeLog::parse(&bytes).unwrap(), log);
        }
    }
}
