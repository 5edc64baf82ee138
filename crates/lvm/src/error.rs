//! What can go wrong with a volume group.

use std::io;

use crate::Id;
use crate::text::SyntaxError;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A device failed.
    Io,
    /// There is no LVM2 on the device.
    NotLvm,
    /// Sound, but of a kind that is not handled or not changed here.
    Unsupported,
    /// A label, a header or the metadata breaks the rules.
    Corrupt,
    /// A physical volume of the group is missing.
    Incomplete,
    /// Devices or areas contradict each other, or somebody else has changed the group.
    Conflict,
    /// No extents or no room for metadata are left.
    NoSpace,
    /// The logical volume is not there.
    NotFound,
    /// The name is taken.
    Exists,
    /// A name, a tag or a size is not possible.
    Invalid,
    /// An earlier commit failed: reload.
    Poisoned,
}

/// A structure on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The label with the physical volume's header behind it.
    Label,
    /// The header of the metadata area with this number.
    AreaHeader(usize),
    /// The metadata text in the area with this number.
    Text(usize),
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Part::Label => f.write_str("LVM2 label"),
            Part::AreaHeader(area) => write!(f, "header of metadata area {area}"),
            Part::Text(area) => write!(f, "text of metadata area {area}"),
        }
    }
}

/// A broken rule: where, which, and what was found in place of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part} has a wrong {field} (found {found:#x}, expected {expected:#x})")]
pub struct Defect {
    /// The structure.
    pub part: Part,
    /// The field of it.
    pub field: &'static str,
    /// The value found.
    pub found: u64,
    /// The value or limit expected.
    pub expected: u64,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A device failed.
    #[error("{action} {length} bytes at offset {offset} of {device}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The device's name.
        device: String,
        /// Byte offset.
        offset: u64,
        /// Bytes.
        length: u64,
        /// The cause.
        source: io::Error,
    },
    /// A device has no label.
    #[error("{device} has no LVM2 label: it is no physical volume")]
    NotPhysicalVolume {
        /// The device's name.
        device: String,
    },
    /// A device has a label already.
    #[error("{device} is an LVM2 physical volume already ({id}): remove its volume group first")]
    IsPhysicalVolume {
        /// The device's name.
        device: String,
        /// The physical volume's identity.
        id: Id,
    },
    /// The devices are physical volumes, but belong to no volume group.
    #[error("{device} belongs to no volume group")]
    NoGroup {
        /// The name of the first device.
        device: String,
    },
    /// A structure on a device is damaged and no other copy of it is sound.
    #[error("{device}: {defect}; compare with pvck --dump headers")]
    Corrupt {
        /// The device's name.
        device: String,
        /// What is wrong.
        defect: Defect,
    },
    /// The text is not of the language.
    #[error("{device}: the metadata cannot be read")]
    Syntax {
        /// The device's name.
        device: String,
        /// Where and why.
        source: SyntaxError,
    },
    /// The text is of the language, but describes no volume group.
    #[error("metadata of {object}: {rule} (found {found:?})")]
    Metadata {
        /// The section: a volume group, a physical or a logical volume.
        object: String,
        /// What does not hold.
        rule: &'static str,
        /// The value found.
        found: String,
    },
    /// The group may not be used from here.
    #[error("volume group {group} is {state}: {remedy}")]
    NotOurs {
        /// The group's name.
        group: String,
        /// What it is.
        state: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The group can be read but has something that is not changed here.
    #[error(
        "volume group {group} cannot be changed here: {object} has {feature}; use the LVM2 tools"
    )]
    Unsupported {
        /// The group's name.
        group: String,
        /// The volume that has it.
        object: String,
        /// What it has.
        feature: String,
    },
    /// Physical volumes are missing.
    #[error("volume group {group} lacks {} of its physical volumes: {missing:?}", missing.len())]
    MissingPhysicalVolumes {
        /// The group's name.
        group: String,
        /// Their identities.
        missing: Vec<Id>,
    },
    /// Two devices say that they are the same physical volume.
    #[error(
        "{first} and {second} both are physical volume {id}: one is a copy or another path; use only one of them"
    )]
    DuplicatePhysicalVolume {
        /// The identity.
        id: Id,
        /// A device's name.
        first: String,
        /// The other's name.
        second: String,
    },
    /// The devices belong to several groups.
    #[error(
        "the devices belong to different volume groups: {first_name} ({first}) and {second_name} ({second})"
    )]
    SeveralGroups {
        /// The name of one.
        first_name: String,
        /// Its identity.
        first: Id,
        /// The name of another.
        second_name: String,
        /// Its identity.
        second: Id,
    },
    /// A device is not, or no longer, in the group.
    #[error(
        "{device} (physical volume {id}) is not in volume group {group}: it was taken out of it or never belonged there"
    )]
    NotMember {
        /// The device's name.
        device: String,
        /// Its identity.
        id: Id,
        /// The group's name.
        group: String,
    },
    /// Two areas hold different metadata of the same sequence number.
    #[error(
        "metadata areas of volume group {group} differ in sequence number {sequence}: somebody else wrote one of them; compare with pvck --dump metadata"
    )]
    AreasDisagree {
        /// The group's name.
        group: String,
        /// The number.
        sequence: u32,
    },
    /// A device is smaller than the metadata says.
    #[error("{device} has {found} bytes, volume group {group} uses {expected} of it")]
    DeviceTooSmall {
        /// The device's name.
        device: String,
        /// The group's name.
        group: String,
        /// Its size.
        found: u64,
        /// What is used.
        expected: u64,
    },
    /// The metadata on the devices is not what was read or written last.
    #[error(
        "volume group {group} was changed by somebody else ({device}): nothing was written; reload it"
    )]
    Changed {
        /// The group's name.
        group: String,
        /// The device on which it was noticed.
        device: String,
    },
    /// Not enough extents are free.
    #[error("volume group {group} has {free} extents free, {wanted} are needed")]
    NoExtents {
        /// The group's name.
        group: String,
        /// Extents needed.
        wanted: u64,
        /// Extents free.
        free: u64,
    },
    /// The metadata does not fit its areas.
    #[error(
        "metadata of volume group {group} takes {needed} bytes, an area on {device} has room for {room}: remove volumes or snapshots"
    )]
    MetadataFull {
        /// The group's name.
        group: String,
        /// The device's name.
        device: String,
        /// Bytes of the text.
        needed: u64,
        /// Bytes that a text may have.
        room: u64,
    },
    /// A logical volume is not there.
    #[error("volume group {group} has no logical volume {name:?}")]
    NotFound {
        /// The group's name.
        group: String,
        /// The name looked for.
        name: String,
    },
    /// A name is taken.
    #[error("volume group {group} already has a logical volume {name:?}")]
    Exists {
        /// The group's name.
        group: String,
        /// The name.
        name: String,
    },
    /// A name or a tag is not possible.
    #[error("{what} {text:?} is not possible: {rule}")]
    Name {
        /// Of what.
        what: &'static str,
        /// The text.
        text: String,
        /// What does not hold.
        rule: &'static str,
    },
    /// A number is not possible.
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
    /// An earlier commit failed half-way.
    #[error("an earlier commit to volume group {group} failed: reload it")]
    Poisoned {
        /// The group's name.
        group: String,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Io { .. } => ErrorKind::Io,
            Error::NotPhysicalVolume { .. } | Error::NoGroup { .. } => ErrorKind::NotLvm,
            Error::NotOurs { .. } | Error::Unsupported { .. } => ErrorKind::Unsupported,
            Error::Corrupt { .. }
            | Error::Syntax { .. }
            | Error::Metadata { .. }
            | Error::DeviceTooSmall { .. } => ErrorKind::Corrupt,
            Error::MissingPhysicalVolumes { .. } => ErrorKind::Incomplete,
            Error::IsPhysicalVolume { .. }
            | Error::DuplicatePhysicalVolume { .. }
            | Error::SeveralGroups { .. }
            | Error::NotMember { .. }
            | Error::AreasDisagree { .. }
            | Error::Changed { .. } => ErrorKind::Conflict,
            Error::NoExtents { .. } | Error::MetadataFull { .. } => ErrorKind::NoSpace,
            Error::NotFound { .. } => ErrorKind::NotFound,
            Error::Exists { .. } => ErrorKind::Exists,
            Error::Name { .. } | Error::Limit { .. } => ErrorKind::Invalid,
            Error::Poisoned { .. } => ErrorKind::Poisoned,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match (&error, error.kind()) {
            (Error::Io { source, .. }, _) => source.kind(),
            (_, ErrorKind::NoSpace) => io::ErrorKind::StorageFull,
            (_, ErrorKind::NotFound) => io::ErrorKind::NotFound,
            (_, ErrorKind::Exists) => io::ErrorKind::AlreadyExists,
            (_, ErrorKind::Invalid) => io::ErrorKind::InvalidInput,
            (_, ErrorKind::Unsupported) => io::ErrorKind::Unsupported,
            (_, ErrorKind::Corrupt | ErrorKind::NotLvm) => io::ErrorKind::InvalidData,
            (
                _,
                ErrorKind::Io | ErrorKind::Incomplete | ErrorKind::Conflict | ErrorKind::Poisoned,
            ) => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
