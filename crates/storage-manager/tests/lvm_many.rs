//! Figures, not a test: an SR of type `lvm` with up to ten thousand VDIs, through the traits that the API server uses.
//! `cargo test --release -p storage-manager --test lvm_many -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // it prints figures

mod lvm_disk;
mod tools;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lvm_disk::{driver, params};
use storage_manager::layout::lvhd::device::PhysicalDevice;
use storage_manager::medium::local_device::LocalDevice;
use storage_manager::sr::{SnapshotKind, VdiLabels};
use tools::{MIB, new_vdi};
use uuid::Uuid;

/// Volumes in the group when calls are timed.
const COUNTS: [usize; 3] = [1, 1_000, 10_000];

/// Calls that are timed one after the other.
const TIMED: u128 = 20;

/// Bytes of an image that hold its headers, and its parents' names if it had some.
const HEADERS: usize = 8192;
const FOOTER: usize = 512;

fn timed(what: &str, mut call: impl FnMut(u128)) {
    let mut times: Vec<Duration> = (0..TIMED)
        .map(|number| {
            let start = Instant::now();
            call(number);
            start.elapsed()
        })
        .collect();
    times.sort();
    let (middle, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{what}: p50 {middle:?}, worst {worst:?}");
}

fn open(path: &Path) -> (Arc<dyn lvm::device::Device>, lvm::Group) {
    let device = Arc::new(LocalDevice::open(path).unwrap());
    let device: Arc<dyn lvm::device::Device> = Arc::new(PhysicalDevice(device));
    let group = lvm::Group::open(vec![device.clone()]).unwrap();
    (device, group)
}

/// Gives the group as many images as `count`, in one commit: what a scan reads of the first one.
fn fill(path: &Path, count: usize) {
    let (device, group) = open(path);
    let first = format!("VHD-{}", Uuid::from_u128(1));
    let map = group.map(&first).unwrap();
    let mut image = vec![0; map.size() as usize];
    let source = map.locate(0).unwrap();
    device.read_at(&mut image, source.offset).unwrap();
    let have = group.volume_group().logical_volumes.len();
    let names: Vec<String> = (have..count)
        .map(|number| format!("VHD-{}", Uuid::from_u128(0x1000_0000 + number as u128)))
        .collect();
    let start = Instant::now();
    group
        .commit(|group| {
            names
                .iter()
                .try_for_each(|name| group.create_lv(name, map.size(), &[]))
        })
        .unwrap();
    println!(
        "{} volumes were made in one commit in {:?}",
        names.len(),
        start.elapsed()
    );
    timed(&format!("one commit alone, of {count}"), |number| {
        let tag = format!("t{number}");
        let tagged = group.commit(|group| group.add_tag(&first, &tag));
        tagged.unwrap();
    });
    group
        .commit(|group| {
            (0..TIMED).try_for_each(|number| group.remove_tag(&first, &format!("t{number}")))
        })
        .unwrap();
    let group = group.volume_group();
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let end = image.len() - FOOTER;
    for name in &names {
        let to = group.map(name).unwrap().locate(0).unwrap().offset;
        file.write_all_at(&image[..HEADERS], to).unwrap();
        file.write_all_at(&image[end..], to + end as u64).unwrap();
    }
}

/// The goals: attach and scan of 1,000 VDIs under a second each.
#[test]
#[ignore = "prints figures"]
fn an_sr_of_ten_thousand_volumes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(256 << 30).unwrap();
    let params = params(&path, &[("allocation", "thin")]);
    let driver = driver();
    driver.create(&params).unwrap();
    let sr = driver.attach(&params).unwrap();
    sr.create_vdi(&new_vdi(1, 100 * MIB)).unwrap();
    sr.detach().unwrap();
    drop(sr);
    for count in COUNTS {
        fill(&path, count);
        let start = Instant::now();
        let sr = driver.attach(&params).unwrap();
        println!("SR.attach of {count}: {:?}", start.elapsed());
        for which in ["first", "second"] {
            let start = Instant::now();
            let found = sr.scan().unwrap();
            let elapsed = start.elapsed();
            println!("SR.scan of {count}, the {which}: {elapsed:?}");
            assert!(found.damaged.is_empty() && found.vdis.len() + 1 >= count);
        }
        let id = |base: u128, number: u128| Uuid::from_u128(base + number);
        timed(&format!("VDI.create beside {count}"), |number| {
            sr.create_vdi(&new_vdi(0x100 + number, 100 * MIB)).unwrap();
        });
        timed(&format!("its names, beside {count}"), |number| {
            let labels = VdiLabels {
                uuid: id(0x100, number),
                name_label: "a name".to_owned(),
                ..VdiLabels::default()
            };
            sr.write_vdi_labels(&[labels]).unwrap();
        });
        timed(&format!("VDI.stat beside {count}"), |number| {
            sr.stat_vdi(id(0x100, number)).unwrap();
        });
        timed(&format!("VDI.snapshot beside {count}"), |number| {
            let (source, new) = (id(0x100, number), id(0x200, number));
            sr.snapshot_vdi(source, new, SnapshotKind::Snapshot)
                .unwrap();
        });
        timed(&format!("VDI.destroy beside {count}"), |number| {
            sr.delete_vdi(id(0x200, number)).unwrap();
        });
        for number in 0..TIMED {
            sr.delete_vdi(id(0x100, number)).unwrap();
        }
        sr.detach().unwrap();
    }
}
