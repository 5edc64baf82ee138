//! What can go wrong with an image, and the rules that an image can break.

use std::io;

use uuid::Uuid;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The storage failed; the image may be sound.
    Io,
    /// The storage holds no VHD.
    NotVhd,
    /// A VHD, but of a kind that is not handled here, or a call that its access mode does not allow.
    Unsupported,
    /// A VHD that breaks the rules of the format.
    Corrupt,
    /// The caller asked for a size, an offset or a name outside what is possible.
    OutOfRange,
    /// A parent is not there, or the resolver refused it.
    ParentMissing,
    /// What the resolver gave is not the parent that the image was made on.
    ParentChanged,
    /// The image failed earlier or was closed: reopen it.
    Poisoned,
}

/// A structure of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The footer at the end.
    PrimaryFooter,
    /// The copy of the footer at offset 0.
    BackupFooter,
    /// The dynamic header.
    Header,
    /// The block allocation table.
    Bat,
    /// The map of completely filled blocks.
    Batmap,
    /// The bitmap of the block with this index.
    Bitmap(u32),
    /// The parent locator in this slot.
    Locator(u8),
    /// The parent image.
    Parent,
    /// The undo journal of a resize.
    Journal,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Part::PrimaryFooter => f.write_str("primary footer"),
            Part::BackupFooter => f.write_str("backup footer"),
            Part::Header => f.write_str("header"),
            Part::Bat => f.write_str("BAT"),
            Part::Batmap => f.write_str("batmap"),
            Part::Bitmap(block) => write!(f, "bitmap of block {block}"),
            Part::Locator(slot) => write!(f, "parent locator {slot}"),
            Part::Parent => f.write_str("parent"),
            Part::Journal => f.write_str("resize journal"),
        }
    }
}

/// A rule of the format. The texts follow the words of `vhd-util check` where it has some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rule {
    /// The cookie names the structure.
    #[error("invalid cookie")]
    Cookie,
    /// The checksum fits the bytes.
    #[error("invalid checksum")]
    Checksum,
    /// The reserved feature bit is set and no unknown one is.
    #[error("invalid features")]
    Features,
    /// The version is known.
    #[error("invalid version")]
    Version,
    /// The data offset is what the type demands.
    #[error("invalid data offset")]
    DataOffset,
    /// The timestamp is not in the future.
    #[error("creation time in future")]
    Timestamp,
    /// The creator's version is known.
    #[error("unsupported creator version")]
    CreatorVersion,
    /// The geometry holds no more than the virtual size.
    #[error("geometry too large")]
    Geometry,
    /// The type is fixed, dynamic or differencing.
    #[error("invalid type")]
    ImageType,
    /// The virtual size is a whole number of sectors and within the limit.
    #[error("invalid virtual size")]
    VirtualSize,
    /// The saved-state byte is 0 or 1.
    #[error("invalid saved state")]
    SavedState,
    /// The hidden byte is 0 or 1.
    #[error("invalid hidden flag")]
    Hidden,
    /// Reserved bytes are zero.
    #[error("invalid 'reserved' bits")]
    Reserved,
    /// The uuid is not nil.
    #[error("uuid is null")]
    NilUuid,
    /// Both footers are equal.
    #[error("primary and backup footers differ")]
    FootersDiffer,
    /// The length of the file fits the format.
    #[error("invalid file size")]
    FileSize,
    /// The BAT lies inside the file, aligned, behind the header.
    #[error("invalid table offset")]
    TableOffset,
    /// The BAT has an entry for every block.
    #[error("table too small")]
    TableSize,
    /// The block size is a power of two between 4 KiB and 2 MiB.
    #[error("invalid block size")]
    BlockSize,
    /// Only a differencing image names a parent.
    #[error("unexpected parent fields")]
    UnexpectedParent,
    /// The parent's timestamp is not in the future.
    #[error("parent creation time in future")]
    ParentTimestamp,
    /// The parent's name can be decoded.
    #[error("invalid parent name")]
    ParentName,
    /// A block lies behind the metadata.
    #[error("block overlaps the metadata")]
    BlockInMetadata,
    /// A block lies inside the file.
    #[error("block past the end of the file")]
    BlockPastEnd,
    /// Two blocks do not overlap.
    #[error("blocks overlap")]
    BlockOverlap,
    /// The last block does not run into the footer.
    #[error("block overlaps the footer")]
    BlockInFooter,
    /// The batmap lies behind the BAT, inside the file and off other metadata.
    #[error("invalid batmap offset")]
    BatmapOffset,
    /// The batmap has a bit for every block.
    #[error("batmap too small")]
    BatmapSize,
    /// A block that the batmap calls full has every bit of its bitmap set.
    #[error("batmap marks a block as full that is not")]
    BatmapFull,
    /// A locator's data lies inside the file and off other metadata.
    #[error("invalid locator offset")]
    LocatorOffset,
    /// A locator's data fits its space.
    #[error("invalid locator length")]
    LocatorLength,
    /// A locator's platform code is known.
    #[error("invalid locator platform code")]
    LocatorCode,
    /// A locator's data can be decoded.
    #[error("undecodable locator")]
    LocatorText,
    /// All locators name the same parent.
    #[error("locators name different parents")]
    LocatorsDiffer,
    /// A differencing image has a locator.
    #[error("no parent locator")]
    NoLocator,
    /// The parent can be opened.
    #[error("parent cannot be opened")]
    ParentMissing,
    /// A journal is that of the image which it is used for.
    #[error("journal of another image")]
    JournalUuid,
    /// A parent keeps its blocks while a chain has it open.
    #[error("parent has lost a block while it was open")]
    ParentChanged,
    /// The parent's uuid is the one in the header.
    #[error("parent uuid has changed")]
    ParentUuid,
}

/// A broken rule: where, and what was found in place of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part} invalid: {rule} (found {found:#x}, expected {expected:#x})")]
pub struct Defect {
    /// The structure.
    pub part: Part,
    /// The rule.
    pub rule: Rule,
    /// The value found.
    pub found: u64,
    /// The value or limit expected.
    pub expected: u64,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The storage failed.
    #[error("{action} {length} bytes at offset {offset}")]
    Io {
        /// What was attempted: `read`, `write`, `flush` ...
        action: &'static str,
        /// Byte offset in the storage.
        offset: u64,
        /// Bytes asked for.
        length: u64,
        /// The cause.
        source: io::Error,
    },
    /// No footer was found.
    #[error("no VHD footer in the first or last sector of {length} bytes")]
    NotVhd {
        /// Length of the storage.
        length: u64,
    },
    /// The image is of a kind that is not handled here.
    #[error("{what} is not supported (found {found:#x})")]
    Unsupported {
        /// The property.
        what: &'static str,
        /// Its value.
        found: u64,
    },
    /// A resize was interrupted.
    #[error("a resize of this image was interrupted: revert it with its journal")]
    Resizing,
    /// The image was opened read-only.
    #[error("{action} refused: the image is open read-only")]
    ReadOnly {
        /// What was attempted.
        action: &'static str,
    },
    /// The image breaks a rule of the format.
    #[error("{0}")]
    Corrupt(Defect),
    /// A range does not lie inside the image.
    #[error("range of {length} bytes at {offset} is past the end of the image of {size} bytes")]
    OutOfRange {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// Virtual size of the image.
        size: u64,
    },
    /// A size, count or name length is not possible.
    #[error("{what} is {found}, allowed is {minimum} to {maximum}")]
    Limit {
        /// The quantity.
        what: &'static str,
        /// The value asked for.
        found: u64,
        /// The smallest possible value.
        minimum: u64,
        /// The largest possible value.
        maximum: u64,
    },
    /// The parent is not there or was refused.
    #[error("parent {uuid} named {name:?} is missing")]
    ParentMissing {
        /// The parent's uuid; nil for a raw parent.
        uuid: Uuid,
        /// The name in the image, which is untrusted.
        name: String,
        /// Why, if there is more to tell.
        source: Option<io::Error>,
    },
    /// The parent is another image than the one the child was made on.
    #[error("parent named {name:?} has uuid {found}, the child was made on {expected}")]
    ParentChanged {
        /// The name in the image, which is untrusted.
        name: String,
        /// The uuid found.
        found: Uuid,
        /// The uuid in the child's header.
        expected: Uuid,
    },
    /// The chain leads back to an image that is already in it.
    #[error("image {uuid} is its own ancestor")]
    Cycle {
        /// The image met twice.
        uuid: Uuid,
    },
    /// An earlier flush or metadata write failed.
    #[error("an earlier flush or metadata write of this image failed: reopen it")]
    Poisoned,
    /// The image was closed.
    #[error("the image was closed: reopen it")]
    Closed,
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Io { .. } => ErrorKind::Io,
            Error::NotVhd { .. } => ErrorKind::NotVhd,
            Error::Unsupported { .. } | Error::ReadOnly { .. } => ErrorKind::Unsupported,
            Error::Resizing => ErrorKind::Corrupt,
            Error::Corrupt(_) | Error::Cycle { .. } => ErrorKind::Corrupt,
            Error::OutOfRange { .. } | Error::Limit { .. } => ErrorKind::OutOfRange,
            Error::ParentMissing { .. } => ErrorKind::ParentMissing,
            Error::ParentChanged { .. } => ErrorKind::ParentChanged,
            Error::Poisoned | Error::Closed => ErrorKind::Poisoned,
        }
    }

    /// The error of the operating system behind this one, if there is one (a full medium is `StorageFull`).
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Error::Io { source, .. } => Some(source.kind()),
            Error::ParentMissing {
                source: Some(source),
                ..
            } => Some(source.kind()),
            _ => None,
        }
    }
}

impl From<Defect> for Error {
    fn from(defect: Defect) -> Self {
        Error::Corrupt(defect)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match (error.io_kind(), error.kind()) {
            (Some(kind), _) => kind,
            (None, ErrorKind::OutOfRange) => io::ErrorKind::InvalidInput,
            (None, ErrorKind::Unsupported) => io::ErrorKind::Unsupported,
            (None, ErrorKind::ParentMissing) => io::ErrorKind::NotFound,
            (None, ErrorKind::Poisoned | ErrorKind::Io) => io::ErrorKind::Other,
            (None, ErrorKind::NotVhd | ErrorKind::Corrupt | ErrorKind::ParentChanged) => {
                io::ErrorKind::InvalidData
            }
        };
        io::Error::new(kind, error)
    }
}
