//! Calls of class `VDI`.

use super::call::{Client, map};
use super::error::Error;
use crate::Value;
use crate::record::VdiRecord;
use crate::reference::{SrRef, VdiRef};
use std::collections::BTreeMap;

/// Calls of class `VDI`.
#[derive(Clone, Copy, Debug)]
pub struct Vdis<'a>(pub(super) &'a Client);

/// What `VDI.create` needs.
#[derive(Clone, Debug)]
pub struct NewVdi {
    /// The SR.
    pub sr: SrRef,
    /// The name.
    pub name_label: String,
    /// The description.
    pub name_description: String,
    /// The size, in bytes; it may come out larger.
    pub virtual_size: i64,
    /// What it is for; `user`.
    pub kind: String,
    /// Whether several VMs may write it at once.
    pub sharable: bool,
    /// Whether it may only be read.
    pub read_only: bool,
    /// Keys and texts of others.
    pub other_config: BTreeMap<String, String>,
    /// Keys and texts for the guest.
    pub xenstore_data: BTreeMap<String, String>,
    /// Keys and texts for the driver.
    pub sm_config: BTreeMap<String, String>,
    /// Tags.
    pub tags: Vec<String>,
}

impl NewVdi {
    /// A VDI for a user, of a size in bytes; change the other fields as needed.
    pub fn new(sr: SrRef, name_label: impl Into<String>, virtual_size: i64) -> Self {
        NewVdi {
            sr,
            name_label: name_label.into(),
            name_description: String::new(),
            virtual_size,
            kind: "user".to_owned(),
            sharable: false,
            read_only: false,
            other_config: BTreeMap::new(),
            xenstore_data: BTreeMap::new(),
            sm_config: BTreeMap::new(),
            tags: Vec::new(),
        }
    }
}

/// Where a VDI can be read over NBD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NbdInfo {
    /// The name of the export. It holds a session: never log it.
    pub export_name: String,
    /// The address of the server.
    pub address: String,
    /// The port of the server.
    pub port: u16,
    /// The certificate of the server, as PEM.
    pub certificate: String,
    /// A name in the certificate.
    pub subject: String,
}

impl Client {
    /// Calls of class `VDI`.
    pub fn vdi(&self) -> Vdis<'_> {
        Vdis(self)
    }
}

impl Vdis<'_> {
    /// Calls `VDI.create`. It is never repeated: after an unknown outcome look for the VDI by a key in its `other_config`.
    ///
    /// # Errors
    /// Those of any call; `SR_FULL`, `SR_HAS_NO_PBDS`, `SR_BACKEND_FAILURE_*`.
    pub async fn create(&self, vdi: &NewVdi) -> Result<VdiRef, Error> {
        let record = Value::from([
            ("SR", Value::from(&vdi.sr)),
            ("name_label", vdi.name_label.as_str().into()),
            ("name_description", vdi.name_description.as_str().into()),
            ("virtual_size", vdi.virtual_size.into()),
            ("type", vdi.kind.as_str().into()),
            ("sharable", vdi.sharable.into()),
            ("read_only", vdi.read_only.into()),
            ("other_config", map(&vdi.other_config)),
            ("xenstore_data", map(&vdi.xenstore_data)),
            ("sm_config", map(&vdi.sm_config)),
            ("tags", vdi.tags.clone().into()),
        ]);
        self.0
            .text("VDI.create", vec![record])
            .await
            .map(VdiRef::from)
    }

    /// Calls `VDI.get_record`.
    ///
    /// # Errors
    /// Those of any call; `HANDLE_INVALID` when there is none.
    pub async fn get_record(&self, vdi: &VdiRef) -> Result<VdiRecord, Error> {
        self.0.record(vdi.into()).await
    }

    /// Calls `VDI.get_all_records`.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_all_records(&self) -> Result<Vec<(VdiRef, VdiRecord)>, Error> {
        self.0.records(None).await
    }

    /// Calls `VDI.get_all_records_where` with an expression of [`crate::filter`].
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_all_records_where(
        &self,
        filter: &str,
    ) -> Result<Vec<(VdiRef, VdiRecord)>, Error> {
        self.0.records(Some(filter)).await
    }

    /// Calls `VDI.get_by_uuid`.
    ///
    /// # Errors
    /// Those of any call; `UUID_INVALID` when there is none.
    pub async fn get_by_uuid(&self, uuid: &str) -> Result<VdiRef, Error> {
        self.0
            .text("VDI.get_by_uuid", vec![uuid.into()])
            .await
            .map(VdiRef::from)
    }

    /// Calls `VDI.get_uuid`.
    ///
    /// # Errors
    /// Those of any call; `HANDLE_INVALID` when it is gone.
    pub async fn get_uuid(&self, vdi: &VdiRef) -> Result<String, Error> {
        self.0.text("VDI.get_uuid", vec![vdi.into()]).await
    }

    /// Calls `VDI.get_by_name_label`: all that bear the name.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_by_name_label(&self, label: &str) -> Result<Vec<VdiRef>, Error> {
        let found = self
            .0
            .texts("VDI.get_by_name_label", vec![label.into()])
            .await?;
        Ok(found.into_iter().map(VdiRef::from).collect())
    }

    /// Calls `VDI.destroy`.
    ///
    /// # Errors
    /// Those of any call; `VDI_IN_USE`, and `HANDLE_INVALID` when it is gone already.
    pub async fn destroy(&self, vdi: &VdiRef) -> Result<(), Error> {
        self.0.void("VDI.destroy", vec![vdi.into()]).await
    }

    /// Calls `VDI.set_name_label`.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn set_name_label(&self, vdi: &VdiRef, value: &str) -> Result<(), Error> {
        self.0
            .void("VDI.set_name_label", vec![vdi.into(), value.into()])
            .await
    }

    /// Calls `VDI.set_name_description`.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn set_name_description(&self, vdi: &VdiRef, value: &str) -> Result<(), Error> {
        self.0
            .void("VDI.set_name_description", vec![vdi.into(), value.into()])
            .await
    }

    /// Calls `VDI.add_to_other_config`.
    ///
    /// # Errors
    /// Those of any call; `MAP_DUPLICATE_KEY` when the key is there.
    pub async fn add_to_other_config(
        &self,
        vdi: &VdiRef,
        key: &str,
        value: &str,
    ) -> Result<(), Error> {
        self.0
            .void(
                "VDI.add_to_other_config",
                vec![vdi.into(), key.into(), value.into()],
            )
            .await
    }

    /// Calls `VDI.remove_from_other_config`; it succeeds when the key is not there.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn remove_from_other_config(&self, vdi: &VdiRef, key: &str) -> Result<(), Error> {
        self.0
            .void("VDI.remove_from_other_config", vec![vdi.into(), key.into()])
            .await
    }

    /// Calls `VDI.set_other_config`: replaces the whole map.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn set_other_config(
        &self,
        vdi: &VdiRef,
        value: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        self.0
            .void("VDI.set_other_config", vec![vdi.into(), map(value)])
            .await
    }

    /// Calls `VDI.get_nbd_info`; empty when no network of the pool has an NBD purpose.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_nbd_info(&self, vdi: &VdiRef) -> Result<Vec<NbdInfo>, Error> {
        let result = self.0.call("VDI.get_nbd_info", vec![vdi.into()]).await?;
        let infos = result
            .as_array()
            .unwrap_or_default()
            .iter()
            .map(nbd_info)
            .collect::<Option<_>>();
        infos.ok_or(Error::UnexpectedResult {
            method: "VDI.get_nbd_info".to_owned(),
            expected: "set of records",
        })
    }
}

fn nbd_info(value: &Value) -> Option<NbdInfo> {
    let fields = value.as_struct()?;
    let text = |name: &str| Some(fields.get(name)?.as_str()?.to_owned());
    Some(NbdInfo {
        export_name: text("exportname")?,
        address: text("address")?,
        port: u16::try_from(fields.get("port")?.as_int()?).ok()?,
        certificate: text("cert")?,
        subject: text("subject")?,
    })
}
