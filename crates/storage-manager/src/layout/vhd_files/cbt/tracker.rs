//! What a consumer changes in a VDI that it has open for writing.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use uuid::Uuid;

use super::log_file;
use crate::io::fault;
use crate::layout::cbt_log::{BLOCK_SIZE, BlockBitmap, ChangeLog, HEADER_LENGTH, Header};
use crate::medium::files::MediumFile;

/// Bytes of the bitmap that are written at once: the unit in which changed bits are counted as not yet written.
const PAGE: usize = 4096;
/// Words of a page.
const PAGE_WORDS: usize = PAGE / 8;

/// The place of an open VDI's bits: with no log it costs a look at a lock and nothing else.
///
/// Bits are set before the data is written and are on stable storage before a flush of the data begins, so what a
/// completed flush covers is marked after any crash. What was written and not flushed may be on the medium too: the flag
/// in the header stays clear while the VDI is open, and says that the leaf's own blocks must be added.
#[derive(Debug)]
pub struct ChangeTracker {
    vdi: Uuid,
    tracking: RwLock<Option<Tracking>>,
    /// Something was changed that the log does not say, or will not say after a crash: it must not be called consistent.
    incomplete: AtomicBool,
}

/// The bits of a log that is being written to.
#[derive(Debug)]
pub struct Tracking {
    file: Arc<dyn MediumFile>,
    header: Mutex<Header>,
    blocks: u64,
    /// What has changed.
    bits: Box<[AtomicU64]>,
    /// What of it is known to be on stable storage.
    published: Box<[AtomicU64]>,
    /// A bit for each page that has bits which are not published.
    dirty: Box<[AtomicU64]>,
    /// Held while bits are written.
    publishing: Mutex<()>,
}

fn zeros(count: usize) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

impl Tracking {
    /// Takes over a log whose content is what the file holds.
    pub fn new(file: Arc<dyn MediumFile>, log: &ChangeLog) -> Self {
        let words = (log.blocks.blocks() as usize).div_ceil(64);
        let bits = zeros(words);
        let published = zeros(words);
        for (index, chunk) in log.blocks.file_bytes().chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            bits[index].store(u64::from_le_bytes(word), Ordering::Relaxed);
            published[index].store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
        Tracking {
            file,
            header: Mutex::new(log.header),
            blocks: log.blocks.blocks(),
            bits,
            published,
            dirty: zeros(words.div_ceil(PAGE_WORDS).div_ceil(64)),
            publishing: Mutex::new(()),
        }
    }

    fn header(&self) -> Header {
        *self.header.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log as it is now, on stable storage or not.
    fn log(&self) -> ChangeLog {
        let header = self.header();
        let bytes = self
            .bits
            .iter()
            .flat_map(|word| word.load(Ordering::Acquire).to_le_bytes());
        let count = header.size.div_ceil(BLOCK_SIZE).div_ceil(8) as usize;
        ChangeLog {
            header,
            blocks: BlockBitmap::from_file_bytes(bytes.take(count).collect(), header.size),
        }
    }

    /// Sets the bits of a range; false when part of it lies behind the end.
    fn mark(&self, offset: u64, length: u64) -> bool {
        if length == 0 {
            return true;
        }
        let first = offset / BLOCK_SIZE;
        let last = (offset.saturating_add(length) - 1) / BLOCK_SIZE;
        let end = (last + 1).min(self.blocks);
        let mut block = first;
        while block < end {
            let word = (block / 64) as usize;
            let stop = end.min((word as u64 + 1) * 64);
            let count = stop - block;
            let mask = (u64::MAX >> (64 - count)) << (block % 64);
            self.mark_word(word, mask);
            block = stop;
        }
        last < self.blocks
    }

    /// A bit that is not published is set, and its page noted, by everyone who needs it: whoever sees it set by another
    /// cannot know that the other has noted the page already.
    fn mark_word(&self, word: usize, mask: u64) {
        if self.published[word].load(Ordering::Acquire) & mask == mask {
            return;
        }
        self.bits[word].fetch_or(mask, Ordering::AcqRel);
        let page = word / PAGE_WORDS;
        self.dirty[page / 64].fetch_or(1 << (page % 64), Ordering::AcqRel);
    }

    /// Puts every bit that was set before this call on stable storage; without such bits nothing is written.
    fn publish(&self) -> io::Result<()> {
        let _one_at_a_time = self
            .publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut pages = Vec::new();
        for (index, group) in self.dirty.iter().enumerate() {
            let mut taken = group.swap(0, Ordering::AcqRel);
            while taken != 0 {
                let page = index * 64 + taken.trailing_zeros() as usize;
                taken &= taken - 1;
                pages.push((page, self.copy_page(page)));
            }
        }
        if pages.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.write_pages(&pages) {
            for (page, _) in &pages {
                self.dirty[page / 64].fetch_or(1 << (page % 64), Ordering::AcqRel);
            }
            return Err(error);
        }
        for (page, words) in pages {
            let begin = page * PAGE_WORDS;
            for (published, word) in self.published[begin..].iter().zip(words) {
                published.fetch_or(word, Ordering::AcqRel);
            }
        }
        Ok(())
    }

    fn copy_page(&self, page: usize) -> Vec<u64> {
        let begin = page * PAGE_WORDS;
        let end = (begin + PAGE_WORDS).min(self.bits.len());
        let words = self.bits[begin..end].iter();
        words.map(|word| word.load(Ordering::Acquire)).collect()
    }

    fn write_pages(&self, pages: &[(usize, Vec<u64>)]) -> io::Result<()> {
        fault::point("change log: write bits")?;
        let total = self.blocks.div_ceil(8) as usize;
        for (page, words) in pages {
            let begin = page * PAGE;
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let bytes = &bytes[..bytes.len().min(total - begin)];
            self.file.write_at(bytes, (HEADER_LENGTH + begin) as u64)?;
        }
        self.file.flush()
    }

    fn change_header(&self, change: impl FnOnce(&mut Header)) -> io::Result<()> {
        let mut header = self.header.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = *header;
        change(&mut changed);
        log_file::write_header(&*self.file, &changed)?;
        *header = changed;
        Ok(())
    }
}

impl ChangeTracker {
    /// The tracker of a VDI; none when it has no log now, which may change while it is open.
    pub fn new(vdi: Uuid, tracking: Option<Tracking>) -> Self {
        ChangeTracker {
            vdi,
            tracking: RwLock::new(tracking),
            incomplete: AtomicBool::new(false),
        }
    }

    /// The VDI.
    pub fn vdi(&self) -> Uuid {
        self.vdi
    }

    fn with<T>(&self, operation: impl FnOnce(&Tracking) -> T) -> Option<T> {
        self.tracking
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(operation)
    }

    /// Notes that a range is about to be written, zeroed or trimmed.
    pub fn mark(&self, offset: u64, length: u64) {
        if self.with(|tracking| tracking.mark(offset, length)) == Some(false) {
            self.incomplete.store(true, Ordering::Release);
        }
    }

    /// Puts what was noted on stable storage; called before the data is flushed.
    ///
    /// A failure is logged and keeps nobody from flushing the data: the log is then not called consistent when the VDI is
    /// closed, and is mended by the leaf's own blocks when it is opened again.
    pub fn publish(&self) {
        // The warning is the report.
        let _ = self.try_publish();
    }

    /// As [`ChangeTracker::publish`], for who cannot go on without it.
    pub fn try_publish(&self) -> io::Result<()> {
        let outcome = self.with(Tracking::publish).unwrap_or(Ok(()));
        if let Err(error) = &outcome
            && !self.incomplete.swap(true, Ordering::AcqRel)
        {
            tracing::warn!(vdi.uuid = %self.vdi, %error, "could not write the change-tracking log of an open VDI; go on without");
        }
        outcome
    }

    /// The log as it is now; none without one.
    pub fn log(&self) -> Option<ChangeLog> {
        self.with(Tracking::log)
    }

    /// The header of the log; none without one.
    pub fn header(&self) -> Option<Header> {
        self.with(Tracking::header)
    }

    /// Goes on with another log, or none.
    pub fn replace(&self, tracking: Option<Tracking>) {
        let mut place = self
            .tracking
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *place = tracking;
        self.incomplete.store(false, Ordering::Release);
    }

    /// Changes the header on the medium; nothing without a log.
    pub fn change_header(&self, change: impl FnOnce(&mut Header)) -> io::Result<()> {
        self.with(|tracking| tracking.change_header(change))
            .unwrap_or(Ok(()))
    }

    /// Adds blocks and puts them on stable storage.
    pub fn absorb(&self, blocks: &BlockBitmap) -> io::Result<()> {
        self.with(|tracking| {
            for (index, chunk) in blocks.file_bytes().chunks(8).enumerate() {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                let mask = u64::from_le_bytes(word);
                if mask != 0 && index < tracking.bits.len() {
                    tracking.mark_word(index, mask);
                }
            }
            tracking.publish()
        })
        .unwrap_or(Ok(()))
    }

    /// Ends the tracking: the bits are written, and the log is called consistent if nothing is missing in it and the
    /// image was closed cleanly.
    pub fn close(&self, image_is_clean: bool) {
        let mut place = self
            .tracking
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(tracking) = place.take() else { return };
        let complete = image_is_clean && !self.incomplete.load(Ordering::Acquire);
        let closed = tracking.publish().and_then(|()| match complete {
            true => tracking.change_header(|header| {
                header.consistent = true;
                header.open_here = false;
            }),
            false => Ok(()),
        });
        if let Err(error) = closed {
            tracing::warn!(vdi.uuid = %self.vdi, %error, "could not close a change-tracking log; it is mended when the VDI is used again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::positional::PositionalFile;

    fn tracker(blocks: u64) -> (tempfile::TempDir, std::path::PathBuf, ChangeTracker) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = ChangeLog::new(blocks * BLOCK_SIZE, None);
        log.header.consistent = false;
        std::fs::write(&path, log.to_bytes()).unwrap();
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let tracking = Tracking::new(Arc::new(PositionalFile::new(file)), &log);
        let tracker = ChangeTracker::new(Uuid::from_u128(7), Some(tracking));
        (dir, path, tracker)
    }

    #[test]
    fn bits_are_written_once_and_before_the_flush() {
        let (_dir, path, tracker) = tracker(100_000);
        tracker.mark(70 * BLOCK_SIZE - 1, 2);
        tracker.mark(99_999 * BLOCK_SIZE, BLOCK_SIZE);
        tracker.mark(0, 0);
        let steps = fault::count(|| tracker.publish());
        assert_eq!(steps, ["change log: write bits", "file: sync"]);
        let on_disk = ChangeLog::parse(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(Some(&on_disk), tracker.log().as_ref());
        assert_eq!(on_disk.blocks.count(), 3);
        tracker.mark(69 * BLOCK_SIZE, 2 * BLOCK_SIZE);
        assert!(
            fault::count(|| tracker.publish()).is_empty(),
            "nothing is new"
        );
        tracker.close(true);
        let on_disk = ChangeLog::parse(&std::fs::read(&path).unwrap()).unwrap();
        assert!(on_disk.header.consistent);
    }

    #[test]
    fn what_could_not_be_noted_keeps_the_log_from_being_called_consistent() {
        let closed_after = |act: &dyn Fn(&ChangeTracker)| {
            let (_dir, path, tracker) = tracker(8);
            act(&tracker);
            tracker.close(true);
            ChangeLog::parse(&std::fs::read(&path).unwrap()).unwrap()
        };
        assert!(closed_after(&|_| {}).header.consistent);
        let behind = closed_after(&|tracker| tracker.mark(7 * BLOCK_SIZE, 2 * BLOCK_SIZE));
        assert!(!behind.header.consistent);
        assert!(behind.blocks.is_set(7));
        let failed = closed_after(&|tracker| {
            tracker.mark(0, 1);
            fault::fail_at(0, 28, || tracker.publish());
        });
        assert!(!failed.header.consistent);
        assert!(failed.blocks.is_set(0), "the next writing takes it along");
    }

    #[test]
    fn threads_that_mark_the_same_bits_all_find_them_published() {
        let (_dir, path, tracker) = tracker(512);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for block in 0..512 {
                        tracker.mark(block * BLOCK_SIZE, 1);
                        if block % 16 == 0 {
                            tracker.publish();
                            let bytes = std::fs::read(&path).unwrap();
                            assert!(ChangeLog::parse(&bytes).unwrap().blocks.is_set(block));
                        }
                    }
                });
            }
        });
    }
}
