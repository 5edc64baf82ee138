//! How an object in a pool is known to be ours: keys of `other_config` and `sm_config`, and labels.

use std::fmt;

use uuid::Uuid;

use crate::model::backend::Backend;
use crate::model::id::VolumeId;

/// On VDIs: the volume's id.
pub const VOLUME_KEY: &str = "xensm:volume";
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
