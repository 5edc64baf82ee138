//! One thread that flushes the images open for writing every few seconds.
//!
//! Consumers that never ask for a flush lose no more than this time's worth of metadata when the machine dies.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::open_images::OpenImages;

/// Time between two rounds.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(5);

/// The thread that looks after the open images of an SR.
#[derive(Debug)]
pub struct Flusher {
    interval: Duration,
    images: Arc<OpenImages>,
    stop: Arc<Stop>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Flusher {
    /// A flusher with this time between two rounds.
    pub fn new(interval: Duration, images: Arc<OpenImages>) -> Self {
        Flusher {
            interval,
            images,
            stop: Arc::default(),
            thread: Mutex::default(),
        }
    }

    /// Starts the thread, unless it runs: the first image that is opened for writing does.
    pub fn start(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_some() {
            return;
        }
        let (interval, images, stop) = (self.interval, self.images.clone(), self.stop.clone());
        let spawned = std::thread::Builder::new()
            .name("sr-flusher".to_owned())
            .spawn(move || run(&images, &stop, interval));
        match spawned {
            Ok(handle) => *thread = Some(handle),
            // The next image tries again; until then only the consumer's flushes count.
            Err(error) => tracing::warn!(%error, "start the thread that flushes open images"),
        }
    }
}

fn run(images: &OpenImages, stop: &Stop, interval: Duration) {
    let mut asked = stop.asked.lock().unwrap_or_else(PoisonError::into_inner);
    while !*asked {
        let (locked, timeout) = stop
            .changed
            .wait_timeout(asked, interval)
            .unwrap_or_else(PoisonError::into_inner);
        asked = locked;
        if *asked || !timeout.timed_out() {
            continue;
        }
        drop(asked);
        for image in images.all() {
            image.flush_in_background();
        }
        asked = stop.asked.lock().unwrap_or_else(PoisonError::into_inner);
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        *self
            .stop
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.changed.notify_all();
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
