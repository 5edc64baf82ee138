//! SR type `file`: VHD files in a directory of this machine.
//!
//! Parameters, limits and errors: `docs/sr-types.md`.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use xenapi::Failure;

use super::backend_error::{self as backend, Command};
use super::vhd_files_sr::{AttachedSrs, CAPABILITIES, VhdFilesSr, remove_images};
use super::{AttachedSr, DriverInfo, SrParams, SrType};
use crate::io::durable::create_directories;
use crate::io::lock::LockFile;
use crate::layout::vhd_files::names::LOCK_NAME;
use crate::medium::directory::Directory;
use crate::medium::files::Files;
use crate::medium::probe_document::ProbeDocument;

/// What the SM record says; the texts are XenServer's.
static INFO: DriverInfo = DriverInfo {
    sr_type: "file",
    name_label: "Local Path VHD",
    name_description: "SR plugin which represents disks as VHD files stored on a local path",
    capabilities: CAPABILITIES,
    configuration: &[("location", "local directory path (required)")],
    required_count: 1,
};

/// The SR type.
#[derive(Debug, Default)]
pub struct FileSr {
    attached: AttachedSrs,
}

impl SrType for FileSr {
    fn info(&self) -> &'static DriverInfo {
        &INFO
    }

    /// The directory must be absent, then it is made with those above it, or empty.
    ///
    /// # Durability
    /// On return the directory survives a power cut.
    fn create(&self, params: &SrParams) -> Result<(), Failure> {
        let location = location(params, Command::SrCreate)?;
        let system_call =
            |action, error| backend::system_call(Command::SrCreate, action, &location, &error);
        if create_directories(&location).map_err(|error| system_call("create directory", error))? {
            return Ok(());
        }
        // A lock file without a holder is what an SR leaves that was forgotten, or created by a process that died.
        let lock = take_lock(params, &location, Command::SrCreate)?;
        let directory =
            Directory::open(&location).map_err(|error| system_call("open directory", error))?;
        let entries = directory
            .entries()
            .map_err(|error| system_call("list", error))?;
        if let Some(found) = entries.iter().find(|name| *name != LOCK_NAME) {
            let detail = format!(
                "directory {} is not empty: it holds {}; choose an empty one, or introduce the SR that is there",
                location.display(),
                found
            );
            lock.remove()
                .map_err(|error| system_call("remove the lock file in", error))?;
            return Err(backend::failed(Command::SrCreate, &detail));
        }
        lock.remove()
            .map_err(|error| system_call("remove the lock file in", error))
    }

    /// An SR directory does not say which SR it is, so there is nothing to find but whether it could be one.
    ///
    /// XenServer's `file` driver answers with an empty list too, where it answers at all.
    fn probe(&self, params: &SrParams) -> Result<String, Failure> {
        let location = location(params, Command::SrAttach)?;
        Directory::open(&location).map_err(|error| {
            backend::system_call(Command::SrAttach, "open directory", &location, &error)
        })?;
        Ok(ProbeDocument::new("SRlist").finish())
    }

    fn attach(&self, params: &SrParams) -> Result<Arc<dyn AttachedSr>, Failure> {
        let location = location(params, Command::SrAttach)?;
        let place = location.to_string_lossy();
        self.attached.attach(params.sr_uuid, &place, || {
            let directory = Directory::open(&location).map_err(|error| {
                backend::system_call(Command::SrAttach, "open directory", &location, &error)
            })?;
            let lock = take_lock(params, &location, Command::SrAttach)?;
            VhdFilesSr::attach(params.sr_uuid, &place, Arc::new(directory), Arc::new(lock))
        })
    }

    /// Removes the images and what else storage managers keep beside them. The directory stays, and so does every file
    /// in it that belongs to somebody else; a directory that is gone is no error.
    ///
    /// Write order: files are unlinked one by one, then the directory is synced, the lock file goes last. A crash in
    /// between leaves fewer files, and the call can be repeated.
    fn delete(&self, params: &SrParams) -> Result<(), Failure> {
        let location = location(params, Command::SrDelete)?;
        let system_call =
            |action, error| backend::system_call(Command::SrDelete, action, &location, &error);
        let directory = match Directory::open(&location) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|error| system_call("open directory", error))?,
        };
        let lock = take_lock(params, &location, Command::SrDelete)?;
        remove_images(params.sr_uuid, Arc::new(directory))?;
        lock.remove()
            .map_err(|error| system_call("remove the lock file in", error))
    }
}

/// The directory that the PBD names.
///
/// Absolute and without `.` and `..`, so that one directory has one name in messages and none depends on where the
/// process was started.
fn location(params: &SrParams, command: Command) -> Result<PathBuf, Failure> {
    let text = params
        .device_config
        .get("location")
        .filter(|text| !text.is_empty());
    let text = text.ok_or_else(backend::location_missing)?;
    let refuse = |reason: &str| {
        Err(backend::failed(
            command,
            &format!("location {text:?} {reason}"),
        ))
    };
    let path = Path::new(text);
    if !path.is_absolute() {
        return refuse("is not an absolute path; write the whole path, from / on");
    }
    // `components` would swallow a `.`.
    if text.split('/').any(|part| part == "." || part == "..") {
        return refuse("has a component . or ..; write the path that is meant");
    }
    if text.contains('\0') {
        return refuse("has a zero byte");
    }
    if !path
        .components()
        .any(|component| matches!(component, Component::Normal(_)))
    {
        return refuse("is the root directory; choose a directory that holds nothing else");
    }
    Ok(path.components().collect())
}

fn take_lock(params: &SrParams, location: &Path, command: Command) -> Result<LockFile, Failure> {
    let record = format!("process {} (SR {})\n", std::process::id(), params.sr_uuid);
    LockFile::acquire(&location.join(LOCK_NAME), &record)
        .map_err(|error| backend::lock(command, &error))
}
