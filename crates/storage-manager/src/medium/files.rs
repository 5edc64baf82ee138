//! Named files that hold images, wherever they are: in a directory of this machine, on an NFS server, as the logical volumes
//! of a volume group.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::io::lock::LockMode;
use crate::io::positional::Allocation;
use crate::layout::vhd_files::names::ImageName;
use crate::sr::SrSpace;

/// Most entries that a listing takes; a medium with more is refused rather than read for ever.
pub const MAX_ENTRIES: usize = 1 << 18;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads.
    Read,
    /// Reads and writes.
    ReadWrite,
}

/// What room an image needs in its file, where a file has a length of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// All that it can need: it is about to be written.
    Written,
    /// So many bytes more than it holds: others are about to be copied into it.
    More(u64),
    /// What it needs once it has this virtual size.
    Grown {
        /// Bytes.
        virtual_size: u64,
        /// A consumer has it open for writing.
        is_written: bool,
    },
    /// What the medium gives images that nobody writes.
    Resting,
    /// No more than it holds.
    Least,
}

/// What tells a file from all others of its medium, whatever its names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u128);

/// An open file: bytes at offsets, and a lock.
///
/// Where it is stored as [`vhd::Storage`] the calls of images go to it directly: an `Arc` of one is an `Arc` of the other.
pub trait MediumFile: vhd::Storage + Debug {
    /// Which file it is.
    fn id(&self) -> io::Result<FileId>;

    /// When its bytes were last changed. A medium that does not keep that answers now.
    fn modified(&self) -> io::Result<SystemTime> {
        Ok(SystemTime::now())
    }

    /// Takes the file's lock, or changes the one that this handle has; false when another handle's excludes it. It excludes
    /// other handles of this process, and other processes and machines where the medium can do that.
    fn try_lock(&self, mode: LockMode) -> io::Result<bool>;

    /// Releases the lock. What is dropped releases it too.
    fn unlock(&self);

    /// True for a raw image that is kept only as a parent, where the medium notes that; VHDs note it themselves.
    fn is_hidden(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// Notes whether a raw image is only a parent.
    ///
    /// # Errors
    /// `Unsupported` where the medium cannot.
    fn set_hidden(&self, hidden: bool) -> io::Result<()> {
        let _ = hidden;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Tells what lies at `offset` and how many bytes from there are alike, at most `length`. A medium that does not know
    /// answers that all is data.
    fn allocation(&self, offset: u64, length: u64) -> io::Result<(Allocation, u64)> {
        let _ = offset;
        Ok((Allocation::Data, length))
    }
}

/// A file without a name, which is gone when this and its file are dropped: no crash leaves anything of it.
pub trait UnnamedFile: Send + Sync + Debug {
    /// The file, open for reading and writing.
    fn file(&self) -> &Arc<dyn MediumFile>;

    /// Gives it a name, which must be free; false where that is not possible after all.
    ///
    /// # Durability
    /// None before [`Files::sync`].
    fn name(&self, name: &str) -> io::Result<bool>;
}

/// The files of one SR.
///
/// What a layout needs of a medium, and nothing of what the medium is: `Directory` has them in a directory of this machine, others
/// on a server or as volumes.
///
/// Names are plain: no separators. Nothing follows a symbolic link. A change of names survives a crash once [`Files::sync`] has
/// returned, and before that it has happened or not, as a whole.
pub trait Files: Send + Sync + Debug {
    /// Where they are, for messages.
    fn path(&self) -> &Path;

    /// The names, in no order. What is not UTF-8 in one is replaced: no file of ours has such a name.
    ///
    /// # Errors
    /// Of the kind `FileTooLarge` when there are more than [`MAX_ENTRIES`].
    fn entries(&self) -> io::Result<Vec<String>>;

    /// Opens the regular file with this name.
    ///
    /// # Errors
    /// Of the kind `InvalidInput` when the name belongs to something else than a regular file.
    fn open_file(&self, name: &str, access: Access) -> io::Result<Arc<dyn MediumFile>>;

    /// Makes an empty file that must not exist, open for reading and writing.
    fn create_file(&self, name: &str) -> io::Result<Arc<dyn MediumFile>>;

    /// Makes the file of an empty image under its name, which must be free, with what `write` puts there, all or nothing; false
    /// where the medium has no better way than another name until it is written.
    ///
    /// # Errors
    /// `AlreadyExists`; those of `write`. There is no such file then.
    ///
    /// # Durability
    /// On stable storage at return, if `write` has flushed.
    fn create_whole(
        &self,
        image: ImageName,
        virtual_size: u64,
        write: &mut dyn FnMut(Arc<dyn MediumFile>) -> io::Result<()>,
    ) -> io::Result<bool> {
        let _ = (image, virtual_size, write);
        Ok(false)
    }

    /// Makes a file without a name.
    ///
    /// # Errors
    /// Of the kind `Unsupported` where the medium knows no such files.
    fn create_unnamed_file(&self) -> io::Result<Box<dyn UnnamedFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Gives a file its final name, which must be free; `AlreadyExists` otherwise.
    fn publish(&self, from: &str, to: &str) -> io::Result<()>;

    /// Gives a file the name of another, which loses it; one or the other has the name at any time.
    fn replace(&self, from: &str, to: &str) -> io::Result<()>;

    /// Gives an image's file the name `aside`, which must be free, and the file `new` the name `named`, which may be the one that
    /// the image had. On error all have the names that they had, if that could be.
    ///
    /// A medium that can do both at once leaves nobody without the image; otherwise there is none for a moment, and after a crash
    /// in it.
    fn exchange(&self, image: &str, aside: &str, new: &str, named: &str) -> io::Result<()> {
        self.publish(image, aside)?;
        // The old name must not go to the new file on stable storage before the data have the other one.
        let exchanged = self.sync().and_then(|()| self.publish(new, named));
        exchanged.inspect_err(|_| {
            if let Err(error) = self.publish(aside, image) {
                tracing::error!(file.name = aside, %error, "give the image its name back; the next attach of the SR does it");
            }
        })
    }

    /// Gives a file a second name, which must be free; false where the medium knows no second names.
    fn link(&self, from: &str, to: &str) -> io::Result<bool> {
        let _ = (from, to);
        Ok(false)
    }

    /// Removes a file; false when there was none.
    fn remove(&self, name: &str) -> io::Result<bool>;

    /// The file that has this name, or none.
    fn id_of(&self, name: &str) -> io::Result<Option<FileId>>;

    /// True when there is an entry with this name, whatever it is.
    fn contains(&self, name: &str) -> io::Result<bool> {
        Ok(self.id_of(name)?.is_some())
    }

    /// Tells whether an open file is still the one that has this name.
    fn names(&self, name: &str, file: &dyn MediumFile) -> io::Result<bool> {
        Ok(self.id_of(name)? == Some(file.id()?))
    }

    /// The other names that the file with this name has.
    ///
    /// It is asked whenever an image is opened: a medium without second names, or one that can tell how many a file has, answers
    /// without looking at every file.
    fn other_names(&self, name: &str) -> io::Result<Vec<String>> {
        let Some(id) = self.id_of(name)? else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut others = self.entries()?;
        others.retain(|other| other != name);
        let mut found = Vec::new();
        for other in others {
            if self.id_of(&other)? == Some(id) {
                found.push(other);
            }
        }
        Ok(found)
    }

    /// True when the entry is a directory.
    fn is_directory(&self, name: &str) -> io::Result<bool>;

    /// How the headers of children name a parent, without a directory.
    fn parent_path(&self, image: ImageName) -> String {
        image.file_name()
    }

    /// Gives an image the room that it needs in its file; true when its length has changed. Files grow by themselves.
    ///
    /// The caller sees to it that nobody writes the image meanwhile, unless only `Written` is asked for again.
    fn provide(&self, name: &str, room: Room) -> io::Result<bool> {
        let _ = (name, room);
        Ok(false)
    }

    /// Notes that a snapshot makes `base` of the image, and a new image; false when the medium keeps no journal of that, and
    /// the layout does.
    fn begin_branch(
        &self,
        source: ImageName,
        base: ImageName,
        new: Option<ImageName>,
    ) -> io::Result<bool> {
        let _ = (source, base, new);
        Ok(false)
    }

    /// Ends what [`Files::begin_branch`] noted; nothing where that is nothing.
    fn end_branch(&self, source: ImageName) -> io::Result<()> {
        let _ = source;
        Ok(())
    }

    /// True where a change of names that has failed may have been made all the same: what is known of the names is doubtful
    /// until they are read again.
    fn fails_in_doubt(&self) -> bool {
        false
    }

    /// True when raw images have other sizes and children, because the medium says of them what VHDs say of themselves.
    fn has_raw_operations(&self) -> bool {
        false
    }

    /// Puts names that were made, changed and removed on stable storage.
    fn sync(&self) -> io::Result<()>;

    /// Size and use of the medium.
    fn space(&self) -> io::Result<SrSpace>;
}
