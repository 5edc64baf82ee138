//! SR type `nfs`: VHD files in a directory on an NFS server, by a client in user space.
//!
//! Parameters, limits and errors: `docs/sr-types.md`.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;
use xenapi::Failure;

use super::backend_error::{self as backend, Command};
use super::nfs_config::NfsConfig;
use super::nfs_probe;
use super::vhd_files_sr::{
    AttachedSrs, CAPABILITIES, MediumGuard, VhdFilesSr, remove_images, take_ownership,
};
use super::{AttachedSr, DriverInfo, SrParams, SrType};
use crate::layout::vhd_files::names::{EntryKind, classify, temporary_name};
use crate::medium::files::{Access, Files};
use crate::medium::nfs::NfsFiles;
use crate::medium::owner::{FileOwnerStore, OWNER_NAME, OwnedFiles, Ownership};

/// What the SM record says; the texts are XenServer's.
static INFO: DriverInfo = DriverInfo {
    sr_type: "nfs",
    name_label: "NFS VHD",
    name_description: "SR plugin which stores disks as VHD files on a remote NFS filesystem",
    capabilities: CAPABILITIES,
    configuration: &[
        ("server", "hostname or IP address of NFS server (required)"),
        ("serverpath", "path on remote server (required)"),
        ("nfsversion", "NFS protocol version - 3, 4, 4.1, 4.2"),
        (
            "options",
            "mount options - port, mountport, rsize, wsize, timeo, retrans, noresvport",
        ),
    ],
    required_count: 2,
};

/// The file that says whether the server knows second names: `1` or `0`.
///
/// Source: XenServer's shared file SRs.
const HARD_LINK_FILE: &str = "sm-hardlink.conf";

/// Longest time that a call on the SR as a whole may take: an owner that died on another machine is waited for.
const WHOLE_SR: Duration = Duration::from_secs(90);

/// Time without a word from the server after which the SR is said to be unwell.
const SILENCE: Duration = Duration::from_secs(5);

/// Time after which a request for the owner record is given up, in tenths of a second: a record that is written late would
/// speak of a time that is gone.
const OWNER_TIMEOUT_TENTHS: u32 = 50;

/// The SR type.
#[derive(Debug, Default)]
pub struct NfsSr {
    attached: AttachedSrs,
}

/// What keeps an SR on a server for this process.
#[derive(Debug)]
struct NfsGuard {
    server: String,
    files: NfsFiles,
    ownership: Arc<Ownership>,
}

impl SrType for NfsSr {
    fn info(&self) -> &'static DriverInfo {
        &INFO
    }

    fn patience(&self) -> Option<Duration> {
        Some(WHOLE_SR)
    }

    /// Makes the SR's directory below the export, which must not be there or be empty; with `nosubdir` there is nothing to
    /// make, and the export must hold no other SR.
    fn create(&self, params: &SrParams) -> Result<(), Failure> {
        let config = NfsConfig::read(params)?;
        let path = config.server_path()?;
        let base = config.mount(&path, &[])?;
        if config.has_no_subdirectory() {
            refuse_other_sr(&base)?;
            check_writable(&base)?;
            // By which it is known again.
            return settle_hard_links(&base);
        }
        let name = params.sr_uuid.to_string();
        let made = base
            .make_directory(&name)
            .map_err(|error| create_failed("make the directory", &name, &error))?;
        let sr = config.mount(&path, &[&name])?;
        if !made {
            let entries = sr
                .entries()
                .map_err(|error| create_failed("list", &name, &error))?;
            if let Some(found) = entries.first() {
                return Err(exists(&sr, found));
            }
        }
        check_writable(&sr)
    }

    fn probe(&self, params: &SrParams) -> Result<String, Failure> {
        nfs_probe::probe(params)
    }

    fn attach(&self, params: &SrParams) -> Result<Arc<dyn AttachedSr>, Failure> {
        let config = NfsConfig::read(params)?;
        let path = config.server_path()?;
        let place = config.place(&path);
        self.attached.attach(params.sr_uuid, &place, || {
            let (files, ownership) = take(&config, &path, params.sr_uuid, Command::SrAttach)?;
            let guard = NfsGuard {
                server: config.server().to_owned(),
                files: files.clone(),
                ownership,
            };
            let prepared = check_writable(&files).and_then(|()| settle_hard_links(&files));
            if let Err(failure) = prepared {
                guard.release()?;
                return Err(failure);
            }
            VhdFilesSr::attach(params.sr_uuid, &place, Arc::new(files), Arc::new(guard))
        })
    }

    /// Removes the images, what else storage managers keep beside them, and the directory. With `nosubdir` the directory stays,
    /// and so does what belongs to somebody else.
    ///
    /// Write order: images one by one, the owner record, the directory. A crash in between leaves fewer files, and the call can be
    /// repeated.
    fn delete(&self, params: &SrParams) -> Result<(), Failure> {
        let config = NfsConfig::read(params)?;
        let path = config.server_path()?;
        let (files, ownership) = match take(&config, &path, params.sr_uuid, Command::SrDelete) {
            Ok(taken) => taken,
            Err(failure) if !config.has_no_subdirectory() => {
                let base = config.mount(&path, &[])?;
                let name = params.sr_uuid.to_string();
                return match base.contains(&name) {
                    Ok(false) => Ok(()),
                    _ => Err(failure),
                };
            }
            Err(failure) => {
                let base = config.mount(&path, &[])?;
                return match holds_sr(&base, Command::SrDelete)? {
                    false => Ok(()),
                    true => Err(failure),
                };
            }
        };
        let owned = OwnedFiles::new(Arc::new(files.clone()), ownership.clone());
        let removed = remove_images(params.sr_uuid, Arc::new(owned));
        let released = ownership.release();
        removed?;
        if let Err(error) = released {
            tracing::warn!(sr.uuid = %params.sr_uuid, %error, "let go of the record of an SR that is deleted");
        }
        // Those of the SR take no changes any more, since it was let go of.
        let left = mount_sr(&config, &path, params.sr_uuid)?;
        left.remove(OWNER_NAME)
            .map_err(|error| delete_failed(&files, &error))?;
        if config.has_no_subdirectory() {
            return Ok(());
        }
        let base = config.mount(&path, &[])?;
        let removed = base.remove_directory(&params.sr_uuid.to_string());
        removed
            .map(|_| ())
            .map_err(|error| delete_failed(&files, &error))
    }
}

impl MediumGuard for NfsGuard {
    fn release(&self) -> Result<(), Failure> {
        if let Err(error) = self.ownership.release() {
            // The record expires.
            tracing::warn!(server.name = self.server, %error, "let go of the owner record of an SR");
        }
        Ok(())
    }

    fn ownership(&self) -> Option<Arc<Ownership>> {
        Some(self.ownership.clone())
    }

    fn hurry(&self, until: Option<Instant>) {
        self.files.hurry(until);
        self.ownership.hurry(until);
    }

    fn unsaved(&self) -> Option<String> {
        let lost = self.files.lost_bytes();
        (lost > 0).then(|| {
            format!(
                "the NFS server {} did not put {lost} bytes on stable storage that were written since the SR was attached and not flushed; what they were is in the log",
                self.server
            )
        })
    }

    fn health(&self) -> Option<String> {
        if self
            .files
            .silence()
            .is_some_and(|silence| silence > SILENCE)
        {
            return Some(format!("the NFS server {} does not answer", self.server));
        }
        None
    }
}

/// Finds the directory of an SR.
fn mount_sr(config: &NfsConfig, path: &str, sr_uuid: Uuid) -> Result<NfsFiles, Failure> {
    match config.has_no_subdirectory() {
        true => config.mount(path, &[]),
        false => config.mount(path, &[&sr_uuid.to_string()]),
    }
}

/// Finds the directory of an SR and becomes its owner.
fn take(
    config: &NfsConfig,
    path: &str,
    sr_uuid: Uuid,
    command: Command,
) -> Result<(NfsFiles, Arc<Ownership>), Failure> {
    let name = sr_uuid.to_string();
    let below: &[&str] = match config.has_no_subdirectory() {
        true => &[],
        false => &[&name],
    };
    let files = mount_sr(config, path, sr_uuid)?;
    if config.has_no_subdirectory() && !holds_sr(&files, command)? {
        let detail = format!(
            "{} holds nothing of an SR; check serverpath, that its file system is mounted on the server, and sm_config:nosubdir",
            files.path().display()
        );
        return Err(Failure::backend(73, "NFS mount error", &detail, ""));
    }
    let record = config.mount_with(path, below, Some(OWNER_TIMEOUT_TENTHS))?;
    let store = FileOwnerStore::new(Arc::new(record));
    let ownership = take_ownership(sr_uuid, Arc::new(store), command)?;
    let gate = ownership.clone();
    files.ask_before_changes(Arc::new(move || gate.check()));
    Ok((files, ownership))
}

/// Makes a file and removes it.
fn check_writable(files: &NfsFiles) -> Result<(), Failure> {
    let name = temporary_name("write-test");
    let written = files
        .create_file(&name)
        .and_then(|file| {
            file.write_at(b"1", 0)?;
            file.flush()
        })
        .and_then(|()| files.remove(&name));
    written.map(|_| ()).map_err(|error| {
        let detail = format!(
            "write a file in {}: {error}; export the directory for reading and writing to this machine",
            files.path().display()
        );
        match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Failure::backend(
                    461,
                    "The file system for SR cannot be written to",
                    &detail,
                    "",
                )
            }
            _ => backend::system_call(Command::SrAttach, "write a file in", files.path(), &error),
        }
    })
}

/// Reads whether second names may be made, or tries it and writes that down for other storage managers.
fn settle_hard_links(files: &NfsFiles) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        backend::system_call(
            Command::SrAttach,
            "try second names in",
            files.path(),
            &error,
        )
    };
    let known = match files.open_file(HARD_LINK_FILE, Access::Read) {
        Ok(file) => {
            let mut first = [0];
            file.read_at(&mut first, 0).ok().map(|()| first[0] == b'1')
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    let may_link = match known {
        Some(may_link) => may_link,
        None => {
            let may_link = try_hard_link(files).map_err(failed)?;
            write_hard_links(files, may_link).map_err(failed)?;
            may_link
        }
    };
    if !may_link {
        tracing::warn!(
            server.path = %files.path().display(),
            "the NFS server knows no second names; who reads an image while it is replaced may meet an error"
        );
        files.forbid_links();
    }
    Ok(())
}

fn try_hard_link(files: &NfsFiles) -> io::Result<bool> {
    let (name, second) = (temporary_name("link-test"), temporary_name("link-test"));
    drop(files.create_file(&name)?);
    let linked = files.link(&name, &second);
    files.remove(&second)?;
    files.remove(&name)?;
    linked
}

fn write_hard_links(files: &NfsFiles, may_link: bool) -> io::Result<()> {
    let new = temporary_name(HARD_LINK_FILE);
    let file = files.create_file(&new)?;
    file.write_at(if may_link { b"1" } else { b"0" }, 0)?;
    file.flush()?;
    files.replace(&new, HARD_LINK_FILE)
}

/// Refuses an export that is an SR already: its images would become VDIs of the new one.
fn refuse_other_sr(files: &NfsFiles) -> Result<(), Failure> {
    let entries = files
        .entries()
        .map_err(|error| create_failed("list", "", &error))?;
    let is_of_sr =
        |name: &&String| *name == OWNER_NAME || matches!(classify(name), EntryKind::Image(_));
    let found = entries.iter().find(is_of_sr);
    found.map_or(Ok(()), |found| Err(exists(files, found)))
}

/// Tells whether an export without a directory for each SR holds one: no uuid in its path says so.
fn holds_sr(files: &NfsFiles, command: Command) -> Result<bool, Failure> {
    let entries = files.entries();
    let entries =
        entries.map_err(|error| backend::system_call(command, "list", files.path(), &error))?;
    let is_of_sr = |name: &String| {
        name == OWNER_NAME || matches!(classify(name), EntryKind::Image(_) | EntryKind::SrFile)
    };
    Ok(entries.iter().any(is_of_sr))
}

/// 42: there is an SR, or something else, already.
fn exists(files: &NfsFiles, found: &str) -> Failure {
    let detail = format!(
        "{} is not empty: it holds {found}; introduce the SR that is there, or remove it",
        files.path().display()
    );
    Failure::backend(42, "The SR already exists", &detail, "")
}

/// 88, or 461 for a medium that cannot be written to.
fn create_failed(action: &str, name: &str, error: &io::Error) -> Failure {
    let detail = format!("{action} {name}: {error}");
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => Failure::backend(
            461,
            "The file system for SR cannot be written to",
            &detail,
            "",
        ),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Failure::backend(44, "There is insufficient space", &detail, "")
        }
        _ => Failure::backend(88, "NFS SR creation error", &detail, ""),
    }
}

/// 76: the directory of an SR cannot be removed.
fn delete_failed(files: &NfsFiles, error: &io::Error) -> Failure {
    let detail = format!(
        "remove {}: {error}; it may hold files that belong to somebody else",
        files.path().display()
    );
    Failure::backend(76, "Failed to remove remote mount point", &detail, "")
}
