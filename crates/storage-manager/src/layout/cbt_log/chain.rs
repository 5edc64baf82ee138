//! What changed between two VDIs whose logs are chained.

use uuid::Uuid;

use super::block_bitmap::BlockBitmap;
use super::log::ChangeLog;

/// Most logs between two VDIs; more are taken for a chain that leads back to itself.
const MAX_LOGS: usize = 1 << 16;

/// Why there is no answer; `E` is what looking for a log failed with.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChainError<E> {
    /// Both are the same VDI.
    #[error("Source and target VDI are same")]
    Same,
    /// No chain of logs leads from the one to the other.
    #[error("Source and target VDI are unrelated")]
    Unrelated,
    /// A VDI is smaller than the one before it.
    #[error("VDI {vdi} has {found} bytes, less than the {before} of the one before it")]
    Shrunk {
        /// The VDI.
        vdi: Uuid,
        /// Its size in bytes.
        found: u64,
        /// The size of the one before it.
        before: u64,
    },
    /// A log could not be read.
    #[error(transparent)]
    Log(E),
}

/// The blocks of `to` that have changed since `from`: the union of the logs after that of `from` up to that of `to`.
///
/// `log_of` looks for the log of a VDI. Where the VDI has grown on the way, what was added has not changed.
///
/// # Source
/// XenServer's storage manager, `list_changed_blocks`; its answers are recorded and replayed in the tests.
pub fn changed_between<E>(
    from: Uuid,
    to: Uuid,
    mut log_of: impl FnMut(Uuid) -> Result<Option<ChangeLog>, E>,
) -> Result<BlockBitmap, ChainError<E>> {
    if from == to {
        return Err(ChainError::Same);
    }
    let mut log_of = |vdi| {
        log_of(vdi)
            .map_err(ChainError::Log)?
            .ok_or(ChainError::Unrelated)
    };
    let begin = log_of(from)?.header;
    let (mut vdi, mut size) = (from, begin.size);
    let mut next = begin.child;
    let mut changed = BlockBitmap::new(begin.size);
    for _ in 0..MAX_LOGS {
        let before = vdi;
        vdi = next.ok_or(ChainError::Unrelated)?;
        let log = log_of(vdi)?;
        // A child that names another parent belongs to another chain: the link is stale.
        if log.header.parent != Some(before) {
            return Err(ChainError::Unrelated);
        }
        if log.header.size < size {
            return Err(ChainError::Shrunk {
                vdi,
                found: log.header.size,
                before: size,
            });
        }
        size = log.header.size;
        changed.resize(size);
        changed.union(&log.blocks);
        if vdi == to {
            return Ok(changed);
        }
        next = log.header.child;
    }
    Err(ChainError::Unrelated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::cbt_log::BLOCK_SIZE;
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    fn vdi(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    /// Logs of VDIs 1, 2, 3 ... of these sizes in blocks, each with its own block changed.
    fn chain(sizes: &[u64]) -> BTreeMap<Uuid, ChangeLog> {
        let count = sizes.len() as u128;
        let logs = (1..=count).zip(sizes).map(|(number, blocks)| {
            let parent = (number > 1).then(|| vdi(number - 1));
            let mut log = ChangeLog::new(blocks * BLOCK_SIZE, parent);
            log.header.child = (number < count).then(|| vdi(number + 1));
            log.blocks.set_range(number as u64 * BLOCK_SIZE, 1);
            (vdi(number), log)
        });
        logs.collect()
    }

    fn between(
        logs: &BTreeMap<Uuid, ChangeLog>,
        from: u128,
        to: u128,
    ) -> Result<Vec<u64>, ChainError<Infallible>> {
        let changed = changed_between(vdi(from), vdi(to), |vdi| Ok(logs.get(&vdi).cloned()))?;
        Ok((0..changed.blocks())
            .filter(|block| changed.is_set(*block))
            .collect())
    }

    #[test]
    fn logs_after_the_first_are_united() {
        let logs = chain(&[8, 8, 8, 16]);
        assert_eq!(between(&logs, 1, 2), Ok(vec![2]));
        assert_eq!(between(&logs, 1, 4), Ok(vec![2, 3, 4]));
        assert_eq!(between(&logs, 3, 1), Err(ChainError::Unrelated));
        assert_eq!(between(&logs, 1, 1), Err(ChainError::Same));
        assert_eq!(between(&logs, 1, 9), Err(ChainError::Unrelated));
        assert_eq!(between(&logs, 9, 1), Err(ChainError::Unrelated));
    }

    #[test]
    fn broken_chains_have_no_answer() {
        let mut logs = chain(&[8, 8, 8]);
        logs.remove(&vdi(2));
        assert_eq!(between(&logs, 1, 3), Err(ChainError::Unrelated));
        let mut logs = chain(&[8, 8, 4]);
        assert!(matches!(
            between(&logs, 1, 3),
            Err(ChainError::Shrunk { .. })
        ));
        logs.get_mut(&vdi(3)).unwrap().header.parent = Some(vdi(9));
        assert_eq!(between(&logs, 2, 3), Err(ChainError::Unrelated));
        let mut circle = chain(&[8, 8]);
        circle.get_mut(&vdi(2)).unwrap().header.child = Some(vdi(1));
        circle.get_mut(&vdi(1)).unwrap().header.parent = Some(vdi(2));
        assert_eq!(between(&circle, 1, 7), Err(ChainError::Unrelated));
    }
}
