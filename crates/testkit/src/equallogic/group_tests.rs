//! A long walk through the model: whatever is said, space and files stay consistent.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::group::{DataChange, Group};
use super::size::{self, PAGE};
use super::snapshots::NewSnapshot;
use super::volume::Depletion;
use super::volumes::NewVolume;

/// How many steps the walk has.
const STEPS: usize = 4000;

/// A generator of which a seed is enough; the quality of its numbers does not matter. Source: Knuth's MMIX.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[test]
fn space_and_files_follow_whatever_is_said() {
    let mut group = Group::new("g", Ipv4Addr::LOCALHOST, 400, "pw", "V9.1.4");
    let mut numbers = Numbers(1);
    let mut files: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut done, mut refused) = (0, 0);
    for step in 0..STEPS {
        let said = one_step(&mut group, &mut numbers, step);
        if said {
            done += 1
        } else {
            refused += 1
        }
        for change in group.take_changes() {
            apply(&mut files, &change, step);
        }
        assert!(group.is_consistent(), "step {step}");
        for volume in group.volumes.values() {
            assert_eq!(
                files.get(&volume.id),
                Some(&size::rounded(volume.size)),
                "step {step}"
            );
            for snapshot in &volume.snapshots {
                assert_eq!(files.get(&snapshot.id), Some(&size::rounded(snapshot.size)));
            }
        }
        let live: usize = group
            .volumes
            .values()
            .map(|one| 1 + one.snapshots.len())
            .sum();
        assert_eq!(files.len(), live, "step {step}");
    }
    assert!(
        done > STEPS / 4 && refused > STEPS / 20,
        "{done} done, {refused} refused"
    );
}

fn apply(files: &mut BTreeMap<u64, u64>, change: &DataChange, step: usize) {
    match change {
        DataChange::Create { id, bytes } => assert_eq!(files.insert(*id, *bytes), None),
        DataChange::Copy { from, to } => {
            let length = files[from];
            files.insert(*to, length);
        }
        DataChange::Resize { id, bytes } => assert!(files.insert(*id, *bytes).is_some()),
        DataChange::Disconnect { id } => assert!(files.contains_key(id), "step {step}"),
        DataChange::Remove { id } => assert!(files.remove(id).is_some(), "step {step}"),
    }
}

/// Says something to the group, and whether it obeyed.
fn one_step(group: &mut Group, numbers: &mut Numbers, step: usize) -> bool {
    let name = format!("v{}", numbers.below(6));
    let other = format!("v{}", numbers.below(6));
    let snapshot = group.volumes.get(&name).and_then(|volume| {
        let count = volume.snapshots.len() as u64;
        (count > 0).then(|| volume.snapshots[numbers.below(count) as usize].name.clone())
    });
    let snapshot = snapshot.unwrap_or_default();
    let bytes = (1 + numbers.below(40)) * PAGE - numbers.below(2) * (1 << 20);
    let new = NewVolume {
        thin: numbers.below(2) == 0,
        snap_reserve: Some(numbers.below(5) as u32 * 30),
        depletion: Some(
            [Depletion::DeleteOldest, Depletion::VolumeOffline][numbers.below(2) as usize],
        ),
        offline: numbers.below(2) == 0,
        ..NewVolume::default()
    };
    let now = format!("2026-11-22-00:00:00.{step}");
    match numbers.below(14) {
        0 | 1 => group.create_volume(&name, bytes, &new).is_ok(),
        2 => group.clone_volume(&name, None, &other, &new).is_ok(),
        3 => group
            .clone_volume(&name, Some(&snapshot), &other, &new)
            .is_ok(),
        4 => group.delete_volume(&name).is_ok(),
        5 => group
            .set_volume_online(&name, numbers.below(2) == 0)
            .is_ok(),
        6 => group.grow_volume(&name, bytes).is_ok(),
        7 => group.shrink_volume(&name, bytes).is_ok(),
        8 | 9 => group
            .create_snapshot(&name, &now, &NewSnapshot::default())
            .is_ok(),
        10 => group.delete_snapshot(&name, &snapshot).is_ok(),
        11 => group.restore_snapshot(&name, &snapshot, &now).is_ok(),
        12 => group
            .set_snap_reserve(&name, numbers.below(4) as u32 * 50)
            .is_ok(),
        _ => group.overwrite(&name, numbers.below(12)).is_ok(),
    }
}
