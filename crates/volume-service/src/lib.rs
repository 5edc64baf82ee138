//! The block storage service: what users ask for, where it is placed, and the durable operations that make it so.
//!
//! `api` calls `app` and nothing else; `app` decides authorisation and quota and writes intent in one transaction; `operation`
//! carries it out through `driver`, which knows XenAPI and nothing but XenAPI.
#![forbid(unsafe_code)]

pub mod api;
pub mod app;
pub mod audit;
pub mod auth;
pub mod config;
pub mod context;
pub mod db;
pub mod driver;
pub mod error;
pub mod model;
pub mod notify;
pub mod operation;
pub mod reconcile;
pub mod scheduler;

pub use config::Config;
pub use context::{Context, RequestContext};
pub use error::{Error, ErrorKind};
