//! XenAPI: the wire (XML-RPC and JSON-RPC), the storage classes, the fault codes and a client.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod client;
pub mod date;
pub mod failure;
pub mod filter;
pub mod jsonrpc;
pub mod probe;
pub mod record;
pub mod reference;
pub mod schema;
pub mod value;
pub mod wire;
pub mod xmlrpc;

pub use client::Client;
pub use failure::Failure;
pub use value::{NULL_REF, Value};
