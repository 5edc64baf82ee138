//! The older API, ZAPI, as clustered ONTAP speaks it: what Cinder's driver needs to start, and the families of calls
//! about FlexVols, LUNs, access and CHAP accounts. 7-Mode is not spoken: its calls are answered with 13005, as by a real cluster.

mod element;
mod iscsi;
mod iterators;
mod luns;
mod system;
mod volumes;

pub use system::{called, handle, refused};
