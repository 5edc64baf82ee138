//! One file on an NFS server.
//!
//! # Durability
//! A write returns when the server has taken it, which may be before it is on stable storage; a copy is kept. A flush has the
//! server commit, compares verifiers, and writes again what the server lost. Reads are answered from the copies first: a server
//! that was restarted shows older bytes until they are written again.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

use bytes::Bytes;

use super::MAX_TRANSFER;
use super::error::Result;
use super::files::Shared;
use super::protocol::{Handle, Stability};
use super::uncommitted::Uncommitted;
use crate::io::lock::LockMode;
use crate::medium::files::{FileId, MediumFile};

/// Most memory for the copies of one file; a write that makes more has the file committed.
const COPIES_PER_FILE: usize = 16 << 20;

/// Most memory for the copies of one SR, beside what is being written at this moment.
pub const COPIES_PER_SR: usize = 64 << 20;

/// What is written over ranges that shall read as zeros.
static ZEROS: [u8; MAX_TRANSFER] = [0; MAX_TRANSFER];

/// What all handles of one file share.
#[derive(Debug)]
pub struct FileState {
    handle: Handle,
    id: FileId,
    uncommitted: Mutex<Uncommitted>,
    /// Held shared by writes, exclusively by whoever changes the length or writes again what was lost: a repetition must not
    /// overtake a later write.
    order: RwLock<()>,
    /// One flush at a time; who comes meanwhile may find his work done.
    flushing: Mutex<()>,
    locks: Mutex<Locks>,
    /// Handles of it; changed under the lock of the map of open files.
    pub(super) handles: AtomicUsize,
    /// Names that keep a removed file while it is open.
    pub(super) kept_names: Mutex<Vec<String>>,
}

#[derive(Debug, Default)]
struct Locks {
    shared: usize,
    is_exclusive: bool,
}

/// An open file.
#[derive(Debug)]
pub struct NfsFile {
    files: Arc<Shared>,
    state: Arc<FileState>,
    is_writable: bool,
    lock: Mutex<Option<LockMode>>,
}

impl FileState {
    /// A file that nobody has open yet.
    pub fn new(handle: Handle, id: FileId) -> Self {
        FileState {
            handle,
            id,
            uncommitted: Mutex::default(),
            order: RwLock::default(),
            flushing: Mutex::default(),
            locks: Mutex::default(),
            handles: AtomicUsize::new(0),
            kept_names: Mutex::default(),
        }
    }

    /// Which file it is.
    pub fn id(&self) -> FileId {
        self.id
    }

    fn uncommitted(&self) -> MutexGuard<'_, Uncommitted> {
        self.uncommitted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl NfsFile {
    /// A handle of a file, which the caller has counted.
    pub fn new(files: Arc<Shared>, state: Arc<FileState>, is_writable: bool) -> Self {
        NfsFile {
            files,
            state,
            is_writable,
            lock: Mutex::default(),
        }
    }

    /// Changes the copies and keeps count of their memory.
    fn change_copies<T>(&self, change: impl FnOnce(&mut Uncommitted) -> T) -> T {
        let mut uncommitted = self.state.uncommitted();
        let before = uncommitted.cost();
        let result = change(&mut uncommitted);
        let after = uncommitted.cost();
        drop(uncommitted);
        if after > before {
            self.files
                .copies
                .fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.files
                .copies
                .fetch_sub(before - after, Ordering::Relaxed);
        }
        result
    }

    fn require_writable(&self) -> io::Result<()> {
        if self.is_writable {
            return Ok(());
        }
        let text = "the file is open for reading only";
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    }

    /// Writes, with `keep` as the way to a copy of a part of `data`.
    fn write_with_copy(
        &self,
        data: &[u8],
        offset: u64,
        keep: impl Fn(Range<usize>) -> Bytes,
    ) -> io::Result<()> {
        self.require_writable()?;
        let order = self
            .state
            .order
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let written =
            self.files
                .protocol
                .write(&self.state.handle, offset, data, Stability::Unstable)?;
        let cost = self.change_copies(|copies| {
            for piece in written {
                let start = (piece.offset - offset) as usize;
                match piece.unstable {
                    Some(verifier) => {
                        copies.add(piece.offset, keep(start..start + piece.length), verifier)
                    }
                    None => copies.forget(piece.offset, piece.length as u64),
                }
            }
            copies.cost()
        });
        drop(order);
        let of_sr = self.files.copies.load(Ordering::Relaxed);
        if cost > COPIES_PER_FILE || of_sr > COPIES_PER_SR && cost > 0 {
            self.commit()?;
        }
        Ok(())
    }

    /// Puts on stable storage what was written before the call.
    ///
    /// 1. The server commits, and says under which verifier.
    /// 2. What was written under that one is stable, and its copies go.
    /// 3. What was written under others is lost. It is written again, stably, while no other write is under way, except where
    ///    a later write has replaced it.
    ///
    /// Until 3 is done the copies stay, whatever happens, and another flush goes on with them.
    fn commit(&self) -> Result<()> {
        let state = &self.state;
        let wanted = state.uncommitted().turn();
        let _flushing = state
            .flushing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let begun = {
            let uncommitted = state.uncommitted();
            if !uncommitted.has_before(wanted) {
                return Ok(());
            }
            uncommitted.turn()
        };
        let protocol = &self.files.protocol;
        let verifier = protocol.commit(&state.handle)?;
        let lost = self.change_copies(|copies| copies.committed(begun, verifier));
        if lost.is_empty() {
            return Ok(());
        }
        let _order = state.order.write().unwrap_or_else(PoisonError::into_inner);
        // Again, since later writes may have replaced some of it.
        let lost = self.change_copies(|copies| copies.committed(begun, verifier));
        let bytes: usize = lost.iter().map(|lost| lost.data.len()).sum();
        tracing::warn!(
            server.path = %self.files.label.display(),
            lost.size_bytes = bytes,
            "the NFS server was restarted; what it lost is written again"
        );
        for lost in lost {
            protocol.write(&state.handle, lost.offset, &lost.data, Stability::Stable)?;
            self.change_copies(|copies| copies.forget(lost.offset, lost.data.len() as u64));
        }
        Ok(())
    }

    /// Reads what is not among the copies.
    fn read_around(
        &self,
        buffer: &mut [u8],
        offset: u64,
        copies: &[(u64, Bytes)],
        copies_end: u64,
    ) -> io::Result<()> {
        let read = self
            .files
            .protocol
            .read(&self.state.handle, offset, buffer)?;
        if read < buffer.len() {
            // A server that was restarted may have lost the end of the file.
            let known = copies_end.saturating_sub(offset).min(buffer.len() as u64) as usize;
            if known < buffer.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer[read..].fill(0);
        }
        overlay(buffer, offset, copies);
        Ok(())
    }
}

fn overlay(buffer: &mut [u8], offset: u64, copies: &[(u64, Bytes)]) {
    for (start, data) in copies {
        let start = (start - offset) as usize;
        buffer[start..start + data.len()].copy_from_slice(data);
    }
}

impl vhd::Storage for NfsFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        // Taken before the read: what is committed meanwhile is what the server has, or will have, written.
        let (copies, end) = {
            let uncommitted = self.state.uncommitted();
            let copies = uncommitted.in_range(offset, buffer.len() as u64);
            (copies, uncommitted.end())
        };
        let copied: usize = copies.iter().map(|(_, data)| data.len()).sum();
        if copied == buffer.len() {
            overlay(buffer, offset, &copies);
            return Ok(());
        }
        self.read_around(buffer, offset, &copies, end)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.write_with_copy(data, offset, |part| Bytes::copy_from_slice(&data[part]))
    }

    fn len(&self) -> io::Result<u64> {
        let known = self.state.uncommitted().end();
        let attributes = self.files.protocol.attributes(&self.state.handle)?;
        Ok(attributes.size.max(known))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.require_writable()?;
        let _order = self
            .state
            .order
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        self.files.protocol.set_size(&self.state.handle, length)?;
        self.change_copies(|copies| copies.forget(length, u64::MAX - length));
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        crate::io::fault::point("file: sync")?;
        Ok(self.commit()?)
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        let mut done = 0;
        while done < length {
            let step = (length - done).min(ZEROS.len() as u64) as usize;
            self.write_with_copy(&ZEROS[..step], offset + done, |part| {
                Bytes::from_static(&ZEROS[..part.len()])
            })?;
            done += step as u64;
        }
        Ok(())
    }

    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<bool> {
        self.require_writable()?;
        if length == 0 {
            return Ok(true);
        }
        let _order = self
            .state
            .order
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let punched = self
            .files
            .protocol
            .punch_hole(&self.state.handle, offset, length)?;
        if punched {
            self.change_copies(|copies| copies.forget(offset, length));
        }
        Ok(punched)
    }
}

impl MediumFile for NfsFile {
    fn id(&self) -> io::Result<FileId> {
        Ok(self.state.id)
    }

    fn modified(&self) -> io::Result<SystemTime> {
        let attributes = self.files.protocol.attributes(&self.state.handle)?;
        Ok(attributes.modified)
    }

    /// Locks of this process only: who else may use the SR is settled by its owner record.
    fn try_lock(&self, mode: LockMode) -> io::Result<bool> {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let mut locks = self
            .state
            .locks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let others_shared = locks.shared - usize::from(*held == Some(LockMode::Shared));
        let others_exclusive = locks.is_exclusive && *held != Some(LockMode::Exclusive);
        let is_free = match mode {
            LockMode::Shared => !others_exclusive,
            LockMode::Exclusive => !others_exclusive && others_shared == 0,
        };
        if is_free {
            locks.shared = others_shared + usize::from(mode == LockMode::Shared);
            locks.is_exclusive = mode == LockMode::Exclusive;
            *held = Some(mode);
        }
        Ok(is_free)
    }

    fn unlock(&self) {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let mut locks = self
            .state
            .locks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match held.take() {
            Some(LockMode::Shared) => locks.shared -= 1,
            Some(LockMode::Exclusive) => locks.is_exclusive = false,
            None => {}
        }
    }
}

impl Drop for NfsFile {
    /// The last handle commits what was written: after it nobody could write it again.
    fn drop(&mut self) {
        self.unlock();
        if self.is_writable
            && !self.state.uncommitted().is_empty()
            && let Err(error) = self.commit()
        {
            tracing::error!(
                server.path = %self.files.label.display(),
                error = %error.chain_text(),
                "a file was closed before everything that was written to it was on stable storage"
            );
            let lost = self.change_copies(|copies| {
                let lost = copies.in_range(0, u64::MAX);
                copies.forget(0, u64::MAX);
                lost
            });
            let lost: usize = lost.iter().map(|(_, data)| data.len()).sum();
            let lost_bytes = &self.files.lost_bytes;
            lost_bytes.fetch_add(lost as u64, Ordering::Relaxed);
        }
        self.files.release(&self.state);
    }
}
