//! The EBS direct APIs: the blocks of snapshots, read and written without a volume.
//!
//! The only use cases through which bytes of VDIs pass: `docs/decisions/2026-11-23-blocks-through-the-service.md`.
//! `read` lists and reads blocks; `uploads` begins, writes and seals snapshots, `finish` takes them to their end; `tokens` are what a list hands out and a read wants back; `open_disks` keeps the connections,
//! `maps` what was learnt of snapshots, which do not change.

mod blocks;
mod finish;
mod maps;
mod open_disks;
mod read;
mod refusal;
mod tokens;
mod uploads;

pub use blocks::{BLOCK_BYTES, blocks_of_gib};
pub use read::{
    Block, BlockPage, ChangedBlock, Paging, ReadBlock, get_block, list_blocks, list_changed,
    room_for_block,
};
pub use refusal::{DirectError, DirectResult, Reason};

pub use uploads::{StartUpload, Written, complete, put_block, start};

pub(crate) use finish::advance;
pub(crate) use open_disks::DirectIo;
