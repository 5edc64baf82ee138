//! The binaries `xensm` and `nova-manage`: configuration, wiring, signals and terminal output. No business rules.
#![forbid(unsafe_code)]

pub mod api_client;
pub mod attach;
pub mod audit;
pub mod chain;
pub mod cli;
pub mod command_record;
pub mod config;
pub mod credentials;
pub mod data_dir;
pub mod data_owner;
pub mod demo;
pub mod failure;
pub mod http_server;
pub mod identity;
pub mod logging;
mod mover;
pub mod pool_client;
pub mod serve;
pub mod service_config;
pub mod sm;
pub mod tls;
pub mod ui;
pub mod vdi;
pub mod webhook;
