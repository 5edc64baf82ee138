//! The xensm driver: what operations ask of a pool, in XenAPI and nothing but XenAPI.
//!
//! `pool` is the seam; `marks` says how our objects in a pool are known again; `error` turns a pool's answer into ours.

mod error;
mod instances;
mod marks;
mod moment;
mod mover;
mod pool;
mod pool_mover;
mod probe;
mod xenapi_error;
mod xenapi_instances;
mod xenapi_pool;
mod xenapi_vdi;

pub use error::{PoolError, Trouble};
pub use instances::FoundInstance;
pub use marks::{
    ATTACHMENT_KEY, BACKEND_KEY, DEPLOYMENT_KEY, Deployment, GENERATION_KEY, INSTANCE_TYPE_KEY,
    MAKING_KEY, Making, NBD_EXPORT_KEY, NBD_SOCKET_KEY, NotMaking, OPERATION_KEY, PROJECT_KEY,
    SELF_KEY, SNAPSHOT_KEY, TEMPORARY_KEY, VOLUME_KEY, VdiOwner, vdi_description, vdi_label,
};
pub use moment::{BARRIER_KEY, MOMENT_MEMBERS, MomentOutcomes, all_made};
pub use mover::{Dialer, Disk, Door, Mover, RangeMap, Run};
pub use pool::{
    ForeignVdi, FoundSr, FoundVbd, FoundVdi, NbdEndpoint, Pool, PoolFuture, Resize, SrSpace,
    SrSpec, Unplug, VbdSpec, VbdTarget, VdiMarks, VdiSpec,
};
pub use pool_mover::PoolMover;
pub use probe::Probed;
pub use xenapi_pool::XenApiPool;
