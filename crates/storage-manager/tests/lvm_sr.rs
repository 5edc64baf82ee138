//! SR type `lvm` through the traits that the API server uses; the LVM2 tools judge each state that it leaves.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

mod lvm_disk;
mod tools;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lvm_disk::{Disk, SR, byte, driver, number, params, vg, write};
use storage_manager::sr::{
    AttachedSr, NewVdi, OpenMode, SnapshotKind, SrLabels, SrParams, VdiLabels,
};
use tools::{MIB, new_raw_vdi, new_vdi};
use uuid::Uuid;

#[test]
fn a_whole_life() {
    let disk = Disk::new(2 << 30);
    let driver = driver();
    let params = disk.params(&[]);
    driver.create(&params).unwrap();
    disk.judge("created");
    let xml = driver.probe(&params).unwrap();
    assert!(
        xml.contains(&format!("<UUID>{}</UUID>", params.sr_uuid)),
        "{xml}"
    );
    let sr = driver.attach(&params).unwrap();
    let changes = sr.config_changes().sm_config;
    assert_eq!(changes["allocation"].as_deref(), Some("thick"));
    assert_eq!(changes["use_vhd"].as_deref(), Some("true"));

    let vdi = sr.create_vdi(&new_vdi(1, 99 * MIB)).unwrap();
    assert_eq!(vdi.virtual_size, 100 * MIB);
    assert_eq!(vdi.sm_config["vdi_type"], "vhd");
    let full = vhd::volume::full_size(100 * MIB);
    assert_eq!(vdi.physical_utilisation, full);
    let raw = sr.create_vdi(&new_raw_vdi(2, 10 * MIB)).unwrap();
    assert_eq!(
        (raw.virtual_size, raw.sm_config["vdi_type"].as_str()),
        (12 * MIB, "aio")
    );
    disk.judge("two VDIs");
    write(&*sr, vdi.uuid, 0x11, 0, MIB as usize);
    write(&*sr, vdi.uuid, 0x12, 99 * MIB, MIB as usize);
    write(&*sr, raw.uuid, 0x21, 11 * MIB, MIB as usize);
    assert_eq!(byte(&*sr, raw.uuid, 0), 0);

    // A snapshot while a consumer writes.
    let open = sr.open_vdi(vdi.uuid, OpenMode::ReadWrite).unwrap();
    let taken = sr
        .snapshot_vdi(vdi.uuid, Uuid::from_u128(3), SnapshotKind::Snapshot)
        .unwrap();
    disk.judge("a snapshot");
    open.write_at(&[0x13; 4096], 50 * MIB).unwrap();
    open.write_at(&[0x14; 4096], 0).unwrap();
    open.flush().unwrap();
    let base = taken.base.unwrap();
    assert!(!base.managed && base.read_only);
    assert_eq!(taken.source.physical_utilisation, full);
    assert_eq!(taken.new.physical_utilisation, 8 * MIB);
    if let Some(volumes) = disk.volumes() {
        let of_base = &volumes[&format!("VHD-{}", base.uuid)];
        // Two blocks of 2 MiB, as small as can be, and read-only.
        assert_eq!(of_base.0, 12);
        assert!(of_base.1.starts_with("-r"), "{of_base:?}");
        assert_eq!(volumes.len(), 5, "{volumes:?}");
    }
    open.close().unwrap();
    assert_eq!(byte(&*sr, vdi.uuid, 50 * MIB), 0x13);
    assert_eq!(byte(&*sr, Uuid::from_u128(3), 50 * MIB), 0);
    assert_eq!(byte(&*sr, Uuid::from_u128(3), 0), 0x11);
    assert_eq!(byte(&*sr, Uuid::from_u128(3), 99 * MIB), 0x12);

    let clone = sr
        .snapshot_vdi(Uuid::from_u128(3), Uuid::from_u128(4), SnapshotKind::Clone)
        .unwrap();
    assert_eq!(clone.new.physical_utilisation, full);
    let grown = sr.resize_vdi(vdi.uuid, 150 * MIB).unwrap();
    assert_eq!(grown.virtual_size, 150 * MIB);
    assert_eq!(
        grown.physical_utilisation,
        vhd::volume::full_size(150 * MIB)
    );
    let raw = sr.resize_vdi(raw.uuid, 14 * MIB).unwrap();
    assert_eq!(raw.virtual_size, 16 * MIB);
    assert_eq!(byte(&*sr, raw.uuid, 15 * MIB), 0);
    write(&*sr, vdi.uuid, 0x15, 149 * MIB, MIB as usize);
    sr.revert_vdi(vdi.uuid, Uuid::from_u128(3)).unwrap();
    assert_eq!(byte(&*sr, vdi.uuid, 0), 0x11);
    disk.judge("resized and reverted");

    sr.write_sr_labels(&SrLabels {
        name_label: "the <SR>".to_owned(),
        name_description: String::new(),
    })
    .unwrap();
    let labels = VdiLabels {
        uuid: Uuid::from_u128(3),
        name_label: "a snapshot".to_owned(),
        vdi_type: "user".to_owned(),
        is_a_snapshot: true,
        snapshot_of: Some(vdi.uuid),
        snapshot_time: 1_700_000_000,
        managed: true,
        ..VdiLabels::default()
    };
    sr.write_vdi_labels(std::slice::from_ref(&labels)).unwrap();
    let before = sr.scan().unwrap();
    assert!(before.damaged.is_empty(), "{:?}", before.damaged);
    sr.detach().unwrap();
    drop(sr);

    // Another process: everything comes from the medium.
    let mut with_names = params.clone();
    with_names
        .sm_config
        .insert("metadata".to_owned(), "true".to_owned());
    let xml = driver.probe(&with_names).unwrap();
    assert!(
        xml.contains("<name_label>the &lt;SR&gt;</name_label>"),
        "{xml}"
    );
    let driver = lvm_disk::driver();
    let sr = driver.attach(&params).unwrap();
    let after = sr.scan().unwrap();
    assert_eq!(after.vdis, before.vdis);
    let kept = sr.labels().unwrap();
    assert_eq!(kept.vdis, [labels]);
    assert_eq!(kept.sr.unwrap().name_label, "the <SR>");
    assert_eq!(sr.detach().map_err(|failure| failure.code), Ok(()));
    let failure = driver.delete(&params).unwrap_err();
    assert_eq!(failure.code, "SR_NOT_EMPTY");

    let sr = driver.attach(&params).unwrap();
    for found in after.vdis.iter().filter(|vdi| vdi.managed) {
        sr.delete_vdi(found.uuid).unwrap();
    }
    assert!(sr.scan().unwrap().vdis.is_empty());
    assert!(sr.labels().unwrap().vdis.is_empty());
    disk.judge("emptied");
    if let Some(volumes) = disk.volumes() {
        assert_eq!(volumes.keys().collect::<Vec<_>>(), ["MGT"]);
    }
    sr.detach().unwrap();
    drop(sr);
    driver.delete(&params).unwrap();
    assert!(!driver.probe(&params).unwrap().contains("<SR>"));
    driver.create(&params).unwrap();
}

#[test]
fn raw_volumes_become_parents() {
    let disk = Disk::new(512 << 20);
    let driver = driver();
    driver.create(&disk.params(&[])).unwrap();
    let sr = driver.attach(&disk.params(&[])).unwrap();
    let raw = sr.create_vdi(&new_raw_vdi(1, 8 * MIB)).unwrap();
    write(&*sr, raw.uuid, 0x41, 4 * MIB, 4096);
    let taken = sr
        .snapshot_vdi(raw.uuid, Uuid::from_u128(2), SnapshotKind::Snapshot)
        .unwrap();
    let base = taken.base.unwrap();
    write(&*sr, raw.uuid, 0x42, 0, 4096);
    assert_eq!(byte(&*sr, raw.uuid, 4 * MIB), 0x41);
    assert_eq!(byte(&*sr, Uuid::from_u128(2), 0), 0);
    disk.judge("a raw parent");
    if let Some(volumes) = disk.volumes() {
        let of_base = &volumes[&format!("LV-{}", base.uuid)];
        assert_eq!((of_base.0, of_base.2.as_str()), (8, "hidden"));
        assert!(of_base.1.starts_with("-r"), "{of_base:?}");
    }
    let found = sr.scan().unwrap();
    sr.detach().unwrap();
    let sr = lvm_disk::driver().attach(&disk.params(&[])).unwrap();
    assert_eq!(sr.scan().unwrap().vdis, found.vdis);
    assert_eq!(byte(&*sr, Uuid::from_u128(2), 4 * MIB), 0x41);
}

#[test]
fn thin_volumes_are_full_while_they_are_written() {
    let disk = Disk::new(1 << 30);
    let driver = driver();
    let params = disk.params(&[("allocation", "thin")]);
    driver.create(&params).unwrap();
    let sr = driver.attach(&params).unwrap();
    let vdi = sr.create_vdi(&new_vdi(1, 100 * MIB)).unwrap();
    assert_eq!(vdi.physical_utilisation, 8 * MIB);
    let open = sr.open_vdi(vdi.uuid, OpenMode::ReadWrite).unwrap();
    let full = vhd::volume::full_size(100 * MIB);
    assert_eq!(sr.stat_vdi(vdi.uuid).unwrap().physical_utilisation, full);
    for block in 0..50 {
        open.write_at(&[block as u8 + 1; 512], block * 2 * MIB)
            .unwrap();
    }
    open.close().unwrap();
    drop(open);
    assert_eq!(sr.stat_vdi(vdi.uuid).unwrap().physical_utilisation, full);
    let small = sr.create_vdi(&new_vdi(2, 400 * MIB)).unwrap();
    write(&*sr, small.uuid, 1, 0, 512);
    assert_eq!(
        sr.stat_vdi(small.uuid).unwrap().physical_utilisation,
        8 * MIB
    );
    // There is room for it at rest, and not to write it: 44 says so.
    let large = sr.create_vdi(&new_vdi(3, 2000 * MIB)).unwrap();
    let failure = sr.open_vdi(large.uuid, OpenMode::ReadWrite).err().unwrap();
    assert_eq!(number(&failure), "44", "{failure}");
    assert_eq!(byte(&*sr, vdi.uuid, 98 * MIB), 50);
    disk.judge("thin");
    // What the medium says wins.
    sr.detach().unwrap();
    drop(sr);
    let sr = driver
        .attach(&disk.params(&[("allocation", "thick")]))
        .unwrap();
    assert_eq!(
        sr.config_changes().sm_config["allocation"].as_deref(),
        Some("thin")
    );
}

#[test]
fn what_is_on_a_device_is_not_destroyed() {
    let disk = Disk::new(512 << 20);
    let driver = driver();
    let failure = driver
        .create(&SrParams {
            device_config: BTreeMap::new(),
            ..disk.params(&[])
        })
        .unwrap_err();
    assert_eq!(number(&failure), "90");
    let failure = driver
        .create(&params(Path::new("/dev/nowhere"), &[]))
        .unwrap_err();
    assert_eq!(number(&failure), "91");
    let failure = driver
        .create(&disk.params(&[("allocation", "thicc")]))
        .unwrap_err();
    assert_eq!(number(&failure), "1");
    std::fs::OpenOptions::new()
        .write(true)
        .open(&disk.device)
        .and_then(|file| std::os::unix::fs::FileExt::write_all_at(&file, &[0x53, 0xef], 1080))
        .unwrap();
    let failure = driver.create(&disk.params(&[])).unwrap_err();
    assert_eq!(number(&failure), "16");
    assert!(failure.params[1].contains("ext4"), "{failure}");
    driver.create(&disk.params(&[("force", "true")])).unwrap();
    let failure = driver.create(&disk.params(&[])).unwrap_err();
    assert!(failure.params[1].contains(&vg()), "{failure}");
    // A device that is attached is nobody else's.
    let sr = driver.attach(&disk.params(&[])).unwrap();
    let failure = lvm_disk::driver().attach(&disk.params(&[])).err().unwrap();
    assert_eq!(number(&failure), "16");
    assert!(
        lvm_disk::driver()
            .probe(&disk.params(&[]))
            .unwrap()
            .contains("<SR>")
    );
    let mut other = disk.params(&[]);
    other.sr_uuid = Uuid::from_u128(6);
    drop(sr);
    let failure = driver.attach(&other).err().unwrap();
    assert_eq!(number(&failure), "47");
    assert!(failure.params[1].contains(&vg()), "{failure}");
}

#[test]
fn an_sr_with_a_volume_of_somebody_else_is_not_destroyed() {
    let disk = Disk::new(128 << 20);
    let driver = driver();
    driver.create(&disk.params(&[])).unwrap();
    let change = |edit: &dyn Fn(&mut lvm::metadata::VolumeGroup) -> lvm::Result<()>| {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&disk.device)
            .unwrap();
        let group = lvm::Group::open(vec![Arc::new(FileDevice(file))]).unwrap();
        group.commit(edit).unwrap();
    };
    change(&|group| group.create_lv("backup", MIB, &[]));
    let failure = driver.delete(&disk.params(&[])).unwrap_err();
    assert_eq!(number(&failure), "51");
    assert!(failure.params[1].contains("/backup "), "{failure}");
    change(&|group| group.remove_lv("backup"));
    driver.delete(&disk.params(&[])).unwrap();
}

#[test]
fn a_group_grows_with_its_device() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("disk");
    std::fs::File::create(&file)
        .unwrap()
        .set_len(256 << 20)
        .unwrap();
    let driver = driver();
    driver.create(&params(&file, &[])).unwrap();
    let sr = driver.attach(&params(&file, &[])).unwrap();
    let before = sr.scan().unwrap().space.physical_size;
    std::fs::OpenOptions::new()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(512 << 20)
        .unwrap();
    assert_eq!(sr.scan().unwrap().space.physical_size, before + (256 << 20));
    let vdi = sr
        .create_vdi(&NewVdi {
            virtual_size: 300 * MIB,
            ..new_vdi(1, 0)
        })
        .unwrap();
    write(&*sr, vdi.uuid, 7, 299 * MIB, 512);
    let failure = sr.create_vdi(&new_vdi(2, 300 * MIB)).unwrap_err();
    assert_eq!(number(&failure), "44");
    assert_eq!(sr.scan().unwrap().vdis.len(), 1);
}

/// A file as a device of the crate `lvm`, to write into volumes that the tools have made.
struct FileDevice(std::fs::File);

impl lvm::device::Device for FileDevice {
    fn size(&self) -> std::io::Result<u64> {
        Ok(rustix::fs::seek(&self.0, rustix::fs::SeekFrom::End(0))?)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, buffer, offset)
    }
    fn write_at(&self, data: &[u8], offset: u64) -> std::io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, data, offset)
    }
    fn flush(&self) -> std::io::Result<()> {
        self.0.sync_all()
    }
}

/// Writes into a volume at an offset, as `dd` would on a host that has it activated.
fn fill(disk: &Disk, lv: &str, offset: u64, data: &[u8]) {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&disk.device)
        .unwrap();
    let device: Arc<dyn lvm::device::Device> = Arc::new(FileDevice(file));
    let group = lvm::Group::open(vec![device.clone()]).unwrap();
    let map = group.map(lv).unwrap();
    let mut done = 0;
    while done < data.len() {
        let found = map.locate(offset + done as u64).unwrap();
        let step = (data.len() - done).min(found.length as usize);
        device
            .write_at(&data[done..done + step], found.offset)
            .unwrap();
        done += step;
    }
    device.flush().unwrap();
}

fn golden(name: &str) -> Option<(Vec<u8>, serde_json::Value)> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden");
    let root =
        std::env::var_os("XENSM_GOLDEN").map_or_else(|| PathBuf::from(default), PathBuf::from);
    let Ok(json) = std::fs::read(root.join("vhd").join(format!("{name}.vhd.json"))) else {
        tools::skip("the golden data is not here; set XENSM_GOLDEN");
        return None;
    };
    let packed = std::fs::File::open(root.join("vhd").join(format!("{name}.vhd.zst"))).unwrap();
    let mut image = Vec::new();
    let mut decoder = ruzstd::decoding::StreamingDecoder::new(packed).unwrap();
    std::io::Read::read_to_end(&mut decoder, &mut image).unwrap();
    Some((image, serde_json::from_slice(&json).unwrap()))
}

/// Puts an image into a volume as XenServer has it: the footer in the last sector.
fn lay(disk: &Disk, lv: &str, mib: u64, image: &[u8]) {
    let tools = disk.tools.as_ref().unwrap();
    tools.run(
        "lvcreate",
        &[
            "-an",
            "-Zn",
            "-Wn",
            "-y",
            "-n",
            lv,
            "-L",
            &format!("{mib}m"),
            &vg(),
        ],
    );
    let (body, footer) = image.split_at(image.len() - 512);
    fill(disk, lv, 0, body);
    fill(disk, lv, mib * MIB - 512, footer);
}

fn sha256(sr: &dyn AttachedSr, vdi: Uuid) -> String {
    let open = sr.open_vdi(vdi, OpenMode::ReadOnly).unwrap();
    let mut bytes = vec![0; open.size() as usize];
    open.read_at(&mut bytes, 0).unwrap();
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// An SR that the LVM2 tools made, with images of XenServer's vhd-util, what its MGT says, and a snapshot of which it was cut off:
/// everything is found, under its name, and it is taken over.
#[test]
fn an_sr_of_xenserver_is_taken_over() {
    let disk = Disk::new(512 << 20);
    let Some(tools) = &disk.tools else { return };
    let (Some((parent, parent_json)), Some((child, child_json)), Some((other, other_json))) = (
        golden("hidden-parent"),
        golden("hidden-child"),
        golden("dynamic-scattered-16MiB"),
    ) else {
        return;
    };
    let device = disk.device.to_str().unwrap();
    tools.run("pvcreate", &["-ff", "-y", "--metadatasize", "10M", device]);
    tools.run("vgcreate", &["--metadatasize", "10M", &vg(), device]);
    let [base, leaf, cut, made] = [0xa, 0xb, 0xc, 0xd].map(Uuid::from_u128);
    let storage = vhd::MemoryStorage::from(child);
    let parent_uuid = vhd::image::inspect(&vhd::MemoryStorage::from(parent.clone()))
        .unwrap()
        .uuid;
    let link = vhd::image::NewParent {
        uuid: parent_uuid,
        timestamp: 0,
        path: format!("VHD-{base}"),
    };
    vhd::image::reparent(&storage, &link).unwrap();
    let mut child = vec![0; vhd::Storage::len(&storage).unwrap() as usize];
    vhd::Storage::read_at(&storage, &mut child, 0).unwrap();
    lay(&disk, &format!("VHD-{base}"), 8, &parent);
    tools.run("lvchange", &["-pr", &format!("{}/VHD-{base}", vg())]);
    lay(&disk, &format!("VHD-{leaf}"), 12, &child);
    // A snapshot that was cut off after the rename: `made` is what the image was renamed to.
    lay(&disk, &format!("VHD-{made}"), 16, &other);
    let journal = format!("clone_{cut}_1");
    tools.run(
        "lvcreate",
        &[
            "-an",
            "-Zn",
            "-Wn",
            "-y",
            "-n",
            &journal,
            "-L",
            "4m",
            "--addtag",
            "journaler",
            &vg(),
        ],
    );
    let value = format!("{made}_{}", Uuid::from_u128(0xe));
    fill(
        &disk,
        &journal,
        0,
        format!("{:<512}", format!("{} {value}", value.len())).as_bytes(),
    );
    tools.run(
        "lvcreate",
        &["-an", "-Zn", "-Wn", "-y", "-n", "MGT", "-L", "4m", &vg()],
    );
    let sector = |text: String| format!("{text:<512}");
    let mgt = [
        sector("XSSM:3072      :1:2".to_owned()),
        sector(format!("<?xml version=\"1.0\" ?><uuid>{}</uuid><allocation>thin</allocation>", Uuid::from_u128(SR))),
        sector("<name_label>Local storage</name_label>".to_owned()),
        sector("<name_description></name_description>".to_owned()),
        sector("<vdi><name_label>disk &amp; more</name_label><name_description>of a VM</name_description>".to_owned()),
        sector(format!("<uuid>{leaf}</uuid><is_a_snapshot>1</is_a_snapshot><snapshot_of>{cut}</snapshot_of><snapshot_time>20261122T05:55:47Z</snapshot_time><type>user</type><vdi_type>vhd</vdi_type><read_only>0</read_only><metadata_of_pool></metadata_of_pool><managed>1</managed><deleted>0</deleted></vdi>")),
    ];
    fill(&disk, "MGT", 0, mgt.concat().as_bytes());

    let driver = driver();
    let sr = driver.attach(&disk.params(&[])).unwrap();
    let report = sr.scan().unwrap();
    assert!(report.damaged.is_empty(), "{:?}", report.damaged);
    let found: Vec<(Uuid, bool)> = report
        .vdis
        .iter()
        .map(|vdi| (vdi.uuid, vdi.managed))
        .collect();
    assert_eq!(found, [(base, false), (leaf, true), (cut, true)]);
    let hash = |json: &serde_json::Value| json["logical_sha256"].as_str().unwrap().to_owned();
    assert_eq!(sha256(&*sr, leaf), hash(&child_json));
    assert_eq!(sha256(&*sr, cut), hash(&other_json));
    assert_eq!(
        sr.config_changes().sm_config["allocation"].as_deref(),
        Some("thin")
    );
    let kept = sr.labels().unwrap();
    assert_eq!(kept.sr.unwrap().name_label, "Local storage");
    let labels = &kept.vdis[0];
    assert_eq!(
        (labels.name_label.as_str(), labels.snapshot_of),
        ("disk & more", Some(cut))
    );
    assert_eq!(labels.snapshot_time, 1_795_326_947);
    disk.judge("taken over");

    // And used: written, snapshot, merged into what XenServer made.
    write(&*sr, leaf, 0x33, 0, 4096);
    let taken = sr
        .snapshot_vdi(leaf, Uuid::from_u128(0x20), SnapshotKind::Snapshot)
        .unwrap();
    assert_eq!(byte(&*sr, taken.new.uuid, 0), 0x33);
    sr.delete_vdi(cut).unwrap();
    disk.judge("used");
    sr.detach().unwrap();
    let _ = parent_json;
}
