//! Version, SVMs and aggregates by REST.

use serde_json::Value;

use super::super::error::FilerError;
use super::super::transport::{Aggregate, Svm, SvmRecord, SystemCalls};
use super::client::Client;
use super::json::{flag, list, number, text};

/// The oldest version whose REST interface has all that is needed: the one that Cinder asks for too.
const LEAST_VERSION: (u64, u64, u64) = (9, 11, 1);

/// Whether a filer's REST interface has what is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    /// It has.
    Full,
    /// It has not: what there is instead.
    TooOld(String),
    /// It has no FlexVols, whatever the interface: what it is.
    Never(&'static str),
}

impl Client {
    /// Whether the interface has what is needed.
    pub fn support(&self) -> Result<Support, FilerError> {
        let query = [("fields", "version,disaggregated")];
        let found = match self.get("/cluster", &query) {
            Err(error) if error.is_missing() => {
                return Ok(Support::TooOld("has no REST interface".to_owned()));
            }
            found => found?,
        };
        let part = |name: &str| number(&found, &format!("version.{name}"));
        let version = part("generation").map(|generation| {
            let (major, minor) = (part("major").unwrap_or(0), part("minor").unwrap_or(0));
            (generation, major, minor)
        });
        Ok(match version {
            None => Support::TooOld("does not tell its version".to_owned()),
            Some(version) if version < LEAST_VERSION => {
                let full = text(&found, "version.full").unwrap_or("");
                let (generation, major, minor) = version;
                Support::TooOld(format!("has version {generation}.{major}.{minor} ({full})"))
            }
            Some(_) if flag(&found, "disaggregated") == Some(true) => {
                Support::Never("is an ASA r2, which has no FlexVols")
            }
            Some(_) => Support::Full,
        })
    }

    fn own_aggregates(&self, svm: &Svm) -> Result<Vec<Aggregate>, FilerError> {
        let query = [
            ("name", svm.name.as_str()),
            ("fields", "aggregates.name,aggregates.available_size"),
        ];
        let svm = self.record("/svm/svms", &query)?.unwrap_or_default();
        let own = list(&svm, "aggregates").iter().filter_map(|it| {
            let available = number(it, "available_size").unwrap_or(0);
            Some(Aggregate {
                name: text(it, "name")?.to_owned(),
                size: available,
                available,
                disks: 0,
                raid_type: String::new(),
            })
        });
        Ok(own.collect())
    }
}

impl SystemCalls for Client {
    fn address(&self) -> String {
        self.place().address()
    }

    fn svms(&self) -> Result<Vec<SvmRecord>, FilerError> {
        let query = [("fields", "name,uuid,state,iscsi.enabled")];
        let records = self.records("/svm/svms", &query)?;
        let all = records.iter().map(|it| SvmRecord {
            name: text(it, "name").map(str::to_owned),
            uuid: super::json::id(it, "uuid").map(str::to_owned),
            is_running: text(it, "state").is_none_or(|state| state == "running"),
            serves_iscsi: flag(it, "iscsi.enabled") == Some(true),
        });
        Ok(all.collect())
    }

    fn aggregates(&self, svm: &Svm) -> Result<Vec<Aggregate>, FilerError> {
        let fields = "name,space.block_storage.size,space.block_storage.available,block_storage.primary.disk_count,block_storage.primary.raid_type";
        match self.records("/storage/aggregates", &[("fields", fields)]) {
            Ok(records) if !records.is_empty() => {
                Ok(records.iter().filter_map(aggregate).collect())
            }
            Ok(_) => self.own_aggregates(svm),
            Err(error) if error.is_forbidden() || error.is_missing() => self.own_aggregates(svm),
            Err(error) => Err(error),
        }
    }
}

fn aggregate(record: &Value) -> Option<Aggregate> {
    let raid_type = text(record, "block_storage.primary.raid_type");
    Some(Aggregate {
        name: text(record, "name")?.to_owned(),
        size: number(record, "space.block_storage.size")?,
        available: number(record, "space.block_storage.available").unwrap_or(0),
        disks: number(record, "block_storage.primary.disk_count").unwrap_or(0),
        raid_type: raid_type.unwrap_or_default().to_owned(),
    })
}
