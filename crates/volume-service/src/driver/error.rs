//! What a pool answers when a call fails, and what that means to an operation.

use uuid::Uuid;

use super::moment::AT_ONE_MOMENT;
use crate::error::{Error, ErrorKind, Subject};

/// What can be done about a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The pool did not answer, or the connection broke.
    Unreachable,
    /// Another operation is at work on the object, or the pool has too much to do.
    Busy,
    /// The VDI is attached.
    InUse,
    /// The object does not exist.
    Gone,
    /// The SR is not plugged where the call runs.
    NotPlugged,
    /// The chain of snapshots is as long as the storage manager allows, until it is coalesced.
    TooDeep,
    /// Another operation is ahead, and takes its time: it holds the VDI's mark, or takes snapshots at one moment.
    Marked,
    /// Others of this process are ahead; nothing was asked of the pool.
    Queued,
    /// The medium is full.
    Full,
    /// The storage manager does not have this SR type.
    UnknownType,
    /// The storage manager cannot do this.
    Unsupported,
    /// The pool does not let us in, or not do this.
    Forbidden,
    /// The VM is off.
    Halted,
    /// The VM stands still, or does not do this while it runs.
    NotRunning,
    /// The position in the VM has a device.
    DeviceTaken,
    /// Only another host than the VM's reaches the SR.
    OutOfReach,
    /// The VM takes no devices while it runs.
    NoDrivers,
    /// The storage manager refused or failed.
    Refused,
}

/// A call to a pool that failed.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {text}")]
pub struct PoolError {
    /// The message: `VDI.create`.
    pub call: &'static str,
    /// What can be done about it.
    pub trouble: Trouble,
    /// True when the call may have happened all the same.
    pub outcome_unknown: bool,
    /// The pool's code and parameters, or what broke; never a secret.
    pub text: String,
}

impl PoolError {
    /// Makes an error of a call that did not happen.
    pub fn new(call: &'static str, trouble: Trouble, text: impl Into<String>) -> Self {
        PoolError {
            call,
            trouble,
            outcome_unknown: false,
            text: text.into(),
        }
    }

    /// Says that the call may have happened.
    #[must_use]
    pub fn with_unknown_outcome(mut self) -> Self {
        self.outcome_unknown = true;
        self
    }

    /// The pool's error that an error of ours was made of.
    pub fn behind(error: &Error) -> Option<&PoolError> {
        error.source.as_deref()?.downcast_ref()
    }

    /// True when what stands in the way takes its time: somebody else's work, or the storage manager's in the background.
    pub fn is_slow(&self) -> bool {
        matches!(self.trouble, Trouble::TooDeep | Trouble::Marked)
    }

    /// True for who only waits for its turn in this process: no try was made.
    pub fn is_queued(&self) -> bool {
        self.trouble == Trouble::Queued
    }

    fn kind(&self) -> ErrorKind {
        match self.trouble {
            Trouble::Unreachable | Trouble::NotPlugged => ErrorKind::Unavailable,
            Trouble::Busy
            | Trouble::InUse
            | Trouble::TooDeep
            | Trouble::Marked
            | Trouble::Queued => ErrorKind::Busy,
            Trouble::Gone => ErrorKind::NotFound,
            Trouble::Full => ErrorKind::NoCapacity,
            Trouble::UnknownType | Trouble::Unsupported => ErrorKind::NotSupported,
            Trouble::Forbidden => ErrorKind::Forbidden,
            Trouble::Halted | Trouble::NotRunning | Trouble::DeviceTaken | Trouble::OutOfReach => {
                ErrorKind::Conflict
            }
            Trouble::NoDrivers => ErrorKind::NotSupported,
            Trouble::Refused => ErrorKind::Internal,
        }
    }

    /// A sentence for a tenant: what, without names of hosts and paths.
    fn public(&self) -> &'static str {
        match self.trouble {
            Trouble::Unreachable => "the storage does not answer",
            Trouble::Busy => "the storage is busy",
            Trouble::InUse => "the volume is in use on the storage",
            Trouble::TooDeep => {
                "its chain of snapshots is too long: delete snapshots, or try again when the storage has coalesced them"
            }
            Trouble::Marked => match self.call {
                AT_ONE_MOMENT => "the storage is taking other snapshots at one moment",
                _ => "another operation is at work on what it is made from",
            },
            Trouble::Queued => "other operations are at work on what it is made from",
            Trouble::Gone => "an object is missing on the storage",
            Trouble::NotPlugged => "the storage is not connected",
            Trouble::Full => "the storage is full",
            Trouble::UnknownType => "this storage manager does not have this SR type yet",
            Trouble::Unsupported => match self.call {
                AT_ONE_MOMENT => "the storage cannot take so many snapshots at one moment",
                "VDI.snapshot" => "the volume's storage takes no snapshots",
                "VDI.clone" => "the storage makes no copies of volumes and snapshots",
                _ => "the storage cannot do this",
            },
            Trouble::Forbidden => "the storage refuses our credentials",
            Trouble::Halted => "the instance is off",
            Trouble::NotRunning => "the instance is in a state in which it takes no volumes",
            Trouble::DeviceTaken => "the instance's attachment point is already in use",
            Trouble::OutOfReach => "the volume lies on storage of another host",
            Trouble::NoDrivers => {
                "the instance takes no volumes while it runs: it has no drivers for them"
            }
            Trouble::Refused => "the storage reported an error",
        }
    }

    /// The error of a call about a backend's SR, naming backend, SR and cause.
    pub fn on_backend(self, backend: &str, sr_uuid: Option<Uuid>, sr_type: &str) -> Error {
        let public = if self.trouble == Trouble::UnknownType {
            format!("this storage manager does not have SR type {sr_type} yet")
        } else {
            self.public().to_owned()
        };
        let sr = match sr_uuid {
            Some(uuid) => format!("SR {uuid}"),
            None => format!("a new SR of type {sr_type}"),
        };
        let mut detail = format!("backend {backend}, {sr}: {self}");
        if self.outcome_unknown {
            detail.push_str("; the call may have happened");
        }
        self.with_texts(Subject::Backend, backend, public, detail)
    }

    /// The error of a call that is about no backend in particular.
    pub fn on_zone(self, zone: &str) -> Error {
        let public = self.public().to_owned();
        let detail = format!("pool of zone {zone}: {self}");
        self.with_texts(Subject::Zone, zone, public, detail)
    }

    fn with_texts(self, subject: Subject, object: &str, public: String, detail: String) -> Error {
        Error::new(self.kind(), subject, public)
            .on(object)
            .detail(detail)
            .caused_by(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_reads_no_names_and_the_operator_reads_all() {
        let sr = Uuid::from_u128(7);
        let refused = "SR_BACKEND_FAILURE_73(, mount of filer:/vol1 failed, )";
        let error = PoolError::new("VDI.create", Trouble::Refused, refused).with_unknown_outcome();
        let error = error.on_backend("3", Some(sr), "nfs");
        assert_eq!(error.public, "the storage reported an error");
        assert_eq!(
            error.detail,
            format!("backend 3, SR {sr}: VDI.create: {refused}; the call may have happened")
        );
        assert!(!error.is_retriable());
    }

    #[test]
    fn an_unknown_type_is_named() {
        let error = PoolError::new("SR.create", Trouble::UnknownType, "SR_UNKNOWN_DRIVER(nfs)");
        let error = error.on_backend("3", None, "nfs");
        assert_eq!(
            error.public,
            "this storage manager does not have SR type nfs yet"
        );
        assert_eq!(error.kind, ErrorKind::NotSupported);
    }

    #[test]
    fn what_may_pass_is_retriable() {
        for (trouble, is_retriable) in [
            (Trouble::Unreachable, true),
            (Trouble::Busy, true),
            (Trouble::InUse, true),
            (Trouble::NotPlugged, true),
            (Trouble::TooDeep, true),
            (Trouble::Marked, true),
            (Trouble::Queued, true),
            (Trouble::Gone, false),
            (Trouble::Full, false),
            (Trouble::UnknownType, false),
            (Trouble::Unsupported, false),
            (Trouble::Forbidden, false),
            (Trouble::Halted, false),
            (Trouble::NotRunning, false),
            (Trouble::DeviceTaken, false),
            (Trouble::OutOfReach, false),
            (Trouble::NoDrivers, false),
            (Trouble::Refused, false),
        ] {
            let error = PoolError::new("VDI.create", trouble, "x").on_zone("nova");
            assert_eq!(error.is_retriable(), is_retriable, "{trouble:?}");
        }
    }
}
