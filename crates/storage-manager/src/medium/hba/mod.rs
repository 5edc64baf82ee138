//! LUNs behind host bus adapters of this machine: Fibre Channel, SAS, hardware iSCSI, and whatever else the kernel shows as a
//! SCSI host.
//!
//! ```text
//! adapters    which SCSI hosts there are                                      /sys/class/scsi_host, fc_host, iscsi_host
//! lun_paths   which disks the kernel sees through them, and who each is       /sys/bus/scsi/devices
//! hba_luns    the LUNs: paths with one SCSI id are one LUN                    (the source of LUNs for SR types)
//! devlist     the XML document that tells operators of both
//! path_device one path, opened past the page cache                            /dev/sdX
//! lun_device  one LUN over all its paths, whatever the alignment
//! ```
//!
//! The kernel's own multipathing is not used: each path is a device of its own here, and [`super::multipath`] chooses. Paths are
//! opened with `O_DIRECT`, since each has a page cache of its own that would not know what came over another, and with
//! `O_EXCL`, which keeps out what is mounted, or taken by a volume manager or by `multipathd`.

mod adapters;
mod devlist;
mod hba_luns;
mod lun_device;
mod lun_paths;
mod path_device;
mod sysfs;

#[cfg(test)]
mod recorded_tree;
#[cfg(test)]
mod tests;

pub use adapters::{Adapter, Transport, adapters};
pub use devlist::devlist;
pub use hba_luns::HbaLuns;
pub use lun_device::LunDevice;
pub use lun_paths::{LunPath, ScsiAddress, by_lun, lun_paths};
pub use path_device::PathDevice;
pub use sysfs::Sysfs;
