//! What was learnt of snapshots lately: which blocks one holds, which two may have different. Snapshots do not change, so that it
//! stays true as long as their VDIs are there.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use crate::driver::RangeMap;

/// Most maps that are kept.
const MAPS_MAX: usize = 64;
/// Most bytes of all maps that are kept: 512 TiB of blocks.
const BYTES_MAX: usize = 128 * 1024 * 1024;

/// What a map is about, by the uuids of VDIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// The blocks that a VDI holds.
    Held(Uuid),
    /// The ranges that two VDIs may have different; kept only where the pool can tell.
    Differing(Uuid, Uuid),
}

/// The maps, the latest used last.
#[derive(Default)]
pub(super) struct Maps {
    kept: Mutex<VecDeque<(About, Arc<RangeMap>)>>,
}

impl Maps {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(About, Arc<RangeMap>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, about: About) -> Option<Arc<RangeMap>> {
        let mut kept = self.lock();
        let at = kept.iter().position(|(known, _)| *known == about)?;
        let found = kept.remove(at)?;
        let map = Arc::clone(&found.1);
        kept.push_back(found);
        Some(map)
    }

    pub(super) fn keep(&self, about: About, map: RangeMap) -> Arc<RangeMap> {
        let map = Arc::new(map);
        let mut kept = self.lock();
        kept.retain(|(known, _)| *known != about);
        kept.push_back((about, Arc::clone(&map)));
        while kept.len() > MAPS_MAX || bytes_of(&kept) > BYTES_MAX {
            kept.pop_front();
        }
        map
    }
}

fn bytes_of(kept: &VecDeque<(About, Arc<RangeMap>)>) -> usize {
    kept.iter().map(|(_, map)| map.bits.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_used_map_goes_first() {
        let maps = Maps::default();
        let about = |number: usize| About::Held(Uuid::from_u128(number as u128));
        for number in 0..MAPS_MAX {
            maps.keep(about(number), RangeMap::default());
        }
        assert!(maps.find(about(0)).is_some());
        maps.keep(about(MAPS_MAX), RangeMap::default());
        assert!(maps.find(about(0)).is_some());
        assert!(maps.find(about(1)).is_none());
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        maps.keep(About::Differing(one, two), RangeMap::default());
        assert!(maps.find(About::Differing(two, one)).is_none());
    }
}
