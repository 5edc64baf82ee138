//! SQL and migrations, one file per table. The only room that holds SQL.
//!
//! The same statements run on SQLite and PostgreSQL. Closures are synchronous and run on threads that own a connection; on
//! both one writer thread commits the closures of concurrent callers together, so that one flush to stable storage serves many
//! requests. A closure may run more than once and must have no effect but its SQL.
//! `docs/internals/database.md` explains the whole.

mod any_of;
mod database;
mod ec2_names;
mod failure;
mod job;
mod migrate;
mod param;
mod postgresql;
mod row;
mod select;
mod session;
mod signals;
mod sqlite;
mod transaction;

pub mod adoptions;
pub mod attachment_list;
pub mod attachments;
pub mod backend_rooms;
pub mod backends;
pub mod client_tokens;
pub mod credentials;
pub mod default_flavors;
pub mod direct_uploads;
pub mod directory;
pub mod flavor_access;
pub mod flavor_encryption;
pub mod flavor_list;
pub mod flavor_specs;
pub mod flavors;
pub mod group_list;
pub mod group_snapshots;
pub mod group_types;
pub mod groups;
pub mod identity;
pub mod instance_attachments;
pub mod instance_tags;
pub mod instances;
pub mod known_version;
pub mod message_list;
pub mod messages;
pub mod narrowing;
pub mod operations;
pub mod project_settings;
pub mod qos_specs;
pub mod quotas;
pub mod retired_vdis;
pub mod service_states;
pub mod services;
pub mod settings;
pub mod snapshot_ebs;
pub mod snapshot_lineage;
pub mod snapshot_list;
pub mod snapshot_locks;
pub mod snapshot_metadata;
pub mod snapshot_shares;
pub mod snapshot_traits;
pub mod snapshots;
pub mod tags;
pub mod transfers;
pub mod volume_ebs;
pub mod volume_extensions;
pub mod volume_list;
pub mod volume_metadata;
pub mod volume_modifications;
pub mod volume_traits;
pub mod volumes;
pub mod webhooks;
pub mod zone_usage;

pub use database::Database;
pub use param::Param;
pub use row::Row;
pub use transaction::{Fate, Transaction};
