//! An SR on an array through its calls, on an array and devices in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use uuid::Uuid;
use xenapi::Failure;

use super::{ArraySrOptions, AttachedArraySr};
use crate::array::{
    ArrayError, ArrayListing, ArrayVolume, DataPath, Exposure, Fault, OpenVolume, VolumeArray,
};
use crate::medium::memory_device::{Medium, MemoryPath};
use crate::sr::{
    AttachedSr, DamagedImage, KeptLabels, NewVdi, OpenMode, SnapshotHints, SnapshotKind, SrLabels,
    SrSpace, VdiLabels,
};

const MIB: u64 = 1 << 20;
const INITIATOR: &str = "iqn.2026-11.org.example:us";

/// An array that keeps everything in memory.
#[derive(Debug, Default)]
struct Shelf {
    volumes: Mutex<BTreeMap<Uuid, Arc<Medium>>>,
    exposed: Mutex<BTreeSet<Uuid>>,
    hints: Mutex<Vec<SnapshotHints>>,
    is_full: AtomicBool,
    deleted: Mutex<Vec<Uuid>>,
    limit: Mutex<Option<u64>>,
    damaged: Mutex<Vec<DamagedImage>>,
}

impl Shelf {
    fn medium(&self, vdi: Uuid) -> Result<Arc<Medium>, ArrayError> {
        let found = self.volumes.lock().unwrap().get(&vdi).cloned();
        found.ok_or_else(|| ArrayError::Missing {
            array: self.name(),
            vdi,
        })
    }

    fn volume(&self, vdi: Uuid) -> Result<ArrayVolume, ArrayError> {
        let size = self.medium(vdi)?.live.lock().unwrap().len() as u64;
        Ok(ArrayVolume {
            vdi,
            virtual_size: size,
            physical_utilisation: size,
            read_only: false,
            sm_config: BTreeMap::new(),
        })
    }

    fn is_exposed(&self, vdi: Uuid) -> bool {
        self.exposed.lock().unwrap().contains(&vdi)
    }
}

impl VolumeArray for Shelf {
    fn name(&self) -> String {
        "the shelf".to_owned()
    }

    fn list(&self) -> Result<ArrayListing, ArrayError> {
        let vdis: Vec<Uuid> = self.volumes.lock().unwrap().keys().copied().collect();
        let volumes: Result<Vec<_>, _> = vdis.into_iter().map(|vdi| self.volume(vdi)).collect();
        Ok(ArrayListing {
            volumes: volumes?,
            damaged: self.damaged.lock().unwrap().clone(),
            ..ArrayListing::default()
        })
    }

    fn space(&self) -> Result<SrSpace, ArrayError> {
        Ok(SrSpace::default())
    }

    fn find(&self, vdi: Uuid) -> Result<Option<ArrayVolume>, ArrayError> {
        Ok(self.volume(vdi).ok())
    }

    fn create(&self, new: &NewVdi) -> Result<ArrayVolume, ArrayError> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(ArrayError::Fault {
                fault: Fault::NetappFlexVols,
                detail: "full".to_owned(),
            });
        }
        let medium = Medium::new(new.virtual_size as usize);
        self.volumes.lock().unwrap().insert(new.uuid, medium);
        self.volume(new.uuid)
    }

    fn snapshot(
        &self,
        source: Uuid,
        new: Uuid,
        _kind: SnapshotKind,
        hints: &SnapshotHints,
    ) -> Result<ArrayVolume, ArrayError> {
        self.hints.lock().unwrap().push(hints.clone());
        // As after a failover: what was not flushed is not in it.
        let bytes = self.medium(source)?.stable.lock().unwrap().clone();
        let medium = Medium::new(bytes.len());
        medium.live.lock().unwrap().copy_from_slice(&bytes);
        self.volumes.lock().unwrap().insert(new, medium);
        self.volume(new)
    }

    fn revert(&self, vdi: Uuid, snapshot: Uuid) -> Result<ArrayVolume, ArrayError> {
        let bytes = self.medium(snapshot)?.live.lock().unwrap().clone();
        *self.medium(vdi)?.live.lock().unwrap() = bytes;
        self.volume(vdi)
    }

    fn resize(&self, vdi: Uuid, size: u64) -> Result<ArrayVolume, ArrayError> {
        let medium = self.medium(vdi)?;
        let found = medium.live.lock().unwrap().len() as u64;
        if size < found {
            let asked = size;
            return Err(ArrayError::Shrink { vdi, found, asked });
        }
        medium.live.lock().unwrap().resize(size as usize, 0);
        self.volume(vdi)
    }

    fn delete(&self, vdi: Uuid) -> Result<(), ArrayError> {
        self.deleted.lock().unwrap().push(vdi);
        self.volumes.lock().unwrap().remove(&vdi);
        Ok(())
    }

    fn expose(&self, vdi: Uuid, initiator: &str, _mode: OpenMode) -> Result<Exposure, ArrayError> {
        assert_eq!(initiator, INITIATOR);
        self.medium(vdi)?;
        self.exposed.lock().unwrap().insert(vdi);
        Ok(Exposure {
            target: "iqn.2026-11.org.example:shelf".to_owned(),
            portals: Vec::new(),
            lun: 1,
            scsi_id: None,
            serial: None,
            credentials: None,
            limit: *self.limit.lock().unwrap(),
        })
    }

    fn conceal(&self, vdi: Uuid, initiator: &str) -> Result<(), ArrayError> {
        assert_eq!(initiator, INITIATOR);
        self.exposed.lock().unwrap().remove(&vdi);
        Ok(())
    }

    fn labels(&self) -> Result<KeptLabels, ArrayError> {
        Ok(KeptLabels::default())
    }

    fn write_vdi_labels(&self, _labels: &[VdiLabels]) -> Result<(), ArrayError> {
        Ok(())
    }

    fn write_sr_labels(&self, _labels: &SrLabels) -> Result<(), ArrayError> {
        Ok(())
    }
}

/// Opens what is exposed, and nothing else.
#[derive(Debug)]
struct Reach(Arc<Shelf>, AtomicBool);

impl DataPath for Reach {
    fn open(&self, _exposure: &Exposure, vdi: Uuid) -> Result<OpenVolume, ArrayError> {
        if self.1.load(Ordering::SeqCst) {
            return Err(ArrayError::Fault {
                fault: Fault::Portal,
                detail: "cut off".to_owned(),
            });
        }
        assert!(self.0.is_exposed(vdi));
        let device = MemoryPath::new(&self.0.medium(vdi)?, "memory");
        Ok(OpenVolume::of_device(device))
    }
}

fn attach() -> (Arc<Shelf>, Arc<Reach>, AttachedArraySr) {
    let shelf = Arc::new(Shelf::default());
    let reach = Arc::new(Reach(shelf.clone(), AtomicBool::new(false)));
    let options = ArraySrOptions {
        initiator: INITIATOR.to_owned(),
        ..ArraySrOptions::default()
    };
    let sr = AttachedArraySr::new(Uuid::from_u128(7), shelf.clone(), reach.clone(), options);
    (shelf, reach, sr)
}

fn vdi(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn create(sr: &AttachedArraySr, number: u128) -> Result<Uuid, Failure> {
    let new = NewVdi {
        uuid: vdi(number),
        virtual_size: MIB,
        sm_config: BTreeMap::new(),
    };
    sr.create_vdi(&new).map(|found| found.uuid)
}

/// The snapshot of a volume with a writer has what was written, is read beside the writer, and outlives the source.
#[test]
fn a_snapshot_has_what_was_written() {
    let (shelf, _, sr) = attach();
    let source = create(&sr, 1).unwrap();
    let writer = sr.open_vdi(source, OpenMode::ReadWrite).unwrap();
    writer.write_at(b"before", 100).unwrap();
    let hints = SnapshotHints {
        epochhint: Some("cookie".to_owned()),
    };
    let report = sr.snapshot_vdi_hinted(source, vdi(2), SnapshotKind::Snapshot, &hints);
    let report = report.unwrap();
    assert_eq!((report.new.uuid, report.source.uuid), (vdi(2), source));
    assert_eq!(report.base, None);
    assert_eq!(*shelf.hints.lock().unwrap(), [hints]);
    writer.write_at(b"after!", 100).unwrap();
    let reader = sr.open_vdi(vdi(2), OpenMode::ReadOnly).unwrap();
    let mut read = [0; 6];
    reader.read_at(&mut read, 100).unwrap();
    assert_eq!(&read, b"before");
    assert!(reader.write_at(b"x", 0).is_err());
    assert_eq!(
        sr.revert_vdi(source, vdi(2)).unwrap_err().code,
        "VDI_IN_USE"
    );
    writer.close().unwrap();
    sr.delete_vdi(source).unwrap();
    reader.read_at(&mut read, 100).unwrap();
    assert_eq!(sr.scan().unwrap().vdis.len(), 1);
    assert_eq!(sr.stat_vdi(source).unwrap_err().code, "VDI_MISSING");
}

#[test]
fn a_volume_is_exposed_as_long_as_it_is_open() {
    let (shelf, reach, sr) = attach();
    let one = create(&sr, 1).unwrap();
    let first = sr.open_vdi(one, OpenMode::ReadOnly).unwrap();
    let second = sr.open_vdi(one, OpenMode::ReadOnly).unwrap();
    let refused = sr.open_vdi(one, OpenMode::ReadWrite).err().unwrap();
    assert_eq!(refused.code, "VDI_IN_USE");
    drop(first);
    assert!(shelf.is_exposed(one));
    second.read_at(&mut [0; 10], 0).unwrap();
    assert_eq!(sr.delete_vdi(one).unwrap_err().code, "VDI_IN_USE");
    assert_eq!(sr.detach().unwrap_err().code, "VDI_IN_USE");
    second.close().unwrap();
    assert!(!shelf.is_exposed(one));
    assert!(second.read_at(&mut [0; 10], 0).is_err());
    // One that cannot be opened is concealed and free again.
    reach.1.store(true, Ordering::SeqCst);
    let failed = sr.open_vdi(one, OpenMode::ReadWrite).err().unwrap();
    assert_eq!(failed.backend_number(), Some(141));
    assert!(!shelf.is_exposed(one));
    reach.1.store(false, Ordering::SeqCst);
    drop(sr.open_vdi(one, OpenMode::ReadWrite).unwrap());
    sr.detach().unwrap();
    sr.detach().unwrap();
    assert_eq!(sr.scan().unwrap_err().backend_number(), Some(47));
    assert!(!sr.is_attached());
}

#[test]
fn a_volume_grows_under_its_consumer() {
    let (_, _, sr) = attach();
    let one = create(&sr, 1).unwrap();
    let export = sr.open_vdi(one, OpenMode::ReadWrite).unwrap();
    assert_eq!(sr.resize_vdi(one, 2 * MIB).unwrap().virtual_size, 2 * MIB);
    assert_eq!(export.size(), 2 * MIB);
    export.write_at(b"end", 2 * MIB - 3).unwrap();
    let refused = sr.resize_vdi(one, MIB).unwrap_err();
    assert_eq!(refused.backend_number(), Some(79));
}

/// A cancelled open, the close of another and a new open at one time leave it exposed while somebody has it.
#[test]
fn closing_and_opening_at_once_leaves_it_exposed() {
    let (shelf, _, sr) = attach();
    let one = create(&sr, 1).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let export = sr.open_vdi(one, OpenMode::ReadOnly).unwrap();
                    assert!(shelf.is_exposed(one));
                    drop(export);
                }
            });
        }
    });
    assert!(!shelf.is_exposed(one));
}

#[test]
fn failures_have_the_numbers_of_their_array() {
    let (shelf, _, sr) = attach();
    shelf.is_full.store(true, Ordering::SeqCst);
    assert_eq!(create(&sr, 1).unwrap_err().backend_number(), Some(127));
    assert_eq!(sr.stat_vdi(vdi(9)).unwrap_err().code, "VDI_MISSING");
    sr.delete_vdi(vdi(9)).unwrap();
}

/// A start deletes whatever an earlier run may have made; only what is there is asked for.
#[test]
fn what_was_never_made_costs_nothing_to_delete() {
    let (shelf, _, sr) = attach();
    let medium = Medium::new(MIB as usize);
    shelf.volumes.lock().unwrap().insert(vdi(300), medium);
    for number in 1..=400 {
        sr.delete_vdi(vdi(number)).unwrap();
    }
    assert_eq!(*shelf.deleted.lock().unwrap(), [vdi(300)]);
    create(&sr, 1).unwrap();
    sr.snapshot_vdi(vdi(1), vdi(2), SnapshotKind::Clone)
        .unwrap();
    sr.delete_vdi(vdi(2)).unwrap();
    sr.delete_vdi(vdi(1)).unwrap();
    assert!(shelf.volumes.lock().unwrap().is_empty());
}

/// What a volume has behind the end of its VDI is not read, not written and not counted, until the VDI grows.
#[test]
fn what_is_behind_the_end_is_not_shown() {
    let (shelf, _, sr) = attach();
    let one = create(&sr, 1).unwrap();
    *shelf.limit.lock().unwrap() = Some(MIB);
    let export = sr.open_vdi(one, OpenMode::ReadWrite).unwrap();
    // A growth that is under way, with bytes of others.
    let medium = shelf.medium(one).unwrap();
    medium.live.lock().unwrap().resize(2 * MIB as usize, 0xee);
    assert_eq!(export.size(), MIB);
    assert!(export.read_at(&mut [0; 512], MIB).is_err());
    assert!(export.read_at(&mut [0; 1024], MIB - 512).is_err());
    assert!(export.write_at(&[1; 512], MIB).is_err());
    assert!(export.write_zeroes_at(MIB - 512, 1024).is_err());
    assert!(export.trim_at(u64::MAX - 511, 512).is_err());
    export.read_at(&mut [0; 512], MIB - 512).unwrap();
    sr.resize_vdi(one, 2 * MIB).unwrap();
    assert_eq!(export.size(), 2 * MIB);
    export.read_at(&mut [0; 512], MIB).unwrap();
}

/// A volume of which an array cannot tell whose it is may be that of the VDI: the array is asked, and says what is wrong.
#[test]
fn a_damaged_volume_is_not_taken_for_deleted() {
    let (shelf, _, sr) = attach();
    sr.scan().unwrap();
    sr.delete_vdi(vdi(5)).unwrap();
    assert!(shelf.deleted.lock().unwrap().is_empty());
    shelf.damaged.lock().unwrap().push(DamagedImage {
        location: "a name of the array's".to_owned(),
        reason: "edited".to_owned(),
    });
    sr.scan().unwrap();
    sr.delete_vdi(vdi(5)).unwrap();
    assert_eq!(*shelf.deleted.lock().unwrap(), [vdi(5)]);
}
