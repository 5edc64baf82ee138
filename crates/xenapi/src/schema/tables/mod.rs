//! The tables, one file for each class.

mod event;
mod host;
mod host_metrics;
mod message;
mod network;
mod pbd;
mod pif;
mod pool;
mod secret;
mod session;
mod sm;
mod sr;
mod task;
mod vbd;
mod vbd_metrics;
mod vdi;
mod vm;

use super::class::Class;

/// All classes, in the order in which a pool lists their messages.
pub(super) static ALL: &[&Class] = &[
    &session::SESSION,
    &task::TASK,
    &event::EVENT,
    &pool::POOL,
    &vm::VM,
    &host::HOST,
    &host_metrics::HOST_METRICS,
    &network::NETWORK,
    &pif::PIF,
    &sm::SM,
    &sr::SR,
    &vdi::VDI,
    &vbd::VBD,
    &vbd_metrics::VBD_METRICS,
    &pbd::PBD,
    &secret::SECRET,
    &message::MESSAGE,
    &event::EVENT_BATCH,
    &event::PROBE_RESULT,
    &event::SR_STAT,
    &event::NBD_INFO,
];
