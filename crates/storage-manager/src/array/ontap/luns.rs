//! The LUNs of an SR.

use uuid::Uuid;

use super::error::FilerError;
use super::filer::Filer;
use super::layout::{VdiMark, flexvol_stem, lun_name, lun_path, parse_flexvol, parse_lun};
use super::retry::{repeated, until};
use super::transport::{LunId, LunRecord, NewContent, NewLunRecord};
use crate::array::ArrayVolume;
use crate::layout::lun_per_vdi::SCSI_ID;

/// A LUN of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct FilerLun {
    /// Its uuid on the filer.
    pub uuid: String,
    /// The FlexVol.
    pub flexvol: String,
    /// The VDI.
    pub vdi: Uuid,
    /// Bytes.
    pub size: u64,
    /// Bytes that it holds.
    pub used: u64,
    /// Its serial number.
    pub serial: String,
    /// What its comment says.
    pub mark: VdiMark,
    /// Why it cannot be used, if it cannot.
    pub damage: Option<String>,
}

/// The operating system that LUNs are laid out for: what alignment and error codes it gets. Whoever uses a VDI sees plain blocks.
pub const OS_TYPE: &str = "linux";

impl FilerLun {
    /// None for one that is not ours.
    fn of(record: LunRecord) -> Option<FilerLun> {
        let (flexvol, vdi) = parse_lun(&record.path)?;
        let damage = if record.size.is_none() || record.serial.is_empty() {
            Some("the filer does not tell its size and serial number")
        } else if !record.is_online {
            Some("the LUN is offline; bring it online on the filer")
        } else if !record.is_flexvol_online {
            Some("the FlexVol of the LUN is offline; bring it online on the filer")
        } else {
            None
        };
        Some(FilerLun {
            uuid: record.uuid?,
            flexvol: flexvol.to_owned(),
            vdi,
            size: record.size.unwrap_or(0),
            used: record.used,
            serial: record.serial,
            mark: VdiMark::parse(vdi, &record.comment),
            damage: damage.map(str::to_owned),
        })
    }

    /// Has the filer's calls know it.
    fn with_id<T>(&self, call: impl FnOnce(LunId<'_>) -> T) -> T {
        let name = lun_name(self.vdi);
        call(LunId {
            flexvol: &self.flexvol,
            name: &name,
            uuid: &self.uuid,
        })
    }

    /// Its path.
    pub fn path(&self) -> String {
        lun_path(&self.flexvol, self.vdi)
    }

    /// Its SCSI id: NetApp's NAA prefix and its serial number in hexadecimal; none for a damaged one that tells no number. Source:
    /// reference arrays 3.3.
    pub fn scsi_id(&self) -> Option<String> {
        let bytes = self.serial.bytes();
        let hex: String = bytes.map(|byte| format!("{byte:02x}")).collect();
        (!hex.is_empty()).then(|| format!("3600a0980{hex}"))
    }

    /// The volume as drivers know it. By the SCSI id it is known as in use to SRs that would be made on the LUN.
    pub fn volume(&self) -> ArrayVolume {
        let scsi_id = self.scsi_id().map(|id| (SCSI_ID.to_owned(), id));
        ArrayVolume {
            vdi: self.vdi,
            virtual_size: self.size,
            physical_utilisation: self.used,
            read_only: false,
            sm_config: scsi_id.into_iter().collect(),
        }
    }
}

/// A LUN that is to be made.
pub struct NewLun<'a> {
    /// The FlexVol.
    pub flexvol: &'a str,
    /// The VDI.
    pub vdi: Uuid,
    /// True when its space is to be kept for it.
    pub is_reserved: bool,
    /// What its comment is to say.
    pub mark: &'a VdiMark,
    /// What it holds.
    pub content: Content<'a>,
}

/// What a new LUN holds.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    /// So many zeros.
    Zeros(u64),
    /// What the LUN of another VDI in its FlexVol has now, or had when the snapshot of that name was made.
    CloneOf(Uuid, Option<&'a str>),
}

impl Filer {
    /// All LUNs of an SR. What bears another name than ours is left out.
    pub fn luns(&self, sr: Uuid) -> Result<Vec<FilerLun>, FilerError> {
        self.luns_named(sr, &format!("/vol/{}*", flexvol_stem(sr)))
    }

    /// The LUN of a VDI.
    ///
    /// # Errors
    /// When there are two: nobody knows which one it is.
    pub fn lun(&self, sr: Uuid, vdi: Uuid) -> Result<Option<FilerLun>, FilerError> {
        let pattern = format!("/vol/{}*/{}", flexvol_stem(sr), lun_name(vdi));
        let mut found = self.luns_named(sr, &pattern)?;
        let last = found.pop();
        match (found.pop(), last) {
            (Some(one), Some(other)) => Err(FilerError::Twins {
                one: one.path(),
                other: other.path(),
            }),
            (_, found) => Ok(found),
        }
    }

    fn luns_named(&self, sr: Uuid, pattern: &str) -> Result<Vec<FilerLun>, FilerError> {
        let records = self.calls.luns(&self.svm, pattern)?;
        // A FlexVol that was copied under a name like ours is none of ours.
        let is_own = |flexvol: &str| parse_flexvol(flexvol).is_some_and(|(of, _)| of == sr);
        let mut luns = Vec::new();
        for record in records {
            let path = parse_lun(&record.path);
            if !path.is_some_and(|(flexvol, _)| is_own(flexvol)) {
                continue;
            }
            // One that is left out would count as gone.
            luns.push(FilerLun::of(record).ok_or(FilerError::Incomplete {
                what: "list the LUNs of the SR",
                field: "uuid",
            })?);
        }
        Ok(luns)
    }

    /// True when a FlexVol holds a LUN, ours or another's.
    pub fn has_luns(&self, flexvol: &str) -> Result<Option<String>, FilerError> {
        let pattern = format!("/vol/{flexvol}/*");
        let found = self.calls.luns(&self.svm, &pattern)?;
        Ok(found.into_iter().next().map(|it| it.path))
    }

    /// Makes a LUN; one that is there already is answered as it is.
    pub fn create_lun(&self, sr: Uuid, new: &NewLun<'_>) -> Result<FilerLun, FilerError> {
        let (name, comment) = (lun_name(new.vdi), new.mark.to_comment());
        let source;
        let content = match new.content {
            Content::Zeros(size) => NewContent::Zeros(size),
            Content::CloneOf(vdi, snapshot) => {
                source = lun_name(vdi);
                NewContent::CloneOf(&source, snapshot)
            }
        };
        let record = NewLunRecord {
            flexvol: new.flexvol,
            name: &name,
            is_reserved: new.is_reserved,
            comment: &comment,
            content,
        };
        until(
            || self.lun(sr, new.vdi),
            || self.calls.create_lun(&self.svm, &record),
        )
    }

    /// Gives a LUN the content of another, which lies in the same FlexVol. It keeps its serial number and its maps.
    pub fn overwrite_lun(&self, lun: &FilerLun, source: &FilerLun) -> Result<(), FilerError> {
        repeated(|| {
            source.with_id(|source| {
                lun.with_id(|lun| self.calls.overwrite_lun(&self.svm, lun, source))
            })
        })
    }

    /// Gives a LUN a larger size.
    pub fn resize_lun(&self, lun: &FilerLun, size: u64) -> Result<(), FilerError> {
        repeated(|| lun.with_id(|lun| self.calls.resize_lun(&self.svm, lun, size)))
    }

    /// Gives a LUN a comment.
    pub fn comment_lun(&self, lun: &FilerLun, mark: &VdiMark) -> Result<(), FilerError> {
        let comment = mark.to_comment();
        repeated(|| lun.with_id(|lun| self.calls.comment_lun(&self.svm, lun, &comment)))
    }

    /// Deletes a LUN; one that is gone is no error, one that is mapped is not deleted.
    pub fn delete_lun(&self, lun: &FilerLun) -> Result<(), FilerError> {
        match repeated(|| lun.with_id(|lun| self.calls.delete_lun(&self.svm, lun))) {
            Err(error) if error.is_missing() => Ok(()),
            ended => ended,
        }
    }
}
