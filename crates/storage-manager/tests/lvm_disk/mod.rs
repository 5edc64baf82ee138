//! A device for an LVHD SR of a test, and the LVM2 tools that judge what is on it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage_manager::sr::{AttachedSr, OpenMode, SrParams, SrType};
use testkit::lvm_tools::LvmTools;
use uuid::Uuid;
use xenapi::Failure;

pub const SR: u128 = 0x5;

/// A device for an SR, and the tools that may look at it.
pub struct Disk {
    _directory: tempfile::TempDir,
    pub device: PathBuf,
    pub tools: Option<LvmTools>,
}

impl Disk {
    /// A loop device where the tools are, else a plain file.
    pub fn new(size: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("disk");
        std::fs::File::create(&file).unwrap().set_len(size).unwrap();
        let mut tools = LvmTools::new();
        let device = match &mut tools {
            Some(tools) => tools.attach(&file),
            None => file,
        };
        Disk {
            _directory: directory,
            device,
            tools,
        }
    }

    pub fn params(&self, more: &[(&str, &str)]) -> SrParams {
        params(&self.device, more)
    }

    /// Has the tools look at the group.
    pub fn judge(&self, when: &str) {
        let Some(tools) = &self.tools else { return };
        let group = vg();
        assert_eq!(tools.complaints("vgck", &[&group]), "", "{when}");
        assert_eq!(
            tools.complaints("pvck", &[self.device.to_str().unwrap()]),
            "",
            "{when}"
        );
    }

    /// The volumes with their sizes in MiB, attributes and tags, as the tools see them.
    pub fn volumes(&self) -> Option<BTreeMap<String, (u64, String, String)>> {
        let tools = self.tools.as_ref()?;
        let text = tools.run(
            "lvs",
            &[
                "--noheadings",
                "--nosuffix",
                "--units",
                "m",
                "--separator",
                ":",
                "-o",
                "lv_name,lv_size,lv_attr,lv_tags",
                &vg(),
            ],
        );
        let rows = text.lines().map(|line| {
            let fields: Vec<&str> = line.trim().split(':').collect();
            let size = fields[1].split('.').next().unwrap().parse().unwrap();
            (
                fields[0].to_owned(),
                (size, fields[2].to_owned(), fields[3].to_owned()),
            )
        });
        Some(rows.collect())
    }
}

pub fn params(device: &Path, more: &[(&str, &str)]) -> SrParams {
    let mut device_config =
        BTreeMap::from([("device".to_owned(), device.to_str().unwrap().to_owned())]);
    device_config.extend(
        more.iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
    );
    SrParams {
        sr_uuid: Uuid::from_u128(SR),
        device_config,
        sm_config: BTreeMap::new(),
    }
}

pub fn vg() -> String {
    format!("VG_XenStorage-{}", Uuid::from_u128(SR))
}

pub fn driver() -> Arc<dyn SrType> {
    let types = storage_manager::sr::types();
    types
        .into_iter()
        .find(|one| one.info().sr_type == "lvm")
        .unwrap()
}

pub fn write(sr: &dyn AttachedSr, vdi: Uuid, fill: u8, offset: u64, length: usize) {
    let open = sr.open_vdi(vdi, OpenMode::ReadWrite).unwrap();
    open.write_at(&vec![fill; length], offset).unwrap();
    open.close().unwrap();
}

pub fn byte(sr: &dyn AttachedSr, vdi: Uuid, offset: u64) -> u8 {
    let open = sr.open_vdi(vdi, OpenMode::ReadOnly).unwrap();
    let mut found = [0; 1];
    open.read_at(&mut found, offset).unwrap();
    found[0]
}

pub fn number(failure: &Failure) -> &str {
    failure.code.trim_start_matches("SR_BACKEND_FAILURE_")
}
