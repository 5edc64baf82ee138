//! Two storage managers on one LUN, and a group whose commits fail in the middle.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::io::fault;
use crate::layout::lvhd::device::PhysicalDevice;
use crate::medium::block_device::{BlockDevice, DeviceIdentity};
use crate::sr::attached_lvhd::AttachedLvhd;
use crate::sr::lvhd::{self, LvhdDevices, LvhdMedium, LvhdSrs};
use crate::sr::{AttachedSr, NewVdi, OpenMode, SrLabels, SrParams};

const MIB: u64 = 1 << 20;
const SR: Uuid = Uuid::from_u128(0xf);

/// Waits that pass quickly, and a record that outlives a thread which gets no processor for some seconds.
fn quick() -> Timing {
    Timing {
        expiry: Duration::from_secs(8),
        renew_every: Duration::from_millis(50),
        valid_for: Duration::from_secs(6),
        settle: Duration::from_millis(200),
        write_limit: Duration::from_millis(95),
        look_every: Duration::from_millis(20),
    }
}

/// A LUN as one of its machines has it.
#[derive(Debug)]
struct Lun {
    file: File,
    /// Writes that work yet; negative is all of them.
    writes_left: AtomicI64,
    /// Neither reads nor writes work.
    is_away: AtomicI64,
}

impl Lun {
    fn open(path: &Path) -> Arc<Self> {
        let file = File::options().read(true).write(true).open(path).unwrap();
        Arc::new(Lun {
            file,
            writes_left: AtomicI64::new(-1),
            is_away: AtomicI64::new(0),
        })
    }

    fn pass(&self) -> io::Result<()> {
        match self.is_away.load(Ordering::SeqCst) {
            0 => Ok(()),
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn pass_write(&self) -> io::Result<()> {
        self.pass()?;
        let left = self.writes_left.load(Ordering::SeqCst);
        match left {
            0 => return Err(io::ErrorKind::TimedOut.into()),
            left if left > 0 => self.writes_left.store(left - 1, Ordering::SeqCst),
            _ => {}
        }
        Ok(())
    }

    fn set_away(&self, away: bool) {
        self.is_away.store(away.into(), Ordering::SeqCst);
    }
}

impl BlockDevice for Lun {
    fn name(&self) -> String {
        "LUN 1".to_owned()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn block_size(&self) -> u32 {
        512
    }

    fn identity(&self) -> DeviceIdentity {
        DeviceIdentity::default()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.pass()?;
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.pass_write()?;
        self.file.write_all_at(data, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.pass()
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.pass_write()?;
        self.file.write_all_at(&vec![0; length as usize], offset)
    }
}

#[derive(Debug)]
struct Nothing;

impl MediumGuard for Nothing {
    fn release(&self) -> Result<(), Failure> {
        Ok(())
    }
}

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    /// A LUN without anything.
    fn empty() -> Self {
        let directory = testkit::scratch::directory();
        let place = Place { directory };
        let file = File::create(place.path()).unwrap();
        file.set_len(128 * MIB).unwrap();
        place
    }

    /// A LUN with an SR.
    fn with_sr() -> Self {
        let place = Self::empty();
        lvhd::create(&params(), &devices(&Lun::open(&place.path()))).unwrap();
        place
    }

    /// A LUN with an empty group as XenServer makes it.
    fn with_group() -> Self {
        let place = Self::empty();
        let lun: Arc<dyn BlockDevice> = Lun::open(&place.path());
        let device: Arc<dyn lvm::device::Device> = Arc::new(PhysicalDevice(lun));
        let name = crate::layout::lvhd::names::vg_name(SR);
        Group::create(vec![device], &name, &lvm::NewGroup::default()).unwrap();
        place
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("lun")
    }

    fn volumes(&self) -> Vec<String> {
        let lun: Arc<dyn BlockDevice> = Lun::open(&self.path());
        let device: Arc<dyn lvm::device::Device> = Arc::new(PhysicalDevice(lun));
        let group = Group::open(vec![device]).unwrap().volume_group();
        let volumes = group.logical_volumes.iter();
        volumes.map(|volume| volume.name.clone()).collect()
    }

    fn attach(&self) -> Result<Arc<AttachedLvhd>, Failure> {
        attach(&Lun::open(&self.path()), true)
    }
}

/// Where the record lies on the LUN.
fn record_at(place: &Place) -> u64 {
    let lun: Arc<dyn BlockDevice> = Lun::open(&place.path());
    let device: Arc<dyn lvm::device::Device> = Arc::new(PhysicalDevice(lun));
    let group = Group::open(vec![device]).unwrap();
    group.map(OWNER).unwrap().locate(0).unwrap().offset
}

fn devices(lun: &Arc<Lun>) -> LvhdDevices {
    let all: Vec<Arc<dyn BlockDevice>> = vec![lun.clone()];
    LvhdDevices {
        for_record: Some(all.clone()),
        all,
    }
}

fn params() -> SrParams {
    SrParams {
        sr_uuid: SR,
        device_config: [("allocation".to_owned(), "thin".to_owned())].into(),
        sm_config: [("use_vhd".to_owned(), "true".to_owned())].into(),
    }
}

/// Attaches as another storage manager would, who has nothing in common but the LUN.
fn attach(lun: &Arc<Lun>, is_shared: bool) -> Result<Arc<AttachedLvhd>, Failure> {
    let mut devices = devices(lun);
    if !is_shared {
        devices.for_record = None;
    }
    LvhdSrs::with_timing(quick()).attach(&params(), "there", || {
        Ok(LvhdMedium {
            devices,
            guard: Arc::new(Nothing),
            config_changes: ConfigChanges::default(),
        })
    })
}

fn new_vdi(number: u128) -> NewVdi {
    NewVdi {
        uuid: Uuid::from_u128(number),
        virtual_size: 32 * MIB,
        sm_config: std::collections::BTreeMap::new(),
    }
}

/// True when the reason of a failure, however deep, is that the SR is another's.
fn is_not_owner(error: &io::Error) -> bool {
    format!("{error:?}").contains("TakenOver")
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_second_manager_is_refused_and_told_of_the_first() {
    let place = Place::with_sr();
    assert_eq!(place.volumes(), [OWNER, "MGT"]);
    let first = place.attach().unwrap();
    let failure = place.attach().unwrap_err();
    assert_eq!(failure.code, "SR_BACKEND_FAILURE_16");
    let us = format!("process {}", std::process::id());
    assert!(failure.to_string().contains(&us), "{failure}");
    let failure = lvhd::delete(&params(), &devices(&Lun::open(&place.path()))).unwrap_err();
    assert_eq!(failure.code, "SR_BACKEND_FAILURE_16");
    first.create_vdi(&new_vdi(1)).unwrap();
    first.detach().unwrap();
    let left = ["MGT".to_owned(), format!("VHD-{}", Uuid::from_u128(1))];
    assert_eq!(place.volumes(), left, "XenServer finds what it knows");
    // It is dropped, as by a process that ends.
    drop(place.attach().unwrap());
    let third = place.attach().unwrap();
    assert!(place.volumes().contains(&OWNER.to_owned()));
    third.delete_vdi(Uuid::from_u128(1)).unwrap();
    third.detach().unwrap();
    lvhd::delete(&params(), &devices(&Lun::open(&place.path()))).unwrap();
    lvhd::create(&params(), &devices(&Lun::open(&place.path()))).unwrap();
}

#[test]
fn a_manager_that_was_cut_off_writes_nothing_more() {
    let place = Place::with_sr();
    let lun = Lun::open(&place.path());
    let first = attach(&lun, true).unwrap();
    first.create_vdi(&new_vdi(1)).unwrap();
    let vdi = first
        .open_vdi(Uuid::from_u128(1), OpenMode::ReadWrite)
        .unwrap();
    vdi.write_at(&[7; 4096], 4 * MIB).unwrap();
    vdi.flush().unwrap();
    assert_eq!(first.health(), None);
    lun.set_away(true);
    let second = place.attach().unwrap();
    second.create_vdi(&new_vdi(2)).unwrap();
    lun.set_away(false);
    until("the first notices", || {
        let health = first.health();
        health.is_some_and(|health| health.contains("was taken over by process"))
    });
    let before = std::fs::read(place.path()).unwrap();
    let create = first.create_vdi(&new_vdi(3)).unwrap_err();
    assert_eq!(create.code, "SR_BACKEND_FAILURE_47");
    let labels = SrLabels {
        name_label: "late".to_owned(),
        name_description: String::new(),
    };
    let name = first.write_sr_labels(&labels).unwrap_err();
    let data = vdi.write_at(&[9; 512], 4 * MIB).unwrap_err();
    for (what, refused) in [("commit", create.to_string()), ("MGT", name.to_string())] {
        assert!(refused.contains("taken over"), "{what}: {refused}");
    }
    assert!(is_not_owner(&data), "{data:?}");
    // The image takes nothing more after a write that failed.
    assert!(vdi.write_at(&[9; 512], 20 * MIB).is_err());
    assert!(vdi.flush().is_err());
    // The second renews its record.
    let at = record_at(&place);
    let mut after = std::fs::read(place.path()).unwrap();
    let (start, end) = (at as usize, at as usize + 512);
    after[start..end].copy_from_slice(&before[start..end]);
    assert!(before == after, "nothing else was written");
    drop(vdi);
    first.detach().unwrap();
    assert!(
        place.volumes().contains(&OWNER.to_owned()),
        "it is not ours"
    );
    let vdi = second
        .open_vdi(Uuid::from_u128(1), OpenMode::ReadOnly)
        .unwrap();
    let mut found = [0; 4096];
    vdi.read_at(&mut found, 4 * MIB).unwrap();
    assert!(found == [7; 4096]);
}

#[test]
fn of_two_who_find_no_record_one_wins() {
    let place = Place::with_group();
    let barrier = std::sync::Barrier::new(2);
    let attach = || {
        barrier.wait();
        place.attach()
    };
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(attach);
        let two = attach();
        (one.join().unwrap(), two)
    });
    let refused = [&one, &two].into_iter().filter_map(|it| it.as_ref().err());
    let refused: Vec<String> = refused.map(|failure| failure.code.clone()).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(place.volumes(), [OWNER, "MGT"]);
    let winner = one.or(two).unwrap();
    winner.create_vdi(&new_vdi(1)).unwrap();
    winner.detach().unwrap();
    assert!(!place.volumes().contains(&OWNER.to_owned()));
}

/// Two who make the volume at once write the same bytes, so that it does not matter how they mix.
#[test]
fn making_the_record_leaves_nothing_to_chance() {
    let place = Place::with_group();
    let copy = place.directory.path().join("copy");
    std::fs::copy(place.path(), &copy).unwrap();
    for path in [&place.path(), &copy] {
        let lun: Arc<dyn BlockDevice> = Lun::open(path);
        let device: Arc<dyn lvm::device::Device> = Arc::new(PhysicalDevice(lun));
        let group = Group::open(vec![device]).unwrap();
        OwnerVolume::find_or_make(group, &quick()).unwrap();
        // The clock goes on in between.
        std::thread::sleep(Duration::from_millis(1001));
    }
    let (one, two) = (std::fs::read(place.path()), std::fs::read(&copy));
    assert!(one.unwrap() == two.unwrap());
}

#[test]
fn a_death_at_any_commit_of_attach_or_detach_is_repaired() {
    let life = |place: &Place| {
        let sr = place.attach().unwrap();
        sr.detach().unwrap();
    };
    let place = Place::with_group();
    let passed = fault::count(|| life(&place));
    assert!(passed.len() >= 4, "{passed:?}");
    for (at, point) in passed.iter().enumerate() {
        let place = Place::with_group();
        fault::crash_at(at, || life(&place));
        let sr = place.attach().unwrap();
        assert!(place.volumes().contains(&OWNER.to_owned()));
        sr.create_vdi(&new_vdi(1)).unwrap();
        sr.detach().unwrap();
        let left = ["MGT".to_owned(), format!("VHD-{}", Uuid::from_u128(1))];
        assert_eq!(place.volumes(), left, "at {at} {point}");
    }
}

/// A commit that failed may count or not: the next change finds out.
#[test]
fn a_commit_that_failed_in_the_middle_is_looked_after() {
    let place = Place::with_sr();
    let lun = Lun::open(&place.path());
    let sr = attach(&lun, false).unwrap();
    sr.create_vdi(&new_vdi(1)).unwrap();
    let vdi = sr
        .open_vdi(Uuid::from_u128(1), OpenMode::ReadWrite)
        .unwrap();
    let mut doubts = 0;
    // A creation writes some thirty times; the commit comes last.
    for round in 0..200 {
        lun.writes_left.store(round, Ordering::SeqCst);
        let failed = sr.create_vdi(&new_vdi(0x100)).is_err();
        if let Some(health) = sr.health() {
            assert!(health.contains("failed in the middle"), "{health}");
            doubts += 1;
        }
        lun.writes_left.store(-1, Ordering::SeqCst);
        sr.create_vdi(&new_vdi(0x200)).unwrap();
        assert_eq!(sr.health(), None, "{round}");
        assert!(!failed || sr.scan().unwrap().damaged.is_empty());
        vdi.write_at(&[round as u8; 512], 2 * MIB).unwrap();
        sr.delete_vdi(Uuid::from_u128(0x200)).unwrap();
        sr.delete_vdi(Uuid::from_u128(0x100)).unwrap();
        if !failed {
            break;
        }
    }
    assert!(doubts > 0);
    drop(vdi);
    // What we believe of the group is what it is.
    let mut ours: Vec<String> = sr
        .scan()
        .unwrap()
        .vdis
        .iter()
        .map(|vdi| vdi.uuid.to_string())
        .collect();
    sr.detach().unwrap();
    let sr = attach(&lun, false).unwrap();
    let mut theirs: Vec<String> = sr
        .scan()
        .unwrap()
        .vdis
        .iter()
        .map(|vdi| vdi.uuid.to_string())
        .collect();
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs);
}
