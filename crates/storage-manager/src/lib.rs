//! A Xen Storage Manager: XenAPI server, SR types, media and layouts, NBD exports.
//!
//! [`StorageManager::open`] takes a [`Config`], [`StorageManager::serve`] runs it.
// Allowed in `io::libiscsi` and nowhere else; other crates forbid it.
#![deny(unsafe_code)]

pub mod array;
mod config;
mod copy;
mod database;
mod error;
pub mod export;
pub mod gc;
pub mod io;
pub mod layout;
pub mod medium;
mod server;
mod service;
pub mod sr;

pub use config::{Config, Secret, TlsFiles};
pub use error::{Error, ErrorKind};
pub use service::{LocalAddresses, StorageManager};
