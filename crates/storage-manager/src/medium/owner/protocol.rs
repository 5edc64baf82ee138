//! How the record is taken and renewed, by reads and writes alone: no medium has to know a lock.
//!
//! Taking, from a record that is free or whose counter stands still:
//!
//! 1. A claim with the next generation is written. Crash: a record whose counter stands still.
//! 2. After a wait it is read again; whoever finds another's there gives up. Of those who wrote at the same time, the last stays.
//! 3. It is written as held. Crash: the same as after 1.
//!
//! A claim that was written within [`Timing::write_limit`] of the read that showed the record free lands before the wait
//! of anybody who read the same is over. One that took longer may land when another holds the record already: its writer waits for
//! [`Timing::expiry`], in which a holder renews and so overwrites it. A holder overwrites claims of its own generation, and
//! anything of an older one, which landed late; it gives up at anything newer. A claim is taken over after twice the expiry: its
//! writer may only have waited so long.

use std::fmt::Debug;
use std::io;
use std::time::Duration;

use uuid::Uuid;

use super::process::ProcessId;
use super::record::{OwnerRecord, RecordBytes, RecordState};

/// The waits of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a record's counter may stand still before another takes over.
    pub expiry: Duration,
    /// Time between two renewals.
    pub renew_every: Duration,
    /// How long an owner believes itself one after a renewal began.
    pub valid_for: Duration,
    /// How long a claim waits that was written fast.
    pub settle: Duration,
    /// What fast is; `settle` is more than twice as long.
    pub write_limit: Duration,
    /// Time between two looks at a record that may be dead.
    pub look_every: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            expiry: Duration::from_secs(30),
            renew_every: Duration::from_secs(5),
            valid_for: Duration::from_secs(20),
            settle: Duration::from_millis(400),
            write_limit: Duration::from_millis(150),
            look_every: Duration::from_secs(1),
        }
    }
}

/// Where a record is kept.
pub trait OwnerStore: Send + Sync + Debug {
    /// Where, for messages.
    fn place(&self) -> String;

    /// The record as it is on the medium now, past every cache; none when there is none.
    fn read(&self) -> io::Result<Option<RecordBytes>>;

    /// Writes the record as a whole; on return every reader on every machine finds it.
    fn write(&self, record: &RecordBytes) -> io::Result<()>;

    /// Removes the record's place, if it is not to stay; called after it was written as free. By default it stays.
    fn remove(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Time that only goes forward, and waiting.
pub(super) trait Clock: Send + Sync + Debug {
    /// Time since some moment.
    fn now(&self) -> Duration;

    /// Waits.
    fn sleep(&self, time: Duration);
}

/// Why an SR could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// Another owns it.
    #[error(
        "{place} is held by {holder}; detach the SR there, or wait until its record has expired ({} s after the last renewal)",
        expiry.as_secs()
    )]
    Held {
        /// Where the record is.
        place: String,
        /// What the record says of its owner.
        holder: String,
        /// How long his record lasts.
        expiry: Duration,
    },
    /// Another was taking it at the same moment.
    #[error("{holder} was taking {place} at the same moment; try again if that fails")]
    Overtaken {
        /// Where the record is.
        place: String,
        /// What the record says of the other.
        holder: String,
    },
    /// The record could not be read or written.
    #[error("{action} the owner record {place}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// Where the record is.
        place: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl OwnerError {
    /// True when a write of the record was begun: it may land, or have landed.
    pub(super) fn has_written(&self) -> bool {
        matches!(self, OwnerError::Io { action, .. } if *action != READ)
    }
}

/// What is attempted by a read.
const READ: &str = "read";

/// Who takes a record.
#[derive(Clone, Debug)]
pub(super) struct Taker {
    /// For people.
    pub holder: String,
    pub owner: Uuid,
    /// True for a record that is known to be of a dead owner although its counter was not watched.
    pub is_dead: fn(&OwnerRecord) -> bool,
}

/// A record that was taken.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub record: OwnerRecord,
    /// When the last write of it began.
    pub since: Duration,
}

/// What there is to do at a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// This is to be written.
    Write(OwnerRecord),
    /// Another has it: this one.
    Lost(String),
}

/// What a holder does about what it finds in the place of its record. See the module's text.
pub(super) fn renewal(own: &OwnerRecord, found: Option<&RecordBytes>) -> Renewal {
    let next = OwnerRecord {
        counter: own.counter.wrapping_add(1),
        ..own.clone()
    };
    let Some(bytes) = found else {
        return Renewal::Lost("nobody: the record is gone".to_owned());
    };
    let Some(found) = OwnerRecord::parse(bytes) else {
        return Renewal::Lost("an owner whose record cannot be read".to_owned());
    };
    let is_ours = found.owner == own.owner;
    let is_late_claim = found.state == RecordState::Claimed && found.generation == own.generation;
    if is_ours || is_late_claim || found.generation < own.generation {
        return Renewal::Write(next);
    }
    Renewal::Lost(found.holder)
}

/// Takes the record.
pub(super) fn take(
    store: &dyn OwnerStore,
    clock: &dyn Clock,
    timing: &Timing,
    taker: &Taker,
) -> Result<Taken, OwnerError> {
    let (seen_at, generation) = wait_until_free(store, clock, timing, taker)?;
    claim(store, clock, timing, taker, seen_at, generation, false)
}

/// Takes a record that this owner has had and could not renew in time; none when it is another's now, of whom the text tells.
///
/// Nobody has owned the SR since, or the record would say so: what this owner knows of the medium is still true. Only what this
/// owner wrote too late, because its process was stopped, may have replaced the record of another (`has_written_late`): the
/// other is given the time to renew.
pub(super) fn take_again(
    store: &dyn OwnerStore,
    clock: &dyn Clock,
    timing: &Timing,
    taker: &Taker,
    own: &OwnerRecord,
    has_written_late: bool,
) -> Result<Result<Taken, String>, OwnerError> {
    let seen_at = clock.now();
    let found = read(store)?;
    if let Renewal::Lost(holder) = renewal(own, found.as_ref()) {
        return Ok(Err(holder));
    }
    let generation = own.generation;
    let claimed = claim(
        store,
        clock,
        timing,
        taker,
        seen_at,
        generation,
        has_written_late,
    );
    match claimed {
        Err(OwnerError::Overtaken { holder, .. }) => Ok(Err(holder)),
        taken => taken.map(Ok),
    }
}

/// Waits until the record is nobody's; tells when the read began that showed it, and its generation.
fn wait_until_free(
    store: &dyn OwnerStore,
    clock: &dyn Clock,
    timing: &Timing,
    taker: &Taker,
) -> Result<(Duration, u64), OwnerError> {
    let mut watched: Option<(RecordBytes, Duration)> = None;
    loop {
        let seen_at = clock.now();
        let Some(bytes) = read(store)?.filter(|bytes| bytes.iter().any(|byte| *byte != 0)) else {
            return Ok((seen_at, 0));
        };
        let record = OwnerRecord::parse(&bytes);
        let generation = record.as_ref().map_or(0, |record| record.generation);
        let is_free = record
            .as_ref()
            .is_some_and(|record| record.state == RecordState::Free || (taker.is_dead)(record));
        if is_free {
            return Ok((seen_at, generation));
        }
        let expiry = record
            .as_ref()
            .map_or(timing.expiry, |record| match record.state {
                RecordState::Claimed => record.expiry * 2,
                RecordState::Held | RecordState::Free => record.expiry,
            });
        match &watched {
            // The watch began when the first read of it had ended.
            Some((before, _)) if *before != bytes => {
                let place = store.place();
                let holder = holder_of(record);
                return Err(OwnerError::Held {
                    place,
                    holder,
                    expiry,
                });
            }
            Some((_, since)) if seen_at.saturating_sub(*since) >= expiry => {
                tracing::warn!(
                    record.place = store.place(),
                    holder = holder_of(record),
                    "take over an SR whose owner has not renewed its record in time"
                );
                return Ok((seen_at, generation));
            }
            Some(_) => {}
            None => watched = Some((bytes, clock.now())),
        }
        clock.sleep(timing.look_every);
    }
}

/// Steps 1 to 3.
fn claim(
    store: &dyn OwnerStore,
    clock: &dyn Clock,
    timing: &Timing,
    taker: &Taker,
    seen_at: Duration,
    generation: u64,
    has_written_late: bool,
) -> Result<Taken, OwnerError> {
    let mut record = OwnerRecord {
        state: RecordState::Claimed,
        owner: taker.owner,
        holder: taker.holder.clone(),
        generation: generation.saturating_add(1),
        counter: 0,
        expiry: timing.expiry,
        process: ProcessId::current(),
    };
    let claimed = record.to_bytes();
    write(store, &claimed)?;
    let was_fast = clock.now().saturating_sub(seen_at) <= timing.write_limit;
    clock.sleep(if was_fast && !has_written_late {
        timing.settle
    } else {
        timing.expiry
    });
    let looked_at = clock.now();
    let found = read(store)?;
    let too_late = || OwnerError::Io {
        action: "write in time",
        place: store.place(),
        source: io::ErrorKind::TimedOut.into(),
    };
    if found != Some(claimed) {
        let found = found.as_ref().and_then(OwnerRecord::parse);
        // What this owner wrote before and the medium had kept back.
        if found
            .as_ref()
            .is_some_and(|found| found.owner == taker.owner)
        {
            return Err(too_late());
        }
        return Err(OwnerError::Overtaken {
            place: store.place(),
            holder: holder_of(found),
        });
    }
    record.state = RecordState::Held;
    record.counter = 1;
    write(store, &record.to_bytes())?;
    // Counted from before the claim: who watches it takes over twice the expiry after it landed.
    if clock.now().saturating_sub(seen_at) >= timing.expiry + timing.valid_for {
        return Err(too_late());
    }
    Ok(Taken {
        record,
        since: looked_at,
    })
}

pub(super) fn read(store: &dyn OwnerStore) -> Result<Option<RecordBytes>, OwnerError> {
    store.read().map_err(|source| OwnerError::Io {
        action: READ,
        place: store.place(),
        source,
    })
}

pub(super) fn write(store: &dyn OwnerStore, record: &RecordBytes) -> Result<(), OwnerError> {
    store.write(record).map_err(|source| OwnerError::Io {
        action: "write",
        place: store.place(),
        source,
    })
}

fn holder_of(record: Option<OwnerRecord>) -> String {
    record.map_or_else(
        || "an owner whose record cannot be read".to_owned(),
        |record| record.holder,
    )
}
