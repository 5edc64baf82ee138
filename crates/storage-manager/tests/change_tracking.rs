//! Incremental backups are right: whatever is done to a tracked VDI, blocks that differ are listed as changed.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

mod tools;

use std::path::Path;
use std::sync::Arc;

use nbd::{Export, Refusal};
use storage_manager::export::{ExportOptions, ReaderGate, VdiExports};
use storage_manager::sr::{AttachedSr, FileSr, OpenMode, SnapshotKind, SrType};
use tempfile::TempDir;
use tools::{MIB, attach_new, new_vdi, params, succeed};
use uuid::Uuid;

const SIZE: u64 = 6 * MIB;
const BLOCK: u64 = 64 * 1024;

/// A VDI that is written, and the snapshots of it that there are, with the content that each had when it was taken.
struct Tracked {
    dir: TempDir,
    sr: Arc<dyn AttachedSr>,
    live: Uuid,
    open: Option<Arc<dyn Export>>,
    snapshots: Vec<(Uuid, Vec<u8>)>,
    next: u128,
    random: u64,
    kills: u32,
}

fn content(export: &dyn Export) -> Vec<u8> {
    let mut content = vec![0; export.size() as usize];
    export.read_at(&mut content, 0).unwrap();
    content
}

impl Tracked {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sr = attach_new(&dir.path().join("sr"));
        let live = sr.create_vdi(&new_vdi(1, SIZE)).unwrap().uuid;
        assert!(sr.enable_cbt(live).unwrap().cbt_enabled);
        Tracked {
            dir,
            sr,
            live,
            open: None,
            snapshots: Vec::new(),
            next: 2,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            kills: 0,
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % below
    }

    fn export(&mut self) -> Arc<dyn Export> {
        let (sr, live) = (&self.sr, self.live);
        let open = self
            .open
            .get_or_insert_with(|| sr.open_vdi(live, OpenMode::ReadWrite).unwrap());
        open.clone()
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.close().unwrap();
        }
    }

    fn fresh(&mut self) -> Uuid {
        self.next += 1;
        Uuid::from_u128(self.next)
    }

    fn write(&mut self) {
        let export = self.export();
        let offset = self.random(SIZE / 512) * 512;
        let length = (self.random(300) + 1) * 512;
        let length = length.min(SIZE - offset);
        match self.random(5) {
            0 => export.write_zeroes_at(offset, length).unwrap(),
            1 => export.trim_at(offset, length).unwrap(),
            _ => {
                let byte = self.random(255) as u8 + 1;
                export
                    .write_at(&vec![byte; length as usize], offset)
                    .unwrap();
            }
        }
    }

    fn snapshot(&mut self) {
        let content = content(&*self.export());
        if self.random(3) == 0 {
            self.close();
        }
        let new = self.fresh();
        let report = self.sr.snapshot_vdi(self.live, new, SnapshotKind::Snapshot);
        let report = report.unwrap();
        assert!(report.new.cbt_enabled && report.source.cbt_enabled);
        self.snapshots.push((new, content));
    }

    fn clone_and_forget(&mut self) {
        let new = self.fresh();
        let report = self.sr.snapshot_vdi(self.live, new, SnapshotKind::Clone);
        let report = report.unwrap();
        assert!(!report.new.cbt_enabled && report.source.cbt_enabled);
        self.sr.delete_vdi(new).unwrap();
    }

    fn destroy(&mut self) {
        if self.snapshots.is_empty() {
            return;
        }
        let which = self.random(self.snapshots.len() as u64) as usize;
        let vdi = self.snapshots[which].0;
        if self.random(2) == 0 {
            assert!(self.sr.destroy_vdi_data(vdi).unwrap().is_cbt_metadata);
        } else {
            self.snapshots.remove(which);
            self.sr.delete_vdi(vdi).unwrap();
        }
    }

    /// Goes on with what a process leaves that is killed now.
    fn kill(&mut self) {
        let left = tempfile::tempdir().unwrap();
        let location = left.path().join("sr");
        std::fs::create_dir(&location).unwrap();
        for entry in std::fs::read_dir(self.dir.path().join("sr")).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), location.join(entry.file_name())).unwrap();
        }
        self.open = None;
        self.sr = FileSr::default().attach(&params(2, &location)).unwrap();
        self.dir = left;
        self.kills += 1;
    }

    /// Every difference between two states is listed, between each two of them.
    fn check(&mut self, step: usize) {
        let now = content(&*self.export());
        let mut states = self.snapshots.clone();
        states.push((self.live, now));
        for (index, (from, before)) in states.iter().enumerate() {
            for (to, after) in &states[index + 1..] {
                let listed = self.sr.changed_blocks(*from, *to);
                let listed = listed.unwrap_or_else(|failure| panic!("step {step}: {failure}"));
                let is_listed = |block: usize| listed[block / 8] & (0x80 >> (block % 8)) != 0;
                let blocks = before
                    .chunks(BLOCK as usize)
                    .zip(after.chunks(BLOCK as usize));
                for (block, (before, after)) in blocks.enumerate() {
                    assert!(
                        before == after || is_listed(block),
                        "step {step}: block {block} differs between {from} and {to} and is not listed"
                    );
                }
            }
        }
    }
}

#[test]
fn whatever_happens_differences_are_listed() {
    for seed in 1..=6 {
        let mut tracked = Tracked::new(seed);
        for step in 0..60 {
            match tracked.random(16) {
                0..=7 => tracked.write(),
                8 => tracked.export().flush().unwrap(),
                9 | 10 if tracked.snapshots.len() < 6 => tracked.snapshot(),
                9..=11 => tracked.destroy(),
                12 => tracked.clone_and_forget(),
                13 => tracked.close(),
                _ => tracked.kill(),
            }
            if step % 3 == 0 {
                tracked.check(step);
            }
        }
        tracked.check(60);
        assert!(tracked.kills > 0, "seed {seed} kills nothing");
    }
}

/// Lets nobody in.
struct Gate;

impl ReaderGate for Gate {
    fn is_valid_session(&self, _session: &str) -> bool {
        false
    }

    fn open(&self, _vdi: Uuid) -> Result<Arc<dyn Export>, Refusal> {
        Err(Refusal::Unknown)
    }
}

fn rows(map: &str) -> Vec<[u64; 3]> {
    let numbers = |line: &str| {
        let mut words = line.split_whitespace().map(|word| word.parse().unwrap());
        [(); 3].map(|()| words.next().unwrap())
    };
    map.lines()
        .map(|line| line.rsplit_once("  ").map_or(line, |(head, _)| head))
        .map(numbers)
        .collect()
}

fn exports(data_dir: &Path) -> VdiExports {
    let options = ExportOptions {
        data_dir: data_dir.to_owned(),
        host_name: "storage-1".to_owned(),
        tls_address: None,
    };
    VdiExports::start(&options, Arc::new(Gate)).unwrap()
}

#[test]
fn a_backup_tool_sees_the_changes_of_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let sr = attach_new(&dir.path().join("sr"));
    let exports = exports(&dir.path().join("data"));
    let live = sr.create_vdi(&new_vdi(1, SIZE)).unwrap().uuid;
    sr.enable_cbt(live).unwrap();
    let image = sr.open_vdi(live, OpenMode::ReadWrite).unwrap();
    image.write_at(&[1; 4096], 0).unwrap();
    let snapshot = |number| {
        let new = Uuid::from_u128(number);
        sr.snapshot_vdi(live, new, SnapshotKind::Snapshot).unwrap();
        new
    };
    snapshot(2);
    image.write_at(&[2; 4096], 3 * BLOCK - 1).unwrap();
    let second = snapshot(3);
    image.write_at(&[3; 4096], 50 * BLOCK).unwrap();
    let map_of = |vdi: Uuid, export: Arc<dyn Export>| {
        let endpoint = exports.publish(vdi, export).unwrap();
        let context = "--map=qemu:dirty-bitmap:cbt";
        let map = succeed("nbdinfo", &[context, &endpoint.uri()]);
        exports.withdraw(vdi).unwrap();
        map.map(|map| rows(&map))
    };
    let read = sr.open_vdi(second, OpenMode::ReadOnly).unwrap();
    let Some(map) = map_of(second, read) else {
        return;
    };
    let (begin, end) = (2 * BLOCK, 4 * BLOCK);
    assert_eq!(
        map,
        [[0, begin, 0], [begin, end - begin, 1], [end, SIZE - end, 0]]
    );
    let map = map_of(live, image).unwrap();
    assert_eq!(
        map,
        [
            [0, 50 * BLOCK, 0],
            [50 * BLOCK, BLOCK, 1],
            [51 * BLOCK, SIZE - 51 * BLOCK, 0]
        ]
    );
}
