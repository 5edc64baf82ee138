//! Igroups, maps, the iSCSI service and CHAP accounts by ZAPI.

use super::super::error::FilerError;
use super::super::transport::{AccessCalls, IgroupRecord, IscsiService, LunMap, Svm};
use super::client::{Client, call, query};
use super::element::Element;
use crate::medium::iscsi::{Credentials, DEFAULT_PORT};

/// The number of an initiator without an account. Source: reference arrays 4.4.
const NO_ACCOUNT: u32 = 13_112;

fn map(record: &Element) -> Option<LunMap> {
    let text = |name: &str| record.text(name).unwrap_or_default().to_owned();
    Some(LunMap {
        path: record.text("path")?.to_owned(),
        lun: text("lun-uuid"),
        igroup: record.text("initiator-group")?.to_owned(),
        igroup_uuid: text("initiator-group-uuid"),
        number: record.number("lun-id")?.try_into().ok()?,
    })
}

/// A CHAP account as the calls want it: `password` is the field for one that is obfuscated, `passphrase` that for one as it is.
fn account<'a>(initiator: &'a str, account: &'a Credentials) -> [(&'a str, &'a str); 3] {
    [
        ("initiator", initiator),
        ("user-name", &account.user),
        ("passphrase", account.password.expose()),
    ]
}

impl AccessCalls for Client {
    fn igroup(&self, svm: &Svm, name: &str) -> Result<Option<IgroupRecord>, FilerError> {
        let texts = [("initiator-group-name", name), ("vserver", &svm.name)];
        let wanted = query("initiator-group-info", &texts);
        let records = self.records(Some(svm), "igroup-get-iter", wanted)?;
        Ok(records.first().map(|found| {
            let initiators = found.list("initiators").iter();
            let initiators =
                initiators.filter_map(|it| it.text("initiator-name").map(str::to_owned));
            IgroupRecord {
                name: name.to_owned(),
                uuid: String::new(),
                initiators: initiators.collect(),
            }
        }))
    }

    /// Without its initiator, which is a call of its own.
    fn create_igroup(&self, svm: &Svm, name: &str, _: &str) -> Result<(), FilerError> {
        let texts = [
            ("initiator-group-name", name),
            ("initiator-group-type", "iscsi"),
            ("os-type", "linux"),
        ];
        self.change(svm, &call("igroup-create", &texts))
    }

    fn add_initiator(
        &self,
        svm: &Svm,
        igroup: &IgroupRecord,
        initiator: &str,
    ) -> Result<(), FilerError> {
        let texts = [
            ("initiator-group-name", igroup.name.as_str()),
            ("initiator", initiator),
        ];
        self.change(svm, &call("igroup-add", &texts))
    }

    fn maps(
        &self,
        svm: &Svm,
        pattern: &str,
        igroup: Option<&str>,
    ) -> Result<Vec<LunMap>, FilerError> {
        let mut texts = vec![("path", pattern), ("vserver", svm.name.as_str())];
        if let Some(igroup) = igroup {
            texts.push(("initiator-group", igroup));
        }
        let wanted = query("lun-map-info", &texts);
        let records = self.records(Some(svm), "lun-map-get-iter", wanted)?;
        // One that is left out would be somebody who sees the LUN unknown to us.
        let maps: Option<Vec<LunMap>> = records.iter().map(map).collect();
        maps.ok_or(FilerError::Incomplete {
            what: "ask who sees LUNs",
            field: "path, igroup or number",
        })
    }

    fn map_lun(&self, svm: &Svm, path: &str, igroup: &str) -> Result<(), FilerError> {
        let texts = [("path", path), ("initiator-group", igroup)];
        self.change(svm, &call("lun-map", &texts))
    }

    fn unmap_lun(&self, svm: &Svm, map: &LunMap) -> Result<(), FilerError> {
        let texts = [
            ("path", map.path.as_str()),
            ("initiator-group", map.igroup.as_str()),
        ];
        self.change(svm, &call("lun-unmap", &texts))
    }

    fn iscsi_service(&self, svm: &Svm) -> Result<Option<IscsiService>, FilerError> {
        let wanted = query("iscsi-service-info", &[("vserver", &svm.name)]);
        let records = self.records(Some(svm), "iscsi-service-get-iter", wanted)?;
        Ok(records.first().map(|service| IscsiService {
            is_enabled: service.flag("is-available") != Some(false),
            target: service.text("node-name").unwrap_or_default().to_owned(),
        }))
    }

    fn portals(&self, svm: &Svm) -> Result<Vec<(String, u16)>, FilerError> {
        let wanted = query("iscsi-interface-list-entry-info", &[("vserver", &svm.name)]);
        let records = self.records(Some(svm), "iscsi-interface-get-iter", wanted)?;
        let up = records
            .iter()
            .filter(|it| it.flag("is-interface-enabled") != Some(false));
        let portals = up.filter_map(|it| {
            let port = it.number("ip-port").and_then(|port| port.try_into().ok());
            let address = it.text("ip-address")?.to_owned();
            Some((address, port.unwrap_or(DEFAULT_PORT)))
        });
        Ok(portals.collect())
    }

    fn chap_user(&self, svm: &Svm, initiator: &str) -> Result<Option<String>, FilerError> {
        let get = call("iscsi-initiator-get-auth", &[("initiator", initiator)]);
        match self.ask(Some(svm), &get) {
            Ok(found) => Ok(Some(found.text("user-name").unwrap_or_default().to_owned())),
            Err(error) if error.zapi_number() == Some(NO_ACCOUNT) || error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create_chap(&self, svm: &Svm, initiator: &str, own: &Credentials) -> Result<(), FilerError> {
        let mut add = call("iscsi-initiator-add-auth", &account(initiator, own));
        add.children.push(Element::leaf("auth-type", "CHAP"));
        self.change(svm, &add)
    }

    fn change_chap(&self, svm: &Svm, initiator: &str, own: &Credentials) -> Result<(), FilerError> {
        let texts = account(initiator, own);
        self.change(svm, &call("iscsi-initiator-modify-chap-params", &texts))
    }
}
