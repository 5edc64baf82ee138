//! The files of a directory on an NFS server.
//!
//! The server carries out each change of names as a whole and puts it on stable storage before it answers, so there is nothing
//! to sync. A change whose call was sent twice, because its connection broke, and then failed is looked at before the failure is
//! believed: it may have succeeded the first time.
//!
//! A file that is removed or replaced while it is open here gets a name under which nobody looks, until it is closed: the server
//! would forget its bytes. What a crash leaves of such names is swept with the other temporary files when the SR is attached.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use super::error::{NfsError, Result};
use super::file::{FileState, NfsFile};
use super::protocol::{FileKind, Found, Handle, Protocol};
use super::status::Status;
use super::transport::Gate;
use crate::io::fault;
use crate::layout::vhd_files::names::temporary_name;
use crate::medium::files::{Access, FileId, Files, MAX_ENTRIES, MediumFile};
use crate::sr::SrSpace;

/// How many changes of names run at once, at most; those of one name never do.
const NAME_LOCKS: usize = 16;

/// A directory on a server.
#[derive(Clone, Debug)]
pub struct NfsFiles {
    shared: Arc<Shared>,
}

/// What the files of a directory share.
#[derive(Debug)]
pub struct Shared {
    pub(super) protocol: Arc<dyn Protocol>,
    /// Server, path, and what is below, for messages.
    pub(super) label: PathBuf,
    below: Vec<String>,
    directory: RwLock<Handle>,
    open: Mutex<HashMap<FileId, Weak<FileState>>>,
    /// Memory that copies of uncommitted writes use.
    pub(super) copies: AtomicUsize,
    /// Bytes of closed files that the server did not take.
    pub(super) lost_bytes: AtomicU64,
    names: [Mutex<()>; NAME_LOCKS],
    hasher: RandomState,
    next_kept: AtomicU64,
    may_link: AtomicBool,
}

impl NfsFiles {
    /// Finds a directory below an export.
    pub(super) fn open(
        protocol: Arc<dyn Protocol>,
        server: &str,
        path: &str,
        below: &[&str],
    ) -> io::Result<Self> {
        let below: Vec<String> = below.iter().map(|name| (*name).to_owned()).collect();
        let directory = find_directory(&*protocol, &below).inspect_err(|_| protocol.close())?;
        let mut label = PathBuf::from(format!("{server}:{path}"));
        label.extend(&below);
        Ok(NfsFiles {
            shared: Arc::new(Shared {
                protocol,
                label,
                below,
                directory: RwLock::new(directory),
                open: Mutex::default(),
                copies: AtomicUsize::new(0),
                lost_bytes: AtomicU64::new(0),
                names: Default::default(),
                hasher: RandomState::new(),
                next_kept: AtomicU64::new(0),
                may_link: AtomicBool::new(true),
            }),
        })
    }

    /// Says that second names are not to be tried.
    pub fn forbid_links(&self) {
        self.shared.may_link.store(false, Ordering::Relaxed);
    }

    /// Sets what is asked before calls are sent that change something, and before any are sent again over another connection: the
    /// SR may be another's by then.
    pub fn ask_before_changes(&self, ask: Arc<dyn Fn() -> io::Result<()> + Send + Sync>) {
        self.shared.protocol.set_gate(Gate(ask));
    }

    /// Makes a directory; false when there is one of that name.
    pub fn make_directory(&self, name: &str) -> io::Result<bool> {
        let made = self
            .shared
            .in_directory(|directory| self.shared.protocol.make_directory(directory, name));
        match made {
            Ok(()) => Ok(true),
            Err(error) if error.is(Status::EXIST) => {
                let found = self.shared.lookup(name)?;
                if found.attributes.kind != FileKind::Directory {
                    return Err(error.into());
                }
                // The first sending may have made it.
                Ok(error.is_repeated())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes an empty directory; false when there was none.
    pub fn remove_directory(&self, name: &str) -> io::Result<bool> {
        let removed = self
            .shared
            .in_directory(|directory| self.shared.protocol.remove_directory(directory, name));
        removed_or_not(removed)
    }

    /// How long the oldest call has waited without a word from the server, if any waits.
    pub fn silence(&self) -> Option<Duration> {
        self.shared.protocol.silence()
    }

    /// Has no call wait longer than until then, also of those under way; none lets each wait as long as it may.
    pub fn hurry(&self, until: Option<Instant>) {
        self.shared.protocol.hurry(until);
    }

    /// Bytes that were written to files and not put on stable storage before their last handle was closed.
    pub fn lost_bytes(&self) -> u64 {
        self.shared.lost_bytes.load(Ordering::Relaxed)
    }

    fn open_found(&self, found: Found, is_writable: bool) -> Arc<dyn MediumFile> {
        let id = found.attributes.id;
        let mut open = self.shared.open_files();
        let known = open.get(&id).and_then(Weak::upgrade);
        let state = known.unwrap_or_else(|| {
            let state = Arc::new(FileState::new(found.handle, id));
            open.insert(id, Arc::downgrade(&state));
            state
        });
        state.handles.fetch_add(1, Ordering::AcqRel);
        drop(open);
        Arc::new(NfsFile::new(self.shared.clone(), state, is_writable))
    }
}

impl Shared {
    fn directory(&self) -> Handle {
        let directory = self
            .directory
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        directory.clone()
    }

    fn open_files(&self) -> MutexGuard<'_, HashMap<FileId, Weak<FileState>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something in the directory; once more when the server has forgotten the directory's handle and gives another.
    fn in_directory<T>(&self, act: impl Fn(&Handle) -> Result<T>) -> Result<T> {
        self.in_directory_unless(&[Status::STALE, Status::BADHANDLE], act)
    }

    /// The same for what fails with `NOENT` only when the directory itself is gone.
    fn in_whole_directory<T>(&self, act: impl Fn(&Handle) -> Result<T>) -> Result<T> {
        self.in_directory_unless(&[Status::STALE, Status::BADHANDLE, Status::NOENT], act)
    }

    fn in_directory_unless<T>(
        &self,
        gone: &[Status],
        act: impl Fn(&Handle) -> Result<T>,
    ) -> Result<T> {
        let directory = self.directory();
        match act(&directory) {
            Err(error) if gone.iter().any(|status| error.is(*status)) => {
                let found = find_directory(&*self.protocol, &self.below)?;
                if found == directory {
                    return Err(error);
                }
                *self
                    .directory
                    .write()
                    .unwrap_or_else(PoisonError::into_inner) = found.clone();
                act(&found)
            }
            outcome => outcome,
        }
    }

    fn lookup(&self, name: &str) -> Result<Found> {
        self.in_directory(|directory| self.protocol.lookup(directory, name))
    }

    fn find(&self, name: &str) -> Result<Option<Found>> {
        match self.lookup(name) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is(Status::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn lock_name(&self, name: &str) -> MutexGuard<'_, ()> {
        let index = self.hasher.hash_one(name) as usize % NAME_LOCKS;
        self.names[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.in_directory(|directory| self.protocol.rename(directory, from, to))
    }

    /// A name for a file that is to stay until it is closed.
    fn kept_name(&self) -> String {
        let number = self.next_kept.fetch_add(1, Ordering::Relaxed);
        temporary_name(&format!("nfs-removed-{number}"))
    }

    /// The state of a file that is open here and has no other name than the one it is about to lose.
    fn open_by_one_name(&self, found: &Found) -> Option<Arc<FileState>> {
        let state = self.open_files().get(&found.attributes.id)?.upgrade()?;
        (found.attributes.links < 2).then_some(state)
    }

    /// Called for each handle that is closed: the last one takes the file's names away.
    pub(super) fn release(&self, state: &Arc<FileState>) {
        let mut open = self.open_files();
        if state.handles.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        open.remove(&state.id());
        drop(open);
        let mut names = state
            .kept_names
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for name in names.drain(..) {
            let removed = self.in_directory(|directory| self.protocol.remove(directory, &name));
            if let Err(error) = removed
                && !error.is(Status::NOENT)
            {
                tracing::warn!(
                    server.path = %self.label.display(),
                    error = %error.chain_text(),
                    "could not remove a file that was kept while it was open; the next attach does"
                );
            }
        }
    }
}

impl Files for NfsFiles {
    fn path(&self) -> &Path {
        &self.shared.label
    }

    fn entries(&self) -> io::Result<Vec<String>> {
        let listed = self
            .shared
            .in_whole_directory(|directory| self.shared.protocol.entries(directory, MAX_ENTRIES))?;
        listed.ok_or_else(|| {
            let text = format!(
                "{} has more than {MAX_ENTRIES} entries",
                self.shared.label.display()
            );
            io::Error::new(io::ErrorKind::FileTooLarge, text)
        })
    }

    fn open_file(&self, name: &str, access: Access) -> io::Result<Arc<dyn MediumFile>> {
        let found = self.shared.lookup(name)?;
        if found.attributes.kind != FileKind::Regular {
            let text = "it is not a regular file";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(self.open_found(found, access == Access::ReadWrite))
    }

    /// A server that died between making the file and noting who made it does not know it again: an empty file that nobody
    /// has open is then the one.
    fn create_file(&self, name: &str) -> io::Result<Arc<dyn MediumFile>> {
        fault::point("directory: create file")?;
        let created = self
            .shared
            .in_whole_directory(|directory| self.shared.protocol.create(directory, name));
        let found = match created {
            Err(error) if error.is_repeated() && error.is(Status::EXIST) => {
                let found = self.shared.lookup(name)?;
                let is_ours = found.attributes.kind == FileKind::Regular
                    && found.attributes.size == 0
                    && found.attributes.links == 1
                    && !self.shared.open_files().contains_key(&found.attributes.id);
                if !is_ours {
                    return Err(error.into());
                }
                found
            }
            created => created?,
        };
        Ok(self.open_found(found, true))
    }

    /// A rename would replace what has the name, so it is looked for first; two callers in this process take turns, and other
    /// processes are kept away by the owner of the SR.
    fn publish(&self, from: &str, to: &str) -> io::Result<()> {
        fault::point("directory: publish")?;
        let _turn = self.shared.lock_name(to);
        if self.shared.find(to)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        match self.shared.rename(from, to) {
            Err(error)
                if error.is_repeated()
                    && error.is(Status::NOENT)
                    && self.shared.find(to)?.is_some() =>
            {
                Ok(())
            }
            outcome => Ok(outcome?),
        }
    }

    /// Write order: a file that is open and about to lose its name gets a second one, then the rename replaces it. A crash in
    /// between leaves the second name, which is swept at the next attach; both files are as they were.
    fn replace(&self, from: &str, to: &str) -> io::Result<()> {
        fault::point("directory: replace")?;
        let _turn = self.shared.lock_name(to);
        let before = self.shared.find(to)?;
        if let Some(found) = &before
            && let Some(state) = self.shared.open_by_one_name(found)
        {
            let kept = self.shared.kept_name();
            match self.shared.in_directory(|directory| {
                self.shared.protocol.link(&found.handle, directory, &kept)
            }) {
                Ok(()) => state
                    .kept_names
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(kept),
                // Where there are no second names, who reads the old file meets an error.
                Err(error) => tracing::warn!(
                    server.path = %self.shared.label.display(),
                    error = %error.chain_text(),
                    "a file that is open is replaced, and could not be kept for its readers"
                ),
            }
        }
        match self.shared.rename(from, to) {
            Err(error) if error.is_repeated() && error.is(Status::NOENT) => {
                let now = self.shared.find(to)?.map(|found| found.attributes.id);
                if now.is_some() && now != before.map(|found| found.attributes.id) {
                    return Ok(());
                }
                Err(error.into())
            }
            outcome => Ok(outcome?),
        }
    }

    fn link(&self, from: &str, to: &str) -> io::Result<bool> {
        fault::point("directory: link")?;
        if !self.shared.may_link.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let found = self.shared.lookup(from)?;
        let linked = self
            .shared
            .in_directory(|directory| self.shared.protocol.link(&found.handle, directory, to));
        match linked {
            Ok(()) => Ok(true),
            Err(error) if error.is_repeated() && error.is(Status::EXIST) => {
                let now = self.shared.find(to)?.map(|found| found.attributes.id);
                if now == Some(found.attributes.id) {
                    return Ok(true);
                }
                Err(error.into())
            }
            Err(error)
                if [Status::NOTSUPP, Status::PERM, Status::MLINK]
                    .iter()
                    .any(|status| error.is(*status)) =>
            {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn remove(&self, name: &str) -> io::Result<bool> {
        fault::point("directory: remove")?;
        let _turn = self.shared.lock_name(name);
        let Some(found) = self.shared.find(name)? else {
            return Ok(false);
        };
        if let Some(state) = self.shared.open_by_one_name(&found) {
            let kept = self.shared.kept_name();
            match self.shared.rename(name, &kept) {
                Err(error)
                    if !(error.is_repeated()
                        && error.is(Status::NOENT)
                        && self.shared.find(&kept)?.is_some()) =>
                {
                    return Err(error.into());
                }
                _ => {}
            }
            let mut names = state
                .kept_names
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            names.push(kept);
            return Ok(true);
        }
        let removed = self
            .shared
            .in_directory(|directory| self.shared.protocol.remove(directory, name));
        removed_or_not(removed)
    }

    fn id_of(&self, name: &str) -> io::Result<Option<FileId>> {
        Ok(self.shared.find(name)?.map(|found| found.attributes.id))
    }

    fn other_names(&self, name: &str) -> io::Result<Vec<String>> {
        let found = self.shared.lookup(name)?;
        if found.attributes.links < 2 {
            return Ok(Vec::new());
        }
        let mut others = Vec::new();
        for other in self.entries()? {
            if other != name && self.id_of(&other)? == Some(found.attributes.id) {
                others.push(other);
            }
        }
        Ok(others)
    }

    fn is_directory(&self, name: &str) -> io::Result<bool> {
        Ok(self.shared.lookup(name)?.attributes.kind == FileKind::Directory)
    }

    fn sync(&self) -> io::Result<()> {
        fault::point("directory: sync")
    }

    fn space(&self) -> io::Result<SrSpace> {
        let space = self
            .shared
            .in_whole_directory(|directory| self.shared.protocol.space(directory))?;
        Ok(space)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.protocol.close();
    }
}

/// After a repetition a file that is not there is one that was removed.
fn removed_or_not(removed: Result<()>) -> io::Result<bool> {
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.is(Status::NOENT) => Ok(error.is_repeated()),
        Err(error) => Err(error.into()),
    }
}

fn find_directory(protocol: &dyn Protocol, below: &[String]) -> Result<Handle> {
    let mut found = protocol.root()?;
    for name in below {
        found = protocol.lookup(&found.handle, name)?;
    }
    match found.attributes.kind {
        FileKind::Directory => Ok(found.handle),
        _ => Err(NfsError::Status {
            procedure: "LOOKUP",
            status: Status::NOTDIR,
            repeated: false,
        }),
    }
}
