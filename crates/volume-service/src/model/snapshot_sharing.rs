//! Whom snapshots are shared with, and whether with everybody.

/// Stands for every project among those that a snapshot is shared with.
pub const EVERYBODY: &str = "*";

/// The name of a project's setting for [`PublicAccess`].
pub const PUBLIC_ACCESS: &str = "snapshot_public_access";
/// See [`PublicAccess::BlockAll`].
pub const BLOCK_ALL: &str = "block-all-sharing";

/// Whether a project's snapshots may be public.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PublicAccess {
    /// They may.
    #[default]
    Unblocked,
    /// Those that are stay so, and no other one becomes so.
    BlockNew,
    /// None is, as long as this holds, also none that was made so before.
    BlockAll,
}

impl PublicAccess {
    /// EC2's word, which is also what the database stores.
    pub fn as_str(self) -> &'static str {
        match self {
            PublicAccess::Unblocked => "unblocked",
            PublicAccess::BlockNew => "block-new-sharing",
            PublicAccess::BlockAll => BLOCK_ALL,
        }
    }

    /// Parses the word.
    pub fn parse(text: &str) -> Option<Self> {
        [
            PublicAccess::Unblocked,
            PublicAccess::BlockNew,
            PublicAccess::BlockAll,
        ]
        .into_iter()
        .find(|access| access.as_str() == text)
    }
}
