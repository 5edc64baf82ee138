//! Calls of class `VDI` that make, change, measure or compare content.

use super::call::map;
use super::error::Error;
use super::vdi::Vdis;
use crate::reference::{SrRef, TaskRef, VdiRef};
use crate::{NULL_REF, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;

/// Where `VDI.copy` writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyTarget<'a> {
    /// A new VDI in that SR.
    NewIn(&'a SrRef),
    /// A VDI that is there, is not attached and is at least as large as the source.
    Into(&'a VdiRef),
}

impl CopyTarget<'_> {
    /// Every optional parameter is given, the null reference where it does not apply, as pools' own tools do.
    fn params(self, vdi: &VdiRef, base: Option<&VdiRef>) -> Vec<Value> {
        let (sr, into): (Value, Value) = match self {
            CopyTarget::NewIn(sr) => (sr.into(), NULL_REF.into()),
            CopyTarget::Into(vdi) => (NULL_REF.into(), vdi.into()),
        };
        let base = base.map_or_else(|| NULL_REF.into(), Value::from);
        vec![vdi.into(), sr, base, into]
    }
}

impl Vdis<'_> {
    /// Calls `VDI.snapshot`: a VDI with the content that this one has now. It is made in constant time, also while the VDI
    /// is attached. It is never repeated: after an unknown outcome look for a VDI whose `snapshot_of` is this one.
    ///
    /// # Errors
    /// Those of any call; `SR_OPERATION_NOT_SUPPORTED`, `SR_BACKEND_FAILURE_*` (109: its chain is too long).
    pub async fn snapshot(
        &self,
        vdi: &VdiRef,
        driver_params: &BTreeMap<String, String>,
    ) -> Result<VdiRef, Error> {
        self.0
            .text("VDI.snapshot", vec![vdi.into(), map(driver_params)])
            .await
            .map(VdiRef::from)
    }

    /// Calls `VDI.clone`: as [`Vdis::snapshot`], but the new VDI is to be written. A clone of a snapshot is no snapshot.
    ///
    /// # Errors
    /// Those of [`Vdis::snapshot`].
    pub async fn clone_vdi(
        &self,
        vdi: &VdiRef,
        driver_params: &BTreeMap<String, String>,
    ) -> Result<VdiRef, Error> {
        self.0
            .text("VDI.clone", vec![vdi.into(), map(driver_params)])
            .await
            .map(VdiRef::from)
    }

    /// Calls `VDI.copy` and waits for it: as long as the [deadline](super::Client::with_deadline) of a call allows. With a
    /// base only what differs from the base is written; the target then has the content of the base already.
    ///
    /// # Errors
    /// Those of any call; `VDI_IN_USE`, `VDI_TOO_SMALL`, `VDI_NOT_SPARSE`, `SR_FULL`, `SR_BACKEND_FAILURE_*`.
    pub async fn copy(
        &self,
        vdi: &VdiRef,
        target: CopyTarget<'_>,
        base: Option<&VdiRef>,
    ) -> Result<VdiRef, Error> {
        self.0
            .text("VDI.copy", target.params(vdi, base))
            .await
            .map(VdiRef::from)
    }

    /// Starts `VDI.copy` as a task, whose result is the reference of the copy. Its `progress` goes from 0 to 1, and
    /// [`Tasks::cancel`](super::Tasks::cancel) stops it.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn start_copy(
        &self,
        vdi: &VdiRef,
        target: CopyTarget<'_>,
        base: Option<&VdiRef>,
    ) -> Result<TaskRef, Error> {
        self.0.start("VDI.copy", target.params(vdi, base)).await
    }

    /// Calls `VDI.resize`: grows a VDI that is not attached.
    ///
    /// # Errors
    /// Those of any call; `VDI_IN_USE` while it is attached.
    pub async fn resize(&self, vdi: &VdiRef, size_bytes: i64) -> Result<(), Error> {
        self.0
            .void("VDI.resize", vec![vdi.into(), size_bytes.into()])
            .await
    }

    /// Calls `VDI.resize_online`: grows a VDI, attached or not. Where the driver cannot, ask for [`Vdis::resize`].
    ///
    /// # Errors
    /// Those of any call; `SR_OPERATION_NOT_SUPPORTED`.
    pub async fn resize_online(&self, vdi: &VdiRef, size_bytes: i64) -> Result<(), Error> {
        self.0
            .void("VDI.resize_online", vec![vdi.into(), size_bytes.into()])
            .await
    }

    /// Calls `VDI.revert`: gives the VDI of a snapshot the content of the snapshot. Its uuid and reference stay.
    ///
    /// # Errors
    /// Those of any call; `MESSAGE_METHOD_UNKNOWN` of a pool that is too old for it, `SR_OPERATION_NOT_SUPPORTED` without
    /// the capability `VDI_REVERT`, `VDI_IN_USE` while the VDI is attached.
    pub async fn revert(&self, snapshot: &VdiRef) -> Result<(), Error> {
        self.0.void("VDI.revert", vec![snapshot.into()]).await
    }

    /// Calls `VDI.enable_cbt`; it succeeds when it is enabled already.
    ///
    /// # Errors
    /// Those of any call; `VDI_INCOMPATIBLE_TYPE`, `OPERATION_NOT_ALLOWED` for a snapshot.
    pub async fn enable_cbt(&self, vdi: &VdiRef) -> Result<(), Error> {
        self.0.void("VDI.enable_cbt", vec![vdi.into()]).await
    }

    /// Calls `VDI.disable_cbt`; it succeeds when it is disabled already.
    ///
    /// # Errors
    /// Those of any call; `VDI_INCOMPATIBLE_TYPE`, `OPERATION_NOT_ALLOWED` for a snapshot.
    pub async fn disable_cbt(&self, vdi: &VdiRef) -> Result<(), Error> {
        self.0.void("VDI.disable_cbt", vec![vdi.into()]).await
    }

    /// Calls `VDI.data_destroy`: deletes the data of a snapshot and keeps the note of what changed since.
    ///
    /// # Errors
    /// Those of any call; `VDI_NO_CBT_METADATA`, `OPERATION_NOT_ALLOWED` when it is no snapshot.
    pub async fn data_destroy(&self, vdi: &VdiRef) -> Result<(), Error> {
        self.0.void("VDI.data_destroy", vec![vdi.into()]).await
    }

    /// Calls `VDI.list_changed_blocks`: one bit for each 64 KiB of the newer VDI, the most significant bit of each byte
    /// first; set where the two differ.
    ///
    /// # Errors
    /// Those of any call; `VDI_NO_CBT_METADATA`, and [`Error::UnexpectedResult`] for what is no base64.
    pub async fn list_changed_blocks(&self, from: &VdiRef, to: &VdiRef) -> Result<Vec<u8>, Error> {
        const METHOD: &str = "VDI.list_changed_blocks";
        let text = self.0.text(METHOD, vec![from.into(), to.into()]).await?;
        STANDARD
            .decode(text.trim())
            .map_err(|_| Error::UnexpectedResult {
                method: METHOD.to_owned(),
                expected: "base64",
            })
    }

    /// Calls `VDI.update`: reads the VDI's state from the medium again.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn update(&self, vdi: &VdiRef) -> Result<(), Error> {
        self.0.void("VDI.update", vec![vdi.into()]).await
    }

    /// Calls `VDI.forget`: removes the record, not what is on the medium.
    ///
    /// # Errors
    /// Those of any call; `VDI_IN_USE`.
    pub async fn forget(&self, vdi: &VdiRef) -> Result<(), Error> {
        self.0.void("VDI.forget", vec![vdi.into()]).await
    }
}
