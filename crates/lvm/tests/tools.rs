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
