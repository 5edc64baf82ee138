//! LUNs as clones of others, and of what snapshots hold of them.

use uuid::Uuid;

use super::cluster::{Cluster, Effect};
use super::error::ApiError;
use super::luns::{CloneSource, Lun, LunRequest, no_lun, set_properties};
use super::snapshots::SnapshotLun;

/// What a clone gets from its source.
pub(super) struct Source {
    pub(super) volume: Uuid,
    pub(super) lun: SnapshotLun,
    pub(super) snapshot: Option<Uuid>,
}

impl Cluster {
    /// A LUN that is a clone of another, in the same FlexVol.
    pub(super) fn cloned(
        &mut self,
        svm: &str,
        volume: Uuid,
        asked: &LunRequest,
        source: &CloneSource,
    ) -> Result<Lun, ApiError> {
        if !self.licences.flexclone {
            let text = "Clone operation failed: the FlexClone license is not installed.";
            return Err(ApiError::failed(13_565_952, text));
        }
        let forbidden = [
            ("space.size", asked.size.is_some()),
            ("os_type", asked.os_type.is_some()),
            ("attributes", asked.attributes.is_some()),
        ];
        if let Some((field, _)) = forbidden.into_iter().find(|(_, is_set)| *is_set) {
            let text =
                format!("The property \"{field}\" cannot be specified when creating a LUN clone.");
            return Err(ApiError::bad(5_374_883, text).at(field));
        }
        let from = self.source(svm, volume, source)?;
        let data = self.new_data();
        let mut lun = self.blank(volume, data);
        lun.size = from.lun.size;
        lun.os_type = from.lun.os_type;
        lun.comment = from.lun.comment;
        lun.attributes = from.lun.attributes;
        lun.reserve = from.lun.reserve;
        lun.shared = self.allocated(from.lun.data);
        lun.backing_snapshot = from.snapshot;
        set_properties(&mut lun, asked)?;
        let (from, to) = (from.lun.data, data);
        self.effects.push(Effect::Copy { from, to });
        Ok(lun)
    }

    /// The LUN of which another is to be a clone.
    pub(super) fn source(
        &self,
        svm: &str,
        volume: Uuid,
        source: &CloneSource,
    ) -> Result<Source, ApiError> {
        let found = match source {
            CloneSource::Uuid(uuid) => Source::of(self.lun(*uuid)?),
            CloneSource::Path(path) => match path.split_once("/.snapshot/") {
                None => Source::of(self.lun_at(svm, path)?),
                Some((volume, rest)) => self.source_in_snapshot(svm, path, volume, rest)?,
            },
        };
        if found.volume != volume {
            let text = "The LUN clone and its source must be in the same volume.";
            return Err(ApiError::bad(5_374_861, text).at("clone.source"));
        }
        Ok(found)
    }

    fn source_in_snapshot(
        &self,
        svm: &str,
        path: &str,
        volume: &str,
        rest: &str,
    ) -> Result<Source, ApiError> {
        let volume = volume.strip_prefix("/vol/").ok_or_else(|| no_lun(path))?;
        let volume = self.volume_named(svm, volume)?.uuid;
        let (snapshot, lun) = rest.split_once('/').ok_or_else(|| no_lun(path))?;
        let snapshot = self
            .snapshot_named(volume, snapshot)
            .ok_or_else(|| no_lun(path))?;
        let lun = snapshot.luns.iter().find(|one| one.name == lun);
        Ok(Source {
            volume,
            lun: lun.ok_or_else(|| no_lun(path))?.clone(),
            snapshot: Some(snapshot.uuid),
        })
    }
}

impl Source {
    fn of(lun: &Lun) -> Self {
        Source {
            volume: lun.volume,
            lun: SnapshotLun::of(lun, lun.data),
            snapshot: None,
        }
    }
}
