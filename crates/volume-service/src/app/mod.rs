//! Use cases. Both APIs and the command line call these and nothing else; authorisation, quota and policy are decided here
//! and nowhere else. A call writes its intent in one transaction; waiting for the outcome is the caller's choice.

pub mod adoption;
pub mod attachments;
pub mod backends;
pub mod backups;
pub mod cleanup;
pub mod default_flavors;
mod delete_volume;
pub mod detaching;
mod extend_volume;
pub mod flavor_access;
mod flavor_choice;
pub mod flavor_encryption;
pub mod flavor_specs;
pub mod flavors;
pub mod identity;
pub mod limits;
pub mod log_levels;
pub mod messages;
pub mod modifications;
pub mod narrowing;
pub mod overview;
mod page;
mod policy;
pub mod pools;
pub mod qos_specs;
mod quota;
pub mod quotas;
mod refusal;
pub mod reset_status;
pub mod retype;
mod revert_volume;
mod service;
pub mod services;
pub mod snapshots;
pub mod sr_types;
mod tokens;
pub mod transfers;
pub mod volume_flags;
mod volume_source;
pub mod volume_summary;
pub mod volumes;
pub mod webhooks;

pub use page::Page;
pub use service::Service;
