//! The connections to VDIs that are being read or written block by block: one for each VDI, kept for a while after its last use.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::maps::Maps;
use crate::driver::{Disk, Mover, PoolError, Trouble};

/// Most connections at a time.
const OPEN_MAX: usize = 64;
/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(60);
/// How often idle connections are looked for.
const SWEEP: Duration = Duration::from_secs(15);
/// How long a request waits for room when all connections are in use.
const ROOM_PATIENCE: Duration = Duration::from_secs(10);
/// How long a request waits for others that use the same connection.
const TURN_PATIENCE: Duration = Duration::from_secs(45);

/// The call in errors of this file.
const CALL: &str = "NBD";

/// Most blocks that are in memory at a time, of requests and for answers: 64 MiB.
const BLOCKS_MAX: usize = 128;

/// What the EBS direct APIs keep between requests.
pub(crate) struct DirectIo {
    mover: OnceLock<Arc<dyn Mover>>,
    blocks: Arc<Semaphore>,
    pub(super) disks: Arc<OpenDisks>,
    pub(super) maps: Maps,
}

impl Default for DirectIo {
    fn default() -> Self {
        DirectIo {
            mover: OnceLock::new(),
            blocks: Arc::new(Semaphore::new(BLOCKS_MAX)),
            disks: Arc::default(),
            maps: Maps::default(),
        }
    }
}

impl DirectIo {
    /// Waits for room for one more block; none when there is none for long.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        let room = timeout(ROOM_PATIENCE, Arc::clone(&self.blocks).acquire_owned());
        room.await.ok().and_then(Result::ok)
    }

    /// Says what reaches the bytes; once.
    pub(crate) fn is_moved_by(&self, mover: Arc<dyn Mover>) {
        // It is told once, right after the service was opened.
        let _ = self.mover.set(mover);
    }

    /// What reaches the bytes; none in a process that was given nothing.
    pub(super) fn mover(&self) -> Option<Arc<dyn Mover>> {
        self.mover.get().cloned()
    }
}

/// Makes work of a function.
pub(super) fn work<T>(
    what: impl Fn(&mut dyn Disk) -> Result<T, PoolError> + Send + Sync + 'static,
) -> Work<T> {
    Arc::new(what)
}

/// The connections.
pub(super) struct OpenDisks {
    known: Mutex<HashMap<Uuid, Arc<Known>>>,
    room: Arc<Semaphore>,
    is_swept: AtomicBool,
}

impl Default for OpenDisks {
    fn default() -> Self {
        OpenDisks {
            known: Mutex::default(),
            room: Arc::new(Semaphore::new(OPEN_MAX)),
            is_swept: AtomicBool::new(false),
        }
    }
}

struct Known {
    slot: Arc<tokio::sync::Mutex<Option<Open>>>,
    used: Mutex<Instant>,
}

struct Open {
    disk: Box<dyn Disk>,
    _room: OwnedSemaphorePermit,
}

/// What is done with a disk, where it may block.
pub(super) type Work<T> = Arc<dyn Fn(&mut dyn Disk) -> Result<T, PoolError> + Send + Sync>;

type Slot = OwnedMutexGuard<Option<Open>>;
type Opened = Result<Box<dyn Disk>, PoolError>;

impl OpenDisks {
    /// Works on a VDI's disk, opening it unless it is open. Work that fails on a connection that was open before is done once
    /// more on a fresh one: it must bear being done twice.
    ///
    /// # Cancel safety
    /// Work that has begun goes on, and the connection stays good.
    pub(super) async fn with<T, O, F>(
        self: &Arc<Self>,
        vdi: Uuid,
        open: O,
        work: Work<T>,
    ) -> Result<T, PoolError>
    where
        T: Send + 'static,
        O: Fn() -> F + Send,
        F: Future<Output = Opened> + Send,
    {
        let known = self.known(vdi);
        let turn = timeout(TURN_PATIENCE, Arc::clone(&known.slot).lock_owned()).await;
        let mut slot = turn.map_err(|_| busy("too many requests are about one snapshot"))?;
        // The end of an upload takes its disk away: who waited behind that does not open it again.
        let is_current = self
            .lock()
            .get(&vdi)
            .is_some_and(|now| Arc::ptr_eq(now, &known));
        if !is_current {
            return Err(busy("the connection was closed meanwhile"));
        }
        let was_open = slot.is_some();
        if !was_open {
            *slot = Some(self.opened(&open).await?);
        }
        let (mut slot, outcome) = run(slot, Arc::clone(&work)).await?;
        known.touch();
        let error = match outcome {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        // Whatever it was, nothing is known of what is on the wire now.
        *slot = None;
        if !was_open {
            return Err(error);
        }
        tracing::debug!(%error, vdi.uuid = %vdi, "a connection to a VDI is lost; opened anew");
        *slot = Some(self.opened(&open).await?);
        let (mut slot, outcome) = run(slot, work).await?;
        if outcome.is_err() {
            *slot = None;
        }
        outcome
    }

    /// Closes a VDI's connection, once nobody uses it.
    pub(super) async fn close(&self, vdi: Uuid) {
        let known = self.lock().remove(&vdi);
        if let Some(known) = known {
            *known.slot.lock().await = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(self: &Arc<Self>, vdi: Uuid) -> Arc<Known> {
        let known = {
            let mut all = self.lock();
            let fresh = || {
                Arc::new(Known {
                    slot: Arc::default(),
                    used: Mutex::new(Instant::now()),
                })
            };
            Arc::clone(all.entry(vdi).or_insert_with(fresh))
        };
        known.touch();
        if !self.is_swept.swap(true, Ordering::SeqCst) {
            tokio::spawn(Arc::clone(self).sweep());
        }
        known
    }

    async fn opened<O, F>(&self, open: &O) -> Result<Open, PoolError>
    where
        O: Fn() -> F,
        F: Future<Output = Opened>,
    {
        if self.room.available_permits() == 0 {
            self.close_least_used();
        }
        let room = timeout(ROOM_PATIENCE, Arc::clone(&self.room).acquire_owned()).await;
        let room = room
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| busy("too many snapshots are being read or written"))?;
        Ok(Open {
            disk: open().await?,
            _room: room,
        })
    }

    /// Closes the connection whose last use is longest ago, of those that nobody uses now.
    fn close_least_used(&self) {
        let mut by_use: Vec<Arc<Known>> = self.lock().values().cloned().collect();
        by_use.sort_by_key(|known| known.used());
        for known in by_use {
            if let Ok(mut slot) = known.slot.try_lock()
                && slot.take().is_some()
            {
                return;
            }
        }
    }

    /// Closes what is idle until nothing is known any more.
    async fn sweep(self: Arc<Self>) {
        loop {
            sleep(SWEEP).await;
            let now = Instant::now();
            let mut all = self.lock();
            all.retain(|_, known| {
                let is_idle = now.saturating_duration_since(known.used()) >= IDLE;
                // One that somebody holds is about to be used: it stays, lest a second one of its VDI is made beside it.
                !is_idle || Arc::strong_count(known) > 1
            });
            if all.is_empty() {
                // Under the lock: whoever comes next finds that nobody sweeps.
                self.is_swept.store(false, Ordering::SeqCst);
                return;
            }
        }
    }

    /// How many VDIs are known.
    #[cfg(test)]
    fn count(&self) -> usize {
        self.lock().len()
    }
}

impl Known {
    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does the work where it may block. The connection goes along and comes back.
async fn run<T: Send + 'static>(
    mut slot: Slot,
    work: Work<T>,
) -> Result<(Slot, Result<T, PoolError>), PoolError> {
    let done = tokio::task::spawn_blocking(move || {
        let outcome = match slot.as_mut() {
            Some(open) => work(open.disk.as_mut()),
            None => Err(PoolError::new(CALL, Trouble::Refused, "nothing is open")),
        };
        (slot, outcome)
    });
    done.await.map_err(|failed| {
        let text = format!("the work on a VDI failed: {failed}");
        PoolError::new(CALL, Trouble::Refused, text)
    })
}

fn busy(text: &str) -> PoolError {
    PoolError::new(CALL, Trouble::Busy, text)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::super::blocks::BLOCK_BYTES;
    use super::*;
    use crate::driver::Run;

    /// A disk in memory that tells runs of zeros by looking.
    pub(in crate::app::direct) struct MemoryDisk {
        bytes: Vec<u8>,
        /// How many more calls succeed.
        calls_left: usize,
    }

    impl MemoryDisk {
        pub(in crate::app::direct) fn of(bytes: Vec<u8>) -> Self {
            MemoryDisk {
                bytes,
                calls_left: usize::MAX,
            }
        }

        fn called(&mut self) -> Result<(), PoolError> {
            let left = self.calls_left.checked_sub(1);
            self.calls_left =
                left.ok_or_else(|| PoolError::new("NBD", Trouble::Unreachable, "hung up"))?;
            Ok(())
        }
    }

    impl Disk for MemoryDisk {
        fn size_bytes(&self) -> u64 {
            self.bytes.len() as u64
        }

        fn read(&mut self, buffer: &mut [u8], offset: u64) -> Result<(), PoolError> {
            self.called()?;
            let at = offset as usize;
            buffer.copy_from_slice(&self.bytes[at..at + buffer.len()]);
            Ok(())
        }

        fn write(&mut self, data: &[u8], offset: u64) -> Result<(), PoolError> {
            self.called()?;
            let at = offset as usize;
            self.bytes[at..at + data.len()].copy_from_slice(data);
            Ok(())
        }

        fn flush(&mut self) -> Result<(), PoolError> {
            self.called()
        }

        fn runs(&mut self, offset: u64, length: u64) -> Result<Vec<Run>, PoolError> {
            self.called()?;
            let part = &self.bytes[offset as usize..(offset + length) as usize];
            let run = |bytes: &[u8]| Run {
                length: bytes.len() as u64,
                is_zero: bytes.iter().all(|byte| *byte == 0),
            };
            // Several runs to a block.
            Ok(part.chunks(BLOCK_BYTES as usize / 4).map(run).collect())
        }
    }

    fn first_byte() -> Work<u8> {
        work(|disk| {
            let mut byte = [0];
            disk.read(&mut byte, 0)?;
            Ok(byte[0])
        })
    }

    fn opener(
        opened: &Arc<AtomicUsize>,
        calls_left: usize,
    ) -> impl Fn() -> std::future::Ready<Opened> + Send + use<> {
        let opened = Arc::clone(opened);
        move || {
            opened.fetch_add(1, Ordering::SeqCst);
            let mut disk = MemoryDisk::of(vec![7; 8]);
            disk.calls_left = calls_left;
            std::future::ready(Ok(Box::new(disk) as Box<dyn Disk>))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_serves_again_is_opened_anew_when_it_died_and_is_closed_when_idle() {
        let disks = Arc::new(OpenDisks::default());
        let opened = Arc::new(AtomicUsize::new(0));
        let vdi = Uuid::from_u128(1);
        for (nth, expected) in [(1, 1), (2, 1), (3, 2), (4, 2)] {
            // A connection that bears two calls.
            let read = disks.with(vdi, opener(&opened, 2), first_byte()).await;
            assert_eq!(read.unwrap(), 7, "{nth}");
            assert_eq!(opened.load(Ordering::SeqCst), expected, "{nth}");
        }
        assert_eq!(disks.room.available_permits(), OPEN_MAX - 1);
        sleep(IDLE + 2 * SWEEP).await;
        assert_eq!(disks.count(), 0);
        assert_eq!(disks.room.available_permits(), OPEN_MAX);
        let read = disks.with(vdi, opener(&opened, 2), first_byte()).await;
        assert_eq!(read.unwrap(), 7);
        assert_eq!(opened.load(Ordering::SeqCst), 3);
        disks.close(vdi).await;
        assert_eq!(disks.room.available_permits(), OPEN_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fresh_connection_that_fails_is_not_tried_again() {
        let disks = Arc::new(OpenDisks::default());
        let opened = Arc::new(AtomicUsize::new(0));
        let read = disks
            .with(Uuid::from_u128(1), opener(&opened, 0), first_byte())
            .await;
        assert_eq!(read.unwrap_err().trouble, Trouble::Unreachable);
        assert_eq!(opened.load(Ordering::SeqCst), 1);
        assert_eq!(disks.room.available_permits(), OPEN_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn one_more_than_there_is_room_for_takes_the_place_of_the_least_used() {
        let disks = Arc::new(OpenDisks::default());
        let opened = Arc::new(AtomicUsize::new(0));
        let read = async |number: usize| {
            let vdi = Uuid::from_u128(number as u128);
            let work = disks.with(vdi, opener(&opened, usize::MAX), first_byte());
            assert_eq!(work.await.unwrap(), 7);
            tokio::time::advance(Duration::from_millis(1)).await;
        };
        for number in 0..OPEN_MAX {
            read(number).await;
        }
        read(0).await;
        assert_eq!(opened.load(Ordering::SeqCst), OPEN_MAX);
        read(OPEN_MAX).await;
        read(0).await;
        assert_eq!(opened.load(Ordering::SeqCst), OPEN_MAX + 1);
        // The second one had to go.
        read(1).await;
        assert_eq!(opened.load(Ordering::SeqCst), OPEN_MAX + 2);
        assert_eq!(disks.room.available_permits(), 0);
    }
}
