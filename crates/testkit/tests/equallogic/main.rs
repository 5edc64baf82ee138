//! The emulated EqualLogic group, asked by clients that nobody here wrote: OpenSSH, libiscsi's tools and QEMU's.

mod cli;
mod data;
mod session;
