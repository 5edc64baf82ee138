//! Room for LUNs: which FlexVol one goes to, how large FlexVols are, how much is used.

use super::error::FilerError;
use super::flexvols::FlexVol;
use super::layout::{VdiMark, hint_digest, parse_flexvol};
use super::luns::{Content as LunContent, FilerLun, NewLun};
use super::space::{Content, SAME_SIZE, even_order};
use super::volumes::{OntapVolumes, SIZE_UNIT, lock};
use crate::array::ArrayError;
use crate::sr::{NewVdi, SrSpace};

/// Key in the `sm_config` of `VDI.create`.
const VMHINT: &str = "vmhint";

impl OntapVolumes {
    /// What lies in each FlexVol, by its number.
    pub(super) fn contents(&self, luns: &[FilerLun]) -> Vec<Content> {
        let mut contents = vec![Content::default(); self.mark.flexvols as usize];
        for lun in luns {
            let index = parse_flexvol(&lun.flexvol).map(|(_, index)| index as usize);
            if let Some(content) = index.and_then(|index| contents.get_mut(index)) {
                *content = content.and(lun.size, lun.mark.is_snapshot);
            }
        }
        contents
    }

    pub(super) fn needed(&self, content: Content) -> u64 {
        content.needed(self.options.multiplier)
    }

    /// Grows a FlexVol for what is to come into it, or gives it just the size that it needs where that is enforced.
    pub(super) fn fit(&self, flexvol: &FlexVol, content: Content) -> Result<(), FilerError> {
        let needed = self.needed(content);
        if flexvol.size == 0 {
            // Resized on a guess it could lose what it has.
            return Err(FilerError::Incomplete {
                what: "ask for the size of a FlexVol",
                field: "space.size",
            });
        }
        let is_other = flexvol.size.abs_diff(needed) >= SAME_SIZE;
        if flexvol.size < needed || (self.options.enforces_allocation && is_other) {
            self.filer.resize_flexvol(flexvol, needed)?;
        }
        Ok(())
    }

    /// Gives back what a FlexVol does not need any more, unless the administrator has given it another size.
    pub(super) fn shrink(&self, flexvol: &str, before: Content, after: Content) {
        let flexvols = self.filer.flexvols(self.sr).unwrap_or_default();
        let Some(flexvol) = flexvols.iter().find(|it| it.name == flexvol) else {
            return;
        };
        let is_ours = flexvol.size.abs_diff(self.needed(before)) < SAME_SIZE;
        let needed = self.needed(after);
        if !(is_ours || self.options.enforces_allocation) || flexvol.size <= needed + SAME_SIZE {
            return;
        }
        if let Err(error) = self.filer.resize_flexvol(flexvol, needed) {
            let error = error.chain_text();
            tracing::info!(
                flexvol = flexvol.name,
                error,
                "a FlexVol keeps space that it does not need"
            );
        }
    }

    /// The FlexVols that a new LUN may go to, in the order in which they are tried.
    pub(super) fn candidates(
        &self,
        new: &NewVdi,
        luns: &[FilerLun],
        contents: &[Content],
    ) -> (Vec<usize>, Option<String>) {
        let Some(vmhint) = new.sm_config.get(VMHINT).filter(|hint| !hint.is_empty()) else {
            return (even_order(contents), None);
        };
        let numbered = vmhint.parse::<usize>().ok();
        if let Some(index) = numbered.filter(|index| *index < contents.len()) {
            return (vec![index], None);
        }
        let digest = hint_digest(vmhint);
        let mut with_hint = luns
            .iter()
            .filter(|lun| lun.mark.hint.as_ref() == Some(&digest));
        let index = with_hint.find_map(|lun| {
            let (_, index) = parse_flexvol(&lun.flexvol)?;
            Some(index as usize).filter(|index| *index < contents.len())
        });
        match index {
            Some(index) => (vec![index], Some(digest)),
            None => (even_order(contents), Some(digest)),
        }
    }

    /// Makes a LUN of zeros in the first FlexVol that has room.
    pub(super) fn place(&self, new: &NewVdi, size: u64) -> Result<FilerLun, ArrayError> {
        let _placing = lock(&self.placing);
        let flexvols = self.flexvols()?;
        let luns = self.luns()?;
        if let Some(there) = luns.iter().find(|lun| lun.vdi == new.uuid) {
            return Ok(there.clone());
        }
        let contents = self.contents(&luns);
        let (candidates, hint) = self.candidates(new, &luns, &contents);
        let mark = VdiMark {
            hint,
            ..VdiMark::default()
        };
        let mut failure = None;
        for index in candidates {
            let of_index = |it: &&FlexVol| it.index as usize == index && it.is_online;
            let Some(flexvol) = flexvols.iter().find(of_index) else {
                continue;
            };
            let (before, after) = (contents[index], contents[index].and(size, false));
            let made = self.fit(flexvol, after).and_then(|()| {
                let lun = NewLun {
                    flexvol: &flexvol.name,
                    vdi: new.uuid,
                    is_reserved: flexvol.is_guaranteed,
                    mark: &mark,
                    content: LunContent::Zeros(size),
                };
                self.filer.create_lun(self.sr, &lun)
            });
            match made {
                Ok(lun) => return Ok(lun),
                Err(error) => {
                    let is_no_space = error.is_no_space();
                    self.shrink(&flexvol.name, after, before);
                    failure = Some(error);
                    if !is_no_space {
                        break;
                    }
                }
            }
        }
        let action = "make a LUN";
        Err(match failure {
            Some(error) if error.is_too_large() => ArrayError::Size {
                asked: size,
                least: SIZE_UNIT,
                most: size - 1,
            },
            Some(error) => error.of(&self.filer.name(), action),
            None => ArrayError::NoSpace {
                array: self.filer.name(),
                action,
                detail: "no FlexVol of the SR is online".to_owned(),
            },
        })
    }

    /// What the SR uses, and what it could use besides: the aggregate's free space, and what its FlexVols have in reserve.
    pub(super) fn space_of(
        &self,
        flexvols: &[FlexVol],
        contents: &[Content],
    ) -> Result<SrSpace, ArrayError> {
        let (mut used, mut spare) = (0_u64, 0_u64);
        for flexvol in flexvols {
            let content = contents.get(flexvol.index as usize).copied();
            let needed = self.needed(content.unwrap_or_default());
            if flexvol.is_guaranteed {
                let taken = needed.max(flexvol.used).min(flexvol.size);
                used = used.saturating_add(taken);
                spare = spare.saturating_add(flexvol.size - taken);
            } else {
                used = used.saturating_add(flexvol.used);
            }
        }
        let aggregates = self.filer.aggregates();
        let aggregates =
            aggregates.map_err(self.filer.failed("ask for the space of the aggregate"))?;
        let own = aggregates
            .iter()
            .find(|it| it.name.eq_ignore_ascii_case(&self.mark.aggregate));
        let free = own.map_or(0, |own| own.available);
        Ok(SrSpace {
            physical_size: used.saturating_add(spare).saturating_add(free),
            physical_utilisation: used,
        })
    }
}
