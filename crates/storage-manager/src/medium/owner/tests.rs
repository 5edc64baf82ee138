//! One record and what becomes of its owners, step by step.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use vhd::Storage;

use super::ownership::Ownership;
use super::protocol::{Clock, OwnerError, OwnerStore, Timing};
use super::record::{OwnerRecord, RecordBytes, RecordState};
use super::{FileOwnerStore, NotOwner, OwnedFiles};
use crate::medium::directory::Directory;
use crate::medium::files::{Access, Files};

/// A record in memory, with a clock that runs by being waited on.
#[derive(Debug, Default)]
struct Desk {
    record: Mutex<Option<RecordBytes>>,
    now: Mutex<Duration>,
    /// What is done while somebody waits.
    meanwhile: Mutex<Option<Arc<Ownership>>>,
}

/// The record as one manager sees it.
#[derive(Debug)]
struct Store {
    desk: Arc<Desk>,
    /// Reads and writes until nothing works any more.
    left: AtomicUsize,
}

impl Desk {
    fn store(self: &Arc<Self>, left: usize) -> Arc<Store> {
        let desk = self.clone();
        let left = AtomicUsize::new(left);
        Arc::new(Store { desk, left })
    }

    fn take(self: &Arc<Self>, store: &Arc<Store>) -> Result<Arc<Ownership>, OwnerError> {
        let clock: Arc<dyn Clock> = self.clone();
        Ownership::taken(
            store.clone(),
            "manager 1 on xen-1",
            Timing::default(),
            clock,
        )
    }

    fn parsed(&self) -> OwnerRecord {
        OwnerRecord::parse(&self.record.lock().unwrap().unwrap()).unwrap()
    }
}

impl Clock for Desk {
    fn now(&self) -> Duration {
        *self.now.lock().unwrap()
    }

    fn sleep(&self, time: Duration) {
        let other = self.meanwhile.lock().unwrap().clone();
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(Timing::default().renew_every);
            left -= step;
            *self.now.lock().unwrap() += step;
            if let Some(other) = &other {
                other.renew();
            }
        }
    }
}

impl Store {
    fn pass(&self) -> io::Result<()> {
        let left = self.left.load(Ordering::SeqCst);
        if left == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.left.store(left - 1, Ordering::SeqCst);
        Ok(())
    }
}

impl OwnerStore for Store {
    fn place(&self) -> String {
        "the record of SR 1".to_owned()
    }

    fn read(&self) -> io::Result<Option<RecordBytes>> {
        self.pass()?;
        Ok(*self.desk.record.lock().unwrap())
    }

    fn write(&self, record: &RecordBytes) -> io::Result<()> {
        self.pass()?;
        *self.desk.record.lock().unwrap() = Some(*record);
        Ok(())
    }
}

const ALWAYS: usize = usize::MAX;

fn refusal(error: &io::Error) -> &NotOwner {
    error.get_ref().unwrap().downcast_ref().unwrap()
}

#[test]
fn who_renews_is_named_to_others_and_who_let_go_is_not_waited_for() {
    let desk = Arc::new(Desk::default());
    let first = desk.take(&desk.store(ALWAYS)).unwrap();
    assert!(desk.now() < Duration::from_secs(1), "free: no long wait");
    *desk.meanwhile.lock().unwrap() = Some(first.clone());
    let error = desk.take(&desk.store(ALWAYS)).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, OwnerError::Held { .. }), "{text}");
    assert!(text.contains("manager 1 on xen-1"), "{text}");
    *desk.meanwhile.lock().unwrap() = None;
    first.check().unwrap();
    first.release().unwrap();
    assert_eq!(desk.parsed().state, RecordState::Free);
    let released = first.check().unwrap_err();
    assert!(matches!(refusal(&released), NotOwner::Detached));
    let before = desk.now();
    let second = desk.take(&desk.store(ALWAYS)).unwrap();
    assert!(desk.now() - before < Duration::from_secs(1));
    assert_eq!(desk.parsed().generation, 2);
    second.check().unwrap();
}

#[test]
fn a_silent_owner_is_taken_over_and_fenced() {
    let desk = Arc::new(Desk::default());
    let first = desk.take(&desk.store(ALWAYS)).unwrap();
    first.renew();
    let before = desk.now();
    let second = desk.take(&desk.store(ALWAYS)).unwrap();
    assert!(desk.now() - before >= Timing::default().expiry);
    second.check().unwrap();
    assert!(!first.is_valid(), "by its own clock");
    first.renew();
    let refused = first.check().unwrap_err();
    assert!(matches!(refusal(&refused), NotOwner::TakenOver { .. }));
    assert!(first.complaint().unwrap().contains("was taken over"));
    first.release().unwrap();
    second.renew();
    second.check().unwrap();
}

/// The record as a manager sees it that is stopped just before its next write, until another has taken over.
#[derive(Debug)]
struct Stopped {
    store: Arc<Store>,
    is_next: AtomicBool,
    other: Mutex<Option<Arc<Ownership>>>,
}

impl OwnerStore for Stopped {
    fn place(&self) -> String {
        self.store.place()
    }

    fn read(&self) -> io::Result<Option<RecordBytes>> {
        self.store.read()
    }

    fn write(&self, record: &RecordBytes) -> io::Result<()> {
        if self.is_next.swap(false, Ordering::SeqCst) {
            let desk = &self.store.desk;
            *self.other.lock().unwrap() = Some(desk.take(&desk.store(ALWAYS)).unwrap());
        }
        self.store.write(record)
    }
}

#[test]
fn a_renewal_that_lands_over_anothers_record_does_not_make_two_owners() {
    let desk = Arc::new(Desk::default());
    let store = Arc::new(Stopped {
        store: desk.store(ALWAYS),
        is_next: AtomicBool::new(false),
        other: Mutex::default(),
    });
    let clock: Arc<dyn Clock> = desk.clone();
    let first = Ownership::taken(store.clone(), "first", Timing::default(), clock).unwrap();
    store.is_next.store(true, Ordering::SeqCst);
    first.renew();
    let second = store.other.lock().unwrap().take().unwrap();
    second.check().unwrap();
    assert!(!first.is_valid());
    assert_eq!(desk.parsed().generation, 1, "the first one's, landed late");
    // The second renews while the first waits, if that is long enough.
    *desk.meanwhile.lock().unwrap() = Some(second.clone());
    let before = desk.now();
    first.renew();
    *desk.meanwhile.lock().unwrap() = None;
    let waited = desk.now() - before;
    assert!(waited > Timing::default().renew_every, "{waited:?}");
    let refused = first.check().unwrap_err();
    assert!(matches!(refusal(&refused), NotOwner::TakenOver { .. }));
    second.check().unwrap();
    assert_eq!(desk.parsed().generation, 2);
}

#[test]
fn an_owner_whose_medium_was_away_goes_on_when_nobody_took_over() {
    let desk = Arc::new(Desk::default());
    let store = desk.store(ALWAYS);
    let owner = desk.take(&store).unwrap();
    store.left.store(0, Ordering::SeqCst);
    desk.sleep(Duration::from_secs(86_400));
    owner.renew();
    assert!(!owner.is_valid());
    assert!(owner.complaint().unwrap().contains("86400 s"));
    store.left.store(ALWAYS, Ordering::SeqCst);
    owner.renew();
    owner.check().unwrap();
    assert_eq!(desk.parsed().generation, 2, "others see that it was away");
}

#[test]
fn a_death_at_any_step_leaves_a_record_that_another_takes() {
    let mut ended = 0;
    for left in 0..12 {
        let desk = Arc::new(Desk::default());
        let store = desk.store(left);
        let taken = desk.take(&store);
        if let Ok(owner) = taken {
            owner.renew();
            let _ = owner.release();
            // Its process is not known to be dead.
            std::mem::forget(owner);
            ended += usize::from(store.left.load(Ordering::SeqCst) > 0);
        }
        let before = desk.now();
        let second = desk.take(&desk.store(ALWAYS)).unwrap();
        second.check().unwrap();
        let waited = desk.now() - before;
        let longest = Timing::default().expiry * 2 + Duration::from_secs(3);
        assert!(waited <= longest, "died after {left}, waited {waited:?}");
    }
    assert!(ended > 2, "the last ones came to their end");
}

#[test]
fn an_owner_that_this_process_dropped_is_not_waited_for() {
    let desk = Arc::new(Desk::default());
    drop(desk.take(&desk.store(ALWAYS)).unwrap());
    assert_eq!(desk.parsed().state, RecordState::Held);
    let before = desk.now();
    desk.take(&desk.store(ALWAYS)).unwrap();
    assert!(desk.now() - before < Duration::from_secs(1));
}

#[test]
fn a_record_that_cannot_be_read_is_waited_for() {
    let desk = Arc::new(Desk::default());
    *desk.record.lock().unwrap() = Some([7; super::RECORD_LENGTH]);
    desk.take(&desk.store(ALWAYS)).unwrap();
    assert!(desk.now() >= Timing::default().expiry);
}

/// Waits that pass quickly, and a record that outlives a thread or a disk that stands still for some seconds; the waits themselves
/// are tested with a clock of their own.
fn quick() -> Timing {
    Timing {
        expiry: Duration::from_secs(15),
        renew_every: Duration::from_millis(50),
        valid_for: Duration::from_secs(12),
        settle: Duration::from_millis(500),
        write_limit: Duration::from_millis(240),
        look_every: Duration::from_millis(20),
    }
}

#[test]
fn the_files_of_an_owner_that_lost_its_record_stay_as_they_are() {
    let dir = testkit::scratch::directory();
    let files: Arc<dyn Files> = Arc::new(Directory::open(dir.path()).unwrap());
    let store = Arc::new(FileOwnerStore::new(files.clone()));
    let owner = Ownership::take_with(store.clone(), "first", quick()).unwrap();
    let error = Ownership::take_with(store.clone(), "second", quick()).unwrap_err();
    assert!(matches!(error, OwnerError::Held { .. }), "{error}");
    let owned = OwnedFiles::new(files, owner.clone());
    let file = owned.create_file("a").unwrap();
    file.write_at(b"ours", 0).unwrap();
    let other = OwnerRecord {
        owner: uuid::Uuid::from_u128(9),
        holder: "somebody else".to_owned(),
        generation: 99,
        ..OwnerRecord::parse(&store.read().unwrap().unwrap()).unwrap()
    };
    // Between a read and a write of the owner, as a medium that is late would do.
    let until = Instant::now() + Duration::from_secs(120);
    while owner.is_valid() || !owner.complaint().unwrap().contains("somebody else") {
        store.write(&other.to_bytes()).unwrap();
        assert!(Instant::now() < until, "the owner does not notice");
        std::thread::yield_now();
    }
    for (what, done) in [
        ("create", owned.create_file("b").map(drop)),
        ("unnamed", owned.create_unnamed_file().map(drop)),
        ("publish", owned.publish("a", "b")),
        ("replace", owned.replace("a", "b")),
        ("link", owned.link("a", "b").map(drop)),
        ("remove", owned.remove("a").map(drop)),
        ("sync", owned.sync()),
        ("write", file.write_at(b"late", 0)),
        ("zero", file.write_zeroes_at(0, 4)),
        ("punch", file.punch_hole(0, 4).map(drop)),
        ("resize", file.set_len(0)),
        ("flush", file.flush()),
    ] {
        let error = done.expect_err(what);
        assert!(
            matches!(refusal(&error), NotOwner::TakenOver { .. }),
            "{what}"
        );
    }
    let reader = owned.open_file("a", Access::Read).unwrap();
    let mut found = [0; 4];
    reader.read_at(&mut found, 0).unwrap();
    assert_eq!(&found, b"ours");
    owner.release().unwrap();
    let left = OwnerRecord::parse(&store.read().unwrap().unwrap()).unwrap();
    assert_eq!(left, other, "another's record is left alone");
}
