//! The iSCSI service, credentials of initiators, and sessions.

use uuid::Uuid;

use super::cluster::Cluster;
use super::error::ApiError;

/// The iSCSI service of an SVM.
#[derive(Debug, Clone)]
pub struct IscsiService {
    /// Whether it is switched on.
    pub enabled: bool,
    /// The target's name.
    pub target: String,
    /// The target's alias.
    pub alias: String,
}

/// How an initiator proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Whose they are.
    pub svm: String,
    /// The initiator's name, or `default`.
    pub initiator: String,
    /// The way.
    pub authentication: Authentication,
}

/// The way in which an initiator proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// It does not.
    None,
    /// It is not let in.
    Deny,
    /// By CHAP.
    Chap {
        /// What the initiator must know.
        inbound: Account,
        /// What the target says, if the initiator asks.
        outbound: Option<Account>,
    },
}

/// A user's name and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// An initiator that is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Which one it is; nothing else has the number.
    pub number: u64,
    /// Whose target it is.
    pub svm: String,
    /// The interface's name.
    pub interface: String,
    /// The initiator's name.
    pub initiator: String,
}

impl Cluster {
    /// Makes the iSCSI service of an SVM.
    ///
    /// # Errors
    /// 1115127 without a licence, 5374077 when there is one.
    pub fn create_service(
        &mut self,
        svm: &str,
        enabled: bool,
        alias: Option<String>,
    ) -> Result<(), ApiError> {
        let index = self.svms.iter().position(|one| one.name == svm);
        let Some(index) = index else {
            return self.svm(svm).map(|_| ());
        };
        if !self.licences.iscsi {
            let text = "The cluster lacks a valid iSCSI license.";
            return Err(ApiError::failed(1_115_127, text));
        }
        let found = &mut self.svms[index];
        if found.state != "running" {
            return Err(ApiError::failed(5_374_893, "The SVM is stopped."));
        }
        if found.iscsi.is_some() {
            let text = "An iSCSI service already exists for the SVM.";
            return Err(ApiError::conflict(5_374_077, text));
        }
        found.iscsi = Some(IscsiService {
            enabled,
            target: format!(
                "iqn.1992-08.com.netapp:sn.{}:vs.{}",
                found.uuid.simple(),
                index + 3
            ),
            alias: alias.unwrap_or_else(|| svm.to_owned()),
        });
        Ok(())
    }

    /// Makes the credentials of an initiator.
    ///
    /// # Errors
    /// 5374142 when there are some, 5374078 without an iSCSI service, 5374147 when both passwords are equal.
    pub fn create_credentials(&mut self, new: Credentials) -> Result<(), ApiError> {
        if self.svm(&new.svm)?.iscsi.is_none() {
            let text = "The SVM does not have an iSCSI service.";
            return Err(ApiError::failed(5_374_078, text).at("svm.name"));
        }
        if self.credentials_of(&new.svm, &new.initiator).is_some() {
            let text = format!(
                "Authentication for initiator \"{}\" already exists.",
                new.initiator
            );
            return Err(ApiError::conflict(5_374_142, text).at("initiator"));
        }
        check(&new.authentication)?;
        self.credentials.push(new);
        Ok(())
    }

    /// Changes the credentials of an initiator.
    ///
    /// # Errors
    /// 5374145 when there are none, 5374147 when both passwords are equal.
    pub fn change_credentials(
        &mut self,
        svm: &str,
        initiator: &str,
        how: Authentication,
    ) -> Result<(), ApiError> {
        check(&how)?;
        let mut all = self.credentials.iter_mut();
        let found = all.find(|one| one.svm == svm && one.initiator == initiator);
        found
            .ok_or_else(|| no_credentials(initiator))?
            .authentication = how;
        Ok(())
    }

    /// Deletes the credentials of an initiator.
    ///
    /// # Errors
    /// 5374145 when there are none.
    pub fn delete_credentials(&mut self, svm: &str, initiator: &str) -> Result<(), ApiError> {
        let before = self.credentials.len();
        self.credentials
            .retain(|one| one.svm != svm || one.initiator != initiator);
        match self.credentials.len() == before {
            true => Err(no_credentials(initiator)),
            false => Ok(()),
        }
    }

    /// The credentials of just this name.
    pub fn credentials_of(&self, svm: &str, initiator: &str) -> Option<&Credentials> {
        let mut all = self.credentials.iter();
        all.find(|one| one.svm == svm && one.initiator == initiator)
    }

    /// How an initiator must prove who it is: by its own credentials, or the default ones, or not at all.
    pub fn authentication(&self, svm: &str, initiator: &str) -> Authentication {
        let own = self.credentials_of(svm, initiator);
        let found = own.or_else(|| self.credentials_of(svm, "default"));
        found.map_or(Authentication::None, |one| one.authentication.clone())
    }

    /// The SVM whose iSCSI service is on and listens at an address.
    pub fn served_at(&self, interface: Uuid) -> Option<&str> {
        let interface = self.interfaces.iter().find(|one| one.uuid == interface)?;
        let svm = self.svms.iter().find(|svm| svm.name == interface.svm)?;
        let is_on =
            svm.state == "running" && svm.iscsi.as_ref().is_some_and(|service| service.enabled);
        (is_on && interface.enabled).then_some(svm.name.as_str())
    }
}

fn check(how: &Authentication) -> Result<(), ApiError> {
    let Authentication::Chap { inbound, outbound } = how else {
        return Ok(());
    };
    if inbound.user.is_empty() || inbound.password.is_empty() {
        let text = "Inbound CHAP authentication requires both a user name and a password.";
        return Err(ApiError::bad(5_374_149, text));
    }
    if let Some(outbound) = outbound {
        if outbound.user.is_empty() || outbound.password.is_empty() {
            let text = "Outbound CHAP authentication requires both a user name and a password.";
            return Err(ApiError::bad(5_374_150, text));
        }
        if outbound.password == inbound.password {
            let text = "The inbound and outbound CHAP passwords must differ.";
            return Err(ApiError::bad(5_374_147, text));
        }
    }
    Ok(())
}

fn no_credentials(initiator: &str) -> ApiError {
    ApiError::missing(
        5_374_145,
        format!("There are no credentials for initiator \"{initiator}\"."),
    )
}
