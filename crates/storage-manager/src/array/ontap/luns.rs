//! The LUNs of an SR.

use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::RestError;
use super::filer::Filer;
use super::json::{flag, id, number, text};
use super::layout::{VdiMark, flexvol_stem, lun_name, lun_path, parse_flexvol, parse_lun};
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

/// What is asked for.
const FIELDS: &str = "name,uuid,serial_number,comment,enabled,space.size,space.used,status.state,status.container_state";

/// The operating system that LUNs are laid out for: what alignment and error codes it gets. Whoever uses a VDI sees plain blocks.
const OS_TYPE: &str = "linux";

impl FilerLun {
    fn parse(record: &Value) -> Option<FilerLun> {
        let path = text(record, "name")?;
        let (flexvol, vdi) = parse_lun(path)?;
        let is = |field: &str, wanted: &str| text(record, field).is_none_or(|it| it == wanted);
        let (size, serial) = (number(record, "space.size"), text(record, "serial_number"));
        let serial = serial.unwrap_or_default();
        let damage = if size.is_none() || serial.is_empty() {
            Some("the filer does not tell its size and serial number")
        } else if flag(record, "enabled") == Some(false) || !is("status.state", "online") {
            Some("the LUN is offline; bring it online on the filer")
        } else if !is("status.container_state", "online") {
            Some("the FlexVol of the LUN is offline; bring it online on the filer")
        } else {
            None
        };
        Some(FilerLun {
            uuid: id(record, "uuid")?.to_owned(),
            flexvol: flexvol.to_owned(),
            vdi,
            size: size.unwrap_or(0),
            used: number(record, "space.used").unwrap_or(0),
            serial: serial.to_owned(),
            mark: VdiMark::parse(vdi, text(record, "comment").unwrap_or_default()),
            damage: damage.map(str::to_owned),
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
    /// Bytes, or the path of the LUN that it is to be a clone of.
    pub content: Content<'a>,
}

/// What a new LUN holds.
pub enum Content<'a> {
    /// So many zeros.
    Zeros(u64),
    /// What another has now, or had when a snapshot was made.
    CloneOf(&'a str),
}

impl Filer {
    /// All LUNs of an SR. What bears another name than ours is left out.
    pub fn luns(&self, sr: Uuid) -> Result<Vec<FilerLun>, RestError> {
        self.luns_named(sr, &format!("/vol/{}*", flexvol_stem(sr)))
    }

    /// The LUN of a VDI.
    ///
    /// # Errors
    /// When there are two: nobody knows which one it is.
    pub fn lun(&self, sr: Uuid, vdi: Uuid) -> Result<Option<FilerLun>, RestError> {
        let pattern = format!("/vol/{}*/{}", flexvol_stem(sr), lun_name(vdi));
        let mut found = self.luns_named(sr, &pattern)?;
        let last = found.pop();
        match (found.pop(), last) {
            (Some(one), Some(other)) => Err(RestError::Twins {
                one: one.path(),
                other: other.path(),
            }),
            (_, found) => Ok(found),
        }
    }

    fn luns_named(&self, sr: Uuid, pattern: &str) -> Result<Vec<FilerLun>, RestError> {
        let query = [
            ("svm.name", self.svm.name.as_str()),
            ("name", pattern),
            ("fields", FIELDS),
        ];
        let records = self.client.records("/storage/luns", &query)?;
        // A FlexVol that was copied under a name like ours is none of ours.
        let is_own = |flexvol: &str| parse_flexvol(flexvol).is_some_and(|(of, _)| of == sr);
        let mut luns = Vec::new();
        for record in &records {
            let path = text(record, "name").and_then(parse_lun);
            if !path.is_some_and(|(flexvol, _)| is_own(flexvol)) {
                continue;
            }
            // One that is left out would count as gone.
            luns.push(FilerLun::parse(record).ok_or(RestError::Incomplete {
                what: "list the LUNs of the SR",
                field: "uuid",
            })?);
        }
        Ok(luns)
    }

    /// True when a FlexVol holds a LUN, ours or another's.
    pub fn has_luns(&self, flexvol: &str) -> Result<Option<String>, RestError> {
        let pattern = format!("/vol/{flexvol}/*");
        let query = [
            ("svm.name", self.svm.name.as_str()),
            ("name", pattern.as_str()),
            ("fields", "name"),
        ];
        let found = self.client.record("/storage/luns", &query)?;
        Ok(found.and_then(|it| text(&it, "name").map(str::to_owned)))
    }

    /// Makes a LUN; one that is there already is answered as it is.
    pub fn create_lun(&self, sr: Uuid, new: &NewLun<'_>) -> Result<FilerLun, RestError> {
        let mut body = json!({
            "svm": {"name": self.svm.name},
            "name": lun_path(new.flexvol, new.vdi),
            "comment": new.mark.to_comment(),
            "space": {
                "guarantee": {"requested": new.is_reserved},
                "scsi_thin_provisioning_support_enabled": true,
            },
        });
        match new.content {
            Content::Zeros(size) => {
                body["os_type"] = json!(OS_TYPE);
                body["space"]["size"] = json!(size);
            }
            Content::CloneOf(path) => body["clone"] = json!({"source": {"name": path}}),
        }
        self.client.until(
            || self.lun(sr, new.vdi),
            || {
                self.client
                    .change(Method::POST, "/storage/luns", &[], Some(&body))
            },
        )
    }

    /// Gives a LUN the content of another, which lies in the same FlexVol. It keeps its uuid, its serial number and its maps.
    pub fn overwrite_lun(&self, lun: &FilerLun, source: &FilerLun) -> Result<(), RestError> {
        let body = json!({"clone": {"source": {"name": source.path()}}});
        self.change_lun(lun, &body)
    }

    /// Gives a LUN a size.
    pub fn resize_lun(&self, lun: &FilerLun, size: u64) -> Result<(), RestError> {
        let changed = self.change_lun(lun, &json!({"space": {"size": size}}));
        match changed {
            // It has this size: an earlier try was carried out.
            Err(error) if error.code() == "1254226" => Ok(()),
            changed => changed,
        }
    }

    /// Gives a LUN a comment.
    pub fn comment_lun(&self, lun: &FilerLun, mark: &VdiMark) -> Result<(), RestError> {
        self.change_lun(lun, &json!({"comment": mark.to_comment()}))
    }

    fn change_lun(&self, lun: &FilerLun, body: &Value) -> Result<(), RestError> {
        let path = format!("/storage/luns/{}", lun.uuid);
        self.client
            .repeatable(Method::PATCH, &path, &[], Some(body))
    }

    /// Deletes a LUN; one that is gone is no error, one that is mapped is not deleted.
    pub fn delete_lun(&self, lun: &FilerLun) -> Result<(), RestError> {
        let path = format!("/storage/luns/{}", lun.uuid);
        match self.client.repeatable(Method::DELETE, &path, &[], None) {
            Err(error) if error.is_missing() => Ok(()),
            ended => ended,
        }
    }
}
