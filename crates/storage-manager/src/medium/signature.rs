//! What lies on a device already: partition tables, file systems, volumes and RAID members of others.
//!
//! A device is formatted only when nothing is found here, or by somebody who says so. Source: the formats' own documents;
//! the same places that `wipefs` looks at.

use std::io;

use super::block_device::BlockDevice;

/// Where a signature is counted from.
#[derive(Clone, Copy, Debug)]
enum Origin {
    Start,
    /// Backwards from the end, and then down to a multiple of this.
    End(u64),
}

struct Signature {
    from: Origin,
    offset: u64,
    bytes: &'static [u8],
    what: &'static str,
}

const fn start(offset: u64, bytes: &'static [u8], what: &'static str) -> Signature {
    Signature {
        from: Origin::Start,
        offset,
        bytes,
        what,
    }
}

const fn end(offset: u64, alignment: u64, bytes: &'static [u8], what: &'static str) -> Signature {
    Signature {
        from: Origin::End(alignment),
        offset,
        bytes,
        what,
    }
}

const RAID: &[u8] = &[0xfc, 0x4e, 0x2b, 0xa9];

/// The more telling ones come first: a file system may have a boot sector, which looks like a partition table.
static SIGNATURES: &[Signature] = &[
    start(0, b"LUKS\xba\xbe", "an encrypted volume (LUKS)"),
    start(0, b"XFSB", "a file system (xfs)"),
    start(1080, &[0x53, 0xef], "a file system (ext2, ext3 or ext4)"),
    start(65_600, b"_BHRfS_M", "a file system (btrfs)"),
    start(1024, &[0x10, 0x20, 0xf5, 0xf2], "a file system (f2fs)"),
    start(65_588, b"ReIsEr", "a file system (reiserfs)"),
    start(3, b"NTFS    ", "a file system (ntfs)"),
    start(3, b"EXFAT   ", "a file system (exfat)"),
    start(54, b"FAT1", "a file system (fat)"),
    start(82, b"FAT32   ", "a file system (fat32)"),
    start(32_769, b"CD001", "a file system (iso9660)"),
    start(0, b"hsqs", "a file system (squashfs)"),
    start(1 << 20, &[0x0d, 0xd0, 0x01, 0xc0], "a file system (vmfs)"),
    start(0x1_0000, &[0x01, 0x16, 0x19, 0x70], "a file system (gfs2)"),
    start(4086, b"SWAPSPACE2", "swap space"),
    start(4096, RAID, "a member of a RAID array (md 1.2)"),
    start(0, RAID, "a member of a RAID array (md 1.1)"),
    end(8192, 4096, RAID, "a member of a RAID array (md 1.0)"),
    end(65_536, 65_536, RAID, "a member of a RAID array (md 0.90)"),
    end(
        1024,
        512,
        b"Intel Raid ISM Cfg Sig. ",
        "a member of a RAID array (Intel)",
    ),
    end(
        512,
        512,
        &[0xde, 0x11, 0xde, 0x11],
        "a member of a RAID array (DDF)",
    ),
    start(4120, &[0xc6, 0x85, 0x73, 0xf6], "a cache (bcache)"),
    start(0, b"bluestore block device", "an object store (ceph)"),
    start(128 << 10, &[0x0c, 0xb1, 0xba], "a pool (zfs)"),
    start(512, b"EFI PART", "a partition table (gpt)"),
    start(4096, b"EFI PART", "a partition table (gpt)"),
    start(0, b"conectix", "a disk image (vhd)"),
    start(0, b"QFI\xfb", "a disk image (qcow2)"),
    start(
        510,
        &[0x55, 0xaa],
        "a partition table or a boot sector (mbr)",
    ),
];

/// Sectors at the start of a device of which one has the label of LVM2.
const LABEL_SECTORS: u64 = 4;

/// The first thing that is found on a device, in words that complete "it holds"; none when nothing is known there.
pub fn find(device: &dyn BlockDevice) -> io::Result<Option<&'static str>> {
    let size = device.size()?;
    let has = |at: u64, bytes: &[u8]| -> io::Result<bool> {
        if at
            .checked_add(bytes.len() as u64)
            .is_none_or(|end| end > size)
        {
            return Ok(false);
        }
        let mut found = vec![0; bytes.len()];
        device.read_at(&mut found, at)?;
        Ok(found == bytes)
    };
    for sector in 0..LABEL_SECTORS {
        if has(sector * 512, b"LABELONE")? {
            return Ok(Some("a physical volume (LVM2)"));
        }
    }
    for signature in SIGNATURES {
        let at = match signature.from {
            Origin::Start => signature.offset,
            Origin::End(alignment) => match size.checked_sub(signature.offset) {
                Some(at) => at / alignment * alignment,
                None => continue,
            },
        };
        if has(at, signature.bytes)? {
            return Ok(Some(signature.what));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::medium::local_device::LocalDevice;

    #[test]
    fn what_is_there_is_found_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let size = (4 << 20) + 512;
        let look = |at: Option<(usize, &[u8])>| {
            let mut bytes = vec![0; size];
            if let Some((at, signature)) = at {
                bytes[at..at + signature.len()].copy_from_slice(signature);
            }
            std::fs::write(&path, bytes).unwrap();
            find(&LocalDevice::open(&path).unwrap()).unwrap()
        };
        assert_eq!(look(None), None);
        assert_eq!(
            look(Some((512, b"LABELONE"))),
            Some("a physical volume (LVM2)")
        );
        assert_eq!(
            look(Some((510, &[0x55, 0xaa]))),
            Some("a partition table or a boot sector (mbr)")
        );
        assert_eq!(
            look(Some((1080, &[0x53, 0xef]))),
            Some("a file system (ext2, ext3 or ext4)")
        );
        let aligned = (size - 65_536) / 65_536 * 65_536;
        assert_eq!(
            look(Some((aligned, RAID))),
            Some("a member of a RAID array (md 0.90)")
        );
        assert_eq!(look(Some((64, b"some text"))), None);
        std::fs::write(&path, b"tiny").unwrap();
        assert_eq!(find(&LocalDevice::open(&path).unwrap()).unwrap(), None);
    }
}
