//! Why an array did not do as it was asked.

use uuid::Uuid;

use super::fault::Fault;

/// Why an array did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ArrayError {
    /// The VDI has no volume.
    #[error("{array} has no volume of VDI {vdi}")]
    Missing {
        /// The array.
        array: String,
        /// The VDI.
        vdi: Uuid,
    },
    /// There is a volume already, which is another one.
    #[error("{array} has a volume of VDI {vdi} already: {detail}")]
    Exists {
        /// The array.
        array: String,
        /// The VDI.
        vdi: Uuid,
        /// What is there.
        detail: String,
    },
    /// Somebody uses the volume.
    #[error("the volume of VDI {vdi} is in use: {detail}")]
    InUse {
        /// The VDI.
        vdi: Uuid,
        /// Who, as far as the array tells.
        detail: String,
    },
    /// The array has no such volumes.
    #[error("a volume has {least} to {most} bytes; {asked} were asked for")]
    Size {
        /// Bytes that were asked for.
        asked: u64,
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// Volumes only grow.
    #[error("the volume of VDI {vdi} has {found} bytes; {asked} are fewer")]
    Shrink {
        /// The VDI.
        vdi: Uuid,
        /// Bytes that it has.
        found: u64,
        /// Bytes that were asked for.
        asked: u64,
    },
    /// There is no room.
    #[error("{action} on {array}: {detail}")]
    NoSpace {
        /// The array.
        array: String,
        /// What was attempted.
        action: &'static str,
        /// What the array says, and what can be done.
        detail: String,
    },
    /// Arrays of this kind cannot do that.
    #[error("{action} on {array}: {detail}")]
    Unsupported {
        /// The array.
        array: String,
        /// What was attempted.
        action: &'static str,
        /// Why not.
        detail: String,
    },
    /// It failed in a way that has a number of its own.
    #[error("{detail}")]
    Fault {
        /// Which.
        fault: Fault,
        /// What was attempted, on what, what was found, and what can be done.
        detail: String,
    },
    /// It failed in another way.
    #[error("{action} on {array}")]
    Failed {
        /// The array.
        array: String,
        /// What was attempted.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ArrayError {
    /// The text with those of its causes.
    pub fn chain_text(&self) -> String {
        crate::error::chain_text(self)
    }
}
