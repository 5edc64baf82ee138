use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::memory_device::{Medium, MemoryPath};
use super::*;

fn two() -> (
    Arc<Medium>,
    Arc<MemoryPath>,
    Arc<MemoryPath>,
    Arc<Multipath>,
) {
    let medium = Medium::new(4096);
    let (a, b) = (
        MemoryPath::new(&medium, "36"),
        MemoryPath::new(&medium, "36"),
    );
    let device = Multipath::new(vec![a.clone(), b.clone()]).unwrap();
    (medium, a, b, device)
}

#[test]
fn goes_on_over_another_path_and_stays_there() {
    let (_, a, b, device) = two();
    device.write_at(&[1; 512], 0).unwrap();
    assert_eq!(b.used.load(Ordering::SeqCst), 0);
    a.is_broken.store(true, Ordering::SeqCst);
    device.write_at(&[2; 512], 512).unwrap();
    let mut read = [0; 1024];
    device.read_at(&mut read, 0).unwrap();
    assert_eq!((read[0], read[512]), (1, 2));
    let failures: Vec<bool> = device
        .paths()
        .iter()
        .map(|path| path.failure.is_some())
        .collect();
    assert_eq!(failures, [true, false]);
    device.flush().unwrap();
}

#[test]
fn all_paths_failing_is_told_and_a_path_that_is_back_is_used() {
    let (_, a, b, device) = two();
    a.is_broken.store(true, Ordering::SeqCst);
    b.is_broken.store(true, Ordering::SeqCst);
    let error = device.flush().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(error.to_string().contains("all 2 paths"), "{error}");
    b.is_broken.store(false, Ordering::SeqCst);
    device.flush().unwrap();
}

#[test]
fn a_path_that_failed_is_looked_at_until_it_works() {
    let (_, a, _, device) = two();
    a.is_broken.store(true, Ordering::SeqCst);
    device.flush().unwrap();
    a.is_broken.store(false, Ordering::SeqCst);
    let started = Instant::now();
    while device.paths()[0].failure.is_some() {
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "the path is not back"
        );
        std::thread::yield_now();
    }
}

#[test]
fn an_answer_of_the_device_is_no_failure_of_the_path() {
    let (_, a, b, device) = two();
    let error = device.write_at(&[0; 512], 4096).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    let error = device.read_at(&mut [0; 512], 4096).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(
        (a.used.load(Ordering::SeqCst), b.used.load(Ordering::SeqCst)),
        (2, 0)
    );
}

#[test]
fn paths_to_different_devices_are_refused() {
    let medium = Medium::new(512);
    let (a, b) = (
        MemoryPath::new(&medium, "36"),
        MemoryPath::new(&medium, "37"),
    );
    let error = Multipath::new(vec![a, b]).unwrap_err();
    assert!(matches!(error, Error::Differs { found, .. } if found == "37"));
    let nameless = MemoryPath::new(&medium, "");
    assert!(matches!(
        Multipath::new(vec![nameless]).unwrap_err(),
        Error::Differs { .. }
    ));
    assert!(matches!(
        Multipath::new(Vec::new()).unwrap_err(),
        Error::NoPath { .. }
    ));
}

/// The device may have become another's while the first path was waited for.
#[test]
fn a_change_is_repeated_only_when_the_guard_allows() {
    let medium = Medium::new(4096);
    let (a, b) = (
        MemoryPath::new(&medium, "36"),
        MemoryPath::new(&medium, "36"),
    );
    let guard: Guard = Arc::new(|| Err(io::Error::other("another serves it")));
    let paths: Vec<Arc<dyn BlockDevice>> = vec![a.clone(), b.clone()];
    let device = Multipath::with_patience(paths, Duration::from_secs(60), Some(guard)).unwrap();
    device.write_at(&[1; 512], 0).unwrap();
    a.is_broken.store(true, Ordering::SeqCst);
    let error = device.write_at(&[2; 512], 0).unwrap_err();
    assert!(error.to_string().contains("another serves it"), "{error}");
    assert_eq!(b.used.load(Ordering::SeqCst), 0);
    // A read does no harm.
    let mut read = [0; 512];
    device.read_at(&mut read, 0).unwrap();
    assert_eq!(read[0], 1);
}
