//! libiscsi, loaded when it is first needed: the only `unsafe` code of the project.
//!
//! What is exported is safe: a [`Context`] is one connection to one target, driven by whoever holds it; memory is handed to the
//! library by [`lend`], which does not return before the library has let go of it. Commands and answers are bytes: SCSI is spoken in
//! `medium/iscsi`, in safe code.
//!
//! Audit: `functions.rs` declares what is called, `context.rs` calls it, `lend.rs` crosses threads. Each block says why it is
//! sound; `layout_tests.rs` compares what is read from the library's structures with the header of its package.
#![allow(
    unsafe_code,
    reason = "a C library can be called in no other way; docs/decisions/2026-11-22-libiscsi.md"
)]

mod context;
mod functions;
#[cfg(test)]
mod layout_tests;
mod lend;

pub use context::{
    Answer, Context, Credentials, Event, MAX_TRANSFER, Opening, Readiness, Sense, Status, Target,
    wait_for,
};
pub use functions::{Library, LoadError};
pub use lend::{Lent, Transfer, lend};
