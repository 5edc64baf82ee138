//! A client of one pool.
//!
//! [`Client`] logs in when first used, logs in again once when its session has expired, and follows the pool to its
//! master. Every call has a deadline. A call that changes something is never repeated after a transport error: the
//! error says whether it may have been executed ([`Error::outcome`]), and the caller looks.

mod body;
mod call;
mod connector;
mod endpoint;
mod error;
mod event;
mod options;
mod pool;
mod secret;
mod session;
mod sr;
mod task;
mod tls;
mod vbd;
mod vdi;
mod vdi_content;

pub use call::{Client, MAX_READ_REPEATS};
pub use endpoint::Endpoint;
pub use error::{Error, Outcome, Sent};
pub use event::{Event, EventBatch, Events, Operation};
pub use options::Options;
pub use pool::{Hosts, Pools, Sms, Vms};
pub use secret::Secrets;
pub use session::{Credentials, MAX_REDIRECTS};
pub use sr::{IntroduceSr, NewPbd, NewSr, Pbds, Srs};
pub use task::Tasks;
pub use tls::Trust;
pub use vbd::{NewVbd, VbdMode, Vbds};
pub use vdi::{NbdInfo, NewVdi, Vdis};
pub use vdi_content::CopyTarget;
