//! Adapters, paths and LUNs of recorded trees.

use super::adapters::{Adapter, Transport, adapters};
use super::devlist::devlist;
use super::hba_luns::HbaLuns;
use super::lun_paths::{LunPath, by_lun, is_settling, lun_paths};
use super::recorded_tree::{FIBRE_CHANNEL, GUEST, RecordedTree};
use crate::layout::lun_per_vdi::{Look, LunSource};

fn luns(tree: &RecordedTree, family: &str) -> Vec<Vec<LunPath>> {
    by_lun(lun_paths(&tree.sysfs(), family).unwrap())
}

fn hosts(tree: &RecordedTree, family: &str) -> Vec<u32> {
    let found = adapters(&tree.sysfs(), family).unwrap();
    found.iter().map(|adapter| adapter.number).collect()
}

fn adapter(tree: &RecordedTree, number: u32) -> Adapter {
    let found = adapters(&tree.sysfs(), "any").unwrap();
    found
        .into_iter()
        .find(|adapter| adapter.number == number)
        .unwrap()
}

#[test]
fn adapters_are_what_the_kernel_drives_and_not_the_machines_own_disks() {
    let tree = RecordedTree::of(FIBRE_CHANNEL);
    assert_eq!(hosts(&tree, "any"), [2, 3, 4, 10]);
    assert_eq!(hosts(&tree, ""), [2, 3, 4, 10]);
    for (family, expected) in [
        ("fc", &[2, 10][..]),
        ("FC", &[2, 10]),
        ("iSCSI", &[4]),
        ("sas", &[3]),
        ("qla", &[2, 4]),
        ("lpfc", &[10]),
        ("mpt3sas", &[3]),
        ("ahci", &[]),
        ("nothing", &[]),
    ] {
        assert_eq!(hosts(&tree, family), expected, "{family}");
    }
    let port = adapter(&tree, 10);
    assert_eq!(port.transport, Transport::FibreChannel);
    assert_eq!(port.driver, "lpfc");
    assert_eq!(port.host(), "host10");
    assert_eq!(
        port.description(),
        "Emulex LightPulse Fibre Channel SCSI driver"
    );
    assert_eq!(
        port.attributes,
        [
            ("node_name", "0x20000000c9abcdef".to_owned()),
            ("port_name", "0x10000000c9abcdef".to_owned()),
            ("port_state", "Linkdown".to_owned()),
            ("speed", "unknown".to_owned()),
        ]
    );
}

#[test]
fn a_machine_without_adapters_has_none() {
    let tree = RecordedTree::of("");
    assert!(hosts(&tree, "any").is_empty());
    assert!(luns(&tree, "any").is_empty());
    assert_eq!(devlist(&[], &[]), "<?xml version=\"1.0\" ?>\n<Devlist/>\n");
}

#[test]
fn paths_of_one_lun_are_found_by_what_it_says() {
    let tree = RecordedTree::of(FIBRE_CHANNEL);
    let found = luns(&tree, "any");
    let shown: Vec<Vec<&str>> = found
        .iter()
        .map(|paths| paths.iter().map(|path| path.node.as_str()).collect())
        .collect();
    // Disks that say nothing are not taken for one.
    assert_eq!(shown, [vec!["sdc", "sdaa"], vec!["sdd"], vec!["sde"]]);
    let first = &found[0][0];
    assert_eq!(first.identity.scsi_id, "3600a098038303053523f4a6e4c5a4c53");
    assert_eq!(first.identity.vendor, "NETAPP");
    assert_eq!(first.identity.serial, "P4bz-&Enzcaz");
    assert_eq!((first.size, first.block_size), (209_715_200 * 512, 4096));
    assert_eq!(first.number, (8, 32));
    assert!(!first.is_usable() && found[0][1].is_usable());
    assert_eq!(found[1][0].block_size, 512);
    assert!(is_settling(&tree.sysfs(), "fc").unwrap());
    assert!(!is_settling(&tree.sysfs(), "sas").unwrap());
    // An adapter of another family has no part in it.
    assert_eq!(luns(&tree, "lpfc")[0].len(), 1);
}

#[test]
fn the_document_tells_of_luns_and_adapters() {
    let tree = RecordedTree::of(FIBRE_CHANNEL);
    let found = adapters(&tree.sysfs(), "fc").unwrap();
    assert_eq!(
        devlist(&luns(&tree, "fc"), &found),
        include_str!("testdata/fibre-channel.xml")
    );
}

#[test]
fn the_guests_adapters() {
    let tree = RecordedTree::of(GUEST);
    let found = adapters(&tree.sysfs(), "any").unwrap();
    let drivers: Vec<&str> = found
        .iter()
        .map(|adapter| adapter.driver.as_str())
        .collect();
    assert_eq!(drivers.len(), 3, "{drivers:?}");
    assert!(drivers.contains(&"virtio_scsi") && drivers.contains(&"vmw_pvscsi"));
    let source = HbaLuns::new(tree.sysfs(), "any");
    let mut found: Vec<(String, u64, u64)> = source
        .luns(Look::Known)
        .unwrap()
        .into_iter()
        .map(|lun| (lun.scsi_id, lun.lun_id, lun.size >> 20))
        .collect();
    found.sort();
    let expected = [
        ("35000c50000000a01", 0, 48),
        ("35000c50000000a02", 1, 16),
        ("35000c50000000a03", 2, 20),
        ("35000c50000000a04", 0, 64),
    ];
    let expected = expected.map(|(id, lun, size)| (id.to_owned(), lun, size));
    assert_eq!(found, expected);
    let shared = luns(&tree, "any");
    let shared = shared
        .iter()
        .find(|paths| paths[0].identity.scsi_id.ends_with("a01"));
    assert_eq!(shared.unwrap().len(), 2);
}

#[test]
fn a_lun_that_is_not_there_or_has_no_node_is_not_opened() {
    let tree = RecordedTree::of(FIBRE_CHANNEL);
    let source = HbaLuns::new(tree.sysfs(), "any");
    let error = source.open("3600").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().contains("no LUN 3600"), "{error}");
    let error = source
        .open("3600a098038303053523f4a6e4c5a4c53")
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
    // In the place of the node lies something else.
    std::fs::create_dir(tree.path().join("dev")).unwrap();
    for node in ["sdc", "sdaa"] {
        std::fs::write(tree.path().join("dev").join(node), [0; 4096]).unwrap();
    }
    let error = source
        .open("3600a098038303053523f4a6e4c5a4c53")
        .unwrap_err();
    assert!(error.to_string().contains("another device"), "{error}");
}

#[test]
fn what_the_kernel_shows_now_is_what_counts() {
    let tree = RecordedTree::of(GUEST);
    let source = HbaLuns::new(tree.sysfs(), "any");
    let before = source.luns(Look::Known).unwrap();
    let small = luns(&tree, "any")
        .into_iter()
        .flatten()
        .find(|path| path.identity.scsi_id.ends_with("a02"))
        .unwrap();
    let directory = format!("bus/scsi/devices/{}", small.address);
    tree.add(&format!("{directory}/block/{}/size = 65536", small.node));
    let grown = source.luns(Look::Known).unwrap();
    assert_ne!(grown, before);
    assert!(grown.iter().any(|lun| lun.size == 32 << 20));
    tree.remove(&directory);
    assert_eq!(source.luns(Look::Known).unwrap().len(), 3);
}
