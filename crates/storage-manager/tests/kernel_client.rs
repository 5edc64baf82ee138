//! A stock Linux kernel, in a virtual machine, as the consumer of a VDI.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it skips"
)]

mod tools;

use std::sync::Arc;
use std::time::Duration;

use nbd::server::{Limits, ListenerOptions};
use nbd::{Export, Exports, Found, Peer, Refusal, Server};
use storage_manager::sr::{OpenMode, SnapshotKind};
use testkit::guest::Guest;
use tools::{MIB, attach_new, new_vdi};
use uuid::Uuid;

/// How long the virtual machine may take, on a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(600);
const SIZE: u64 = 64 * MIB;
const BLOCK: u64 = 64 * 1024;

struct One(Arc<dyn Export>);

impl Exports for One {
    fn find(&self, name: &str, _peer: &Peer) -> Result<Found, Refusal> {
        match name {
            "vdi" => Ok(Found {
                key: name.to_owned(),
                export: self.0.clone(),
            }),
            _ => Err(Refusal::Unknown),
        }
    }
}

/// What the guest prints when it is time for a snapshot, while it goes on writing.
const FIRST_WRITTEN: &str = "guest: the first is written";
/// What the guest prints when it wants the VDI to be larger, which it has in use.
const LARGER: &str = "guest: make it larger";

/// Makes a file system on the VDI, writes while a snapshot is taken, has the VDI grow while it is in use, and finds all
/// again over new connections.
const SCRIPT: &str = r#"
connect() { nbd-client $HOST $PORT $1 -N vdi >/dev/null; }
connect /dev/nbd0
test "$(cat /sys/block/nbd0/size)" = 131072
mkfs.ext4 -q /dev/nbd0
mount -t ext4 /dev/nbd0 /mnt
dd if=/dev/urandom of=/mnt/first bs=64k count=128 2>/dev/null
sha256sum /mnt/first > /tmp/sums
sync
echo "guest: the first is written"
dd if=/dev/urandom of=/mnt/second bs=4k count=2777 conv=fsync 2>/dev/null
sha256sum /mnt/second >> /tmp/sums
fstrim /mnt
echo "guest: make it larger"
# The protocol has no word for it: a new connection tells.
connect /dev/nbd1
until test "$(cat /sys/block/nbd1/size)" = 262144; do
    nbd-client -d /dev/nbd1
    sleep 1
    connect /dev/nbd1
done
nbd-client -d /dev/nbd1
umount /mnt
nbd-client -d /dev/nbd0
connect /dev/nbd0
test "$(cat /sys/block/nbd0/size)" = 262144
mount -t ext4 /dev/nbd0 /mnt
resize2fs /dev/nbd0 2>/dev/null
sha256sum -c /tmp/sums
dd if=/dev/urandom of=/mnt/third bs=1M count=70 2>/dev/null
sha256sum /mnt/third >> /tmp/sums
umount /mnt
mount -t ext4 -o ro /dev/nbd0 /mnt
sha256sum -c /tmp/sums
umount /mnt
# Past the page cache: what is read comes over the wire.
dd if=/dev/nbd0 of=/dev/null bs=1M iflag=direct 2>/dev/null
nbd-client -d /dev/nbd0
"#;

#[test]
fn a_kernel_keeps_a_file_system_on_a_vdi() {
    let Some(guest) = Guest::new() else { return };
    let guest = guest
        .module("nbd")
        .module("crc32c_generic")
        .module("ext4")
        .program("nbd-client")
        .program("mkfs.ext4")
        .program("resize2fs");
    let dir = tempfile::tempdir().unwrap();
    let sr = attach_new(&dir.path().join("sr"));
    let (vdi, snapshot) = (Uuid::from_u128(1), Uuid::from_u128(2));
    sr.create_vdi(&new_vdi(1, SIZE)).unwrap();
    assert!(sr.enable_cbt(vdi).unwrap().cbt_enabled);
    let export = sr.open_vdi(vdi, OpenMode::ReadWrite).unwrap();
    let server = Server::new(Arc::new(One(export.clone())), Limits::default());
    let any = "127.0.0.1:0".parse().unwrap();
    let (_, address) = server
        .listen_tcp(any, ListenerOptions::plaintext())
        .unwrap();

    let script = format!("PORT={}\n{SCRIPT}", address.port());
    let mut has_snapshot = false;
    // The kernel may write to the console in the middle of a line.
    let output = guest.run(&script, LIMIT, |line| {
        if line.contains(FIRST_WRITTEN) {
            let kind = SnapshotKind::Snapshot;
            sr.snapshot_vdi(vdi, snapshot, kind).unwrap();
            has_snapshot = true;
        } else if line.contains(LARGER) {
            let grown = sr.resize_vdi(vdi, 2 * SIZE).unwrap();
            assert_eq!(grown.virtual_size, 2 * SIZE);
        }
    });
    assert!(has_snapshot, "{}", output.text);
    assert_eq!(output.status, Some(0), "{}", output.text);
    assert!(output.text.contains("/mnt/third: OK"), "{}", output.text);

    server.shutdown(Duration::from_secs(10)).unwrap();
    export.close().unwrap();
    drop(export);
    // Whatever differs from the snapshot is in the log.
    let listed = sr.changed_blocks(snapshot, vdi).unwrap();
    let before = sr.open_vdi(snapshot, OpenMode::ReadOnly).unwrap();
    let after = sr.open_vdi(vdi, OpenMode::ReadOnly).unwrap();
    let (mut old, mut new) = (vec![0; BLOCK as usize], vec![0; BLOCK as usize]);
    let mut differences = 0;
    for block in 0..2 * SIZE / BLOCK {
        old.fill(0);
        if block < SIZE / BLOCK {
            before.read_at(&mut old, block * BLOCK).unwrap();
        }
        after.read_at(&mut new, block * BLOCK).unwrap();
        if old != new {
            differences += 1;
            let bit = listed[block as usize / 8] & (0x80 >> (block % 8));
            assert!(bit != 0, "block {block} changed and is not listed");
        }
    }
    assert!(differences > 1000, "{differences} blocks were written");
}
