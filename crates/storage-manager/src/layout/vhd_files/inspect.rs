//! One image file: what it says of itself, and making an empty one.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use super::names::{ImageFormat, ImageName, parent_image};
use super::tree::Node;
use super::{Error, Result};
use crate::io::positional::PositionalFile;
use crate::medium::directory::{Access, Directory};

/// What an image says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Virtual size in bytes.
    pub virtual_size: u64,
    /// Length of the file in bytes.
    pub file_size: u64,
    /// True for a parent that only its children need.
    pub hidden: bool,
    /// The image that it is based on.
    pub parent: Option<ImageName>,
}

impl Inspected {
    /// What the tree keeps of it.
    pub fn node(&self) -> Node {
        Node {
            parent: self.parent,
            hidden: self.hidden,
        }
    }
}

impl vhd::Storage for PositionalFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(data, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.size()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        PositionalFile::set_len(self, length)
    }

    fn flush(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<bool> {
        PositionalFile::punch_hole(self, offset, length).map(|()| true)
    }
}

/// Reads the headers of an image, and neither its table nor data.
pub fn inspect(directory: &Directory, name: ImageName) -> Result<Inspected> {
    inspect_named(directory, &name.file_name(), name)
}

/// Reads the headers of an image that has another name for now.
pub fn inspect_named(directory: &Directory, file_name: &str, name: ImageName) -> Result<Inspected> {
    let path = directory.path().join(file_name);
    let file = directory
        .open_file(file_name, Access::Read)
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::Missing {
                uuid: name.uuid,
                directory: directory.path().to_owned(),
            },
            _ => Error::Io {
                action: "open",
                path: path.clone(),
                source,
            },
        })?;
    inspect_file(&PositionalFile::new(file), name, &path)
}

/// Reads the headers of an open image.
pub fn inspect_file(file: &PositionalFile, name: ImageName, path: &Path) -> Result<Inspected> {
    match name.format {
        ImageFormat::Raw => {
            let io_error = |source| Error::Io {
                action: "get the length of",
                path: path.to_owned(),
                source,
            };
            let file_size = file.size().map_err(io_error)?;
            Ok(Inspected {
                virtual_size: file_size,
                file_size,
                hidden: false,
                parent: None,
            })
        }
        ImageFormat::Vhd => {
            let image_error = |source| Error::Image {
                action: "read",
                path: path.to_owned(),
                source,
            };
            let info = vhd::image::inspect(file).map_err(image_error)?;
            Ok(Inspected {
                virtual_size: info.virtual_size,
                file_size: info.physical_size,
                hidden: info.hidden,
                parent: info.parent.as_ref().map(parent_of).transpose()?,
            })
        }
    }
}

/// The image of this SR that a parent link means.
pub fn parent_of(link: &vhd::ParentLink) -> Result<ImageName> {
    let format = if link.is_raw() {
        ImageFormat::Raw
    } else {
        ImageFormat::Vhd
    };
    match parent_image(link.base_name()) {
        Some(name) if name.format == format => Ok(name),
        _ => Err(Error::ForeignParent {
            name: link.base_name().to_owned(),
        }),
    }
}

/// A time in seconds since 2000, as images keep it.
pub fn timestamp(time: SystemTime) -> u32 {
    let since = time.duration_since(UNIX_EPOCH);
    vhd::size::timestamp_from_unix(since.map_or(0, |elapsed| elapsed.as_secs()))
}

/// Writes an empty image into a new file.
///
/// The uuid inside a VHD is a new one: it belongs to the image, not to the VDI, which gets another image when a snapshot
/// is taken.
///
/// # Durability
/// The content is on stable storage at return; its name is the caller's to see to.
pub fn create(file: File, name: ImageName, virtual_size: u64, path: &Path) -> Result<Inspected> {
    let file = PositionalFile::new(file);
    match name.format {
        ImageFormat::Vhd => {
            let new = vhd::image::NewImage {
                timestamp: timestamp(SystemTime::now()),
                ..vhd::image::NewImage::new(virtual_size, Uuid::new_v4())
            };
            let created = vhd::image::create_dynamic(&file, &new);
            created.map_err(|source| Error::Image {
                action: "create",
                path: path.to_owned(),
                source,
            })?;
        }
        ImageFormat::Raw => {
            let grown = file.set_len(virtual_size).and_then(|()| file.sync_data());
            grown.map_err(|source| Error::Io {
                action: "create",
                path: path.to_owned(),
                source,
            })?;
        }
    }
    inspect_file(&file, name, path)
}
