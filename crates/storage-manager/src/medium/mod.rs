//! Media: where the bytes of an SR are.

pub mod block_device;
pub mod directory;
pub mod files;
pub mod hba;
pub mod iscsi;
pub mod local_device;
mod local_file;
#[cfg(test)]
pub(crate) mod memory_device;
pub mod multipath;
pub mod nfs;
pub mod owner;
pub mod probe_document;
pub mod scsi_id;
pub mod signature;
pub mod unflushed;
