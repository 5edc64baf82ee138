//! The disk under test: what it must hold, and what is done to it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::process::{Manager, text};

const MIB: u64 = 1 << 20;
/// What is written at once; each has one byte all over.
const BLOCK: u64 = 64 << 10;
const FIRST_SIZE: u64 = 64 * MIB;
const LARGEST_SIZE: u64 = 96 * MIB;
const NAME: &str = "soak";

/// A small generator of numbers.
pub struct Random(u64);

impl Random {
    /// Begins with a seed.
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below a limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What is known of the disk.
#[derive(Default)]
pub struct Disk {
    vdi: String,
    vbd: String,
    /// The byte of each block as of the last flush.
    blocks: Vec<u8>,
    /// Bytes that blocks may have instead: writes that no flush has covered.
    maybe: BTreeMap<usize, Vec<u8>>,
    /// The size that the disk may have instead.
    maybe_size: Option<u64>,
    /// Snapshots by name with what they hold; their calls may not have been answered.
    pub snapshots: BTreeMap<String, Vec<u8>>,
    /// Snapshots that may be gone, or may not have been made.
    unsure: Vec<String>,
    next_snapshot: u32,
    /// Batches of writes that were flushed.
    pub batches: u64,
    /// Steps of coalescing that were seen to end, in all lives.
    pub merged: u64,
    /// How many of them ended in lives before this one.
    merged_before: u64,
}

impl Disk {
    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.blocks.len() as u64 * BLOCK
    }

    /// Makes SR, VDI and VBD at the first start.
    pub fn find_or_make(&mut self, manager: &Manager, place: &Path) -> anyhow::Result<()> {
        if !self.vdi.is_empty() {
            return Ok(());
        }
        let host = manager.call("host.get_all", &[])?[0].clone();
        let location = json!({"location": place.join("sr")});
        let params = [
            host,
            location,
            json!("0"),
            json!(NAME),
            json!(""),
            json!("file"),
            json!(""),
            json!(false),
            json!({}),
        ];
        let sr = manager.call("SR.create", &params)?;
        let record = json!({
            "name_label": NAME, "name_description": "", "SR": sr, "virtual_size": FIRST_SIZE.to_string(),
            "type": "user", "sharable": false, "read_only": false, "other_config": {}, "xenstore_data": {},
            "sm_config": {}, "tags": [],
        });
        self.vdi = text(&manager.call("VDI.create", &[record])?);
        self.vbd = plug(manager, &self.vdi, "RW")?;
        self.blocks = vec![0; (FIRST_SIZE / BLOCK) as usize];
        Ok(())
    }

    /// Looks for every byte, in the disk and in every snapshot, and checks every chain.
    pub fn verify(&mut self, manager: &Manager, place: &Path) -> anyhow::Result<()> {
        let uri = nbd_uri(manager, &self.vbd)?;
        let found = read_all(&uri, place)?;
        if let Some(size) = self.maybe_size.take()
            && found.len() as u64 == size
        {
            self.blocks.resize((size / BLOCK) as usize, 0);
        }
        ensure!(
            found.len() as u64 == self.size(),
            "the disk has {} bytes instead of {}",
            found.len(),
            self.size()
        );
        for (index, bytes) in found.chunks(BLOCK as usize).enumerate() {
            if bytes == [self.blocks[index]; BLOCK as usize] {
                continue;
            }
            let allowed = self.maybe.get(&index).map_or(&[][..], Vec::as_slice);
            let all_alike = bytes == [bytes[0]; BLOCK as usize];
            let each_allowed = |byte: &u8| *byte == self.blocks[index] || allowed.contains(byte);
            // A write that was cut off may be there in part.
            ensure!(
                bytes.iter().all(each_allowed) && (all_alike || !allowed.is_empty()),
                "block {index} holds {:#x} instead of {:#x} (or one of {allowed:x?})",
                bytes[0],
                self.blocks[index]
            );
        }
        // What is torn is written anew, so that every block is alike again.
        let torn: Vec<usize> = std::mem::take(&mut self.maybe).into_keys().collect();
        self.write(&uri, &torn, 0xee)?;
        self.verify_snapshots(manager, place)?;
        self.check_chains(manager)
    }

    fn verify_snapshots(&mut self, manager: &Manager, place: &Path) -> anyhow::Result<()> {
        let records = manager.call("VDI.get_all_records", &[])?;
        let records = records.as_object().cloned().unwrap_or_default();
        // The disk may have been killed with the name of the snapshot that was being made.
        let by_name: BTreeMap<String, String> = records
            .iter()
            .filter(|(reference, _)| **reference != self.vdi)
            .map(|(reference, record)| (text(&record["name_label"]), reference.clone()))
            .collect();
        for name in std::mem::take(&mut self.unsure) {
            if !by_name.contains_key(&name) {
                self.snapshots.remove(&name);
            }
        }
        for (name, blocks) in &self.snapshots {
            let reference = by_name
                .get(name)
                .with_context(|| format!("snapshot {name} is gone"))?;
            let vbd = plug(manager, reference, "RO")?;
            let found = read_all(&nbd_uri(manager, &vbd)?, place)?;
            ensure!(
                found.len() as u64 == blocks.len() as u64 * BLOCK,
                "snapshot {name} has {} bytes instead of {} blocks",
                found.len(),
                blocks.len()
            );
            for (index, bytes) in found.chunks(BLOCK as usize).enumerate() {
                ensure!(
                    bytes == [blocks[index]; BLOCK as usize],
                    "block {index} of {name} holds {:#x} instead of {:#x}",
                    bytes[0],
                    blocks[index]
                );
            }
            manager.call("VBD.unplug", &[json!(vbd)])?;
            manager.call("VBD.destroy", &[json!(vbd)])?;
        }
        Ok(())
    }

    fn check_chains(&mut self, manager: &Manager) -> anyhow::Result<()> {
        let all = manager.chains("status", json!({}))?;
        let sr = &all[0]["sr"];
        self.merged_before = self.merged;
        let uuid = manager.call("VDI.get_uuid", &[json!(self.vdi)])?;
        let checked = manager.chains("check", json!({"sr": sr, "vdi": uuid}))?;
        ensure!(checked["sound"] == true, "the chain is damaged: {checked}");
        Ok(())
    }

    /// Does one thing, picked at random.
    ///
    /// # Errors
    /// When the storage manager is gone; what was under way is remembered as unsure.
    pub fn one_operation(
        &mut self,
        manager: &Manager,
        random: &mut Random,
        most_snapshots: usize,
    ) -> anyhow::Result<()> {
        match random.below(11) {
            10 => self.count_merged(manager),
            0..5 => self.write_batch(manager, random),
            5..7 if self.snapshots.len() < most_snapshots => self.snapshot(manager),
            7 if self.size() < LARGEST_SIZE => self.grow(manager),
            _ => self.destroy_snapshot(manager, random),
        }
    }

    fn count_merged(&mut self, manager: &Manager) -> anyhow::Result<()> {
        let all = manager.chains("status", json!({}))?;
        let done = all[0]["done"].as_u64().context("no count of steps")?;
        self.merged = self.merged_before + done;
        Ok(())
    }

    fn write_batch(&mut self, manager: &Manager, random: &mut Random) -> anyhow::Result<()> {
        let byte = 1 + random.below(200) as u8;
        let blocks: Vec<usize> = (0..1 + random.below(24))
            .map(|_| random.below(self.blocks.len() as u64) as usize)
            .collect();
        let uri = nbd_uri(manager, &self.vbd)?;
        self.write(&uri, &blocks, byte)?;
        self.batches += 1;
        Ok(())
    }

    /// Writes blocks and flushes.
    fn write(&mut self, uri: &str, blocks: &[usize], byte: u8) -> anyhow::Result<()> {
        if blocks.is_empty() {
            return Ok(());
        }
        for block in blocks {
            self.maybe.entry(*block).or_default().push(byte);
        }
        let mut command = Command::new("qemu-io");
        command.args(["-f", "raw", uri]);
        for block in blocks {
            let offset = *block as u64 * BLOCK;
            command.args(["-c", &format!("write -P {byte} {offset} {BLOCK}")]);
        }
        let output = command
            .args(["-c", "flush"])
            .stdin(Stdio::null())
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let complaints = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() || said.contains("rror") || !complaints.is_empty() {
            bail!("a write failed: {said}{complaints}");
        }
        for block in blocks {
            self.blocks[*block] = byte;
            self.maybe.remove(block);
        }
        Ok(())
    }

    fn snapshot(&mut self, manager: &Manager) -> anyhow::Result<()> {
        ensure!(self.maybe.is_empty(), "a write has failed");
        self.next_snapshot += 1;
        let name = format!("snapshot-{}", self.next_snapshot);
        // The name is that of the disk at that moment.
        manager.call("VDI.set_name_label", &[json!(self.vdi), json!(name)])?;
        self.snapshots.insert(name.clone(), self.blocks.clone());
        self.unsure.push(name.clone());
        let made = manager.call("VDI.snapshot", &[json!(self.vdi), json!({})]);
        let renamed = manager.call("VDI.set_name_label", &[json!(self.vdi), json!(NAME)]);
        made?;
        renamed?;
        self.unsure.retain(|unsure| *unsure != name);
        Ok(())
    }

    fn destroy_snapshot(&mut self, manager: &Manager, random: &mut Random) -> anyhow::Result<()> {
        if self.snapshots.is_empty() {
            return Ok(());
        }
        let index = random.below(self.snapshots.len() as u64) as usize;
        let name = self
            .snapshots
            .keys()
            .nth(index)
            .cloned()
            .unwrap_or_default();
        let found = manager.call("VDI.get_by_name_label", &[json!(name)])?;
        self.unsure.push(name.clone());
        for vdi in found.as_array().into_iter().flatten() {
            if text(vdi) != self.vdi {
                manager.call("VDI.destroy", std::slice::from_ref(vdi))?;
            }
        }
        self.snapshots.remove(&name);
        self.unsure.retain(|unsure| *unsure != name);
        Ok(())
    }

    fn grow(&mut self, manager: &Manager) -> anyhow::Result<()> {
        let size = self.size() + 2 * MIB;
        self.maybe_size = Some(size);
        manager.call(
            "VDI.resize_online",
            &[json!(self.vdi), json!(size.to_string())],
        )?;
        self.maybe_size = None;
        self.blocks.resize((size / BLOCK) as usize, 0);
        Ok(())
    }
}

fn plug(manager: &Manager, vdi: &str, mode: &str) -> anyhow::Result<String> {
    let vm = manager.call("VM.get_all", &[])?[0].clone();
    let record = json!({
        "VM": vm, "VDI": vdi, "userdevice": "autodetect", "bootable": false, "mode": mode, "type": "Disk",
        "empty": false, "unpluggable": true, "other_config": {}, "qos_algorithm_type": "",
        "qos_algorithm_params": {},
    });
    let vbd = text(&manager.call("VBD.create", &[record])?);
    manager.call("VBD.plug", &[json!(vbd)])?;
    Ok(vbd)
}

fn nbd_uri(manager: &Manager, vbd: &str) -> anyhow::Result<String> {
    let config: Value = manager.call("VBD.get_other_config", &[json!(vbd)])?;
    let entry = |key: &str| text(&config[key]);
    Ok(format!(
        "nbd+unix:///{}?socket={}",
        entry("xensm:nbd_export"),
        entry("xensm:nbd_socket")
    ))
}

/// Everything that a disk holds.
fn read_all(uri: &str, place: &Path) -> anyhow::Result<Vec<u8>> {
    let copy = place.join("copy");
    let _ = std::fs::remove_file(&copy);
    let copied = Command::new("nbdcopy").arg(uri).arg(&copy).status()?;
    ensure!(copied.success(), "nbdcopy {uri} failed");
    let bytes = std::fs::read(&copy)?;
    std::fs::remove_file(&copy)?;
    Ok(bytes)
}
