//! Calls of the classes `SR` and `PBD`.

use super::call::{Client, map};
use super::error::Error;
use crate::Value;
use crate::record::{PbdRecord, SrRecord};
use crate::reference::{HostRef, PbdRef, SrRef};
use std::collections::BTreeMap;

/// Calls of class `SR`.
#[derive(Clone, Copy, Debug)]
pub struct Srs<'a>(&'a Client);

/// Calls of class `PBD`.
#[derive(Clone, Copy, Debug)]
pub struct Pbds<'a>(&'a Client);

/// What `SR.create` needs.
#[derive(Clone, Debug)]
pub struct NewSr {
    /// The host that makes it.
    pub host: HostRef,
    /// How hosts reach its medium.
    pub device_config: BTreeMap<String, String>,
    /// How large it shall be, in bytes, for the types that ask; 0 otherwise.
    pub physical_size: i64,
    /// The name.
    pub name_label: String,
    /// The description.
    pub name_description: String,
    /// The type.
    pub kind: String,
    /// What it holds: `user`, `iso` or nothing.
    pub content_type: String,
    /// Whether every host of the pool shall use it.
    pub shared: bool,
    /// Keys and texts of the driver.
    pub sm_config: BTreeMap<String, String>,
}

/// What `SR.introduce` needs.
#[derive(Clone, Debug)]
pub struct IntroduceSr {
    /// Its uuid; empty for a new one.
    pub uuid: String,
    /// The name.
    pub name_label: String,
    /// The description.
    pub name_description: String,
    /// The type.
    pub kind: String,
    /// What it holds: `user`, `iso` or nothing.
    pub content_type: String,
    /// Whether every host of the pool can use it.
    pub shared: bool,
    /// Keys and texts of the driver.
    pub sm_config: BTreeMap<String, String>,
}

/// What `PBD.create` needs.
#[derive(Clone, Debug)]
pub struct NewPbd {
    /// The host.
    pub host: HostRef,
    /// The SR.
    pub sr: SrRef,
    /// How the host reaches the SR's medium.
    pub device_config: BTreeMap<String, String>,
    /// Keys and texts of others.
    pub other_config: BTreeMap<String, String>,
}

impl Client {
    /// Calls of class `SR`.
    pub fn sr(&self) -> Srs<'_> {
        Srs(self)
    }

    /// Calls of class `PBD`.
    pub fn pbd(&self) -> Pbds<'_> {
        Pbds(self)
    }
}

impl Srs<'_> {
    /// Calls `SR.create`: makes the SR on its medium, connects it and plugs it.
    ///
    /// # Errors
    /// Those of any call; `SR_UNKNOWN_DRIVER`, `SR_BACKEND_FAILURE_*`.
    pub async fn create(&self, sr: &NewSr) -> Result<SrRef, Error> {
        let params = vec![
            (&sr.host).into(),
            map(&sr.device_config),
            sr.physical_size.into(),
            sr.name_label.as_str().into(),
            sr.name_description.as_str().into(),
            sr.kind.as_str().into(),
            sr.content_type.as_str().into(),
            sr.shared.into(),
            map(&sr.sm_config),
        ];
        self.0.text("SR.create", params).await.map(SrRef::from)
    }

    /// Calls `SR.introduce`: makes an SR known that exists on its medium.
    ///
    /// # Errors
    /// Those of any call; `SR_UUID_EXISTS`.
    pub async fn introduce(&self, sr: &IntroduceSr) -> Result<SrRef, Error> {
        let params = vec![
            sr.uuid.as_str().into(),
            sr.name_label.as_str().into(),
            sr.name_description.as_str().into(),
            sr.kind.as_str().into(),
            sr.content_type.as_str().into(),
            sr.shared.into(),
            map(&sr.sm_config),
        ];
        self.0.text("SR.introduce", params).await.map(SrRef::from)
    }

    /// Calls `SR.get_record`.
    ///
    /// # Errors
    /// Those of any call; `HANDLE_INVALID` when there is none.
    pub async fn get_record(&self, sr: &SrRef) -> Result<SrRecord, Error> {
        self.0.record(sr.into()).await
    }

    /// Calls `SR.get_all_records`.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_all_records(&self) -> Result<Vec<(SrRef, SrRecord)>, Error> {
        self.0.records(None).await
    }

    /// Calls `SR.get_all_records_where` with an expression of [`crate::filter`].
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_all_records_where(
        &self,
        filter: &str,
    ) -> Result<Vec<(SrRef, SrRecord)>, Error> {
        self.0.records(Some(filter)).await
    }

    /// Calls `SR.get_by_uuid`.
    ///
    /// # Errors
    /// Those of any call; `UUID_INVALID` when there is none.
    pub async fn get_by_uuid(&self, uuid: &str) -> Result<SrRef, Error> {
        self.0
            .text("SR.get_by_uuid", vec![uuid.into()])
            .await
            .map(SrRef::from)
    }

    /// Calls `SR.get_by_name_label`: all that bear the name.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_by_name_label(&self, label: &str) -> Result<Vec<SrRef>, Error> {
        let found = self
            .0
            .texts("SR.get_by_name_label", vec![label.into()])
            .await?;
        Ok(found.into_iter().map(SrRef::from).collect())
    }

    /// Calls `SR.scan`: looks at the medium for VDIs and free space.
    ///
    /// # Errors
    /// Those of any call; `SR_BACKEND_FAILURE_*`.
    pub async fn scan(&self, sr: &SrRef) -> Result<(), Error> {
        self.0.void("SR.scan", vec![sr.into()]).await
    }

    /// Calls `SR.forget`: removes it and its PBDs from the pool, not from the medium.
    ///
    /// # Errors
    /// Those of any call; `SR_HAS_PBD` while it is plugged.
    pub async fn forget(&self, sr: &SrRef) -> Result<(), Error> {
        self.0.void("SR.forget", vec![sr.into()]).await
    }

    /// Calls `SR.destroy`: removes it from the medium and the pool.
    ///
    /// # Errors
    /// Those of any call; `SR_HAS_PBD` while it is plugged, `SR_NOT_EMPTY`.
    pub async fn destroy(&self, sr: &SrRef) -> Result<(), Error> {
        self.0.void("SR.destroy", vec![sr.into()]).await
    }

    /// Calls `SR.set_name_label`.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn set_name_label(&self, sr: &SrRef, value: &str) -> Result<(), Error> {
        self.0
            .void("SR.set_name_label", vec![sr.into(), value.into()])
            .await
    }

    /// Calls `SR.set_name_description`.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn set_name_description(&self, sr: &SrRef, value: &str) -> Result<(), Error> {
        self.0
            .void("SR.set_name_description", vec![sr.into(), value.into()])
            .await
    }

    /// Calls `SR.add_to_other_config`.
    ///
    /// # Errors
    /// Those of any call; `MAP_DUPLICATE_KEY` when the key is there.
    pub async fn add_to_other_config(
        &self,
        sr: &SrRef,
        key: &str,
        value: &str,
    ) -> Result<(), Error> {
        self.0
            .void(
                "SR.add_to_other_config",
                vec![sr.into(), key.into(), value.into()],
            )
            .await
    }

    /// Calls `SR.remove_from_other_config`; it succeeds when the key is not there.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn remove_from_other_config(&self, sr: &SrRef, key: &str) -> Result<(), Error> {
        self.0
            .void("SR.remove_from_other_config", vec![sr.into(), key.into()])
            .await
    }

    /// Calls `SR.get_supported_types`.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_supported_types(&self) -> Result<Vec<String>, Error> {
        self.0.texts("SR.get_supported_types", Vec::new()).await
    }

    /// Calls `SR.probe`: what is on a medium, as XML.
    ///
    /// # Errors
    /// Those of any call; `SR_BACKEND_FAILURE_*`, whose third parameter is XML with what can be chosen.
    pub async fn probe(
        &self,
        host: &HostRef,
        device_config: &BTreeMap<String, String>,
        kind: &str,
        sm_config: &BTreeMap<String, String>,
    ) -> Result<String, Error> {
        let params = vec![host.into(), map(device_config), kind.into(), map(sm_config)];
        self.0.text("SR.probe", params).await
    }
}

impl Pbds<'_> {
    /// Calls `PBD.create`.
    ///
    /// # Errors
    /// Those of any call; `PBD_EXISTS`.
    pub async fn create(&self, pbd: &NewPbd) -> Result<PbdRef, Error> {
        let record = Value::from([
            ("host", (&pbd.host).into()),
            ("SR", (&pbd.sr).into()),
            ("device_config", map(&pbd.device_config)),
            ("other_config", map(&pbd.other_config)),
        ]);
        self.0
            .text("PBD.create", vec![record])
            .await
            .map(PbdRef::from)
    }

    /// Calls `PBD.get_record`.
    ///
    /// # Errors
    /// Those of any call; `HANDLE_INVALID` when there is none.
    pub async fn get_record(&self, pbd: &PbdRef) -> Result<PbdRecord, Error> {
        self.0.record(pbd.into()).await
    }

    /// Calls `PBD.get_all_records`.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_all_records(&self) -> Result<Vec<(PbdRef, PbdRecord)>, Error> {
        self.0.records(None).await
    }

    /// Calls `PBD.get_all_records_where` with an expression of [`crate::filter`].
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_all_records_where(
        &self,
        filter: &str,
    ) -> Result<Vec<(PbdRef, PbdRecord)>, Error> {
        self.0.records(Some(filter)).await
    }

    /// Calls `PBD.get_by_uuid`.
    ///
    /// # Errors
    /// Those of any call; `UUID_INVALID` when there is none.
    pub async fn get_by_uuid(&self, uuid: &str) -> Result<PbdRef, Error> {
        self.0
            .text("PBD.get_by_uuid", vec![uuid.into()])
            .await
            .map(PbdRef::from)
    }

    /// Calls `PBD.plug`; it succeeds when it is plugged already.
    ///
    /// # Errors
    /// Those of any call; `SR_BACKEND_FAILURE_*`.
    pub async fn plug(&self, pbd: &PbdRef) -> Result<(), Error> {
        self.0.void("PBD.plug", vec![pbd.into()]).await
    }

    /// Calls `PBD.unplug`; it succeeds when it is unplugged already.
    ///
    /// # Errors
    /// Those of any call; `VDI_IN_USE` with all VDIs that are in use.
    pub async fn unplug(&self, pbd: &PbdRef) -> Result<(), Error> {
        self.0.void("PBD.unplug", vec![pbd.into()]).await
    }

    /// Calls `PBD.destroy`.
    ///
    /// # Errors
    /// Those of any call; `OPERATION_NOT_ALLOWED` while it is plugged.
    pub async fn destroy(&self, pbd: &PbdRef) -> Result<(), Error> {
        self.0.void("PBD.destroy", vec![pbd.into()]).await
    }
}
