//! A filer as an SR finds it: its version, the SVM that is used, its aggregates and its iSCSI service.

use super::error::FilerError;
use super::http::Place;
use super::rest::{self, Support};
use super::retry::{repeated, until};
use super::transport::{Aggregate, Svm, SvmRecord, Transport};
use super::zapi;
use crate::array::{ArrayError, Fault};
use crate::medium::iscsi::Credentials;

/// Which interface a filer is talked to by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// REST where it has what is needed, ZAPI otherwise.
    Either,
    /// REST.
    Rest,
    /// ZAPI.
    Zapi,
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
    pub calls: Box<dyn Transport>,
    /// The SVM.
    pub svm: Svm,
}

impl Filer {
    /// Checks the version and chooses the SVM: the one that is named, or the only one that serves data.
    ///
    /// # Errors
    /// 124 and 125 when nobody answers, or not us; 130 for a version without what is needed; 1 when the SVM is not clear.
    pub fn open(place: Place, api: Api, svm: Option<&str>) -> Result<Filer, ArrayError> {
        let array = format!("filer {}", place.address());
        let calls = transport(place, api, &array)?;
        let svm = choose_svm(&*calls, &array, svm)?;
        Ok(Filer { calls, svm })
    }

    /// What it is called, for messages.
    pub fn name(&self) -> String {
        format!("filer {}, SVM {}", self.calls.address(), self.svm.name)
    }

    /// A failure with what was attempted.
    pub fn failed(&self, action: &'static str) -> impl FnOnce(FilerError) -> ArrayError {
        let name = self.name();
        move |error| error.of(&name, action)
    }

    /// The aggregates; accounts of an SVM see only those that it was given, without their sizes.
    pub fn aggregates(&self) -> Result<Vec<Aggregate>, FilerError> {
        self.calls.aggregates(&self.svm)
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
        let service = self.calls.iscsi_service(&self.svm);
        let service = service.map_err(self.failed("ask for the iSCSI service"))?;
        let Some(service) = service else {
            let what = "the SVM has no iSCSI service; make it by `vserver iscsi create`";
            return Err(fault(Fault::NetappIscsi, what));
        };
        if !service.is_enabled {
            let what = "the iSCSI service is stopped; start it by `vserver iscsi start`";
            return Err(fault(Fault::NetappIscsi, what));
        }
        let name = service.target;
        if name.is_empty() {
            let what = "the iSCSI service tells no name";
            return Err(fault(Fault::NetappTargetName, what));
        }
        let portals = self.calls.portals(&self.svm);
        let portals = portals.map_err(self.failed("ask for the portals"))?;
        if portals.is_empty() {
            let what = "no interface of the SVM has the service data_iscsi and is up";
            return Err(fault(Fault::Portal, what));
        }
        Ok(IscsiTarget { name, portals })
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
        let action = "set the CHAP account of this initiator";
        let look = || self.calls.chap_user(&self.svm, initiator);
        let secret = |error: FilerError| error.without(credentials.password.expose());
        let Some(user) = look().map_err(self.failed(action))? else {
            let made = until(look, || {
                self.calls.create_chap(&self.svm, initiator, credentials)
            });
            return made.map(drop).map_err(secret).map_err(self.failed(action));
        };
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
        let changed = repeated(|| self.calls.change_chap(&self.svm, initiator, credentials));
        changed.map_err(secret).map_err(self.failed(action))
    }
}

/// The interface that fits the filer's version.
fn transport(place: Place, api: Api, array: &str) -> Result<Box<dyn Transport>, ArrayError> {
    let old = |found: &str, needed: &str| ArrayError::Fault {
        fault: Fault::NetappVersion,
        detail: format!("{array} {found}; {needed}"),
    };
    let action = "ask for the version";
    let (place, found) = if api == Api::Zapi {
        (place, None)
    } else {
        let client = rest::Client::new(place);
        match client.support().map_err(|error| error.of(array, action))? {
            Support::Full => return Ok(Box::new(client)),
            Support::Never(found) => {
                return Err(old(found, "a system with FlexVols is needed"));
            }
            Support::TooOld(found) if api == Api::Rest => {
                let needed = "its REST interface is needed from ONTAP 9.11.1 on; leave api out of device_config to use ZAPI";
                return Err(old(&found, needed));
            }
            Support::TooOld(found) => (client.into_place(), Some(found)),
        }
    };
    let client = zapi::Client::new(place);
    let needed =
        "clustered ONTAP 9.1 or later is needed, with ZAPI before 9.11.1 (7-Mode is not supported)";
    match client.trouble() {
        Ok(None) => Ok(Box::new(client)),
        Ok(Some(trouble)) => Err(old(&trouble, needed)),
        // Something without either interface, or an account that may use none.
        Err(error) => match found {
            Some(found) if error.has_no_zapi() => Err(old(&format!("{found} and no ZAPI"), needed)),
            _ => Err(error.of(array, action)),
        },
    }
}

fn choose_svm(calls: &dyn Transport, array: &str, wanted: Option<&str>) -> Result<Svm, ArrayError> {
    let unclear = |what: String| ArrayError::Fault {
        fault: Fault::Argument,
        detail: format!("{array}: {what}"),
    };
    let all = calls.svms();
    let all = all.map_err(|error| error.of(array, "list the SVMs"))?;
    let is_wanted = |it: &SvmRecord| wanted.is_none_or(|wanted| it.name.as_deref() == Some(wanted));
    let running: Vec<&SvmRecord> = all
        .iter()
        .filter(|it| is_wanted(it) && it.is_running)
        .collect();
    let serving: Vec<&SvmRecord> = running
        .iter()
        .copied()
        .filter(|it| it.serves_iscsi)
        .collect();
    let chosen = match (wanted, running.as_slice(), serving.as_slice()) {
        (_, [only], _) | (None, _, [only]) => *only,
        (Some(wanted), ..) => {
            let what = format!("there is no running SVM {wanted:?}; see device_config:svm");
            return Err(unclear(what));
        }
        (None, [], _) => return Err(unclear("there is no running SVM".to_owned())),
        (None, ..) => {
            let names: Vec<&str> = running.iter().filter_map(|it| it.name.as_deref()).collect();
            let what = format!(
                "there are several SVMs ({}); name one by device_config:svm",
                names.join(", ")
            );
            return Err(unclear(what));
        }
    };
    match (&chosen.name, &chosen.uuid) {
        (Some(name), Some(uuid)) => Ok(Svm {
            name: name.clone(),
            uuid: uuid.clone(),
        }),
        _ => Err(unclear("an SVM tells neither name nor uuid".to_owned())),
    }
}
