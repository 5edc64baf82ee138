//! The client against small pools made for the test.

#![allow(clippy::unwrap_used)]

mod calls;
mod pool_server;
mod tasks;
mod tls;
mod vdi_content;
