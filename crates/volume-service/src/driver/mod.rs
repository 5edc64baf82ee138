//! The xensm driver: what operations ask of a pool, in XenAPI and nothing but XenAPI.
//!
//! `pool` is the seam; `marks` says how our objects in a pool are known again; `error` turns a pool's answer into ours.

mod error;
mod marks;
mod pool;
mod xenapi_error;
mod xenapi_pool;

pub use error::{PoolError, Trouble};
pub use marks::{
    ATTACHMENT_KEY, BACKEND_KEY, DEPLOYMENT_KEY, Deployment, GENERATION_KEY, NBD_EXPORT_KEY,
    NBD_SOCKET_KEY, OPERATION_KEY, VOLUME_KEY, vdi_description, vdi_label,
};
pub use pool::{
    FoundSr, FoundVbd, FoundVdi, NbdEndpoint, Pool, PoolFuture, SrSpace, SrSpec, VbdSpec, VdiSpec,
};
pub use xenapi_pool::XenApiPool;
