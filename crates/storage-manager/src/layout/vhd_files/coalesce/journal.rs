//! The journal files of coalescing in an SR directory.
//!
//! Source: XenServer's file SRs: a file `<kind>_<vdi>` whose first line is the value, without a newline.

use std::io;

use uuid::Uuid;

use super::super::{Error, Result};
use crate::io::fault;
use crate::medium::files::{Access, Files};

/// The longest value that is read back.
const MAX_VALUE: usize = 256;

/// What a journal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An image is being copied into its parent.
    Coalesce,
    /// The children of an image are being given its parent.
    Relink,
    /// A parent is getting the name of its only child.
    Leaf,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Coalesce, Kind::Relink, Kind::Leaf];

    fn prefix(self) -> &'static str {
        match self {
            Kind::Coalesce => "coalesce_",
            Kind::Relink => "relink_",
            Kind::Leaf => "leaf_",
        }
    }
}

/// A journal's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Journal {
    /// What it is about.
    pub kind: Kind,
    /// The image.
    pub vdi: Uuid,
}

impl Journal {
    /// Reads a file name, strictly.
    pub fn parse(file_name: &str) -> Option<Self> {
        Kind::ALL.into_iter().find_map(|kind| {
            let stem = file_name.strip_prefix(kind.prefix())?;
            let vdi = Uuid::try_parse(stem).ok()?;
            (vdi.to_string() == stem).then_some(Journal { kind, vdi })
        })
    }

    /// The file's name in the SR directory.
    pub fn file_name(self) -> String {
        format!("{}{}", self.kind.prefix(), self.vdi)
    }

    /// Writes the journal.
    ///
    /// Write order: the file is made and written, and synced; then the directory. Crash: no journal, an empty one, which
    /// says nothing and is removed, or the whole.
    ///
    /// # Durability
    /// On return it is on stable storage.
    pub fn write(self, files: &dyn Files, value: &str) -> Result<()> {
        let name = self.file_name();
        let write = || -> io::Result<()> {
            fault::point("journal: write")?;
            // What is left of an earlier try is written anew.
            files.remove(&name)?;
            let file = files.create_file(&name)?;
            file.write_at(value.as_bytes(), 0)?;
            file.flush()?;
            fault::point("journal: written")?;
            files.sync()
        };
        write().map_err(|source| self.error(files, "write the journal", source))
    }

    /// Removes the journal; one that is not there is no error.
    ///
    /// # Durability
    /// On return it is gone for good.
    pub fn remove(self, files: &dyn Files) -> Result<()> {
        let remove = || -> io::Result<()> {
            files.remove(&self.file_name())?;
            files.sync()
        };
        remove().map_err(|source| self.error(files, "remove the journal", source))
    }

    /// The value; empty when it was not written to the end.
    pub fn value(self, files: &dyn Files) -> Result<String> {
        let read = || -> io::Result<String> {
            let file = files.open_file(&self.file_name(), Access::Read)?;
            let length = usize::try_from(file.len()?).unwrap_or(MAX_VALUE);
            let mut bytes = vec![0; length.min(MAX_VALUE)];
            file.read_at(&mut bytes, 0)?;
            let text = String::from_utf8_lossy(&bytes);
            Ok(text.lines().next().unwrap_or_default().trim().to_owned())
        };
        read().map_err(|source| self.error(files, "read the journal", source))
    }

    fn error(self, files: &dyn Files, action: &'static str, source: io::Error) -> Error {
        Error::Io {
            action,
            path: files.path().join(self.file_name()),
            source,
        }
    }
}

/// The journals in the directory.
pub fn list(files: &dyn Files) -> Result<Vec<Journal>> {
    let entries = files.entries().map_err(|source| Error::Io {
        action: "list",
        path: files.path().to_owned(),
        source,
    })?;
    let mut found: Vec<Journal> = entries
        .iter()
        .filter_map(|entry| Journal::parse(entry))
        .collect();
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::medium::directory::Directory;

    #[test]
    fn journals_are_xenservers() {
        let vdi = Uuid::from_u128(7);
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        let journal = Journal {
            kind: Kind::Leaf,
            vdi,
        };
        journal.write(&directory, "a parent").unwrap();
        let path = temporary.path().join(format!("leaf_{vdi}"));
        assert_eq!(std::fs::read(&path).unwrap(), b"a parent");
        std::fs::write(&path, "first line\nsecond\n").unwrap();
        assert_eq!(journal.value(&directory).unwrap(), "first line");
        assert_eq!(list(&directory).unwrap(), [journal]);
        journal.remove(&directory).unwrap();
        journal.remove(&directory).unwrap();
        assert_eq!(list(&directory).unwrap(), []);
        assert_eq!(Journal::parse("leaf_x"), None);
        assert_eq!(Journal::parse(&format!("lean_{vdi}")), None);
    }
}
