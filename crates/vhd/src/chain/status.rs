//! Which ranges hold data.

use crate::chain::access::Chain;
use crate::chain::read::Source;
use crate::error::Result;

/// Runs that one call looks at before it answers with what it has, so that a scattered image cannot hold it for long.
const LOOKUP_LIMIT: usize = 1 << 16;

/// What is known of a run of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExtentStatus {
    /// Some image has it; it may hold anything.
    Data,
    /// No image has it; it reads as zeros.
    Hole,
}

/// A run of bytes with one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Length in bytes.
    pub length: u64,
    /// What is known of it.
    pub status: ExtentStatus,
}

impl Chain {
    /// Describes the range from `offset`, at most `length` bytes and `limit` extents, without gaps and with neighbours of
    /// different status. What is described may be shorter than what was asked for, but is never empty unless `length`
    /// or `limit` is 0.
    ///
    /// # Errors
    /// `OutOfRange`, `Io`, `Poisoned`.
    pub fn block_status(&self, offset: u64, length: u64, limit: usize) -> Result<Vec<Extent>> {
        self.usable()?;
        self.require_range(offset, length)?;
        let mut extents: Vec<Extent> = Vec::new();
        let end = offset + length;
        let mut at = offset;
        let mut lookups = 0;
        while at < end && limit > 0 && lookups < LOOKUP_LIMIT {
            let run = self.run_at(at, end - at)?;
            let status = match run.source {
                Source::Zeros => ExtentStatus::Hole,
                Source::Image { .. } => ExtentStatus::Data,
            };
            if let Some(last) = extents.last_mut().filter(|last| last.status == status) {
                last.length += run.length;
            } else if extents.len() < limit {
                extents.push(Extent {
                    length: run.length,
                    status,
                });
            } else {
                break;
            }
            at += run.length;
            lookups += 1;
        }
        Ok(extents)
    }
}
