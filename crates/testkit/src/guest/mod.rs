//! A virtual machine with a stock Linux kernel, for what only a real kernel client shows.
//!
//! qemu emulates it without KVM: it is up in a few seconds on any machine. The kernel and the programs are Debian packages
//! that `cargo xtask setup` downloads and unpacks below `target/test-tools/guest`, nothing is installed; libraries come from
//! there or from this machine.

mod archive;
mod machine;
mod modules;
mod programs;

pub use machine::{Guest, GuestOutput};
