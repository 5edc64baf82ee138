//! Calls of class `VBD`.

use super::call::{Client, map};
use super::error::Error;
use crate::Value;
use crate::record::VbdRecord;
use crate::reference::{VbdRef, VdiRef, VmRef};
use std::collections::BTreeMap;

/// Calls of class `VBD`.
#[derive(Clone, Copy, Debug)]
pub struct Vbds<'a>(&'a Client);

/// How a VDI is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VbdMode {
    /// Read only.
    Ro,
    /// Read and write.
    Rw,
}

/// What `VBD.create` needs.
#[derive(Clone, Debug)]
pub struct NewVbd {
    /// The VM.
    pub vm: VmRef,
    /// The VDI.
    pub vdi: VdiRef,
    /// The position: a number, or `autodetect`.
    pub userdevice: String,
    /// How it is attached.
    pub mode: VbdMode,
    /// Whether the VM may start from it.
    pub bootable: bool,
    /// Keys and texts of others.
    pub other_config: BTreeMap<String, String>,
    /// How the pool schedules its traffic: `ionice`; empty for no way in particular.
    pub qos_algorithm_type: String,
    /// What that needs to know.
    pub qos_algorithm_params: BTreeMap<String, String>,
}

impl Client {
    /// Calls of class `VBD`.
    pub fn vbd(&self) -> Vbds<'_> {
        Vbds(self)
    }
}

impl Vbds<'_> {
    /// Calls `VBD.create`; it does not plug.
    ///
    /// # Errors
    /// Those of any call; `DEVICE_ALREADY_EXISTS`, `INVALID_DEVICE`, `VDI_READONLY`.
    pub async fn create(&self, vbd: &NewVbd) -> Result<VbdRef, Error> {
        let mode = match vbd.mode {
            VbdMode::Ro => "RO",
            VbdMode::Rw => "RW",
        };
        let record = Value::from([
            ("VM", Value::from(&vbd.vm)),
            ("VDI", (&vbd.vdi).into()),
            ("userdevice", vbd.userdevice.as_str().into()),
            ("bootable", vbd.bootable.into()),
            ("mode", mode.into()),
            ("type", "Disk".into()),
            ("unpluggable", true.into()),
            ("empty", false.into()),
            ("other_config", map(&vbd.other_config)),
            ("qos_algorithm_type", vbd.qos_algorithm_type.as_str().into()),
            ("qos_algorithm_params", map(&vbd.qos_algorithm_params)),
        ]);
        self.0
            .text("VBD.create", vec![record])
            .await
            .map(VbdRef::from)
    }

    /// Calls `VBD.get_record`.
    ///
    /// # Errors
    /// Those of any call; `HANDLE_INVALID` when there is none.
    pub async fn get_record(&self, vbd: &VbdRef) -> Result<VbdRecord, Error> {
        self.0.record(vbd.into()).await
    }

    /// Calls `VBD.get_all_records`.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_all_records(&self) -> Result<Vec<(VbdRef, VbdRecord)>, Error> {
        self.0.records(None).await
    }

    /// Calls `VBD.get_all_records_where` with an expression of [`crate::filter`].
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_all_records_where(
        &self,
        filter: &str,
    ) -> Result<Vec<(VbdRef, VbdRecord)>, Error> {
        self.0.records(Some(filter)).await
    }

    /// Calls `VBD.get_by_uuid`.
    ///
    /// # Errors
    /// Those of any call; `UUID_INVALID` when there is none.
    pub async fn get_by_uuid(&self, uuid: &str) -> Result<VbdRef, Error> {
        self.0
            .text("VBD.get_by_uuid", vec![uuid.into()])
            .await
            .map(VbdRef::from)
    }

    /// Calls `VBD.plug`.
    ///
    /// # Errors
    /// Those of any call; `DEVICE_ALREADY_ATTACHED`, `VDI_IN_USE`.
    pub async fn plug(&self, vbd: &VbdRef) -> Result<(), Error> {
        self.0.void("VBD.plug", vec![vbd.into()]).await
    }

    /// Calls `VBD.unplug`.
    ///
    /// # Errors
    /// Those of any call; `DEVICE_ALREADY_DETACHED`, `DEVICE_DETACH_REJECTED`, `DEVICE_DETACH_TIMEOUT`.
    pub async fn unplug(&self, vbd: &VbdRef) -> Result<(), Error> {
        self.0.void("VBD.unplug", vec![vbd.into()]).await
    }

    /// Calls `VBD.unplug_force`: the guest is not asked.
    ///
    /// # Errors
    /// Those of any call; `DEVICE_ALREADY_DETACHED`, `OPERATION_NOT_ALLOWED` where the guest must be asked.
    pub async fn unplug_force(&self, vbd: &VbdRef) -> Result<(), Error> {
        self.0.void("VBD.unplug_force", vec![vbd.into()]).await
    }

    /// Calls `VBD.destroy`.
    ///
    /// # Errors
    /// Those of any call; `OPERATION_NOT_ALLOWED` while it is plugged.
    pub async fn destroy(&self, vbd: &VbdRef) -> Result<(), Error> {
        self.0.void("VBD.destroy", vec![vbd.into()]).await
    }

    /// Calls `VBD.add_to_other_config`.
    ///
    /// # Errors
    /// Those of any call; `MAP_DUPLICATE_KEY` when the key is there.
    pub async fn add_to_other_config(
        &self,
        vbd: &VbdRef,
        key: &str,
        value: &str,
    ) -> Result<(), Error> {
        self.0
            .void(
                "VBD.add_to_other_config",
                vec![vbd.into(), key.into(), value.into()],
            )
            .await
    }

    /// Calls `VBD.remove_from_other_config`; it succeeds when the key is not there.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn remove_from_other_config(&self, vbd: &VbdRef, key: &str) -> Result<(), Error> {
        self.0
            .void("VBD.remove_from_other_config", vec![vbd.into(), key.into()])
            .await
    }
}
