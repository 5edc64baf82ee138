//! What the server serves.

use std::io;

/// Something with bytes at offsets that an NBD server can serve.
///
/// Calls are synchronous and may run on several threads at once. The server has checked that every range lies inside
/// [`Export::size`] and that nothing is written to a read-only export.
pub trait Export: Send + Sync {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// True when writes are refused.
    fn is_read_only(&self) -> bool;

    /// Fills `buffer` from `offset`.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes `data` at `offset`.
    ///
    /// # Durability
    /// Nothing is on stable storage before [`Export::flush`] returns.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;

    /// Makes `length` bytes at `offset` read as zeros; may free their space.
    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Tells that the content of the range is not needed any more; it may read as anything it was or as zeros.
    fn trim_at(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Puts every write that has returned on stable storage.
    fn flush(&self) -> io::Result<()>;

    /// Describes the range from `offset`, at most `length` bytes and at most `limit` extents, without gaps.
    fn block_status(&self, offset: u64, length: u64, limit: usize) -> io::Result<Vec<Extent>>;

    /// Names of the metadata contexts that the export has beside `base:allocation`, such as `qemu:dirty-bitmap:<name>`.
    ///
    /// At most [`MAX_CONTEXTS`] are offered.
    fn contexts(&self) -> Vec<String> {
        Vec::new()
    }

    /// Describes the range from `offset` in one of [`Export::contexts`], as [`Export::block_status`] does.
    ///
    /// # Errors
    /// `Unsupported` when there is no such context, or no longer.
    fn context_status(
        &self,
        context: &str,
        offset: u64,
        length: u64,
        limit: usize,
    ) -> io::Result<Vec<ContextExtent>> {
        let _ = (context, offset, length, limit);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Flushes and releases what is open, reporting what a drop would have to swallow. Later calls fail.
    fn close(&self) -> io::Result<()>;
}

/// Most metadata contexts that an export offers beside `base:allocation`.
pub const MAX_CONTEXTS: usize = 15;

/// A run of bytes with the same flags in a metadata context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextExtent {
    /// Length in bytes.
    pub length: u64,
    /// The flags, whose meaning is the context's: in `qemu:dirty-bitmap:<name>` 1 says that the range has changed.
    pub flags: u32,
}

/// A run of bytes with one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Length in bytes.
    pub length: u64,
    /// What is known of it.
    pub status: BlockStatus,
}

/// The `base:allocation` status of an extent.
///
/// Source: NBD protocol, "base:allocation metadata context".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockStatus {
    /// Allocated; may hold anything.
    Data,
    /// Allocated, reads as zeros.
    Zero,
    /// Not allocated, reads as zeros.
    Hole,
}
