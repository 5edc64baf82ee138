//! Files with an empty table on stable storage, made ahead for the children of large images.
//!
//! The table of an image of 2040 GiB takes 4.3 MB, and a snapshot needs two images. Writing and syncing them would take ten
//! times as long as everything else that a snapshot does.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nbd::Export;

use super::open_images::OpenImages;
use crate::medium::files::{Files, UnnamedFile};

/// Virtual size in bytes from which on files are made ahead: the table of a smaller image takes less than 256 KiB.
pub const SPARE_FROM: u64 = 128 << 30;

/// Files that are kept of each size: two snapshots' worth.
const SPARES_OF_A_SIZE: usize = 4;

/// Virtual sizes of which files are kept, those wanted last. With the largest size that makes 70 MB.
const SIZE_LIMIT: usize = 4;

/// How long files of a size are kept that no open image has, after it was last wanted.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// Time between two looks at what is open and at the space that is left.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// Bytes that must be free on the file system; with less, no file is kept.
const FREE_LIMIT: u64 = 1 << 30;

/// The spare files of an SR, and the thread that makes them.
///
/// They have no names, so that a crash or a detach leaves nothing of them and nobody sees them; they count in the space
/// that the SR uses. A snapshot that finds none makes its files itself.
#[derive(Debug)]
pub struct Spares {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    files: Arc<dyn Files>,
    images: Arc<OpenImages>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The one wanted last comes first.
    sizes: Vec<SpareSize>,
    /// The SR is detached, or the file system cannot.
    stopped: bool,
}

#[derive(Debug)]
struct SpareSize {
    virtual_size: u64,
    wanted: Instant,
    files: Vec<Box<dyn UnnamedFile>>,
}

impl Spares {
    /// No files, and no thread before some are wanted.
    pub fn new(files: Arc<dyn Files>, images: Arc<OpenImages>) -> Self {
        let shared = Shared {
            files,
            images,
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        Spares {
            shared: Arc::new(shared),
            thread: Mutex::default(),
        }
    }

    /// Tells that an image of this size may have a snapshot taken soon. Returns at once.
    pub fn want(&self, virtual_size: u64) {
        if virtual_size < SPARE_FROM {
            return;
        }
        let mut state = self.shared.lock();
        if state.stopped {
            return;
        }
        state.want(virtual_size);
        drop(state);
        self.shared.changed.notify_all();
        self.start();
    }

    /// A file that [`vhd::image::prepare_differencing`] has prepared for this size, if there is one.
    pub fn take(&self, virtual_size: u64) -> Option<Box<dyn UnnamedFile>> {
        let mut state = self.shared.lock();
        let mut sizes = state.sizes.iter_mut();
        sizes
            .find(|size| size.virtual_size == virtual_size)?
            .files
            .pop()
    }

    /// Makes no more files: the file system cannot.
    pub fn give_up(&self, reason: &str) {
        self.shared.give_up(reason);
    }

    /// Lets go of all files and ends the thread.
    pub fn stop(&self) {
        self.shared.stop();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // A panic of the thread was printed where it happened.
            let _ = thread.join();
        }
    }

    fn start(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_some() {
            return;
        }
        let shared = self.shared.clone();
        let spawned = std::thread::Builder::new()
            .name("sr-spares".to_owned())
            .spawn(move || run(&shared));
        match spawned {
            Ok(handle) => *thread = Some(handle),
            Err(error) => {
                tracing::debug!(%error, "start the thread that makes files for snapshots ahead; the next wish tries again");
            }
        }
    }

    /// Makes files of a size now, whatever the size.
    #[cfg(test)]
    pub fn fill(&self, virtual_size: u64) {
        let mut state = self.shared.lock();
        state.want(virtual_size);
        while state.sizes[0].files.len() < SPARES_OF_A_SIZE {
            let file = self.shared.make(virtual_size).unwrap();
            state.sizes[0].files.push(file);
        }
    }

    /// How many files of a size there are.
    #[cfg(test)]
    pub fn count(&self, virtual_size: u64) -> usize {
        let state = self.shared.lock();
        let sizes = state.sizes.iter();
        let found = sizes.filter(|size| size.virtual_size == virtual_size);
        found.map(|size| size.files.len()).sum()
    }
}

impl State {
    fn want(&mut self, virtual_size: u64) {
        let found = self
            .sizes
            .iter()
            .position(|size| size.virtual_size == virtual_size);
        let mut size = match found {
            Some(at) => self.sizes.remove(at),
            None => SpareSize {
                virtual_size,
                wanted: Instant::now(),
                files: Vec::new(),
            },
        };
        size.wanted = Instant::now();
        self.sizes.insert(0, size);
        self.sizes.truncate(SIZE_LIMIT);
    }

    /// The size of which a file is to be made next.
    fn missing(&self) -> Option<u64> {
        let missing = |size: &&SpareSize| size.files.len() < SPARES_OF_A_SIZE;
        Some(self.sizes.iter().find(missing)?.virtual_size)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, virtual_size: u64) -> io::Result<Box<dyn UnnamedFile>> {
        let file = self.files.create_unnamed_file()?;
        vhd::image::prepare_differencing(&**file.file(), virtual_size).map_err(io::Error::from)?;
        Ok(file)
    }

    fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        state.sizes.clear();
        drop(state);
        self.changed.notify_all();
    }

    fn give_up(&self, reason: &str) {
        let path = self.files.path().display();
        tracing::info!(sr.path = %path, "snapshots of large images take a little longer here: {reason}");
        self.stop();
    }

    /// The sizes that large images open for writing have. It may wait for one that is paused.
    fn open_sizes(&self) -> Vec<u64> {
        let mut open = self.images.all();
        open.retain(|image| !image.is_read_only() && image.with_chain(|_| ()).is_some());
        open.iter().map(|image| image.size()).collect()
    }

    /// Drops what is no longer wanted, or everything when space is short. Says of which size a file is to be made.
    fn look(&self, state: &mut State, open: &[u64]) -> Option<u64> {
        for size in &mut state.sizes {
            if open.contains(&size.virtual_size) {
                size.wanted = Instant::now();
            }
        }
        state.sizes.retain(|size| size.wanted.elapsed() < KEPT_FOR);
        let space = self.files.space().ok();
        let free = space.map(|space| {
            space
                .physical_size
                .saturating_sub(space.physical_utilisation)
        });
        if free.is_none_or(|free| free < FREE_LIMIT) {
            state.sizes.iter_mut().for_each(|size| size.files.clear());
            return None;
        }
        state.missing()
    }

    fn add(&self, virtual_size: u64, file: Box<dyn UnnamedFile>) {
        let mut state = self.lock();
        let mut sizes = state.sizes.iter_mut();
        if let Some(size) = sizes.find(|size| size.virtual_size == virtual_size) {
            size.files.push(file);
        }
    }

    /// Waits until something is wanted, or it is time to look again.
    fn wait(&self, state: MutexGuard<'_, State>) {
        if !state.stopped {
            // Whether it was a wish or the time makes no difference.
            let _ = self.changed.wait_timeout(state, LOOK_INTERVAL);
        }
    }
}

fn run(shared: &Shared) {
    loop {
        let open = shared.open_sizes();
        let mut state = shared.lock();
        if state.stopped {
            return;
        }
        let Some(virtual_size) = shared.look(&mut state, &open) else {
            shared.wait(state);
            continue;
        };
        drop(state);
        match shared.make(virtual_size) {
            Ok(file) => shared.add(virtual_size, file),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                return shared.give_up("the file system knows no files without names");
            }
            Err(error) => {
                tracing::debug!(%error, "make a file for snapshots ahead; tried again later");
                shared.wait(shared.lock());
            }
        }
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        self.stop();
    }
}
