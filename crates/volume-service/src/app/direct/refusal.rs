//! What these use cases refuse beside what all do; the reasons are those of EBS's model.

use crate::error::Error;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The snapshot is not there, not the requester's, or has no content yet, or no longer.
    SnapshotNotFound,
    /// The snapshot's id names none that this can be done with.
    InvalidSnapshotId,
    /// The token of a page is not ours, of something else, or expired.
    InvalidPageToken,
    /// The token of a block is not ours, of something else, or expired.
    InvalidBlockToken,
    /// The two snapshots do not stem from one volume.
    UnrelatedSnapshots,
    /// The pool cannot do this.
    InvalidDependencyRequest,
    /// The block is not one of the snapshot's, or not of the size of a block.
    InvalidBlock,
    /// The content is not what its checksum says.
    WrongChecksum,
    /// The size is none that a snapshot may have.
    InvalidVolumeSize,
    /// The snapshot was given up, since nobody wrote to it.
    WriteRequestTimeout,
    /// Too much is asked for at once; the same request may succeed later.
    Throttled,
}

/// What is answered instead.
#[derive(Debug)]
pub enum DirectError {
    /// Refused here, with a sentence for the requester.
    Refused(Reason, String),
    /// Refused or failed as any use case does.
    App(Error),
}

/// What every use case of these returns.
pub type DirectResult<T> = Result<T, DirectError>;

impl From<Error> for DirectError {
    fn from(error: Error) -> Self {
        DirectError::App(error)
    }
}

impl DirectError {
    pub(super) fn refused(reason: Reason, words: impl Into<String>) -> Self {
        DirectError::Refused(reason, words.into())
    }

    /// The refusal of a snapshot that cannot be read.
    pub(super) fn no_snapshot(ec2_id: &str) -> Self {
        let words = format!("The snapshot '{ec2_id}' does not exist.");
        DirectError::Refused(Reason::SnapshotNotFound, words)
    }
}
