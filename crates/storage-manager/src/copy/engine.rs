//! One thread reads, one writes, and a bounded number of buffers goes round between them.
//!
//! ```text
//! reader:  block status -> read -> leave out what need not be written  --+
//!    ^                                                                   | Step
//!    +------------------------- empty buffers <--------------- writer <--+
//! ```

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use nbd::{BlockStatus, Export};

use super::{Error, Progress};

/// Bytes that are read and written at once.
pub const BUFFER_BYTES: usize = 1 << 20;

/// Buffers of one copy, without the one for the base.
pub const BUFFERS: usize = 6;

/// What is compared with zero or with the base as one piece: a block of changed block tracking.
const GRAIN: usize = 64 << 10;

/// How much is asked for with one look at the block status.
const STATUS_WINDOW: u64 = 256 << 20;

/// Most extents of one look.
const STATUS_EXTENTS: usize = 1024;

/// Bytes that are zeroed at once, so that a cancelled copy stops soon.
const ZERO_PIECE: u64 = 64 << 20;

/// Bytes that are written between two flushes.
const FLUSH_EVERY: u64 = 256 << 20;

/// What the target holds before the copy.
#[derive(Clone)]
pub enum TargetContent {
    /// Nothing but zeros: zeros need not be written.
    Blank,
    /// Anything.
    Unknown,
    /// What this holds: only what differs from it is written.
    Base(Arc<dyn Export>),
}

/// What is copied to where.
pub struct Copy {
    /// Read from its start to its end.
    pub source: Arc<dyn Export>,
    /// At least as large as the source; what lies beyond the source is left alone.
    pub target: Arc<dyn Export>,
    /// What the target holds before.
    pub content: TargetContent,
}

/// What the writer is to do.
enum Step {
    /// Write the ranges of the buffer; the first byte of it belongs at the offset.
    Write {
        offset: u64,
        buffer: Vec<u8>,
        ranges: Vec<Range<usize>>,
    },
    /// Zero a range.
    Zero { offset: u64, length: u64 },
    /// Nothing is to be written up to here.
    Reached { offset: u64 },
}

impl Copy {
    /// Copies and flushes the target.
    ///
    /// # Errors
    /// [`Error`]; the target then holds some of the source and some of what it held before.
    ///
    /// # Durability
    /// On return the whole copy is on stable storage.
    pub fn run(&self, progress: &Progress) -> Result<(), Error> {
        let (size, room) = (self.source.size(), self.target.size());
        if room < size {
            return Err(Error::TooSmall {
                target_bytes: room,
                source_bytes: size,
            });
        }
        progress.begin(size);
        let (full, steps) = sync_channel(BUFFERS);
        let (empty, buffers) = sync_channel(BUFFERS);
        (0..BUFFERS).for_each(|_| {
            // Both ends are here, and the channel has room for all.
            let _ = empty.send(vec![0; BUFFER_BYTES]);
        });
        std::thread::scope(|scope| {
            let reader = std::thread::Builder::new().name("copy-read".to_owned());
            let reader = reader.spawn_scoped(scope, move || {
                let reading = Reader {
                    copy: self,
                    buffers,
                    steps: full,
                };
                reading.run(size)
            });
            let reader = reader.map_err(Error::Thread)?;
            // Taken whole, so that the reader's next step finds nobody when this fails.
            let written = self.write_all(steps, empty, progress);
            let read = reader
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            written.and(read)
        })?;
        self.target
            .flush()
            .map_err(|source| failed("flush the target", size, source))?;
        progress.reach(size);
        Ok(())
    }

    /// Closes both ends, reporting the last flush of the target.
    ///
    /// # Errors
    /// [`Error::Io`] of the target; the source was only read.
    pub fn close(&self) -> Result<(), Error> {
        let size = self.target.size();
        if let Err(error) = self.source.close() {
            tracing::warn!(%error, "what was copied did not close cleanly");
        }
        if let TargetContent::Base(base) = &self.content
            && let Err(error) = base.close()
        {
            tracing::warn!(%error, "the base of a copy did not close cleanly");
        }
        self.target
            .close()
            .map_err(|source| failed("close the target", size, source))
    }

    fn write_all(
        &self,
        steps: Receiver<Step>,
        empty: SyncSender<Vec<u8>>,
        progress: &Progress,
    ) -> Result<(), Error> {
        let mut unflushed = 0;
        for step in steps {
            if progress.is_cancelled() {
                return Err(Error::Cancelled {
                    done_bytes: progress.done_bytes(),
                });
            }
            match step {
                Step::Reached { offset } => progress.reach(offset),
                Step::Zero { offset, length } => {
                    let zeroed = self.target.write_zeroes_at(offset, length);
                    zeroed.map_err(|source| failed("zero the target", offset, source))?;
                    progress.reach(offset + length);
                }
                Step::Write {
                    offset,
                    buffer,
                    ranges,
                } => {
                    for range in ranges {
                        let (at, data) = (offset + range.start as u64, &buffer[range]);
                        let written = self.target.write_at(data, at);
                        written.map_err(|source| failed("write the target", at, source))?;
                        progress.count_written(data.len() as u64);
                        unflushed += data.len() as u64;
                    }
                    if unflushed >= FLUSH_EVERY {
                        // So that the last flush is short, and a medium that is full or broken says so early.
                        let flushed = self.target.flush();
                        flushed.map_err(|source| failed("flush the target", offset, source))?;
                        unflushed = 0;
                    }
                    progress.reach(offset + buffer.len() as u64);
                    // A reader that is done takes none back.
                    let _ = empty.send(buffer);
                }
            }
        }
        Ok(())
    }
}

fn failed(action: &'static str, offset: u64, source: std::io::Error) -> Error {
    Error::Io {
        action,
        offset,
        source,
    }
}

/// The writer is gone; it says why.
struct WriterGone;

enum Stop {
    Error(Error),
    WriterGone,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Error(error)
    }
}

impl From<WriterGone> for Stop {
    fn from(_: WriterGone) -> Self {
        Stop::WriterGone
    }
}

struct Reader<'a> {
    copy: &'a Copy,
    buffers: Receiver<Vec<u8>>,
    steps: SyncSender<Step>,
}

impl Reader<'_> {
    fn run(&self, size: u64) -> Result<(), Error> {
        match self.walk(size) {
            Ok(()) | Err(Stop::WriterGone) => Ok(()),
            Err(Stop::Error(error)) => Err(error),
        }
    }

    fn walk(&self, size: u64) -> Result<(), Stop> {
        let mut offset = 0;
        while offset < size {
            let window = STATUS_WINDOW.min(size - offset);
            for extent in extents(&*self.copy.source, offset, window)? {
                let is_data = extent.1 == BlockStatus::Data;
                match &self.copy.content {
                    TargetContent::Base(base) => {
                        self.difference(base, offset, extent.0, is_data)?
                    }
                    _ if is_data => self.data(offset, extent.0, None)?,
                    TargetContent::Blank => self.send(Step::Reached {
                        offset: offset + extent.0,
                    })?,
                    TargetContent::Unknown => self.zeros(offset, extent.0)?,
                }
                offset += extent.0;
            }
        }
        Ok(())
    }

    fn send(&self, step: Step) -> Result<(), WriterGone> {
        self.steps.send(step).map_err(|_| WriterGone)
    }

    fn zeros(&self, mut offset: u64, mut length: u64) -> Result<(), WriterGone> {
        while length > 0 {
            let piece = length.min(ZERO_PIECE);
            self.send(Step::Zero {
                offset,
                length: piece,
            })?;
            offset += piece;
            length -= piece;
        }
        Ok(())
    }

    /// Reads a range that holds data and sends what is to be written of it.
    fn data(&self, offset: u64, length: u64, base: Option<&Arc<dyn Export>>) -> Result<(), Stop> {
        let mut base_buffer = base.map(|_| vec![0; BUFFER_BYTES]);
        let mut at = offset;
        let end = offset + length;
        while at < end {
            let piece =
                usize::try_from(end - at).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
            let mut buffer = self.buffers.recv().map_err(|_| WriterGone)?;
            buffer.resize(piece, 0);
            let read = self.copy.source.read_at(&mut buffer, at);
            read.map_err(|source| failed("read the source", at, source))?;
            let ranges = match (&self.copy.content, base, &mut base_buffer) {
                (_, Some(base), Some(other)) => {
                    other.resize(piece, 0);
                    let read = base.read_at(other, at);
                    read.map_err(|source| failed("read the base", at, source))?;
                    differing(&buffer, |range| buffer[range.clone()] == other[range])
                }
                (TargetContent::Blank, ..) => differing(&buffer, |range| is_zero(&buffer[range])),
                _ => std::iter::once(0..piece).collect(),
            };
            self.send(Step::Write {
                offset: at,
                buffer,
                ranges,
            })?;
            at += piece as u64;
        }
        Ok(())
    }

    /// Compares a range of the source with the base. Where both are known to be zero nothing is read.
    fn difference(
        &self,
        base: &Arc<dyn Export>,
        mut offset: u64,
        mut length: u64,
        is_data: bool,
    ) -> Result<(), Stop> {
        // What the source has beyond the end of the base may be anything in the target.
        let common = length.min(base.size().saturating_sub(offset));
        let beyond = (offset + common, length - common);
        length = common;
        while length > 0 {
            if is_data {
                self.data(offset, length, Some(base))?;
                break;
            }
            for (piece, status) in extents(&**base, offset, length.min(STATUS_WINDOW))? {
                if status == BlockStatus::Data {
                    self.zeros(offset, piece)?;
                } else {
                    self.send(Step::Reached {
                        offset: offset + piece,
                    })?;
                }
                offset += piece;
                length -= piece;
            }
        }
        match beyond {
            (_, 0) => Ok(()),
            (offset, length) if is_data => self.data(offset, length, None),
            (offset, length) => Ok(self.zeros(offset, length)?),
        }
    }
}

/// The extents of a range, cut to it; at least one.
fn extents(
    export: &dyn Export,
    offset: u64,
    length: u64,
) -> Result<Vec<(u64, BlockStatus)>, Error> {
    let status = export.block_status(offset, length, STATUS_EXTENTS);
    let status = status.map_err(|source| failed("look at the blocks", offset, source))?;
    let mut left = length;
    let mut cut = Vec::with_capacity(status.len());
    for extent in status {
        let length = extent.length.min(left);
        if length > 0 {
            cut.push((length, extent.status));
        }
        left -= length;
    }
    if cut.is_empty() {
        return Err(Error::NoExtent { offset });
    }
    Ok(cut)
}

/// The grains of a buffer for which `is_same` is false; neighbours are joined.
fn differing(buffer: &[u8], mut is_same: impl FnMut(Range<usize>) -> bool) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for start in (0..buffer.len()).step_by(GRAIN) {
        let range = start..buffer.len().min(start + GRAIN);
        if is_same(range.clone()) {
            continue;
        }
        match ranges.last_mut().filter(|last| last.end == start) {
            Some(last) => last.end = range.end,
            None => ranges.push(range),
        }
    }
    ranges
}

fn is_zero(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        // Compared with itself one byte on: as fast as the memory.
        [first, rest @ ..] => *first == 0 && bytes[..rest.len()] == *rest,
    }
}
