//! A tree of sysfs for tests, made of a listing.
//!
//! Each line of a listing is a file with its text (`path = text`), a file with its bytes (`path : hex`), a symbolic link
//! (`path -> target`), or a comment (`#`).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::sysfs::Sysfs;

/// Two virtio-scsi adapters and a pvscsi one of qemu 10 under Linux 6.1, with four LUNs, to one of which lead two paths: printed
/// by the test `luns_behind_real_adapters`.
pub const GUEST: &str = include_str!("testdata/guest.tree");

/// What such a machine cannot have: two ports of a Fibre Channel adapter, hardware iSCSI, SAS, and hosts that are no adapters.
/// Written by hand after the kernel's documents (`Documentation/ABI`, `scsi_transport_fc`).
pub const FIBRE_CHANNEL: &str = include_str!("testdata/fibre-channel.tree");

/// A tree in a directory of its own.
pub struct RecordedTree {
    directory: tempfile::TempDir,
}

impl RecordedTree {
    pub fn of(listing: &str) -> Self {
        let tree = RecordedTree {
            directory: tempfile::tempdir().unwrap(),
        };
        for line in listing.lines() {
            tree.add(line);
        }
        tree
    }

    /// Makes what a line says, in the place of what is there.
    pub fn add(&self, line: &str) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        let root = self.directory.path().join("sys");
        let prepare = |path: &str| {
            let path = root.join(path.trim());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        if let Some((path, text)) = line.split_once(" = ") {
            fs::write(prepare(path), format!("{text}\n")).unwrap();
        } else if let Some(path) = line.strip_suffix(" =") {
            fs::write(prepare(path), "\n").unwrap();
        } else if let Some((path, hex)) = line.split_once(" : ") {
            let digits = hex.as_bytes().chunks(2);
            let bytes = digits.map(|pair| {
                let pair = std::str::from_utf8(pair).unwrap();
                u8::from_str_radix(pair, 16).unwrap()
            });
            fs::write(prepare(path), bytes.collect::<Vec<u8>>()).unwrap();
        } else if let Some((path, target)) = line.split_once(" -> ") {
            symlink(target, prepare(path)).unwrap();
        } else {
            panic!("no line of a listing: {line}");
        }
    }

    /// Removes an entry with all below it.
    pub fn remove(&self, path: &str) {
        fs::remove_dir_all(self.directory.path().join("sys").join(path)).unwrap();
    }

    pub fn sysfs(&self) -> Sysfs {
        let root = self.directory.path();
        Sysfs::at(root.join("sys"), root.join("dev"))
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}
