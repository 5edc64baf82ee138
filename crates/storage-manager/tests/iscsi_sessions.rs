//! Sessions with targets that somebody else wrote: what they do when the target refuses, goes away, comes back, grows.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use storage_manager::medium::block_device::BlockDevice;
use storage_manager::medium::iscsi::{
    Credentials, Error, IscsiDevice, Login, Portal, Refusal, Session, discover,
};
use storage_manager::medium::multipath::Multipath;
use storage_manager::medium::unflushed::Unflushed;
use testkit::iscsi_target::{Istgt, Tgt};

const TARGET: &str = "iqn.2026-11.org.example:disks";
const INITIATOR: &str = "iqn.2026-11.org.example:tests";
const MIB: u64 = 1 << 20;
/// Longest wait for what comes.
const PATIENCE: Duration = Duration::from_secs(120);

fn login(portal: &str, target: &str) -> Login {
    Login {
        portal: Portal::parse(portal).expect("a portal"),
        target: target.to_owned(),
        initiator: INITIATOR.to_owned(),
        credentials: None,
        target_credentials: None,
        isid: (7, 0),
        digests: false,
        patience: Duration::from_secs(10),
        deadline: PATIENCE,
    }
}

fn tgt() -> Option<Tgt> {
    let mut tgt = Tgt::start()?;
    tgt.add_target(1, TARGET);
    Some(tgt)
}

fn credentials(user: &str, password: &str) -> Option<Credentials> {
    Some(Credentials {
        user: user.to_owned(),
        password: password.into(),
    })
}

fn byte_at(file: &Path, offset: u64) -> u8 {
    let mut byte = [0];
    let file = std::fs::File::open(file).expect("open the backing file");
    file.read_exact_at(&mut byte, offset)
        .expect("read the backing file");
    byte[0]
}

#[test]
fn a_lun_reads_as_it_was_written() {
    let Some(mut tgt) = tgt() else { return };
    let file = tgt.add_lun(1, 1, 64 * MIB);
    for digests in [false, true] {
        let session = Session::login(Login {
            digests,
            ..login(&tgt.portal(), TARGET)
        })
        .unwrap();
        assert_eq!(IscsiDevice::luns(&session).unwrap(), [0, 1]);
        let error = IscsiDevice::open(&session, 0).unwrap_err();
        assert!(
            error.chain_text().contains("no disk"),
            "{}",
            error.chain_text()
        );
        let device = IscsiDevice::open(&session, 1).unwrap();
        assert_eq!(device.size().unwrap(), 64 * MIB);
        let identity = device.identity();
        assert_eq!(identity.vendor, "XENSM");
        assert_eq!(identity.product, "TEST DISK");
        assert_eq!(identity.serial, "sn-lun-1-1");
        assert!(
            !identity.scsi_id.is_empty() && !identity.scsi_id.contains(' '),
            "{identity:?}"
        );

        let data: Vec<u8> = (0..3 * MIB as usize + 4096)
            .map(|at| (at / 511) as u8)
            .collect();
        device.write_at(&data, 5 * MIB).unwrap();
        // Parts of blocks, and a range that begins and ends inside of blocks.
        device.write_at(&[0xee; 100], 5 * MIB + 1000).unwrap();
        device.write_zeroes_at(6 * MIB + 7, 2 * MIB).unwrap();
        device.flush().unwrap();
        let mut expected = data;
        expected[1000..1100].fill(0xee);
        expected[MIB as usize + 7..3 * MIB as usize + 7].fill(0);
        let mut read = vec![0; expected.len() - 10];
        device.read_at(&mut read, 5 * MIB + 3).unwrap();
        assert!(
            read == expected[3..expected.len() - 7],
            "it reads otherwise"
        );
        let mut lies = vec![0; expected.len()];
        std::fs::File::open(&file)
            .unwrap()
            .read_exact_at(&mut lies, 5 * MIB)
            .unwrap();
        assert!(lies == expected, "the file holds something else");

        let error = device.write_at(&[0; 512], 64 * MIB).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        let error = device.read_at(&mut [0; 512], 64 * MIB - 1).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }
}

#[test]
fn many_threads_share_a_session() {
    let Some(mut tgt) = tgt() else { return };
    tgt.add_lun(1, 1, 64 * MIB);
    let session = Session::login(login(&tgt.portal(), TARGET)).unwrap();
    let device = IscsiDevice::open(&session, 1).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..12_u64 {
            let device = &device;
            scope.spawn(move || {
                for round in 0..60_u64 {
                    let offset = thread * 4 * MIB + round * 8192;
                    let data = vec![(thread * 60 + round) as u8; 8192];
                    device.write_at(&data, offset).unwrap();
                    let mut read = vec![0; 8192];
                    device.read_at(&mut read, offset).unwrap();
                    assert!(read == data, "thread {thread}, round {round}");
                }
            });
        }
    });
}

/// Ends the threads also when the test fails.
struct StopWhenDropped<'a>(&'a AtomicBool);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn writes_go_on_when_a_killed_target_is_back() {
    let Some(mut tgt) = tgt() else { return };
    let file = tgt.add_lun(1, 1, 16 * MIB);
    let session = Session::login(login(&tgt.portal(), TARGET)).unwrap();
    let device = Arc::new(IscsiDevice::open(&session, 1).unwrap());
    let device = Unflushed::wrap(device, None);
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _stop = StopWhenDropped(&stop);
        for thread in 0..4_u64 {
            let (device, stop, written) = (&device, &stop, &written);
            scope.spawn(move || {
                let mut round = 0_u64;
                while !stop.load(Ordering::SeqCst) {
                    round += 1;
                    let data = [round as u8; 4096];
                    device
                        .write_at(&data, thread * MIB + round % 64 * 4096)
                        .unwrap();
                    written.fetch_add(1, Ordering::SeqCst);
                }
                for at in round.saturating_sub(63).max(1)..=round {
                    let mut read = [0; 4096];
                    device
                        .read_at(&mut read, thread * MIB + at % 64 * 4096)
                        .unwrap();
                    assert!(read == [at as u8; 4096], "thread {thread}, round {at}");
                }
            });
        }
        for _ in 0..2 {
            let before = written.load(Ordering::SeqCst);
            let more = || (written.load(Ordering::SeqCst) > before + 50).then_some(());
            testkit::wait::until("writes", PATIENCE, more);
            tgt.restart();
        }
        let before = written.load(Ordering::SeqCst);
        let more = || (written.load(Ordering::SeqCst) > before + 50).then_some(());
        testkit::wait::until("writes after the restart", PATIENCE, more);
        stop.store(true, Ordering::SeqCst);
    });
    assert!(session.resets() >= 2, "the premise: the session was lost");
    device.flush().unwrap();
    drop(file);
}

/// A target that had acknowledged writes in its cache and was switched off comes back without them.
#[test]
fn what_a_killed_target_forgot_is_written_again() {
    let Some(mut tgt) = tgt() else { return };
    let file = tgt.add_lun(1, 1, 16 * MIB);
    let session = Session::login(login(&tgt.portal(), TARGET)).unwrap();
    let device = Arc::new(IscsiDevice::open(&session, 1).unwrap());
    assert!(device.has_write_cache(), "the premise: the LUN has a cache");
    let device = Unflushed::wrap(device, None);
    device.write_at(&[1; 4096], 0).unwrap();
    device.flush().unwrap();
    let flushed = std::fs::read(&file).unwrap();
    device.write_at(&[2; 4096], 0).unwrap();
    device.write_at(&[3; 4096], 8192).unwrap();
    assert_eq!(byte_at(&file, 0), 2);
    tgt.kill();
    std::fs::write(&file, &flushed).unwrap();
    tgt.restart();
    assert_eq!(byte_at(&file, 0), 1, "the premise: it was forgotten");
    device.flush().unwrap();
    assert_eq!((byte_at(&file, 0), byte_at(&file, 8192)), (2, 3));
}

#[test]
fn a_command_ends_in_time_when_the_target_stays_away() {
    let Some(mut tgt) = tgt() else { return };
    tgt.add_lun(1, 1, 16 * MIB);
    let deadline = Duration::from_secs(5);
    let session = Session::login(Login {
        deadline,
        ..login(&tgt.portal(), TARGET)
    })
    .unwrap();
    let device = IscsiDevice::open(&session, 1).unwrap();
    tgt.kill();
    let started = Instant::now();
    let error = device.read_at(&mut [0; 512], 0).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert!(
        error
            .to_string()
            .contains("check address, port and network"),
        "{error}"
    );
    assert!(started.elapsed() < PATIENCE);
    let down = || (!session.is_up()).then_some(());
    testkit::wait::until("the session is known to be down", PATIENCE, down);
    // Nobody has to do anything for it to work again.
    tgt.restart();
    let up = || session.is_up().then_some(());
    testkit::wait::until("the session is back", PATIENCE, up);
    device.read_at(&mut [0; 512], 0).unwrap();
}

#[test]
fn refusals_say_what_to_check() {
    let Some(mut tgt) = tgt() else { return };
    tgt.add_lun(1, 1, 16 * MIB);
    tgt.require_chap(1, "xensm", "secret-of-twelve");
    tgt.offer_chap(1, "array", "another-secret-x");
    let attempt = |ours, theirs| {
        let login = Login {
            credentials: ours,
            target_credentials: theirs,
            ..login(&tgt.portal(), TARGET)
        };
        Session::login(login)
    };
    let right = || credentials("xensm", "secret-of-twelve");
    attempt(right(), None).unwrap();
    attempt(right(), credentials("array", "another-secret-x")).unwrap();
    for (ours, theirs) in [
        (None, None),
        (credentials("xensm", "secret-of-thirteen"), None),
        (credentials("nobody", "secret-of-twelve"), None),
        (right(), credentials("array", "not-its-secret-x")),
    ] {
        let error = attempt(ours, theirs).unwrap_err();
        let text = error.to_string();
        let Error::Refused { refusal, .. } = error else {
            panic!("{text}");
        };
        assert_eq!(refusal, Refusal::Authentication, "{text}");
        assert!(text.contains("chappassword"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
    let error = Session::login(login(&tgt.portal(), "iqn.2026-11.org.example:none")).unwrap_err();
    let Error::Refused { refusal, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*refusal, Refusal::NoSuchTarget, "{error}");
    let nobody = "127.0.0.1:1";
    let error = Session::login(login(nobody, TARGET)).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let portal = Portal::parse(nobody).unwrap();
    let error = discover(portal, INITIATOR, None, None).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[test]
fn portals_tell_their_targets() {
    let Some(mut tgt) = tgt() else { return };
    tgt.add_target(2, "iqn.2026-11.org.example:second");
    let second = tgt.add_portal();
    let portal = Portal::parse(&tgt.portal()).unwrap();
    let mut found = discover(portal, INITIATOR, None, None).unwrap();
    let portal = Portal::parse(&format!("127.0.0.1:{second}")).unwrap();
    assert_eq!(discover(portal, INITIATOR, None, None).unwrap().len(), 2);
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let names: Vec<&str> = found.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, [TARGET, "iqn.2026-11.org.example:second"]);
    for target in &found {
        let portals = target
            .portals
            .iter()
            .map(|text| Portal::parse(text).unwrap());
        let ports: std::collections::BTreeSet<u16> =
            portals.map(|portal| portal.address.port()).collect();
        // tgt tells of the portal that was asked.
        assert!(ports.contains(&tgt.port()), "{ports:?}");
    }
}

#[test]
fn luns_that_appear_and_grow_are_noticed() {
    let Some(mut tgt) = tgt() else { return };
    let file = tgt.add_lun(1, 1, 16 * MIB);
    let session = Session::login(login(&tgt.portal(), TARGET)).unwrap();
    let device = IscsiDevice::open(&session, 1).unwrap();
    tgt.add_lun(1, 7, 8 * MIB);
    assert_eq!(IscsiDevice::luns(&session).unwrap(), [0, 1, 7]);
    assert_eq!(
        IscsiDevice::open(&session, 7).unwrap().size().unwrap(),
        8 * MIB
    );
    tgt.remove_lun(1, 7);
    assert_eq!(IscsiDevice::luns(&session).unwrap(), [0, 1]);
    tgt.kill();
    let backing = std::fs::File::options().write(true).open(&file).unwrap();
    backing.set_len(32 * MIB).unwrap();
    tgt.restart();
    device.read_at(&mut [0; 512], 0).unwrap();
    assert_eq!(device.size().unwrap(), 32 * MIB);
    device.write_at(&[9; 512], 32 * MIB - 512).unwrap();
}

#[test]
fn io_goes_on_over_another_path() {
    let (Some(mut first), Some(mut second)) = (tgt(), tgt()) else {
        return;
    };
    let file = first.add_lun(1, 1, 16 * MIB);
    second.add_lun_of(1, 1, &file);
    let path = |tgt: &Tgt| -> Arc<dyn BlockDevice> {
        let login = Login {
            patience: Duration::from_secs(5),
            deadline: Duration::from_secs(5),
            ..login(&tgt.portal(), TARGET)
        };
        let session = Session::login(login).unwrap();
        Arc::new(IscsiDevice::open(&session, 1).unwrap())
    };
    let device = Multipath::new(vec![path(&first), path(&second)]).unwrap();
    device.write_at(&[1; 512], 0).unwrap();
    first.kill();
    let started = Instant::now();
    device.write_at(&[2; 512], 512).unwrap();
    device.flush().unwrap();
    assert!(started.elapsed() < PATIENCE);
    let mut read = [0; 1024];
    device.read_at(&mut read, 0).unwrap();
    assert_eq!((read[0], read[512]), (1, 2));
    let failed: Vec<bool> = device
        .paths()
        .iter()
        .map(|path| path.failure.is_some())
        .collect();
    assert_eq!(failed, [true, false]);
    first.restart();
    let back = || device.paths()[0].failure.is_none().then_some(());
    testkit::wait::until("the first path is back", PATIENCE, back);
}

#[test]
fn another_kind_of_target_serves_lun_0() {
    let chap = ["xensm", "secret-of-twelve", "array", "another-secret-x"];
    let Some(istgt) = Istgt::start(64, Some(chap)) else {
        return;
    };
    let mut login = Login {
        credentials: credentials("xensm", "secret-of-twelve"),
        target_credentials: credentials("array", "another-secret-x"),
        ..login(&istgt.portal(), Istgt::TARGET)
    };
    let session = Session::login(login.clone()).unwrap();
    assert_eq!(IscsiDevice::luns(&session).unwrap(), [0]);
    let device = IscsiDevice::open(&session, 0).unwrap();
    assert_eq!(device.size().unwrap(), 64 * MIB);
    assert!(!device.identity().scsi_id.is_empty());
    let data: Vec<u8> = (0..2 * MIB as usize).map(|at| (at / 777) as u8).collect();
    device.write_at(&data, MIB).unwrap();
    device.write_zeroes_at(MIB + 512, 4096).unwrap();
    device.flush().unwrap();
    let mut read = vec![0; data.len()];
    device.read_at(&mut read, MIB).unwrap();
    assert!(
        read[..512] == data[..512] && read[512..4608] == [0; 4096] && read[4608..] == data[4608..]
    );
    assert_eq!(byte_at(&istgt.disk(), MIB + 777), 0);
    login.credentials = credentials("xensm", "not-the-secret");
    let error = Session::login(login).unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
}

/// An array that puts another disk under the number of one in use: not a byte of the other one is read or changed.
#[test]
fn another_disk_under_the_number_of_a_lun_is_left_alone() {
    let Some(mut tgt) = tgt() else { return };
    let old = tgt.add_lun(1, 1, 8 * MIB);
    let session = Session::login(login(&tgt.portal(), TARGET)).unwrap();
    let device = IscsiDevice::open(&session, 1).unwrap();
    device.write_at(&[1; 4096], 0).unwrap();
    for is_restarted in [false, true] {
        let other = tgt.add_lun(1, 9, 8 * MIB);
        tgt.remove_lun(1, 9);
        tgt.remove_lun(1, 1);
        tgt.add_lun_of(1, 1, &other);
        if is_restarted {
            let (resets, until) = (session.resets(), Instant::now() + PATIENCE);
            tgt.restart();
            while session.resets() == resets {
                assert!(Instant::now() < until, "the session is not missed");
                std::thread::yield_now();
            }
        } else {
            // As every look at the LUNs does; this target tells only those beside of a change.
            device.refresh().unwrap_err();
        }
        let error = device.write_at(&[2; 4096], 0).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotConnected, "{error}");
        assert!(error.to_string().contains("is \""), "{error}");
        device.write_zeroes_at(0, MIB).unwrap_err();
        device.read_at(&mut [0; 512], 0).unwrap_err();
        assert_eq!((byte_at(&old, 0), byte_at(&other, 0)), (1, 0));
        tgt.remove_lun(1, 1);
        tgt.add_lun_of(1, 1, &old);
        device.write_at(&[1; 4096], 0).unwrap();
    }
}

/// Two disks that claim to be one are not taken for two paths to one.
#[test]
fn two_luns_of_a_session_with_one_id_are_no_paths() {
    use storage_manager::layout::lun_per_vdi::{Look, LunSource};
    use storage_manager::medium::iscsi::IscsiLuns;
    let Some(mut tgt) = tgt() else { return };
    let one = tgt.add_lun(1, 1, 8 * MIB);
    let copy = tgt.directory().join("copy").join(one.file_name().unwrap());
    std::fs::create_dir(copy.parent().unwrap()).unwrap();
    std::fs::copy(&one, &copy).unwrap();
    tgt.add_lun_of(1, 2, &copy);
    let session = Session::login(login(&tgt.portal(), TARGET)).unwrap();
    let luns = IscsiLuns::new("target".to_owned(), vec![session], None);
    let shown = luns.luns(Look::Rescan).unwrap();
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert_eq!(shown[0].scsi_id, shown[1].scsi_id);
    let error = luns.open(&shown[0].scsi_id).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("LUNs 1 and 2"), "{error}");
}
