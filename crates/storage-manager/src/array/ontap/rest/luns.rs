//! LUNs by REST.

use http::Method;
use serde_json::{Value, json};

use super::super::error::FilerError;
use super::super::luns::OS_TYPE;
use super::super::transport::{LunCalls, LunId, LunRecord, NewContent, NewLunRecord, Svm};
use super::client::Client;
use super::json::{flag, id, number, text};

/// What is asked for.
const FIELDS: &str = "name,uuid,serial_number,comment,enabled,space.size,space.used,status.state,status.container_state";

impl Client {
    fn change_lun(&self, lun: LunId<'_>, body: &Value) -> Result<(), FilerError> {
        let path = format!("/storage/luns/{}", lun.uuid);
        self.change(Method::PATCH, &path, &[], Some(body))
    }
}

fn lun(record: &Value) -> Option<LunRecord> {
    let is = |field: &str, wanted: &str| text(record, field).is_none_or(|it| it == wanted);
    Some(LunRecord {
        path: text(record, "name")?.to_owned(),
        uuid: id(record, "uuid").map(str::to_owned),
        size: number(record, "space.size"),
        used: number(record, "space.used").unwrap_or(0),
        serial: text(record, "serial_number").unwrap_or_default().to_owned(),
        comment: text(record, "comment").unwrap_or_default().to_owned(),
        is_online: flag(record, "enabled") != Some(false) && is("status.state", "online"),
        is_flexvol_online: is("status.container_state", "online"),
    })
}

impl LunCalls for Client {
    fn luns(&self, svm: &Svm, pattern: &str) -> Result<Vec<LunRecord>, FilerError> {
        let query = [
            ("svm.name", svm.name.as_str()),
            ("name", pattern),
            ("fields", FIELDS),
        ];
        let records = self.records("/storage/luns", &query)?;
        Ok(records.iter().filter_map(lun).collect())
    }

    fn create_lun(&self, svm: &Svm, new: &NewLunRecord<'_>) -> Result<(), FilerError> {
        let mut body = json!({
            "svm": {"name": svm.name},
            "name": format!("/vol/{}/{}", new.flexvol, new.name),
            "comment": new.comment,
            "space": {
                "guarantee": {"requested": new.is_reserved},
                "scsi_thin_provisioning_support_enabled": true,
            },
        });
        match new.content {
            NewContent::Zeros(size) => {
                body["os_type"] = json!(OS_TYPE);
                body["space"]["size"] = json!(size);
            }
            NewContent::CloneOf(source, snapshot) => {
                let inside = snapshot.map(|snapshot| format!(".snapshot/{snapshot}/"));
                let path = format!(
                    "/vol/{}/{}{source}",
                    new.flexvol,
                    inside.unwrap_or_default()
                );
                body["clone"] = json!({"source": {"name": path}});
            }
        }
        self.change(Method::POST, "/storage/luns", &[], Some(&body))
    }

    fn overwrite_lun(&self, _: &Svm, lun: LunId<'_>, source: LunId<'_>) -> Result<(), FilerError> {
        let body = json!({"clone": {"source": {"name": source.path()}}});
        self.change_lun(lun, &body)
    }

    fn resize_lun(&self, _: &Svm, lun: LunId<'_>, size: u64) -> Result<(), FilerError> {
        match self.change_lun(lun, &json!({"space": {"size": size}})) {
            // It has this size: an earlier try was carried out.
            Err(error) if error.code() == "1254226" => Ok(()),
            changed => changed,
        }
    }

    fn comment_lun(&self, _: &Svm, lun: LunId<'_>, comment: &str) -> Result<(), FilerError> {
        self.change_lun(lun, &json!({"comment": comment}))
    }

    fn delete_lun(&self, _: &Svm, lun: LunId<'_>) -> Result<(), FilerError> {
        let path = format!("/storage/luns/{}", lun.uuid);
        self.change(Method::DELETE, &path, &[], None)
    }
}
