//! Memory of one thread that another hands to the library.

use std::ptr::NonNull;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// What moves with a command, seen from us.
#[derive(Debug)]
pub enum Transfer<'a> {
    /// Nothing.
    None,
    /// Bytes from the target.
    In(&'a mut [u8]),
    /// Bytes to the target.
    Out(&'a [u8]),
}

/// Which way bytes move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    None,
    In,
    Out,
}

/// Memory that was lent. [`lend`] waits until this is dropped.
#[derive(Debug)]
pub struct Lent {
    pointer: NonNull<u8>,
    length: usize,
    direction: Direction,
    back: Arc<Latch>,
}

// SAFETY: the memory is borrowed by the frame of `lend`, exclusively where it is written to, until this value is dropped;
// whichever thread holds it is the only one that uses it.
unsafe impl Send for Lent {}

#[derive(Debug, Default)]
struct Latch {
    is_open: Mutex<bool>,
    opened: Condvar,
}

/// Lends memory to `work`, which may pass it on to other threads, and returns when it was given back: however long that
/// takes, and also when `work` panics.
pub fn lend<R>(transfer: Transfer<'_>, work: impl FnOnce(Lent) -> R) -> R {
    let (pointer, length, direction) = match transfer {
        Transfer::None => (NonNull::dangling(), 0, Direction::None),
        Transfer::In(buffer) => (
            NonNull::from(&mut *buffer).cast(),
            buffer.len(),
            Direction::In,
        ),
        Transfer::Out(data) => (NonNull::from(data).cast(), data.len(), Direction::Out),
    };
    let latch = Arc::new(Latch::default());
    let lent = Lent {
        pointer,
        length,
        direction,
        back: latch.clone(),
    };
    let _wait = WaitWhenDropped(latch);
    work(lent)
}

struct WaitWhenDropped(Arc<Latch>);

impl Drop for WaitWhenDropped {
    fn drop(&mut self) {
        let mut is_open = self
            .0
            .is_open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while !*is_open {
            let waited = self.0.opened.wait(is_open);
            is_open = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Lent {
    /// Bytes.
    pub fn length(&self) -> usize {
        self.length
    }

    pub(super) fn direction(&self) -> Direction {
        self.direction
    }

    /// Where it is. What is [`Direction::Out`] must not be written to.
    pub(super) fn pointer(&self) -> NonNull<u8> {
        self.pointer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut is_open = self
            .back
            .is_open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *is_open = true;
        drop(is_open);
        self.back.opened.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_until_the_memory_is_given_back() {
        let mut memory = vec![0_u8; 16];
        let mut thread = None;
        lend(Transfer::In(&mut memory), |lent| {
            thread = Some(std::thread::spawn(move || {
                assert_eq!((lent.length(), lent.direction()), (16, Direction::In));
                // SAFETY: the memory is lent for writing, and this thread holds it.
                unsafe { lent.pointer().write_bytes(7, lent.length()) };
            }));
        });
        assert_eq!(memory, [7; 16]);
        thread.unwrap().join().unwrap();
    }

    #[test]
    fn waits_also_for_work_that_panics() {
        let data = [1_u8; 4];
        let (sender, receiver) = std::sync::mpsc::sync_channel::<Lent>(1);
        let holder = std::thread::spawn(move || drop(receiver.recv()));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lend(Transfer::Out(&data), |lent| {
                sender.send(lent).unwrap();
                panic!("as planned");
            })
        }));
        assert!(result.is_err());
        holder.join().unwrap();
    }
}
