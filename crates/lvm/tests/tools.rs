//! The LVM2 tools and we read what the other wrote.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use lvm::device::Device;
use lvm::metadata::VolumeGroup;
use lvm::{ErrorKind, Group, NewGroup};
use serde_json::Value;
use support::FileDevice;
use testkit::lvm_tools::LvmTools;

const GROUP: &str = "VG_XenStorage-6f1ac9a2-2c6d-4d0f-8c2a-9d2b6f0c1e11";

/// Files with loop devices that the tools see.
struct Bench {
    tools: LvmTools,
    files: Vec<PathBuf>,
    loops: Vec<String>,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn new(mib: &[u64]) -> Option<Self> {
        let mut tools = LvmTools::new()?;
        let directory = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        let mut loops = Vec::new();
        for (number, mib) in mib.iter().enumerate() {
            let file = directory.path().join(format!("pv{number}"));
            FileDevice::create(&file, *mib);
            loops.push(tools.attach(&file).display().to_string());
            files.push(file);
        }
        Some(Bench {
            tools,
            files,
            loops,
            _directory: directory,
        })
    }

    fn devices(&self) -> Vec<Arc<dyn Device>> {
        self.files
            .iter()
            .map(|file| FileDevice::open(file))
            .collect()
    }

    fn open(&self) -> Group {
        Group::open(self.devices()).unwrap()
    }

    /// The group through both pairs of eyes: what the tools back up is what we have.
    #[track_caller]
    fn agree(&self, group: &VolumeGroup) {
        for tool in ["vgck", "pvck"] {
            let objects: Vec<&str> = match tool {
                "vgck" => vec![&group.name],
                _ => self.loops.iter().map(String::as_str).collect(),
            };
            assert_eq!(self.tools.complaints(tool, &objects), "", "{tool}");
        }
        for device in &self.loops {
            let arguments = ["--dump", "headers", device];
            assert_eq!(self.tools.complaints("pvck", &arguments), "");
            let headers = self.tools.run("pvck", &arguments);
            assert!(!headers.contains("WARN"), "{headers}");
        }
        let backup = self.tools.backup(&group.name);
        let mut theirs = VolumeGroup::parse(backup.as_bytes(), "backup").unwrap();
        // The tools say where they found a device.
        for (their, our) in theirs
            .physical_volumes
            .iter_mut()
            .zip(&group.physical_volumes)
        {
            their.device.clone_from(&our.device);
        }
        assert_eq!(&theirs, group);
        self.agree_on_volumes(group);
    }

    #[track_caller]
    fn agree_on_volumes(&self, group: &VolumeGroup) {
        let report = self.tools.run(
            "lvs",
            &[
                "--reportformat",
                "json",
                "--units",
                "b",
                "--nosuffix",
                "-o",
                "lv_name,lv_uuid,lv_size,lv_tags,lv_attr,seg_count",
                &group.name,
            ],
        );
        let report: Value = serde_json::from_str(&report).unwrap();
        let rows = report["report"][0]["lv"].as_array().unwrap();
        assert_eq!(rows.len(), group.logical_volumes.len());
        for row in rows {
            let text = |key: &str| row[key].as_str().unwrap().to_owned();
            let volume = group.get(&text("lv_name")).unwrap();
            assert_eq!(text("lv_uuid"), volume.id.to_string());
            assert_eq!(text("lv_size"), group.size_of(volume).to_string());
            let mut tags = volume.tags.clone();
            tags.sort();
            assert_eq!(text("lv_tags"), tags.join(","));
            assert_eq!(text("seg_count"), volume.segments.len().to_string());
            let permission = if volume.is_writable() { 'w' } else { 'r' };
            assert_eq!(text("lv_attr").chars().nth(1), Some(permission));
        }
    }
}

#[test]
fn the_tools_accept_what_we_write() {
    let Some(bench) = Bench::new(&[200, 100]) else {
        return;
    };
    let group = Group::create(bench.devices(), GROUP, &NewGroup::default()).unwrap();
    bench.agree(&group.volume_group());
    group
        .commit(|vg| {
            vg.create_lv("MGT", 4 << 20, &[])?;
            vg.create_lv("VHD-2f1d2b9e-59a0-4b6f-b8a3-6a4b0c3f0001", 60 << 20, &[])?;
            vg.create_lv("LV-2f1d2b9e-59a0-4b6f-b8a3-6a4b0c3f0002", 1, &["hidden"])?;
            vg.create_lv(
                "2f1d2b9e-59a0-4b6f-b8a3-6a4b0c3f0003.cbtlog",
                0,
                &["cbtlog", "a=b#c"],
            )
        })
        .unwrap();
    bench.agree(&group.volume_group());
    group
        .commit(|vg| {
            vg.remove_lv("MGT")?;
            vg.rename_lv("LV-2f1d2b9e-59a0-4b6f-b8a3-6a4b0c3f0002", "OLD_LV")?;
            vg.set_writable("OLD_LV", false)?;
            vg.add_tag("OLD_LV", "journaler")?;
            vg.remove_tag("OLD_LV", "hidden")
        })
        .unwrap();
    bench.agree(&group.volume_group());
    // Larger than either device: several segments.
    group
        .commit(|vg| vg.resize_lv("VHD-2f1d2b9e-59a0-4b6f-b8a3-6a4b0c3f0001", 240 << 20))
        .unwrap();
    assert!(group.volume_group().logical_volumes[0].segments.len() > 1);
    bench.agree(&group.volume_group());
    group
        .commit(|vg| vg.resize_lv("VHD-2f1d2b9e-59a0-4b6f-b8a3-6a4b0c3f0001", 24 << 20))
        .unwrap();
    bench.agree(&group.volume_group());
    assert_eq!(*bench.open().volume_group(), *group.volume_group());
}

#[test]
fn we_read_what_the_tools_write() {
    let Some(bench) = Bench::new(&[64, 64, 64]) else {
        return;
    };
    let tools = &bench.tools;
    let [first, second, third] = [0, 1, 2].map(|number| bench.loops[number].as_str());
    tools.run("pvcreate", &["-y", "--metadatasize", "10M", first]);
    tools.run("pvcreate", &["-y", "--metadatacopies", "2", second]);
    tools.run("pvcreate", &["-y", "--metadatacopies", "0", third]);
    tools.run("vgcreate", &["-y", GROUP, first, second]);
    tools.run("vgextend", &["-y", GROUP, third]);
    bench.agree(&bench.open().volume_group());
    let create = ["-an", "-Zn", "-Wn", "-y"];
    for arguments in [
        vec![
            "lvcreate", "-n", "VHD-a", "-L", "16M", "--addtag", "one", GROUP,
        ],
        vec![
            "lvcreate", "-n", "wide", "-i", "2", "-I", "64k", "-L", "32M", GROUP,
        ],
        vec![
            "lvcreate", "-n", "fixed", "-L", "4M", "-My", "--major", "253", "--minor", "77", "-r",
            "128", GROUP,
        ],
    ] {
        tools.run(arguments[0], &[&create[..], &arguments[1..]].concat());
        bench.agree(&bench.open().volume_group());
    }
    let wide = bench.open().volume_group().extents("wide").unwrap();
    assert_eq!(
        wide.iter().map(|extent| extent.length).sum::<u64>(),
        32 << 20
    );
    assert!(wide.iter().all(|extent| extent.length == 64 << 10));
    let path = |name: &str| format!("{GROUP}/{name}");
    for arguments in [
        vec!["lvextend", "-L", "80M", &path("VHD-a")],
        vec!["lvrename", GROUP, "VHD-a", "VHD-b"],
        vec![
            "lvchange",
            "--addtag",
            "two",
            "--permission",
            "r",
            &path("VHD-b"),
        ],
        vec!["vgchange", "--addtag", "of_group", GROUP],
        vec!["pvchange", "--addtag", "of_device", first],
        vec!["lvreduce", "-f", "-L", "8M", &path("VHD-b")],
        vec!["lvremove", "-y", &path("wide")],
    ] {
        tools.run(arguments[0], &arguments[1..]);
        bench.agree(&bench.open().volume_group());
    }
    // An area that the tools have put aside stays as it is.
    tools.run("vgchange", &["--metadatacopies", "1", GROUP]);
    let group = bench.open();
    assert_eq!(group.outdated(), []);
    group.commit(|vg| vg.add_tag("VHD-b", "three")).unwrap();
    bench.agree(&group.volume_group());
    tools.run("vgchange", &["--metadatacopies", "all", GROUP]);
    bench.agree(&bench.open().volume_group());
    // And we go on where they stopped, they where we did.
    let group = bench.open();
    group.commit(|vg| vg.resize_lv("VHD-b", 100 << 20)).unwrap();
    bench.agree(&group.volume_group());
    tools.run(
        "lvcreate",
        &[&create[..], &["-n", "after", "-L", "8M", GROUP]].concat(),
    );
    let refused = group.commit(|vg| vg.create_lv("mine", 1, &[])).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    group.reload().unwrap();
    group.commit(|vg| vg.create_lv("mine", 1, &[])).unwrap();
    bench.agree(&group.volume_group());
}

#[test]
fn groups_that_the_tools_keep_from_us_are_refused() {
    let Some(bench) = Bench::new(&[64, 64]) else {
        return;
    };
    let tools = &bench.tools;
    let [first, second] = [0, 1].map(|number| bench.loops[number].as_str());
    let refused = || Group::open(bench.devices()).err().map(|error| error.kind());
    assert_eq!(refused(), Some(ErrorKind::NotLvm));
    tools.run("pvcreate", &["-y", first, second]);
    assert_eq!(refused(), Some(ErrorKind::NotLvm));
    tools.run("vgcreate", &["-y", GROUP, first]);
    assert_eq!(
        refused(),
        Some(ErrorKind::Conflict),
        "the second is not in it"
    );
    tools.run("vgextend", &[GROUP, second]);
    let group = bench.open();
    tools.run("vgexport", &[GROUP]);
    assert_eq!(refused(), Some(ErrorKind::Unsupported));
    tools.run("vgimport", &[GROUP]);
    bench.agree(&bench.open().volume_group());
    let error = group.commit(|vg| vg.create_lv("a", 1, &[])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    tools.run("vgreduce", &[GROUP, second]);
    assert_eq!(refused(), Some(ErrorKind::Conflict));
    let alone = Group::open(vec![FileDevice::open(&bench.files[0])]).unwrap();
    alone.commit(|vg| vg.create_lv("a", 1, &[])).unwrap();
    bench.agree(&alone.volume_group());
}

#[test]
fn a_backup_that_the_tools_restore_is_the_group() {
    let Some(bench) = Bench::new(&[100]) else {
        return;
    };
    let group = Group::create(bench.devices(), GROUP, &NewGroup::default()).unwrap();
    group
        .commit(|vg| vg.create_lv("before", 1, &["tag"]))
        .unwrap();
    let backup = bench.tools.backup(GROUP);
    group.commit(|vg| vg.rename_lv("before", "after")).unwrap();
    let file = bench.files[0].with_file_name("backup");
    std::fs::write(&file, backup).unwrap();
    let file = file.display().to_string();
    bench
        .tools
        .run("vgcfgrestore", &["-y", "--file", &file, GROUP]);
    let refused = group.commit(|vg| vg.remove_lv("after")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    group.reload().unwrap();
    assert!(group.volume_group().find("before").is_some());
    bench.agree(&group.volume_group());
    // What we wrote can be restored by the tools as pvck finds it.
    let device = &bench.loops[0];
    let file = format!("{file}-of-device");
    bench
        .tools
        .run("pvck", &["--dump", "metadata", "--file", &file, device]);
    let dump = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        VolumeGroup::parse(dump.as_bytes(), "dump").unwrap(),
        *group.volume_group()
    );
}

#[test]
fn taking_turns_the_texts_go_round_the_ring() {
    let Some(bench) = Bench::new(&[80, 80]) else {
        return;
    };
    let new = NewGroup {
        metadata_size: 64 << 10,
        extent_size: 64 << 10,
        ..NewGroup::default()
    };
    let group = Group::create(bench.devices(), GROUP, &new).unwrap();
    // A text of 300 KB in a ring of 1 MB: the third wraps.
    group
        .commit(|vg| {
            (0..900).try_for_each(|number| vg.create_lv(&format!("VHD-{number}"), 1, &["tag"]))
        })
        .unwrap();
    bench.agree(&group.volume_group());
    for round in 0..6 {
        let tag = format!("round{round}");
        group.commit(|vg| vg.add_tag("VHD-7", &tag)).unwrap();
        bench.agree(&group.volume_group());
        let name = format!("{GROUP}/VHD-8");
        bench.tools.run("lvchange", &["--addtag", &tag, &name]);
        group.reload().unwrap();
    }
    bench.agree(&group.volume_group());
    assert!(group.volume_group().get("VHD-8").unwrap().has_tag("round5"));
}

#[test]
fn the_tools_see_what_has_grown_and_what_is_gone() {
    let Some(mut bench) = Bench::new(&[64]) else {
        return;
    };
    Group::create(bench.devices(), GROUP, &NewGroup::default()).unwrap();
    let device = PathBuf::from(bench.loops.remove(0));
    bench.tools.detach(&device);
    let file = std::fs::File::options()
        .write(true)
        .open(&bench.files[0])
        .unwrap();
    file.set_len(200 << 20).unwrap();
    bench
        .loops
        .push(bench.tools.attach(&bench.files[0]).display().to_string());
    let group = bench.open();
    group.grow().unwrap();
    group
        .commit(|vg| vg.create_lv("large", 180 << 20, &[]))
        .unwrap();
    bench.agree(&group.volume_group());
    group.remove().unwrap();
    let seen = bench.tools.run("pvs", &["--noheadings", "-o", "pv_name"]);
    assert_eq!(seen.trim(), "");
    // The device is free for others.
    bench.tools.run("pvcreate", &[&bench.loops[0]]);
}
