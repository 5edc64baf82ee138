//! The database, the use cases and what they promise, on SQLite and on PostgreSQL.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

mod adoption;
mod attachments;
mod backends;
mod client_tokens;
mod crash;
mod database;
mod direct;
mod ec2_lists;
mod flavors;
mod group_snapshots;
mod group_types;
mod groups;
mod identity;
mod kept;
mod keystone;
mod known_version;
mod measure;
mod modify_volume;
mod operations;
mod overview;
mod paging;
mod quotas;
mod schema;
mod snapshot_sharing;
mod snapshots;
mod support;
mod tags;
mod tenancy;
mod transfers;
mod volume_health;
mod volumes;
mod waiting;
mod webhooks;
