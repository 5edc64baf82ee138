//! The NBD protocol: server, export trait and a small client.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod export;

pub use export::{BlockStatus, Export, Extent};
