//! Snapshots, clones, copies and resizing of the VDIs of a `file` SR, with a consumer that writes and reads.

#![allow(clippy::unwrap_used)] // helpers of tests fail the test

#[path = "support/consumer.rs"]
mod consumer;
mod support;

use consumer::Consumer;
use support::{Client, Running, config, make_sr, vdi_record};
use xenapi::{NULL_REF, Value};

const MIB: u64 = 1 << 20;

/// A server with one SR.
struct Site {
    dir: tempfile::TempDir,
    _running: Running,
    client: Client,
    sr: String,
}

impl Site {
    fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let running = Running::start(config(dir.path()), None);
        let mut client = running.unix();
        let sr = make_sr(&mut client, &dir.path().join("sr"), "file");
        Site {
            dir,
            _running: running,
            client,
            sr,
        }
    }

    fn create(&mut self, mib: u64) -> String {
        let record = vdi_record(&self.sr, "v", i64::try_from(mib * MIB).unwrap());
        self.reference("VDI.create", [record])
    }

    fn reference<const N: usize>(&mut self, method: &str, params: [Value; N]) -> String {
        let answer = self.client.call(method, params).unwrap();
        answer.as_str().unwrap().to_owned()
    }

    fn of(&mut self, method: &str, vdi: &str) -> String {
        self.reference(method, [vdi.into()])
    }

    fn write(&mut self, vdi: &str, offset: u64, byte: u8) {
        let mut consumer = Consumer::attach(&mut self.client, vdi, "RW");
        consumer.nbd.write(&[byte; 4096], offset).unwrap();
        consumer.detach(&mut self.client);
    }

    /// The byte at each of some places.
    fn bytes<const N: usize>(&mut self, vdi: &str, offsets: [u64; N]) -> [u8; N] {
        let mut consumer = Consumer::attach(&mut self.client, vdi, "RO");
        let bytes = offsets.map(|offset| consumer.read(offset, 1)[0]);
        consumer.detach(&mut self.client);
        bytes
    }

    fn int(&mut self, method: &str, vdi: &str) -> i64 {
        self.client
            .call(method, [vdi.into()])
            .unwrap()
            .as_int()
            .unwrap()
    }
}

#[test]
fn a_copy_is_as_sparse_as_its_source() {
    let mut site = Site::new();
    let vdi = site.create(2048);
    for (offset, byte) in [(0, 1), (700 * MIB, 2), (2048 * MIB - 4096, 3)] {
        site.write(&vdi, offset, byte);
    }
    let other = make_sr(&mut site.client, &site.dir.path().join("other"), "file");
    let copy = site.reference("VDI.copy", [vdi.as_str().into(), other.as_str().into()]);
    let places = [0, 4096, 700 * MIB, 1000 * MIB, 2048 * MIB - 1];
    assert_eq!(site.bytes(&copy, places), [1, 0, 2, 0, 3]);
    // Three blocks, the table and the headers.
    let used = site.int("VDI.get_physical_utilisation", &copy);
    assert!(used < 8 << 20, "{used} bytes are used");
    // What the source and the copy know of their content is the same.
    let content = |client: &mut Client, vdi: &str| {
        let config = client.call("VDI.get_other_config", [vdi.into()]).unwrap();
        config.as_struct().unwrap()["content_id"].clone()
    };
    let id = content(&mut site.client, &vdi);
    assert_eq!(content(&mut site.client, &copy), id);
    // Copied once more into the target, which is written over, and then only as far as it differs from it.
    site.write(&copy, 5 * MIB, 9);
    let into = |base: &str| [&vdi, NULL_REF, base, &copy].map(Value::from);
    site.reference("VDI.copy", into(NULL_REF));
    assert_eq!(site.bytes(&copy, [0, 5 * MIB, 700 * MIB]), [1, 0, 2]);
    site.write(&copy, 6 * MIB, 9);
    site.reference("VDI.copy", into(&vdi));
    assert_eq!(site.bytes(&copy, [0, 6 * MIB, 700 * MIB]), [1, 9, 2]);
}

#[test]
fn a_consumer_stays_connected_across_snapshot_clone_and_online_resize() {
    let mut site = Site::new();
    let vdi = site.create(64);
    let mut consumer = Consumer::attach(&mut site.client, &vdi, "RW");
    consumer.nbd.write(&[1; 8192], 0).unwrap();
    let first = site.of("VDI.snapshot", &vdi);
    consumer.nbd.write(&[2; 4096], 0).unwrap();
    let second = site.of("VDI.snapshot", &vdi);
    let clone = site.of("VDI.clone", &vdi);
    consumer.nbd.write(&[3; 4096], 4096).unwrap();
    let grow = [vdi.as_str().into(), Value::Int(128 << 20)];
    site.client.call("VDI.resize_online", grow).unwrap();
    assert_eq!(site.int("VDI.get_virtual_size", &vdi), 128 << 20);
    assert_eq!((consumer.read(0, 1)[0], consumer.read(4096, 1)[0]), (2, 3));
    consumer.detach(&mut site.client);
    // A second connection sees the new size.
    site.write(&vdi, 127 * MIB, 4);
    assert_eq!(
        site.bytes(&vdi, [0, 4096, 64 * MIB, 127 * MIB]),
        [2, 3, 0, 4]
    );
    assert_eq!(site.bytes(&first, [0, 4096]), [1, 1]);
    assert_eq!(site.bytes(&second, [0, 4096]), [2, 1]);
    site.write(&clone, 0, 7);
    assert_eq!(site.bytes(&clone, [0, 4096]), [7, 1]);
    assert_eq!(site.bytes(&second, [0, 4096]), [2, 1]);

    // Reverted: content and size are those of the snapshot, the reference and the uuid stay.
    let uuid = site.of("VDI.get_uuid", &vdi);
    site.client
        .call("VDI.revert", [first.as_str().into()])
        .unwrap();
    assert_eq!(site.of("VDI.get_uuid", &vdi), uuid);
    assert_eq!(site.int("VDI.get_virtual_size", &vdi), 64 << 20);
    assert_eq!(site.bytes(&vdi, [0, 4096]), [1, 1]);
    // Whatever goes, the others keep their bytes.
    for gone in [&first, &vdi] {
        site.client
            .call("VDI.destroy", [gone.as_str().into()])
            .unwrap();
    }
    assert_eq!(site.bytes(&second, [0, 4096]), [2, 1]);
    assert_eq!(site.bytes(&clone, [0, 4096]), [7, 1]);
}
