//! The XenAPI server.
//!
//! ```text
//! listen -> http -> dispatch -> generated           getters, setters and listings of every class
//!                       |
//!                       +-----> classes/<class>     one file per class, for the messages that do something
//!                                   |      |
//!                                   |      +> storage -> sr_threads -> sr (the driver)
//!                                   +> database
//!              \--> transfer                   content of VDIs: import and export
//! ```

pub mod allowed;
pub mod attachments;
pub mod auto_scan;
pub mod barrier;
pub mod blocks_plugin;
pub mod call;
pub mod classes;
mod close_delimited;
pub mod coalesce;
pub mod coalesce_plugin;
pub mod config_changes;
pub mod connection;
pub mod context;
pub mod dispatch;
pub mod events;
pub mod filter;
pub mod first_start;
pub mod forgotten_luns;
pub mod generated;
pub mod health;
pub mod http;
pub mod images;
pub mod labels;
pub mod listen;
pub mod lun_users;
pub mod metrics;
pub mod operations;
pub mod reconcile;
pub mod recovery;
pub mod sessions;
pub mod sr_threads;
pub mod storage;
pub mod taken_vdis;
pub mod tasks;
pub mod transfer;
pub mod vdi_records;

pub use context::Server;
