//! How much room a new volume takes on a medium.

use crate::model::backend::Backend;

/// Bytes of a VHD block.
const VHD_BLOCK_BYTES: u64 = 2 << 20;
/// Footer, header and parent locators of an image.
const VHD_FIXED_BYTES: u64 = 3072;
/// BAT and batmap sized for 2 TiB, as the LVM types preallocate them.
const VHD_PREALLOCATED_BYTES: u64 = 4_329_472;
/// Bytes of the bitmap in front of a block.
const VHD_BITMAP_BYTES: u64 = 4096;
/// Physical extent of the volume groups that the LVM types make.
const LVM_EXTENT_BYTES: u64 = 4 << 20;

/// How an SR type gives room to a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// As blocks are written; more may be promised than the medium holds.
    Thin,
    /// All at once.
    Thick,
    /// Nothing is made: volumes are LUNs that exist already.
    Existing,
}

impl Allocation {
    /// The allocation of a backend. An unknown SR type counts as thin: the pool refuses what does not fit, and the next backend is
    /// tried.
    pub fn of(backend: &Backend) -> Self {
        match backend.sr_type.to_ascii_lowercase().as_str() {
            // A volume that is attached is inflated, also where new ones are small.
            sr_type if is_lvhd(sr_type) => Allocation::Thick,
            "netapp" | "equal" => match backend.config.get("allocation").map(String::as_str) {
                Some("thin") => Allocation::Thin,
                _ => Allocation::Thick,
            },
            "iscsi" | "hba" | "rawhba" => Allocation::Existing,
            _ => Allocation::Thin,
        }
    }
}

/// The free bytes that a new volume of `size_bytes` needs on `backend` at the moment it is made.
///
/// # Source
/// The overheads that XenServer's storage manager accounts for: an empty image's metadata on file types, the full logical volume
/// on LVM types. A LUN of an array has no overhead that the array would count.
pub fn needed_bytes(backend: &Backend, size_bytes: u64) -> u64 {
    match Allocation::of(backend) {
        Allocation::Thin => empty_image_bytes(size_bytes),
        Allocation::Thick if is_lvhd(&backend.sr_type.to_ascii_lowercase()) => {
            full_logical_volume_bytes(size_bytes)
        }
        Allocation::Thick => size_bytes,
        Allocation::Existing => 0,
    }
}

fn is_lvhd(sr_type: &str) -> bool {
    let lvhd = [
        "lvm",
        "lvmoiscsi",
        "lvmohba",
        "lvhd",
        "lvhdoiscsi",
        "lvhdohba",
    ];
    lvhd.contains(&sr_type)
}

fn empty_image_bytes(size_bytes: u64) -> u64 {
    let mib = size_bytes >> 20;
    let table = round_up(VHD_FIXED_BYTES.saturating_add(4 * (mib / 2)), 512);
    round_up(table.saturating_add(mib / 2 / 8), 4096)
}

fn full_logical_volume_bytes(size_bytes: u64) -> u64 {
    let blocks = size_bytes.div_ceil(VHD_BLOCK_BYTES);
    let bytes = size_bytes
        .saturating_add(VHD_PREALLOCATED_BYTES)
        .saturating_add(blocks.saturating_mul(VHD_BITMAP_BYTES));
    round_up(bytes, LVM_EXTENT_BYTES)
}

fn round_up(bytes: u64, unit: u64) -> u64 {
    bytes.div_ceil(unit).saturating_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::scheduler::placement::tests::backend;

    const GIB: u64 = 1 << 30;

    fn needed_on(sr_type: &str, size_bytes: u64) -> u64 {
        let mut backend = backend(1);
        backend.sr_type = sr_type.to_owned();
        needed_bytes(&backend, size_bytes)
    }

    #[test]
    fn an_array_gives_room_as_its_sr_was_told_to() {
        let mut array = backend(1);
        for sr_type in ["netapp", "equal"] {
            array.sr_type = sr_type.to_owned();
            array.config.clear();
            assert_eq!(needed_bytes(&array, 100 * GIB), 100 * GIB);
            let thin = ("allocation".to_owned(), "thin".to_owned());
            array.config.extend([thin]);
            assert!(needed_bytes(&array, 100 * GIB) < 1 << 20);
        }
    }

    #[test]
    fn a_thick_volume_takes_the_full_logical_volume() {
        // The figures that XenServer's storage manager arrives at.
        for (gib, bytes) in [
            (1, 1_082_130_432),
            (10, 10_766_778_368),
            (100, 107_592_286_208),
            (2040, 2_194_719_899_648),
        ] {
            assert_eq!(needed_on("lvmoiscsi", gib * GIB), bytes, "{gib} GiB");
        }
    }

    #[test]
    fn a_thin_volume_takes_its_metadata() {
        assert_eq!(needed_on("nfs", GIB), 8192);
        assert!(needed_on("file", 2040 * GIB) < 8 << 20);
    }

    #[test]
    fn a_lun_that_exists_takes_nothing() {
        assert_eq!(needed_on("iscsi", 100 * GIB), 0);
    }

    #[test]
    fn absurd_sizes_do_not_overflow() {
        for sr_type in ["nfs", "lvm", "iscsi"] {
            needed_on(sr_type, u64::MAX);
        }
    }
}
