//! The threads on which an SR's driver runs.
//!
//! Each SR has its own: a medium that hangs fills the threads and the queue of its own SR and nothing else. Threads are
//! started when there is work for them and end when they have been idle for a while.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// Most threads of one SR: the number of driver calls that run at once on one medium.
pub const THREADS_PER_SR: usize = 8;

/// Most calls that wait for a thread of one SR; the next one is refused.
pub const QUEUE_PER_SR: usize = 1024;

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);

/// Why a driver call gave no answer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The queue is full; the call was not begun.
    QueueFull,
    /// The deadline passed; the call may still be running.
    DeadlinePassed,
    /// The driver panicked.
    Panicked,
    /// The system gave no thread; the call was not begun.
    NoThread,
}

type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Work>,
    threads: usize,
    idle: usize,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    most_threads: usize,
    most_waiting: usize,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Work runs outside the lock, so a panic cannot leave the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pool of one SR.
#[derive(Clone)]
pub struct SrThreads {
    shared: Arc<Shared>,
}

impl Default for SrThreads {
    fn default() -> Self {
        SrThreads::new(THREADS_PER_SR, QUEUE_PER_SR)
    }
}

impl SrThreads {
    /// A pool of so many threads at most, for which so much work may wait.
    pub fn new(most_threads: usize, most_waiting: usize) -> Self {
        let shared = Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            most_threads,
            most_waiting,
        };
        SrThreads {
            shared: Arc::new(shared),
        }
    }

    /// Runs `work` on a thread of this SR and waits for it at most `deadline`.
    ///
    /// # Cancel safety
    /// Work that was taken into the queue runs to its end, whether somebody waits for it or not.
    pub async fn run<T: Send + 'static>(
        &self,
        deadline: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let answer = self.submit(work)?;
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(NoAnswer::Panicked),
            Err(_) => Err(NoAnswer::DeadlinePassed),
        }
    }

    /// Queues `work`; the receiver gets its result, or is closed if it panics.
    fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, NoAnswer> {
        let (send, receive) = oneshot::channel();
        let mut queue = self.shared.queue();
        if queue.waiting.len() >= self.shared.most_waiting {
            return Err(NoAnswer::QueueFull);
        }
        queue.waiting.push_back(Box::new(move || {
            // Nobody waits any more when the deadline has passed; the work is done all the same.
            let _ = send.send(work());
        }));
        if queue.idle >= queue.waiting.len() || queue.threads >= self.shared.most_threads {
            self.shared.wake.notify_one();
            return Ok(receive);
        }
        queue.threads += 1;
        let shared = self.shared.clone();
        let started = std::thread::Builder::new()
            .name("sr".to_owned())
            .spawn(move || work_off(&shared));
        if let Err(error) = started {
            queue.threads -= 1;
            tracing::error!(%error, "no thread could be started for an SR");
            if queue.threads == 0 {
                queue.waiting.pop_back();
                return Err(NoAnswer::NoThread);
            }
        }
        Ok(receive)
    }
}

fn work_off(shared: &Shared) {
    let mut queue = shared.queue();
    loop {
        if let Some(work) = queue.waiting.pop_front() {
            drop(queue);
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                tracing::error!("an SR driver panicked");
            }
            queue = shared.queue();
            continue;
        }
        queue.idle += 1;
        let (guard, wait) = shared
            .wake
            .wait_timeout(queue, IDLE)
            .unwrap_or_else(PoisonError::into_inner);
        queue = guard;
        queue.idle -= 1;
        if wait.timed_out() && queue.waiting.is_empty() {
            queue.threads -= 1;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn runs_as_many_at_once_as_it_has_threads() {
        let threads = SrThreads::default();
        let meet = Arc::new(Barrier::new(THREADS_PER_SR));
        let calls: Vec<_> = (0..THREADS_PER_SR)
            .map(|number| {
                let (threads, meet) = (threads.clone(), meet.clone());
                tokio::spawn(async move {
                    threads
                        .run(LONG, move || {
                            meet.wait();
                            number
                        })
                        .await
                })
            })
            .collect();
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), Ok(number));
        }
    }

    #[tokio::test]
    async fn a_hung_medium_fills_its_own_queue_only() {
        let hung = SrThreads::default();
        let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
        let held = Arc::new(Mutex::new(held));
        let hang = || {
            let held = held.clone();
            move || {
                let _ = held.lock().map(|held| held.recv());
            }
        };
        assert_eq!(
            hung.run(Duration::from_millis(1), hang()).await,
            Err(NoAnswer::DeadlinePassed)
        );
        let mut refused = None;
        for _ in 0..THREADS_PER_SR + QUEUE_PER_SR + 1 {
            if let Err(error) = hung.submit(hang()) {
                refused = Some(error);
            }
        }
        assert_eq!(refused, Some(NoAnswer::QueueFull));
        assert_eq!(SrThreads::default().run(LONG, || 7).await, Ok(7));
        drop(release);
    }

    #[tokio::test]
    async fn a_panic_is_told_and_the_thread_goes_on() {
        let threads = SrThreads::default();
        assert_eq!(
            threads.run(LONG, || -> u8 { panic!("on purpose") }).await,
            Err(NoAnswer::Panicked)
        );
        assert_eq!(threads.run(LONG, || 1).await, Ok(1));
    }
}
