//! ONTAP's REST interface, of 9.11.1 and later. Source: reference arrays 3.

mod access;
mod client;
mod json;
mod luns;
mod system;
mod volumes;

pub use client::Client;
pub use system::Support;
