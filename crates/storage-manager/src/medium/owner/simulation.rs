//! Several managers at one record, on a medium that is slow, fails, and lands writes late: at most one owns it at any time.
//!
//! Managers are threads of which one runs at a time; time passes when all of them sleep. What happens depends on the seed alone.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::ownership::Ownership;
use super::protocol::{Clock, OwnerStore, Timing};
use super::record::RecordBytes;

const MANAGERS: usize = 3;
const END: Duration = Duration::from_secs(1800);
/// Latest landing of a write: what the waits allow for.
const LATEST: u64 = 9_000;

#[derive(Debug)]
struct World {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    now: Duration,
    random: u64,
    /// When each manager goes on; none for the one that runs and those that have ended.
    wakes: Vec<Option<Duration>>,
    ended: Vec<bool>,
    disk: Option<RecordBytes>,
    landing: Vec<(Duration, RecordBytes)>,
    /// Until when each manager believes itself the owner.
    valid: Vec<Duration>,
    taken: usize,
}

impl World {
    fn new(seed: u64) -> Arc<Self> {
        let state = State {
            now: Duration::from_secs(1),
            random: seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15),
            wakes: vec![Some(Duration::ZERO); MANAGERS],
            ended: vec![false; MANAGERS],
            disk: None,
            landing: Vec::new(),
            valid: vec![Duration::ZERO; MANAGERS],
            taken: 0,
        };
        Arc::new(World {
            state: Mutex::new(state),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn random(&self, below: u64) -> u64 {
        self.lock().random(below)
    }

    fn sleep(&self, manager: usize, time: Duration) {
        let mut state = self.lock();
        state.wakes[manager] = Some(state.now + time);
        state.pass_time();
        self.changed.notify_all();
        while state.wakes[manager].is_some() {
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for the first turn of a manager.
    fn begin(&self, manager: usize) {
        let mut state = self.lock();
        if state.wakes.iter().all(Option::is_some) {
            state.pass_time();
            self.changed.notify_all();
        }
        while state.wakes[manager].is_some() {
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How long an operation takes to have its effect, and how long until its answer.
    fn delays(&self) -> (Duration, Duration) {
        let mut state = self.lock();
        let (effect, answer) = match state.random(20) {
            0 => (state.random(LATEST), state.random(40_000)),
            1..=3 => (state.random(600), state.random(600)),
            _ => (state.random(15), state.random(15)),
        };
        (Duration::from_millis(effect), Duration::from_millis(answer))
    }

    /// Notes what a manager believes; two must not believe it.
    fn believe(&self, manager: usize, until: Duration) {
        let mut state = self.lock();
        state.valid[manager] = until;
        if until > state.now {
            let mut others = state.valid.iter().enumerate();
            let other = others.find(|(other, until)| *other != manager && **until > state.now);
            assert_eq!(other, None, "beside {manager} at {:?}", state.now);
        }
    }
}

impl State {
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below.max(1)
    }

    /// Lets the manager go on whose time comes first, when nobody runs.
    fn pass_time(&mut self) {
        let waiting = self.wakes.iter().zip(&self.ended);
        if waiting
            .clone()
            .any(|(wake, ended)| wake.is_none() && !ended)
        {
            return;
        }
        let next = (0..MANAGERS).filter_map(|manager| Some((self.wakes[manager]?, manager)));
        let Some((wake, manager)) = next.min() else {
            return;
        };
        self.now = self.now.max(wake);
        let now = self.now;
        self.landing.sort_by_key(|(at, _)| *at);
        while self.landing.first().is_some_and(|(at, _)| *at <= now) {
            self.disk = Some(self.landing.remove(0).1);
        }
        self.wakes[manager] = None;
    }
}

#[derive(Clone, Debug)]
struct Manager {
    world: Arc<World>,
    number: usize,
}

impl Clock for Manager {
    fn now(&self) -> Duration {
        self.world.lock().now
    }

    fn sleep(&self, time: Duration) {
        self.world.sleep(self.number, time);
    }
}

impl OwnerStore for Manager {
    fn place(&self) -> String {
        "the simulated record".to_owned()
    }

    fn read(&self) -> io::Result<Option<RecordBytes>> {
        let (effect, answer) = self.world.delays();
        self.sleep(effect);
        let found = self.world.lock().disk;
        self.sleep(answer);
        match self.world.random(30) {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(found),
        }
    }

    fn write(&self, record: &RecordBytes) -> io::Result<()> {
        let (effect, answer) = self.world.delays();
        let lands = self.now() + effect;
        self.world.lock().landing.push((lands, *record));
        if self.world.random(30) == 0 {
            // It is given up, and lands all the same.
            self.sleep(effect / 2);
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.sleep(effect + answer);
        Ok(())
    }
}

/// Ends the part of a manager, also when it panics: the others would wait for it.
struct Part<'a>(&'a Manager);

impl Drop for Part<'_> {
    fn drop(&mut self) {
        let Manager { world, number } = self.0;
        let mut state = world.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended[*number] = true;
        state.wakes[*number] = None;
        state.pass_time();
        world.changed.notify_all();
    }
}

fn live(manager: &Manager) {
    let world = &manager.world;
    let _part = Part(manager);
    world.begin(manager.number);
    while manager.now() < END {
        let shared = Arc::new(manager.clone());
        let holder = format!("manager {}", manager.number);
        let taken = Ownership::taken(shared.clone(), &holder, Timing::default(), shared);
        let Ok(owner) = taken else {
            manager.sleep(Duration::from_millis(world.random(20_000)));
            continue;
        };
        world.lock().taken += 1;
        world.believe(manager.number, owner.valid_until());
        for _ in 0..world.random(12) {
            // Sometimes the whole process stands still.
            if world.random(10) == 0 {
                manager.sleep(Duration::from_millis(world.random(60_000)));
            }
            let wait = owner.renew();
            world.believe(manager.number, owner.valid_until());
            manager.sleep(wait);
        }
        // The first thing that letting go does is to refuse writes.
        world.believe(manager.number, Duration::ZERO);
        if world.random(2) == 0 {
            // What fails leaves a record that expires.
            let _ = owner.release();
        } else {
            // It dies, and nobody knows.
            std::mem::forget(owner);
        }
        manager.sleep(Duration::from_millis(world.random(10_000)));
    }
}

#[test]
fn no_two_managers_own_the_record() {
    let mut taken = 0;
    for seed in 0..30 {
        let world = World::new(seed);
        std::thread::scope(|scope| {
            for number in 0..MANAGERS {
                let world = world.clone();
                scope.spawn(move || live(&Manager { world, number }));
            }
        });
        taken += world.lock().taken;
    }
    assert!(taken > 300, "taken {taken} times");
}
