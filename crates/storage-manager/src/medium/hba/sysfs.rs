//! What the kernel tells of its devices: directories of small files.

use std::io;
use std::path::{Path, PathBuf};

/// Most bytes of a file: vital product data pages are the longest, and end at 255 bytes or a few KiB.
const MAX_BYTES: usize = 8192;

/// Most entries of a directory; a machine with more SCSI devices is refused rather than walked for ever.
const MAX_ENTRIES: usize = 1 << 16;

/// Where the kernel's tree and the nodes of devices are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysfs {
    tree: PathBuf,
    nodes: PathBuf,
}

impl Default for Sysfs {
    /// Those of this machine.
    fn default() -> Self {
        Sysfs::at("/sys", "/dev")
    }
}

impl Sysfs {
    /// A tree elsewhere, for tests: `tree` stands for `/sys` and `nodes` for `/dev`.
    pub fn at(tree: impl Into<PathBuf>, nodes: impl Into<PathBuf>) -> Self {
        Sysfs {
            tree: tree.into(),
            nodes: nodes.into(),
        }
    }

    /// The node of a block device.
    pub fn node(&self, name: &str) -> PathBuf {
        self.nodes.join(name)
    }

    /// The path of an entry of the tree.
    pub fn path(&self, path: &str) -> PathBuf {
        self.tree.join(path)
    }

    /// The names in a directory, sorted; none when it is not there.
    pub fn names(&self, directory: &str) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.path(directory)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            if names.len() == MAX_ENTRIES {
                let text = format!("{directory} has more than {MAX_ENTRIES} entries");
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
            }
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    /// The bytes of a file; none when it cannot be read, as where a device does not answer.
    pub fn bytes(&self, file: &str) -> Vec<u8> {
        let mut bytes = std::fs::read(self.path(file)).unwrap_or_default();
        bytes.truncate(MAX_BYTES);
        bytes
    }

    /// The text of a file without white space at its ends; empty when it cannot be read.
    pub fn text(&self, file: &str) -> String {
        String::from_utf8_lossy(&self.bytes(file)).trim().to_owned()
    }

    /// The last component of what a symbolic link names.
    pub fn link(&self, link: &str) -> Option<String> {
        let target = std::fs::read_link(self.path(link)).ok()?;
        target.file_name()?.to_str().map(str::to_owned)
    }

    /// True when there is such an entry.
    pub fn has(&self, path: &str) -> bool {
        Path::new(&self.path(path)).exists()
    }

    /// Writes a file by which the kernel is asked for something.
    pub fn ask(&self, file: &str, text: &str) -> io::Result<()> {
        std::fs::OpenOptions::new()
            .write(true)
            .open(self.path(file))
            .and_then(|mut opened| io::Write::write_all(&mut opened, text.as_bytes()))
    }
}
