//! Keeps a copy of what was written and not flushed, and writes it again when the device may have forgotten it.
//!
//! A device behind a network has a cache that its consumer does not see. Between the last flush and now the server can be
//! restarted and lose what it had acknowledged, while the consumer sees nothing but a pause. A disk in the same machine would have
//! taken the machine down with it; so a consumer is right to expect that what it has read back once stays.
//!
//! Order: a write is noted before it is sent. When [`BlockDevice::resets`] has moved, I/O waits, the notes are written
//! again in their order, and only then goes on. A flush that succeeded, with no reset while it ran, drops the notes of the
//! writes that had returned when it began. Before the notes pass [`MAX_BYTES`] the writer that would pass it flushes.
//!
//! Writes of several threads to one place at one time have no order, here as on any disk.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::block_device::{BlockDevice, DeviceIdentity};

/// Most bytes that are kept for one device; then it is flushed.
pub const MAX_BYTES: u64 = 64 << 20;

/// Most writes that are kept for one device; then it is flushed.
pub const MAX_WRITES: usize = 1 << 15;

/// How often a step is begun again because the device was reset while it ran.
const MAX_ROUNDS: usize = 8;

/// Says whether the device may still be written to; it is asked before anything is written again.
pub type Guard = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

/// A device whose unflushed writes survive a restart of its server.
pub struct Unflushed {
    device: Arc<dyn BlockDevice>,
    guard: Option<Guard>,
    /// Shared by all that is under way; alone while the notes are written again.
    order: RwLock<()>,
    notes: Mutex<Notes>,
    /// The resets that the notes were last made good for.
    seen: AtomicU64,
}

#[derive(Default)]
struct Notes {
    writes: VecDeque<Note>,
    bytes: u64,
    /// The number of the next note.
    next: u64,
    /// Why nothing can be written any more: notes could not be made good.
    lost: Option<String>,
}

struct Note {
    number: u64,
    /// True once the write has returned: before that no flush covers it.
    returned: bool,
    offset: u64,
    content: Content,
}

enum Content {
    Data(Box<[u8]>),
    Zeroes(u64),
}

impl Unflushed {
    /// Wraps a device; one whose writes need no flush is answered as it is.
    pub fn wrap(device: Arc<dyn BlockDevice>, guard: Option<Guard>) -> Arc<dyn BlockDevice> {
        if !device.has_write_cache() {
            return device;
        }
        Arc::new(Unflushed {
            seen: AtomicU64::new(device.resets()),
            device,
            guard,
            order: RwLock::new(()),
            notes: Mutex::default(),
        })
    }

    /// Runs `operation`, after what the device may have forgotten was written again; once more if it was reset meanwhile.
    fn in_order<T>(&self, mut operation: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        for _ in 0..MAX_ROUNDS {
            self.make_good()?;
            let order = self.order.read().unwrap_or_else(PoisonError::into_inner);
            let result = operation();
            drop(order);
            if result.is_err() || self.device.resets() == self.seen.load(Ordering::Acquire) {
                return result;
            }
        }
        Err(self.keeps_resetting())
    }

    /// Writes again what the device may have forgotten.
    fn make_good(&self) -> io::Result<()> {
        if let Some(reason) = &self.notes().lost {
            return Err(lost(&self.device.name(), reason));
        }
        if self.device.resets() == self.seen.load(Ordering::Acquire) {
            return Ok(());
        }
        let _alone = self.order.write().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..MAX_ROUNDS {
            let resets = self.device.resets();
            if resets == self.seen.load(Ordering::Acquire) {
                return Ok(());
            }
            let mut notes = self.notes();
            if let Some(refusal) = self.guard.as_ref().and_then(|guard| guard().err())
                && !notes.writes.is_empty()
            {
                let reason = format!(
                    "{} writes that were not flushed may be lost, and cannot be repeated: {refusal}",
                    notes.writes.len()
                );
                notes.lost = Some(reason.clone());
                return Err(lost(&self.device.name(), &reason));
            }
            if !notes.writes.is_empty() {
                tracing::warn!(
                    device = self.device.name(),
                    writes = notes.writes.len(),
                    size_bytes = notes.bytes,
                    "the device may have forgotten writes; they are written again"
                );
            }
            for note in &notes.writes {
                match &note.content {
                    Content::Data(data) => self.device.write_at(data, note.offset)?,
                    Content::Zeroes(length) => self.device.write_zeroes_at(note.offset, *length)?,
                }
            }
            self.seen.store(resets, Ordering::Release);
        }
        Err(self.keeps_resetting())
    }

    fn note(&self, offset: u64, content: Content) -> io::Result<u64> {
        let size = content.kept();
        if self.notes().is_full(size) {
            self.flush()?;
        }
        let mut notes = self.notes();
        let number = notes.next;
        notes.next += 1;
        notes.bytes += size;
        notes.writes.push_back(Note {
            number,
            returned: false,
            offset,
            content,
        });
        Ok(number)
    }

    /// Keeps the note of a write that was carried out, and drops that of another: nobody was promised anything.
    fn settle(&self, number: u64, was_carried_out: bool) {
        let mut notes = self.notes();
        let Ok(index) = notes
            .writes
            .binary_search_by_key(&number, |note| note.number)
        else {
            return;
        };
        if was_carried_out {
            notes.writes[index].returned = true;
        } else if let Some(note) = notes.writes.remove(index) {
            notes.bytes -= note.content.kept();
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keeps_resetting(&self) -> io::Error {
        let text = format!(
            "{} was reset {MAX_ROUNDS} times while it was used; look at its server",
            self.device.name()
        );
        io::Error::new(io::ErrorKind::ConnectionReset, text)
    }
}

impl Notes {
    fn is_full(&self, more: u64) -> bool {
        !self.writes.is_empty()
            && (self.bytes + more > MAX_BYTES || self.writes.len() >= MAX_WRITES)
    }

    /// The number of the first write that has not returned; what is before it a flush covers that begins now.
    fn first_under_way(&self) -> u64 {
        let first = self.writes.iter().find(|note| !note.returned);
        first.map_or(self.next, |note| note.number)
    }

    fn drop_before(&mut self, number: u64) {
        while self.writes.front().is_some_and(|note| note.number < number) {
            if let Some(note) = self.writes.pop_front() {
                self.bytes -= note.content.kept();
            }
        }
    }
}

impl Content {
    /// Bytes of memory that it takes.
    fn kept(&self) -> u64 {
        match self {
            Content::Data(data) => data.len() as u64,
            Content::Zeroes(_) => 0,
        }
    }
}

fn lost(device: &str, reason: &str) -> io::Error {
    io::Error::other(format!(
        "{device} refuses I/O: {reason}; attach its SR again, and check the VDIs that were written"
    ))
}

impl BlockDevice for Unflushed {
    fn name(&self) -> String {
        self.device.name()
    }

    fn size(&self) -> io::Result<u64> {
        self.device.size()
    }

    fn block_size(&self) -> u32 {
        self.device.block_size()
    }

    fn identity(&self) -> DeviceIdentity {
        self.device.identity()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.in_order(|| self.device.read_at(buffer, offset))
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.make_good()?;
        let number = self.note(offset, Content::Data(data.into()))?;
        let written = self.in_order(|| self.device.write_at(data, offset));
        self.settle(number, written.is_ok());
        written
    }

    fn flush(&self) -> io::Result<()> {
        let mut flushed = 0;
        self.in_order(|| {
            flushed = self.notes().first_under_way();
            self.device.flush()
        })?;
        self.notes().drop_before(flushed);
        Ok(())
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.make_good()?;
        let number = self.note(offset, Content::Zeroes(length))?;
        let written = self.in_order(|| self.device.write_zeroes_at(offset, length));
        self.settle(number, written.is_ok());
        written
    }

    /// What is given back reads as zeros, and so it must after a restart.
    fn unmap(&self, offset: u64, length: u64) -> io::Result<bool> {
        self.make_good()?;
        let number = self.note(offset, Content::Zeroes(length))?;
        let done = self.in_order(|| self.device.unmap(offset, length));
        self.settle(number, matches!(done, Ok(true)));
        done
    }
}

impl fmt::Debug for Unflushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Unflushed").field(&self.device).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory_device::{Medium, MemoryPath};
    use super::*;

    fn device() -> (Arc<Medium>, Arc<dyn BlockDevice>) {
        let medium = Medium::new(1 << 16);
        let device = Unflushed::wrap(MemoryPath::new(&medium, "36"), None);
        (medium, device)
    }

    fn read(device: &dyn BlockDevice, offset: u64) -> u8 {
        let mut byte = [0; 512];
        device.read_at(&mut byte, offset).unwrap();
        assert!(byte.iter().all(|other| *other == byte[0]));
        byte[0]
    }

    #[test]
    fn what_a_restart_lost_is_written_again_in_its_order() {
        let (medium, device) = device();
        device.write_at(&[1; 512], 0).unwrap();
        device.flush().unwrap();
        device.write_at(&[2; 512], 0).unwrap();
        device.write_at(&[3; 512], 0).unwrap();
        device.write_zeroes_at(512, 512).unwrap();
        medium.restart();
        assert_eq!(
            medium.live.lock().unwrap()[0],
            1,
            "the premise: it was lost"
        );
        assert_eq!(read(&*device, 0), 3);
        medium.restart();
        device.flush().unwrap();
        assert_eq!(medium.stable.lock().unwrap()[0], 3);
        // What was flushed is not written again.
        medium.live.lock().unwrap()[0] = 9;
        medium.stable.lock().unwrap()[0] = 9;
        medium.restart();
        device.flush().unwrap();
        assert_eq!(medium.live.lock().unwrap()[0], 9);
    }

    #[test]
    fn nothing_is_written_again_by_whoever_has_lost_the_right_to() {
        let medium = Medium::new(4096);
        let path = MemoryPath::new(&medium, "36");
        let guard: Guard = Arc::new(|| Err(io::Error::other("another serves it")));
        let device = Unflushed::wrap(path, Some(guard));
        device.write_at(&[5; 512], 0).unwrap();
        medium.restart();
        let error = device.read_at(&mut [0; 512], 0).unwrap_err();
        assert!(error.to_string().contains("another serves it"), "{error}");
        assert!(device.flush().is_err(), "it stays so");
        assert_eq!(medium.live.lock().unwrap()[0], 0);
    }

    #[test]
    fn notes_are_bounded() {
        let (medium, device) = device();
        for round in 0..=MAX_WRITES {
            device.write_at(&[round as u8; 512], 0).unwrap();
        }
        assert_eq!(medium.stable.lock().unwrap()[0], (MAX_WRITES - 1) as u8);
    }

    #[test]
    fn a_write_that_failed_is_not_repeated() {
        let medium = Medium::new(4096);
        let path = MemoryPath::new(&medium, "36");
        let device = Unflushed::wrap(path.clone(), None);
        path.is_broken.store(true, Ordering::SeqCst);
        device.write_at(&[7; 512], 0).unwrap_err();
        path.is_broken.store(false, Ordering::SeqCst);
        medium.restart();
        assert_eq!(read(&*device, 0), 0);
    }
}
