//! A stock Linux kernel activates volumes that were made here, and both find the bytes that the other wrote.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use lvm::{Error, ErrorKind, Group, NewGroup};
use support::FileDevice;
use testkit::guest::Guest;

const GROUP: &str = "VG_XenStorage-kernel";
/// A group in which the kernel's own LVM2 makes what we only read.
const OTHER: &str = "other";
/// A name with dashes, which device-mapper doubles.
const VOLUME: &str = "VHD-2f1d2b9e-59a0-4b6f-b8a3-6a4b0c3f0001";
const EXTENT: u64 = 4 << 20;
const LIMIT: Duration = Duration::from_secs(600);

/// Reads what the host wrote, writes what the host reads, and goes on changing the group.
const SCRIPT: &str = r#"
mkdir -p /tmp/lvm /run/lock/lvm
export LVM_SYSTEM_DIR=/tmp/lvm
cat > /tmp/lvm/lvm.conf <<END
global { use_lvmpolld = 0 notify_dbus = 0 event_activation = 0 thin_check_executable = "" }
devices { use_devicesfile = 0 obtain_device_list_from_udev = 0 external_device_info_source = "none" hints = "none" }
allocation { thin_pool_zero = 0 }
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }
backup { backup = 0 archive = 0 }
END
lvm vgck $GROUP
lvm vgchange -ay $GROUP
lvm lvs -o lv_name,lv_attr,lv_size,seg_count $GROUP
# Each byte of the volume is that of the host, in the order of its segments.
test "$(blockdev --getsize64 /dev/$GROUP/$VOLUME)" = $SIZE
for extent in $(seq 0 $(($SIZE / 4194304 - 1))); do
    test "$(dd if=/dev/$GROUP/$VOLUME bs=4k skip=$((extent * 1024)) count=1 2>/dev/null | head -c 16)" = "$(printf 'extent %09d' $extent)"
done
echo "guest: all extents are right"
# What is read-only for us is so for the kernel.
if echo no > /dev/$GROUP/readonly; then false; fi
printf 'written inside' | dd of=/dev/$GROUP/$VOLUME bs=4M seek=5 conv=notrunc,fsync 2>/dev/null
lvm lvextend -L +4M $GROUP/$VOLUME
lvm lvcreate -y -Zn -Wn -n inside --addtag made -L 4M $GROUP
printf 'made inside' | dd of=/dev/$GROUP/inside bs=1M seek=1 conv=notrunc,fsync 2>/dev/null
lvm lvrename $GROUP readonly renamed
lvm vgchange -an $GROUP
# What needs more than linear rules: a thin pool with a volume, and a snapshot.
lvm lvcreate -y -Zn --type thin-pool -L 8M -n pool $OTHER
lvm lvcreate -y -V 64M --thinpool pool -n thin $OTHER
lvm lvcreate -y -s -L 4M -n taken $OTHER/plain
lvm vgchange -an $OTHER
echo "guest: done"
"#;

#[test]
fn a_stock_kernel_finds_the_bytes_of_our_volumes() {
    let Some(guest) = Guest::new() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let files = ["a", "b"].map(|name| directory.path().join(name));
    let sizes = [48, 64];
    let devices = || files.iter().map(|file| FileDevice::open(file)).collect();
    for (file, mib) in files.iter().zip(sizes) {
        FileDevice::create(file, mib);
    }
    let group = Group::create(devices(), GROUP, &NewGroup::default()).unwrap();
    group
        .commit(|vg| {
            // Holes, so that the volume has several segments on both devices.
            for name in ["one", "two", "three", "readonly"] {
                vg.create_lv(name, EXTENT, &[])?;
            }
            vg.set_writable("readonly", false)?;
            vg.remove_lv("one")?;
            vg.remove_lv("three")?;
            vg.create_lv(VOLUME, 19 * EXTENT, &[])?;
            vg.remove_lv("two")
        })
        .unwrap();
    let third = directory.path().join("c");
    let other = Group::create(
        vec![FileDevice::create(&third, 64)],
        OTHER,
        &NewGroup::default(),
    );
    other
        .unwrap()
        .commit(|vg| vg.create_lv("plain", EXTENT, &[]))
        .unwrap();
    let map = group.map(VOLUME).unwrap();
    assert!(map.extents().unwrap().len() > 2);
    let write = |offset: u64, data: &[u8]| {
        let place = group.map(VOLUME).unwrap().locate(offset).unwrap();
        group.devices()[place.pv]
            .write_at(data, place.offset)
            .unwrap();
    };
    for extent in 0..19 {
        write(extent * EXTENT, format!("extent {extent:09}").as_bytes());
    }

    let mut guest = guest.program("lvm");
    for module in ["virtio_blk", "dm-mod", "dm-snapshot", "dm-thin-pool"] {
        guest = guest.module(module);
    }
    for (number, file) in files.iter().chain([&third]).enumerate() {
        let drive = format!("file={},if=none,id=d{number},format=raw", file.display());
        let device = format!("virtio-blk-pci,drive=d{number}");
        guest = guest.arguments(["-drive", &drive, "-device", &device]);
    }
    let script = format!(
        "GROUP={GROUP}\nOTHER={OTHER}\nVOLUME={VOLUME}\nSIZE={}\n{SCRIPT}",
        map.size()
    );
    let output = guest.run(&script, LIMIT, |_| ());
    assert_eq!(output.status, Some(0), "{}", output.text);
    assert!(output.text.contains("guest: done"));

    let group = Group::open(devices()).unwrap();
    let read = |name: &str, offset: u64, length: usize| {
        let place = group.map(name).unwrap().locate(offset).unwrap();
        let mut bytes = vec![0; length];
        group.devices()[place.pv]
            .read_at(&mut bytes, place.offset)
            .unwrap();
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(read(VOLUME, 5 * EXTENT, 14), "written inside");
    assert_eq!(read(VOLUME, 6 * EXTENT, 16), "extent 000000006");
    assert_eq!(read("inside", 1 << 20, 11), "made inside");
    let found: Arc<lvm::metadata::VolumeGroup> = group.volume_group();
    assert_eq!(found.get(VOLUME).unwrap().extents(), 20);
    assert_eq!(found.get("inside").unwrap().tags, ["made"]);
    assert!(found.find("renamed").is_some_and(|one| !one.is_writable()));
    group.commit(|vg| vg.remove_lv("inside")).unwrap();
    stays_as_it_is(&third);
}

/// A group with thin volumes and snapshots is read and not changed.
fn stays_as_it_is(file: &std::path::Path) {
    let group = Group::open(vec![FileDevice::open(file)]).unwrap();
    assert_eq!(group.map("plain").unwrap().size(), EXTENT);
    for name in ["thin", "pool"] {
        assert_eq!(group.map(name).unwrap_err().kind(), ErrorKind::Unsupported);
    }
    assert!(group.volume_group().find("taken").is_some());
    let refused = group.commit(|vg| vg.create_lv("a", 1, &[])).unwrap_err();
    assert!(matches!(refused, Error::Unsupported { .. }), "{refused}");
}
