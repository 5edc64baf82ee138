//! Change tracking of the VDIs of an SR directory: what `VDI.enable_cbt` and its like do, and how images show their logs.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::cbt::{ChangedBlocksError, LeafImage, LogSummary};
use super::inspect::inspect;
use super::names::{ImageFormat, ImageName};
use super::scan::Survey;
use super::vhd_directory::VhdDirectory;
use super::{Error, Result};
use crate::medium::files::Access;
use crate::sr::FoundVdi;

impl VhdDirectory {
    /// Starts the log of a VDI, which may be open; one that has a log keeps it.
    ///
    /// # Durability
    /// What is written from here on will be in the log.
    pub fn enable_cbt(&self, uuid: Uuid) -> Result<FoundVdi> {
        let name = self.tracked_image(uuid)?;
        let size = inspect(&*self.files, name)?.virtual_size;
        self.logs.enable(uuid, size)?;
        self.stat(uuid)
    }

    /// Drops the log of a VDI, which may be open; without one nothing happens.
    pub fn disable_cbt(&self, uuid: Uuid) -> Result<FoundVdi> {
        self.logs.disable(uuid)?;
        self.stat(uuid)
    }

    /// Removes the image of a VDI and keeps its log; an image that is gone is no error.
    ///
    /// # Errors
    /// `NotTracked` without a log; otherwise as [`VhdDirectory::remove`].
    pub fn destroy_data(&self, uuid: Uuid) -> Result<FoundVdi> {
        if self.logs.summary(uuid)?.is_none() {
            // The image may be missing: that is the better message.
            self.stat(uuid)?;
            return Err(Error::NotTracked { vdi: uuid });
        }
        self.remove_image(uuid)?;
        self.stat(uuid)
    }

    /// The blocks of `to` that have changed since `from`, as the API answers them.
    pub fn changed_blocks(
        &self,
        from: Uuid,
        to: Uuid,
    ) -> std::result::Result<Vec<u8>, ChangedBlocksError> {
        self.logs.changed_blocks(from, to)
    }

    /// Removes a VDI: its image, then its log, whose bits go to the log after it.
    ///
    /// A crash in between leaves the log without its image. It is shown as a VDI of changes only, and the call can be
    /// repeated.
    ///
    /// # Errors
    /// As `remove_image`.
    pub fn remove(&self, uuid: Uuid) -> Result<()> {
        self.remove_image(uuid)?;
        self.logs.destroyed(uuid)
    }

    /// The VHD of a VDI; refuses raw images.
    fn tracked_image(&self, uuid: Uuid) -> Result<ImageName> {
        match self.find(uuid, Access::Read)? {
            (name, _) if name.format == ImageFormat::Vhd => Ok(name),
            _ => Err(Error::RawTracking { vdi: uuid }),
        }
    }

    /// Makes the log of a VDI ready for its getting another leaf; see `ChangeLogs::seal`. To be called, with the consumer
    /// held off, before the leaf gets another name.
    pub(super) fn seal_log(&self, name: ImageName) -> Result<()> {
        match self.leaf_image(name.uuid)? {
            Some(LeafImage {
                storage,
                size,
                path,
            }) => self.logs.seal(name.uuid, Some(storage), size, &path),
            None => Ok(()),
        }
    }

    /// The image of a VDI as far as its log may need it; none for a raw one.
    fn leaf_image(&self, uuid: Uuid) -> Result<Option<LeafImage>> {
        let (name, file) = match self.find(uuid, Access::Read) {
            Err(Error::Missing { .. }) => return Ok(None),
            found => found?,
        };
        if name.format == ImageFormat::Raw {
            return Ok(None);
        }
        let size = inspect(&*self.files, name)?.virtual_size;
        Ok(Some(LeafImage {
            storage: file,
            size,
            path: self.files().path().join(name.file_name()),
        }))
    }

    /// Mends the logs after an earlier process; nothing is open yet.
    pub(super) fn recover_logs(&self) -> Result<()> {
        self.logs.recover(|uuid| self.leaf_image(uuid))
    }

    /// A VDI with what its log adds to what is shown of it.
    pub(super) fn shown(&self, mut vdi: FoundVdi) -> Result<FoundVdi> {
        vdi.cbt_enabled = self.logs.summary(vdi.uuid)?.is_some();
        Ok(vdi)
    }

    /// A VDI of which only the log is left.
    pub(super) fn stat_log(&self, uuid: Uuid) -> Result<FoundVdi> {
        match self.logs.summary(uuid)? {
            Some(summary) => Ok(log_only(uuid, summary)),
            None => Err(self.missing(uuid)),
        }
    }

    /// The logs, for a survey of the images.
    pub(super) fn all_logs(&self) -> Result<BTreeMap<Uuid, LogSummary>> {
        self.logs.all()
    }
}

impl Survey {
    /// Adds to the VDIs of a survey what their logs say, and those of which only the log is left.
    pub(super) fn add_logs(&self, vdis: &mut Vec<FoundVdi>) {
        for vdi in vdis.iter_mut() {
            vdi.cbt_enabled = self.logs.contains_key(&vdi.uuid);
        }
        let has_file = |uuid: Uuid| {
            let file_names = [ImageName::vhd(uuid), ImageName::raw(uuid)];
            let is_damaged = |name: &ImageName| {
                let file_name = name.file_name();
                self.damaged.iter().any(|image| image.location == file_name)
            };
            file_names
                .iter()
                .any(|name| self.images.contains_key(name) || is_damaged(name))
        };
        let without = self.logs.iter().filter(|(uuid, _)| !has_file(**uuid));
        vdis.extend(without.map(|(uuid, summary)| log_only(*uuid, *summary)));
    }
}

/// How a VDI of type `cbt_metadata` is shown. XenServer's scan tells the length of the log as its virtual size; here it keeps
/// the size that it had, which says what the bits mean.
fn log_only(uuid: Uuid, summary: LogSummary) -> FoundVdi {
    FoundVdi {
        uuid,
        location: uuid.to_string(),
        virtual_size: summary.size,
        physical_utilisation: summary.length,
        managed: true,
        read_only: false,
        sm_config: BTreeMap::new(),
        cbt_enabled: true,
        is_cbt_metadata: true,
    }
}
