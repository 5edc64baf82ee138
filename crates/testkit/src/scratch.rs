//! Directories for tests of what is written and in which order, not of a disk.

use std::path::Path;

/// A file system in memory.
const MEMORY: &str = "/dev/shm";

/// Room that it must have: several tests use it at once.
const ROOM: u64 = 2 << 30;

/// A directory in memory where there is enough of it, or else on the disk: it takes no flush that takes long.
///
/// # Panics
/// When it cannot be made.
pub fn directory() -> tempfile::TempDir {
    let has_room = rustix::fs::statvfs(Path::new(MEMORY))
        .is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) >= ROOM);
    let made = match has_room {
        true => tempfile::tempdir_in(MEMORY),
        false => tempfile::tempdir(),
    };
    made.expect("a temporary directory")
}
