//! How an object in a pool is known to be ours: keys of `other_config` and `sm_config`, and labels.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::model::backend::Backend;
use crate::model::id::{OperationId, SnapshotId, VolumeId};

/// On VDIs: the volume's id.
pub const VOLUME_KEY: &str = "xensm:volume";
/// On VDIs: the snapshot's id.
pub const SNAPSHOT_KEY: &str = "xensm:snapshot";
/// On VDIs that an operation needs for a while: present, whatever its value.
pub const TEMPORARY_KEY: &str = "xensm:temporary";
/// On VDIs that were labelled after they were made: their own uuid. What a pool makes from them carries another's, which tells
/// that its other marks are not its own.
pub const SELF_KEY: &str = "xensm:self";
/// On a VDI that is being taken a snapshot of or cloned, and on what is born of it until that has marks of its own, see [`Making`].
pub const MAKING_KEY: &str = "xensm:making";
/// The prefix of all keys of ours.
pub(super) const KEY_PREFIX: &str = "xensm:";
/// On VDIs: the operation that made it.
pub const OPERATION_KEY: &str = "xensm:operation";
/// On VDIs: the lease generation under which it was made.
pub const GENERATION_KEY: &str = "xensm:generation";
/// On VDIs and VBDs: the deployment that made it.
pub const DEPLOYMENT_KEY: &str = "xensm:deployment";
/// On SRs: the backend row, see [`Deployment::backend_mark`].
pub const BACKEND_KEY: &str = "xensm:backend";
/// On VBDs: the attachment's id.
pub const ATTACHMENT_KEY: &str = "xensm:attachment";
/// On VBDs in VMs: the reference of the VM that it was made in. A pool copies marks when it clones a VM; the clone's are another's.
pub const VM_KEY: &str = "xensm:vm";
/// On VMs, written by an operator: the ids of the projects that see it as an instance and attach to it, with commas between them, or
/// `*` for every project. Without it nobody does, but for the control domain of our own storage manager, which everybody sees.
pub const PROJECT_KEY: &str = "xensm:project";
/// On VMs, written by an operator: the name of its instance type.
pub const INSTANCE_TYPE_KEY: &str = "xensm:instance_type";
/// On plugged VBDs, written by our storage manager: the unix socket of its NBD server.
pub const NBD_SOCKET_KEY: &str = "xensm:nbd_socket";
/// On plugged VBDs, written by our storage manager: the export's name on that socket.
pub const NBD_EXPORT_KEY: &str = "xensm:nbd_export";

/// One database's identity, made once and kept in it, so that two deployments on one pool never take each other's objects.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Deployment(pub Uuid);

impl Deployment {
    /// The mark of a backend's SR: deployment, number and time of adding, so that a number that is used again (a database
    /// restored from a copy) is not mistaken for the row that had it before.
    pub fn backend_mark(self, backend: &Backend) -> String {
        format!("{}/{}/{}", self.0, backend.id, backend.created_at_us)
    }

    /// True when the mark was made by this deployment, for whatever backend.
    pub fn owns_mark(self, mark: &str) -> bool {
        mark.split('/').next() == Some(self.0.to_string().as_str())
    }
}

impl fmt::Display for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who is making something from a VDI.
///
/// A snapshot or clone is born with a copy of its source's `other_config`. So the source gets this mark before the call, what is
/// born carries it from its first moment, and whoever looks for what an earlier try left finds it. `VDI.add_to_other_config` refuses
/// a key that is there, so that the mark excludes others too.
///
/// An operation that makes something from several VDIs numbers them, so that each mark leads to what was born of one.
///
/// Text form: `<deployment>/<operation>/<generation>`, and for all VDIs but the first `/<part>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Making {
    /// The deployment.
    pub deployment: Uuid,
    /// The operation.
    pub operation: OperationId,
    /// The generation of its lease.
    pub generation: i64,
    /// Which of the VDIs that the operation makes something from it is; 0 for the first or only one.
    pub part: u32,
}

impl fmt::Display for Making {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}",
            self.deployment, self.operation, self.generation
        )?;
        match self.part {
            0 => Ok(()),
            part => write!(f, "/{part}"),
        }
    }
}

impl FromStr for Making {
    type Err = NotMaking;

    fn from_str(text: &str) -> Result<Self, NotMaking> {
        let mut parts = text.splitn(4, '/');
        let mut part = || parts.next().ok_or(NotMaking);
        Ok(Making {
            deployment: part()?.parse().map_err(|_| NotMaking)?,
            operation: part()?.parse().map_err(|_| NotMaking)?,
            generation: part()?.parse().map_err(|_| NotMaking)?,
            part: match parts.next() {
                None => 0,
                Some(number) => number.parse().map_err(|_| NotMaking)?,
            },
        })
    }
}

/// The text of a mark is damaged, or of somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotMaking;

/// What a VDI is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VdiOwner {
    /// It holds a volume.
    Volume(VolumeId),
    /// It is a snapshot.
    Snapshot(SnapshotId),
    /// An operation needs it until it ends.
    Operation,
}

impl VdiOwner {
    /// `VDI.name_label` and `VDI.name_description`.
    pub fn label(self) -> (String, String) {
        match self {
            VdiOwner::Volume(id) => (vdi_label(id), vdi_description(id)),
            VdiOwner::Snapshot(id) => (format!("snap-{id}"), format!("xensm snapshot {id}")),
            VdiOwner::Operation => ("xensm temporary".to_owned(), String::new()),
        }
    }

    pub(super) fn mark(self) -> (&'static str, String) {
        match self {
            VdiOwner::Volume(id) => (VOLUME_KEY, id.to_string()),
            VdiOwner::Snapshot(id) => (SNAPSHOT_KEY, id.to_string()),
            VdiOwner::Operation => (TEMPORARY_KEY, "true".to_owned()),
        }
    }
}

/// `VDI.name_label` of a volume.
///
/// # Source
/// The Xen Storage Manager driver of nova-volume: `vol-<volume id>`.
pub fn vdi_label(volume: VolumeId) -> String {
    format!("vol-{volume}")
}

/// `VDI.name_description` of a volume.
///
/// # Source
/// The same; the service's name is ours.
pub fn vdi_description(volume: VolumeId) -> String {
    format!("xensm volume for {volume}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_as_it_was_written() {
        let making = Making {
            deployment: Uuid::from_u128(1),
            operation: OperationId(Uuid::from_u128(2)),
            generation: 3,
            part: 0,
        };
        // As it was when an operation made something from one VDI only.
        assert!(making.to_string().ends_with("/3"));
        let second = Making { part: 1, ..making };
        for making in [making, second] {
            assert_eq!(making.to_string().parse(), Ok(making));
        }
        for wrong in ["", "/", "a/b/c", "true", &format!("{making}/x")] {
            assert_eq!(wrong.parse::<Making>(), Err(NotMaking), "{wrong:?}");
        }
    }
}
