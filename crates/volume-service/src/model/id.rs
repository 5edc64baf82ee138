//! One type per kind of id.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map($name)
            }
        }
    };
}

uuid_id!(
    /// A volume's id, for life.
    VolumeId
);
uuid_id!(
    /// A snapshot's id, for life.
    SnapshotId
);
uuid_id!(
    /// A flavor's id (OpenStack's volume type id).
    FlavorId
);
uuid_id!(
    /// An attachment's id.
    AttachmentId
);
uuid_id!(
    /// An operation's id.
    OperationId
);
uuid_id!(
    /// An instance's id: the VM's uuid.
    InstanceId
);
uuid_id!(
    /// The id of a group of volumes.
    GroupId
);
uuid_id!(
    /// A group type's id.
    GroupTypeId
);
uuid_id!(
    /// A group snapshot's id.
    GroupSnapshotId
);

/// A backend's number, as `nova-manage sm backend_list` shows it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct BackendId(pub i64);

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the ids of volumes begin with that snapshots are written to.
const UPLOAD: [u8; 5] = [0xff; 5];

impl VolumeId {
    /// Stands where a snapshot is of no volume: a copy, or one that was written block by block.
    pub const NONE: VolumeId = VolumeId(Uuid::from_u128(0xffff_ffff_ffff_4fff_8fff_ffff_ffff_ffff));

    /// The same as the id of a volume that a snapshot is written to.
    pub(crate) fn of_upload(self) -> Self {
        let mut bytes = self.0.into_bytes();
        bytes[..UPLOAD.len()].copy_from_slice(&UPLOAD);
        VolumeId(Uuid::from_bytes(bytes))
    }

    /// What EC2's clients are shown as the volume of a snapshot: of one that was written, `vol-ffffffff`, as AWS shows it.
    pub fn ec2_origin(self) -> String {
        match self.0.as_bytes().starts_with(&UPLOAD) {
            true => "vol-ffffffff".to_owned(),
            false => self.ec2_id(),
        }
    }

    /// The volume's EC2 name: `vol-` and the first 17 hex digits of the uuid; `vol-ffffffff` for none, as EC2 has it.
    pub fn ec2_id(self) -> String {
        if self == VolumeId::NONE {
            return "vol-ffffffff".to_owned();
        }
        let hex = self.0.simple().to_string();
        format!("vol-{}", &hex[..17])
    }
}

impl SnapshotId {
    /// The snapshot's EC2 name: `snap-` and the first 17 hex digits of the uuid.
    pub fn ec2_id(self) -> String {
        let hex = self.0.simple().to_string();
        format!("snap-{}", &hex[..17])
    }
}

impl InstanceId {
    /// The instance's EC2 name: `i-` and the first 17 hex digits of the uuid.
    pub fn ec2_id(self) -> String {
        let hex = self.0.simple().to_string();
        format!("i-{}", &hex[..17])
    }
}
