//! Igroups, maps, the iSCSI service and CHAP accounts by REST.

use http::Method;
use serde_json::json;

use super::super::error::FilerError;
use super::super::transport::{AccessCalls, IgroupRecord, IscsiService, LunMap, Svm};
use super::client::Client;
use super::json::{flag, id, list, number, text};
use crate::medium::iscsi::{Credentials, DEFAULT_PORT};

const IGROUPS: &str = "/protocols/san/igroups";
const MAPS: &str = "/protocols/san/lun-maps";
const ACCOUNTS: &str = "/protocols/san/iscsi/credentials";

impl AccessCalls for Client {
    fn igroup(&self, svm: &Svm, name: &str) -> Result<Option<IgroupRecord>, FilerError> {
        let query = [
            ("svm.name", svm.name.as_str()),
            ("name", name),
            ("fields", "uuid,initiators.name"),
        ];
        let Some(found) = self.record(IGROUPS, &query)? else {
            return Ok(None);
        };
        let uuid = id(&found, "uuid").ok_or(FilerError::Incomplete {
            what: "ask for the igroup",
            field: "uuid",
        })?;
        let initiators = list(&found, "initiators").iter();
        let initiators = initiators.filter_map(|it| text(it, "name").map(str::to_owned));
        Ok(Some(IgroupRecord {
            name: name.to_owned(),
            uuid: uuid.to_owned(),
            initiators: initiators.collect(),
        }))
    }

    fn create_igroup(&self, svm: &Svm, name: &str, initiator: &str) -> Result<(), FilerError> {
        let body = json!({
            "svm": {"name": svm.name},
            "name": name,
            "os_type": "linux",
            "protocol": "iscsi",
            "initiators": [{"name": initiator}],
        });
        self.change(Method::POST, IGROUPS, &[], Some(&body))
    }

    fn add_initiator(
        &self,
        _: &Svm,
        igroup: &IgroupRecord,
        initiator: &str,
    ) -> Result<(), FilerError> {
        let path = format!("{IGROUPS}/{}/initiators", igroup.uuid);
        let member = json!({"name": initiator});
        self.change(Method::POST, &path, &[], Some(&member))
    }

    fn maps(
        &self,
        svm: &Svm,
        pattern: &str,
        igroup: Option<&str>,
    ) -> Result<Vec<LunMap>, FilerError> {
        let mut query = vec![
            ("svm.name", svm.name.as_str()),
            ("lun.name", pattern),
            (
                "fields",
                "lun.name,lun.uuid,igroup.name,igroup.uuid,logical_unit_number",
            ),
        ];
        if let Some(igroup) = igroup {
            query.push(("igroup.name", igroup));
        }
        let records = self.records(MAPS, &query)?;
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
        maps.ok_or(FilerError::Incomplete {
            what: "ask who sees LUNs",
            field: "name, uuid or number",
        })
    }

    fn map_lun(&self, svm: &Svm, path: &str, igroup: &str) -> Result<(), FilerError> {
        let body = json!({
            "svm": {"name": svm.name},
            "lun": {"name": path},
            "igroup": {"name": igroup},
        });
        self.change(Method::POST, MAPS, &[], Some(&body))
    }

    fn unmap_lun(&self, _: &Svm, map: &LunMap) -> Result<(), FilerError> {
        let path = format!("{MAPS}/{}/{}", map.lun, map.igroup_uuid);
        self.change(Method::DELETE, &path, &[], None)
    }

    fn iscsi_service(&self, svm: &Svm) -> Result<Option<IscsiService>, FilerError> {
        let query = [
            ("svm.name", svm.name.as_str()),
            ("fields", "enabled,target.name"),
        ];
        let found = self.record("/protocols/san/iscsi/services", &query)?;
        Ok(found.map(|service| IscsiService {
            is_enabled: flag(&service, "enabled") != Some(false),
            target: text(&service, "target.name").unwrap_or_default().to_owned(),
        }))
    }

    /// Filers listen on the port of iSCSI and on no other.
    fn portals(&self, svm: &Svm) -> Result<Vec<(String, u16)>, FilerError> {
        let query = [
            ("services", "data_iscsi"),
            ("svm.name", svm.name.as_str()),
            ("fields", "ip.address,enabled,state"),
        ];
        let records = self.records("/network/ip/interfaces", &query)?;
        let up = records.iter().filter(|it| {
            flag(it, "enabled") != Some(false) && text(it, "state").is_none_or(|it| it == "up")
        });
        let portals = up.filter_map(|it| {
            let address = text(it, "ip.address")?.to_owned();
            Some((address, DEFAULT_PORT))
        });
        Ok(portals.collect())
    }

    fn chap_user(&self, svm: &Svm, initiator: &str) -> Result<Option<String>, FilerError> {
        let query = [
            ("svm.name", svm.name.as_str()),
            ("initiator", initiator),
            ("fields", "authentication_type,chap.inbound.user"),
        ];
        let found = self.record(ACCOUNTS, &query)?;
        Ok(found.map(|found| {
            let user = text(&found, "chap.inbound.user");
            user.unwrap_or_default().to_owned()
        }))
    }

    fn create_chap(
        &self,
        svm: &Svm,
        initiator: &str,
        account: &Credentials,
    ) -> Result<(), FilerError> {
        let body = json!({
            "svm": {"name": svm.name},
            "initiator": initiator,
            "authentication_type": "chap",
            "chap": {"inbound": {"user": account.user, "password": account.password.expose()}},
        });
        self.change(Method::POST, ACCOUNTS, &[], Some(&body))
    }

    fn change_chap(
        &self,
        svm: &Svm,
        initiator: &str,
        account: &Credentials,
    ) -> Result<(), FilerError> {
        let path = format!("{ACCOUNTS}/{}/{initiator}", svm.uuid);
        let inbound = json!({"user": account.user, "password": account.password.expose()});
        let body = json!({"authentication_type": "chap", "chap": {"inbound": inbound}});
        self.change(Method::PATCH, &path, &[], Some(&body))
    }
}
