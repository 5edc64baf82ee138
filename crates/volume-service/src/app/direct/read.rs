//! Which blocks a snapshot holds, which two snapshots have different, and what is in a block.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::blocks::{BLOCK_BYTES, blocks_of_gib, held_blocks};
use super::maps::About;
use super::open_disks::{Work, work};
use super::refusal::{DirectError, DirectResult, Reason};
use super::tokens::{Token, Tokens};
use crate::app::{Service, snapshots};
use crate::context::RequestContext;
use crate::db::snapshot_lineage::first_volume;
use crate::driver::{Mover, PoolError, RangeMap, Trouble};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::snapshot::{Snapshot, SnapshotStatus};

/// Which part of a list is asked for.
#[derive(Clone, Debug)]
pub struct Paging {
    /// The token of a page.
    pub token: Option<String>,
    /// The first block; a token comes before it.
    pub start: u64,
    /// Most blocks of the page.
    pub max_results: usize,
}

/// A page of blocks.
#[derive(Clone, Debug)]
pub struct BlockPage<T> {
    /// The blocks, in order.
    pub blocks: Vec<T>,
    /// The snapshot's size.
    pub size_gib: u64,
    /// When the tokens end, in microseconds since 1970.
    pub expiry_us: i64,
    /// The token of the next page.
    pub next: Option<String>,
}

/// A block that may hold something else than zeros.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its number.
    pub index: u64,
    /// What reads it.
    pub token: String,
}

/// A block that two snapshots may have different.
#[derive(Clone, Debug)]
pub struct ChangedBlock {
    /// Its number.
    pub index: u64,
    /// What reads it from the first; none where that holds zeros.
    pub first: Option<String>,
    /// What reads it from the second; none where that holds zeros.
    pub second: Option<String>,
}

/// A block's content.
pub struct ReadBlock {
    /// [`BLOCK_BYTES`] bytes.
    pub bytes: Vec<u8>,
}

/// A snapshot that has content, and what reaches it.
struct Readable {
    snapshot: Snapshot,
    vdi: Uuid,
    mover: Arc<dyn Mover>,
}

/// Lists the blocks of a snapshot that may hold something else than zeros.
pub async fn list_blocks(
    service: &Service,
    request: &RequestContext,
    ec2_id: &str,
    paging: Paging,
) -> DirectResult<BlockPage<Block>> {
    let readable = Readable::find(service, request, ec2_id).await?;
    let tokens = Tokens::new(&service.config.master_key, service.context.now_us());
    let bound = [readable.snapshot.id.0];
    let start = start_of(&tokens, Token::Page, &paging, &bound)?;
    let held = readable.held(service).await?;
    let end = blocks_of_gib(readable.snapshot.size_gib);
    let found = (start..end).filter(|index| held.has(*index));
    let block = |index| Block {
        index,
        token: tokens.make(Token::Block, index, &bound),
    };
    let (blocks, next) = cut(found, paging.max_results);
    Ok(BlockPage {
        blocks: blocks.into_iter().map(block).collect(),
        size_gib: readable.snapshot.size_gib,
        expiry_us: tokens.expiry_us(),
        next: next.map(|index| tokens.make(Token::Page, index, &bound)),
    })
}

/// Lists the blocks that two snapshots of one origin may have different. No block that differs is left out; some that are the same
/// may be listed.
pub async fn list_changed(
    service: &Service,
    request: &RequestContext,
    first: Option<&str>,
    second: &str,
    paging: Paging,
) -> DirectResult<BlockPage<ChangedBlock>> {
    let Some(first) = first else {
        let words = "First snapshot should not be empty or null";
        return Err(DirectError::refused(Reason::InvalidSnapshotId, words));
    };
    let first = Readable::find(service, request, first).await?;
    let second = Readable::find(service, request, second).await?;
    check_related(service, &first.snapshot, &second.snapshot).await?;
    let tokens = Tokens::new(&service.config.master_key, service.context.now_us());
    let (of_first, of_second) = ([first.snapshot.id.0], [second.snapshot.id.0]);
    let bound = [first.snapshot.id.0, second.snapshot.id.0];
    let start = start_of(&tokens, Token::ChangedPage, &paging, &bound)?;
    let differing = differing(service, &first, &second).await?;
    let (in_first, in_second) = (first.held(service).await?, second.held(service).await?);
    let end = blocks_of_gib(second.snapshot.size_gib);
    let end_of_first = blocks_of_gib(first.snapshot.size_gib);
    let has_first = |index: u64| index < end_of_first && in_first.has(index);
    let found = (start..end).filter(|index| {
        // Zeros in both are the same.
        (has_first(*index) || in_second.has(*index))
            && (*index >= end_of_first
                || differing
                    .as_ref()
                    .is_none_or(|map| map.touches(index * BLOCK_BYTES, BLOCK_BYTES)))
    });
    let block = |index: u64| ChangedBlock {
        index,
        first: has_first(index).then(|| tokens.make(Token::Block, index, &of_first)),
        second: in_second
            .has(index)
            .then(|| tokens.make(Token::Block, index, &of_second)),
    };
    let (blocks, next) = cut(found, paging.max_results);
    Ok(BlockPage {
        blocks: blocks.into_iter().map(block).collect(),
        size_gib: second.snapshot.size_gib,
        expiry_us: tokens.expiry_us(),
        next: next.map(|index| tokens.make(Token::ChangedPage, index, &bound)),
    })
}

/// Waits for room for a block in memory, which there is until what is returned is dropped.
pub async fn room_for_block(service: &Service) -> DirectResult<OwnedSemaphorePermit> {
    let room = service.direct.room().await;
    room.ok_or_else(|| DirectError::refused(Reason::Throttled, "Request limit exceeded."))
}

/// Reads a block with the token that a list gave.
pub async fn get_block(
    service: &Service,
    request: &RequestContext,
    ec2_id: &str,
    index: u64,
    token: &str,
) -> DirectResult<ReadBlock> {
    let readable = Readable::find(service, request, ec2_id).await?;
    let tokens = Tokens::new(&service.config.master_key, service.context.now_us());
    let bound = [readable.snapshot.id.0];
    if tokens.read(Token::Block, token, &bound) != Some(index) {
        let words = format!("The block token {token} is invalid.");
        return Err(DirectError::refused(Reason::InvalidBlockToken, words));
    }
    let offset = index.saturating_mul(BLOCK_BYTES);
    let bytes = readable
        .with_disk(
            service,
            work(move |disk| {
                let mut bytes = vec![0; BLOCK_BYTES as usize];
                disk.read(&mut bytes, offset)?;
                Ok(bytes)
            }),
        )
        .await?;
    Ok(ReadBlock { bytes })
}

impl Readable {
    /// A snapshot that is not complete, or is on its way out, is not there, as AWS has it.
    async fn find(service: &Service, request: &RequestContext, ec2_id: &str) -> DirectResult<Self> {
        let found = snapshots::get_by_ec2_id(service, request, ec2_id).await;
        let snapshot = match found {
            Ok(snapshot) => snapshot,
            Err(error) if is_absent(&error) => return Err(DirectError::no_snapshot(ec2_id)),
            Err(error) => return Err(error.into()),
        };
        let vdi = match snapshot.status {
            SnapshotStatus::Available | SnapshotStatus::Restoring => snapshot.vdi_uuid,
            _ => None,
        };
        let vdi = vdi.ok_or_else(|| DirectError::no_snapshot(ec2_id))?;
        let mover = mover(service)?;
        Ok(Readable {
            snapshot,
            vdi,
            mover,
        })
    }

    /// The blocks that may hold something else than zeros.
    async fn held(&self, service: &Service) -> DirectResult<Arc<RangeMap>> {
        let about = About::Held(self.vdi);
        if let Some(map) = service.direct.maps.find(about) {
            return Ok(map);
        }
        let map = self.with_disk(service, work(held_blocks)).await?;
        Ok(service.direct.maps.keep(about, map))
    }

    async fn with_disk<T: Send + 'static>(
        &self,
        service: &Service,
        work: Work<T>,
    ) -> DirectResult<T> {
        let open = || self.mover.open(&self.snapshot.zone, self.vdi);
        let done = service.direct.disks.with(self.vdi, open, work).await;
        done.map_err(|error| failed(error, &self.snapshot))
    }
}

/// What reaches the bytes.
pub(super) fn mover(service: &Service) -> DirectResult<Arc<dyn Mover>> {
    service.direct.mover().ok_or_else(|| {
        let words = "This server does not reach the content of snapshots.";
        DirectError::refused(Reason::InvalidDependencyRequest, words)
    })
}

fn is_absent(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::NotFound | ErrorKind::Invalid)
        && error.subject == Subject::Snapshot
}

/// What a pool's error means to who reads a snapshot. One that is deleted meanwhile is gone, not broken.
pub(super) fn failed(error: PoolError, snapshot: &Snapshot) -> DirectError {
    match error.trouble {
        Trouble::Gone => DirectError::no_snapshot(&snapshot.ec2_id),
        Trouble::Unsupported => {
            tracing::warn!(%error, zone = snapshot.zone, "the pool does not serve the content of snapshots");
            let words = "The pool that holds the snapshot does not serve its content: none of its networks has NBD.";
            DirectError::refused(Reason::InvalidDependencyRequest, words)
        }
        Trouble::Busy | Trouble::InUse | Trouble::Marked | Trouble::TooDeep => {
            tracing::debug!(%error, snapshot.id = %snapshot.id, "a snapshot cannot be read now");
            DirectError::refused(Reason::Throttled, "Request limit exceeded.")
        }
        _ => DirectError::App(error.on_zone(&snapshot.zone)),
    }
}

fn start_of(
    tokens: &Tokens,
    token: Token,
    paging: &Paging,
    snapshots: &[Uuid],
) -> DirectResult<u64> {
    let Some(text) = &paging.token else {
        return Ok(paging.start);
    };
    tokens.read(token, text, snapshots).ok_or_else(|| {
        let words = format!("The pagination token {text} is invalid.");
        DirectError::refused(Reason::InvalidPageToken, words)
    })
}

/// The page, and where the next one begins.
fn cut(mut found: impl Iterator<Item = u64>, most: usize) -> (Vec<u64>, Option<u64>) {
    let page: Vec<u64> = found.by_ref().take(most).collect();
    (page, found.next())
}

/// Refuses two snapshots that do not go back to one volume.
async fn check_related(service: &Service, first: &Snapshot, second: &Snapshot) -> DirectResult<()> {
    if first.volume_id == second.volume_id && first.volume_id != crate::model::id::VolumeId::NONE {
        return Ok(());
    }
    let (one, other) = (first.id, second.id);
    let related: Result<bool> = service
        .database
        .read(move |tx| Ok(first_volume(tx, one)? == first_volume(tx, other)?))
        .await;
    if related? {
        return Ok(());
    }
    let words = "The snapshots are not related.";
    Err(DirectError::refused(Reason::UnrelatedSnapshots, words))
}

/// The ranges that two snapshots may have different; none when nobody can tell.
async fn differing(
    service: &Service,
    first: &Readable,
    second: &Readable,
) -> DirectResult<Option<Arc<RangeMap>>> {
    if first.vdi == second.vdi {
        return Ok(Some(Arc::default()));
    }
    if first.snapshot.backend_id != second.snapshot.backend_id {
        return Ok(None);
    }
    let about = About::Differing(first.vdi, second.vdi);
    if let Some(map) = service.direct.maps.find(about) {
        return Ok(Some(map));
    }
    let zone = &second.snapshot.zone;
    let compared = second.mover.differing(zone, first.vdi, second.vdi).await;
    let map = compared.map_err(|error| failed(error, &second.snapshot))?;
    Ok(map.map(|map| service.direct.maps.keep(about, map)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_where_the_next_one_begins() {
        let found = || [3_u64, 5, 9].into_iter();
        assert_eq!(cut(found(), 2), (vec![3, 5], Some(9)));
        assert_eq!(cut(found(), 3), (vec![3, 5, 9], None));
        assert_eq!(cut(std::iter::empty(), 3), (vec![], None));
    }
}
