//! ZAPI as clustered ONTAP from 9.1 on speaks it: XML over HTTP, for versions whose REST interface lacks what is needed.
//! Source: reference arrays 4, and the public definitions of NetApp's SDK for the names of fields.
//!
//! `element` is XML, `client` the envelope and the lists that come in pages; the other files are the calls.
//!
//! ```text
//! lost answer   a question is asked again; a change is looked for by what is above, as with REST
//! dedup         volume-create, then sis-enable: a crash between leaves part of an SR, which the next SR.create sweeps away
//! delete        volume-destroy takes the FlexVol offline itself: no crash leaves it offline
//! ```

mod access;
mod client;
mod element;
mod luns;
mod system;
mod volumes;

pub use client::Client;
