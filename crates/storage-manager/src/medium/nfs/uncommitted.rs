//! Copies of what was written and the server may still lose.
//!
//! A server may answer a write before the data is on stable storage. It then names a verifier, which changes when it loses
//! such data. The copies are kept until a commit names the same verifier; what was written under another is written again.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::protocol::Verifier;

/// What a copy costs beside its bytes, so that many small ones are bounded too.
const COPY_OVERHEAD: usize = 128;

/// The latest uncommitted bytes of a file, by offset; the ranges do not overlap.
#[derive(Debug, Default)]
pub struct Uncommitted {
    copies: BTreeMap<u64, Kept>,
    cost: usize,
    next: u64,
}

#[derive(Clone, Debug)]
struct Kept {
    data: Bytes,
    verifier: Verifier,
    /// Goes up with each write.
    turn: u64,
}

/// A range to be written again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Where.
    pub offset: u64,
    /// What.
    pub data: Bytes,
}

impl Uncommitted {
    /// Memory that the copies use, about.
    pub fn cost(&self) -> usize {
        self.cost
    }

    /// True when there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.copies.is_empty()
    }

    /// Where the last copy ends.
    pub fn end(&self) -> u64 {
        let last = self.copies.last_key_value();
        last.map_or(0, |(offset, copy)| offset + copy.data.len() as u64)
    }

    /// Notes what was written under a verifier.
    pub fn add(&mut self, offset: u64, data: Bytes, verifier: Verifier) {
        if data.is_empty() {
            return;
        }
        self.forget(offset, data.len() as u64);
        let turn = self.next;
        self.next += 1;
        self.insert(
            offset,
            Kept {
                data,
                verifier,
                turn,
            },
        );
    }

    /// Drops what lies in a range: it was written stably, or is to be no more.
    pub fn forget(&mut self, offset: u64, length: u64) {
        let end = offset.saturating_add(length);
        let before = self.copies.range(..offset).next_back();
        let first = before.map_or(offset, |(start, _)| *start);
        let touched: Vec<u64> = self
            .copies
            .range(first..end)
            .map(|(start, _)| *start)
            .collect();
        for start in touched {
            let Some(copy) = self.take(start) else {
                continue;
            };
            let copy_end = start + copy.data.len() as u64;
            if copy_end <= offset {
                self.insert(start, copy);
                continue;
            }
            if start < offset {
                let left = copy.data.slice(..(offset - start) as usize);
                self.insert(
                    start,
                    Kept {
                        data: left,
                        ..copy.clone()
                    },
                );
            }
            if copy_end > end {
                let right = copy.data.slice((end - start) as usize..);
                self.insert(
                    end,
                    Kept {
                        data: right,
                        ..copy
                    },
                );
            }
        }
    }

    /// The turn of the next write: what a commit that begins now covers is older.
    pub fn turn(&self) -> u64 {
        self.next
    }

    /// True when something was written before `turn` that is not committed.
    pub fn has_before(&self, turn: u64) -> bool {
        self.copies.values().any(|copy| copy.turn < turn)
    }

    /// Drops what was written before `turn` under the verifier of a commit that began at `turn`, and answers what was written
    /// before under others: that is lost, and stays here until it was written again.
    pub fn committed(&mut self, turn: u64, verifier: Verifier) -> Vec<Lost> {
        let mut lost = Vec::new();
        let mut freed = 0;
        self.copies.retain(|offset, copy| {
            if copy.turn >= turn {
                return true;
            }
            if copy.verifier == verifier {
                freed += copy.data.len() + COPY_OVERHEAD;
                return false;
            }
            lost.push(Lost {
                offset: *offset,
                data: copy.data.clone(),
            });
            true
        });
        self.cost -= freed;
        lost
    }

    /// The copies that lie in a range, cut to it.
    pub fn in_range(&self, offset: u64, length: u64) -> Vec<(u64, Bytes)> {
        if self.copies.is_empty() {
            return Vec::new();
        }
        let end = offset.saturating_add(length);
        let before = self.copies.range(..offset).next_back();
        let first = before.map_or(offset, |(start, _)| *start);
        self.copies
            .range(first..end)
            .filter_map(|(start, copy)| {
                let copy_end = start + copy.data.len() as u64;
                let (from, to) = ((*start).max(offset), copy_end.min(end));
                let inside = (from - start) as usize..to.saturating_sub(*start) as usize;
                (from < to).then(|| (from, copy.data.slice(inside)))
            })
            .collect()
    }

    fn insert(&mut self, offset: u64, copy: Kept) {
        self.cost += copy.data.len() + COPY_OVERHEAD;
        self.copies.insert(offset, copy);
    }

    fn take(&mut self, offset: u64) -> Option<Kept> {
        let copy = self.copies.remove(&offset)?;
        self.cost -= copy.data.len() + COPY_OVERHEAD;
        Some(copy)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: Verifier = [1; 8];
    const NEW: Verifier = [2; 8];

    #[test]
    fn a_commit_covers_what_came_before_it_under_its_verifier() {
        let mut uncommitted = Uncommitted::default();
        uncommitted.add(0, Bytes::from_static(b"aaaa"), OLD);
        uncommitted.add(2, Bytes::from_static(b"bbbb"), NEW);
        let turn = uncommitted.turn();
        uncommitted.add(100, Bytes::from_static(b"later"), NEW);
        let lost = uncommitted.committed(turn, NEW);
        let expected = Lost {
            offset: 0,
            data: Bytes::from_static(b"aa"),
        };
        assert_eq!(lost, [expected]);
        assert_eq!(uncommitted.end(), 105);
        uncommitted.forget(0, 2);
        assert!(uncommitted.committed(u64::MAX, NEW).is_empty());
        assert!(uncommitted.is_empty());
        assert_eq!(uncommitted.cost(), 0);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, u8, usize, bool),
        Forget(u64, u64),
        Commit(bool),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0u64..60, any::<u8>(), 1usize..20, any::<bool>())
                .prop_map(|(offset, byte, length, new)| Step::Write(offset, byte, length, new)),
            1 => (0u64..60, 0u64..30).prop_map(|(offset, length)| Step::Forget(offset, length)),
            1 => any::<bool>().prop_map(Step::Commit),
        ];
        proptest::collection::vec(step, 1..60)
    }

    proptest! {
        /// Every byte that is held is the last one that was written there, under its verifier.
        #[test]
        fn agrees_with_a_model_of_single_bytes(steps in steps()) {
            let mut uncommitted = Uncommitted::default();
            let mut model: [Option<(u8, bool)>; 100] = [None; 100];
            for step in steps {
                match step {
                    Step::Write(offset, byte, length, new) => {
                        let verifier = if new { NEW } else { OLD };
                        uncommitted.add(offset, vec![byte; length].into(), verifier);
                        model[offset as usize..offset as usize + length].fill(Some((byte, new)));
                    }
                    Step::Forget(offset, length) => {
                        uncommitted.forget(offset, length);
                        let end = ((offset + length) as usize).min(100);
                        model[offset as usize..end].fill(None);
                    }
                    Step::Commit(new) => {
                        let verifier = if new { NEW } else { OLD };
                        let lost = uncommitted.committed(uncommitted.turn(), verifier);
                        for byte in model.iter_mut() {
                            if byte.is_some_and(|(_, under)| under == new) {
                                *byte = None;
                            }
                        }
                        let lost: usize = lost.iter().map(|lost| lost.data.len()).sum();
                        prop_assert_eq!(lost, model.iter().flatten().count());
                    }
                }
                let mut held = [None; 100];
                for (offset, data) in uncommitted.in_range(0, 100) {
                    for (index, byte) in data.iter().enumerate() {
                        prop_assert!(held[offset as usize + index].replace(*byte).is_none());
                    }
                }
                let expected = model.map(|byte| byte.map(|(byte, _)| byte));
                prop_assert_eq!(held, expected);
            }
        }
    }
}
