//! The open images of an SR, and one thread that flushes those open for writing every few seconds.
//!
//! Consumers that never ask for a flush lose no more than this time's worth of metadata when the machine dies.

use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use nbd::Export;
use uuid::Uuid;

use super::open_image::OpenImage;

/// Time between two rounds.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(5);

/// The thread and the images that it looks after.
#[derive(Debug)]
pub struct Flusher {
    interval: Duration,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    stopping: Condvar,
}

#[derive(Debug, Default)]
struct State {
    images: Vec<Weak<OpenImage>>,
    stop: bool,
}

impl Flusher {
    /// A flusher with this time between two rounds.
    pub fn new(interval: Duration) -> Self {
        Flusher {
            interval,
            shared: Arc::default(),
            thread: Mutex::default(),
        }
    }

    /// The VDIs that are open.
    pub fn open_images(&self) -> Vec<Uuid> {
        let state = self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let images = state
            .images
            .iter()
            .filter_map(Weak::upgrade)
            .collect::<Vec<_>>();
        drop(state);
        images
            .iter()
            .filter(|image| image.is_open())
            .map(|image| image.uuid())
            .collect()
    }

    /// Looks after an image until it is dropped. The thread is started by the first one open for writing.
    pub fn add(&self, image: &Arc<OpenImage>) {
        let mut state = self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        state.images.retain(|image| image.strong_count() > 0);
        state.images.push(Arc::downgrade(image));
        drop(state);
        if image.is_read_only() {
            return;
        }
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let (interval, shared) = (self.interval, self.shared.clone());
            let spawned = std::thread::Builder::new()
                .name("sr-flusher".to_owned())
                .spawn(move || run(&shared, interval));
            match spawned {
                Ok(handle) => *thread = Some(handle),
                // The next image tries again; until then only the consumer's flushes count.
                Err(error) => tracing::warn!(%error, "start the thread that flushes open images"),
            }
        }
    }
}

fn run(shared: &Shared, interval: Duration) {
    let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
    while !state.stop {
        let (locked, timeout) = shared
            .stopping
            .wait_timeout(state, interval)
            .unwrap_or_else(PoisonError::into_inner);
        state = locked;
        if state.stop || !timeout.timed_out() {
            continue;
        }
        let images: Vec<Arc<OpenImage>> = state.images.iter().filter_map(Weak::upgrade).collect();
        drop(state);
        for image in images {
            image.flush_in_background();
        }
        state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.images.retain(|image| image.strong_count() > 0);
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .stop = true;
        self.shared.stopping.notify_all();
        let thread = self
            .thread
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // A panic of the thread was printed where it happened.
            let _ = thread.join();
        }
    }
}
