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
use storage_manager::layout::cbt_log::ChangeLog;
use storage_manager::sr::OpenMode;
use testkit::guest::Guest;
use tools::{MIB, attach_new, new_vdi};
use uuid::Uuid;

/// How long the virtual machine may take, on a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(240);
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

/// Makes a file system on the VDI, writes, disconnects, and finds all again over a new connection.
const SCRIPT: &str = r#"
connect() { nbd-client $HOST $PORT /dev/nbd0 -N vdi >/dev/null; }
connect
test "$(cat /sys/block/nbd0/size)" = 131072
mkfs.ext4 -q /dev/nbd0
mount -t ext4 /dev/nbd0 /mnt
dd if=/dev/urandom of=/mnt/first bs=64k count=128 2>/dev/null
sha256sum /mnt/first > /tmp/sums
sync
echo "guest: the first is written"
dd if=/dev/urandom of=/mnt/second bs=4k count=777 2>/dev/null
sha256sum /mnt/second >> /tmp/sums
fstrim /mnt
umount /mnt
nbd-client -d /dev/nbd0
connect
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
        .program("mkfs.ext4");
    let dir = tempfile::tempdir().unwrap();
    let location = dir.path().join("sr");
    let sr = attach_new(&location);
    let vdi = Uuid::from_u128(1);
    sr.create_vdi(&new_vdi(1, SIZE)).unwrap();
    assert!(sr.enable_cbt(vdi).unwrap().cbt_enabled);
    let export = sr.open_vdi(vdi, OpenMode::ReadWrite).unwrap();
    let server = Server::new(Arc::new(One(export.clone())), Limits::default());
    let any = "127.0.0.1:0".parse().unwrap();
    let (_, address) = server
        .listen_tcp(any, ListenerOptions::plaintext())
        .unwrap();

    let script = format!("PORT={}\n{SCRIPT}", address.port());
    let output = guest.run(&script, LIMIT, |_| {});
    assert_eq!(output.status, Some(0), "{}", output.text);
    assert!(output.text.contains("/mnt/second: OK"), "{}", output.text);

    server.shutdown(Duration::from_secs(10)).unwrap();
    export.close().unwrap();
    drop(export);
    // Whatever is not zero now was written by the guest, and must be in the log.
    let log = log_of(&location, vdi);
    let image = sr.open_vdi(vdi, OpenMode::ReadOnly).unwrap();
    let mut content = vec![0; BLOCK as usize];
    let mut written = 0;
    for block in 0..SIZE / BLOCK {
        image.read_at(&mut content, block * BLOCK).unwrap();
        if content.iter().any(|byte| *byte != 0) {
            written += 1;
            assert!(
                log.blocks.is_set(block),
                "block {block} changed and is not in the log"
            );
        }
    }
    assert!(written > 100, "{written} blocks were written");
}

/// The VDI's log. It has no predecessor, so the API has no question whose answer it is.
fn log_of(sr: &std::path::Path, vdi: Uuid) -> ChangeLog {
    let bytes = std::fs::read(sr.join(format!("{vdi}.cbtlog"))).unwrap();
    let log = ChangeLog::parse(&bytes).unwrap();
    assert!(log.header.consistent);
    log
}
