//! What a filer is asked for, by whichever interface it speaks: [`rest`](super::rest) or [`zapi`](super::zapi).
//!
//! Names, comments and sizes are decided above. A question is asked again by the transport when its answer was lost; a change is
//! sent once, and whoever has it sent knows whether it may be repeated.

use std::fmt::Debug;

use super::error::FilerError;
use crate::medium::iscsi::Credentials;

/// An SVM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Svm {
    /// Its name.
    pub name: String,
    /// Its uuid.
    pub uuid: String,
}

/// An SVM as the filer lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SvmRecord {
    /// Its name, if it tells one.
    pub name: Option<String>,
    /// Its uuid, if it tells one.
    pub uuid: Option<String>,
    /// True unless it is stopped.
    pub is_running: bool,
    /// True when its iSCSI service is switched on.
    pub serves_iscsi: bool,
}

/// An aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Bytes that are free.
    pub available: u64,
    /// How many disks it has.
    pub disks: u64,
    /// `raid_dp` ...
    pub raid_type: String,
}

/// A FlexVol as the filer lists it, whoever made it.
#[derive(Clone, Debug, PartialEq)]
pub struct FlexVolRecord {
    /// Its name.
    pub name: String,
    /// Its uuid.
    pub uuid: String,
    /// True while it is online.
    pub is_online: bool,
    /// Bytes; 0 when the filer does not tell them.
    pub size: u64,
    /// Bytes that are used in it.
    pub used: u64,
    /// True when its space is reserved in the aggregate.
    pub is_guaranteed: bool,
    /// Its comment.
    pub comment: String,
}

/// A FlexVol that is to be made.
#[derive(Clone, Debug)]
pub struct NewFlexVol<'a> {
    /// Its name.
    pub name: &'a str,
    /// The aggregate.
    pub aggregate: &'a str,
    /// Bytes.
    pub size: u64,
    /// True when its space is to be reserved in the aggregate.
    pub is_guaranteed: bool,
    /// True when it is to be deduplicated.
    pub is_deduplicated: bool,
    /// Its comment.
    pub comment: &'a str,
}

/// A snapshot of a FlexVol.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotRecord {
    /// Its name.
    pub name: String,
    /// Its uuid; empty where the interface knows it by its name.
    pub uuid: String,
    /// Its comment.
    pub comment: String,
}

/// A LUN as the filer lists it, whoever made it.
#[derive(Clone, Debug, PartialEq)]
pub struct LunRecord {
    /// `/vol/<FlexVol>/<name>`.
    pub path: String,
    /// Its uuid, if it tells one.
    pub uuid: Option<String>,
    /// Bytes, if it tells them.
    pub size: Option<u64>,
    /// Bytes that it holds.
    pub used: u64,
    /// Its serial number; empty when it tells none.
    pub serial: String,
    /// Its comment.
    pub comment: String,
    /// False when it is offline.
    pub is_online: bool,
    /// False when its FlexVol is known to be offline.
    pub is_flexvol_online: bool,
}

/// A LUN that is to be made.
#[derive(Clone, Debug)]
pub struct NewLunRecord<'a> {
    /// The FlexVol.
    pub flexvol: &'a str,
    /// Its name in it.
    pub name: &'a str,
    /// True when its space is to be kept for it.
    pub is_reserved: bool,
    /// Its comment. A clone may be made with that of its source.
    pub comment: &'a str,
    /// What it holds.
    pub content: NewContent<'a>,
}

/// What a new LUN holds.
#[derive(Clone, Copy, Debug)]
pub enum NewContent<'a> {
    /// So many zeros.
    Zeros(u64),
    /// What another LUN of the same FlexVol has now, or had when a snapshot was made: its name, and that of the snapshot.
    CloneOf(&'a str, Option<&'a str>),
}

/// A LUN that an igroup sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LunMap {
    /// The LUN's path.
    pub path: String,
    /// The LUN's uuid; empty where the interface knows it by its path.
    pub lun: String,
    /// The igroup's name.
    pub igroup: String,
    /// The igroup's uuid; empty where the interface knows it by its name.
    pub igroup_uuid: String,
    /// The number under which it is seen.
    pub number: u16,
}

/// An igroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgroupRecord {
    /// Its name.
    pub name: String,
    /// Its uuid; empty where the interface knows it by its name.
    pub uuid: String,
    /// Its initiators.
    pub initiators: Vec<String>,
}

/// The iSCSI service of an SVM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IscsiService {
    /// False when it is stopped.
    pub is_enabled: bool,
    /// The target's name; empty when it tells none.
    pub target: String,
}

/// SVMs and aggregates.
pub trait SystemCalls {
    /// Name and port of the filer.
    fn address(&self) -> String;
    /// The SVMs that the account sees.
    fn svms(&self) -> Result<Vec<SvmRecord>, FilerError>;
    /// The aggregates that the account sees; those of the SVM, without their sizes, where it sees no more.
    fn aggregates(&self, svm: &Svm) -> Result<Vec<Aggregate>, FilerError>;
}

/// FlexVols and their snapshots.
pub trait VolumeCalls {
    /// The FlexVols whose names fit a pattern with `*`.
    fn flexvols(&self, svm: &Svm, pattern: &str) -> Result<Vec<FlexVolRecord>, FilerError>;
    /// Makes a FlexVol without snapshots of its own.
    fn create_flexvol(&self, svm: &Svm, new: &NewFlexVol<'_>) -> Result<(), FilerError>;
    /// Has a FlexVol deduplicated where that is not done when it is made. May be repeated.
    fn deduplicate_flexvol(&self, svm: &Svm, name: &str) -> Result<(), FilerError>;
    /// Gives a FlexVol a size. May be repeated.
    fn resize_flexvol(
        &self,
        svm: &Svm,
        flexvol: FlexVolId<'_>,
        size: u64,
    ) -> Result<(), FilerError>;
    /// Gives a FlexVol a comment. May be repeated.
    fn comment_flexvol(
        &self,
        svm: &Svm,
        flexvol: FlexVolId<'_>,
        comment: &str,
    ) -> Result<(), FilerError>;
    /// Deletes a FlexVol, online or not.
    fn delete_flexvol(&self, svm: &Svm, flexvol: FlexVolId<'_>) -> Result<(), FilerError>;
    /// The snapshots of a FlexVol whose names fit a pattern with `*`.
    fn snapshots(
        &self,
        svm: &Svm,
        flexvol: FlexVolId<'_>,
        pattern: &str,
    ) -> Result<Vec<SnapshotRecord>, FilerError>;
    /// Makes a snapshot of a FlexVol.
    fn create_snapshot(
        &self,
        svm: &Svm,
        flexvol: FlexVolId<'_>,
        name: &str,
        comment: &str,
    ) -> Result<(), FilerError>;
    /// Deletes a snapshot.
    fn delete_snapshot(
        &self,
        svm: &Svm,
        flexvol: FlexVolId<'_>,
        snapshot: &SnapshotRecord,
    ) -> Result<(), FilerError>;
}

/// Which FlexVol is meant: the one interface knows it by its uuid, the other one by its name.
#[derive(Clone, Copy, Debug)]
pub struct FlexVolId<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its uuid.
    pub uuid: &'a str,
}

/// Which LUN is meant: the one interface knows it by its uuid, the other one by its path.
#[derive(Clone, Copy, Debug)]
pub struct LunId<'a> {
    /// The FlexVol's name.
    pub flexvol: &'a str,
    /// Its name in the FlexVol.
    pub name: &'a str,
    /// Its uuid.
    pub uuid: &'a str,
}

impl LunId<'_> {
    /// `/vol/<FlexVol>/<name>`.
    pub fn path(&self) -> String {
        format!("/vol/{}/{}", self.flexvol, self.name)
    }
}

/// LUNs.
pub trait LunCalls {
    /// The LUNs whose paths fit a pattern with `*`.
    fn luns(&self, svm: &Svm, pattern: &str) -> Result<Vec<LunRecord>, FilerError>;
    /// Makes a LUN.
    fn create_lun(&self, svm: &Svm, new: &NewLunRecord<'_>) -> Result<(), FilerError>;
    /// Gives a LUN the content and the size of another one of its FlexVol. May be repeated.
    fn overwrite_lun(&self, svm: &Svm, lun: LunId<'_>, source: LunId<'_>)
    -> Result<(), FilerError>;
    /// Lets a LUN grow. May be repeated.
    ///
    /// # Errors
    /// `FilerError::Geometry` when it cannot become as large.
    fn resize_lun(&self, svm: &Svm, lun: LunId<'_>, size: u64) -> Result<(), FilerError>;
    /// Gives a LUN a comment. May be repeated.
    fn comment_lun(&self, svm: &Svm, lun: LunId<'_>, comment: &str) -> Result<(), FilerError>;
    /// Deletes a LUN that nobody sees.
    fn delete_lun(&self, svm: &Svm, lun: LunId<'_>) -> Result<(), FilerError>;
}

/// Who sees which LUN, and where.
pub trait AccessCalls {
    /// The igroup of a name.
    fn igroup(&self, svm: &Svm, name: &str) -> Result<Option<IgroupRecord>, FilerError>;
    /// Makes an igroup. It may come without its initiator.
    fn create_igroup(&self, svm: &Svm, name: &str, initiator: &str) -> Result<(), FilerError>;
    /// Adds an initiator to an igroup.
    fn add_initiator(
        &self,
        svm: &Svm,
        igroup: &IgroupRecord,
        initiator: &str,
    ) -> Result<(), FilerError>;
    /// The maps of LUNs whose paths fit a pattern with `*`, to one igroup or to all.
    fn maps(
        &self,
        svm: &Svm,
        pattern: &str,
        igroup: Option<&str>,
    ) -> Result<Vec<LunMap>, FilerError>;
    /// Shows a LUN to an igroup.
    fn map_lun(&self, svm: &Svm, path: &str, igroup: &str) -> Result<(), FilerError>;
    /// Takes a LUN out of an igroup's sight.
    fn unmap_lun(&self, svm: &Svm, map: &LunMap) -> Result<(), FilerError>;
    /// The iSCSI service.
    fn iscsi_service(&self, svm: &Svm) -> Result<Option<IscsiService>, FilerError>;
    /// The addresses at which the iSCSI service is reached.
    fn portals(&self, svm: &Svm) -> Result<Vec<(String, u16)>, FilerError>;
    /// The CHAP user that an initiator has, empty for one without; none when the target knows nothing of it.
    fn chap_user(&self, svm: &Svm, initiator: &str) -> Result<Option<String>, FilerError>;
    /// Makes the CHAP account of an initiator.
    fn create_chap(
        &self,
        svm: &Svm,
        initiator: &str,
        account: &Credentials,
    ) -> Result<(), FilerError>;
    /// Changes the CHAP account of an initiator. May be repeated.
    fn change_chap(
        &self,
        svm: &Svm,
        initiator: &str,
        account: &Credentials,
    ) -> Result<(), FilerError>;
}

/// An interface of a filer.
pub trait Transport:
    SystemCalls + VolumeCalls + LunCalls + AccessCalls + Debug + Send + Sync
{
}

impl<T: SystemCalls + VolumeCalls + LunCalls + AccessCalls + Debug + Send + Sync> Transport for T {}
