//! An SR of VHD files on a medium that two storage managers share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::*;
use crate::medium::directory::Directory;
use crate::medium::owner::{FileOwnerStore, OwnerRecord, Timing};

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

#[derive(Debug)]
struct Owned(Arc<Ownership>);

impl MediumGuard for Owned {
    fn release(&self) -> Result<(), Failure> {
        let released = self.0.release();
        released.map_err(|error| backend::owner(Command::SrDetach, &error))
    }

    fn ownership(&self) -> Option<Arc<Ownership>> {
        Some(self.0.clone())
    }
}

fn attach(path: &std::path::Path) -> Result<Arc<VhdFilesSr>, Failure> {
    let files: Arc<dyn Files> = Arc::new(Directory::open(path).unwrap());
    let store = Arc::new(FileOwnerStore::new(files.clone()));
    let owner = Ownership::take_with(store, "the first manager", quick())
        .map_err(|error| backend::owner(Command::SrAttach, &error))?;
    VhdFilesSr::attach(Uuid::from_u128(1), "here", files, Arc::new(Owned(owner)))
}

fn new_vdi(number: u128) -> NewVdi {
    NewVdi {
        uuid: Uuid::from_u128(number),
        virtual_size: 2 << 20,
        sm_config: BTreeMap::new(),
    }
}

#[test]
fn a_second_manager_is_refused_until_the_first_lets_go() {
    let dir = testkit::scratch::directory();
    let first = attach(dir.path()).unwrap();
    first.create_vdi(&new_vdi(2)).unwrap();
    let refused = attach(dir.path()).unwrap_err();
    assert_eq!(refused.code, "SR_BACKEND_FAILURE_16", "{refused}");
    assert!(refused.params[1].contains("the first manager"), "{refused}");
    first.detach().unwrap();
    let second = attach(dir.path()).unwrap();
    assert_eq!(second.scan().unwrap().vdis.len(), 1);
    second.create_vdi(&new_vdi(3)).unwrap();
    second.detach().unwrap();
}

#[test]
fn a_manager_that_was_taken_over_writes_nothing_more() {
    let dir = testkit::scratch::directory();
    let first = attach(dir.path()).unwrap();
    first.create_vdi(&new_vdi(2)).unwrap();
    let vdi = first
        .open_vdi(Uuid::from_u128(2), OpenMode::ReadWrite)
        .unwrap();
    vdi.write_at(&[5; 4096], 0).unwrap();
    vdi.flush().unwrap();
    assert_eq!(first.health(), None);
    // What another manager writes who has seen the record stand still.
    let files: Arc<dyn Files> = Arc::new(Directory::open(dir.path()).unwrap());
    let store = FileOwnerStore::new(files);
    let ours = OwnerRecord::parse(&store.read().unwrap().unwrap()).unwrap();
    let theirs = OwnerRecord {
        owner: Uuid::from_u128(9),
        holder: "the second manager".to_owned(),
        generation: ours.generation + 7,
        ..ours
    };
    let until = Instant::now() + Duration::from_secs(120);
    while first
        .health()
        .is_none_or(|text| !text.contains("the second manager"))
    {
        store.write(&theirs.to_bytes()).unwrap();
        assert!(Instant::now() < until, "the first does not notice");
        std::thread::yield_now();
    }
    let before = std::fs::read(dir.path().join(format!("{}.vhd", Uuid::from_u128(2)))).unwrap();
    let mut found = [0; 4096];
    vdi.read_at(&mut found, 0).unwrap();
    assert_eq!(found, [5; 4096], "it may still be read");
    assert!(vdi.write_at(&[6; 4096], 8192).is_err());
    assert!(vdi.flush().is_err());
    let refused = first.create_vdi(&new_vdi(3)).unwrap_err();
    assert_eq!(refused.code, "SR_BACKEND_FAILURE_47", "{refused}");
    assert!(
        refused.params[1].contains("the second manager"),
        "{refused}"
    );
    assert!(first.delete_vdi(Uuid::from_u128(2)).is_err());
    // What it could not write is told, and the VDI is closed all the same.
    assert!(vdi.close().is_err());
    first.detach().unwrap();
    let after = std::fs::read(dir.path().join(format!("{}.vhd", Uuid::from_u128(2)))).unwrap();
    assert_eq!(before, after);
    let left = OwnerRecord::parse(&store.read().unwrap().unwrap()).unwrap();
    assert_eq!(left, theirs);
}
