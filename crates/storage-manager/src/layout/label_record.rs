//! Names and snapshot links on a device that has room for nothing else but them: an SR that is introduced from nothing but an array gets
//! them back.
//!
//! ```text
//! 1 MiB    copy 0      magic, 16 bytes | generation, 8 | length, 8 | SHA-256 of all others, 32 | lines (`label_lines`), length bytes
//! 15 MiB   copy 1      the same
//! ```
//!
//! Numbers are little-endian. Of the copies whose sum is right the one with the higher generation counts; a change goes into the other one,
//! with all lines. A write that is torn, or that a power cut loses, spoils only the copy that did not count, and what the device had before the
//! first change counts for nothing. Test: `what_is_torn_leaves_what_was`.

use std::collections::BTreeMap;
use std::io;

use uuid::Uuid;

use super::label_lines::{Line, sr_line, vdi_line};
use crate::medium::block_device::BlockDevice;
use crate::sr::{KeptLabels, SrLabels, VdiLabels};

/// Where the copies begin.
const COPIES: [u64; 2] = [1 << 20, 15 << 20];

/// Most bytes of lines of a copy.
const MAX_LENGTH: u64 = (14 << 20) - HEADER as u64;

/// What a copy begins with.
const MAGIC: &[u8; 16] = b"xensm-labels-1\n\0";

/// Bytes before the lines.
const HEADER: usize = 64;

/// Where the sum begins.
const SUM: usize = 32;

/// What a device keeps.
#[derive(Clone, Debug, Default)]
pub struct LabelRecord {
    /// The copy that counts and its generation; none where neither does.
    current: Option<(usize, u64)>,
    sr: Option<SrLabels>,
    vdis: BTreeMap<Uuid, VdiLabels>,
}

impl LabelRecord {
    /// Reads what a device keeps; nothing where it has no record.
    pub fn read(device: &dyn BlockDevice) -> io::Result<Self> {
        let mut best: Option<(usize, u64, Vec<u8>)> = None;
        for (copy, offset) in COPIES.into_iter().enumerate() {
            let Some((generation, lines)) = read_copy(device, offset)? else {
                continue;
            };
            if best.as_ref().is_none_or(|best| generation > best.1) {
                best = Some((copy, generation, lines));
            }
        }
        let mut record = LabelRecord::default();
        let Some((copy, generation, lines)) = best else {
            return Ok(record);
        };
        record.current = Some((copy, generation));
        for line in lines.split(|byte| *byte == b'\n') {
            match Line::parse(line) {
                Some(Line::Sr(sr)) => record.sr = Some(sr),
                Some(Line::Vdi(vdi)) => drop(record.vdis.insert(vdi.uuid, vdi)),
                None => (),
            }
        }
        Ok(record)
    }

    /// What it says.
    pub fn labels(&self) -> KeptLabels {
        KeptLabels {
            sr: self.sr.clone(),
            vdis: self.vdis.values().cloned().collect(),
        }
    }

    /// Changes the names of the SR.
    pub fn put_sr(&mut self, labels: &SrLabels) {
        self.sr = Some(labels.clone());
    }

    /// Changes those of a VDI.
    pub fn put_vdi(&mut self, labels: &VdiLabels) {
        self.vdis.insert(labels.uuid, labels.clone());
    }

    /// Leaves out the VDIs that are gone.
    pub fn retain(&mut self, is_there: impl Fn(Uuid) -> bool) {
        self.vdis.retain(|vdi, _| is_there(*vdi));
    }

    /// Writes it in the place of the copy that does not count.
    ///
    /// # Errors
    /// `FileTooLarge` when it has more than 14 MiB; those of the device, after which the record is to be read again.
    ///
    /// # Durability
    /// On return it is on stable storage; before, the device has it or what it had.
    pub fn write(&mut self, device: &dyn BlockDevice) -> io::Result<()> {
        let (copy, generation) = match self.current {
            Some((copy, generation)) => (1 - copy, generation.saturating_add(1)),
            None => (0, 1),
        };
        let mut bytes = vec![0; HEADER];
        let lines = self.sr.iter().map(sr_line);
        for line in lines.chain(self.vdis.values().map(vdi_line)) {
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
        }
        let length = (bytes.len() - HEADER) as u64;
        if length > MAX_LENGTH {
            let text = format!(
                "the names of {} VDIs take {length} bytes, there is room for {MAX_LENGTH}; shorten descriptions",
                self.vdis.len()
            );
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16..24].copy_from_slice(&generation.to_le_bytes());
        bytes[24..SUM].copy_from_slice(&length.to_le_bytes());
        let sum = sum(&bytes);
        bytes[SUM..HEADER].copy_from_slice(sum.as_ref());
        device.write_at(&bytes, COPIES[copy])?;
        device.flush()?;
        self.current = Some((copy, generation));
        Ok(())
    }
}

/// Generation and lines of a copy; none when it is none.
fn read_copy(device: &dyn BlockDevice, offset: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
    let mut bytes = vec![0; HEADER];
    device.read_at(&mut bytes, offset)?;
    let number = |bytes: &[u8], at: usize| {
        let field = bytes[at..at + 8].iter().rev();
        field.fold(0, |number: u64, byte| number << 8 | u64::from(*byte))
    };
    let length = number(&bytes, 24);
    if !bytes.starts_with(MAGIC) || length > MAX_LENGTH {
        return Ok(None);
    }
    bytes.resize(HEADER + length as usize, 0);
    device.read_at(&mut bytes[HEADER..], offset + HEADER as u64)?;
    let is_whole = sum(&bytes).as_ref() == &bytes[SUM..HEADER];
    Ok(is_whole.then(|| (number(&bytes, 16), bytes.split_off(HEADER))))
}

/// SHA-256 of a copy without its sum.
fn sum(bytes: &[u8]) -> ring::digest::Digest {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(&bytes[..SUM]);
    context.update(&bytes[HEADER..]);
    context.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::medium::memory_device::{Medium, MemoryPath};

    fn named(number: u128, name: &str) -> VdiLabels {
        VdiLabels {
            uuid: Uuid::from_u128(number),
            name_label: name.to_owned(),
            name_description: "a \"line\"\nand another".to_owned(),
            vdi_type: "user".to_owned(),
            is_a_snapshot: number > 1,
            snapshot_of: (number > 1).then(|| Uuid::from_u128(1)),
            snapshot_time: 1_700_000_000,
            ..VdiLabels::default()
        }
    }

    fn names(device: &dyn BlockDevice) -> Vec<String> {
        let kept = LabelRecord::read(device).unwrap().labels();
        kept.vdis.into_iter().map(|vdi| vdi.name_label).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let medium = Medium::new(30 << 20);
        medium.live.lock().unwrap().fill(0xa5);
        let device = MemoryPath::new(&medium, "labels");
        let mut record = LabelRecord::read(&*device).unwrap();
        assert_eq!(record.labels(), KeptLabels::default());
        let sr = SrLabels {
            name_label: "gold".to_owned(),
            name_description: "not all that glitters".to_owned(),
        };
        record.put_sr(&sr);
        for round in 0..5 {
            record.put_vdi(&named(1, &format!("first {round}")));
            record.put_vdi(&named(2, "snapshot"));
            record.write(&*device).unwrap();
            medium.restart();
            let again = LabelRecord::read(&*device).unwrap().labels();
            assert_eq!(again.sr.as_ref(), Some(&sr));
            let expected = [named(1, &format!("first {round}")), named(2, "snapshot")];
            assert_eq!(again.vdis, expected);
        }
        record.retain(|vdi| vdi == Uuid::from_u128(2));
        record.write(&*device).unwrap();
        assert_eq!(names(&*device), ["snapshot"]);
        for number in 0..4000 {
            let mut long = named(number, "long");
            long.name_description = "x".repeat(4096);
            record.put_vdi(&long);
        }
        let refused = record.write(&*device).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(names(&*device), ["snapshot"]);
    }

    /// Any part of a write may have come to the device, in any order of its sectors, and any byte of either copy may be another.
    #[test]
    fn what_is_torn_leaves_what_was() {
        let medium = Medium::new(30 << 20);
        let device = MemoryPath::new(&medium, "labels");
        let mut record = LabelRecord::default();
        for name in ["one", "two"] {
            record.put_vdi(&named(1, name));
            record.write(&*device).unwrap();
        }
        let before = medium.live.lock().unwrap().clone();
        for number in 1..9 {
            record.put_vdi(&named(number, "three"));
        }
        record.write(&*device).unwrap();
        let after = medium.live.lock().unwrap().clone();
        let written = COPIES[0] as usize;
        let end = (written..COPIES[1] as usize)
            .rfind(|at| after[*at] != 0)
            .unwrap();
        let sectors = (end - written) / 512 + 1;
        assert!((3..10).contains(&sectors), "{sectors}");
        for present in 0..1_u32 << sectors {
            let mut torn = medium.live.lock().unwrap();
            torn[written..=end].copy_from_slice(&before[written..=end]);
            for sector in (0..sectors).filter(|sector| present >> sector & 1 == 1) {
                let place = written + sector * 512..(written + (sector + 1) * 512).min(end + 1);
                torn[place.clone()].copy_from_slice(&after[place]);
            }
            let is_whole = torn[written..=end] == after[written..=end];
            drop(torn);
            let expected = if is_whole {
                vec!["three"; 8]
            } else {
                vec!["two"]
            };
            assert_eq!(names(&*device), expected, "{present:b}");
        }
        for at in written..=end {
            let mut spoilt = medium.live.lock().unwrap();
            spoilt[written..=end].copy_from_slice(&after[written..=end]);
            spoilt[at] ^= 1;
            drop(spoilt);
            assert_eq!(names(&*device), ["two"], "{at}");
        }
    }
}
