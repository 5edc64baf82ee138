//! Memory for requests in flight, shared by all connections of a server.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::buffer::AlignedBuffer;
use super::limits::{BUFFER_ALIGNMENT, CACHED_BUFFER_BYTES, PIECE, SHORT_REQUEST};

/// Sizes in which buffers are made: powers of two from [`SHORT_REQUEST`] to [`PIECE`].
const CLASSES: usize = (PIECE / SHORT_REQUEST as usize).ilog2() as usize + 1;

/// A bound on the memory that all connections together use for requests in flight.
///
/// Who finds it used up waits behind those who came before, for a bounded time. Each connection has a small buffer of its
/// own to go on with, so a peer that makes others wait can slow them down and never stop them.
pub(super) struct Budget {
    limit: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes of the buffers that are leased.
    leased: usize,
    /// Buffers that were given back, for the next who wants one.
    cached: [Vec<AlignedBuffer>; CLASSES],
    cached_bytes: usize,
    waiting: VecDeque<u64>,
    next_ticket: u64,
}

/// A buffer that counts against the budget until it is dropped.
pub(super) struct Lease {
    buffer: AlignedBuffer,
    class: usize,
    budget: Arc<Budget>,
}

fn class_of(length: usize) -> usize {
    let units = length
        .max(1)
        .div_ceil(SHORT_REQUEST as usize)
        .next_power_of_two();
    (units.ilog2() as usize).min(CLASSES - 1)
}

fn class_length(class: usize) -> usize {
    (SHORT_REQUEST as usize) << class
}

/// Bytes that a buffer of the class takes.
fn cost(class: usize) -> usize {
    class_length(class) + BUFFER_ALIGNMENT
}

impl Budget {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Budget {
            limit,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Counters are changed together without a panic in between.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer for `length` bytes, at most [`PIECE`]; none if there was no room within `patience`, counted from when those
    /// who came before have had theirs or given up.
    pub(super) fn lease(self: &Arc<Self>, length: usize, patience: Duration) -> Option<Lease> {
        let class = class_of(length);
        let cost = cost(class);
        if cost > self.limit {
            return None;
        }
        let mut state = self.lock();
        if !state.waiting.is_empty() || state.leased + cost > self.limit {
            state = self.wait(state, cost, patience)?;
        }
        state.leased += cost;
        let cached = state.cached[class].pop();
        if cached.is_some() {
            state.cached_bytes -= cost;
        }
        // What is cached counts as well: buffers of other sizes make room.
        while state.leased + state.cached_bytes > self.limit {
            let largest = (0..CLASSES)
                .rev()
                .find(|class| !state.cached[*class].is_empty());
            let Some(largest) = largest else { break };
            state.cached[largest].pop();
            state.cached_bytes -= self::cost(largest);
        }
        drop(state);
        let mut buffer = cached.unwrap_or_default();
        buffer.reserve(class_length(class));
        Some(Lease {
            buffer,
            class,
            budget: self.clone(),
        })
    }

    /// Waits in line until `cost` bytes are free; none, and out of the line, after `patience`.
    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        cost: usize,
        patience: Duration,
    ) -> Option<MutexGuard<'a, State>> {
        let deadline = Instant::now() + patience;
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.push_back(ticket);
        loop {
            let is_first = state.waiting.front() == Some(&ticket);
            let has_room = is_first && state.leased + cost <= self.limit;
            let left = deadline.saturating_duration_since(Instant::now());
            if has_room || left.is_zero() {
                state.waiting.retain(|waiting| *waiting != ticket);
                // The next in line may have room too.
                self.changed.notify_all();
                return has_room.then_some(state);
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    #[cfg(test)]
    fn used(&self) -> (usize, usize) {
        let state = self.lock();
        (state.leased, state.cached_bytes)
    }
}

impl Lease {
    pub(super) fn buffer(&self) -> &AlignedBuffer {
        &self.buffer
    }

    pub(super) fn buffer_mut(&mut self) -> &mut AlignedBuffer {
        &mut self.buffer
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let cost = cost(self.class);
        let mut state = self.budget.lock();
        state.leased -= cost;
        if state.waiting.is_empty() && state.cached_bytes + cost <= CACHED_BUFFER_BYTES {
            state.cached_bytes += cost;
            state.cached[self.class].push(buffer);
        }
        let somebody_waits = !state.waiting.is_empty();
        drop(state);
        if somebody_waits {
            self.budget.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;
    const LONG: Duration = Duration::from_secs(120);

    #[test]
    fn leases_are_bounded_and_given_back() {
        let budget = Budget::new(cost(CLASSES - 1) + cost(0));
        assert_eq!(class_length(CLASSES - 1), PIECE);
        let large = budget.lease(PIECE, NOW).unwrap();
        assert!(large.buffer().capacity() >= PIECE);
        let small = budget.lease(1, NOW).unwrap();
        assert!(budget.lease(1, NOW).is_none());
        drop(small);
        assert!(budget.lease(SHORT_REQUEST as usize + 1, NOW).is_none());
        assert!(budget.lease(SHORT_REQUEST as usize, NOW).is_some());
        drop(large);
        assert_eq!(budget.used(), (0, cost(CLASSES - 1) + cost(0)));
        let middle = budget.lease(3 * SHORT_REQUEST as usize, NOW).unwrap();
        let (leased, cached) = budget.used();
        assert_eq!(leased, cost(2));
        assert!(
            leased + cached <= budget.limit,
            "cached buffers make room for others"
        );
        drop(middle);
        assert!(Budget::new(0).lease(1, LONG).is_none(), "it never will");
    }

    #[test]
    fn those_who_wait_get_theirs_in_the_order_in_which_they_came() {
        let budget = Budget::new(cost(0));
        let first = budget.lease(1, NOW).unwrap();
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (budget, order) = (&budget, &order);
                scope.spawn(move || {
                    let lease = budget.lease(1, LONG).unwrap();
                    order.lock().unwrap().push(number);
                    drop(lease);
                });
                while budget.lock().waiting.len() <= number {
                    std::thread::yield_now();
                }
            }
            drop(first);
        });
        assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3]);
    }
}
