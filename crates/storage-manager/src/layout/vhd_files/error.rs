//! What can go wrong with images in an SR directory.

use std::io;
use std::path::PathBuf;

use uuid::Uuid;

/// Result of this layout.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{action} {}", path.display())]
    Io {
        /// What was attempted: `create`, `remove` ...
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// An image could not be read or written as an image.
    #[error("{action} {}", path.display())]
    Image {
        /// What was attempted: `create`, `open` ...
        action: &'static str,
        /// The image.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: vhd::Error,
    },
    /// There is an image of this VDI already.
    #[error("{} exists already", path.display())]
    Exists {
        /// The image.
        path: PathBuf,
    },
    /// There is no image of this VDI.
    #[error("there is no image of VDI {uuid} in {}", directory.display())]
    Missing {
        /// The VDI.
        uuid: Uuid,
        /// The SR directory.
        directory: PathBuf,
    },
    /// The image is open, here or in another process, in a way that excludes what was asked for.
    #[error("image of VDI {uuid} is open for another consumer; detach it there first")]
    InUse {
        /// The VDI.
        uuid: Uuid,
    },
    /// Other images are based on this one.
    #[error("image of VDI {uuid} is the parent of {child}; delete that first")]
    HasChildren {
        /// The VDI.
        uuid: Uuid,
        /// One of its children.
        child: Uuid,
    },
    /// The image is kept only as a parent of others.
    #[error("image of VDI {uuid} is hidden: it is kept only as the parent of others")]
    Hidden {
        /// The VDI.
        uuid: Uuid,
    },
    /// A raw image can have no children and no other size.
    #[error("VDI {uuid} is raw; only VHDs can be {action}")]
    Raw {
        /// The VDI.
        uuid: Uuid,
        /// What was attempted, as a participle.
        action: &'static str,
    },
    /// The chain of the image is as long as it may be.
    #[error(
        "the chain of VDI {uuid} has {depth} images and may have {limit} with the new one; delete snapshots or clones of it that nobody needs, and wait until the garbage collector has merged their images"
    )]
    ChainFull {
        /// The VDI.
        uuid: Uuid,
        /// Images of its chain.
        depth: usize,
        /// The most images.
        limit: usize,
    },
    /// An image can only grow.
    #[error("virtual size {wanted} is below the present one of VDI {uuid}, {found} bytes")]
    Shrink {
        /// The VDI.
        uuid: Uuid,
        /// Bytes that it has.
        found: u64,
        /// Bytes asked for.
        wanted: u64,
    },
    /// A change of the image was interrupted and could not be finished or undone at attach.
    #[error(
        "a change of the image of VDI {uuid} was interrupted and left {found}; read the log of the last attach of the SR, repair the image, then attach the SR again"
    )]
    Unfinished {
        /// The VDI.
        uuid: Uuid,
        /// The file that was left.
        found: String,
    },
    /// A size that an image cannot have.
    #[error("virtual size {found} is above the largest, {maximum} bytes")]
    Size {
        /// Bytes asked for.
        found: u64,
        /// The largest virtual size in bytes.
        maximum: u64,
    },
    /// The name of a parent means no image of this SR.
    #[error(
        "the parent is named {name:?}, which is not <uuid>.vhd or <uuid>.raw; parents are looked for in the SR only"
    )]
    ForeignParent {
        /// The name in the image, which is untrusted.
        name: String,
    },
    /// A parent is not in the SR.
    #[error("its parent {parent} is not in the SR")]
    ParentMissing {
        /// The parent's file name.
        parent: String,
    },
    /// A parent could not be read.
    #[error("its parent {parent} is damaged")]
    ParentDamaged {
        /// The parent's file name.
        parent: String,
    },
    /// The parents lead back to the image, or there are too many.
    #[error("its chain has more than {limit} images or leads back to itself")]
    ChainTooLong {
        /// The longest chain.
        limit: usize,
    },
    /// The name of a file is not one that an image can have.
    #[error("its name is not a lower-case uuid with hyphens, so it is no VDI; rename or remove it")]
    Misnamed,
    /// Two images have one uuid.
    #[error("there is a .vhd of the same uuid, which is used; rename or remove one of them")]
    Duplicate,
    /// An image may be based on any other, for what it says of itself cannot be read.
    #[error("an image of the SR cannot be read and may be based on any other; repair or remove it")]
    Unreadable,
    /// An earlier flush of the image failed.
    #[error(
        "an earlier flush of the image of VDI {uuid} failed, so what of the last writes is on the medium is not known; detach the VDI and attach it again"
    )]
    Poisoned {
        /// The VDI.
        uuid: Uuid,
    },
    /// A change-tracking log is damaged.
    #[error("read the change-tracking log of VDI {vdi}")]
    ChangeLog {
        /// The VDI.
        vdi: Uuid,
        /// What is wrong with it.
        #[source]
        source: crate::layout::cbt_log::Defect,
    },
    /// A change-tracking log was not closed, and nothing is left that could complete it.
    #[error(
        "the change-tracking log of VDI {vdi} was not closed, so blocks may be missing in it; make a full backup"
    )]
    LogInconsistent {
        /// The VDI.
        vdi: Uuid,
    },
    /// Change tracking is for VHDs.
    #[error("VDI {vdi} is raw, and change tracking is for VHDs only")]
    RawTracking {
        /// The VDI.
        vdi: Uuid,
    },
    /// A VDI has no change-tracking log.
    #[error("VDI {vdi} has no change-tracking log")]
    NotTracked {
        /// The VDI.
        vdi: Uuid,
    },
    /// The image was closed.
    #[error("the image of VDI {uuid} was closed")]
    Closed {
        /// The VDI.
        uuid: Uuid,
    },
}

impl Error {
    /// The error of the operating system behind this one, if there is one.
    pub fn io_error(&self) -> Option<&io::Error> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(io_error) = error.downcast_ref::<io::Error>() {
                return Some(io_error);
            }
            cause = error.source();
        }
        None
    }

    /// This error and its causes on one line.
    pub fn chain_text(&self) -> String {
        crate::error::chain_text(self)
    }
}
