//! Mending the chain of logs when the SR is attached.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use uuid::Uuid;

use super::change_logs::{ChangeLogs, Trackers};
use super::log_file;
use crate::layout::cbt_log::Header;
use crate::layout::vhd_files::{Error, Result};

/// The image of a VDI, for a log that its VDI's consumer did not close.
pub struct LeafImage {
    /// Its file.
    pub storage: Arc<dyn vhd::Storage>,
    /// The VDI's size in bytes.
    pub size: u64,
    /// Where it is, for messages.
    pub path: PathBuf,
}

impl ChangeLogs {
    /// Mends what a crash, here or in XenServer's storage manager, left of the logs. `image_of` gives the image of a VDI, if
    /// it has one.
    ///
    /// A log's parent says where its changes begin, so it is believed; children follow from it. Each step leaves logs that
    /// are as right as before, so a crash in the middle is mended by the next attach.
    pub fn recover(&self, image_of: impl Fn(Uuid) -> Result<Option<LeafImage>>) -> Result<()> {
        let open = self.lock();
        let mut headers = BTreeMap::new();
        for vdi in self.listed()? {
            match self.header(&open, vdi) {
                Ok(Some(header)) => {
                    headers.insert(vdi, header);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(vdi.uuid = %vdi, error = %error.chain_text(), "leave out a change-tracking log");
                }
            }
        }
        self.remove_doubles(&mut headers)?;
        self.relink(&open, &headers)?;
        for (vdi, header) in &headers {
            // `changed_blocks` refuses what stays open.
            if let Err(error) = self.complete_left_open(*vdi, header, &image_of) {
                tracing::warn!(vdi.uuid = %vdi, error = %error.chain_text(), "could not complete a change-tracking log that was not closed");
            }
        }
        Ok(())
    }

    /// Completes a log whose VDI was open, or was growing, when the process died.
    fn complete_left_open(
        &self,
        vdi: Uuid,
        header: &Header,
        image_of: impl Fn(Uuid) -> Result<Option<LeafImage>>,
    ) -> Result<()> {
        match image_of(vdi)? {
            Some(image) if header.consistent && header.size == image.size => Ok(()),
            Some(image) => self
                .complete(vdi, Some(image.storage), image.size, &image.path, false)
                .map(drop),
            None if header.consistent => Ok(()),
            // Nothing is left that could tell what it lacks.
            None => Err(Error::LogInconsistent { vdi }),
        }
    }

    /// Removes logs all of which their child has: the copy that a hand-over had just made, and the log that was being
    /// taken out of the chain. Both name as their child a log that begins where they begin.
    fn remove_doubles(&self, headers: &mut BTreeMap<Uuid, Header>) -> Result<()> {
        let is_double = |vdi: &Uuid, header: &Header| {
            let child = header.child.and_then(|child| headers.get(&child));
            header.child != Some(*vdi) && child.is_some_and(|child| child.parent == header.parent)
        };
        let doubles = headers
            .iter()
            .filter(|(vdi, header)| is_double(vdi, header));
        let doubles: Vec<Uuid> = doubles.map(|(vdi, _)| *vdi).collect();
        for vdi in doubles {
            tracing::info!(vdi.uuid = %vdi, "remove a change-tracking log that an interrupted snapshot or deletion left");
            log_file::remove(&*self.files, vdi)?;
            headers.remove(&vdi);
        }
        Ok(())
    }

    fn relink(&self, open: &Trackers, headers: &BTreeMap<Uuid, Header>) -> Result<()> {
        let mut children: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
        for (vdi, header) in headers {
            if let Some(parent) = header.parent {
                children.entry(parent).or_default().push(*vdi);
            }
        }
        for (vdi, header) in headers {
            let parent = header.parent.filter(|parent| headers.contains_key(parent));
            let child = match children.get(vdi).map(Vec::as_slice) {
                Some([only]) => Some(*only),
                // Of several the one that is named stays; a chain of logs has no branches.
                Some(several) => header.child.filter(|child| several.contains(child)),
                None => None,
            };
            self.change_header(open, *vdi, |header| {
                header.parent = parent;
                header.child = child;
            })?;
        }
        Ok(())
    }
}
