//! What a group, its other users and a crash at the wrong moment may do to an SR.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use testkit::equallogic::{Cut, EqualLogicEmulator, Options};
use uuid::Uuid;

use super::access;
use super::description::{Allocation, State, VdiNote};
use super::error::CliError;
use super::group::{Group, Object};
use super::names;
use super::screen::Answer;
use super::sessions::{Command, Dial, Sessions, Shell};
use super::size::PAGE;
use super::sr_volume::SrVolume;
use super::ssh::SshDial;
use super::volumes::{EqualOptions, EqualVolumes, lock};
use crate::Secret;
use crate::array::{ArrayError, DataPath, Exposure, OpenVolume, VolumeArray};
use crate::medium::iscsi::Credentials;
use crate::medium::memory_device::{Medium, MemoryPath};
use crate::sr::{NewVdi, OpenMode, SnapshotHints, SnapshotKind};

const INITIATOR: &str = "iqn.2026-11.org.example:attacks";
const SR: Uuid = Uuid::from_u128(0x5e << 120 | 1);
const PAGES: usize = PAGE as usize;

fn vdi(number: u128) -> Uuid {
    Uuid::from_u128(0x0d1 << 116 | number << 64 | 7)
}

fn name(number: u128) -> String {
    names::volume(SR, vdi(number))
}

/// What a test does before a command is run.
type Hook = Box<dyn Fn(&str) + Send + Sync>;

#[derive(Default)]
struct Hooks(Mutex<Option<Hook>>);

struct HookedDial(SshDial, Arc<Hooks>);

impl std::fmt::Debug for HookedDial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

struct HookedShell(Box<dyn Shell>, Arc<Hooks>);

impl Dial for HookedDial {
    fn address(&self) -> String {
        self.0.address()
    }

    fn dial(&self) -> Result<Box<dyn Shell>, CliError> {
        Ok(Box::new(HookedShell(self.0.dial()?, self.1.clone())))
    }
}

impl Shell for HookedShell {
    fn run(&mut self, command: &Command) -> Result<Answer, CliError> {
        if let Some(hook) = self.1.0.lock().unwrap().as_ref() {
            hook(&command.text);
        }
        self.0.run(command)
    }

    fn is_alive(&mut self) -> bool {
        self.0.is_alive()
    }
}

/// The bytes of volumes.
#[derive(Debug, Default)]
struct Memory(Mutex<HashMap<Uuid, Arc<Medium>>>);

impl DataPath for Memory {
    fn open(&self, _exposure: &Exposure, vdi: Uuid) -> Result<OpenVolume, ArrayError> {
        let medium = self.0.lock().unwrap()[&vdi].clone();
        Ok(OpenVolume::of_device(MemoryPath::new(&medium, "memory")))
    }
}

struct World {
    emulator: EqualLogicEmulator,
    group: Group,
    sessions: Arc<Sessions>,
    hooks: Arc<Hooks>,
    memory: Arc<Memory>,
    volumes: Arc<EqualVolumes>,
}

impl World {
    fn new() -> Self {
        Self::with(None)
    }

    fn with(credentials: Option<Credentials>) -> Self {
        let emulator = EqualLogicEmulator::start(Options::default());
        let host = emulator.address().to_string();
        let password = Secret::new(Options::default().password);
        let dial = SshDial::new(&host, emulator.ssh_port(), "grpadmin", password, None);
        let hooks = Arc::new(Hooks::default());
        let sessions = Arc::new(Sessions::new(Arc::new(HookedDial(dial, hooks.clone()))));
        let group = Group::new(sessions.clone());
        let memory = Arc::new(Memory::default());
        let options = EqualOptions {
            sr: SR,
            pool: "default".to_owned(),
            allocation: Allocation::Thin,
            portal: (host, 3260),
            credentials,
            initiator: INITIATOR.to_owned(),
        };
        let management = SrVolume {
            sr: SR,
            pool: "default".to_owned(),
            allocation: Allocation::Thin,
        };
        management.make(&group).unwrap();
        let volumes = Arc::new(EqualVolumes::new(group.clone(), options, memory.clone()));
        World {
            emulator,
            group,
            sessions,
            hooks,
            memory,
            volumes,
        }
    }

    fn create(&self, number: u128, pages: u64, allocation: &str) -> Result<(), ArrayError> {
        let sm_config = [("allocation".to_owned(), allocation.to_owned())].into();
        let new = NewVdi {
            uuid: vdi(number),
            virtual_size: pages * PAGE,
            sm_config,
        };
        self.volumes.create(&new).map(drop)
    }

    /// Makes a thick VDI whose bytes are these from then on.
    fn create_thick(&self, number: u128, pages: usize, byte: u8) -> Arc<Medium> {
        let medium = Medium::new(pages * PAGES);
        let media = &self.memory.0;
        media.lock().unwrap().insert(vdi(number), medium.clone());
        self.create(number, pages as u64, "thick").unwrap();
        medium.live.lock().unwrap().fill(byte);
        medium
    }

    fn hook(&self, hook: impl Fn(&str) + Send + Sync + 'static) {
        *self.hooks.0.lock().unwrap() = Some(Box::new(hook));
    }

    fn snapshot(&self, source: u128, new: u128) -> Result<(), ArrayError> {
        let hints = SnapshotHints::default();
        let kind = SnapshotKind::Snapshot;
        let made = self.volumes.snapshot(vdi(source), vdi(new), kind, &hints)?;
        assert_eq!(made.vdi, vdi(new));
        Ok(())
    }

    fn set_size(&self, number: u128, pages: u64) {
        let mut state = self.emulator.state();
        state.group.volumes.get_mut(&name(number)).unwrap().size = pages * PAGE;
    }

    fn description(&self, number: u128) -> String {
        self.emulator.state().group.volumes[&name(number)]
            .description
            .clone()
    }

    fn listed(&self) -> Vec<Uuid> {
        let listing = self.volumes.list().unwrap();
        listing.volumes.iter().map(|volume| volume.vdi).collect()
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// What a growth that was cut off left behind the end gets into no snapshot, and nobody changes or deletes what is being copied.
#[test]
fn a_copy_has_nothing_of_others_and_its_source_stays() {
    let world = World::new();
    let medium = world.create_thick(1, 1, 0xaa);
    world.set_size(1, 2);
    medium.live.lock().unwrap().resize(2 * PAGES, 0xee);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (claims, noted) = (world.volumes.claims.clone(), seen.clone());
    let bytes = medium.clone();
    world.hook(move |command| {
        if command.contains("snapshot create-now") {
            let is_clean = is_zero(&bytes.live.lock().unwrap()[PAGES..]);
            let is_claimed = claims.try_for(vdi(1)).is_none();
            noted.lock().unwrap().push((is_clean, is_claimed));
        }
    });
    world.snapshot(1, 2).unwrap();
    assert_eq!(*seen.lock().unwrap(), [(true, true)]);
    assert_eq!(medium.live.lock().unwrap()[..PAGES], vec![0xaa; PAGES]);
    assert_eq!(
        world.volumes.find(vdi(2)).unwrap().unwrap().virtual_size,
        2 * PAGE
    );
    assert!(world.volumes.claims.try_for(vdi(1)).is_some());
}

/// Pages that an administrator took from a volume may have been somebody's when a growth brings others in their place.
#[test]
fn pages_that_come_back_are_zeros() {
    let world = World::new();
    let medium = world.create_thick(1, 2, 0xaa);
    world.set_size(1, 1);
    medium.live.lock().unwrap().truncate(PAGES);
    let bytes = medium.clone();
    world.hook(move |command| {
        if command.contains(" size ") {
            bytes.live.lock().unwrap().resize(3 * PAGES, 0xee);
        }
    });
    let grown = world.volumes.resize(vdi(1), 3 * PAGE).unwrap();
    assert_eq!(grown.virtual_size, 3 * PAGE);
    let bytes = medium.live.lock().unwrap();
    assert!(is_zero(&bytes[PAGES..]));
    assert_eq!(bytes[..PAGES], vec![0xaa; PAGES]);
}

/// A creation whose command is lost finds the volume of another one with the same uuid, and leaves it as it is.
#[test]
fn a_volume_that_is_there_is_not_made_zeros() {
    let world = World::new();
    let medium = world.create_thick(1, 1, 0xaa);
    world.emulator.cut(Cut::Before, 1);
    let refused = world.create(1, 1, "thick").unwrap_err();
    assert!(matches!(refused, ArrayError::Exists { .. }), "{refused:?}");
    assert_eq!(*medium.live.lock().unwrap(), vec![0xaa; PAGES]);
    world.create(2, 1, "thin").unwrap();
    world.emulator.cut(Cut::Before, 1);
    let refused = world.create(2, 5, "thin").unwrap_err();
    assert!(matches!(refused, ArrayError::Exists { .. }), "{refused:?}");
    assert_eq!(world.listed().len(), 2);
}

/// A snapshot that has the Description of its volume is somebody else's, whatever its name is.
#[test]
fn a_snapshot_with_the_note_of_its_volume_is_left_alone() {
    let world = World::new();
    world.create(1, 1, "thin").unwrap();
    let own = world
        .group
        .snapshot(&name(1), &world.description(1))
        .unwrap();
    let own = own.unwrap();
    for _ in 0..2 {
        assert_eq!(world.listed(), [vdi(1)]);
    }
    assert_eq!(world.group.snapshot_names(&name(1)).unwrap(), [own]);
    // Somebody gave it the name too.
    let mut state = world.emulator.state();
    state.group.volumes.get_mut(&name(1)).unwrap().snapshots[0].name = name(1);
    drop(state);
    let listing = world.volumes.list().unwrap();
    assert_eq!((listing.volumes.len(), listing.damaged.len()), (1, 1));
    assert!(!listing.volumes[0].read_only);
    assert!(!world.volumes.find(vdi(1)).unwrap().unwrap().read_only);
    let open = world
        .volumes
        .expose(vdi(1), INITIATOR, OpenMode::ReadWrite)
        .unwrap();
    assert_eq!(open.limit, Some(PAGE));
}

/// A snapshot of a call that was cut off is in the first listing, so that who deletes it finds it.
#[test]
fn a_snapshot_without_its_name_is_listed_at_once() {
    let world = World::new();
    world.create(1, 1, "thin").unwrap();
    let note = VdiNote {
        uuid: vdi(2),
        is_deleted: false,
        state: State::Live,
        pages: 1,
        allocation: Allocation::Thin,
    };
    world
        .group
        .snapshot(&name(1), &note.to_text(&name(2)))
        .unwrap();
    assert_eq!(world.listed(), [vdi(1), vdi(2)]);
}

/// A volume that was never finished goes, but not with a snapshot that somebody made of it.
#[test]
fn snapshots_of_others_keep_what_is_not_finished() {
    let world = World::new();
    for number in [1, 2] {
        world.create(number, 1, "thin").unwrap();
        let note = VdiNote::parse(&world.description(number), &name(number)).unwrap();
        let state = State::New;
        let text = VdiNote { state, ..note }.to_text(&name(number));
        world.group.describe(&name(number), &text).unwrap();
    }
    world.group.snapshot(&name(1), "mine").unwrap();
    assert!(world.listed().is_empty());
    let state = world.emulator.state();
    let left: Vec<&String> = state.group.volumes.keys().collect();
    assert_eq!(left, [&names::management(SR), &name(1)]);
}

/// What others do with snapshots while a VDI is reverted: none of theirs goes, whether the revert is known to be done or not.
#[test]
fn a_revert_leaves_snapshots_of_others() {
    let world = World::new();
    world.create(1, 2, "thin").unwrap();
    world.group.snapshot(&name(1), "before").unwrap();
    world.snapshot(1, 2).unwrap();
    let (sessions, volumes) = (world.sessions.clone(), world.volumes.clone());
    let names = || world.group.snapshot_names(&name(1)).unwrap();
    let before = names();
    volumes.revert(vdi(1), vdi(2)).unwrap();
    assert_eq!(names(), before);
    // One comes just before the group makes its own: which is whose is not known.
    let other = Group::new(Arc::new(Sessions::new(Arc::new(SshDial::new(
        &world.emulator.address().to_string(),
        world.emulator.ssh_port(),
        "grpadmin",
        Secret::new(Options::default().password),
        None,
    )))));
    let once = Mutex::new(true);
    world.hook(move |command| {
        if command.ends_with(" restore") && std::mem::take(&mut *once.lock().unwrap()) {
            other.snapshot(&name(1), "meanwhile").unwrap();
        }
    });
    volumes.revert(vdi(1), vdi(2)).unwrap();
    assert_eq!(names().len(), before.len() + 2);
    // The group refuses: the VDI is as it was.
    *world.hooks.0.lock().unwrap() = None;
    let text = world.description(1);
    let log = world.emulator.log().len();
    volumes.revert(vdi(1), vdi(2)).unwrap();
    let ran = world.emulator.log().split_off(log);
    let place = ran.iter().position(|command| command.contains("restore"));
    world
        .emulator
        .fail(place.unwrap() + 1, "% Error - out of order");
    let now = names();
    // One question was asked since, which counts.
    world.emulator.calm();
    world
        .emulator
        .fail(place.unwrap() + 1, "% Error - out of order");
    volumes.revert(vdi(1), vdi(2)).unwrap_err();
    assert!(!world.emulator.calm(), "it has struck");
    assert_eq!((names(), world.description(1)), (now, text.clone()));
    // A client dies before it tells the group to, and somebody makes one before the next client looks.
    let note = VdiNote::parse(&text, &name(1)).unwrap();
    let state = State::Revert {
        before: super::names::sum_of_all(names().iter()),
        pages: note.pages,
    };
    let reverting = VdiNote { state, ..note }.to_text(&name(1));
    world.group.describe(&name(1), &reverting).unwrap();
    world.group.snapshot(&name(1), "after a death").unwrap();
    let now = names();
    world.listed();
    assert_eq!((names(), world.description(1)), (now, text));
    drop(sessions);
}

/// A growth that was cut off is ended although the group shows sizes so roughly that it cannot be seen.
#[test]
fn a_growth_that_cannot_be_seen_is_ended() {
    let world = World::new();
    let medium = world.create_thick(1, 2, 0xaa);
    let note = VdiNote::parse(&world.description(1), &name(1)).unwrap();
    for is_resized in [false, true] {
        let has = note.pages + u64::from(is_resized);
        let growing = VdiNote {
            state: State::Grow { pages: has + 1 },
            pages: has,
            ..note
        };
        let text = growing.to_text(&name(1));
        world.group.describe(&name(1), &text).unwrap();
        if is_resized {
            world.set_size(1, has + 1);
        }
        let bytes = medium.clone();
        bytes
            .live
            .lock()
            .unwrap()
            .resize((has as usize + 1) * PAGES, 0xee);
        let found = world.volumes.find(vdi(1)).unwrap().unwrap();
        assert_eq!(found.virtual_size, has * PAGE);
        let exposed = world.volumes.expose(vdi(1), INITIATOR, OpenMode::ReadWrite);
        assert_eq!(exposed.unwrap().limit, Some((has + 1) * PAGE));
        assert!(is_zero(
            &medium.live.lock().unwrap()[has as usize * PAGES..]
        ));
        world.volumes.conceal(vdi(1), INITIATOR).unwrap();
    }
    // There is no room any more: it is as before, and can be opened.
    let note = VdiNote::parse(&world.description(1), &name(1)).unwrap();
    assert_eq!((note.state, note.pages), (State::Live, 4));
    let state = State::Grow { pages: 400 };
    let text = VdiNote { state, ..note }.to_text(&name(1));
    world.group.describe(&name(1), &text).unwrap();
    world.emulator.fill_pool("default", 1);
    let exposed = world.volumes.expose(vdi(1), INITIATOR, OpenMode::ReadWrite);
    assert_eq!(exposed.unwrap().limit, Some(4 * PAGE));
    assert_eq!(world.description(1), note.to_text(&name(1)));
}

/// The same of the volume that says that there is an SR.
#[test]
fn snapshots_of_others_keep_the_management_volume() {
    let world = World::new();
    let sr = SrVolume::find(&world.group, SR).unwrap().unwrap();
    let name = names::management(SR);
    let reserve = Command::new(format!("volume select {name} snap-reserve 100%"));
    world.sessions.tell(&reserve).unwrap();
    let own = world.group.snapshot(&name, "mine").unwrap().unwrap();
    let refused = sr.remove(&world.group).unwrap_err();
    let count_is_told = matches!(refused, CliError::Snapshots { count: 1, .. });
    assert!(count_is_told, "{refused:?}");
    let left = world.group.snapshot_names(&name).unwrap();
    assert_eq!(left, std::slice::from_ref(&own));
    let snapshot = Object::Snapshot(&name, &own);
    world.group.set_online(snapshot, false).unwrap();
    world.group.delete(snapshot).unwrap();
    sr.remove(&world.group).unwrap();
    assert_eq!(SrVolume::find(&world.group, SR).unwrap(), None);
    sr.remove(&world.group).unwrap();
}

/// What was exposed while the volumes were looked at is known after, and its volume's access records stay.
#[test]
fn a_listing_forgets_nothing_that_is_in_use() {
    let world = World::new();
    world.create(1, 1, "thin").unwrap();
    let cell: Arc<OnceLock<Weak<EqualVolumes>>> = Arc::default();
    cell.set(Arc::downgrade(&world.volumes)).unwrap();
    world.hook(move |command| {
        if command == "volume show" {
            let volumes = cell.get().and_then(Weak::upgrade).unwrap();
            lock(&volumes.bases).insert(vdi(2), name(1));
            lock(&volumes.exposed).insert(vdi(2));
        }
    });
    world.volumes.list().unwrap();
    assert_eq!(lock(&world.volumes.bases).get(&vdi(2)), Some(&name(1)));
}

/// Records of a volume are changed by one call at a time; those of ours with another account, or in another case, do not stay.
#[test]
fn access_records_are_of_one_account() {
    let credentials = Credentials {
        user: "tom".to_owned(),
        password: Secret::new("a secret of tom"),
    };
    let world = World::with(Some(credentials));
    let chap = Command::new("chapuser create tom password asecretoftom");
    world.sessions.tell(&chap).unwrap();
    world.create(1, 1, "thin").unwrap();
    let upper = INITIATOR.replace("attacks", "ATTACKS");
    world.group.allow(&name(1), &upper, None).unwrap();
    let seen = Arc::new(Mutex::new(0));
    let (families, noted) = (world.volumes.families.clone(), seen.clone());
    world.hook(move |command| {
        if command.contains(" access ") {
            assert!(families.try_for(names::family(&name(1))).is_none());
            *noted.lock().unwrap() += 1;
        }
    });
    let exposure = world
        .volumes
        .expose(vdi(1), INITIATOR, OpenMode::ReadWrite)
        .unwrap();
    assert!(!format!("{exposure:?}").contains("a secret"));
    *world.hooks.0.lock().unwrap() = None;
    let users: Vec<_> = world.group.access(&name(1)).unwrap();
    let users: Vec<_> = users
        .iter()
        .map(|record| record.chap_user.as_deref())
        .collect();
    assert_eq!(users, [Some("tom")]);
    world.group.allow(&name(1), &upper, None).unwrap();
    world.volumes.conceal(vdi(1), INITIATOR).unwrap();
    assert_eq!(world.group.access(&name(1)).unwrap(), []);
    assert!(*seen.lock().unwrap() >= 3);
}

/// A dial that answers every command with the same lines, or must not be used.
#[derive(Debug)]
struct Canned(Option<&'static str>);

struct CannedShell(&'static str);

impl Dial for Canned {
    fn address(&self) -> String {
        "nowhere".to_owned()
    }

    fn dial(&self) -> Result<Box<dyn Shell>, CliError> {
        Ok(Box::new(CannedShell(self.0.expect("nothing is run"))))
    }
}

impl Shell for CannedShell {
    fn run(&mut self, command: &Command) -> Result<Answer, CliError> {
        let screen = format!("{}\n{}group-0> ", command.text, self.0);
        Answer::of(&screen, &command.text)
    }

    fn is_alive(&mut self) -> bool {
        true
    }
}

/// A volume of which a group does not say how many snapshots it has would be deleted with them.
#[test]
fn a_volume_must_say_how_many_snapshots_it_has() {
    let body = "___ Volume Information ___\nName: x\nSize: 15MB\niSCSI Name: iqn.x\nStatus: offline\nConnections: 0\nSnapshots: 3\n";
    let show = |body: &'static str| {
        let group = Group::new(Arc::new(Sessions::new(Arc::new(Canned(Some(body))))));
        group.show(Object::Volume("x"))
    };
    assert_eq!(show(body).unwrap().unwrap().snapshots, 3);
    for key in ["Snapshots", "Connections"] {
        let lines = body.split_inclusive('\n');
        let without: String = lines.filter(|line| !line.starts_with(key)).collect();
        let answer = show(Box::leak(without.into_boxed_str()));
        assert!(
            matches!(answer, Err(CliError::Unreadable { .. })),
            "{answer:?}"
        );
    }
}

/// No text that somebody else chose ends a command, or begins another one.
#[test]
fn no_text_is_a_command_of_its_own() {
    let sessions = Arc::new(Sessions::new(Arc::new(Canned(None))));
    let group = Group::new(sessions.clone());
    let is_refused = |result: Result<(), CliError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, CliError::Untypable { .. }), "{error:?}");
    };
    for bad in [
        "a\rvolume delete b",
        "a\nb",
        "a\" offline",
        "a;b",
        "a\u{1b}",
        "a?b",
        "",
    ] {
        is_refused(group.pool_space(bad).map(drop));
        is_refused(group.allow("v", bad, None));
        is_refused(group.allow("v", "iqn.x", Some(bad)));
        is_refused(group.rename_snapshot("v", bad, "new"));
    }
    for bad in ["a\rb", "a\nb", "\u{3}", "a\u{7f}", "\u{e9}"] {
        is_refused(sessions.tell(&Command::new(bad)).map(drop));
        is_refused(sessions.ask(&Command::new(bad)).map(drop));
    }
}

/// Names that are longer than their column push the rest to the right, with and without the rest of the name in the next line.
#[test]
fn records_of_long_names_are_found_again() {
    let header = "ID  Initiator       Ipaddress       AuthMethod UserName   Apply-To\n--- --------------- --------------- ---------- ---------- --------\n";
    let whole = "1   iqn.1993-08.org.debian:01:222 *.*.*.*         none                  both\n12  iqn.2001.a:b    *.*.*.*         chap       tom        both\n3   iqn.1993-08.org.debian:01:333-three *.*.*.* chap tom both\n";
    let answer = Answer::of_lines(&format!("{header}{whole}"));
    let records = access::records(&answer);
    let read: Vec<_> = records
        .iter()
        .map(|it| (it.id, it.initiator.as_deref(), it.chap_user.as_deref()))
        .collect();
    let long = "iqn.1993-08.org.debian:01:222";
    assert_eq!(
        read,
        [
            (1, Some(long), None),
            (12, Some("iqn.2001.a:b"), Some("tom")),
            (3, Some("iqn.1993-08.org.debian:01:333-three"), Some("tom")),
        ]
    );
    let broken =
        "1   iqn.1993-08.org.deb *.*.*.*         none                  both\n        ian:01:222\n";
    let answer = Answer::of_lines(&format!("{header}{broken}"));
    let records = access::records(&answer);
    assert_eq!(records.len(), 1);
    assert!(records[0].is_of(&long.to_uppercase()), "{records:?}");
}
