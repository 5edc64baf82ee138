//! Media: where the bytes of an SR are.

pub mod block_device;
pub mod directory;
pub mod files;
