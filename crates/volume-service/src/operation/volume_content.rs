//! What a volume is made from, on one backend or another.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::definition::{Reason, StepTransaction};
use super::job::SrName;
use crate::db::{backends, snapshots, volumes};
use crate::error::Result;
use crate::model::id::BackendId;
use crate::model::volume::Volume;

/// How the content of a volume comes to be on a backend.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) enum Content {
    /// There is none.
    #[default]
    Blank,
    /// A clone on the backend of its source.
    Clone {
        /// The snapshot's or volume's VDI.
        source: Uuid,
        /// True when the volume is larger than its source.
        is_larger: bool,
    },
    /// A copy from another backend.
    Copy(Copied),
}

/// What is copied.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Copied {
    /// The snapshot's or volume's VDI.
    pub(super) source: Uuid,
    /// Where that is.
    pub(super) sr: SrName,
    /// True for a volume's, which may be written meanwhile.
    pub(super) is_volume: bool,
}

/// The source of a volume.
pub(super) struct Source {
    /// The backend that it is on.
    pub(super) backend: BackendId,
    copied: Copied,
    is_larger: bool,
}

impl Source {
    /// What a volume on this backend is made from.
    pub(super) fn on(self, backend: BackendId) -> Content {
        if backend == self.backend {
            return Content::Clone {
                source: self.copied.source,
                is_larger: self.is_larger,
            };
        }
        Content::Copy(self.copied)
    }
}

/// Looks up what a volume is to be made from; a reason when that is gone.
pub(super) fn source(
    at: &mut StepTransaction<'_, '_>,
    volume: &Volume,
) -> Result<std::result::Result<Option<Source>, Reason>> {
    let (place, size_gib, is_volume) = if let Some(id) = volume.source_snapshot_id {
        let Some(snapshot) = snapshots::find(at.transaction, id)? else {
            let text = "the snapshot that it is to be made from is gone";
            return Ok(Err(Reason::new(text)));
        };
        let place = snapshot.backend_id.zip(snapshot.vdi_uuid);
        (place, snapshot.size_gib, false)
    } else if let Some(id) = volume.source_volume_id {
        let Some(source) = volumes::find(at.transaction, id)? else {
            let text = "the volume that it is to be cloned from is gone";
            return Ok(Err(Reason::new(text)));
        };
        let place = source.backend_id.zip(source.vdi_uuid);
        (place, source.size_gib, true)
    } else {
        return Ok(Ok(None));
    };
    let Some((backend, vdi)) = place else {
        let text = "what it is to be made from has no VDI";
        return Ok(Err(Reason::new(text)));
    };
    let sr = backends::find(at.transaction, at.vault, backend)?
        .map_or_else(SrName::default, |backend| SrName::of(&backend));
    Ok(Ok(Some(Source {
        backend,
        copied: Copied {
            source: vdi,
            sr,
            is_volume,
        },
        is_larger: volume.size_gib > size_gib,
    })))
}
