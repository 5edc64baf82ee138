//! The steps of coalescing on VHD files: what is written in which order, and what a crash leaves.
//!
//! The journals are XenServer's, so that its garbage collector finishes what ours began and the other way round:
//!
//! | journal | says | recovery |
//! |---|---|---|
//! | `coalesce_<vdi>` = 1 | the image is being copied into its parent | removed: the image still has everything |
//! | `relink_<vdi>` = 1 | the parent has everything, the children are being moved to it | finished |
//! | `leaf_<vdi>` = `<parent>` | the parent is getting the VDI's name | undone while `OLD_<vdi>` or the parent is there |
//!
//! `journal` holds them, `claims` who works on what, `inner` and `leaf` the steps, `relink` what `inner` and `recovery`
//! share, `store` shows all of it to the collector. The whole is told in `docs/internals/coalescing.md`.

mod chains;
mod claims;
mod grow;
mod inner;
mod journal;
mod leaf;
mod leaf_names;
mod pair;
mod recovery;
mod relink;
mod store;

#[cfg(test)]
mod tests;

pub use chains::FileChains;
pub(super) use leaf_names::leaf_journal;
pub(super) use recovery::recover;
