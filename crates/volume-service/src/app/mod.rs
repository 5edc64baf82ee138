//! Use cases. Both APIs and the command line call these and nothing else; authorisation, quota and policy are decided here
//! and nowhere else. A call writes its intent in one transaction; waiting for the outcome is the caller's choice.

pub mod attachments;
pub mod backends;
mod delete_volume;
pub mod detaching;
mod extend_volume;
pub mod flavors;
pub mod identity;
pub mod limits;
pub mod messages;
pub mod modifications;
pub mod overview;
mod page;
mod policy;
mod quota;
pub mod reset_status;
pub mod retype;
mod revert_volume;
mod service;
pub mod snapshots;
pub mod sr_types;
mod tokens;
pub mod volume_flags;
mod volume_source;
pub mod volumes;

pub use page::Page;
pub use service::Service;
