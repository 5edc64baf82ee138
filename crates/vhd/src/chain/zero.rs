//! Writing zeros and discarding.

use std::sync::atomic::Ordering;

use crate::SECTOR_SIZE;
use crate::chain::access::Chain;
use crate::chain::map::LEAF;
use crate::chain::read::Source;
use crate::chain::write::Payload;
use crate::error::{Error, Result};

impl Chain {
    /// Makes a range read as zeros.
    ///
    /// What reads as zeros already because no image has it is left alone. Elsewhere the leaf gets zeros, so that other
    /// readers of the image see them too; of 64 KiB and more it gives the space back, where the storage can. A block that
    /// is zeroed as a whole keeps its place in the file, of which nothing but the bitmap then takes space.
    ///
    /// # Errors
    /// As [`Chain::write_at`].
    ///
    /// # Durability
    /// As [`Chain::write_at`].
    pub fn write_zeroes(&self, offset: u64, length: u64) -> Result<()> {
        self.require_writer("write")?;
        self.require_range(offset, length)?;
        let end = offset + length;
        let mut at = offset;
        while at < end {
            let run = self.run_at(at, end - at)?;
            if run.source != Source::Zeros {
                self.write_payload(Payload::Zeros(run.length), at)?;
            }
            at += run.length;
        }
        Ok(())
    }

    /// Tells that a range is not needed any more: each of its sectors then reads as before or as zeros.
    ///
    /// Space is given back where the leaf has the data and its storage can punch holes; nothing else happens.
    ///
    /// # Errors
    /// As [`Chain::write_at`].
    ///
    /// # Durability
    /// As [`Chain::write_at`]: what reads as zeros at a flush reads as zeros after a crash.
    pub fn discard(&self, offset: u64, length: u64) -> Result<()> {
        let writer = self.require_writer("discard")?;
        self.require_range(offset, length)?;
        let end = (offset + length) - (offset + length) % SECTOR_SIZE;
        let start = offset.next_multiple_of(SECTOR_SIZE).min(end);
        let discarded = match &self.mirror {
            None => self.discard_leaf(start, end - start),
            Some(mirror) => mirror.discard(start, end - start, |offset, length| {
                self.discard_leaf(offset, length)
            }),
        };
        // The next flush has something to do, also when part of it failed.
        writer.writes.fetch_add(1, Ordering::Release);
        discarded
    }

    /// Discards whole sectors.
    fn discard_leaf(&self, start: u64, length: u64) -> Result<()> {
        let end = start + length;
        let mut at = start;
        while at < end {
            let run = self.run_at(at, end - at)?;
            if let Source::Image {
                layer: LEAF,
                offset,
            } = run.source
            {
                let punched = self.leaf().punch_hole(offset, run.length);
                let length = run.length;
                let punched = punched.map_err(|source| Error::Io {
                    action: "punch a hole of",
                    offset,
                    length,
                    source,
                })?;
                if !punched {
                    return Ok(());
                }
            }
            at += run.length;
        }
        Ok(())
    }
}
