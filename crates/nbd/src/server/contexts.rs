//! Metadata contexts: what an export offers, what a client chooses, and the extents of each.

use std::io;

use crate::protocol::BlockDescriptor;
use crate::protocol::constants::{BASE_ALLOCATION, MAX_STRING, state};
use crate::{BlockStatus, Export, Extent, MAX_CONTEXTS};

/// A metadata context of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Context {
    /// What stands for it in chunks.
    pub(super) id: u32,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Allocation,
    OfExport(String),
}

/// The contexts of an export, `base:allocation` first.
pub(super) fn offered(export: &dyn Export) -> Vec<Context> {
    let others = export
        .contexts()
        .into_iter()
        .filter(|name| name.len() <= MAX_STRING && name != BASE_ALLOCATION)
        .take(MAX_CONTEXTS)
        .map(Kind::OfExport);
    let kinds = std::iter::once(Kind::Allocation).chain(others);
    (1..)
        .zip(kinds)
        .map(|(id, kind)| Context { id, kind })
        .collect()
}

impl Context {
    pub(super) fn name(&self) -> &str {
        match &self.kind {
            Kind::Allocation => BASE_ALLOCATION,
            Kind::OfExport(name) => name,
        }
    }

    /// Setting takes whole names.
    pub(super) fn is_chosen_by(&self, queries: &[String]) -> bool {
        queries.iter().any(|query| query == self.name())
    }

    /// Listing takes whole names, and for all beneath it a name that ends where a colon does: `base:`, `qemu:`,
    /// `qemu:dirty-bitmap:`. Without any query everything is listed.
    ///
    /// # Source
    /// "NBD_OPT_LIST_META_CONTEXT"; the wildcards are those of the two namespaces.
    pub(super) fn is_listed_by(&self, queries: &[String]) -> bool {
        let matches = |query: &String| {
            self.name() == query || (query.ends_with(':') && self.name().starts_with(query))
        };
        queries.is_empty() || queries.iter().any(matches)
    }

    /// The extents of a range: merged where equal, at most `limit`.
    pub(super) fn extents(
        &self,
        export: &dyn Export,
        offset: u64,
        length: u32,
        limit: usize,
    ) -> io::Result<Vec<BlockDescriptor>> {
        Ok(match &self.kind {
            Kind::Allocation => {
                let extents = export.block_status(offset, length.into(), limit)?;
                let runs = extents.iter().map(|extent| (extent.length, flags(*extent)));
                descriptors(runs, length, limit)
            }
            Kind::OfExport(name) => {
                let extents = export.context_status(name, offset, length.into(), limit)?;
                let runs = extents.iter().map(|extent| (extent.length, extent.flags));
                descriptors(runs, length, limit)
            }
        })
    }
}

fn flags(extent: Extent) -> u32 {
    match extent.status {
        BlockStatus::Data => 0,
        BlockStatus::Zero => state::ZERO,
        BlockStatus::Hole => state::HOLE | state::ZERO,
    }
}

/// Turns runs of bytes with flags into descriptors: merged where equal, cut at `length`, at most `limit`.
fn descriptors(
    runs: impl Iterator<Item = (u64, u32)>,
    length: u32,
    limit: usize,
) -> Vec<BlockDescriptor> {
    let mut out: Vec<BlockDescriptor> = Vec::new();
    let mut left = length;
    for (run, flags) in runs {
        let step = u32::try_from(run).unwrap_or(u32::MAX).min(left);
        if step == 0 {
            continue;
        }
        let full = out.len() == limit;
        match out.last_mut() {
            Some(last) if last.flags == flags => last.length += step,
            _ if full => break,
            _ => out.push(BlockDescriptor {
                length: step,
                flags,
            }),
        }
        left -= step;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_are_merged_cut_and_limited() {
        let runs = [(0, 0), (10, 0), (10, 0), (5, 3), (u64::MAX, 2)];
        let expected = [(20, 0), (5, state::HOLE | state::ZERO), (75, state::ZERO)];
        let expected: Vec<_> = expected
            .map(|(length, flags)| BlockDescriptor { length, flags })
            .into();
        assert_eq!(descriptors(runs.into_iter(), 100, 10), expected);
        assert_eq!(descriptors(runs.into_iter(), 100, 1), expected[..1]);
        assert_eq!(
            descriptors(runs.into_iter(), 15, 10),
            [BlockDescriptor {
                length: 15,
                flags: 0
            }]
        );
        assert_eq!(descriptors([].into_iter(), 15, 10), []);
    }

    #[test]
    fn wildcards_list_and_do_not_choose() {
        let queries = |queries: &[&str]| {
            queries
                .iter()
                .map(|one| (*one).to_owned())
                .collect::<Vec<_>>()
        };
        let context = Context {
            id: 2,
            kind: Kind::OfExport("qemu:dirty-bitmap:cbt".to_owned()),
        };
        for wildcard in ["qemu:", "qemu:dirty-bitmap:"] {
            assert!(context.is_listed_by(&queries(&[wildcard])));
            assert!(!context.is_chosen_by(&queries(&[wildcard])));
        }
        assert!(context.is_listed_by(&[]));
        assert!(!context.is_chosen_by(&[]));
        for other in ["base:", "qemu", "qemu:dirty-bitmap", "", ":"] {
            assert!(!context.is_listed_by(&queries(&[other])), "{other}");
        }
        let both = queries(&["base:allocation", "qemu:dirty-bitmap:cbt"]);
        assert!(context.is_chosen_by(&both) && context.is_listed_by(&both));
    }
}
