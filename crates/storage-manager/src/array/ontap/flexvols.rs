//! The FlexVols of SRs.

use uuid::Uuid;

use super::error::FilerError;
use super::filer::Filer;
use super::layout::{FLEXVOL_PREFIX, SrMark, flexvol_name, flexvol_stem, parse_flexvol};
use super::retry::{repeated, until};
use super::space::LEAST_FLEXVOL;
use super::transport::{FlexVolId, FlexVolRecord, NewFlexVol};

/// A FlexVol of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct FlexVol {
    /// Its uuid on the filer.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// The SR.
    pub sr: Uuid,
    /// Its number in the SR.
    pub index: u32,
    /// True while it is online.
    pub is_online: bool,
    /// Bytes.
    pub size: u64,
    /// Bytes that are used in it.
    pub used: u64,
    /// True when its space is reserved in the aggregate.
    pub is_guaranteed: bool,
    /// Its comment.
    pub comment: String,
}

impl FlexVol {
    /// None for one that is not ours.
    fn of(record: FlexVolRecord) -> Option<FlexVol> {
        let (sr, index) = parse_flexvol(&record.name)?;
        Some(FlexVol {
            uuid: record.uuid,
            name: record.name,
            sr,
            index,
            is_online: record.is_online,
            size: record.size,
            used: record.used,
            is_guaranteed: record.is_guaranteed,
            comment: record.comment,
        })
    }

    /// What the filer knows it by.
    pub fn id(&self) -> FlexVolId<'_> {
        FlexVolId {
            name: &self.name,
            uuid: &self.uuid,
        }
    }
}

impl Filer {
    /// The FlexVols of an SR, in the order of their numbers.
    pub fn flexvols(&self, sr: Uuid) -> Result<Vec<FlexVol>, FilerError> {
        self.flexvols_named(&format!("{}*", flexvol_stem(sr)))
    }

    /// The FlexVols of all SRs.
    pub fn all_flexvols(&self) -> Result<Vec<FlexVol>, FilerError> {
        self.flexvols_named(&format!("{FLEXVOL_PREFIX}*"))
    }

    fn flexvols_named(&self, pattern: &str) -> Result<Vec<FlexVol>, FilerError> {
        let records = self.calls.flexvols(&self.svm, pattern)?;
        let mut found: Vec<FlexVol> = records.into_iter().filter_map(FlexVol::of).collect();
        found.sort_by_key(|flexvol| (flexvol.sr, flexvol.index));
        Ok(found)
    }

    fn flexvol(&self, name: &str) -> Result<Option<FlexVol>, FilerError> {
        Ok(self.flexvols_named(name)?.pop())
    }

    /// Makes a FlexVol; one that is there already stays as it is.
    pub fn create_flexvol(
        &self,
        sr: Uuid,
        index: u32,
        mark: &SrMark,
    ) -> Result<FlexVol, FilerError> {
        let name = flexvol_name(sr, index);
        let comment = mark.to_comment();
        let new = NewFlexVol {
            name: &name,
            aggregate: &mark.aggregate,
            size: LEAST_FLEXVOL,
            is_guaranteed: !mark.is_thin,
            is_deduplicated: mark.is_deduplicated,
            comment: &comment,
        };
        let made = until(
            || self.flexvol(&name),
            || self.calls.create_flexvol(&self.svm, &new),
        )?;
        if mark.is_deduplicated {
            repeated(|| self.calls.deduplicate_flexvol(&self.svm, &name))?;
        }
        Ok(made)
    }

    /// Gives a FlexVol a size.
    pub fn resize_flexvol(&self, flexvol: &FlexVol, size: u64) -> Result<(), FilerError> {
        repeated(|| self.calls.resize_flexvol(&self.svm, flexvol.id(), size))
    }

    /// Gives a FlexVol a comment.
    pub fn comment_flexvol(&self, flexvol: &FlexVol, mark: &SrMark) -> Result<(), FilerError> {
        let comment = mark.to_comment();
        repeated(|| {
            self.calls
                .comment_flexvol(&self.svm, flexvol.id(), &comment)
        })
    }

    /// Deletes a FlexVol; one that is gone is no error.
    pub fn delete_flexvol(&self, flexvol: &FlexVol) -> Result<(), FilerError> {
        match repeated(|| self.calls.delete_flexvol(&self.svm, flexvol.id())) {
            Err(error) if error.is_missing() => Ok(()),
            ended => ended,
        }
    }
}
