//! Durable replacement of small files and durable making of directories.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::fault;

/// Replaces `path` by a file that holds `content`, with the given mode.
///
/// Write order, and what a crash leaves in each gap:
/// 1. `<name>.xensm-new` is written and synced: the old file is untouched, the next call overwrites the leftover.
/// 2. It is renamed over `path`: old or new, never a mixture.
/// 3. The directory is synced: from here the new file survives a power cut.
///
/// # Durability
/// On return the content is on stable storage under its name.
pub fn replace_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let directory = parent_of(path)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(OsString::from(".xensm-new"));
    let temporary = PathBuf::from(temporary);
    // A leftover may have another mode: `mode` applies only to a file that is made.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    fault::point("replace: write")?;
    file.write_all(content)?;
    file.sync_all()?;
    fault::point("replace: rename")?;
    rename(&temporary, path)?;
    fault::point("replace: sync directory")?;
    File::open(directory)?.sync_all()
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the durable-replace module; the caller syncs the directory"
)]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

/// Makes a directory with mode 0700, and those above it that are missing, each synced into its parent.
///
/// Returns false when the directory was there already; its mode is then left alone.
///
/// # Durability
/// On return every directory that was made survives a power cut.
pub fn create_directories(path: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
            return Ok(false);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_directories(parent_of(path)?)?;
            DirBuilder::new().mode(0o700).create(path)?;
        }
        Err(error) => return Err(error),
    }
    File::open(parent_of(path)?)?.sync_all()?;
    Ok(true)
}

fn parent_of(path: &Path) -> io::Result<&Path> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => Ok(parent),
        Some(_) => Ok(Path::new(".")),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path has no parent directory",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn replaces_content_and_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        replace_file(&path, b"one", 0o644).unwrap();
        replace_file(&path, b"two", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_crash_at_any_step_leaves_the_old_or_the_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let steps = fault::count(|| replace_file(&path, b"old", 0o600).unwrap());
        assert_eq!(
            steps,
            [
                "replace: write",
                "replace: rename",
                "replace: sync directory"
            ]
        );
        for step in 0..steps.len() {
            replace_file(&path, b"old", 0o600).unwrap();
            fault::crash_at(step, || replace_file(&path, b"new", 0o600));
            let found = std::fs::read(&path).unwrap();
            assert!(
                found == b"old" || found == b"new",
                "step {step} left {found:?}"
            );
        }
        replace_file(&path, b"new", 0o600).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_error_at_any_step_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let full = rustix::io::Errno::NOSPC.raw_os_error();
        for step in 0..3 {
            replace_file(&path, b"old", 0o600).unwrap();
            let error =
                fault::fail_at(step, full, || replace_file(&path, b"new", 0o600)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            let expected: &[u8] = if step < 2 { b"old" } else { b"new" };
            assert_eq!(std::fs::read(&path).unwrap(), expected);
        }
    }

    #[test]
    fn makes_the_directories_above_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c");
        assert!(create_directories(&path).unwrap());
        assert!(!create_directories(&path).unwrap());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(dir.path().join("file"), b"").unwrap();
        assert!(create_directories(&dir.path().join("file")).is_err());
    }
}
