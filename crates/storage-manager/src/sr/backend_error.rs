//! The numbers and texts by which drivers fail.
//!
//! Source: the error table of XenServer's storage manager; 16, 24, 38, 39 and 144 reach clients under XenAPI's own codes.

use std::io;

use uuid::Uuid;
use xenapi::Failure;

use crate::array::ArrayError;
use crate::io::lock::LockError;
use crate::layout::vhd_files::Error as LayoutError;
use crate::layout::vhd_files::cbt::ChangedBlocksError;
use crate::medium::owner::{NotOwner, OwnerError};

/// The command during which something failed: it decides the number of what has no number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `SR.create`.
    SrCreate,
    /// `PBD.plug`.
    SrAttach,
    /// `PBD.unplug`.
    SrDetach,
    /// `SR.destroy`.
    SrDelete,
    /// `SR.scan` and `SR.update`.
    SrScan,
    /// `VDI.create`.
    VdiCreate,
    /// `VDI.destroy`.
    VdiDelete,
    /// Reading the state of one VDI.
    VdiLoad,
    /// Opening a VDI for a consumer.
    VdiAttach,
    /// `VDI.enable_cbt`.
    VdiEnableCbt,
    /// `VDI.disable_cbt`.
    VdiDisableCbt,
    /// `VDI.list_changed_blocks`.
    VdiChangedBlocks,
    /// `VDI.snapshot`.
    VdiSnapshot,
    /// `VDI.clone`.
    VdiClone,
    /// `VDI.revert`.
    VdiRevert,
    /// `VDI.resize` and `VDI.resize_online`.
    VdiResize,
}

impl Command {
    fn number_and_text(self) -> (u16, &'static str) {
        match self {
            Command::SrCreate | Command::SrAttach => (61, "File SR creation error"),
            Command::SrDetach => (16, "The SR is currently being used"),
            Command::SrDelete => (63, "Unable to delete the file SR"),
            Command::SrScan => (40, "The SR scan failed"),
            Command::VdiCreate => (78, "VDI Creation failed"),
            Command::VdiDelete => (80, "VDI deletion failed"),
            Command::VdiLoad => (65, "Failed to load VDI"),
            Command::VdiAttach => (46, "The VDI is not available"),
            Command::VdiEnableCbt => (457, "Failed to activate changed block tracking"),
            Command::VdiDisableCbt => (458, "Failed to deactivate changed block tracking"),
            Command::VdiChangedBlocks => {
                (460, "Failed to calculate changed blocks for given VDIs.")
            }
            Command::VdiSnapshot | Command::VdiRevert => (82, "Snapshot error"),
            Command::VdiClone => (81, "Clone error"),
            Command::VdiResize => (110, "VDI resize failed"),
        }
    }

    /// The `operation` parameter of `VDI_IN_USE`.
    fn operation(self) -> &'static str {
        match self {
            Command::VdiDelete => "destroy",
            Command::VdiSnapshot => "snapshot",
            Command::VdiClone => "clone",
            Command::VdiRevert => "revert_to",
            Command::VdiResize => "resize",
            _ => "attach",
        }
    }
}

/// A failure of the command with a sentence of detail.
pub fn failed(command: Command, detail: &str) -> Failure {
    let (number, text) = command.number_and_text();
    Failure::backend(number, text, detail, "")
}

/// 94: the PBD has no `location`.
pub fn location_missing() -> Failure {
    Failure::backend(94, "The request is missing the location parameter", "", "")
}

/// 16: something else uses what the SR is to use. With its number rather than as SR_DEVICE_IN_USE, whose lack of parameters
/// would hide what.
pub fn sr_in_use(detail: &str) -> Failure {
    Failure::backend(16, "The SR device is currently in use", detail, "")
}

/// 47: the SR is not attached any more.
pub fn detached(sr_uuid: Uuid) -> Failure {
    Failure::backend(
        47,
        "The SR is not available",
        &format!("SR {sr_uuid} was detached; plug its PBD first"),
        "",
    )
}

/// The failure of a system call on the SR's directory.
pub fn system_call(
    command: Command,
    action: &str,
    path: &std::path::Path,
    error: &io::Error,
) -> Failure {
    of_io_error(
        command,
        error,
        &format!("{action} {}: {error}", path.display()),
    )
}

/// 16: somebody else serves the directory. With its number rather than as SR_DEVICE_IN_USE, whose lack of parameters
/// would hide who.
pub fn lock(command: Command, error: &LockError) -> Failure {
    match error {
        LockError::Held { .. } => {
            let detail = format!("{error}; only one storage manager may serve a directory");
            Failure::backend(16, "The SR is currently in use", &detail, "")
        }
        LockError::Io { source, .. } => of_io_error(command, source, &format!("{error}: {source}")),
    }
}

/// 16: another storage manager owns the medium.
pub fn owner(command: Command, error: &OwnerError) -> Failure {
    match error {
        OwnerError::Held { .. } | OwnerError::Overtaken { .. } => {
            Failure::backend(16, "The SR is currently in use", &error.to_string(), "")
        }
        OwnerError::Io { source, .. } => {
            of_io_error(command, source, &format!("{error}: {source}"))
        }
    }
}

/// The failure of an operation on an image.
pub fn layout(command: Command, sr_uuid: Uuid, error: &LayoutError) -> Failure {
    match error {
        LayoutError::Missing { uuid, .. } => {
            Failure::new("VDI_MISSING", [sr_uuid.to_string(), uuid.to_string()])
        }
        LayoutError::InUse { uuid } => Failure::new(
            "VDI_IN_USE",
            [uuid.to_string(), command.operation().to_owned()],
        ),
        LayoutError::Exists { .. } => {
            Failure::backend(43, "The VDI already exists", &error.to_string(), "")
        }
        LayoutError::Size { .. } => size_invalid(),
        LayoutError::RawTracking { .. } => {
            Failure::backend(66, "Invalid VDI type", &error.to_string(), "")
        }
        LayoutError::NotTracked { vdi } => Failure::new("VDI_NO_CBT_METADATA", [vdi.to_string()]),
        LayoutError::LogInconsistent { .. } | LayoutError::ChangeLog { .. } => {
            log_inconsistent(&error.chain_text())
        }
        LayoutError::Shrink { .. } => {
            Failure::backend(79, "VDI Invalid size", "shrinking not allowed", "")
        }
        LayoutError::Raw { .. } => super::not_supported(),
        LayoutError::ChainFull { .. } => Failure::backend(
            109,
            "The snapshot chain is too long",
            &error.to_string(),
            "",
        ),
        LayoutError::Hidden { .. } | LayoutError::Unfinished { .. } => {
            failed(Command::VdiAttach, &error.to_string())
        }
        _ => match error.io_error() {
            Some(io_error) => of_io_error(command, io_error, &error.chain_text()),
            None => failed(command, &error.chain_text()),
        },
    }
}

/// The failure of an array.
pub fn array(command: Command, sr_uuid: Uuid, error: &ArrayError) -> Failure {
    let text = error.chain_text();
    match error {
        ArrayError::Missing { vdi, .. } => {
            Failure::new("VDI_MISSING", [sr_uuid.to_string(), vdi.to_string()])
        }
        ArrayError::InUse { vdi, detail } => {
            tracing::warn!(vdi.uuid = %vdi, detail, "an array refuses an operation on a volume that is in use");
            vdi_in_use(command, *vdi)
        }
        ArrayError::Exists { .. } => Failure::backend(43, "The VDI already exists", &text, ""),
        ArrayError::Size { .. } => Failure::backend(79, "VDI Invalid size", &text, ""),
        ArrayError::Shrink { .. } => {
            Failure::backend(79, "VDI Invalid size", "shrinking not allowed", "")
        }
        ArrayError::NoSpace { .. } => {
            Failure::backend(44, "There is insufficient space", &text, "")
        }
        ArrayError::Unsupported { .. } => {
            tracing::warn!(error = text, "an array cannot do what it was asked");
            super::not_supported()
        }
        ArrayError::Fault { fault, .. } => fault.failure(&text),
        ArrayError::Failed { .. } => failed(command, &text),
    }
}

/// `VDI_IN_USE` by uuid, with the operation that the command is.
pub fn vdi_in_use(command: Command, vdi: Uuid) -> Failure {
    Failure::new(
        "VDI_IN_USE",
        [vdi.to_string(), command.operation().to_owned()],
    )
}

/// The failure of `VDI.list_changed_blocks`.
pub fn changed_blocks(sr_uuid: Uuid, error: ChangedBlocksError) -> Failure {
    match error {
        ChangedBlocksError::Same | ChangedBlocksError::Unrelated => {
            failed(Command::VdiChangedBlocks, &error.to_string())
        }
        ChangedBlocksError::Shrunk { .. } => log_inconsistent(&error.to_string()),
        ChangedBlocksError::Log(error) => layout(Command::VdiChangedBlocks, sr_uuid, &error),
    }
}

/// 459: a change-tracking log that cannot be right.
fn log_inconsistent(detail: &str) -> Failure {
    Failure::backend(459, "Changed blocks metadata is inconsistent", detail, "")
}

/// 79: a virtual size that no VHD can have, in the words of XenServer.
pub fn size_invalid() -> Failure {
    Failure::backend(
        79,
        "VDI Invalid size",
        "VDI size must be between 1 MB and 2088960 MB",
        "",
    )
}

fn of_io_error(command: Command, error: &io::Error, detail: &str) -> Failure {
    if error.get_ref().is_some_and(|inner| inner.is::<NotOwner>()) {
        return Failure::backend(47, "The SR is not available", detail, "");
    }
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Failure::backend(44, "There is insufficient space", detail, "")
        }
        io::ErrorKind::ReadOnlyFilesystem => Failure::backend(
            461,
            "The file system for SR cannot be written to",
            detail,
            "",
        ),
        _ => failed(command, detail),
    }
}
