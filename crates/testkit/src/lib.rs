//! Real servers and clients for the tests; used from `tests/` only.
#![forbid(unsafe_code)]

pub mod equallogic;
pub mod guest;
pub mod installation;
pub mod iscsi_target;
pub mod keystone;
pub mod lvm_tools;
pub mod nfs_server;
pub mod ontap;
pub mod port;
pub mod postgres;
pub mod process;
pub mod scratch;
pub mod tempest;
pub mod tool;
pub mod wait;
