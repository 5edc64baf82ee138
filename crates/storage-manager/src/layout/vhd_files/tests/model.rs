//! Random sequences of everything that can be done with VDIs, compared with what a plain map says they hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::layout::vhd_files::OpenImage;

/// Distance of the places that are written and compared.
const CELL: u64 = MIB / 2;

/// Bytes that are written and compared at each place; past a block's end for none, across sectors for all.
const LENGTH: usize = 1536;

/// VDIs that there can be.
const SLOTS: u8 = 5;

#[derive(Clone, Copy, Debug)]
enum Step {
    Create(u8),
    Write(u8, u8, u8),
    Zero(u8, u8),
    Flush(u8),
    Attach(u8),
    Detach(u8),
    Snapshot(u8, u8),
    Revert(u8, u8),
    Resize(u8, u8),
    Delete(u8),
    /// The process dies, and another attaches the SR.
    Die,
}

fn step() -> impl Strategy<Value = Step> {
    let slot = || 0..SLOTS;
    prop_oneof![
        2 => slot().prop_map(Step::Create),
        8 => (slot(), any::<u8>(), 1..=u8::MAX).prop_map(|(a, b, c)| Step::Write(a, b, c)),
        1 => (slot(), any::<u8>()).prop_map(|(a, b)| Step::Zero(a, b)),
        1 => slot().prop_map(Step::Flush),
        3 => slot().prop_map(Step::Attach),
        1 => slot().prop_map(Step::Detach),
        5 => (slot(), slot()).prop_map(|(a, b)| Step::Snapshot(a, b)),
        2 => (slot(), slot()).prop_map(|(a, b)| Step::Revert(a, b)),
        2 => (slot(), any::<u8>()).prop_map(|(a, b)| Step::Resize(a, b)),
        2 => slot().prop_map(Step::Delete),
        1 => Just(Step::Die),
    ]
}

/// What a VDI holds: the byte at each place, as it is and as it was at the last flush.
#[derive(Clone, Debug, Default, PartialEq)]
struct Content {
    cells: u64,
    now: BTreeMap<u64, u8>,
    flushed: BTreeMap<u64, u8>,
}

impl Content {
    fn flush(&mut self) {
        self.flushed = self.now.clone();
    }
}

struct World {
    dir: tempfile::TempDir,
    images: VhdDirectory,
    open: BTreeMap<u8, Arc<OpenImage>>,
    model: BTreeMap<u8, Content>,
}

fn vdi(slot: u8) -> Uuid {
    Uuid::from_u128(u128::from(slot) + 1)
}

impl World {
    fn new() -> Self {
        let dir = testkit::scratch::directory();
        let images = open(dir.path());
        let (open, model) = Default::default();
        World {
            dir,
            images,
            open,
            model,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Create(slot) if !self.model.contains_key(&slot) => {
                create(&self.images, u128::from(slot) + 1);
                let cells = 10 * MIB / CELL;
                let content = Content {
                    cells,
                    ..Content::default()
                };
                self.model.insert(slot, content);
            }
            Step::Write(slot, cell, byte) => self.write(slot, cell, Some(byte)),
            Step::Zero(slot, cell) => self.write(slot, cell, None),
            Step::Flush(slot) => {
                if let (Some(image), Some(content)) =
                    (self.open.get(&slot), self.model.get_mut(&slot))
                {
                    image.flush().unwrap();
                    content.flush();
                }
            }
            Step::Attach(slot)
                if self.model.contains_key(&slot) && !self.open.contains_key(&slot) =>
            {
                let image = self.images.open(vdi(slot), OpenMode::ReadWrite).unwrap();
                self.open.insert(slot, image);
            }
            Step::Detach(slot) => self.detach(slot),
            Step::Snapshot(from, to) => self.snapshot(from, to),
            Step::Revert(to, from) => self.revert(to, from),
            Step::Resize(slot, more) => self.resize(slot, more),
            Step::Delete(slot) if self.model.contains_key(&slot) => {
                self.detach(slot);
                self.images.remove(vdi(slot)).unwrap();
                self.model.remove(&slot);
            }
            Step::Die => self.die(),
            Step::Create(_) | Step::Attach(_) | Step::Delete(_) => {}
        }
    }

    fn write(&mut self, slot: u8, cell: u8, byte: Option<u8>) {
        let (Some(image), Some(content)) = (self.open.get(&slot), self.model.get_mut(&slot)) else {
            return;
        };
        let cell = u64::from(cell) % content.cells;
        match byte {
            Some(byte) => image.write_at(&[byte; LENGTH], cell * CELL).unwrap(),
            None => image.write_zeroes_at(cell * CELL, LENGTH as u64).unwrap(),
        }
        content.now.insert(cell, byte.unwrap_or(0));
    }

    fn detach(&mut self, slot: u8) {
        if let Some(image) = self.open.remove(&slot) {
            image.close().unwrap();
            self.model.get_mut(&slot).unwrap().flush();
        }
    }

    fn snapshot(&mut self, from: u8, to: u8) {
        if !self.model.contains_key(&from) || self.model.contains_key(&to) {
            return;
        }
        match snapshot(&self.images, vdi(from), vdi(to)) {
            Ok(_) => self.copy(from, to),
            Err(Error::ChainFull { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn revert(&mut self, to: u8, from: u8) {
        if from == to || !self.model.contains_key(&from) || !self.model.contains_key(&to) {
            return;
        }
        let reverted = self.images.revert(vdi(to), vdi(from));
        match reverted {
            Ok(_) => self.copy(from, to),
            Err(Error::InUse { .. }) => assert!(self.open.contains_key(&to)),
            Err(Error::ChainFull { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn copy(&mut self, from: u8, to: u8) {
        let source = self.model.get_mut(&from).unwrap();
        source.flush();
        let content = source.clone();
        self.model.insert(to, content);
    }

    fn resize(&mut self, slot: u8, more: u8) {
        let Some(content) = self.model.get_mut(&slot) else {
            return;
        };
        // Most fit the tables' sectors, some do not.
        let blocks = if more > 200 { 120 } else { u64::from(more % 4) };
        let wanted = (content.cells * CELL + blocks * 2 * MIB).min(1 << 30);
        if wanted / CELL >= content.cells {
            self.images.resize(vdi(slot), wanted).unwrap();
            // A size that it has already asks for no flush.
            let grows = wanted / CELL > content.cells;
            content.cells = wanted / CELL;
            if let Some(image) = self.open.get(&slot).filter(|_| grows) {
                assert_eq!(image.size(), wanted);
                content.flush();
            }
        }
    }

    /// What was not flushed is there or is not.
    fn die(&mut self) {
        let left = copy_directory(self.dir.path());
        self.open.clear();
        self.images = open(left.path());
        self.dir = left;
        for slot in self.model.keys().copied().collect::<Vec<_>>() {
            // Repairs what the consumer left open.
            let image = self.images.open(vdi(slot), OpenMode::ReadWrite).unwrap();
            let content = self.model.get_mut(&slot).unwrap();
            for cell in 0..content.cells {
                let found = read_cell(&image, cell);
                let at = |map: &BTreeMap<u64, u8>| map.get(&cell).copied().unwrap_or(0);
                let allowed = [at(&content.now), at(&content.flushed)];
                assert!(
                    allowed.contains(&found),
                    "{slot} at {cell}: {found}, {allowed:?}"
                );
                content.now.insert(cell, found);
            }
            image.close().unwrap();
            content.flush();
        }
        self.compare();
    }

    fn compare(&self) {
        check_while(self.dir.path(), &self.images, PrimaryFooter::MayBeMissing);
        let survey = self.images.survey().unwrap();
        let shown = survey.vdis().into_iter().filter(|vdi| vdi.managed);
        let shown: Vec<Uuid> = shown.map(|vdi| vdi.uuid).collect();
        let expected: Vec<Uuid> = self.model.keys().map(|slot| vdi(*slot)).collect();
        assert_eq!(shown, expected);
        for (slot, content) in &self.model {
            let opened = || self.images.open(vdi(*slot), OpenMode::ReadOnly).unwrap();
            let image = self.open.get(slot).cloned().unwrap_or_else(opened);
            assert_eq!(image.size(), content.cells * CELL, "{slot}");
            for cell in 0..content.cells {
                let expected = content.now.get(&cell).copied().unwrap_or(0);
                assert_eq!(read_cell(&image, cell), expected, "{slot} at {cell}");
            }
        }
    }
}

/// The byte of which a place is full.
fn read_cell(image: &OpenImage, cell: u64) -> u8 {
    let mut found = [0; LENGTH];
    image.read_at(&mut found, cell * CELL).unwrap();
    assert!(found.iter().all(|byte| *byte == found[0]), "torn at {cell}");
    found[0]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn vdis_hold_what_was_written_whatever_is_done_with_their_chains(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new();
        world.take(Step::Create(0));
        world.take(Step::Attach(0));
        for step in steps {
            world.take(step);
        }
        world.compare();
        world.take(Step::Die);
    }
}
