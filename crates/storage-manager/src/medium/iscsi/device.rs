//! A LUN of a session as a device.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use super::answers::{self, Capacity, Limits};
use super::cdb::Cdb;
use super::error::Error;
use super::session::{Session, lock};
use crate::io::libiscsi::Transfer;
use crate::medium::block_device::{BlockDevice, DeviceIdentity};
use crate::medium::scsi_id::{self, PAGE_IDENTIFICATION, PAGE_SERIAL};

/// Most bytes that one command reads or writes, if the LUN does not want less.
const MAX_IO: usize = 1 << 20;

/// Most bytes that one command makes zeros.
const MAX_ZEROS: u64 = 32 << 20;

/// How often one command waits for news of LUNs to be looked at.
const MAX_CHANGES: usize = 8;

/// Bytes that are asked for of a page.
const PAGE_LENGTH: u16 = 254;

/// Bytes that are asked for of the list of LUNs: 8,191 of them.
const LUNS_LENGTH: u32 = 65536;

/// A LUN.
#[derive(Debug)]
pub struct IscsiDevice {
    session: Arc<Session>,
    lun: u16,
    identity: DeviceIdentity,
    capacity: Mutex<Capacity>,
    /// The session's changes of LUNs and resets when the capacity was read.
    read_at_change: AtomicU64,
    block_size: u32,
    limits: Limits,
    has_cache: bool,
    unmaps: bool,
    /// False once the LUN has refused WRITE SAME.
    writes_same: AtomicBool,
    /// Shared by writes of whole blocks; alone for one that changes a part of a block.
    parts: RwLock<()>,
}

impl IscsiDevice {
    /// Opens a LUN and asks it who and how large it is.
    pub fn open(session: &Arc<Session>, lun: u16) -> Result<Self, Error> {
        let failed = |action| {
            move |source| Error::Command {
                action,
                lun,
                target: session.logged_in().target.clone(),
                source,
            }
        };
        let changes = session.lun_changes() + session.resets();
        let standard = ask(
            session,
            lun,
            Cdb::inquiry(None, PAGE_LENGTH),
            PAGE_LENGTH.into(),
        )
        .map_err(failed("ask for the identity"))?;
        if !answers::is_disk(&standard) {
            let text = "it is no disk, or nothing is there";
            let source = io::Error::new(io::ErrorKind::NotFound, text);
            return Err(failed("open")(source));
        }
        session
            .execute(lun, Cdb::test_unit_ready(), Transfer::None)
            .map_err(failed("test the readiness"))?;
        let pages = Pages::of(session, lun);
        let identity = pages.identity(&standard);
        let capacity = capacity(session, lun).map_err(failed("ask for the capacity"))?;
        let limits = Limits::parse(&pages.get(0xb0)).unwrap_or_default();
        let unmaps = capacity.is_thin
            && capacity.reads_zeros
            && answers::unmaps_by_write_same(&pages.get(0xb2));
        let caching = ask(
            session,
            lun,
            Cdb::mode_sense_caching(PAGE_LENGTH as u8),
            PAGE_LENGTH.into(),
        );
        Ok(IscsiDevice {
            session: session.clone(),
            lun,
            identity,
            block_size: capacity.block_size,
            capacity: Mutex::new(capacity),
            read_at_change: AtomicU64::new(changes),
            limits,
            has_cache: caching.map_or(true, |page| answers::has_write_cache(&page)),
            unmaps,
            writes_same: AtomicBool::new(true),
            parts: RwLock::new(()),
        })
    }

    /// The numbers of the LUNs that a session shows.
    pub fn luns(session: &Session) -> Result<Vec<u16>, Error> {
        let list = ask(
            session,
            0,
            Cdb::report_luns(LUNS_LENGTH),
            LUNS_LENGTH as usize,
        );
        let list = list.map_err(|source| Error::Command {
            action: "ask for the LUNs",
            lun: 0,
            target: session.logged_in().target.clone(),
            source,
        })?;
        Ok(answers::luns(&list))
    }

    /// Its number.
    pub fn lun(&self) -> u16 {
        self.lun
    }

    /// The session that leads to it.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Its size, asked again if the target has told of changes or was away.
    pub fn capacity(&self) -> io::Result<Capacity> {
        let changes = self.session.lun_changes() + self.session.resets();
        if self.read_at_change.load(Ordering::Acquire) != changes {
            self.refresh()?;
            self.read_at_change.store(changes, Ordering::Release);
        }
        Ok(*lock(&self.capacity))
    }

    /// Asks for its size, and whether it is still the device that it was: an array may have put another one under its number.
    ///
    /// # Errors
    /// `NotConnected` when it is another one: this path leads nowhere, and one of another session may.
    pub fn refresh(&self) -> io::Result<()> {
        let standard = ask(
            &self.session,
            self.lun,
            Cdb::inquiry(None, PAGE_LENGTH),
            PAGE_LENGTH.into(),
        )?;
        let found = Pages::of(&self.session, self.lun)
            .identity(&standard)
            .scsi_id;
        if found != self.identity.scsi_id {
            let text = format!(
                "LUN {} of {} is {found:?} now, and was {}; nothing is read from it or written to it: map the old one under this number again, or detach its SR",
                self.lun,
                self.session.logged_in().target,
                self.identity.scsi_id
            );
            // Until it is the old one again, everybody asks before anything is read or written.
            self.read_at_change.store(u64::MAX, Ordering::Release);
            return Err(io::Error::new(io::ErrorKind::NotConnected, text));
        }
        let found = capacity(&self.session, self.lun)?;
        if found.block_size != self.block_size {
            let text = format!(
                "LUN {} has blocks of {} bytes now, and had {}; attach its SR again",
                self.lun, found.block_size, self.block_size
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        *lock(&self.capacity) = found;
        Ok(())
    }

    fn block(&self) -> u64 {
        u64::from(self.block_size)
    }

    /// Has the LUN read or write blocks. Where the target first tells that LUNs have changed, nothing was done, and it is done
    /// once that is known to be the same device.
    fn execute_data(
        &self,
        cdb: Cdb,
        run: &mut dyn FnMut(Cdb) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let begun = Instant::now();
        for _ in 0..MAX_CHANGES {
            match run(cdb) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    if begun.elapsed() >= self.session.logged_in().deadline {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, error));
                    }
                    self.refresh()?;
                }
                result => return result,
            }
        }
        run(cdb)
    }

    fn max_io(&self) -> usize {
        let block = self.block_size as usize;
        match self.limits.transfer as usize {
            0 => MAX_IO,
            blocks => blocks.saturating_mul(block).min(MAX_IO),
        }
    }

    fn check(&self, offset: u64, length: u64, beyond: io::ErrorKind) -> io::Result<()> {
        let size = self.capacity()?.size();
        if offset.checked_add(length).is_some_and(|end| end <= size) {
            return Ok(());
        }
        let text = format!(
            "{length} bytes at {offset} end past the {size} bytes of {}",
            self.name()
        );
        Err(io::Error::new(beyond, text))
    }

    fn is_aligned(&self, offset: u64, length: usize) -> bool {
        offset.is_multiple_of(self.block()) && (length as u64).is_multiple_of(self.block())
    }

    fn read_blocks(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut offset = offset;
        for part in buffer.chunks_mut(self.max_io()) {
            let cdb = Cdb::read_16(offset / self.block(), self.count(part.len()));
            offset += part.len() as u64;
            let missing = self.execute_data(cdb, &mut |cdb| {
                self.session.execute(self.lun, cdb, Transfer::In(part))
            })?;
            self.whole(missing)?;
        }
        Ok(())
    }

    fn write_blocks(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut offset = offset;
        for part in data.chunks(self.max_io()) {
            let cdb = Cdb::write_16(offset / self.block(), self.count(part.len()));
            offset += part.len() as u64;
            let missing = self.execute_data(cdb, &mut |cdb| {
                self.session.execute(self.lun, cdb, Transfer::Out(part))
            })?;
            self.whole(missing)?;
        }
        Ok(())
    }

    fn count(&self, bytes: usize) -> u32 {
        (bytes / self.block_size as usize) as u32
    }

    fn whole(&self, missing: usize) -> io::Result<()> {
        if missing == 0 {
            return Ok(());
        }
        let text = format!("{} left out {missing} bytes of a transfer", self.name());
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
    }

    /// Reads the blocks around a range, has them changed, and writes them if wanted.
    fn with_blocks_around(
        &self,
        offset: u64,
        length: usize,
        is_write: bool,
        change: impl FnOnce(&mut [u8]),
    ) -> io::Result<()> {
        let start = offset - offset % self.block();
        let end = (offset + length as u64).next_multiple_of(self.block());
        let mut blocks = vec![0; (end - start) as usize];
        let alone;
        let _guard = if is_write {
            alone = self.parts.write().unwrap_or_else(PoisonError::into_inner);
            Some(alone)
        } else {
            None
        };
        self.read_blocks(&mut blocks, start)?;
        let inside = (offset - start) as usize;
        change(&mut blocks[inside..inside + length]);
        if is_write {
            self.write_blocks(&blocks, start)?;
        }
        Ok(())
    }

    /// Makes whole blocks zeros by WRITE SAME; false when the LUN knows no such command.
    fn write_same(&self, offset: u64, length: u64) -> io::Result<bool> {
        if !self.writes_same.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let zeros = vec![0; self.block_size as usize];
        let mut most = MAX_ZEROS / self.block();
        if self.limits.write_same != 0 {
            most = most.min(self.limits.write_same);
        }
        let (mut block, end) = (offset / self.block(), (offset + length) / self.block());
        while block < end {
            let count = most.min(end - block);
            let cdb = Cdb::write_same_16(block, count as u32, self.unmaps);
            let mut run = |cdb| self.session.execute(self.lun, cdb, Transfer::Out(&zeros));
            match self.execute_data(cdb, &mut run) {
                Ok(_) => block += count,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput
                    ) =>
                {
                    self.writes_same.store(false, Ordering::Relaxed);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl BlockDevice for IscsiDevice {
    fn name(&self) -> String {
        let login = self.session.logged_in();
        format!("{} LUN {} at {}", login.target, self.lun, login.portal)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.capacity()?.size())
    }

    fn block_size(&self) -> u32 {
        self.block_size
    }

    fn identity(&self) -> DeviceIdentity {
        self.identity.clone()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.check(offset, buffer.len() as u64, io::ErrorKind::UnexpectedEof)?;
        if self.is_aligned(offset, buffer.len()) {
            return self.read_blocks(buffer, offset);
        }
        let length = buffer.len();
        self.with_blocks_around(offset, length, false, |blocks| {
            buffer.copy_from_slice(blocks)
        })
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.check(offset, data.len() as u64, io::ErrorKind::StorageFull)?;
        if self.is_aligned(offset, data.len()) {
            let _shared = self.parts.read().unwrap_or_else(PoisonError::into_inner);
            return self.write_blocks(data, offset);
        }
        self.with_blocks_around(offset, data.len(), true, |blocks| {
            blocks.copy_from_slice(data)
        })
    }

    fn flush(&self) -> io::Result<()> {
        if !self.has_cache {
            return Ok(());
        }
        let cdb = Cdb::synchronize_cache_10();
        self.session.execute(self.lun, cdb, Transfer::None)?;
        Ok(())
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.check(offset, length, io::ErrorKind::StorageFull)?;
        let end = offset + length;
        let first = offset.next_multiple_of(self.block()).min(end);
        let last = (end - end % self.block()).max(first);
        let zeros = vec![0; MAX_IO.min(length as usize)];
        let fill = |from: u64, to: u64| {
            let mut at = from;
            while at < to {
                let part = (to - at).min(zeros.len() as u64) as usize;
                self.write_at(&zeros[..part], at)?;
                at += part as u64;
            }
            Ok(())
        };
        fill(offset, first)?;
        let same = {
            let _shared = self.parts.read().unwrap_or_else(PoisonError::into_inner);
            self.write_same(first, last - first)?
        };
        if !same {
            fill(first, last)?;
        }
        fill(last, end)
    }

    fn unmap(&self, offset: u64, length: u64) -> io::Result<bool> {
        if !self.unmaps || !self.writes_same.load(Ordering::Relaxed) {
            return Ok(false);
        }
        self.write_zeroes_at(offset, length)?;
        Ok(true)
    }

    fn resets(&self) -> u64 {
        self.session.resets()
    }

    fn has_write_cache(&self) -> bool {
        self.has_cache
    }
}

/// The answer to a question, as long as it is.
fn ask(session: &Session, lun: u16, cdb: Cdb, length: usize) -> io::Result<Vec<u8>> {
    let mut answer = vec![0; length];
    let missing = session.execute(lun, cdb, Transfer::In(&mut answer))?;
    answer.truncate(length.saturating_sub(missing));
    Ok(answer)
}

/// The vital product data pages that a LUN says it has.
struct Pages<'a> {
    session: &'a Session,
    lun: u16,
    listed: Vec<u8>,
}

impl<'a> Pages<'a> {
    fn of(session: &'a Session, lun: u16) -> Self {
        let list = page(session, lun, 0).unwrap_or_default();
        Pages {
            session,
            lun,
            listed: list.get(4..).unwrap_or_default().to_vec(),
        }
    }

    /// Empty when the LUN does not have it.
    fn get(&self, number: u8) -> Vec<u8> {
        let is_listed = self.listed.contains(&number);
        let found = is_listed.then(|| page(self.session, self.lun, number));
        found.flatten().unwrap_or_default()
    }

    fn identity(&self, standard: &[u8]) -> DeviceIdentity {
        scsi_id::identity(
            standard,
            &self.get(PAGE_SERIAL),
            &self.get(PAGE_IDENTIFICATION),
        )
    }
}

/// A vital product data page; none when the LUN does not have it.
fn page(session: &Session, lun: u16, number: u8) -> Option<Vec<u8>> {
    let cdb = Cdb::inquiry(Some(number), PAGE_LENGTH);
    ask(session, lun, cdb, PAGE_LENGTH.into()).ok()
}

fn capacity(session: &Session, lun: u16) -> io::Result<Capacity> {
    let senseless = || io::Error::new(io::ErrorKind::InvalidData, "the answer makes no sense");
    match ask(session, lun, Cdb::read_capacity_16(32), 32) {
        Ok(data) => Capacity::parse_16(&data).ok_or_else(senseless),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput
            ) =>
        {
            let data = ask(session, lun, Cdb::read_capacity_10(), 8)?;
            Capacity::parse_10(&data).ok_or_else(senseless)
        }
        Err(error) => Err(error),
    }
}
