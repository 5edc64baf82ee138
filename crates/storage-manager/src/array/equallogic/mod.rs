//! EqualLogic groups: a command line over SSH, a volume with an iSCSI target of its own for each VDI.
//!
//! ```text
//! volume_array, volumes, survey, branch, growth, revert, sight, leftovers, labels, management     what VolumeArray asks for, in the order that a crash forgives
//! group       one function for each command, with what it answers
//! sessions    few sessions, shared; one command at a time in each
//! ssh         a session: login, host key, prompt, deadlines
//! screen, fields, table, access, size, names, description     reading and writing texts; pure
//! ```

mod access;
mod branch;
mod claims;
mod description;
mod error;
mod fields;
mod group;
mod growth;
mod labels;
mod leftovers;
mod management;
mod names;
mod revert;
mod screen;
mod sessions;
mod sight;
mod size;
mod sr_volume;
mod ssh;
mod survey;
mod table;
mod volume_array;
mod volumes;
mod wish;
mod zeros;

pub use description::{Allocation, State, VdiNote};
pub use error::{CliError, Refusal};
pub use group::{Group, Object, Pool};
pub use names::{is_quotable, is_word};
pub use screen::Answer;
pub use sessions::{Command, Dial, Sessions, Shell};
pub use sr_volume::SrVolume;
pub use ssh::SshDial;
pub use volumes::{EqualOptions, EqualVolumes, failure};

#[cfg(test)]
mod attack_tests;
#[cfg(test)]
mod reading_tests;
