//! Who owns a shared SR: a record on the medium that expires, so that no two storage managers write metadata.
//!
//! `record` is the record, `protocol` how it is taken and renewed (pure but for the store and the clock that it is given), `process`
//! tells whether a holder on this machine is dead, `ownership` keeps a record renewed and answers [`Ownership::check`],
//! `owned_files` and `owned_device` ask that before every write, `file_store` keeps the record in a file of the SR; an SR on a
//! volume group keeps it in a volume, see `layout::lvhd::owner_volume`.
//!
//! | wait | how long | why |
//! |---|---|---|
//! | record free, or its holder a dead process of this machine | [`Timing::settle`], 0.4 s | a claim of another that began at the same moment lands meanwhile |
//! | the same, and the medium answered slowly | [`Timing::expiry`], 30 s | a holder renews in that time and overwrites a claim that landed late |
//! | record held | at most [`Timing::expiry`], 30 s | ends when it is renewed (refused, 5 s at most) or was not (taken over) |
//! | a write of an owner that could not renew | at most [`CHECK_WAIT`], 30 s | goes on when the medium is back and nobody took over |
//!
//! An owner believes itself one for [`Timing::valid_for`], 20 s, after a renewal began, and a record is taken over after 30 s: the
//! 10 s between are for writes under way, so a medium must answer or give up a request within them. Time is that of this
//! machine's boot clock, which no setting of the date changes; of another machine's clock only the rate counts. A virtual machine
//! that is stopped as a whole and goes on notices at its next renewal, 5 s at most.

mod file_store;
mod owned_device;
mod owned_files;
mod ownership;
mod process;
mod protocol;
mod record;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use file_store::{FileOwnerStore, OWNER_NAME};
pub use owned_device::OwnedDevice;
pub use owned_files::OwnedFiles;
pub use ownership::{CHECK_WAIT, NotOwner, Ownership};
pub use protocol::{OwnerError, OwnerStore, Timing};
pub use record::{OwnerRecord, RECORD_LENGTH, RecordBytes, RecordState};
