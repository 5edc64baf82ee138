//! A Xen Storage Manager: XenAPI server, SR types, media and layouts, NBD exports.

pub mod sr;
