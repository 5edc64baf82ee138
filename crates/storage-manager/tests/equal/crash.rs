//! A client that dies at any command leaves the state before or after, once the next client has looked.

use std::collections::BTreeMap;

use storage_manager::array::equallogic::Allocation;
use storage_manager::array::{ArrayError, VolumeArray};
use storage_manager::sr::{OpenMode, SnapshotHints, SnapshotKind};
use testkit::equallogic::{Cut, EqualLogicEmulator, Options};
use uuid::Uuid;

use crate::world::{ArrayClient, INITIATOR, PAGE, bytes_at, sr, vdi, wish};

/// Most commands of an operation.
const MOST_COMMANDS: usize = 60;

/// VDIs that are seen with their pages, and all volumes of the group with the number of their snapshots and their first byte.
type Seen = (BTreeMap<Uuid, u64>, BTreeMap<String, (usize, u8)>);

struct Case {
    name: &'static str,
    allocation: Allocation,
    /// Makes what the operation begins with.
    prepare: fn(&ArrayClient),
    operation: fn(&ArrayClient) -> Result<(), ArrayError>,
}

fn take(
    client: &ArrayClient,
    source: u128,
    new: u128,
    kind: SnapshotKind,
) -> Result<(), ArrayError> {
    let hints = SnapshotHints::default();
    client
        .volumes
        .snapshot(vdi(source), vdi(new), kind, &hints)
        .map(drop)
}

fn create(client: &ArrayClient, number: u128) -> Result<(), ArrayError> {
    client
        .volumes
        .create(&wish(vdi(number), PAGE, &[]))
        .map(drop)
}

const CASES: [Case; 11] = [
    Case {
        name: "revert",
        allocation: Allocation::Thin,
        prepare: |client| {
            create(client, 1).unwrap();
            take(client, 1, 2, SnapshotKind::Snapshot).unwrap();
        },
        operation: |client| client.volumes.revert(vdi(1), vdi(2)).map(drop),
    },
    Case {
        name: "revert a VDI that was grown",
        allocation: Allocation::Thin,
        prepare: |client| {
            create(client, 1).unwrap();
            take(client, 1, 2, SnapshotKind::Snapshot).unwrap();
            client.volumes.resize(vdi(1), 3 * PAGE).unwrap();
        },
        operation: |client| client.volumes.revert(vdi(1), vdi(2)).map(drop),
    },
    Case {
        name: "create a thin VDI",
        allocation: Allocation::Thin,
        prepare: |_| (),
        operation: |client| create(client, 1),
    },
    Case {
        name: "create a thick VDI",
        allocation: Allocation::Thick,
        prepare: |_| (),
        operation: |client| create(client, 1),
    },
    Case {
        name: "snapshot",
        allocation: Allocation::Thin,
        prepare: |client| create(client, 1).unwrap(),
        operation: |client| take(client, 1, 2, SnapshotKind::Snapshot),
    },
    Case {
        name: "clone",
        allocation: Allocation::Thin,
        prepare: |client| create(client, 1).unwrap(),
        operation: |client| take(client, 1, 2, SnapshotKind::Clone),
    },
    Case {
        name: "clone of a snapshot",
        allocation: Allocation::Thin,
        prepare: |client| {
            create(client, 1).unwrap();
            take(client, 1, 2, SnapshotKind::Snapshot).unwrap();
        },
        operation: |client| take(client, 2, 3, SnapshotKind::Clone),
    },
    Case {
        name: "grow a thick VDI",
        allocation: Allocation::Thick,
        prepare: |client| create(client, 1).unwrap(),
        operation: |client| client.volumes.resize(vdi(1), 2 * PAGE).map(drop),
    },
    Case {
        name: "delete",
        allocation: Allocation::Thin,
        prepare: |client| create(client, 1).unwrap(),
        operation: |client| client.volumes.delete(vdi(1)),
    },
    Case {
        name: "delete a VDI with a snapshot",
        allocation: Allocation::Thin,
        prepare: |client| {
            create(client, 1).unwrap();
            take(client, 1, 2, SnapshotKind::Snapshot).unwrap();
        },
        operation: |client| client.volumes.delete(vdi(1)),
    },
    Case {
        name: "delete the last snapshot of a deleted VDI",
        allocation: Allocation::Thin,
        prepare: |client| {
            create(client, 1).unwrap();
            take(client, 1, 2, SnapshotKind::Snapshot).unwrap();
            client.volumes.delete(vdi(1)).unwrap();
        },
        operation: |client| client.volumes.delete(vdi(2)),
    },
];

fn see(group: &EqualLogicEmulator, client: &ArrayClient) -> Seen {
    // The first look sees to what was left, the second one what there is then.
    client.volumes.conceal_leftovers().unwrap();
    client.volumes.list().unwrap();
    let listing = client.volumes.list().unwrap();
    assert!(listing.damaged.is_empty(), "{:?}", listing.damaged);
    let pages = listing
        .volumes
        .iter()
        .map(|volume| (volume.vdi, volume.virtual_size / PAGE));
    let volumes: Vec<(String, usize)> = group
        .state()
        .group
        .volumes
        .iter()
        .map(|(name, volume)| (name.clone(), volume.snapshots.len()))
        .collect();
    let volumes = volumes.into_iter().map(|(name, snapshots)| {
        let file = group.volume_file(&name).unwrap();
        (name, (snapshots, bytes_at(&file, 0, 1)[0]))
    });
    (pages.collect(), volumes.collect())
}

/// Gives the first byte of VDI 1, if there is one, another value than its snapshots have.
fn write(group: &EqualLogicEmulator) {
    let digits = vdi(1).simple().to_string();
    let name = format!("XenStorage{}{}", sr(1).simple(), &digits[..20]);
    if let Some(file) = group.volume_file(&name) {
        let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[7], 0).unwrap();
    }
}

/// True for what there is after a case. A revert that was cut off may leave the snapshot that the group made, which is not known for sure.
fn is_after(case: &Case, seen: &Seen, after: &Seen) -> bool {
    let mut others = seen.clone();
    if case.name.starts_with("revert") {
        for (name, (snapshots, _)) in &mut others.1 {
            *snapshots = (*snapshots).min(after.1.get(name).map_or(0, |it| it.0));
        }
        let count = |seen: &Seen| seen.1.values().map(|it| it.0).sum::<usize>();
        assert!(count(seen) <= count(after) + 1, "{seen:#?}");
    }
    others == *after
}

fn group_with_foreigners() -> EqualLogicEmulator {
    let group = EqualLogicEmulator::start_with_data(Options::default());
    let group = group.unwrap_or_else(|| EqualLogicEmulator::start(Options::default()));
    let other = ArrayClient::new(&group, sr(2), Allocation::Thin);
    other.make_sr(sr(2), Allocation::Thin);
    create(&other, 1).unwrap();
    group
}

/// The group of a case, and a client of it that lives; others that live use its sessions.
struct World<'a> {
    case: &'a Case,
    group: EqualLogicEmulator,
    living: ArrayClient,
}

impl World<'_> {
    fn next(&self) -> ArrayClient {
        self.living
            .another(&self.group, sr(1), self.case.allocation)
    }

    /// Runs the case to its end, or to the death of the client after a command; true when it died.
    fn run(&self, last: Option<usize>) -> (bool, Seen) {
        (self.case.prepare)(&self.next());
        write(&self.group);
        let Some(last) = last else {
            (self.case.operation)(&self.next()).unwrap();
            return (false, see(&self.group, &self.next()));
        };
        let mortal = ArrayClient::new(&self.group, sr(1), self.case.allocation);
        mortal.dies_after(last);
        let result = (self.case.operation)(&mortal);
        let is_dead = mortal.is_dead();
        assert!(is_dead || result.is_ok(), "{}: {result:?}", self.case.name);
        drop(mortal);
        (is_dead, see(&self.group, &self.next()))
    }

    fn clean(&self) {
        let client = self.next();
        // A volume goes with no snapshot of others.
        for volume in self.group.state().group.volumes.values_mut() {
            volume.snapshots.retain(|own| own.name.len() == 62);
        }
        // Volumes go with their last snapshots, which are not visible before them.
        for _ in 0..2 {
            for volume in client.volumes.list().unwrap().volumes {
                client.volumes.delete(volume.vdi).unwrap();
            }
        }
        assert_eq!(client.volumes.empty().unwrap(), None);
    }
}

fn check(case: &Case) {
    let group = group_with_foreigners();
    let living = ArrayClient::new(&group, sr(1), case.allocation);
    living.make_sr(sr(1), case.allocation);
    (case.prepare)(&living);
    write(&group);
    let before = see(&group, &living);
    let world = World {
        case,
        group,
        living,
    };
    world.clean();
    let (_, after) = world.run(None);
    world.clean();
    assert_ne!(before, after, "{}", case.name);
    for number in 1..MOST_COMMANDS {
        // What a death before a command leaves is what one after the command before it leaves.
        let (is_dead, seen) = world.run(Some(number));
        let place = format!("{} dies after its command {number}", case.name);
        assert!(
            seen == before || is_after(case, &seen, &after),
            "{place}: {seen:#?} is neither {before:#?} nor {after:#?}"
        );
        // The same again, by a client that lives: a retry ends after.
        let client = world.next();
        if seen == before {
            (case.operation)(&client)
                .unwrap_or_else(|error| panic!("{place}, then: {}", error.chain_text()));
            assert_eq!(see(&world.group, &client), after, "{place}, then again");
        }
        let online = world
            .group
            .state()
            .group
            .volumes
            .values()
            .any(|volume| volume.online);
        assert!(!online, "{place}: a volume stays online");
        world.clean();
        if !is_dead {
            assert!(number > 1, "{} runs no command", case.name);
            return;
        }
    }
    panic!("{} runs more than {MOST_COMMANDS} commands", case.name);
}

/// At every command of every operation.
#[test]
fn a_client_may_die_at_any_command() {
    if EqualLogicEmulator::start_with_data(Options::default()).is_none() {
        return;
    }
    std::thread::scope(|scope| {
        for case in &CASES {
            scope.spawn(move || check(case));
        }
    });
}

/// The connection is cut at any command of an operation whose client lives: it finds out what became of the command, and the
/// operation ends well, or leaves the state before it or after it.
#[test]
fn connections_may_be_cut_at_any_command() {
    let thin = CASES
        .iter()
        .filter(|case| case.allocation == Allocation::Thin);
    let cases = thin
        .filter(|case| ["create a thin VDI", "snapshot", "delete", "revert"].contains(&case.name));
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(move || cut_everywhere(case));
        }
    });
}

fn cut_everywhere(case: &Case) {
    let group = group_with_foreigners();
    let living = ArrayClient::new(&group, sr(1), case.allocation);
    living.make_sr(sr(1), case.allocation);
    (case.prepare)(&living);
    write(&group);
    let before = see(&group, &living);
    let world = World {
        case,
        group,
        living,
    };
    world.clean();
    let (_, after) = world.run(None);
    for number in 1..MOST_COMMANDS {
        let mut was_cut = false;
        for cut in [Cut::Before, Cut::After, Cut::Midway] {
            world.clean();
            (case.prepare)(&world.next());
            write(&world.group);
            world.group.cut(cut, number);
            let result = (case.operation)(&world.next());
            was_cut |= !world.group.calm();
            let place = format!("{}, cut {cut:?} command {number}", case.name);
            let seen = see(&world.group, &world.next());
            match result {
                Ok(()) => assert!(is_after(case, &seen, &after), "{place}: {seen:#?}"),
                Err(_) => assert!(
                    seen == before || is_after(case, &seen, &after),
                    "{place}: {seen:#?}"
                ),
            }
        }
        if !was_cut {
            return;
        }
    }
    panic!("{} runs more than {MOST_COMMANDS} commands", case.name);
}

/// What an open VDI leaves when its client dies is taken out of sight by the next one.
#[test]
fn what_was_open_is_concealed() {
    let group = EqualLogicEmulator::start(Options::default());
    let client = ArrayClient::new(&group, sr(1), Allocation::Thin);
    client.make_sr(sr(1), Allocation::Thin);
    create(&client, 1).unwrap();
    client
        .volumes
        .expose(vdi(1), INITIATOR, OpenMode::ReadWrite)
        .unwrap();
    client
        .volumes
        .expose(vdi(1), INITIATOR, OpenMode::ReadWrite)
        .unwrap();
    let look = || {
        let state = group.state();
        let volumes = state.group.volumes.values();
        let own = volumes.max_by_key(|volume| volume.name.len()).unwrap();
        (own.online, own.records.len())
    };
    assert_eq!(look(), (true, 1), "looked up before it is made");
    drop(client);
    let next = ArrayClient::new(&group, sr(1), Allocation::Thin);
    next.volumes.conceal_leftovers().unwrap();
    assert_eq!(look(), (false, 0));
}
