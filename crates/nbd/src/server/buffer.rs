//! Memory that a worker uses again and again.

use std::io::IoSlice;
use std::ops::Range;

use super::budget::Lease;
use super::limits::{BATCH_BYTES, BATCH_REPLIES, BUFFER_ALIGNMENT};
use crate::Error;
use crate::channel::{Channel, Sender};

/// Bytes that start at a multiple of [`BUFFER_ALIGNMENT`].
#[derive(Default)]
pub(super) struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
}

impl AlignedBuffer {
    pub(super) fn capacity(&self) -> usize {
        self.bytes.len().saturating_sub(BUFFER_ALIGNMENT)
    }

    /// Makes room for `length` bytes; what was in the buffer is lost when it grows.
    pub(super) fn reserve(&mut self, length: usize) {
        if length <= self.capacity() {
            return;
        }
        self.bytes = vec![0; length.next_power_of_two() + BUFFER_ALIGNMENT];
        // The allocator may give any address; a pointer that cannot be aligned would only cost speed.
        let shift = self.bytes.as_ptr().align_offset(BUFFER_ALIGNMENT);
        self.start = if shift <= BUFFER_ALIGNMENT { shift } else { 0 };
    }

    /// `range` of what was reserved.
    pub(super) fn slice(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[self.start + range.start..self.start + range.end]
    }

    pub(super) fn slice_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.bytes[self.start + range.start..self.start + range.end]
    }
}

/// Where the data of a batch lies.
enum Memory {
    Own(AlignedBuffer),
    Leased(Lease),
}

impl Memory {
    fn buffer(&self) -> &AlignedBuffer {
        match self {
            Memory::Own(buffer) => buffer,
            Memory::Leased(lease) => lease.buffer(),
        }
    }

    fn buffer_mut(&mut self) -> &mut AlignedBuffer {
        match self {
            Memory::Own(buffer) => buffer,
            Memory::Leased(lease) => lease.buffer_mut(),
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Memory::Own(AlignedBuffer::default())
    }
}

struct Part {
    head: Range<usize>,
    data: Range<usize>,
}

/// Replies that go out in one system call.
#[derive(Default)]
pub(super) struct Batch {
    heads: Vec<u8>,
    data: Memory,
    used: usize,
    parts: Vec<Part>,
}

impl Batch {
    /// A batch whose data is kept in leased memory.
    pub(super) fn leased(lease: Lease) -> Self {
        Batch {
            data: Memory::Leased(lease),
            ..Batch::default()
        }
    }

    /// Bytes of data that one reply can have.
    pub(super) fn piece(&self) -> usize {
        match &self.data {
            Memory::Own(_) => BATCH_BYTES,
            Memory::Leased(lease) => lease.buffer().capacity(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// True when a reply with `length` bytes of data can be added before sending.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.is_empty()
            || (self.parts.len() < BATCH_REPLIES
                && self.used + length <= self.data.buffer().capacity())
    }

    /// Where the data of the next reply goes, at most [`Batch::piece`]; the caller has made sure of the room.
    pub(super) fn space(&mut self, length: usize) -> &mut [u8] {
        if self.is_empty()
            && let Memory::Own(buffer) = &mut self.data
        {
            buffer.reserve(BATCH_BYTES);
        }
        let range = self.used..self.used + length;
        self.data.buffer_mut().slice_mut(range)
    }

    /// Adds a reply whose data is the first `length` bytes of [`Batch::space`].
    pub(super) fn push_with_data(&mut self, head: &[&[u8]], length: usize) {
        let begin = self.heads.len();
        for piece in head {
            self.heads.extend_from_slice(piece);
        }
        self.parts.push(Part {
            head: begin..self.heads.len(),
            data: self.used..self.used + length,
        });
        self.used = (self.used + length).next_multiple_of(BUFFER_ALIGNMENT);
    }

    /// Adds a reply without data of the export.
    pub(super) fn push(&mut self, head: &[&[u8]]) {
        self.push_with_data(head, 0);
    }

    /// Sends and forgets what was added.
    pub(super) fn send(&mut self, channel: &Channel, sender: &mut Sender) -> Result<(), Error> {
        let mut slices = [IoSlice::new(&[]); 2 * BATCH_REPLIES];
        for (pair, part) in slices.chunks_exact_mut(2).zip(&self.parts) {
            pair[0] = IoSlice::new(&self.heads[part.head.clone()]);
            pair[1] = IoSlice::new(self.data.buffer().slice(part.data.clone()));
        }
        let count = 2 * self.parts.len();
        let result = sender.send(channel, &mut slices[..count]);
        self.clear();
        result
    }

    fn clear(&mut self) {
        self.heads.clear();
        self.parts.clear();
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_grow() {
        let mut buffer = AlignedBuffer::default();
        for length in [1, 4096, 5000, 1 << 20] {
            buffer.reserve(length);
            let slice = buffer.slice_mut(0..length);
            assert_eq!(slice.len(), length);
            assert_eq!(slice.as_ptr().align_offset(BUFFER_ALIGNMENT), 0);
        }
    }

    #[test]
    fn a_batch_has_room_until_its_bytes_or_replies_are_used_up() {
        let mut batch = Batch::default();
        assert!(
            batch.has_room(1 << 20),
            "an empty batch makes room as it is used"
        );
        batch.space(4096);
        batch.push_with_data(&[b"head"], 4096);
        assert!(batch.has_room(4096));
        assert!(!batch.has_room(BATCH_BYTES));
        for _ in 1..BATCH_REPLIES {
            batch.push(&[b"head"]);
        }
        assert!(!batch.has_room(0));
    }
}
