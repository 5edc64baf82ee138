//! A filer as an SR finds it: its version, the SVM that is used, its aggregates and its iSCSI service.

use http::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::error::RestError;
use super::json::{flag, id, list, number, text};
use crate::array::{ArrayError, Fault};
use crate::medium::iscsi::{Credentials, DEFAULT_PORT};

/// The oldest version whose REST interface has all that is needed: the one that Cinder asks for too.
const LEAST_VERSION: (u64, u64, u64) = (9, 11, 1);

/// An SVM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Svm {
    /// Its name.
    pub name: String,
    /// Its uuid.
    pub uuid: String,
}

/// An aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Bytes that are free.
    pub available: u64,
    /// How many disks it has.
    pub disks: u64,
    /// `raid_dp` ...
    pub raid_type: String,
}

/// The iSCSI target of an SVM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IscsiTarget {
    /// Its name.
    pub name: String,
    /// Where it is reached.
    pub portals: Vec<(String, u16)>,
}

/// A filer, one SVM of it.
#[derive(Debug)]
pub struct Filer {
    /// How it is talked to.
    pub client: Client,
    /// The SVM.
    pub svm: Svm,
}

impl Filer {
    /// Checks the version and chooses the SVM: the one that is named, or the only one that serves data.
    ///
    /// # Errors
    /// 124 and 125 when nobody answers, or not us; 130 for a version without what is needed; 1 when the SVM is not clear.
    pub fn open(client: Client, svm: Option<&str>) -> Result<Filer, ArrayError> {
        let array = format!("filer {}", client.address());
        check_version(&client, &array)?;
        let svm = choose_svm(&client, &array, svm)?;
        Ok(Filer { client, svm })
    }

    /// What it is called, for messages.
    pub fn name(&self) -> String {
        format!("filer {}, SVM {}", self.client.address(), self.svm.name)
    }

    /// A failure with what was attempted.
    pub fn failed(&self, action: &'static str) -> impl FnOnce(RestError) -> ArrayError {
        let name = self.name();
        move |error| error.of(&name, action)
    }

    /// The aggregates; accounts of an SVM see only those that it was given, without their sizes.
    pub fn aggregates(&self) -> Result<Vec<Aggregate>, RestError> {
        let fields = "name,space.block_storage.size,space.block_storage.available,block_storage.primary.disk_count,block_storage.primary.raid_type";
        match self
            .client
            .records("/storage/aggregates", &[("fields", fields)])
        {
            Ok(records) if !records.is_empty() => {
                Ok(records.iter().filter_map(aggregate).collect())
            }
            Ok(_) => self.own_aggregates(),
            Err(error) if error.is_forbidden() || error.is_missing() => self.own_aggregates(),
            Err(error) => Err(error),
        }
    }

    fn own_aggregates(&self) -> Result<Vec<Aggregate>, RestError> {
        let query = [
            ("name", self.svm.name.as_str()),
            ("fields", "aggregates.name,aggregates.available_size"),
        ];
        let svm = self.client.record("/svm/svms", &query)?.unwrap_or_default();
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

    /// The target and its portals.
    ///
    /// # Errors
    /// 132 when the iSCSI service is not there or does not run, 131 when it has no name, 141 without a portal.
    pub fn iscsi_target(&self) -> Result<IscsiTarget, ArrayError> {
        let fault = |fault, what: &str| {
            let detail = format!("{}: {what}", self.name());
            ArrayError::Fault { fault, detail }
        };
        let query = [
            ("svm.name", self.svm.name.as_str()),
            ("fields", "enabled,target.name"),
        ];
        let service = self.client.record("/protocols/san/iscsi/services", &query);
        let service = service.map_err(self.failed("ask for the iSCSI service"))?;
        let Some(service) = service else {
            let what = "the SVM has no iSCSI service; make it by `vserver iscsi create`";
            return Err(fault(Fault::NetappIscsi, what));
        };
        if flag(&service, "enabled") == Some(false) {
            let what = "the iSCSI service is stopped; start it by `vserver iscsi start`";
            return Err(fault(Fault::NetappIscsi, what));
        }
        let name = text(&service, "target.name").filter(|name| !name.is_empty());
        let name = name
            .ok_or_else(|| fault(Fault::NetappTargetName, "the iSCSI service tells no name"))?
            .to_owned();
        let portals = self.portals().map_err(self.failed("ask for the portals"))?;
        if portals.is_empty() {
            let what = "no interface of the SVM has the service data_iscsi and is up";
            return Err(fault(Fault::Portal, what));
        }
        Ok(IscsiTarget { name, portals })
    }

    /// Filers listen on the port of iSCSI and on no other.
    fn portals(&self) -> Result<Vec<(String, u16)>, RestError> {
        let query = [
            ("services", "data_iscsi"),
            ("svm.name", self.svm.name.as_str()),
            ("fields", "ip.address,enabled,state"),
        ];
        let records = self.client.records("/network/ip/interfaces", &query)?;
        let up = records.iter().filter(|it| {
            flag(it, "enabled") != Some(false) && text(it, "state").is_none_or(|it| it == "up")
        });
        let portals = up.filter_map(|it| {
            let address = text(it, "ip.address")?.to_owned();
            Some((address, DEFAULT_PORT))
        });
        Ok(portals.collect())
    }

    /// Has the target know the account of an initiator.
    ///
    /// # Errors
    /// 68 when the initiator has another account there.
    pub fn put_credentials(
        &self,
        initiator: &str,
        credentials: &Credentials,
    ) -> Result<(), ArrayError> {
        let look = || {
            let query = [
                ("svm.name", self.svm.name.as_str()),
                ("initiator", initiator),
                ("fields", "authentication_type,chap.inbound.user"),
            ];
            self.client
                .record("/protocols/san/iscsi/credentials", &query)
        };
        let action = "set the CHAP account of this initiator";
        let inbound = json!({
            "user": credentials.user,
            "password": credentials.password.expose(),
        });
        let found = look().map_err(self.failed(action))?;
        if let Some(found) = found {
            let user = text(&found, "chap.inbound.user").unwrap_or_default();
            if !user.is_empty() && user != credentials.user {
                let detail = format!(
                    "{}: initiator {initiator} has the CHAP account {user:?}, not {:?}; another SR of this host in this SVM may use it: give both the same account, or remove it by `vserver iscsi security delete`",
                    self.name(),
                    credentials.user
                );
                let fault = Fault::IscsiLogin;
                return Err(ArrayError::Fault { fault, detail });
            }
            // Also where it is the same account: its password may have been changed.
            let path = format!(
                "/protocols/san/iscsi/credentials/{}/{initiator}",
                self.svm.uuid
            );
            let body = json!({"authentication_type": "chap", "chap": {"inbound": inbound}});
            let changed = self
                .client
                .repeatable(Method::PATCH, &path, &[], Some(&body));
            return changed
                .map_err(|error| error.without(credentials.password.expose()))
                .map_err(self.failed(action));
        }
        let body = json!({
            "svm": {"name": self.svm.name},
            "initiator": initiator,
            "authentication_type": "chap",
            "chap": {"inbound": inbound},
        });
        let path = "/protocols/san/iscsi/credentials";
        let made = self.client.until(look, || {
            self.client.change(Method::POST, path, &[], Some(&body))
        });
        made.map(drop)
            .map_err(|error| error.without(credentials.password.expose()))
            .map_err(self.failed(action))
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

fn check_version(client: &Client, array: &str) -> Result<(), ArrayError> {
    let needed = format!(
        "ONTAP {}.{}.{} or later with its REST interface is needed (ZAPI, of older clusters and 7-Mode, is not supported)",
        LEAST_VERSION.0, LEAST_VERSION.1, LEAST_VERSION.2
    );
    let old = |found: &str| ArrayError::Fault {
        fault: Fault::NetappVersion,
        detail: format!("{array} {found}; {needed}"),
    };
    let query = [("fields", "version,disaggregated")];
    let found = match client.get("/cluster", &query) {
        Err(error) if error.is_missing() => return Err(old("has no REST interface")),
        found => found.map_err(|error| error.of(array, "ask for the version"))?,
    };
    let part = |name: &str| number(&found, &format!("version.{name}"));
    let version = part("generation").map(|generation| {
        let (major, minor) = (part("major").unwrap_or(0), part("minor").unwrap_or(0));
        (generation, major, minor)
    });
    match version {
        None => Err(old("does not tell its version")),
        Some(version) if version < LEAST_VERSION => {
            let full = text(&found, "version.full").unwrap_or("");
            let (generation, major, minor) = version;
            Err(old(&format!(
                "has version {generation}.{major}.{minor} ({full})"
            )))
        }
        Some(_) if flag(&found, "disaggregated") == Some(true) => {
            Err(old("is an ASA r2, which has no FlexVols"))
        }
        Some(_) => Ok(()),
    }
}

fn choose_svm(client: &Client, array: &str, wanted: Option<&str>) -> Result<Svm, ArrayError> {
    let unclear = |what: String| ArrayError::Fault {
        fault: Fault::Argument,
        detail: format!("{array}: {what}"),
    };
    let mut query = vec![("fields", "name,uuid,state,iscsi.enabled")];
    if let Some(wanted) = wanted {
        query.push(("name", wanted));
    }
    let records = client.records("/svm/svms", &query);
    let records = records.map_err(|error| error.of(array, "list the SVMs"))?;
    // A name with `*` or `|` in it is a pattern for the filer.
    let is_wanted = |it: &Value| wanted.is_none_or(|wanted| text(it, "name") == Some(wanted));
    let runs =
        |it: &&Value| is_wanted(it) && text(it, "state").is_none_or(|state| state == "running");
    let running: Vec<&Value> = records.iter().filter(runs).collect();
    let serving: Vec<&Value> = running
        .iter()
        .copied()
        .filter(|it| flag(it, "iscsi.enabled") == Some(true))
        .collect();
    let chosen = match (wanted, running.as_slice(), serving.as_slice()) {
        (_, [only], _) | (None, _, [only]) => *only,
        (Some(wanted), ..) => {
            let what = format!("there is no running SVM {wanted:?}; see device_config:svm");
            return Err(unclear(what));
        }
        (None, [], _) => return Err(unclear("there is no running SVM".to_owned())),
        (None, ..) => {
            let names: Vec<&str> = running.iter().filter_map(|it| text(it, "name")).collect();
            let what = format!(
                "there are several SVMs ({}); name one by device_config:svm",
                names.join(", ")
            );
            return Err(unclear(what));
        }
    };
    match (text(chosen, "name"), id(chosen, "uuid")) {
        (Some(name), Some(uuid)) => Ok(Svm {
            name: name.to_owned(),
            uuid: uuid.to_owned(),
        }),
        _ => Err(unclear("an SVM tells neither name nor uuid".to_owned())),
    }
}
