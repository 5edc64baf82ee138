//! What a driver changes in the configuration of its SR, and what it may know of other SRs.

use std::collections::BTreeMap;

use uuid::Uuid;

/// Keys that a driver wants recorded, each with its new value or, to be removed, none. Keys that are not named stay.
///
/// A password does not belong here: `device_config` is shown to every client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigChanges {
    /// Of `PBD.device_config`, such as a `SCSIid` in the place of a `LUNid`.
    pub device_config: BTreeMap<String, Option<String>>,
    /// Of `SR.sm_config`, such as `devserial`, `allocation` and `use_vhd`.
    pub sm_config: BTreeMap<String, Option<String>>,
}

impl ConfigChanges {
    /// True when there is nothing to record.
    pub fn is_empty(&self) -> bool {
        self.device_config.is_empty() && self.sm_config.is_empty()
    }

    /// Wants a key of `device_config` to have a value.
    #[must_use]
    pub fn device(mut self, key: &str, value: impl Into<String>) -> Self {
        self.device_config
            .insert(key.to_owned(), Some(value.into()));
        self
    }

    /// Wants a key of `device_config` to go.
    #[must_use]
    pub fn without_device(mut self, key: &str) -> Self {
        self.device_config.insert(key.to_owned(), None);
        self
    }

    /// Wants a key of `sm_config` to have a value.
    #[must_use]
    pub fn sm(mut self, key: &str, value: impl Into<String>) -> Self {
        self.sm_config.insert(key.to_owned(), Some(value.into()));
        self
    }
}

/// An SR that the pool has already, as a driver sees it that is to make another.
#[derive(Clone, Debug)]
pub struct KnownSr {
    /// Its uuid.
    pub sr_uuid: Uuid,
    /// Its type.
    pub sr_type: String,
    /// The `device_config` of its PBD on this host; passwords are named by `*_secret` keys only.
    pub device_config: BTreeMap<String, String>,
    /// Its `sm_config`.
    pub sm_config: BTreeMap<String, String>,
}
