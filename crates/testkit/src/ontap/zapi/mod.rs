//! The older API, ZAPI, as clustered ONTAP speaks it: what Cinder's driver needs to start, and the family of LUN calls. 7-Mode is not
//! spoken: its calls are answered with 13005, as by a real cluster.

mod element;
mod iterators;
mod luns;
mod system;

pub use system::handle;
