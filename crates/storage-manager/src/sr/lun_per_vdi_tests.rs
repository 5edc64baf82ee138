//! An SR of LUNs through its calls, on devices in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use uuid::Uuid;
use xenapi::Failure;

use super::{AttachedLunSr, LunSrOptions, LunUse};
use crate::layout::lun_per_vdi::{Look, Lun, LunSource, vdi_uuid, wipe};
use crate::medium::block_device::{BlockDevice, DeviceIdentity};
use crate::sr::{AttachedSr, IntroducedVdi, NewVdi, OpenMode};

const MIB: u64 = 1 << 20;

#[derive(Debug, Default)]
struct Memory {
    bytes: Mutex<Vec<u8>>,
    fails_to_flush: AtomicBool,
    unmaps: bool,
}

impl Memory {
    fn new(size: u64) -> Arc<Memory> {
        Arc::new(Memory {
            bytes: Mutex::new(vec![0; size as usize]),
            ..Memory::default()
        })
    }

    fn put(&self, offset: usize, data: &[u8]) {
        self.bytes.lock().unwrap()[offset..][..data.len()].copy_from_slice(data);
    }
}

impl BlockDevice for Memory {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn block_size(&self) -> u32 {
        512
    }

    fn identity(&self) -> DeviceIdentity {
        DeviceIdentity::default()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.bytes.lock().unwrap();
        let found = bytes.get(offset as usize..offset as usize + buffer.len());
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.put(offset as usize, data);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        match self.fails_to_flush.load(Ordering::SeqCst) {
            true => Err(io::Error::other("cut off")),
            false => Ok(()),
        }
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.bytes.lock().unwrap()[offset as usize..][..length as usize].fill(0);
        Ok(())
    }

    fn unmap(&self, offset: u64, length: u64) -> io::Result<bool> {
        if self.unmaps {
            self.write_zeroes_at(offset, length)?;
        }
        Ok(self.unmaps)
    }
}

#[derive(Debug, Default)]
struct Shelf(Mutex<Vec<(Lun, Arc<Memory>)>>);

impl Shelf {
    fn set(&self, luns: &[(&str, u64, &Arc<Memory>)]) {
        let luns = luns.iter().map(|(scsi_id, lun_id, device)| {
            let lun = Lun {
                scsi_id: (*scsi_id).to_owned(),
                lun_id: *lun_id,
                size: device.size().unwrap(),
            };
            (lun, Arc::clone(*device))
        });
        *self.0.lock().unwrap() = luns.collect();
    }
}

impl LunSource for Shelf {
    fn name(&self) -> String {
        "the shelf".to_owned()
    }

    fn luns(&self, _look: Look) -> io::Result<Vec<Lun>> {
        let luns = self.0.lock().unwrap();
        Ok(luns.iter().map(|(lun, _)| lun.clone()).collect())
    }

    fn open(&self, scsi_id: &str) -> io::Result<Arc<dyn BlockDevice>> {
        let luns = self.0.lock().unwrap();
        let found = luns.iter().find(|(lun, _)| lun.scsi_id == scsi_id);
        let (_, device) = found.ok_or(io::ErrorKind::NotFound)?;
        Ok(device.clone())
    }

    fn release(&self) {}
}

fn attach(shelf: &Arc<Shelf>) -> AttachedLunSr {
    let options = LunSrOptions {
        backend_kind: Some("vbd"),
        ..LunSrOptions::default()
    };
    AttachedLunSr::new(Uuid::from_u128(7), shelf.clone(), options)
}

fn wish(size: u64) -> NewVdi {
    NewVdi {
        uuid: Uuid::from_u128(1),
        virtual_size: size,
        sm_config: BTreeMap::new(),
    }
}

fn none() -> BTreeSet<Uuid> {
    BTreeSet::new()
}

fn number(failure: &Failure) -> &str {
    failure.code.rsplit('_').next().unwrap()
}

#[test]
fn a_scan_shows_every_lun() {
    let shelf = Arc::new(Shelf::default());
    let (one, two) = (Memory::new(4 * MIB), Memory::new(8 * MIB));
    shelf.set(&[
        ("a", 1, &one),
        ("b", 2, &two),
        ("", 3, &one),
        ("a", 4, &two),
    ]);
    let sr = attach(&shelf);
    let report = sr.scan().unwrap();
    assert_eq!(report.vdis.len(), 2);
    assert_eq!(report.space.physical_size, 12 * MIB);
    let found = report
        .vdis
        .iter()
        .find(|vdi| vdi.uuid == vdi_uuid("b"))
        .unwrap();
    assert_eq!(found.location, vdi_uuid("b").to_string());
    assert_eq!(found.virtual_size, 8 * MIB);
    assert_eq!(found.sm_config["LUNid"], "2");
    assert_eq!(found.sm_config["SCSIid"], "b");
    assert_eq!(found.sm_config["backend-kind"], "vbd");
    let reasons: Vec<&str> = report
        .damaged
        .iter()
        .map(|image| image.reason.as_str())
        .collect();
    assert!(reasons[0].contains("page 0x83"), "{reasons:?}");
    assert!(reasons[1].contains("that LUN 1 has too"), "{reasons:?}");
}

#[test]
fn the_smallest_that_fits_is_taken() {
    let shelf = Arc::new(Shelf::default());
    let (small, middle, large) = (
        Memory::new(4 * MIB),
        Memory::new(8 * MIB),
        Memory::new(16 * MIB),
    );
    shelf.set(&[
        ("large", 1, &large),
        ("small", 2, &small),
        ("middle", 3, &middle),
    ]);
    let sr = attach(&shelf);
    let taken = sr.take_vdi(&wish(5 * MIB), &none()).unwrap();
    assert_eq!(taken.uuid, vdi_uuid("middle"));
    assert!(taken.managed);
    let used = BTreeSet::from([vdi_uuid("middle")]);
    let taken = sr.take_vdi(&wish(5 * MIB), &used).unwrap();
    assert_eq!(taken.uuid, vdi_uuid("large"));
    let failure = sr.take_vdi(&wish(17 * MIB), &used).unwrap_err();
    assert_eq!(number(&failure), "44");
    assert!(
        failure
            .to_string()
            .contains("1 LUNs are in use, 2 are smaller"),
        "{failure}"
    );
}

#[test]
fn data_of_others_is_not_overwritten_unless_forced() {
    let shelf = Arc::new(Shelf::default());
    let (foreign, blank) = (Memory::new(4 * MIB), Memory::new(8 * MIB));
    foreign.put(512, b"LABELONE");
    shelf.set(&[("foreign", 1, &foreign), ("blank", 2, &blank)]);
    let sr = attach(&shelf);
    assert_eq!(
        sr.take_vdi(&wish(MIB), &none()).unwrap().uuid,
        vdi_uuid("blank")
    );
    let used = BTreeSet::from([vdi_uuid("blank")]);
    let failure = sr.take_vdi(&wish(MIB), &used).unwrap_err();
    assert_eq!(number(&failure), "44");
    assert!(
        failure
            .to_string()
            .contains("LUN 1 (foreign) holds a physical volume (LVM2)"),
        "{failure}"
    );
    let mut forced = wish(MIB);
    forced
        .sm_config
        .insert("force".to_owned(), "true".to_owned());
    assert_eq!(
        sr.take_vdi(&forced, &used).unwrap().uuid,
        vdi_uuid("foreign")
    );
}

/// What a VDI held, and whether the LUN is still there to be read after it was destroyed.
#[test]
fn a_lun_that_was_given_back_can_be_taken_again() {
    for (unmaps, keeps_bytes) in [(true, false), (false, false), (true, true), (false, true)] {
        let shelf = Arc::new(Shelf::default());
        let device = Arc::new(Memory {
            bytes: Mutex::new(vec![0; 4 * MIB as usize]),
            unmaps,
            ..Memory::default()
        });
        shelf.set(&[("a", 1, &device)]);
        let options = LunSrOptions {
            keeps_bytes,
            ..LunSrOptions::default()
        };
        let sr = AttachedLunSr::new(Uuid::from_u128(7), shelf.clone(), options);
        let vdi = sr.take_vdi(&wish(MIB), &none()).unwrap().uuid;
        let export = sr.open_vdi(vdi, OpenMode::ReadWrite).unwrap();
        export.write_at(b"LABELONE", 512).unwrap();
        export.write_at(b"data", 2 * MIB).unwrap();
        let failure = sr.delete_vdi(vdi).unwrap_err();
        assert_eq!(failure.code, "VDI_IN_USE");
        export.close().unwrap();
        sr.delete_vdi(vdi).unwrap();
        let kept = &device.bytes.lock().unwrap()[2 * MIB as usize..][..4] == b"data";
        assert_eq!(kept, !unmaps && keeps_bytes);
        assert_eq!(sr.take_vdi(&wish(MIB), &none()).unwrap().uuid, vdi);
    }
}

/// A LUN whose VDI was destroyed is nobody's until it is zeros, also after the power went and also when somebody insists.
#[test]
fn what_a_destroyed_vdi_held_is_shown_to_nobody() {
    let shelf = Arc::new(Shelf::default());
    let device = Memory::new(4 * MIB);
    shelf.set(&[("a", 1, &device)]);
    let secret = |device: &Memory| device.bytes.lock().unwrap().iter().any(|byte| *byte != 0);
    let vdi = {
        let sr = attach(&shelf);
        let vdi = sr.take_vdi(&wish(MIB), &none()).unwrap().uuid;
        device.put(2 * MIB as usize, b"data");
        // The power goes when the mark is written, and nothing else.
        wipe::begin(&*device).unwrap();
        vdi
    };
    let sr = attach(&shelf);
    let introduced = IntroducedVdi {
        uuid: None,
        location: String::new(),
        sm_config: BTreeMap::from([("LUNid".to_owned(), "1".to_owned())]),
    };
    let failure = sr.introduce_vdi(&introduced).unwrap_err();
    assert!(
        failure.to_string().contains("being made blank"),
        "{failure}"
    );
    // In use as the records say: whatever it begins with, it is left alone.
    sr.take_vdi(&wish(MIB), &BTreeSet::from([vdi])).unwrap_err();
    assert!(!sr.wiping.has(vdi) && secret(&device));
    let mut forced = wish(MIB);
    forced
        .sm_config
        .insert("force".to_owned(), "true".to_owned());
    let failure = sr.take_vdi(&forced, &none()).unwrap_err();
    assert_eq!(number(&failure), "44");
    assert!(
        failure.to_string().contains("being made blank"),
        "{failure}"
    );
    let until = Instant::now() + Duration::from_secs(120);
    while sr.wiping.has(vdi) {
        assert!(Instant::now() < until, "the LUN is not made blank");
        std::thread::yield_now();
    }
    assert!(!secret(&device));
    assert_eq!(sr.take_vdi(&forced, &none()).unwrap().uuid, vdi);
    sr.detach().unwrap();
}

#[test]
fn zeroing_goes_on_where_it_was_left() {
    let device = Memory::new(130 * MIB);
    device.bytes.lock().unwrap().fill(7);
    wipe::begin(&*device).unwrap();
    let asked = AtomicUsize::new(0);
    let after_one = || asked.fetch_add(1, Ordering::SeqCst) > 0;
    assert!(!wipe::go_on(&*device, &after_one).unwrap());
    let reached = wipe::reached(&*device).unwrap().unwrap();
    assert_eq!(reached, 64 * MIB + 4096);
    let first_left = |device: &Memory| {
        let bytes = device.bytes.lock().unwrap();
        bytes.iter().skip(4096).position(|byte| *byte != 0)
    };
    assert_eq!(first_left(&device), Some(64 * MIB as usize));
    assert!(wipe::go_on(&*device, &|| false).unwrap());
    assert_eq!(wipe::reached(&*device).unwrap(), None);
    assert!(device.bytes.lock().unwrap().iter().all(|byte| *byte == 0));
    // A place beyond the end is no place: from the beginning.
    device.bytes.lock().unwrap().fill(7);
    wipe::begin(&*device).unwrap();
    device.put(16, &u64::MAX.to_be_bytes());
    assert_eq!(wipe::reached(&*device).unwrap(), Some(4096));
}

#[test]
fn what_is_gone_is_no_error_to_delete() {
    let shelf = Arc::new(Shelf::default());
    let sr = attach(&shelf);
    sr.scan().unwrap();
    sr.delete_vdi(vdi_uuid("gone")).unwrap();
    assert_eq!(
        sr.stat_vdi(vdi_uuid("gone")).unwrap_err().code,
        "VDI_MISSING"
    );
}

#[test]
fn a_lun_is_introduced_by_its_number_with_what_it_holds() {
    let shelf = Arc::new(Shelf::default());
    let (one, two) = (Memory::new(4 * MIB), Memory::new(8 * MIB));
    one.put(512, b"LABELONE");
    shelf.set(&[("a", 1, &one), ("b", 2, &two), ("c", 2, &two)]);
    let sr = attach(&shelf);
    let introduce = |entries: &[(&str, &str)]| {
        let entries = entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        sr.introduce_vdi(&IntroducedVdi {
            uuid: None,
            location: String::new(),
            sm_config: entries.collect(),
        })
    };
    assert_eq!(introduce(&[("LUNid", "1")]).unwrap().uuid, vdi_uuid("a"));
    let both = introduce(&[("LUNid", "2"), ("SCSIid", "c")]).unwrap();
    assert_eq!(both.uuid, vdi_uuid("c"));
    for (entries, code, words) in [
        (&[][..], "89", "LUNid"),
        (&[("LUNid", "9")][..], "46", "no LUN 9"),
        (&[("LUNid", "x")][..], "46", "not the number"),
        (&[("LUNid", "2")][..], "46", "several LUNs"),
    ] {
        let failure = introduce(entries).unwrap_err();
        assert_eq!(number(&failure), code);
        assert!(failure.to_string().contains(words), "{failure}");
    }
    assert_eq!(&one.bytes.lock().unwrap()[512..520], b"LABELONE");
}

#[test]
fn luns_that_come_grow_and_go_are_noticed() {
    let shelf = Arc::new(Shelf::default());
    let one = Memory::new(4 * MIB);
    shelf.set(&[("a", 1, &one)]);
    let sr = attach(&shelf);
    sr.scan().unwrap();
    assert!(!sr.has_changed().unwrap());
    one.bytes.lock().unwrap().resize(8 * MIB as usize, 0);
    shelf.set(&[("a", 1, &one)]);
    assert!(sr.has_changed().unwrap());
    assert_eq!(sr.scan().unwrap().vdis[0].virtual_size, 8 * MIB);
    shelf.set(&[("a", 1, &one), ("b", 2, &one)]);
    assert!(sr.has_changed().unwrap());
    assert_eq!(sr.scan().unwrap().vdis.len(), 2);
    shelf.set(&[]);
    assert!(sr.has_changed().unwrap());
}

#[test]
fn one_writer_or_many_readers() {
    let shelf = Arc::new(Shelf::default());
    let device = Memory::new(4 * MIB);
    shelf.set(&[("a", 1, &device)]);
    let sr = attach(&shelf);
    let vdi = vdi_uuid("a");
    let readers = [OpenMode::ReadOnly; 2].map(|mode| sr.open_vdi(vdi, mode).unwrap());
    assert!(readers[0].write_at(b"x", 0).is_err());
    let refused = sr.open_vdi(vdi, OpenMode::ReadWrite).map(|_| ());
    assert_eq!(refused.unwrap_err().code, "VDI_IN_USE");
    readers[0].close().unwrap();
    drop(readers);
    let writer = sr.open_vdi(vdi, OpenMode::ReadWrite).unwrap();
    assert_eq!(sr.detach().unwrap_err().code, "VDI_IN_USE");
    writer.write_at(b"written", 9).unwrap();
    let mut read = [0; 7];
    writer.read_at(&mut read, 9).unwrap();
    assert_eq!(&read, b"written");
    device.fails_to_flush.store(true, Ordering::SeqCst);
    assert!(writer.flush().is_err());
    device.fails_to_flush.store(false, Ordering::SeqCst);
    // What was written before may be lost, so nothing may look as if all were well.
    assert!(writer.flush().is_err());
    assert!(writer.read_at(&mut read, 9).is_err());
    drop(writer);
    let again = sr.open_vdi(vdi, OpenMode::ReadWrite).unwrap();
    again.flush().unwrap();
    drop(again);
    sr.detach().unwrap();
    sr.detach().unwrap();
    assert_eq!(number(&sr.scan().unwrap_err()), "47");
}

#[test]
fn every_lun_of_a_raw_sr_is_in_use_and_never_made_blank() {
    let shelf = Arc::new(Shelf::default());
    let device = Memory::new(4 * MIB);
    device.put(512, b"LABELONE");
    shelf.set(&[("a", 1, &device)]);
    let options = LunSrOptions {
        lun_use: LunUse::All,
        ..LunSrOptions::default()
    };
    let sr = AttachedLunSr::new(Uuid::from_u128(7), shelf.clone(), options);
    let report = sr.scan().unwrap();
    assert!(report.vdis[0].managed && !sr.takes_vdis());
    assert_eq!(report.space.physical_utilisation, 4 * MIB);
    sr.delete_vdi(vdi_uuid("a")).unwrap();
    assert_eq!(&device.bytes.lock().unwrap()[512..520], b"LABELONE");
    assert_eq!(
        sr.create_vdi(&wish(MIB)).unwrap_err().code,
        "SR_OPERATION_NOT_SUPPORTED"
    );
}
