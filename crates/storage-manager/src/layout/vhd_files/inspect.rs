//! One image file: what it says of itself, and making an empty one.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use super::names::{ImageFormat, ImageName, parent_image};
use super::tree::Node;
use super::{Error, Result};
use crate::medium::files::{Access, Files, MediumFile};

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

/// Reads the headers of an image, and neither its table nor data.
pub fn inspect(files: &dyn Files, name: ImageName) -> Result<Inspected> {
    inspect_named(files, &name.file_name(), name)
}

/// Reads the headers of an image that has another name for now.
pub fn inspect_named(files: &dyn Files, file_name: &str, name: ImageName) -> Result<Inspected> {
    let path = files.path().join(file_name);
    let file = files
        .open_file(file_name, Access::Read)
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::Missing {
                uuid: name.uuid,
                directory: files.path().to_owned(),
            },
            _ => Error::Io {
                action: "open",
                path: path.clone(),
                source,
            },
        })?;
    inspect_file(&*file, name, &path)
}

/// Reads the headers of an open image.
pub fn inspect_file(file: &dyn MediumFile, name: ImageName, path: &Path) -> Result<Inspected> {
    match name.format {
        ImageFormat::Raw => {
            let io_error = |source| Error::Io {
                action: "get the length of",
                path: path.to_owned(),
                source,
            };
            let file_size = file.len().map_err(io_error)?;
            Ok(Inspected {
                virtual_size: file_size,
                file_size,
                hidden: file.is_hidden().map_err(io_error)?,
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
pub fn create(
    file: Arc<dyn MediumFile>,
    name: ImageName,
    virtual_size: u64,
    path: &Path,
) -> Result<Inspected> {
    match name.format {
        ImageFormat::Vhd => {
            let new = vhd::image::NewImage {
                timestamp: timestamp(SystemTime::now()),
                ..vhd::image::NewImage::new(virtual_size, Uuid::new_v4())
            };
            let created = vhd::image::create_dynamic(&*file, &new);
            created.map_err(|source| Error::Image {
                action: "create",
                path: path.to_owned(),
                source,
            })?;
        }
        ImageFormat::Raw => {
            let grown = file.set_len(virtual_size).and_then(|()| file.flush());
            grown.map_err(|source| Error::Io {
                action: "create",
                path: path.to_owned(),
                source,
            })?;
        }
    }
    inspect_file(&*file, name, path)
}
