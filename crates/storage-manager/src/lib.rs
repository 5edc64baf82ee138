//! A Xen Storage Manager: XenAPI server, SR types, media and layouts, NBD exports.
#![forbid(unsafe_code)]

pub mod export;
pub mod io;
pub mod layout;
pub mod medium;
pub mod sr;
