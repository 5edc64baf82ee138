//! Growing a volume.
//!
//! ```text
//! thick:  STATE-grow.<pages> -> size -> zeros behind the old end -> STATE-live, PAGES       thin:  size -> PAGES
//! ```
//!
//! A crash in between leaves a VDI of its old size. What opens or copies it ends the growth first: the note tells, also where the
//! group shows sizes too roughly to see it. Tests: `tests/equal/crash.rs`, `attack_tests`.

use super::description::{Allocation, State, VdiNote};
use super::error::Refusal;
use super::volumes::{EqualVolumes, Found};
use crate::array::ArrayError;

impl EqualVolumes {
    /// Makes a volume at least so large, or ends a growth to that size.
    ///
    /// # Errors
    /// What the group refuses leaves the volume as it was.
    pub(super) fn grow(&self, found: &Found, pages: u64) -> Result<(), ArrayError> {
        let has = found.pages();
        let live = VdiNote {
            state: State::Live,
            pages: has,
            ..found.note
        };
        // A growth that was cut off may have made it as large, or larger.
        let shown = found.shelf.size.pages(has);
        let pages = pages.max(shown);
        let is_thick = found.note.allocation == Allocation::Thick;
        let growing = VdiNote {
            state: State::Grow { pages },
            ..live
        };
        if is_thick && found.note != growing {
            self.describe(&found.name, growing)?;
        }
        if shown < pages
            && let Err(error) = self.group.resize(&found.name, pages)
        {
            // One that has that size already, which it may show like the old one: the device tells.
            let may_have = found.note == growing
                && error.refusal() == Some(Refusal::Other)
                && found.shelf.size.pages(pages) == pages;
            if !may_have {
                if is_thick && error.refusal().is_some() && shown == has {
                    self.describe(&found.name, live)?;
                }
                return Err(self.failed("grow a volume", error));
            }
        }
        if is_thick {
            // Pages that an administrator took away and that come back are no more the VDI's than new ones.
            self.zero(growing, has, pages)?;
        }
        self.describe(&found.name, VdiNote { pages, ..live })
    }
}
