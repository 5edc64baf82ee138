//! How a VDI that is there already becomes a volume's or a snapshot's, and how it is let go of.
//!
//! Nothing is ever destroyed here, nor by a reconciler that finds what an adoption left: the bytes were somebody's before.
//! A VDI is claimed in the database before its marks are written, so that of two adoptions of one VDI the second is refused.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::definition::{Begin, Reason, StepTransaction};
use super::job::{Job, SrName};
use crate::app::adoption::{Judged, judge};
use crate::db::{adoptions, backends};
use crate::driver::{ForeignVdi, VdiMarks, VdiOwner};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::adoption::Reference;
use crate::model::id::BackendId;

/// Size of a GiB in bytes.
const GIB: u64 = 1 << 30;

/// What is to be adopted, and what was found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Outputs {
    reference: String,
    is_uuid: bool,
    backend: Option<BackendId>,
    sr: SrName,
    /// For a snapshot: the VDI of its volume.
    of: Option<Uuid>,
    /// For a snapshot: the size that it counts with.
    pub(super) size_gib: Option<u64>,
    found: Option<Found>,
    /// True when marks of ours may be left on a VDI that is not ours.
    pub(super) may_have_left: bool,
}

/// The VDI.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) vdi_uuid: Uuid,
    /// The name that it had, for the undo.
    name_label: String,
    pub(super) size_gib: u64,
}

/// What is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Volume,
    Snapshot,
}

impl Outputs {
    /// Reads which VDI is wanted, and where it must be.
    pub(super) fn read(
        &mut self,
        at: &mut StepTransaction<'_, '_>,
        adoption: adoptions::Adoption,
        of: Option<Uuid>,
    ) -> Result<Begin> {
        (self.reference, self.is_uuid) = match adoption.reference {
            Reference::Name(name) => (name, false),
            Reference::Uuid(uuid) => (uuid.to_string(), true),
        };
        let backend = backends::get(at.transaction, at.vault, adoption.backend_id)?;
        self.backend = Some(backend.id);
        self.sr = SrName::of(&backend);
        self.of = of;
        Ok(Begin::Act)
    }

    pub(super) fn backend(&self) -> Option<BackendId> {
        self.backend
    }

    pub(super) fn found(&self) -> Option<&Found> {
        self.found.as_ref()
    }

    /// Forgets the VDI, so that the undo does not touch it.
    pub(super) fn forget(&mut self) {
        self.found = None;
    }

    /// Takes the VDI for this operation; the reason when it is somebody's, whose marks the undo must not touch.
    pub(super) fn claim(&mut self, at: &mut StepTransaction<'_, '_>) -> Result<Begin> {
        let Some(found) = &self.found else {
            return Ok(Begin::Undo(Reason::new("no VDI was found")));
        };
        let target = &at.operation.target;
        if adoptions::claim(at.transaction, found.vdi_uuid, self.backend, target)? {
            return Ok(Begin::Act);
        }
        self.found = None;
        let text = "the VDI is managed already";
        Ok(Begin::Undo(Reason::new(text)))
    }

    /// Finds the one VDI that the request names, and refuses what cannot be adopted.
    pub(super) async fn find(&mut self, job: &Job, wanted: Wanted) -> Result<()> {
        let sr_uuid = self.sr.sr_uuid.ok_or_else(|| {
            let text = "the storage is not connected";
            Error::new(ErrorKind::Unavailable, Subject::Backend, text).on(self.sr.backend.clone())
        })?;
        let all = job.pool()?.vdis_all(sr_uuid).await;
        let all: Vec<ForeignVdi> = all.map_err(|error| self.sr.error(error))?;
        let is_named = |vdi: &&ForeignVdi| {
            if self.is_uuid {
                return vdi.marks.uuid.to_string() == self.reference;
            }
            vdi.name_label == self.reference
                && vdi.marks.is_a_snapshot == (wanted == Wanted::Snapshot)
        };
        let named: Vec<ForeignVdi> = all.iter().filter(is_named).cloned().collect();
        let [vdi] = &named[..] else {
            return Err(self.not_one(named.len()));
        };
        let (vdi, deployment) = (vdi.clone(), job.deployment());
        let (judged_vdi, of, backend) = (vdi.clone(), self.of, self.backend);
        let database = job.engine.database();
        let judged = database.read(move |tx| judge(tx, &judged_vdi, deployment, backend));
        let is_kind = vdi.marks.is_a_snapshot == (wanted == Wanted::Snapshot);
        let is_of_another = of.is_some() && vdi.snapshot_of.is_some() && vdi.snapshot_of != of;
        let size_gib = vdi.marks.size_bytes.div_ceil(GIB).max(1);
        match judged.await? {
            Judged::Safe if !is_kind && wanted == Wanted::Volume => {
                Err(self.refused("it is a snapshot"))
            }
            Judged::Safe if !is_kind => Err(self.refused("it is no snapshot")),
            Judged::Safe if self.size_gib.is_some_and(|size| size != size_gib) => Err(self
                .refused(&format!(
                    "it has {size_gib} GiB, which its volume no longer has"
                ))),
            Judged::Safe if is_of_another => Err(self.refused("it is a snapshot of another VDI")),
            Judged::Safe => {
                self.found = Some(Found {
                    vdi_uuid: vdi.marks.uuid,
                    name_label: vdi.name_label,
                    size_gib,
                });
                Ok(())
            }
            Judged::Unsafe { why, .. } => Err(self.refused(&why)),
        }
    }

    fn not_one(&self, count: usize) -> Error {
        let why = match count {
            0 => "its backend has no such VDI".to_owned(),
            _ => format!("its backend has {count} VDIs of that name"),
        };
        self.refused(&why)
    }

    fn refused(&self, why: &str) -> Error {
        let text = format!(
            "Manage existing volume failed due to invalid backend reference {}: {why}",
            self.reference
        );
        Error::new(ErrorKind::Conflict, Subject::Request, text)
    }

    /// Writes our marks on it, which give it the name of its owner.
    pub(super) async fn mark(&self, job: &Job, owner: VdiOwner) -> Result<()> {
        let Some(found) = &self.found else {
            return Ok(());
        };
        mark(job, found.vdi_uuid, owner, &self.sr).await
    }

    /// Takes them off again, and gives it its name back.
    pub(super) async fn unmark(&mut self, job: &Job) -> Result<()> {
        let Some(found) = &self.found else {
            return Ok(());
        };
        let released = job
            .pool()?
            .release_vdi(found.vdi_uuid, Some(&found.name_label))
            .await;
        released.map_err(|error| self.sr.error(error))
    }
}

/// Writes the marks of an owner on a VDI.
pub(super) async fn mark(job: &Job, vdi: Uuid, owner: VdiOwner, sr: &SrName) -> Result<()> {
    let marks = VdiMarks {
        owner,
        operation: job.operation(),
        generation: job.generation(),
        deployment: job.deployment(),
    };
    let marked = job.pool()?.label_vdi(vdi, &marks).await;
    marked.map_err(|error| sr.error(error))
}

/// The VDI of a volume or snapshot that is let go of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Released {
    pub(super) vdi_uuid: Option<Uuid>,
    pub(super) sr: SrName,
}

impl Released {
    /// Takes our marks off; it keeps its name. One that is gone is as good as let go of.
    pub(super) async fn release(&self, job: &Job) -> Result<()> {
        let Some(vdi) = self.vdi_uuid else {
            return Ok(());
        };
        let released = job.pool()?.release_vdi(vdi, None).await;
        released.map_err(|error| self.sr.error(error))
    }

    /// Puts them back.
    pub(super) async fn take_back(&self, job: &Job, owner: VdiOwner) -> Result<()> {
        match self.vdi_uuid {
            Some(vdi) => mark(job, vdi, owner, &self.sr).await,
            None => Ok(()),
        }
    }
}
