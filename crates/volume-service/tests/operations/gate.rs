//! Where faults come in: every pool call and every write to the database passes here.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Mutex;

use tokio::sync::Notify;
use volume_service::error::{Error, ErrorKind, Result, Subject};
use volume_service::operation::{Checkpoint, Place};

/// Something that passes the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A call to the pool.
    Call(&'static str),
    /// A write to the database.
    Write(&'static str),
}

/// What is done to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails without happening, once.
    FailOnce,
    /// It and every later one of its name are refused for good.
    Refuse,
    /// It and every later one of its name find the pool unreachable.
    Unreachable,
    /// It happens, but the answer is lost.
    LoseAnswer,
    /// It is not answered, and does not happen yet: a test has it happen later.
    Late,
    /// The worker dies before it happens.
    DieBefore,
    /// It happens, and the worker dies before it knows.
    DieAfter,
    /// The worker is stopped before it happens, and goes on when others have long taken over.
    Stall,
}

/// What becomes of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Go,
    Busy,
    Refused,
    Unreachable,
    LoseAnswer,
    Late,
    DieBefore,
    DieAfter,
    Stall,
}

/// A source of chance with a seed.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// The gate; all workers of a test share it.
#[derive(Default)]
pub struct Gate {
    inner: Mutex<Inner>,
    died: Notify,
    stalled: Notify,
    resumed: Notify,
}

#[derive(Default)]
struct Inner {
    is_watching: bool,
    events: Vec<Event>,
    fault: Option<(usize, Fault)>,
    lasting: Option<(Event, Verdict)>,
    chance: Option<Chance>,
}

impl Gate {
    /// Begins to count events, with one fault at the event of that number.
    pub fn watch(&self, fault: Option<(usize, Fault)>) {
        let mut inner = self.inner.lock().unwrap();
        *inner = Inner {
            is_watching: true,
            fault,
            ..Inner::default()
        };
    }

    /// Refuses a call of the pool from now on.
    pub fn refuse(&self, call: &'static str) {
        self.whenever(call, Verdict::Refused);
    }

    /// What becomes of a call of the pool from now on.
    pub fn whenever(&self, call: &'static str, verdict: Verdict) {
        *self.inner.lock().unwrap() = Inner {
            is_watching: true,
            lasting: Some((Event::Call(call), verdict)),
            ..Inner::default()
        };
    }

    /// Begins to do random things to events.
    pub fn randomize(&self, seed: u64) {
        self.inner.lock().unwrap().chance = Some(Chance::new(seed));
    }

    /// Lets everything through from now on, and returns what passed since `watch`.
    pub fn heal(&self) -> Vec<Event> {
        let mut inner = self.inner.lock().unwrap();
        std::mem::take(&mut *inner).events
    }

    /// Returns once a worker has died.
    pub async fn death(&self) {
        self.died.notified().await;
    }

    /// Returns once a worker is stalled.
    pub async fn stall(&self) {
        self.stalled.notified().await;
    }

    /// Lets the stalled worker go on.
    pub fn resume(&self) {
        self.resumed.notify_one();
    }

    /// Ends the worker: its task must be dropped.
    pub async fn die(&self) {
        self.died.notify_one();
        pending::<()>().await;
    }

    /// Stops the worker until it is resumed.
    pub async fn wait_for_resumption(&self) {
        self.stalled.notify_one();
        self.resumed.notified().await;
    }

    /// What becomes of an event.
    pub fn verdict(&self, event: Event) -> Verdict {
        let mut inner = self.inner.lock().unwrap();
        if let Some(chance) = &mut inner.chance {
            return random_verdict(chance, event);
        }
        if !inner.is_watching {
            return Verdict::Go;
        }
        let number = inner.events.len();
        inner.events.push(event);
        if let Some((lasting, verdict)) = inner.lasting
            && lasting == event
        {
            return verdict;
        }
        match inner.fault {
            Some((at, fault)) if at == number => {
                let verdict = match fault {
                    Fault::FailOnce => Verdict::Busy,
                    Fault::Refuse => Verdict::Refused,
                    Fault::Unreachable => Verdict::Unreachable,
                    Fault::LoseAnswer => Verdict::LoseAnswer,
                    Fault::Late => Verdict::Late,
                    Fault::DieBefore => Verdict::DieBefore,
                    Fault::DieAfter => Verdict::DieAfter,
                    Fault::Stall => Verdict::Stall,
                };
                if matches!(fault, Fault::Refuse | Fault::Unreachable) {
                    inner.lasting = Some((event, verdict));
                }
                verdict
            }
            _ => Verdict::Go,
        }
    }
}

fn random_verdict(chance: &mut Chance, event: Event) -> Verdict {
    match (chance.below(100), event) {
        (0..=3, _) => Verdict::Busy,
        (4..=6, _) => Verdict::LoseAnswer,
        (7..=8, Event::Call(_)) => Verdict::Unreachable,
        (9..=10, Event::Call(_)) => Verdict::Refused,
        (11..=12, _) => Verdict::DieBefore,
        (13..=14, _) => Verdict::DieAfter,
        _ => Verdict::Go,
    }
}

/// Writes to the database on their way through the gate.
pub struct WriteGate(pub std::sync::Arc<Gate>, pub Mutex<Verdict>);

impl WriteGate {
    pub fn new(gate: std::sync::Arc<Gate>) -> Self {
        WriteGate(gate, Mutex::new(Verdict::Go))
    }
}

impl Checkpoint for WriteGate {
    fn pass(&self, place: Place) -> Pin<Box<dyn Future<Output = Result<()>> + Send + '_>> {
        Box::pin(async move {
            match place {
                Place::BeforeWrite(label) => {
                    let verdict = self.0.verdict(Event::Write(label));
                    *self.1.lock().unwrap() = verdict;
                    match verdict {
                        Verdict::Busy | Verdict::Refused | Verdict::Unreachable | Verdict::Late => {
                            return Err(write_failed());
                        }
                        Verdict::DieBefore => self.0.die().await,
                        Verdict::Stall => self.0.wait_for_resumption().await,
                        Verdict::Go | Verdict::LoseAnswer | Verdict::DieAfter => {}
                    }
                }
                Place::AfterWrite(_) => {
                    let verdict = *self.1.lock().unwrap();
                    match verdict {
                        Verdict::LoseAnswer => return Err(write_failed()),
                        Verdict::DieAfter => self.0.die().await,
                        _ => {}
                    }
                }
            }
            Ok(())
        })
    }
}

fn write_failed() -> Error {
    let text = "injected: the database does not answer";
    Error::new(ErrorKind::Unavailable, Subject::Database, text)
}
