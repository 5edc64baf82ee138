//! What devices answer with. Pure; nothing that a device sends makes it panic.

/// The size of a LUN and what it can do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Blocks.
    pub blocks: u64,
    /// Bytes of a block.
    pub block_size: u32,
    /// True when blocks can be given back.
    pub is_thin: bool,
    /// True when blocks that were given back read as zeros.
    pub reads_zeros: bool,
}

impl Capacity {
    /// Bytes.
    pub fn size(&self) -> u64 {
        self.blocks.saturating_mul(u64::from(self.block_size))
    }

    /// Reads the answer to READ CAPACITY (10); none when it does not fit or makes no sense. SBC-3, 5.15.2.
    pub fn parse_10(data: &[u8]) -> Option<Self> {
        let last = u32_at(data, 0)?;
        let capacity = Capacity {
            blocks: u64::from(last) + 1,
            block_size: u32_at(data, 4)?,
            is_thin: false,
            reads_zeros: false,
        };
        (last != u32::MAX).then_some(capacity)?.checked()
    }

    /// Reads the answer to READ CAPACITY (16). SBC-3, 5.16.2.
    pub fn parse_16(data: &[u8]) -> Option<Self> {
        let provisioning = *data.get(14)?;
        Capacity {
            blocks: u64_at(data, 0)?.checked_add(1)?,
            block_size: u32_at(data, 8)?,
            is_thin: provisioning & 0x80 != 0,
            reads_zeros: provisioning & 0x40 != 0,
        }
        .checked()
    }

    fn checked(self) -> Option<Self> {
        let sane = self.block_size.is_power_of_two() && (512..=65536).contains(&self.block_size);
        let size = self.blocks.checked_mul(u64::from(self.block_size));
        // Nothing that has sizes has more: XenAPI's integers, files, `pread`.
        (sane && size.is_some_and(|size| i64::try_from(size).is_ok())).then_some(self)
    }
}

/// Most that a LUN takes in one command; 0 where it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Blocks of a read or write.
    pub transfer: u32,
    /// Blocks of a WRITE SAME.
    pub write_same: u64,
}

impl Limits {
    /// Reads page 0xB0. SBC-3, 6.6.3.
    pub fn parse(page: &[u8]) -> Option<Self> {
        if page.get(1) != Some(&0xb0) {
            return None;
        }
        Some(Limits {
            transfer: u32_at(page, 8)?,
            write_same: u64_at(page, 36).unwrap_or(0),
        })
    }
}

/// True when blocks can be given back by WRITE SAME (16), which then makes them read as zeros. Reads page 0xB2; SBC-3, 6.6.4.
///
/// UNMAP is not used: a device may leave alone what it was asked to give back, and then its old bytes stay.
pub fn unmaps_by_write_same(page: &[u8]) -> bool {
    page.get(1) == Some(&0xb2) && page.get(5).is_some_and(|flags| flags & 0x40 != 0)
}

/// The LUNs of REPORT LUNS, as numbers, in their order; those of addressing methods that no target uses for disks are left out.
/// SPC-4, 6.33.2; SAM-5, 4.7.
pub fn luns(data: &[u8]) -> Vec<u16> {
    let length = u32_at(data, 0).unwrap_or(0) as usize;
    let list = data.get(8..).unwrap_or_default();
    let list = &list[..list.len().min(length)];
    let numbers = list.chunks_exact(8).filter_map(|lun| match lun[0] >> 6 {
        // Peripheral device addressing, bus 0.
        0 if lun[0] == 0 => Some(u16::from(lun[1])),
        // Flat space addressing.
        1 => Some(u16::from_be_bytes([lun[0] & 0x3f, lun[1]])),
        _ => None,
    });
    numbers.collect()
}

/// True when the caching page says that writes end before they are on stable storage; what is no such page says so too.
/// SBC-3, 6.5.4; SPC-4, 7.5.4.
pub fn has_write_cache(data: &[u8]) -> bool {
    let descriptors = data.get(3).map_or(0, |length| usize::from(*length));
    let page = data.get(4 + descriptors..).unwrap_or_default();
    match page {
        [code, _, flags, ..] if code & 0x3f == 0x08 => flags & 0x04 != 0,
        _ => true,
    }
}

/// True for a disk that is there. SPC-4, 6.4.2: qualifier and type.
pub fn is_disk(standard: &[u8]) -> bool {
    standard.first() == Some(&0)
}

fn u32_at(data: &[u8], offset: usize) -> Option<u32> {
    let bytes = data.get(offset..offset + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

fn u64_at(data: &[u8], offset: usize) -> Option<u64> {
    let bytes = data.get(offset..offset + 8)?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_capacities() {
        let mut data = [0; 32];
        data[..8].copy_from_slice(&0x1_ffff_ffff_u64.to_be_bytes());
        data[8..12].copy_from_slice(&4096_u32.to_be_bytes());
        data[14] = 0xc0;
        let capacity = Capacity::parse_16(&data).unwrap();
        assert_eq!(capacity.size(), 0x2_0000_0000 * 4096);
        assert!(capacity.is_thin && capacity.reads_zeros);
        for last in [u64::MAX, u64::MAX - 1, (1 << 51) - 1] {
            let mut data = data;
            data[..8].copy_from_slice(&last.to_be_bytes());
            assert_eq!(Capacity::parse_16(&data), None, "{last}");
        }
        data[8..12].copy_from_slice(&0_u32.to_be_bytes());
        assert_eq!(Capacity::parse_16(&data), None);
        let ten = [0, 0, 0, 9, 0, 0, 2, 0];
        assert_eq!(Capacity::parse_10(&ten).unwrap().size(), 5120);
        assert_eq!(Capacity::parse_10(&[0xff; 8]), None);
        assert_eq!(Capacity::parse_10(&ten[..7]), None);
    }

    #[test]
    fn reads_lists_of_luns() {
        let mut data = vec![0, 0, 0, 32, 0, 0, 0, 0];
        data.extend([0, 0, 0, 0, 0, 0, 0, 0]);
        data.extend([0, 7, 0, 0, 0, 0, 0, 0]);
        data.extend([0x41, 0x02, 0, 0, 0, 0, 0, 0]);
        data.extend([0xc1, 0x01, 0, 0, 0, 0, 0, 0]);
        assert_eq!(luns(&data), [0, 7, 0x102]);
        // Cut short, as when the buffer was too small.
        assert_eq!(luns(&data[..20]), [0]);
        assert!(luns(&[]).is_empty());
    }

    #[test]
    fn reads_pages() {
        assert!(has_write_cache(&[0, 0, 0, 0, 0x88, 0x12, 0x04]));
        assert!(!has_write_cache(&[0, 0, 0, 0, 0x88, 0x12, 0x00]));
        assert!(!has_write_cache(&[0, 0, 0, 2, 9, 9, 0x08, 0x12, 0x00]));
        assert!(has_write_cache(&[]));
        let mut page = [0; 64];
        page[1] = 0xb0;
        page[11] = 9;
        let limits = Limits::parse(&page).unwrap();
        assert_eq!((limits.transfer, limits.write_same), (9, 0));
        assert!(unmaps_by_write_same(&[0, 0xb2, 0, 4, 0, 0x40]));
        assert!(!unmaps_by_write_same(&[0, 0xb2, 0, 4, 0, 0x80]));
        assert!(is_disk(&[0]) && !is_disk(&[0x0c]) && !is_disk(&[0x20]) && !is_disk(&[]));
    }
}
