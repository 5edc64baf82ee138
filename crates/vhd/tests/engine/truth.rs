//! What a virtual disk may hold.

use std::collections::{BTreeMap, BTreeSet};

use vhd::Chain;

use super::disk::Sector;

const SECTOR: u64 = 512;
/// Sectors beside the written ones that a comparison looks at.
const PROBES: usize = 1000;

/// The content of a virtual disk: as it reads now, as it was flushed, and what was written since.
#[derive(Clone, Default)]
pub struct Truth {
    now: BTreeMap<u64, Sector>,
    durable: BTreeMap<u64, Sector>,
    later: BTreeMap<u64, Vec<Sector>>,
}

impl Truth {
    pub fn write(&mut self, at: u64, length: u64, byte: u8) {
        let mut place = at;
        while place < at + length {
            let within = (place % SECTOR) as usize;
            let step = (512 - within).min((at + length - place) as usize);
            let sector = self.now.entry(place / SECTOR).or_insert([0; 512]);
            sector[within..within + step].fill(byte);
            self.later.entry(place / SECTOR).or_default().push(*sector);
            place += step as u64;
        }
    }

    /// Takes over what a discard left: each whole sector as before or zeros.
    pub fn discarded(&mut self, chain: &Chain, at: u64, length: u64) -> vhd::Result<()> {
        for index in at.div_ceil(SECTOR)..(at + length) / SECTOR {
            let mut found = [0; 512];
            chain.read_at(&mut found, index * SECTOR)?;
            let known = self.now.get(&index).unwrap_or(&[0; 512]);
            assert!(
                found == *known || found == [0; 512],
                "sector {index} after a discard"
            );
            if found != *known {
                self.now.insert(index, found);
                self.later.entry(index).or_default().push(found);
            }
            // Where the hole was not noticed it may still be lost, or come, with a crash.
            self.later.entry(index).or_default().push([0; 512]);
        }
        Ok(())
    }

    pub fn flushed(&mut self) {
        self.durable = self.now.clone();
        self.later.clear();
    }

    /// Compares everything that was ever written, and as much beside it.
    pub fn compare(&self, chain: &Chain) -> vhd::Result<()> {
        for (index, known) in &self.now {
            let mut found = [0; 512];
            chain.read_at(&mut found, index * SECTOR)?;
            assert!(
                found == *known,
                "sector {index} reads {:#x}, not {:#x}",
                found[0],
                known[0]
            );
        }
        let mut probe = [1; 512];
        let sectors = chain.size() / SECTOR;
        for index in (0..sectors).step_by(sectors as usize / PROBES + 1) {
            if !self.now.contains_key(&index) {
                chain.read_at(&mut probe, index * SECTOR)?;
                assert!(probe == [0; 512], "sector {index} was never written");
            }
        }
        Ok(())
    }

    /// Compares what a crash left, and takes it over.
    pub fn recover(&mut self, chain: &Chain) -> vhd::Result<()> {
        let written: BTreeSet<u64> = self
            .durable
            .keys()
            .chain(self.later.keys())
            .copied()
            .collect();
        let mut left = BTreeMap::new();
        for index in written {
            let mut found = [0; 512];
            chain.read_at(&mut found, index * SECTOR)?;
            let durable = self.durable.get(&index).unwrap_or(&[0; 512]);
            let later = self.later.get(&index).map_or(&[][..], Vec::as_slice);
            assert!(
                found == *durable || later.contains(&found),
                "sector {index} holds {:#x} after a crash; flushed was {:#x}, {} later",
                found[0],
                durable[0],
                later.len()
            );
            left.insert(index, found);
        }
        self.now = left;
        self.flushed();
        self.compare(chain)
    }
}
