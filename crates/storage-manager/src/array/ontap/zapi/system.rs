//! Version, SVMs and aggregates by ZAPI.

use super::super::error::FilerError;
use super::super::transport::{Aggregate, Svm, SvmRecord, SystemCalls};
use super::client::{Client, VERSION, call, query};
use super::element::Element;

impl Client {
    /// What is wrong with the filer's version, if anything is: it must be a cluster that makes LUNs of an exact size.
    pub fn trouble(&self) -> Result<Option<String>, FilerError> {
        let found = self.ask(None, &call("system-get-ontapi-version", &[]))?;
        let part = |name: &str| found.number(name);
        let (Some(major), Some(minor)) = (part("major-version"), part("minor-version")) else {
            return Ok(Some("does not tell the version of its ZAPI".to_owned()));
        };
        let system = self.ask(None, &call("system-get-version", &[]))?;
        let version = system.text("version").unwrap_or("an unknown version");
        let version: String = version.chars().take(100).collect();
        if system.flag("is-clustered") != Some(true) {
            return Ok(Some(format!("runs 7-Mode ({version})")));
        }
        let is_old = (major, minor) < VERSION;
        Ok(is_old.then(|| format!("speaks ZAPI {major}.{minor} ({version})")))
    }
}

impl SystemCalls for Client {
    fn address(&self) -> String {
        self.place().address()
    }

    fn svms(&self) -> Result<Vec<SvmRecord>, FilerError> {
        let wanted = query("vserver-info", &[("vserver-type", "data")]);
        let records = self.records(None, "vserver-get-iter", wanted)?;
        let services = self.records(None, "iscsi-service-get-iter", None)?;
        let serves = |name: &str| {
            let own = |it: &&Element| it.text("vserver") == Some(name);
            let service = services.iter().find(own);
            service.is_some_and(|it| it.flag("is-available") != Some(false))
        };
        let all = records.iter().map(|it| {
            let name = it.text("vserver-name");
            SvmRecord {
                name: name.map(str::to_owned),
                uuid: Some(it.text("uuid").unwrap_or_default().to_owned()),
                is_running: it.text("state").is_none_or(|state| state == "running"),
                serves_iscsi: name.is_some_and(serves),
            }
        });
        Ok(all.collect())
    }

    fn aggregates(&self, svm: &Svm) -> Result<Vec<Aggregate>, FilerError> {
        match self.records(None, "aggr-get-iter", None) {
            Ok(records) if !records.is_empty() => {
                Ok(records.iter().filter_map(aggregate).collect())
            }
            Err(error) if !error.is_forbidden() && error.zapi_number() != Some(13_005) => {
                Err(error)
            }
            // An account of an SVM knows no such call.
            _ => self.own_aggregates(svm),
        }
    }
}

impl Client {
    fn own_aggregates(&self, svm: &Svm) -> Result<Vec<Aggregate>, FilerError> {
        let wanted = query("vserver-info", &[("vserver-name", &svm.name)]);
        let records = self.records(Some(svm), "vserver-get-iter", wanted)?;
        let all = records
            .iter()
            .flat_map(|it| it.list("vserver-aggr-info-list"));
        let own = all.filter_map(|it| {
            let available = it.number("aggr-availsize").unwrap_or(0);
            Some(Aggregate {
                name: it.text("aggr-name")?.to_owned(),
                size: available,
                available,
                disks: 0,
                raid_type: String::new(),
            })
        });
        Ok(own.collect())
    }
}

fn aggregate(record: &Element) -> Option<Aggregate> {
    let raid = |name: &str| format!("aggr-raid-attributes/{name}");
    let space = |name: &str| record.number(&format!("aggr-space-attributes/{name}"));
    Some(Aggregate {
        name: record.text("aggregate-name")?.to_owned(),
        size: space("size-total")?,
        available: space("size-available").unwrap_or(0),
        disks: record.number(&raid("disk-count")).unwrap_or(0),
        raid_type: record
            .text(&raid("raid-type"))
            .unwrap_or_default()
            .to_owned(),
    })
}
