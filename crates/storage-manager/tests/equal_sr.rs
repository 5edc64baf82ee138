//! SR type `equal` against an emulated group, whose volumes are served by a target that somebody else wrote.

#![allow(clippy::unwrap_used)] // helpers of tests fail the test

#[path = "equal/crash.rs"]
mod crash;
#[path = "equal/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use nbd::Export;
use storage_manager::array::VolumeArray;
use storage_manager::array::equallogic::Allocation;
use storage_manager::sr::{
    AttachedSr, EqualSr, KeptLabels, OpenMode, SnapshotKind, SrLabels, SrType, VdiLabels,
};
use testkit::equallogic::{EqualLogicEmulator, Options, Refused, Role};
use world::{ArrayClient, PAGE, bytes_at, number, params, sr, vdi, wish};

fn attached(
    driver: &EqualSr,
    group: &EqualLogicEmulator,
    sr_number: u128,
    more: &[(&str, &str)],
) -> Arc<dyn AttachedSr> {
    let params = params(group, sr(sr_number), more);
    driver.create(&params).unwrap();
    driver.attach(&params).unwrap()
}

fn open(sr: &Arc<dyn AttachedSr>, number: u128, mode: OpenMode) -> Arc<dyn Export> {
    sr.open_vdi(vdi(number), mode)
        .unwrap_or_else(|failure| panic!("VDI {number}: {failure}"))
}

fn read(export: &Arc<dyn Export>, offset: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    export.read_at(&mut bytes, offset).unwrap();
    bytes
}

fn visible(sr: &Arc<dyn AttachedSr>) -> Vec<uuid::Uuid> {
    let report = sr.scan().unwrap();
    assert!(report.damaged.is_empty(), "{:?}", report.damaged);
    let mut found: Vec<_> = report.vdis.iter().map(|vdi| vdi.uuid).collect();
    found.sort();
    found
}

#[test]
fn what_is_configured_wrongly_is_said() {
    let group = EqualLogicEmulator::start(Options {
        pools: vec![("fast".to_owned(), 1 << 39)],
        ..Options::default()
    });
    let driver = EqualSr::default();
    let create = |more: &[(&str, &str)]| driver.create(&params(&group, sr(1), more));
    for (more, expected) in [
        (&[("target", "")][..], 160),
        (&[("username", "")], 161),
        (&[("password", "")], 162),
        (&[("storagepool", "")], 163),
        (&[("storagepool", "slow")], 172),
        (&[("storagepool", "a\"b")], 172),
        (&[("controlport", "0")], 142),
        (&[("controlport", "1")], 171),
        (&[("target", "no-such-host.invalid")], 140),
        (&[("password", "a wrong one")], 171),
        (&[("chapuser", "somebody")], 68),
        (&[("ssh_host_key", "SHA256:another")], 171),
        (&[("allocation", "some")], 1),
    ] {
        let failure = create(more).unwrap_err();
        assert_eq!(
            failure.backend_number(),
            Some(expected),
            "{more:?}: {failure}"
        );
        assert!(!failure.to_string().contains("wrong one"), "{failure}");
    }
    let document = create(&[("storagepool", "")])
        .unwrap_err()
        .params
        .pop()
        .unwrap();
    for entry in [
        "<StoragePool>\n\t\t<Name>default</Name>\n\t\t<Default>true</Default>\n\t\t<Members>1</Members>\n\t\t<Volumes>0</Volumes>\n",
        "<Name>fast</Name>\n\t\t<Default>false</Default>",
    ] {
        assert!(document.contains(entry), "{document}");
    }
    group.set_firmware("V3.3.1");
    assert_eq!(number(create(&[])), Some(170));
    group.set_firmware("V5.0.2");
    let own = group.address();
    group.state().group.address = std::net::Ipv4Addr::new(10, 0, 0, 5);
    assert_eq!(number(create(&[])), Some(173));
    group.state().group.address = own;
    create(&[]).unwrap();
    create(&[]).unwrap();
    assert_eq!(
        group.state().group.volumes.len(),
        1,
        "the second try found what the first had made"
    );
    let unnamed = params(&group, sr(1), &[("localIQN", "")]);
    assert_eq!(number(driver.attach(&unnamed)), Some(97));
    let missing = driver.attach(&params(&group, sr(9), &[]));
    assert!(missing.is_err_and(|failure| failure.to_string().contains("management volume")));
}

#[test]
fn what_a_group_refuses_has_its_number() {
    let group = EqualLogicEmulator::start(Options::default());
    let driver = EqualSr::default();
    let sr = attached(&driver, &group, 1, &[("allocation", "thin")]);
    for (sm_config, expected) in [
        (("snap-reserve-percentage", "many"), 165),
        (("snap-depletion", "never"), 166),
    ] {
        let failure = sr
            .create_vdi(&wish(vdi(1), PAGE, &[sm_config]))
            .unwrap_err();
        assert_eq!(failure.backend_number(), Some(expected), "{failure}");
    }
    let made = sr.create_vdi(&wish(
        vdi(1),
        PAGE + 1,
        &[
            ("snap-reserve-percentage", "0"),
            ("snap-depletion", "volume-offline"),
        ],
    ));
    let made = made.unwrap();
    assert_eq!(made.virtual_size, 2 * PAGE);
    let expected = [
        ("allocation", "thin"),
        ("snap-depletion", "volume-offline"),
        ("snap-reserve-percentage", "0"),
    ];
    assert!(
        made.sm_config
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .eq(expected)
    );
    // No reserve at all: no room for a snapshot.
    assert_eq!(
        number(sr.snapshot_vdi(vdi(1), vdi(2), SnapshotKind::Snapshot)),
        Some(167)
    );
    sr.create_vdi(&wish(vdi(3), PAGE, &[])).unwrap();
    sr.snapshot_vdi(vdi(3), vdi(4), SnapshotKind::Snapshot)
        .unwrap();
    assert_eq!(
        number(sr.snapshot_vdi(vdi(4), vdi(5), SnapshotKind::Snapshot)),
        Some(168)
    );
    group.fill_pool("default", 3);
    assert_eq!(
        number(sr.create_vdi(&wish(vdi(6), 100 * PAGE, &[("allocation", "thick")]))),
        Some(167)
    );
    assert_eq!(visible(&sr).len(), 3);

    // Somebody edits a Description: nothing is done with that VDI, and it is not forgotten.
    let name = |number| {
        let vdi = vdi(number).simple().to_string();
        format!("XenStorage{}{}", world::sr(1).simple(), &vdi[..20])
    };
    let edited = name(1);
    let before = group.state().group.volumes[&edited].description.clone();
    group
        .state()
        .group
        .volumes
        .get_mut(&edited)
        .unwrap()
        .description = "my disk".to_owned();
    assert_eq!(number(sr.delete_vdi(vdi(1))), Some(175));
    assert_eq!(number(sr.stat_vdi(vdi(1))), Some(175));
    let report = sr.scan().unwrap();
    assert_eq!((report.vdis.len(), report.damaged.len()), (2, 1));
    group
        .state()
        .group
        .volumes
        .get_mut(&edited)
        .unwrap()
        .description = before;
    assert_eq!(visible(&sr).len(), 3);

    // A list without the management volume is not the whole: it makes no VDI go.
    let management = format!("XenStorage{}", world::sr(1).simple());
    let hidden = group.state().group.volumes.remove(&management).unwrap();
    assert_eq!(number(sr.scan()), Some(174));
    group.state().group.volumes.insert(management, hidden);

    // The group deletes a snapshot by itself.
    group
        .state()
        .group
        .volumes
        .get_mut(&name(3))
        .unwrap()
        .snapshots
        .clear();
    assert_eq!(visible(&sr).len(), 2);
    assert_eq!(sr.stat_vdi(vdi(4)).unwrap_err().code, "VDI_MISSING");
    sr.delete_vdi(vdi(4)).unwrap();

    group.add_account("looker", "looks only", Role::ReadOnly);
    let looker = EqualSr::default();
    let as_looker = [
        ("username", "looker"),
        ("password", "looks only"),
        ("allocation", "thin"),
    ];
    let seen = looker
        .attach(&params(&group, world::sr(1), &as_looker))
        .unwrap();
    assert_eq!(number(seen.create_vdi(&wish(vdi(7), PAGE, &[]))), Some(169));
}

#[test]
fn sessions_are_few_and_come_back() {
    let group = EqualLogicEmulator::start(Options::default());
    let driver = EqualSr::default();
    let sr = attached(&driver, &group, 1, &[("allocation", "thin")]);
    std::thread::scope(|scope| {
        for number in 0..6 {
            let sr = &sr;
            scope.spawn(move || sr.create_vdi(&wish(vdi(number), PAGE, &[])).unwrap());
        }
    });
    assert!(
        group.state().most_sessions <= 2,
        "{}",
        group.state().most_sessions
    );
    assert_eq!(visible(&sr).len(), 6);
    sr.detach().unwrap();
    for refused in [Refused::Disconnected, Refused::Told] {
        group.limit_sessions(7, 7, refused);
        let failure = EqualSr::default()
            .attach(&params(&group, world::sr(1), &[]))
            .map(drop)
            .unwrap_err();
        assert_eq!(failure.backend_number(), Some(164), "{failure}");
    }
    group.limit_sessions(7, 0, Refused::Told);
    // Idle sessions are ended by the group; the next command does not notice.
    let sr = driver
        .attach(&params(&group, world::sr(1), &[("allocation", "thin")]))
        .unwrap();
    group.log_out_idle(Some(Duration::from_millis(1500)));
    assert_eq!(visible(&sr).len(), 6);
    let ended = || (group.state().sessions == 0).then_some(());
    testkit::wait::until("the end of idle sessions", Duration::from_secs(60), ended);
    group.log_out_idle(None);
    sr.create_vdi(&wish(vdi(6), PAGE, &[])).unwrap();
    assert_eq!(visible(&sr).len(), 7);
    // Another key at the same address: somebody else, to whom no password is told.
    sr.detach().unwrap();
    let changes = sr.config_changes();
    let pinned = changes.device_config["ssh_host_key"].clone().unwrap();
    assert_eq!(pinned, group.host_key_fingerprint());
    group.change_host_key();
    let again =
        EqualSr::default().attach(&params(&group, world::sr(1), &[("ssh_host_key", &pinned)]));
    assert_eq!(number(again), Some(171));
}

/// What the last command met is told without asking the group, for all SRs of it; a refusal is an answer.
#[test]
fn a_group_that_does_not_answer_is_unhealthy() {
    let group = EqualLogicEmulator::start(Options::default());
    let driver = EqualSr::default();
    let thin = [("allocation", "thin")];
    let one = attached(&driver, &group, 1, &thin);
    let two = attached(&driver, &group, 2, &thin);
    assert_eq!(one.health(), None);
    for failing in [Refused::Disconnected, Refused::Told] {
        // Sessions that are idle would answer.
        one.detach().unwrap();
        let one = driver.attach(&params(&group, world::sr(1), &thin)).unwrap();
        group.limit_sessions(7, 7, failing);
        group.cut(testkit::equallogic::Cut::Before, 1);
        assert_eq!(number(one.scan()), Some(164));
        let commands = group.log().len();
        for sr in [&one, &two] {
            let health = sr.health().unwrap();
            assert!(health.contains("no free CLI session"), "{health}");
        }
        assert_eq!(group.log().len(), commands, "nobody was asked");
        group.limit_sessions(7, 0, failing);
        two.space().unwrap();
        assert_eq!((one.health(), two.health()), (None, None));
    }
    group.fill_pool("default", 3);
    let large = wish(vdi(1), 100 * PAGE, &[("allocation", "thick")]);
    assert_eq!(number(two.create_vdi(&large)), Some(167));
    assert_eq!(two.health(), None);
    drop(group);
    two.space().unwrap_err();
    assert!(two.health().is_some_and(|health| health.contains("127.")));
}

#[test]
fn a_vdi_lives_with_its_data() {
    let Some(group) = EqualLogicEmulator::start_with_data(Options::default()) else {
        return;
    };
    let driver = EqualSr::default();
    let sr = attached(&driver, &group, 1, &[]);
    sr.create_vdi(&wish(vdi(1), PAGE, &[])).unwrap();
    let disk = open(&sr, 1, OpenMode::ReadWrite);
    assert_eq!(disk.size(), PAGE);
    assert_eq!(
        sr.open_vdi(vdi(1), OpenMode::ReadWrite).err().unwrap().code,
        "VDI_IN_USE"
    );
    disk.write_at(b"first first firs", 4096).unwrap();
    sr.snapshot_vdi(vdi(1), vdi(2), SnapshotKind::Snapshot)
        .unwrap();
    disk.write_at(b"second second se", 4096).unwrap();
    sr.snapshot_vdi(vdi(1), vdi(3), SnapshotKind::Clone)
        .unwrap();

    // A snapshot is read at the same time as its volume, and never written.
    assert_eq!(
        sr.open_vdi(vdi(2), OpenMode::ReadWrite)
            .err()
            .map(|failure| failure.code.is_empty()),
        Some(false)
    );
    let snapshot = open(&sr, 2, OpenMode::ReadOnly);
    assert_eq!(&read(&snapshot, 4096), b"first first firs");
    assert_eq!(&read(&disk, 4096), b"second second se");
    snapshot.close().unwrap();
    assert_eq!(
        &read(&disk, 4096),
        b"second second se",
        "the volume is still let in"
    );

    // Growing, with a consumer.
    let grown = sr.resize_vdi(vdi(1), 2 * PAGE).unwrap();
    assert_eq!((grown.virtual_size, disk.size()), (2 * PAGE, 2 * PAGE));
    disk.write_at(b"behind the end??", PAGE + 4096).unwrap();
    assert_eq!(number(sr.resize_vdi(vdi(1), PAGE)), Some(79));
    disk.close().unwrap();

    // A clone is a volume of its own, also of a snapshot.
    sr.snapshot_vdi(vdi(2), vdi(4), SnapshotKind::Clone)
        .unwrap();
    for (number, expected) in [(3, b"second second se"), (4, b"first first firs")] {
        let clone = open(&sr, number, OpenMode::ReadWrite);
        assert_eq!(&read(&clone, 4096), expected);
        clone.close().unwrap();
    }

    // The VDI takes the content and the size that the snapshot has, unless somebody has one of them open.
    let snapshot = open(&sr, 2, OpenMode::ReadOnly);
    assert_eq!(
        sr.revert_vdi(vdi(1), vdi(2)).unwrap_err().code,
        "VDI_IN_USE"
    );
    snapshot.close().unwrap();
    for _ in 0..2 {
        let reverted = sr.revert_vdi(vdi(1), vdi(2)).unwrap();
        assert_eq!(
            (reverted.new.uuid, reverted.new.virtual_size),
            (vdi(1), PAGE)
        );
    }
    let snapshots = |group: &EqualLogicEmulator| -> usize {
        let state = group.state();
        let volumes = state.group.volumes.values();
        volumes.map(|volume| volume.snapshots.len()).sum()
    };
    assert_eq!(snapshots(&group), 1, "those of the group are gone");
    assert_eq!(
        sr.revert_vdi(vdi(1), vdi(3)).unwrap_err().code,
        "SR_OPERATION_NOT_SUPPORTED",
        "a clone is no snapshot"
    );
    let disk = open(&sr, 1, OpenMode::ReadWrite);
    assert_eq!(&read(&disk, 4096), b"first first firs");
    assert_eq!(disk.size(), PAGE);
    sr.resize_vdi(vdi(1), 2 * PAGE).unwrap();
    assert_eq!(read(&disk, PAGE + 4096), [0; 16], "zeros, not what it had");
    disk.close().unwrap();

    // The volume goes with its last snapshot.
    sr.delete_vdi(vdi(1)).unwrap();
    assert_eq!(visible(&sr), [vdi(2), vdi(3), vdi(4)].map(|uuid| uuid));
    let snapshot = open(&sr, 2, OpenMode::ReadOnly);
    assert_eq!(&read(&snapshot, 4096), b"first first firs");
    snapshot.close().unwrap();
    assert_eq!(
        number(driver.delete(&params(&group, world::sr(1), &[]))),
        None
    );
    for number in [2, 3, 4] {
        sr.delete_vdi(vdi(number)).unwrap();
    }
    assert_eq!(
        group.state().group.volumes.len(),
        1,
        "the management volume"
    );
    assert!(
        group
            .state()
            .group
            .volumes
            .values()
            .all(|volume| volume.records.is_empty())
    );
    sr.detach().unwrap();
    driver.delete(&params(&group, world::sr(1), &[])).unwrap();
    driver.delete(&params(&group, world::sr(1), &[])).unwrap();
    assert!(group.state().group.volumes.is_empty());
}

/// A group hands out pages as their last owner left them. The VDI shows zeros, and so does what it grows by.
#[test]
fn a_thick_vdi_shows_nothing_of_others() {
    let Some(group) = EqualLogicEmulator::start_with_data(Options::default()) else {
        return;
    };
    let group = Arc::new(group);
    let old = Arc::downgrade(&group);
    let hook = move |command: &str| {
        let Some(group) = old.upgrade() else { return };
        let mut words = command.split(' ');
        let (name, from) = match (words.next(), words.next(), words.next(), words.next()) {
            (Some("volume"), Some("create"), Some(name), _) => (name.to_owned(), 0),
            (Some("volume"), Some("select"), Some(name), Some("size")) => (name.to_owned(), PAGE),
            _ => return,
        };
        if name.len() != 62 {
            return;
        }
        let file = group.volume_file(&name).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
        let length = file.metadata().unwrap().len() - from;
        std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xa5; length as usize], from)
            .unwrap();
    };
    let client = ArrayClient::with_hook(&group, sr(1), Allocation::Thick, Some(Box::new(hook)));
    client.make_sr(sr(1), Allocation::Thick);
    client.volumes.create(&wish(vdi(1), PAGE, &[])).unwrap();
    let name = group
        .state()
        .group
        .volumes
        .keys()
        .find(|name| name.len() == 62)
        .cloned()
        .unwrap();
    let file = group.volume_file(&name).unwrap();
    assert!(
        bytes_at(&file, 0, PAGE as usize)
            .iter()
            .all(|byte| *byte == 0)
    );
    client.volumes.resize(vdi(1), 2 * PAGE).unwrap();
    assert!(
        bytes_at(&file, 0, 2 * PAGE as usize)
            .iter()
            .all(|byte| *byte == 0)
    );
    // Nobody is let in by that.
    let state = group.state();
    assert!(!state.group.volumes[&name].online && state.group.volumes[&name].records.is_empty());
}

/// An SR that is introduced from nothing but the group has its names and snapshot links, and nobody sees where they are kept.
#[test]
fn names_are_kept_on_the_group() {
    let Some(group) = EqualLogicEmulator::start_with_data(Options::default()) else {
        return;
    };
    let management = format!("XenStorage{}", sr(1).simple());
    let is_hidden = || {
        let state = group.state();
        let volume = &state.group.volumes[&management];
        !volume.online && volume.records.is_empty()
    };
    let await_hidden = || {
        let hidden = || is_hidden().then_some(());
        testkit::wait::until("the names are concealed", Duration::from_secs(60), hidden);
    };
    // A group gives pages as their last owner left them.
    let driver = EqualSr::default();
    let one = attached(&driver, &group, 1, &[("allocation", "thin")]);
    let file = group.volume_file(&management).unwrap();
    std::fs::write(&file, vec![0xa5; 2 * PAGE as usize]).unwrap();
    assert!(one.keeps_labels());
    assert_eq!(one.labels().unwrap(), KeptLabels::default());
    let named = |number: u128, name: &str, of: Option<u128>| VdiLabels {
        uuid: vdi(number),
        name_label: name.to_owned(),
        vdi_type: "user".to_owned(),
        is_a_snapshot: of.is_some(),
        snapshot_of: of.map(vdi),
        managed: true,
        ..VdiLabels::default()
    };
    let names = SrLabels {
        name_label: "gold".to_owned(),
        name_description: "not all that glitters".to_owned(),
    };
    one.write_sr_labels(&names).unwrap();
    one.write_vdi_labels(&[named(1, "root", None), named(2, "before", Some(1))])
        .unwrap();
    one.write_vdi_labels(&[named(1, "root disk", None)])
        .unwrap();
    await_hidden();
    let expected = KeptLabels {
        sr: Some(names),
        vdis: vec![named(1, "root disk", None), named(2, "before", Some(1))],
    };
    assert_eq!(one.labels().unwrap(), expected);
    // Those of a VDI that is destroyed go with the next change.
    one.create_vdi(&wish(vdi(3), PAGE, &[])).unwrap();
    one.write_vdi_labels(&[named(3, "gone", None)]).unwrap();
    one.delete_vdi(vdi(3)).unwrap();
    one.write_vdi_labels(&[named(1, "root disk", None)])
        .unwrap();
    one.detach().unwrap();
    assert!(is_hidden());
    let again = EqualSr::default()
        .attach(&params(&group, sr(1), &[]))
        .unwrap();
    assert_eq!(again.labels().unwrap(), expected);
    again.detach().unwrap();
    assert!(is_hidden());
    // What a crash leaves in sight goes with the next attach.
    let dies = ArrayClient::new(&group, sr(1), Allocation::Thin);
    // The answer to the command that shows it is not heard.
    dies.dies_after(4);
    dies.volumes.labels().unwrap_err();
    assert!(!is_hidden());
    drop(dies);
    let next = EqualSr::default()
        .attach(&params(&group, sr(1), &[]))
        .unwrap();
    assert!(is_hidden());
    assert_eq!(next.labels().unwrap(), expected);
}

#[test]
fn accounts_of_iscsi_are_asked_for() {
    let Some(group) = EqualLogicEmulator::start_with_data(Options::default()) else {
        return;
    };
    let secret = "a secret of 16 b";
    group
        .state()
        .group
        .create_chap_user("somebody", Some(secret))
        .unwrap();
    let driver = EqualSr::default();
    let right = [
        ("chapuser", "somebody"),
        ("chappassword", secret),
        ("allocation", "thin"),
    ];
    let sr = attached(&driver, &group, 1, &right);
    sr.create_vdi(&wish(vdi(1), PAGE, &[])).unwrap();
    let disk = open(&sr, 1, OpenMode::ReadWrite);
    disk.write_at(b"known to be ours", 0).unwrap();
    disk.close().unwrap();
    sr.detach().unwrap();
    let wrong = [
        ("chapuser", "somebody"),
        ("chappassword", "another one of 1"),
        ("allocation", "thin"),
    ];
    let sr = driver
        .attach(&params(&group, world::sr(1), &wrong))
        .unwrap();
    assert_eq!(number(sr.open_vdi(vdi(1), OpenMode::ReadWrite)), Some(68));
}

/// Two SRs and somebody's own volumes in one group: each sees its own, and all of it when it is introduced with nothing but the account.
#[test]
fn srs_are_known_from_the_group_alone() {
    let group = EqualLogicEmulator::start(Options {
        pools: vec![("fast".to_owned(), 1 << 39)],
        ..Options::default()
    });
    let driver = EqualSr::default();
    let one = attached(&driver, &group, 1, &[("allocation", "thin")]);
    let two = attached(
        &driver,
        &group,
        2,
        &[("allocation", "thin"), ("storagepool", "fast")],
    );
    for (sr, first) in [(&one, 10), (&two, 20)] {
        for number in first..first + 3 {
            sr.create_vdi(&wish(vdi(number), PAGE, &[])).unwrap();
        }
        sr.snapshot_vdi(vdi(first), vdi(first + 5), SnapshotKind::Snapshot)
            .unwrap();
    }
    {
        // An administrator's volume, and snapshots by a schedule.
        let mut state = group.state();
        let mut foreign = state.group.volumes.values().next().unwrap().clone();
        foreign.name = "exchange".to_owned();
        foreign.description = "mail".to_owned();
        state.group.volumes.insert("exchange".to_owned(), foreign);
    }
    let expected = |first: u128| [first, first + 1, first + 2, first + 5].map(vdi);
    assert_eq!(visible(&one), expected(10));
    assert_eq!(visible(&two), expected(20));
    one.detach().unwrap();
    two.detach().unwrap();

    let anew = EqualSr::default();
    let bare = [("storagepool", "")];
    let document = anew.probe(&params(&group, sr(1), &bare)).unwrap();
    for number in [1, 2] {
        assert!(
            document.contains(&format!("<UUID>{}</UUID>", sr(number))),
            "{document}"
        );
    }
    let two = anew.attach(&params(&group, sr(2), &bare)).unwrap();
    let changes = two.config_changes();
    assert_eq!(
        changes.device_config["storagepool"].as_deref(),
        Some("fast")
    );
    assert_eq!(changes.sm_config["allocation"].as_deref(), Some("thin"));
    assert_eq!(visible(&two), expected(20));
    assert_eq!(
        anew.delete(&params(&group, sr(2), &bare)).unwrap_err().code,
        "SR_NOT_EMPTY"
    );
    for uuid in [25, 20, 21, 22].map(vdi) {
        two.delete_vdi(uuid).unwrap();
    }
    two.detach().unwrap();
    anew.delete(&params(&group, sr(2), &bare)).unwrap();
    assert!(group.state().group.volumes.contains_key("exchange"));
    assert_eq!(
        visible(&anew.attach(&params(&group, sr(1), &bare)).unwrap()),
        expected(10)
    );
}
