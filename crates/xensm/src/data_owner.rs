//! Whose name a command acts under: root's commands work in the data directory as its owner.
//!
//! The owner of a directory controls the names in it. Root, following them, would write, make and give away what the owner
//! could not; and what root makes there, the service could not read. So a command of root's becomes the owner before it
//! looks into the directory, for good. The programs that serve stay who they are.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::config::{self, CommonFlags, ServeFlags};
use crate::data_dir::DataDir;
use crate::failure::{Exit, Failure, Result};

/// Whom this process became, if it did.
static BECAME: OnceLock<Owner> = OnceLock::new();

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    uid: u32,
    gid: u32,
}

/// Makes a process of root's one of the owner of the data directory, with this owner's group and no other; whoever else types
/// stays who they are. Called before anything is opened there and before there are threads, which would keep root's rights.
///
/// # Errors
/// Those of [`config::load`]; `Exit::Failed` when the rights cannot be given up: nothing was touched.
pub fn become_owner(common: &CommonFlags) -> Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let file = config::load(common, &ServeFlags::default())?;
    let data_dir = DataDir::new(&file.data_dir)?;
    let attempt = format!("act as the owner of {}", data_dir.root().display());
    let failed = |cause: std::io::Error| Failure::failed(&attempt, &cause);
    let owner = owner_of(data_dir.root()).map_err(failed)?;
    if owner.uid == 0 {
        return Ok(());
    }
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        return Err(Failure::new(
            Exit::Failed,
            format!("cannot {attempt}: {threads} threads run already, expected one"),
        ));
    }
    // Groups and group first: without root's number they could not be changed any more.
    let group = match owner.gid {
        0 => NOBODYS_GROUP,
        gid => gid,
    };
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(group));
    set_thread_groups(&[])
        .and_then(|()| set_thread_res_gid(gid, gid, gid))
        .and_then(|()| set_thread_res_uid(uid, uid, uid))
        .map_err(|cause| failed(cause.into()))?;
    BECAME.get_or_init(|| owner);
    Ok(())
}

/// Says who this was done as, where a file was closed to them that root can open.
pub fn explain(failure: Failure) -> Failure {
    let is_closed = |cause: &String| {
        let cause = cause.to_ascii_lowercase();
        cause.contains("permission denied") || cause.contains("unable to open")
    };
    match BECAME.get() {
        Some(owner) if failure.causes.iter().any(is_closed) => failure.hint(format!(
            "root's commands act as the owner of the data directory, here uid {}: who owns it must own all that is in it and be \
             able to read the files that are named; secrets can also be given on stdin",
            owner.uid
        )),
        _ => failure,
    }
}

/// Linux's own limit of links in a path.
const LINKS_MAX: usize = 40;

/// A directory that was only given a new owner has root's group still, which is no right of the owner's.
const NOBODYS_GROUP: u32 = 65_534;

/// Who owns a directory, or the nearest one above it that is there, as long as it will be made in that one. A link that is not
/// root's own leads wherever its owner wants, so this owner counts.
fn owner_of(directory: &Path) -> std::io::Result<Owner> {
    let found = directory.ancestors().find_map(|place| {
        // One link after the other: what a link of root's leads to may be somebody's link.
        let mut at = place.to_owned();
        for _ in 0..LINKS_MAX {
            let found = match std::fs::symlink_metadata(&at) {
                Ok(found) => found,
                Err(cause) if at == place && cause.kind() == std::io::ErrorKind::NotFound => {
                    return None;
                }
                Err(cause) => return Some(Err(cause)),
            };
            if found.uid() != 0 || !found.is_symlink() {
                return Some(Ok(found));
            }
            at = match std::fs::read_link(&at) {
                Ok(to) => at.parent().unwrap_or(Path::new("/")).join(to),
                Err(cause) => return Some(Err(cause)),
            };
        }
        Some(Err(std::io::ErrorKind::InvalidInput.into()))
    });
    let found = found.unwrap_or_else(|| Err(std::io::ErrorKind::NotFound.into()))?;
    Ok(Owner {
        uid: found.uid(),
        gid: found.gid(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{lchown, symlink};

    #[test]
    fn the_owner_is_whoever_controls_the_name() {
        if testkit::tool::root().is_none() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let uid = |path: &Path| owner_of(path).unwrap().uid;
        let place = |name: &str| directory.path().join(name);
        for name in ["ours", "theirs"] {
            std::fs::create_dir(place(name)).unwrap();
        }
        lchown(place("theirs"), Some(4321), Some(4322)).unwrap();
        assert_eq!(uid(&place("ours")), 0);
        let owner = owner_of(&place("theirs")).unwrap();
        assert_eq!((owner.uid, owner.gid), (4321, 4322));
        assert_eq!(uid(&place("theirs/not/yet")), 4321);
        assert_eq!(uid(&place("not/yet")), 0);
        symlink(place("theirs"), place("our-link")).unwrap();
        assert_eq!(uid(&place("our-link")), 4321);
        symlink(place("ours"), place("their-link")).unwrap();
        lchown(place("their-link"), Some(4321), Some(4321)).unwrap();
        assert_eq!(uid(&place("their-link")), 4321);
    }
}
