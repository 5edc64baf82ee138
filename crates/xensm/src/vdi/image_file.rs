//! The file at the other end of a transfer: what it holds, and how it is written with holes.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::failure::{Exit, Failure, Result};

/// How an image lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFormat {
    /// The bytes as they are.
    Raw,
    /// A VHD.
    Vhd,
}

impl ImageFormat {
    /// What the handlers call it.
    pub fn name(self) -> &'static str {
        match self {
            ImageFormat::Raw => "raw",
            ImageFormat::Vhd => "vhd",
        }
    }

    /// By the suffix of a file name: `.vhd`, else raw.
    pub fn of_path(path: &Path) -> Self {
        let is_vhd = path
            .extension()
            .is_some_and(|suffix| suffix.eq_ignore_ascii_case("vhd"));
        if is_vhd {
            ImageFormat::Vhd
        } else {
            ImageFormat::Raw
        }
    }
}

/// True for the name of stdin and stdout.
pub fn is_pipe(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Bytes in a VHD's footer.
const FOOTER: u64 = 512;
/// First bytes of a footer. Source: VHD specification, "Hard Disk Footer Format".
const COOKIE: &[u8] = b"conectix";
/// Where a footer has the virtual size.
const CURRENT_SIZE_AT: usize = 48;

/// The virtual size that a VHD names: in the copy of its footer, or in the footer of a fixed one.
pub fn vhd_size(file: &File, length: u64) -> Option<u64> {
    let places = [Some(0), length.checked_sub(FOOTER)];
    places.into_iter().flatten().find_map(|at| {
        let mut footer = [0; FOOTER as usize];
        file.read_exact_at(&mut footer, at).ok()?;
        let size = footer[CURRENT_SIZE_AT..CURRENT_SIZE_AT + 8].try_into();
        footer
            .starts_with(COOKIE)
            .then(|| size.map(u64::from_be_bytes).ok())?
    })
}

/// What an export is written to.
pub enum Output {
    /// A new file: zeros are left out. It gets its name when it is whole, so that what had the name before is there until then.
    Sparse {
        /// The file.
        file: File,
        /// Where the next byte belongs.
        at: u64,
        /// Its name until it is whole.
        part: PathBuf,
        /// Its name from then on.
        path: PathBuf,
    },
    /// Stdout, a pipe or a device: every byte is written.
    Whole(Box<dyn Write>),
}

/// Pieces that are zero throughout are not written.
const HOLE: u64 = 64 << 10;

static ZEROS: [u8; HOLE as usize] = [0; HOLE as usize];

/// Whether what is there may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// A file that exists is an error.
    Refuse,
    /// It is replaced.
    Allow,
}

impl Output {
    /// Opens the file of an export.
    pub fn create(path: &Path, overwrite: Overwrite) -> Result<Self> {
        if is_pipe(path) {
            if std::io::stdout().is_terminal() {
                return Err(
                    Failure::new(Exit::Usage, "an image is not written to a terminal")
                        .hint("name a file in place of -, or redirect stdout"),
                );
            }
            return Ok(Output::Whole(Box::new(std::io::stdout())));
        }
        let attempt = || format!("create {}", path.display());
        let found = std::fs::metadata(path).ok();
        if found.is_some() && overwrite == Overwrite::Refuse {
            return Err(Failure::new(
                Exit::Conflict,
                format!("{} exists and would be overwritten", path.display()),
            )
            .hint("name another file, or say --overwrite to lose what is in this one"));
        }
        let failed = |cause: std::io::Error| Failure::failed(attempt(), &cause);
        if found.as_ref().is_some_and(|found| !found.is_file()) {
            let device = OpenOptions::new().write(true).open(path).map_err(failed)?;
            return Ok(Output::Whole(Box::new(device)));
        }
        // A link stays one: what it leads to is replaced.
        let path = match &found {
            Some(_) => std::fs::canonicalize(path).map_err(failed)?,
            None => path.to_owned(),
        };
        let mut part = path.clone().into_os_string();
        part.push(format!(".{}.part", std::process::id()));
        let part = PathBuf::from(part);
        let file = OpenOptions::new().write(true).create_new(true).open(&part);
        let file = file.map_err(failed)?;
        let output = Output::Sparse {
            file,
            at: 0,
            part,
            path,
        };
        if let (Output::Sparse { file, .. }, Some(found)) = (&output, found)
            && let Err(cause) = file.set_permissions(found.permissions())
        {
            output.discard();
            return Err(failed(cause));
        }
        Ok(output)
    }

    /// Removes what was written of an image that will not be whole; what had its name before stays.
    pub fn discard(self) {
        if let Output::Sparse { part, .. } = self {
            // One that stays has a name that says what it is.
            let _ = std::fs::remove_file(part);
        }
    }

    /// Writes the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Output::Whole(writer) => writer.write_all(bytes),
            Output::Sparse { file, at, .. } => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let step = (HOLE - *at % HOLE).min(rest.len() as u64) as usize;
                    let (piece, after) = rest.split_at(step);
                    if *piece != ZEROS[..step] {
                        file.write_all_at(piece, *at)?;
                    }
                    *at += step as u64;
                    rest = after;
                }
                Ok(())
            }
        }
    }

    /// Puts everything on stable storage, and gives a new file its name.
    pub fn finish(&mut self) -> std::io::Result<()> {
        match self {
            Output::Whole(writer) => writer.flush(),
            Output::Sparse {
                file,
                at,
                part,
                path,
            } => {
                file.set_len(*at)?;
                file.sync_all()?;
                #[expect(
                    clippy::disallowed_methods,
                    reason = "its directory is synced right behind"
                )]
                std::fs::rename(part, &*path)?;
                let directory = path
                    .parent()
                    .filter(|parent| !parent.as_os_str().is_empty());
                File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn zeros_take_no_space_and_are_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        let mut bytes = vec![0; 3 << 20];
        bytes[100_000..100_100].fill(7);
        bytes[(3 << 20) - 1] = 8;
        bytes.extend([0; 70_001]);
        let mut output = Output::create(&path, Overwrite::Refuse).unwrap();
        for piece in bytes.chunks(12_345) {
            output.write(piece).unwrap();
        }
        output.finish().unwrap();
        assert!(std::fs::read(&path).unwrap() == bytes);
        assert!(std::fs::metadata(&path).unwrap().blocks() * 512 < 1 << 20);
        let refused = Output::create(&path, Overwrite::Refuse).err().unwrap();
        assert_eq!(refused.exit, Exit::Conflict);
    }

    #[test]
    fn a_file_is_replaced_by_a_whole_one_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("backup.vhd");
        std::fs::write(&path, b"of yesterday").unwrap();
        let mut output = Output::create(&path, Overwrite::Allow).unwrap();
        output.write(b"half of today's").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"of yesterday");
        output.discard();
        assert_eq!(std::fs::read(&path).unwrap(), b"of yesterday");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        let mut output = Output::create(&path, Overwrite::Allow).unwrap();
        output.write(b"of today").unwrap();
        output.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"of today");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_suffix_says_the_format() {
        let of = |name| ImageFormat::of_path(Path::new(name));
        assert_eq!(of("a.vhd"), ImageFormat::Vhd);
        assert_eq!(of("a.VHD"), ImageFormat::Vhd);
        assert_eq!(of("a.raw"), ImageFormat::Raw);
        assert_eq!(of("vhd"), ImageFormat::Raw);
    }
}
