//! NetApp ONTAP: an SR is a set of FlexVols, a VDI a LUN in one of them.
//!
//! `transport` says what a filer is asked for; `rest` and `zapi` are the two interfaces that ask it, over `http`, which carries one
//! exchange. What is above knows neither: `retry` and `error` are of both. `layout` and `space` are pure: names, comments, sizes. `filer` is what an SR needs to know of the cluster, `flexvols`, `luns`, `snapshots`
//! and `access` are one kind of object each, `sr_volumes` puts an SR on the filer and takes it away, and `volumes` is the
//! [`VolumeArray`](super::VolumeArray), with `placement` (which FlexVol, how large) and `branches` (snapshots, clones) beside it.
//!
//! ```text
//! SR        FlexVols n-1 ... 1, then 0: the first one is the commit; delete: 0 first
//! create    FlexVol grown -> LUN                       a crash between leaves a FlexVol that is larger than it needs to be
//! snapshot  (FlexVol snapshot, with an epochhint) -> FlexVol grown -> LUN clone -> comment
//!           leaves a snapshot that nobody needs: removed once it is an hour old; a clone without its comment has that of its source
//! expose    igroup -> map                              leaves a map: removed by the attach that follows
//! delete    map of ours -> LUN -> FlexVol shrunk       leaves a FlexVol that is larger than it needs to be
//! ```

mod access;
mod branches;
mod error;
mod filer;
mod flexvols;
mod http;
mod layout;
mod luns;
mod placement;
mod rest;
mod retry;
mod snapshots;
mod space;
mod sr_volumes;
mod tls;
mod transport;
mod volumes;
mod zapi;

pub use filer::{Api, Filer};
pub use http::Place;
pub use layout::{MAX_FLEXVOLS, SrMark};
pub use space::DEFAULT_MULTIPLIER;
pub use sr_volumes::{FoundSr, NewSr, create_sr, delete_sr, find_srs};
pub use tls::FilerTrust;
pub use transport::Aggregate;
pub use volumes::{OntapVolumes, VolumesOptions};
