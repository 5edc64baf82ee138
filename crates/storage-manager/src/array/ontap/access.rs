//! Who sees which LUN: one igroup for this initiator, one map for each LUN that it has open.

use http::Method;
use serde_json::json;
use uuid::Uuid;

use super::error::RestError;
use super::filer::Filer;
use super::json::{id, list, number, text};
use super::layout::{MARK, flexvol_stem, igroup_name};
use super::luns::FilerLun;

/// A LUN that an igroup sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LunMap {
    /// The LUN's path.
    pub path: String,
    /// The LUN's uuid.
    pub lun: String,
    /// The igroup's name.
    pub igroup: String,
    /// The igroup's uuid.
    pub igroup_uuid: String,
    /// The number under which it is seen.
    pub number: u16,
}

impl LunMap {
    /// True for the igroup of a storage manager, also of another one than this.
    pub fn is_ours(&self) -> bool {
        self.igroup.starts_with(MARK)
    }
}

impl Filer {
    /// Makes the igroup of an initiator.
    pub fn ensure_igroup(&self, initiator: &str) -> Result<(), RestError> {
        let name = igroup_name(initiator);
        let body = json!({
            "svm": {"name": self.svm.name},
            "name": name,
            "os_type": "linux",
            "protocol": "iscsi",
            "initiators": [{"name": initiator}],
        });
        let query = [
            ("svm.name", self.svm.name.as_str()),
            ("name", name.as_str()),
            ("fields", "uuid,initiators.name"),
        ];
        let path = "/protocols/san/igroups";
        let found = self.client.until(
            || self.client.record(path, &query),
            || self.client.change(Method::POST, path, &[], Some(&body)),
        )?;
        let mut members = list(&found, "initiators").iter();
        if members.any(|it| text(it, "name") == Some(initiator)) {
            return Ok(());
        }
        let uuid = id(&found, "uuid").ok_or(RestError::Incomplete {
            what: "ask for the igroup",
            field: "uuid",
        })?;
        let path = format!("/protocols/san/igroups/{uuid}/initiators");
        let member = json!({"name": initiator});
        match self
            .client
            .repeatable(Method::POST, &path, &[], Some(&member))
        {
            Err(error) if error.is_duplicate() => Ok(()),
            ended => ended,
        }
    }

    /// Who sees a LUN.
    pub fn maps_of(&self, lun: &FilerLun) -> Result<Vec<LunMap>, RestError> {
        self.maps(&lun.path(), None)
    }

    /// The LUNs of an SR that an initiator sees.
    pub fn maps_for(&self, sr: Uuid, initiator: &str) -> Result<Vec<LunMap>, RestError> {
        let (pattern, igroup) = (
            format!("/vol/{}*", flexvol_stem(sr)),
            igroup_name(initiator),
        );
        self.maps(&pattern, Some(&igroup))
    }

    fn maps(&self, pattern: &str, igroup: Option<&str>) -> Result<Vec<LunMap>, RestError> {
        let mut query = vec![
            ("svm.name", self.svm.name.as_str()),
            ("lun.name", pattern),
            (
                "fields",
                "lun.name,lun.uuid,igroup.name,igroup.uuid,logical_unit_number",
            ),
        ];
        if let Some(igroup) = igroup {
            query.push(("igroup.name", igroup));
        }
        let records = self.client.records("/protocols/san/lun-maps", &query)?;
        let maps = records.iter().map(|record| {
            Some(LunMap {
                path: text(record, "lun.name")?.to_owned(),
                lun: id(record, "lun.uuid")?.to_owned(),
                igroup: text(record, "igroup.name")?.to_owned(),
                igroup_uuid: id(record, "igroup.uuid")?.to_owned(),
                number: number(record, "logical_unit_number")?.try_into().ok()?,
            })
        });
        // One that is left out would be somebody who sees the LUN unknown to us.
        let maps: Option<Vec<LunMap>> = maps.collect();
        maps.ok_or(RestError::Incomplete {
            what: "ask who sees LUNs",
            field: "name, uuid or number",
        })
    }

    /// Shows a LUN to an initiator, whose igroup is there; a map that is there already stays.
    pub fn map_lun(&self, lun: &FilerLun, initiator: &str) -> Result<LunMap, RestError> {
        let (path, igroup) = (lun.path(), igroup_name(initiator));
        let body = json!({
            "svm": {"name": self.svm.name},
            "lun": {"name": path},
            "igroup": {"name": igroup},
        });
        self.client.until(
            || Ok(self.maps(&path, Some(&igroup))?.pop()),
            || {
                self.client
                    .change(Method::POST, "/protocols/san/lun-maps", &[], Some(&body))
            },
        )
    }

    /// Takes a LUN out of sight; one that is not seen is no error.
    pub fn unmap_lun(&self, map: &LunMap) -> Result<(), RestError> {
        let path = format!("/protocols/san/lun-maps/{}/{}", map.lun, map.igroup_uuid);
        match self.client.repeatable(Method::DELETE, &path, &[], None) {
            Err(error) if error.is_missing() => Ok(()),
            ended => ended,
        }
    }
}
