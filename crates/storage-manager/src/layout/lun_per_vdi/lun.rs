//! A LUN and the VDI that it is.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use md5::{Digest, Md5};
use uuid::Uuid;

use crate::medium::block_device::BlockDevice;
use crate::sr::FoundVdi;

/// Key in `VDI.sm_config`: the number of the LUN.
pub const LUN_ID: &str = "LUNid";

/// Key in `VDI.sm_config`: the SCSI id of the LUN.
pub const SCSI_ID: &str = "SCSIid";

/// A LUN that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lun {
    /// What tells it from all others, whatever the path: as `scsi_id -g` prints it.
    pub scsi_id: String,
    /// Its number on the target, or on the adapter.
    pub lun_id: u64,
    /// Bytes.
    pub size: u64,
}

/// How LUNs are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// What is known without asking for it: the look that is made again and again.
    Known,
    /// What is there when everything is asked again, which may take a few seconds.
    Rescan,
}

/// Where LUNs come from.
pub trait LunSource: Send + Sync + Debug {
    /// What it is called, for messages: a target, the adapters.
    fn name(&self) -> String;

    /// Looks which LUNs are there now; one to which several paths lead is one.
    fn luns(&self, look: Look) -> io::Result<Vec<Lun>>;

    /// Opens a LUN. What is open already is given again; it is closed with its last holder.
    fn open(&self, scsi_id: &str) -> io::Result<Arc<dyn BlockDevice>>;

    /// Why it does not work as it should, in words for an operator; no I/O.
    fn health(&self) -> Option<String> {
        None
    }

    /// Releases what it holds. Idempotent.
    fn release(&self);
}

impl Lun {
    /// The VDI that the LUN is.
    pub fn found(&self, backend_kind: Option<&str>) -> FoundVdi {
        let uuid = vdi_uuid(&self.scsi_id);
        let mut sm_config = BTreeMap::from([
            (LUN_ID.to_owned(), self.lun_id.to_string()),
            (SCSI_ID.to_owned(), self.scsi_id.clone()),
        ]);
        if let Some(kind) = backend_kind {
            sm_config.insert("backend-kind".to_owned(), kind.to_owned());
        }
        FoundVdi {
            uuid,
            location: uuid.to_string(),
            virtual_size: self.size,
            physical_utilisation: self.size,
            managed: false,
            read_only: false,
            sm_config,
            cbt_enabled: false,
            is_cbt_metadata: false,
        }
    }
}

/// The uuid of the VDI that a LUN is: the MD5 of its SCSI id, without any version bits.
///
/// Source: reference 4.7.2; XenServer's `scsiutil.getuniqueserial` and `gen_uuid_from_string`. White space around the id is
/// left out and a run of it inside counts as one `_`, as `scsi_id` prints it.
pub fn vdi_uuid(scsi_id: &str) -> Uuid {
    let words: Vec<&str> = scsi_id.split_ascii_whitespace().collect();
    let digest = Md5::digest(words.join("_").as_bytes());
    Uuid::from_bytes(digest.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digests are those that `printf %s ID | md5sum` prints.
    #[test]
    fn the_uuid_is_the_digest_of_the_id() {
        for (scsi_id, uuid) in [
            (
                "360000000000000000e00000000010001",
                "cc26187c-5707-6d73-0070-e541a4ac88c7",
            ),
            ("1IET_00010001", "bab415f3-62da-8bae-b80e-d3ce45a1ca5c"),
            (
                " SQEMU_QEMU_HARDDISK_one\n",
                "1df8fbbe-ddf6-8a0b-7111-4a17697a6e82",
            ),
            (
                "SQEMU  QEMU HARDDISK_one",
                "1df8fbbe-ddf6-8a0b-7111-4a17697a6e82",
            ),
        ] {
            assert_eq!(vdi_uuid(scsi_id).to_string(), uuid, "{scsi_id:?}");
        }
    }
}
