//! Calls of the classes `pool`, `host`, `VM` and `SM`, which the service only reads.

use std::collections::BTreeMap;

use super::call::Client;
use super::error::Error;
use crate::record::{HostRecord, PoolRecord, SmRecord, VmMetricsRecord, VmRecord};
use crate::reference::{HostRef, PoolRef, SmRef, VmMetricsRef, VmRef};
use crate::value::Value;

/// Calls of class `pool`.
#[derive(Clone, Copy, Debug)]
pub struct Pools<'a>(&'a Client);

/// Calls of class `host`.
#[derive(Clone, Copy, Debug)]
pub struct Hosts<'a>(&'a Client);

/// Calls of class `VM`.
#[derive(Clone, Copy, Debug)]
pub struct Vms<'a>(&'a Client);

/// Calls of class `SM`.
#[derive(Clone, Copy, Debug)]
pub struct Sms<'a>(&'a Client);

impl Client {
    /// Calls of class `pool`.
    pub fn pool(&self) -> Pools<'_> {
        Pools(self)
    }

    /// Calls of class `host`.
    pub fn host(&self) -> Hosts<'_> {
        Hosts(self)
    }

    /// Calls of class `VM`.
    pub fn vm(&self) -> Vms<'_> {
        Vms(self)
    }

    /// Calls of class `SM`.
    pub fn sm(&self) -> Sms<'_> {
        Sms(self)
    }
}

impl Pools<'_> {
    /// Calls `pool.get_all_records`; there is one.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_all_records(&self) -> Result<Vec<(PoolRef, PoolRecord)>, Error> {
        self.0.records(None).await
    }
}

impl Hosts<'_> {
    /// Calls `host.get_all_records`.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_all_records(&self) -> Result<Vec<(HostRef, HostRecord)>, Error> {
        self.0.records(None).await
    }

    /// Calls `host.get_record`.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_record(&self, host: &HostRef) -> Result<HostRecord, Error> {
        self.0.record(host.into()).await
    }

    /// Calls `host.get_by_uuid`.
    ///
    /// # Errors
    /// Those of any call; `UUID_INVALID` when there is none.
    pub async fn get_by_uuid(&self, uuid: &str) -> Result<HostRef, Error> {
        self.0
            .text("host.get_by_uuid", vec![uuid.into()])
            .await
            .map(HostRef::from)
    }

    /// Calls `host.call_plugin` for what changes nothing.
    ///
    /// # Errors
    /// Those of any call; `XENAPI_MISSING_PLUGIN` when the host has none of that name.
    pub async fn call_plugin(
        &self,
        host: &HostRef,
        plugin: &str,
        function: &str,
        args: &[(&str, &str)],
    ) -> Result<String, Error> {
        let args: BTreeMap<String, Value> = args
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).into()))
            .collect();
        let params = vec![
            host.into(),
            plugin.into(),
            function.into(),
            Value::Struct(args),
        ];
        self.0.text("host.call_plugin", params).await
    }
}

impl Vms<'_> {
    /// Calls `VM.get_all_records_where` with an expression of [`crate::filter`].
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_all_records_where(
        &self,
        filter: &str,
    ) -> Result<Vec<(VmRef, VmRecord)>, Error> {
        self.0.records(Some(filter)).await
    }

    /// Calls `VM_metrics.get_all_records`.
    ///
    /// # Errors
    /// Those of any call; `MESSAGE_METHOD_UNKNOWN` where VMs are not measured.
    pub async fn get_all_metrics(&self) -> Result<Vec<(VmMetricsRef, VmMetricsRecord)>, Error> {
        self.0.records(None).await
    }

    /// Calls `VM.add_to_other_config`.
    ///
    /// # Errors
    /// Those of any call; `MAP_DUPLICATE_KEY` when the key is there.
    pub async fn add_to_other_config(
        &self,
        vm: &VmRef,
        key: &str,
        value: &str,
    ) -> Result<(), Error> {
        self.0
            .void(
                "VM.add_to_other_config",
                vec![vm.into(), key.into(), value.into()],
            )
            .await
    }

    /// Calls `VM.remove_from_other_config`; it succeeds when the key is not there.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn remove_from_other_config(&self, vm: &VmRef, key: &str) -> Result<(), Error> {
        self.0
            .void("VM.remove_from_other_config", vec![vm.into(), key.into()])
            .await
    }

    /// Calls `VM.get_record`.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_record(&self, vm: &VmRef) -> Result<VmRecord, Error> {
        self.0.record(vm.into()).await
    }

    /// Calls `VM.get_by_uuid`.
    ///
    /// # Errors
    /// Those of any call; `UUID_INVALID` when there is none.
    pub async fn get_by_uuid(&self, uuid: &str) -> Result<VmRef, Error> {
        self.0
            .text("VM.get_by_uuid", vec![uuid.into()])
            .await
            .map(VmRef::from)
    }
}

impl Sms<'_> {
    /// Calls `SM.get_all_records`.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_all_records(&self) -> Result<Vec<(SmRef, SmRecord)>, Error> {
        self.0.records(None).await
    }
}
