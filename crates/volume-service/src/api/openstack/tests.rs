//! The Block Storage routes against a real service; no worker runs, so that volumes stay `creating`.

mod actions;
mod attachments;
mod group_snapshots;
mod groups;
mod hostile;
mod manageable;
mod narrowing;
mod qos_specs;
mod quotas;
mod reading;
mod services;
mod snapshots;
mod table;
mod transfers;
mod volume_types;
mod volumes;
