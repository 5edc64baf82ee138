//! Who sees which LUN: one igroup for this initiator, one map for each LUN that it has open.

use uuid::Uuid;

use super::error::FilerError;
use super::filer::Filer;
use super::layout::{flexvol_stem, igroup_name};
use super::luns::FilerLun;
use super::retry::{repeated, until};
use super::transport::LunMap;

impl Filer {
    /// Makes the igroup of an initiator.
    pub fn ensure_igroup(&self, initiator: &str) -> Result<(), FilerError> {
        let name = igroup_name(initiator);
        let found = until(
            || self.calls.igroup(&self.svm, &name),
            || self.calls.create_igroup(&self.svm, &name, initiator),
        )?;
        if found.initiators.iter().any(|it| it == initiator) {
            return Ok(());
        }
        match repeated(|| self.calls.add_initiator(&self.svm, &found, initiator)) {
            Err(error) if error.is_duplicate() => Ok(()),
            ended => ended,
        }
    }

    /// Who sees a LUN.
    pub fn maps_of(&self, lun: &FilerLun) -> Result<Vec<LunMap>, FilerError> {
        self.calls.maps(&self.svm, &lun.path(), None)
    }

    /// The LUNs of an SR that an initiator sees.
    pub fn maps_for(&self, sr: Uuid, initiator: &str) -> Result<Vec<LunMap>, FilerError> {
        let (pattern, igroup) = (
            format!("/vol/{}*", flexvol_stem(sr)),
            igroup_name(initiator),
        );
        self.calls.maps(&self.svm, &pattern, Some(&igroup))
    }

    /// Shows a LUN to an initiator, whose igroup is there; a map that is there already stays.
    pub fn map_lun(&self, lun: &FilerLun, initiator: &str) -> Result<LunMap, FilerError> {
        let (path, igroup) = (lun.path(), igroup_name(initiator));
        until(
            || Ok(self.calls.maps(&self.svm, &path, Some(&igroup))?.pop()),
            || self.calls.map_lun(&self.svm, &path, &igroup),
        )
    }

    /// Takes a LUN out of sight; one that is not seen is no error.
    pub fn unmap_lun(&self, map: &LunMap) -> Result<(), FilerError> {
        match repeated(|| self.calls.unmap_lun(&self.svm, map)) {
            Err(error) if error.is_missing() => Ok(()),
            ended => ended,
        }
    }
}
