//! Where the bytes of a logical volume lie.

use super::{LogicalVolume, SegmentKind, VolumeGroup};
use crate::SECTOR_SIZE;
use crate::error::{Error, Result};

/// Extents that [`Map::extents`] lists: a volume of 2 TiB in stripes of 2 MiB.
pub const MAX_EXTENTS: usize = 1 << 20;

/// Bytes of a logical volume that lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Index of the physical volume.
    pub pv: usize,
    /// Bytes from the begin of its device.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// Where the bytes of one logical volume lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    pieces: Vec<Piece>,
    size: u64,
}

/// A segment in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    start: u64,
    length: u64,
    /// Bytes on one stripe before the next comes; all when there is one.
    stripe_size: u64,
    /// Physical volume and offset there of each stripe.
    stripes: Vec<(usize, u64)>,
}

impl VolumeGroup {
    /// Where the bytes of a logical volume lie.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Unsupported`] when that is not known here.
    pub fn map(&self, name: &str) -> Result<Map> {
        self.map_of(self.get(name)?)
    }

    /// As [`VolumeGroup::map`], of a volume of this group that the caller has at hand.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    pub fn map_of(&self, volume: &LogicalVolume) -> Result<Map> {
        let mut pieces = Vec::with_capacity(volume.segments.len());
        for segment in &volume.segments {
            let (stripe_size, stripes) = match &segment.kind {
                SegmentKind::Striped {
                    stripe_size,
                    stripes,
                } => (*stripe_size, stripes),
                SegmentKind::Other { name: kind } => {
                    return Err(Error::Unsupported {
                        group: self.name.clone(),
                        object: volume.name.clone(),
                        feature: format!("a segment of type {kind}"),
                    });
                }
            };
            let length = segment.extents * self.extent_bytes();
            let offset_of = |stripe: &super::Stripe| {
                let on = &self.physical_volumes[stripe.physical_volume];
                let sectors = on.data_start + stripe.extent * self.extent_size;
                (stripe.physical_volume, sectors * SECTOR_SIZE)
            };
            pieces.push(Piece {
                start: segment.start * self.extent_bytes(),
                length,
                stripe_size: match stripes.len() {
                    1 => length,
                    _ => stripe_size * SECTOR_SIZE,
                },
                stripes: stripes.iter().map(offset_of).collect(),
            });
        }
        Ok(Map {
            size: self.size_of(volume),
            pieces,
        })
    }

    /// The extents of a logical volume, in order.
    ///
    /// # Errors
    /// As [`VolumeGroup::map`]; [`Error::Limit`] when there are more than [`MAX_EXTENTS`].
    pub fn extents(&self, name: &str) -> Result<Vec<Extent>> {
        self.map(name)?.extents()
    }
}

impl Map {
    /// Bytes of the logical volume.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What lies at `offset`, with the bytes that follow it there; `None` past the end.
    pub fn locate(&self, offset: u64) -> Option<Extent> {
        let behind = self.pieces.partition_point(|piece| piece.start <= offset);
        let piece = self.pieces.get(behind.checked_sub(1)?)?;
        let inside = offset - piece.start;
        if inside >= piece.length {
            return None;
        }
        let chunk = inside / piece.stripe_size;
        let within = inside % piece.stripe_size;
        let count = piece.stripes.len() as u64;
        let (pv, begin) = piece.stripes[(chunk % count) as usize];
        Some(Extent {
            pv,
            offset: begin + chunk / count * piece.stripe_size + within,
            length: piece.stripe_size - within,
        })
    }

    /// All extents, in order; those that touch are one.
    ///
    /// # Errors
    /// [`Error::Limit`] when there are more than [`MAX_EXTENTS`].
    pub fn extents(&self) -> Result<Vec<Extent>> {
        let mut extents: Vec<Extent> = Vec::new();
        let mut offset = 0;
        while let Some(extent) = self.locate(offset) {
            offset += extent.length;
            if let Some(last) = extents.last_mut()
                && last.pv == extent.pv
                && last.offset + last.length == extent.offset
            {
                last.length += extent.length;
                continue;
            }
            if extents.len() == MAX_EXTENTS {
                return Err(Error::Limit {
                    what: "number of extents in a list",
                    found: MAX_EXTENTS as u64 + 1,
                    minimum: 0,
                    maximum: MAX_EXTENTS as u64,
                });
            }
            extents.push(extent);
        }
        Ok(extents)
    }
}
