//! XenAPI: the wire (XML-RPC and JSON-RPC), the storage classes, the fault codes and a client.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod failure;
pub mod value;

pub use failure::Failure;
pub use value::{NULL_REF, Value};
