//! The contents of LUNs and of their snapshots: one sparse file each.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ontap::state::cluster::{Cluster, DataId, Effect};
use crate::tool;

/// A directory of files.
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
}

impl Files {
    /// Files in a directory that is there.
    pub fn new(directory: &Path) -> Self {
        Files {
            directory: directory.to_owned(),
        }
    }

    /// The file of a piece of data.
    pub fn path(&self, data: DataId) -> PathBuf {
        self.directory.join(format!("data-{}", data.0))
    }

    /// Makes the files as the state says.
    ///
    /// # Panics
    /// When the medium fails.
    pub fn apply(&self, effect: &Effect) {
        match effect {
            Effect::Create(data, size) => {
                let file = File::create(self.path(*data)).expect("a file for a LUN");
                file.set_len(*size).expect("a sparse file");
            }
            // An existing file keeps its inode, so that the target goes on with it.
            Effect::Copy { from, to } | Effect::Overwrite { from, to } => {
                let mut copy = Command::new("cp");
                copy.arg("--sparse=auto").arg("--reflink=auto");
                tool::run(copy.arg(self.path(*from)).arg(self.path(*to)));
            }
            Effect::Resize(data, size) => {
                let file = OpenOptions::new().write(true).open(self.path(*data));
                let file = file.expect("the file of a LUN");
                file.set_len(*size).expect("a sparse file");
            }
            Effect::Remove(data) => {
                std::fs::remove_file(self.path(*data)).expect("the file of a LUN");
            }
        }
    }

    /// Looks how much each piece of data takes on the medium.
    pub fn measure(&self, cluster: &mut Cluster) {
        let live = cluster.luns.iter().map(|lun| lun.data);
        let kept = cluster.snapshots.iter().flat_map(|snapshot| &snapshot.luns);
        let all = live.chain(kept.map(|lun| lun.data));
        let usage = all.filter_map(|data| {
            let found = std::fs::metadata(self.path(data)).ok()?;
            Some((data, found.blocks() * 512))
        });
        cluster.usage = usage.collect();
    }
}
