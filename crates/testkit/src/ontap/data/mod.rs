//! Where the bytes of LUNs are: sparse files, a real tgt that serves them, and portals in front of it that show each initiator
//! its own LUNs.

mod discovery;
pub mod files;
pub mod gate;
mod login;
mod pdu;
pub mod portal;
pub mod relay;
pub mod target;
